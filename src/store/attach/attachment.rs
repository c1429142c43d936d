//! Attaches mounts to a sandbox: all of them or none.

use super::disk::PendingDisk;
use super::fd_registry::{self, HeldFds};
use super::host_path::resolve_bind_source;
use super::liveness::{identify, reap_dead};
use super::microsandbox::SeenByMicrosandbox;
use crate::catalog::{AttachedVolume, NewAttachment};
use crate::error::{Difference, Error, ErrorKind, Result};
use crate::model::{
    DiskSpec, MIB, ProcessIdentity, VolumeName, VolumeRecord, VolumeRef, VolumeSpec, VolumeStorage,
    option_names,
};
use crate::mount::{GuestPath, MountConfig, MountSource, Provision, ResolvedMount, ResolvedSource};
use crate::store::volume::remove::BegunRemoval;
use crate::store::{Store, StoreHandle, now_ms};
use crate::sync::CancelToken;
use crate::sys::fd::OwnedFd;

/// Maximum length of a sandbox's name in bytes.
const MAX_SANDBOX_BYTES: usize = 255;

/// Maximum number of attempts if a volume appears or vanishes between two lookups.
const MAX_ATTEMPTS: u32 = 16;

/// Mounts that a sandbox holds until it is detached or its process ends.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Id of the attachment in the catalog.
    pub id: i64,
    /// Name of the sandbox.
    pub sandbox: String,
    /// Process that owns the attachment.
    pub pid: u32,
    /// Mounts, parents before children.
    pub mounts: Vec<ResolvedMount>,
    /// What microsandbox's catalog had about the volumes.
    pub(crate) seen: SeenByMicrosandbox,
}

/// Resources of an attachment that is not recorded yet.
#[derive(Default)]
struct PendingAttachment {
    mounts: Vec<ResolvedMount>,
    /// Volumes to lease, each with its mount.
    leases: Vec<(VolumeRecord, AttachedVolume)>,
    /// Disks among the mounts.
    disks: Vec<PendingDisk>,
    /// Descriptors of mounted subpaths, which runtimes get.
    subpaths: Vec<OwnedFd>,
    /// Volumes that this attachment created.
    created: Vec<VolumeRef>,
}

