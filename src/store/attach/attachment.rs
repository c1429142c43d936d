//! Attaching mounts to a sandbox: all of them or none.

use super::disk::PendingDisk;
use super::fd_registry::{self, HeldFds};
use super::host_path::resolve_bind_source;
use super::liveness::{identify, reap_dead};
use super::microsandbox::SeenByMicrosandbox;
use crate::catalog::{AttachedVolume, NewAttachment};
use crate::error::{Difference, Error, ErrorKind, Result};
use crate::model::{
    DiskSpec, MIB, ProcessIdentity, VolumeKind, VolumeName, VolumeRecord, VolumeRef, VolumeSpec, option_names,
};
use crate::mount::{GuestPath, MountConfig, MountSource, Provision, ResolvedMount, ResolvedSource};
use crate::store::volume::remove::BegunRemoval;
use crate::store::{Store, StoreHandle, now_ms};
use crate::sync::CancelToken;
use std::os::fd::OwnedFd;

/// The longest sandbox name, in bytes.
const MAX_SANDBOX_BYTES: usize = 255;

/// How often what appears and vanishes between two looks is looked at again.
const ROUNDS: u32 = 16;

/// Mounts that a sandbox holds until it is detached or its process ends.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The attachment's number in the catalog.
    pub id: i64,
    /// The sandbox's name.
    pub sandbox: String,
    /// The process it belongs to.
    pub pid: u32,
    /// The mounts, parents before children.
    pub mounts: Vec<ResolvedMount>,
    /// What microsandbox knew of the volumes.
    pub(crate) seen: SeenByMicrosandbox,
}

/// What an attachment has used so far.
#[derive(Default)]
struct PendingAttachment {
    mounts: Vec<ResolvedMount>,
    /// Volumes with a lease to be taken, and what is mounted of them.
    leases: Vec<(VolumeRecord, AttachedVolume)>,
    /// Disks among the mounts.
    disks: Vec<PendingDisk>,
    /// Parts of volumes among the mounts, by the descriptors that runtimes are handed.
    parts: Vec<OwnedFd>,
    /// Volumes that were created on the way.
    created: Vec<VolumeRef>,
}

impl Store {
    /// Attaches `mounts`, in the order that [`crate::mount::plan`] gave them, to `sandbox`. The attachment
    /// belongs to `pid`, by default this process. On any failure, volumes that this call created are removed
    /// again and nothing else is touched.
    pub fn attach(
        &self,
        sandbox: &str,
        mounts: &[(GuestPath, MountConfig)],
        pid: Option<u32>,
        cancel: &CancelToken,
    ) -> Result<Attachment> {
        check_sandbox(sandbox)?;
        let pid = pid.unwrap_or_else(std::process::id);
        let owner = identify(pid)?;
        let opened = self.opened()?;
        fd_registry::take_left_flocks();
        let mut rounds = ROUNDS;
        loop {
            let mut taken = PendingAttachment::default();
            let resolved = mounts.iter().try_for_each(|(guest_path, config)| {
                cancel.check()?;
                let resolved = self.resolve(&opened, guest_path, config, cancel, &mut taken);
                resolved.map_err(|error| error.in_mount(guest_path.as_str()))
            });
            let checked = resolved.and_then(|()| opened.check_mount_points(&taken.mounts));
            let error = match checked.and_then(|()| opened.record(sandbox, &owner, &taken, cancel)) {
                Ok(id) => {
                    let disks = taken.disks.into_iter().map(PendingDisk::into_held).collect();
                    fd_registry::keep_open(id, HeldFds::new(disks, taken.parts));
                    let names = taken.leases.iter().map(|(volume, _)| &volume.name);
                    let seen = opened.seen_by_microsandbox(names);
                    return Ok(Attachment {
                        id,
                        sandbox: sandbox.to_owned(),
                        pid,
                        mounts: taken.mounts,
                        seen,
                    });
                }
                Err(error) => opened.or_removal_of(&taken.leases, error),
            };
            // What is locked could not be removed.
            taken.disks.clear();
            taken.created.iter().rev().for_each(|volume| self.take_back(volume));
            rounds -= 1;
            let may_try_again = lost_an_ensured_volume(mounts, &error) || opened.frees_what_is_in_use(&error);
            if rounds == 0 || !may_try_again {
                return Err(error);
            }
        }
    }

