//! Ending attachments, and taking away the mounts that they have on the host.

use super::fd_registry;
use super::liveness::{ProcessState, life_of, reap_dead};
use super::mount_lock::MountLock;
use crate::catalog::HostMountRow;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Store, StoreHandle};
use crate::sync::CancelToken;
use crate::sys::{FileId, MountIdentity, boot_id, mount_namespace, mount_namespaces_in_use, take_away};

impl Store {
    /// Ends an attachment; one that has ended is fine. Its mounts are taken away first, and its disk images closed
    /// whatever becomes of the catalog.
    pub fn detach(&self, id: i64) -> Result<()> {
        self.detach_asked(id, &CancelToken::default())
    }

    /// The same for a call that may have stood in a queue, and cannot be cancelled any more.
    pub fn detach_asked(&self, id: i64, asked: &CancelToken) -> Result<()> {
        let _turn = MountLock::take(id, asked.may_wait_until(), &CancelToken::default())?;
        fd_registry::close(id);
        let opened = self.opened()?;
        loop {
            let mounts = opened.write_to_free(|catalog| {
                let (mounts, _) = by_place(catalog.reader().host_mounts(Some(id))?)?;
                if mounts.is_empty() {
                    catalog.detach(id)?;
                }
                Ok(mounts)
            })?;
            if mounts.is_empty() {
                return Ok(());
            }
            opened.unmount_all(&mounts)?;
        }
    }

    /// Takes the attachment's mounts away, last ones first; without any, nothing is done. What still uses one keeps it
    /// until it ends.
    pub fn unmount(&self, id: i64, cancel: &CancelToken) -> Result<()> {
        let _turn = MountLock::take(id, cancel.may_wait_until(), cancel)?;
        cancel.commit()?;
        let opened = self.opened()?;
        let (here, elsewhere) = by_place(opened.catalog.read(|catalog| catalog.host_mounts(Some(id)))?)?;
        let unmounted = opened.unmount_all(&here);
        fd_registry::take_lent_flocks(id);
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
    /// Takes mounts of this name space away, in this order, and strikes out those that are gone.
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

    /// Ends the attachments of processes that ended, and takes away their mounts and those that they left before. What
    /// cannot be taken away now stays written down. Nothing is written where there is nothing to do.
    pub(crate) fn reap_dead_attachments(&self) -> Result<()> {
        let owners = self.catalog.read(|catalog| catalog.owners())?;
        if owners.iter().any(|owner| life_of(owner) == ProcessState::Ended) {
            self.write_to_free(reap_dead)?;
        }
        let left = self.catalog.read(|catalog| catalog.mounts_left())?;
        if !left.is_empty() {
            let _kept_for_later = self.take_away_left(left);
        }
        Ok(())
    }

    fn take_away_left(&self, left: Vec<HostMountRow>) -> Result<()> {
        let (here, elsewhere) = by_place(left)?;
        if !elsewhere.is_empty() {
            // A mount ends with its name space, and that with its last process.
            let used = mount_namespaces_in_use().map_err(failed("scandir", "/proc"))?;
            self.write_to_free(|catalog| {
                let mut gone = elsewhere.iter().filter(|mount| !used.contains(&mount.mount_namespace));
                gone.try_for_each(|mount| catalog.delete_host_mount(mount))
            })?;
        }
        self.unmount_all(&here)
    }

    /// Whether a disk that was in use may be free now, for those who used it ended and left it mounted.
    pub(crate) fn frees_what_is_in_use(&self, error: &Error) -> bool {
        let count = || self.catalog.read(|catalog| Ok(catalog.host_mounts(None)?.len()));
        error.kind() == ErrorKind::VolumeInUse
            && count().is_ok_and(|before| {
                before > 0
                    && self.reap_dead_attachments().is_ok()
                    && count().is_ok_and(|after| after < before)
            })
    }
}

/// The mounts that can be taken away from here, those of an earlier boot among them, and those of other mount name
/// spaces.
fn by_place(mounts: Vec<HostMountRow>) -> Result<(Vec<HostMountRow>, Vec<HostMountRow>)> {
    let (boot, namespace) =
        (this_boot()?, mount_namespace().map_err(failed("stat", "/proc/thread-self/ns/mnt"))?);
    let is_here = |mount: &HostMountRow| mount.boot_id != boot || mount.mount_namespace == namespace;
    Ok(mounts.into_iter().partition(is_here))
}

/// Takes a mount of this name space away; one that is gone is fine.
fn unmount(mount: &HostMountRow) -> Result<()> {
    if mount.boot_id != this_boot()? {
        return Ok(());
    }
    let identity = MountIdentity {
        id: mount.mount_id,
        unique: mount.unique_id,
        root: FileId::from_numbers(mount.device, mount.inode),
    };
    take_away(&identity).map_err(failed("umount", &mount.guest_path))
}

fn this_boot() -> Result<&'static str> {
    boot_id().map_err(failed("open", "/proc/sys/kernel/random/boot_id"))
}

fn failed(call: &'static str, path: &str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::file_system(call, path, error)
}