impl Store {
    /// Attaches `mounts` to `sandbox`, in the order of [`crate::mount::validate_and_order`].
    ///
    /// The process `pid`, by default this one, owns the attachment. On a failure, the volumes that this call created
    /// are removed again, and nothing else changes.
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
        let handle = self.handle()?;
        fd_registry::reclaim_flocks();
        let mut attempts = MAX_ATTEMPTS;
        loop {
            let mut pending = PendingAttachment::default();
            let resolved = mounts.iter().try_for_each(|(guest_path, config)| {
                cancel.check()?;
                let resolved = self.resolve(&handle, guest_path, config, cancel, &mut pending);
                resolved.map_err(|error| error.in_mount(guest_path.as_str()))
            });
            let checked = resolved.and_then(|()| handle.check_mount_points(&pending.mounts));
            let error = match checked.and_then(|()| handle.record(sandbox, &owner, &pending, cancel)) {
                Ok(id) => {
                    let disks = pending.disks.into_iter().map(PendingDisk::into_held).collect();
                    fd_registry::keep_open(id, HeldFds::new(disks, pending.subpaths));
                    let names = pending.leases.iter().map(|(volume, _)| &volume.name);
                    let seen = handle.seen_by_microsandbox(names);
                    return Ok(Attachment {
                        id,
                        sandbox: sandbox.to_owned(),
                        pid,
                        mounts: pending.mounts,
                        seen,
                    });
                }
                Err(error) => handle.volume_not_found_or(&pending.leases, error),
            };
            // A locked image could not be removed.
            pending.disks.clear();
            pending.created.iter().rev().for_each(|volume| self.rollback_create(volume));
            attempts -= 1;
            let may_retry = lost_ensured_volume(mounts, &error) || handle.frees_volume_in_use(&error);
            if attempts == 0 || !may_retry {
                return Err(error);
            }
        }
    }

    fn resolve(
        &self,
        handle: &StoreHandle,
        guest_path: &GuestPath,
        config: &MountConfig,
        cancel: &CancelToken,
        pending: &mut PendingAttachment,
    ) -> Result<()> {
        let readonly = config.flags().readonly;
        let origin = match config.source() {
            MountSource::Bind { host } => {
                let (host, file) = resolve_bind_source(&handle.dirs, host)?;
                ResolvedSource::Bind { host, file }
            }
            MountSource::Tmpfs { size_mib } => ResolvedSource::Tmpfs { size_mib: *size_mib },
            MountSource::Named { volume: wanted, provision, subpath } => {
                let name = &wanted.name;
                let volume = self.provision(handle, wanted, provision, cancel, pending)?;
                let lease = AttachedVolume {
                    name: name.to_string(),
                    guest_path: Some(guest_path.to_string()),
                    subpath: subpath.as_ref().map(ToString::to_string),
                    readonly,
                };
                pending.leases.push((volume.clone(), lease));
                match (&volume.storage, subpath) {
                    (VolumeStorage::Directory { .. }, Some(subpath)) => {
                        let create = provision.spec().is_some();
                        let (origin, subpath_fd) =
                            handle.resolve_subpath(&volume, subpath, create, cancel)?;
                        pending.subpaths.push(subpath_fd);
                        origin
                    }
                    (VolumeStorage::Directory { quota_mib }, None) => {
                        let host = handle.dirs.volumes.path_of(name.as_str());
                        ResolvedSource::Named {
                            volume: name.clone(),
                            open: host.clone(),
                            host,
                            part: None,
                            quota_mib: *quota_mib,
                        }
                    }
                    (VolumeStorage::Disk(disk), _) => {
                        config.refuse_virtiofs_policies()?;
                        config.refuse_subpath()?;
                        let (origin, disk) = handle.resolve_disk_volume(guest_path, name, disk, readonly)?;
                        pending.disks.push(disk);
                        origin
                    }
                }
            }
            MountSource::Disk { host, format, fstype } => {
                let (origin, disk) =
                    handle.resolve_disk_image(guest_path, host, *format, fstype.as_deref(), readonly)?;
                pending.disks.push(disk);
                origin
            }
        };
        pending.mounts.push(ResolvedMount {
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
        handle: &StoreHandle,
        wanted: &VolumeRef,
        provision: &Provision,
        cancel: &CancelToken,
        pending: &mut PendingAttachment,
    ) -> Result<VolumeRecord> {
        let (name, existing) = (&wanted.name, || handle.volume(wanted));
        let mut create = |spec: &VolumeSpec| {
            let id = self.create_volume(handle, name, spec, &cancel.nested())?;
            pending.created.push(VolumeRef::exactly(name, id));
            existing()
        };
        match provision {
            Provision::Existing => existing(),
            Provision::Create(spec) => create(spec),
            Provision::EnsureExists(spec) => {
                let mut attempts = MAX_ATTEMPTS;
                loop {
                    match existing() {
                        Err(error) if error.kind() == ErrorKind::VolumeNotFound => {}
                        found => return found.and_then(|volume| compatible(volume, spec)),
                    }
                    attempts -= 1;
                    match create(spec) {
                        Err(error) if error.kind() == ErrorKind::VolumeAlreadyExists && attempts > 0 => {}
                        created => return created,
                    }
                }
            }
        }
    }

    /// Removes a volume that this call created. An attachment of another process keeps the volume.
    fn rollback_create(&self, volume: &VolumeRef) {
        let removal = self.begin_remove_volume(volume, true, &CancelToken::default());
        let _kept_if_refused = removal.and_then(BegunRemoval::finish);
    }
}

impl Attachment {
    /// Fails if the attachment has ended. Its volumes may be removed or attached again, and its descriptor numbers
    /// may be reused.
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

    /// Releases the `flock` on the disks, for a microsandbox that mounts them and takes the `flock` itself. The
    /// leases and the record locks, which other attachments and QEMU check, stay.
    pub fn give_flock_away(&self) -> Result<()> {
        let failed = |error| Error::file_system("flock", "attached disk", error);
        fd_registry::give_flock_away(self.id).map_err(failed)
    }

    /// Returns the descriptors of mounted subpaths, in the order of the mounts.
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
        pending: &PendingAttachment,
        cancel: &CancelToken,
    ) -> Result<i64> {
        self.catalog.write(|catalog| {
            reap_dead(catalog)?;
            for (volume, _) in &pending.leases {
                let name = volume.name.as_str();
                let current = catalog.reader().volume(&volume.name)?;
                if current.is_none_or(|current| current.id != volume.id) {
                    return Err(Error::volume_not_found(name));
                }
                // A runtime follows a symbolic link at this path, so the entry must be a directory.
                self.dirs.volumes.open_child(name).map_err(|error| error.in_volume(name))?;
            }
            let volumes = pending.leases.iter().map(|(volume, lease)| (volume.id, lease.clone())).collect();
            let images = self.lease_disks(catalog, &pending.disks)?;
            let created_at_ms = now_ms();
            // Another process that becomes the owner does not get the locks.
            let keeps_locks = owner.pid == std::process::id();
            let attachment = NewAttachment { sandbox, owner, volumes, images, created_at_ms, keeps_locks };
            let id = catalog.attach(&attachment)?;
            cancel.commit()?;
            Ok(id)
        })
    }

    /// Returns `VolumeNotFound` if a volume was removed and `error` is a consequence of that.
    fn volume_not_found_or(&self, leases: &[(VolumeRecord, AttachedVolume)], error: Error) -> Error {
        let was_removed = |volume: &VolumeRecord| self.still_exists(volume).is_ok_and(|still| !still);
        match error.kind() {
            ErrorKind::FileSystem | ErrorKind::DiskImage => {
                let removed = leases.iter().map(|(volume, _)| volume).find(|volume| was_removed(volume));
                removed.map_or(error, |volume| Error::volume_not_found(volume.name.as_str()))
            }
            _ => error,
        }
    }
}

