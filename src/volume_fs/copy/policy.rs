//! What a copy preserves, and what it may use.

use crate::error::{Error, Result};
use crate::sync::{CancelToken, IgnorePoison, Slot};
use crate::sys::Dir as StoreDir;
use crate::volume_fs::VolumeRoot;
use crate::volume_fs::quota::lock::VolumeQuota;
use crate::volume_fs::quota::reserve::{QuotaWrite, Reservation, SpaceRequest};
use std::sync::{Arc, Mutex};

/// What to do with symbolic links. A link below the top is never followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymlinkPolicy {
    /// Copies all links, wherever they lead.
    Keep,
    /// Fails if a link may lead out of the copied tree.
    Refuse,
    /// Leaves out links that may lead out of the copied tree.
    Skip,
}

/// The owner of the copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerPolicy {
    /// The owner of the original, as far as this process may change owners.
    Preserve,
    /// This process's user.
    CurrentUser,
}

/// A volume that is copied into.
#[derive(Debug)]
pub struct DestVolume {
    /// The volume's root.
    pub(super) root: VolumeRoot,
    /// A directory of the same file system that no guest sees.
    pub(super) staging: Arc<StoreDir>,
    quota: VolumeQuota,
    /// Held by the thread of the copy that waits for the quota lock. So the other threads do not time out.
    quota_wait: Mutex<()>,
}

impl DestVolume {
    /// Copies into the volume with this root and quota. Temp files are in `staging`.
    pub fn new(root: VolumeRoot, staging: Arc<StoreDir>, quota: VolumeQuota) -> Self {
        DestVolume { root, staging, quota, quota_wait: Mutex::default() }
    }
}

/// How to copy.
#[derive(Debug)]
pub struct CopyPolicy {
    /// What to do with links.
    pub links: SymlinkPolicy,
    /// The owner of the copies.
    pub owner: OwnerPolicy,
    /// The mode bits that a directory keeps. A file keeps its permissions only: a set-id bit would run a guest's
    /// program as the owner of the copy.
    pub directory_mode: u32,
    /// The volume that is copied into, if the destination is one.
    pub into: Option<DestVolume>,
    /// Whether the caller decides on each entry below the top.
    pub filters: bool,
    /// Ends the copy, which is then undone.
    pub cancel: CancelToken,
    /// The slot at which the copy takes turns with other copies.
    pub slot: Arc<Slot>,
}

impl CopyPolicy {
    /// Takes turns with other copies. Fails if the copy was cancelled.
    pub(super) fn yield_turn(&self) -> Result<()> {
        self.slot.go_on(&self.cancel)
    }

    /// Runs `write` under the quota lock of the volume that is copied into, if there is one with a quota, and if it has
    /// room for `request` at `path`. `reservation` holds what was reserved for the same file before.
    pub(super) fn reserve(
        &self,
        path: impl Fn() -> String,
        request: SpaceRequest,
        reservation: &mut Reservation,
        write: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let Some(DestVolume { root, quota, quota_wait, .. }) = self.limited_volume() else { return write() };
        let (path, cancel) = (path(), self.cancel.of_a_step());
        let _quota_wait = quota_wait.lock().ignore_poison();
        let quota_write = QuotaWrite { tree: root, path: &path, request, cancel: &cancel };
        let mut write = || {
            quota.limit().reserve_more(&quota_write, reservation)?;
            write()
        };
        if let Some(()) = quota.try_with_lock(&mut write)? {
            return Ok(());
        }
        // Copies into other volumes use the slot during the wait.
        self.slot.leave();
        quota.with_lock(&cancel, write)
    }

    /// Adds the path to an error of a step in the volume. Says so if the kernel enforced the volume's quota.
    pub(super) fn map_error(&self, error: Error) -> Error {
        match (&self.into, error.context().path.clone()) {
            (Some(volume), Some(path)) => volume.root.map_error(error, &path),
            _ => error,
        }
    }

    /// Returns whether the copy goes into a volume with a quota.
    pub(super) fn is_limited(&self) -> bool {
        self.limited_volume().is_some()
    }

    fn limited_volume(&self) -> Option<&DestVolume> {
        self.into.as_ref().filter(|volume| volume.quota.limit().is_limited())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::VolumeName;
    use crate::sync::LOCK_TIMEOUT;
    use crate::volume_fs::{Quota, QuotaHooks, QuotaLocks};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    fn lock_files(volume: &VolumeName) -> [String; 2] {
        [format!("{volume}-current"), format!("{volume}-next")]
    }

    fn limited_volume(home: &StoreDir) -> DestVolume {
        let open = |name| Arc::new(home.open_or_create_child(name).unwrap());
        let (name, locks_dir) = (VolumeName::parse("v").unwrap(), open("locks"));
        let lock_file_dir = locks_dir.clone();
        let hooks = QuotaHooks {
            lock_files,
            create_lock_files: Box::new(move |name, _, _| {
                let mut files = lock_files(name).into_iter();
                files.try_for_each(|file| lock_file_dir.open_or_create_file(&file).map(drop))
            }),
            is_shared: Box::new(|_| Ok(false)),
        };
        let locks = Arc::new(QuotaLocks::new(locks_dir, hooks));
        let root = VolumeRoot::new(name.clone(), open("v").try_clone().unwrap()).with_quota_locks(&locks);
        DestVolume::new(root, open("staging"), VolumeQuota::new(&name, Quota::mib(Some(1)), &locks))
    }

    #[test]
    fn a_thread_of_a_copy_waits_for_another_of_it_however_long_that_takes() {
        let home = tempfile::tempdir().unwrap();
        let policy = CopyPolicy {
            links: SymlinkPolicy::Keep,
            owner: OwnerPolicy::Preserve,
            directory_mode: 0o777,
            into: Some(limited_volume(&StoreDir::open_ambient(home.path()).unwrap())),
            filters: false,
            cancel: CancelToken::default(),
            slot: Arc::default(),
        };
        let admit = |path: &str, write: &mut dyn FnMut() -> Result<()>| {
            policy.reserve(|| path.to_owned(), SpaceRequest::default(), &mut Reservation::default(), write)
        };
        let (admit, (begun, begins), (ended, ends)) = (&admit, mpsc::channel(), mpsc::channel());
        thread::scope(|scope| {
            scope.spawn(move || {
                begins.recv().unwrap();
                ended.send(admit("second", &mut || Ok(()))).unwrap();
            });
            let mut write = || {
                begun.send(()).unwrap();
                // Measuring a large volume may take this long.
                let early = ends.recv_timeout(LOCK_TIMEOUT + Duration::from_secs(1));
                assert!(early.is_err(), "{early:?}");
                Ok(())
            };
            admit("first", &mut write).unwrap();
            ends.recv().unwrap().unwrap();
        });
    }
}