    fn resolve(
        &self,
        opened: &StoreHandle,
        guest_path: &GuestPath,
        config: &MountConfig,
        cancel: &CancelToken,
        taken: &mut PendingAttachment,
    ) -> Result<()> {
        let readonly = config.flags().readonly;
        let origin = match config.source() {
            MountSource::Bind { host } => {
                let (host, file) = resolve_bind_source(&opened.layout, host)?;
                ResolvedSource::Bind { host, file }
            }
            MountSource::Tmpfs { size_mib } => ResolvedSource::Tmpfs { size_mib: *size_mib },
            MountSource::Named { volume: wanted, provision, subpath } => {
                let name = &wanted.name;
                let volume = self.provision(opened, wanted, provision, cancel, taken)?;
                let lease = AttachedVolume {
                    name: name.to_string(),
                    guest_path: Some(guest_path.to_string()),
                    subpath: subpath.as_ref().map(ToString::to_string),
                    readonly,
                };
                taken.leases.push((volume.clone(), lease));
                match (volume.kind, subpath) {
                    (VolumeKind::Dir, Some(subpath)) => {
                        let make = provision.spec().is_some();
                        let (origin, part) = opened.resolve_part(&volume, subpath, make, cancel)?;
                        taken.parts.push(part);
                        origin
                    }
                    (VolumeKind::Dir, None) => {
                        let host = opened.layout.volumes.path_of(name.as_str());
                        let quota_mib = volume.quota_mib;
                        ResolvedSource::Named {
                            volume: name.clone(),
                            open: host.clone(),
                            host,
                            part: None,
                            quota_mib,
                        }
                    }
                    (VolumeKind::Disk, _) => {
                        config.refuse_virtiofs_policies()?;
                        config.refuse_subpath()?;
                        let (origin, disk) = opened.resolve_disk_volume(guest_path, &volume, readonly)?;
                        taken.disks.push(disk);
                        origin
                    }
                }
            }
            MountSource::Disk { host, format, fstype } => {
                let (origin, disk) =
                    opened.resolve_disk_image(guest_path, host, *format, fstype.as_deref(), readonly)?;
                taken.disks.push(disk);
                origin
            }
        };
        taken.mounts.push(ResolvedMount {
            guest_path: guest_path.clone(),
            origin,
            flags: config.flags(),
            stat_virtualization: config.stat_virtualization(),
            host_permissions: config.host_permissions(),
        });
        Ok(())
    }

    fn provision(
        &self,
        opened: &StoreHandle,
        wanted: &VolumeRef,
        provision: &Provision,
        cancel: &CancelToken,
        taken: &mut PendingAttachment,
    ) -> Result<VolumeRecord> {
        let (name, existing) = (&wanted.name, || opened.volume(wanted));
        let mut create = |spec: &VolumeSpec| {
            let id = self.create_volume(opened, name, spec, &cancel.nested())?;
            taken.created.push(VolumeRef::exactly(name, id));
            existing()
        };
        match provision {
            Provision::Existing => existing(),
            Provision::Create(spec) => create(spec),
            Provision::EnsureExists(spec) => {
                let mut rounds = ROUNDS;
                loop {
                    match existing() {
                        Err(error) if error.kind() == ErrorKind::VolumeNotFound => {}
                        found => return found.and_then(|volume| compatible(volume, spec)),
                    }
                    rounds -= 1;
                    match create(spec) {
                        Err(error) if error.kind() == ErrorKind::VolumeAlreadyExists && rounds > 0 => {}
                        created => return created,
                    }
                }
            }
        }
    }

    /// Removes a volume that this call created, unless somebody attached it meanwhile; then it is theirs.
    fn take_back(&self, volume: &VolumeRef) {
        let removal = self.begin_remove_volume(volume, true, &CancelToken::default());
        let _kept_where_refused = removal.and_then(BegunRemoval::finish);
    }
}

impl Attachment {
    /// Refuses to describe an attachment that has ended: its volumes may be removed, or attached elsewhere, and its
    /// descriptors may be reused for other files.
    pub fn check_held(&self) -> Result<()> {
        match fd_registry::is_held(self.id) {
            true => Ok(()),
            false => Err(Error::invalid_config(
                "attachment",
                "it was detached, or its process ended, and its volumes and disks are not held any more; attach them \
                 again",
            )),
        }
    }

    /// Releases the `flock` on the disks, for a microsandbox that is told to mount them and takes it itself. What tells
    /// other attachments and QEMU that the disks are in use stays.
    pub fn give_flock_away(&self) -> Result<()> {
        let failed = |error| Error::file_system("flock", "attached disk", error);
        fd_registry::give_flock_away(self.id).map_err(failed)
    }

    /// The descriptors of the parts of volumes, in the order of the mounts.
    pub fn descriptors(&self) -> Result<Vec<i32>> {
        self.check_held()?;
        Ok(self.mounts.iter().filter_map(ResolvedMount::part).map(|part| part.descriptor).collect())
    }
}

