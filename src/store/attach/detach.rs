//! Ends attachments and unmounts their mounts on the host.

use super::fd_registry;
use super::liveness::{ProcessState, process_state, reap_dead};
use super::mount_lock::MountLock;
use crate::catalog::HostMountRow;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Store, StoreHandle};
use crate::sync::CancelToken;
use crate::sys::{
    FileId, MountIdentity, boot_id, mount_namespace, mount_namespaces_in_use, unmount_by_identity,
};

impl Store {
    /// Ends an attachment. Succeeds if it has ended already.
    ///
    /// Its mounts are unmounted first. Its disk images are closed even if the catalog fails.
    pub fn detach(&self, id: i64) -> Result<()> {
        self.detach_asked(id, &CancelToken::default())
    }

    /// Ends an attachment for a call that may have waited in a queue, and that cannot be cancelled any more.
    pub fn detach_asked(&self, id: i64, asked: &CancelToken) -> Result<()> {
        let _lock = MountLock::acquire(id, asked.lock_deadline(), &CancelToken::default())?;
        fd_registry::close(id);
        let handle = self.handle()?;
        loop {
            let mounts = handle.write_to_free(|catalog| {
                let (mounts, _) = partition_by_namespace(catalog.reader().host_mounts(Some(id))?)?;
                if mounts.is_empty() {
                    catalog.detach(id)?;
                }
                Ok(mounts)
            })?;
            if mounts.is_empty() {
                return Ok(());
            }
            handle.unmount_all(&mounts)?;
        }
    }

    /// Unmounts the attachment's mounts, the last one first. A process that uses a mount keeps it until the process
    /// ends.
    pub fn unmount(&self, id: i64, cancel: &CancelToken) -> Result<()> {
        let _lock = MountLock::acquire(id, cancel.lock_deadline(), cancel)?;
        cancel.commit()?;
        let handle = self.handle()?;
        let (here, elsewhere) =
            partition_by_namespace(handle.catalog.read(|catalog| catalog.host_mounts(Some(id)))?)?;
        let unmounted = handle.unmount_all(&here);
        fd_registry::reclaim_lent_flocks(id);
        unmounted?;
        match elsewhere.is_empty() {
            true => Ok(()),
            false => Err(Error::invalid_config(
                "attachment",
                "it is mounted in another mount name space, and can only be unmounted from there",
            )),
        }
    }
}

impl StoreHandle {
    /// Unmounts mounts of this mount name space, in this order. Deletes the rows of those that are gone.
    pub(crate) fn unmount_all(&self, mounts: &[HostMountRow]) -> Result<()> {
        if mounts.is_empty() {
            return Ok(());
        }
        let mut gone = Vec::new();
        let mut result = Ok(());
        for mount in mounts {
            match unmount(mount) {
                Ok(()) => gone.push(mount),
                Err(error) => result = result.and(Err(error)),
            }
        }
        self.write_to_free(|catalog| gone.iter().try_for_each(|mount| catalog.delete_host_mount(mount)))?;
        result
    }

    /// Ends the attachments of dead processes and unmounts their mounts, also those of earlier attachments. A mount
    /// that cannot be unmounted keeps its row. Writes nothing if there is nothing to do.
    pub(crate) fn reap_dead_attachments(&self) -> Result<()> {
        let owners = self.catalog.read(|catalog| catalog.owners())?;
        if owners.iter().any(|owner| process_state(owner) == ProcessState::Ended) {
            self.write_to_free(reap_dead)?;
        }
        let orphans = self.catalog.read(|catalog| catalog.orphaned_mounts())?;
        if !orphans.is_empty() {
            let _kept_on_failure = self.unmount_orphans(orphans);
        }
        Ok(())
    }

    fn unmount_orphans(&self, orphans: Vec<HostMountRow>) -> Result<()> {
        let (here, elsewhere) = partition_by_namespace(orphans)?;
        if !elsewhere.is_empty() {
            // A mount ends with its mount name space, and the name space ends with its last process.
            let used = mount_namespaces_in_use()?;
            self.write_to_free(|catalog| {
                let mut gone = elsewhere.iter().filter(|mount| !used.contains(&mount.mount_namespace));
                gone.try_for_each(|mount| catalog.delete_host_mount(mount))
            })?;
        }
        self.unmount_all(&here)
    }

    /// Returns true if a disk in use may be free now, because a dead process had left it mounted.
    pub(crate) fn frees_volume_in_use(&self, error: &Error) -> bool {
        let count = || self.catalog.read(|catalog| Ok(catalog.host_mounts(None)?.len()));
        error.kind() == ErrorKind::VolumeInUse
            && count().is_ok_and(|before| {
                before > 0
                    && self.reap_dead_attachments().is_ok()
                    && count().is_ok_and(|after| after < before)
            })
    }
}

/// Splits mounts: those that can be unmounted from here, or are of an earlier boot, and those of other mount name
/// spaces.
fn partition_by_namespace(mounts: Vec<HostMountRow>) -> Result<(Vec<HostMountRow>, Vec<HostMountRow>)> {
    let (boot, namespace) = (boot_id()?, mount_namespace()?);
    let is_here = |mount: &HostMountRow| mount.boot_id != boot || mount.mount_namespace == namespace;
    Ok(mounts.into_iter().partition(is_here))
}

/// Unmounts a mount of this mount name space. Succeeds if it is gone already.
fn unmount(mount: &HostMountRow) -> Result<()> {
    if mount.boot_id != boot_id()? {
        return Ok(());
    }
    let identity = MountIdentity {
        id: mount.mount_id,
        unique: mount.unique_id,
        root: FileId::from_numbers(mount.device, mount.inode),
    };
    unmount_by_identity(&identity).map_err(|error| Error::file_system("umount", &mount.guest_path, error))
}
