//! Resolves and records the mounts of an attachment.

use super::disk::{DiskMount, PendingDisk, lease_disks};
use super::fd_registry::{self, HeldFds};
use super::host_path::resolve_bind_source;
use super::liveness::reap_dead;
use super::microsandbox::SeenByMicrosandbox;
use super::mount_points::check_mount_points;
use crate::catalog::{AttachedVolume, NewAttachment};
use crate::error::{Difference, Error, ErrorKind, Result};
use crate::model::{
    DiskSpec, MIB, ProcessIdentity, VolumeRecord, VolumeRef, VolumeSpec, VolumeStorage, option_names,
};
use crate::mount::{GuestPath, MountConfig, MountSource, Provision, ResolvedMount, ResolvedSource};
use crate::store::volume::create::VolumeCreation;
use crate::store::volume::remove::BegunRemoval;
use crate::store::{Store, StoreHandle, now_ms};
use crate::sync::CancelToken;
use crate::sys::fd::OwnedFd;

/// Maximum number of attempts to provision a volume that other processes create and remove.
const MAX_PROVISION_ATTEMPTS: u32 = 16;

/// An attachment that is not recorded yet, and its resources.
pub struct PendingAttachment<'a> {
    pub(super) handle: &'a StoreHandle,
    pub(super) cancel: &'a CancelToken,
    mounts: Vec<ResolvedMount>,
    /// Volumes to lease, each with its mount.
    leases: Vec<(VolumeRecord, AttachedVolume)>,
    /// Disks among the mounts.
    disks: Vec<PendingDisk>,
    /// Descriptors of mounted subpaths, which runtimes get.
    pub(super) subpaths: Vec<OwnedFd>,
    /// Volumes that this attachment created.
    created: Vec<VolumeRef>,
}

impl<'a> PendingAttachment<'a> {
    /// Returns an attachment without mounts.
    pub fn new(handle: &'a StoreHandle, cancel: &'a CancelToken) -> Self {
        PendingAttachment {
            handle,
            cancel,
            mounts: Vec::new(),
            leases: Vec::new(),
            disks: Vec::new(),
            subpaths: Vec::new(),
            created: Vec::new(),
        }
    }

    /// Resolves the mounts, and creates volumes that must exist. Fails if a mount point inside another mount is not
    /// what a runtime needs.
    pub fn resolve(&mut self, mounts: &[(GuestPath, MountConfig)]) -> Result<()> {
        for (guest_path, config) in mounts {
            self.cancel.check()?;
            let origin = self
                .resolve_source(guest_path, config)
                .map_err(|error| error.in_mount(guest_path.as_str()))?;
            self.mounts.push(ResolvedMount {
                guest_path: guest_path.clone(),
                origin,
                flags: config.flags(),
                stat_virtualization: config.stat_virtualization(),
                host_permissions: config.host_permissions(),
            });
        }
        check_mount_points(&self.handle.dirs.volumes, &self.mounts)
    }

    fn resolve_source(&mut self, guest_path: &GuestPath, config: &MountConfig) -> Result<ResolvedSource> {
        let (dirs, readonly) = (&self.handle.dirs, config.flags().readonly);
        let disk_mount = DiskMount { dirs, guest_path, readonly };
        match config.source() {
            MountSource::Bind { host } => {
                let (host, file) = resolve_bind_source(dirs, host)?;
                Ok(ResolvedSource::Bind { host, file })
            }
            MountSource::Tmpfs { size_mib } => Ok(ResolvedSource::Tmpfs { size_mib: *size_mib }),
            MountSource::Named { volume, provision, subpath } => {
                let volume = self.provision(volume, provision)?;
                let lease = AttachedVolume {
                    name: volume.name.to_string(),
                    guest_path: Some(guest_path.to_string()),
                    subpath: subpath.as_ref().map(ToString::to_string),
                    readonly,
                };
                self.leases.push((volume.clone(), lease));
                match (&volume.storage, subpath) {
                    (VolumeStorage::Directory { .. }, Some(subpath)) => {
                        self.resolve_subpath(&volume, subpath, provision.spec().is_some())
                    }
                    (VolumeStorage::Directory { quota_mib }, None) => {
                        let host = dirs.volumes.path_of(volume.name.as_str());
                        let (open, quota_mib) = (host.clone(), *quota_mib);
                        Ok(ResolvedSource::Named { volume: volume.name, host, open, part: None, quota_mib })
                    }
                    (VolumeStorage::Disk(disk), _) => {
                        config.refuse_virtiofs_policies()?;
                        config.refuse_subpath()?;
                        Ok(self.add_disk(disk_mount.resolve_volume(&volume.name, disk)?))
                    }
                }
            }
            MountSource::Disk { host, format, fstype } => {
                Ok(self.add_disk(disk_mount.resolve_image(host, *format, fstype.as_deref())?))
            }
        }
    }