impl StoreHandle {
    fn record(
        &self,
        sandbox: &str,
        owner: &ProcessIdentity,
        taken: &PendingAttachment,
        cancel: &CancelToken,
    ) -> Result<i64> {
        self.catalog.write(|catalog| {
            reap_dead(catalog)?;
            for (volume, _) in &taken.leases {
                let name = volume.name.as_str();
                let current = catalog.reader().volume(&volume.name)?;
                if current.is_none_or(|current| current.id != volume.id) {
                    return Err(Error::volume_not_found(name));
                }
                // A runtime follows whatever stands there, so it must be a directory and no link.
                self.layout.volumes.open_child(name).map_err(|error| error.in_volume(name))?;
            }
            let volumes = taken.leases.iter().map(|(volume, lease)| (volume.id, lease.clone())).collect();
            let images = self.lease_disks(catalog, &taken.disks)?;
            let created_at_ms = now_ms();
            // Another process, for which this one attaches, does not have the locks.
            let keeps_locks = owner.pid == std::process::id();
            let attachment = NewAttachment { sandbox, owner, volumes, images, created_at_ms, keeps_locks };
            let id = catalog.attach(&attachment)?;
            cancel.commit()?;
            Ok(id)
        })
    }

    /// What is to be told of a failure: that a volume was removed meanwhile, where what failed was to look at one.
    fn or_removal_of(&self, leases: &[(VolumeRecord, AttachedVolume)], error: Error) -> Error {
        let was_removed = |volume: &VolumeRecord| self.is_still(volume).is_ok_and(|still| !still);
        match error.kind() {
            ErrorKind::FileSystem | ErrorKind::DiskImage => {
                let removed = leases.iter().map(|(volume, _)| volume).find(|volume| was_removed(volume));
                removed.map_or(error, |volume| Error::volume_not_found(volume.name.as_str()))
            }
            _ => error,
        }
    }
}

/// Whether a volume is what would have been created with the same options; labels aside.
fn compatible(volume: VolumeRecord, spec: &VolumeSpec) -> Result<VolumeRecord> {
    let quota = |mib: Option<u32>| mib.map_or("unlimited".to_owned(), |mib| mib.to_string());
    let size = |bytes: Option<u64>| bytes.map_or("none".to_owned(), |bytes| (bytes / MIB).to_string());
    let disk = spec.disk();
    let mut compared = vec![
        (option_names::KIND, spec.kind().as_str().to_owned(), volume.kind.as_str().to_owned()),
        (option_names::QUOTA_MIB, quota(spec.quota_mib()), quota(volume.quota_mib)),
        (option_names::SIZE_MIB, size(disk.map(DiskSpec::capacity_bytes)), size(volume.capacity_bytes)),
    ];
    // The format matters to nobody who did not ask for one.
    if let (Some(wanted), Some(format)) = (disk.and_then(|disk| disk.stated_format), volume.disk_format) {
        compared.push((option_names::FORMAT, wanted.as_str().to_owned(), format.as_str().to_owned()));
    }
    let differences: Vec<_> = compared
        .into_iter()
        .filter(|(_, wanted, actual)| wanted != actual)
        .map(|(field, wanted, actual)| Difference { field, wanted, actual })
        .collect();
    match differences.is_empty() {
        true => Ok(volume),
        false => Err(Error::volume_incompatible(volume.name.as_str(), differences)),
    }
}

/// Whether a volume that is to be there in any case was removed after it had been found; then it is made anew.
fn lost_an_ensured_volume(mounts: &[(GuestPath, MountConfig)], error: &Error) -> bool {
    let is_lost = |volume: &VolumeName| error.context().volume.as_deref() == Some(volume.as_str());
    error.kind() == ErrorKind::VolumeNotFound
        && mounts.iter().any(|(_, config)| match config.source() {
            MountSource::Named { volume, provision: Provision::EnsureExists(_), .. } => is_lost(&volume.name),
            _ => false,
        })
}

/// A sandbox's name, which messages show.
pub fn check_sandbox(sandbox: &str) -> Result<()> {
    let shown = sandbox.chars().take(MAX_SANDBOX_BYTES).collect::<String>();
    if sandbox.is_empty() || sandbox.len() > MAX_SANDBOX_BYTES || sandbox.chars().any(char::is_control) {
        return Err(Error::invalid_config(
            "sandbox",
            format!("{shown:?} is not a sandbox name: 1 to {MAX_SANDBOX_BYTES} bytes, no control characters"),
        ));
    }
    Ok(())
}