/// Returns the volume if creation with the same options would produce it. Labels are ignored.
fn compatible(volume: VolumeRecord, spec: &VolumeSpec) -> Result<VolumeRecord> {
    let quota = |mib: Option<u32>| mib.map_or("unlimited".to_owned(), |mib| mib.to_string());
    let size = |bytes: Option<u64>| bytes.map_or("none".to_owned(), |bytes| (bytes / MIB).to_string());
    let (wanted, actual) = (spec.disk(), volume.storage.disk());
    let kinds = [spec.kind(), volume.storage.kind()].map(|kind| kind.as_str().to_owned());
    let [wanted_kind, actual_kind] = kinds;
    let actual_size = size(actual.and_then(|disk| disk.capacity_bytes));
    let mut compared = vec![
        (option_names::KIND, wanted_kind, actual_kind),
        (option_names::QUOTA_MIB, quota(spec.quota_mib()), quota(volume.storage.quota_mib())),
        (option_names::SIZE_MIB, size(wanted.map(DiskSpec::capacity_bytes)), actual_size),
    ];
    // The format is compared only if the caller stated one.
    if let (Some(wanted), Some(disk)) = (wanted.and_then(|disk| disk.stated_format), actual) {
        compared.push((option_names::FORMAT, wanted.as_str().to_owned(), disk.format.as_str().to_owned()));
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

/// Returns true if a volume that must exist was removed after the lookup. It is then created again.
fn lost_ensured_volume(mounts: &[(GuestPath, MountConfig)], error: &Error) -> bool {
    let is_lost = |volume: &VolumeName| error.context().volume.as_deref() == Some(volume.as_str());
    error.kind() == ErrorKind::VolumeNotFound
        && mounts.iter().any(|(_, config)| match config.source() {
            MountSource::Named { volume, provision: Provision::EnsureExists(_), .. } => is_lost(&volume.name),
            _ => false,
        })
}

/// Checks a sandbox's name, which messages contain.
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
