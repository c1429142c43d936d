//! Temp files whose group the kernel chooses, as it does for a file that is created in the target directory.

use super::fs::rights::give_group_of;
use super::{Dir, FileLock};
use crate::error::Result;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Opens a new file without a name, which `linkat(2)` can name.
const UNNAMED: OFlag = OFlag::O_TMPFILE.union(OFlag::O_RDWR).union(OFlag::O_CLOEXEC);

/// Creates a temp file in `staging` that will be renamed into `target`; see [`FileLock::create_unique`]. It belongs
/// to the group that `target` gives to new files, also if this process may not give files to that group.
///
/// If the process may not, the file is created in `target` with `O_TMPFILE`, so that the kernel sets the group and
/// no guest finds the file. It is then linked into `staging`. The file keeps this process's group if the file system
/// lacks `O_TMPFILE`, or if `staging` is in another subvolume.
///
/// Crash safety: a crash leaves nothing in `target`.
pub fn create_temp_file(staging: &Dir, target: BorrowedFd<'_>) -> Result<(String, FileLock)> {
    let (name, lock) = FileLock::create_unique(staging)?;
    // The caller sets the group again before the rename, and reports an error of that.
    let is_refused = give_group_of(target, lock.file()).is_ok_and(|is_given| !is_given);
    let made_in_target = is_refused.then(|| FileLock::name_unique(staging, create_unnamed(target)?));
    match made_in_target.flatten() {
        Some(named) => staging.unlink(&name).map(|()| named),
        None => Ok((name, lock)),
    }
}

/// Creates a file without a name in `dir`, with the group that `dir` gives it. Returns `None` if the kernel refuses.
fn create_unnamed(dir: BorrowedFd<'_>) -> Option<OwnedFd> {
    openat(dir, ".", UNNAMED, Mode::S_IRUSR | Mode::S_IWUSR).ok()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test looks at the disk from outside")]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_without_a_name_gets_one_when_it_is_locked() {
        let home = tempfile::tempdir().unwrap();
        let dir = Dir::open_or_create_ambient(home.path()).unwrap();
        let file = create_unnamed(dir.as_fd()).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        let (name, lock) = FileLock::name_unique(&dir, file).unwrap();
        assert_eq!(fs::metadata(home.path().join(&name)).unwrap().mode() & 0o7777, 0o600);
        assert!(FileLock::try_acquire_leftover(&dir, &name).unwrap().is_none());
        drop(lock);
        assert!(FileLock::try_acquire_leftover(&dir, &name).unwrap().is_some());
    }
}