    fn add_disk(&mut self, (origin, disk): (ResolvedSource, PendingDisk)) -> ResolvedSource {
        self.disks.push(disk);
        origin
    }

    fn provision(&mut self, wanted: &VolumeRef, provision: &Provision) -> Result<VolumeRecord> {
        let (handle, name, cancel) = (self.handle, &wanted.name, self.cancel);
        let existing = || handle.volume(wanted);
        let mut create = |spec: &VolumeSpec| {
            let id = VolumeCreation { handle, name, spec, cancel: &cancel.nested() }.run()?;
            self.created.push(VolumeRef::exactly(name, id));
            existing()
        };
        match provision {
            Provision::Existing => existing(),
            Provision::Create(spec) => create(spec),
            Provision::EnsureExists(spec) => {
                let mut attempts = MAX_PROVISION_ATTEMPTS;
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

    /// Leases the volumes and locks the disks, and records the attachment. Returns its id.
    pub fn record(&self, sandbox: &str, owner: &ProcessIdentity) -> Result<i64> {
        self.handle.catalog.write(|catalog| {
            reap_dead(catalog)?;
            for (volume, _) in &self.leases {
                let name = volume.name.as_str();
                let current = catalog.reader().volume(&volume.name)?;
                if current.is_none_or(|current| current.id != volume.id) {
                    return Err(Error::volume_not_found(name));
                }
                // A runtime follows a symbolic link at this path, so the entry must be a directory.
                self.handle.dirs.volumes.open_child(name).map_err(|error| error.in_volume(name))?;
            }
            let volumes = self.leases.iter().map(|(volume, lease)| (volume.id, lease.clone())).collect();
            let images = lease_disks(catalog, &self.disks)?;
            let created_at_ms = now_ms();
            // Another process that becomes the owner does not get the locks.
            let keeps_locks = owner.pid == std::process::id();
            let attachment = NewAttachment { sandbox, owner, volumes, images, created_at_ms, keeps_locks };
            let id = catalog.attach(&attachment)?;
            self.cancel.commit()?;
            Ok(id)
        })
    }

    /// Keeps the checked files open while the recorded attachment lasts. Returns the mounts, and what microsandbox's
    /// catalog has about the volumes.
    pub fn keep_open(self, id: i64) -> (Vec<ResolvedMount>, SeenByMicrosandbox) {
        let disks = self.disks.into_iter().map(PendingDisk::into_held).collect();
        fd_registry::keep_open(id, HeldFds::new(disks, self.subpaths));
        let names = self.leases.iter().map(|(volume, _)| &volume.name);
        (self.mounts, self.handle.seen_by_microsandbox(names))
    }

    /// Returns `VolumeNotFound` if a volume was removed and `error` is a consequence of that.
    pub fn volume_not_found_or(&self, error: Error) -> Error {
        let was_removed = |volume: &VolumeRecord| self.handle.still_exists(volume).is_ok_and(|still| !still);
        match error.kind() {
            ErrorKind::FileSystem | ErrorKind::DiskImage => {
                let removed = self.leases.iter().map(|(volume, _)| volume).find(|volume| was_removed(volume));
                removed.map_or(error, |volume| Error::volume_not_found(volume.name.as_str()))
            }
            _ => error,
        }
    }

    /// Removes the volumes that this attachment created. An attachment of another process keeps its volume.
    pub fn rollback(self, store: &Store) {
        // A locked image could not be removed.
        drop(self.disks);
        for volume in self.created.iter().rev() {
            let removal = store.begin_remove_volume(volume, true, &CancelToken::default());
            let _kept_if_refused = removal.and_then(BegunRemoval::finish);
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
