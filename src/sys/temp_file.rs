//! Temp files of which the kernel decides the group, as it does for what is made in a directory.

use super::fs::rights::give_group_of;
use super::{Dir, FileLock};
use crate::error::Result;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A file without a name, which can get one.
const WITHOUT_NAME: OFlag = OFlag::O_TMPFILE.union(OFlag::O_RDWR).union(OFlag::O_CLOEXEC);

/// Makes a temp file in `staging` that is to be put in `target`; see [`FileLock::create_unique`]. It belongs to the group
/// that `target` gives to what is made in it, also if this process may not give files to that group.
///
/// The kernel may: such a file is made in `target` without a name, so that no guest finds it, and then named in
/// `staging`. A crash leaves nothing in `target`. Where the file system has no such files, or `staging` is in another
/// subvolume, the file belongs to this process's group.
pub fn create_temp_file(staging: &Dir, target: BorrowedFd<'_>) -> Result<(String, FileLock)> {
    let (name, lock) = FileLock::create_unique(staging)?;
    // Who puts the file in place asks again, and reports what is refused.
    let is_refused = give_group_of(target, lock.file()).is_ok_and(|is_given| !is_given);
    let made_in_target = is_refused.then(|| FileLock::name_unique(staging, create_without_name(target)?));
    match made_in_target.flatten() {
        Some(named) => staging.unlink(&name).map(|()| named),
        None => Ok((name, lock)),
    }
}

/// Makes a file without a name in a directory, that belongs to the group that this gives it. `None` if that is refused.
fn create_without_name(dir: BorrowedFd<'_>) -> Option<OwnedFd> {
    openat(dir, ".", WITHOUT_NAME, Mode::S_IRUSR | Mode::S_IWUSR).ok()
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
        let file = create_without_name(dir.as_fd()).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        let (name, lock) = FileLock::name_unique(&dir, file).unwrap();
        assert_eq!(fs::metadata(home.path().join(&name)).unwrap().mode() & 0o7777, 0o600);
        assert!(FileLock::try_acquire_leftover(&dir, &name).unwrap().is_none());
        drop(lock);
        assert!(FileLock::try_acquire_leftover(&dir, &name).unwrap().is_some());
    }
}
