//! Where something is mounted below a directory that a guest may have written.

use crate::sys::fs::entry::{EntryKind, FileStat};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

/// A descriptor that names what stands there, a link included, and can do no I/O.
const LOOKING: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// How often an entry may come and go while it is looked at.
const ATTEMPTS: usize = 16;

/// Why nothing can be mounted there.
#[derive(Debug)]
pub enum MountPointError {
    /// A link stands on the way or at the end.
    Link,
    /// What stands on the way or at the end is not this, which it must be.
    Unfit(EntryKind),
    /// The system refused a call.
    System(&'static str, io::Error),
}

fn system(call: &'static str) -> impl Fn(Errno) -> MountPointError {
    move |errno| MountPointError::System(call, errno.into())
}

/// An entry that was made for a mount point.
#[derive(Debug)]
pub struct MadeEntry {
    holder: OwnedFd,
    name: OsString,
    kind: EntryKind,
}

impl MadeEntry {
    /// Removes the entry again, unless somebody put something in it. Whoever puts something else in its place loses
    /// that, if it is as empty: the name was ours.
    pub fn remove(self) {
        let flags = match self.kind {
            EntryKind::Directory => UnlinkatFlags::RemoveDir,
            _ => {
                let found = fstatat(&self.holder, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
                let is_empty = found.is_ok_and(|found| found.st_size == 0);
                if !is_empty {
                    return;
                }
                UnlinkatFlags::NoRemoveDir
            }
        };
        let _kept_where_refused = unlinkat(&self.holder, self.name.as_os_str(), flags);
    }
}

/// Opens what stands at `path` below `root`, and makes what is missing: directories, and at the end an entry of that
/// kind, a directory or a file, all of which are added to `made`. One name at a time from a descriptor to the next, no link followed, so that
/// the way leads down whatever is renamed meanwhile; what is mounted there is entered.
pub fn open_mount_point(
    root: BorrowedFd<'_>,
    path: &Path,
    kind: EntryKind,
    made: &mut Vec<MadeEntry>,
) -> Result<OwnedFd, MountPointError> {
    let mut here = root.try_clone_to_owned().map_err(|error| MountPointError::System("dup", error))?;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let Component::Normal(name) = component else { return Err(MountPointError::Link) };
        let wanted = if components.peek().is_some() { EntryKind::Directory } else { kind };
        here = open_or_make(here, name.to_owned(), wanted, made)?;
    }
    Ok(here)
}

fn open_or_make(
    holder: OwnedFd,
    name: OsString,
    kind: EntryKind,
    made: &mut Vec<MadeEntry>,
) -> Result<OwnedFd, MountPointError> {
    for _ in 0..ATTEMPTS {
        match openat(&holder, name.as_os_str(), LOOKING, Mode::empty()) {
            Ok(found) => {
                let facts =
                    FileStat::of(found.as_fd()).map_err(|error| MountPointError::System("stat", error))?;
                return match facts.kind() {
                    standing if standing == kind => Ok(found),
                    EntryKind::Link => Err(MountPointError::Link),
                    _ => Err(MountPointError::Unfit(kind)),
                };
            }
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(system("open")(errno)),
        }
        match make(&holder, &name, kind) {
            Ok(()) => {
                let holder = holder.try_clone().map_err(|error| MountPointError::System("dup", error))?;
                made.push(MadeEntry { holder, name: name.clone(), kind });
            }
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(system("mkdir")(errno)),
        }
    }
    Err(system("open")(Errno::EBUSY))
}

fn make(holder: &OwnedFd, name: &OsString, kind: EntryKind) -> nix::Result<()> {
    match kind {
        EntryKind::Directory => mkdirat(holder, name.as_os_str(), Mode::from_bits_truncate(0o755)),
        _ => {
            let flags =
                OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(holder, name.as_os_str(), flags, Mode::from_bits_truncate(0o644)).map(drop)
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test looks at the disk from outside")]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    struct ResolveRoot(tempfile::TempDir);

    impl ResolveRoot {
        fn open(&self, path: &str, kind: EntryKind) -> Result<(OwnedFd, Vec<MadeEntry>), MountPointError> {
            let root = fs::File::open(self.0.path()).unwrap();
            let mut made = Vec::new();
            Ok((open_mount_point(root.as_fd(), Path::new(path), kind, &mut made)?, made))
        }
    }

    #[test]
    fn what_is_missing_is_made_and_removed_again_unless_it_is_used() {
        let root = ResolveRoot(tempfile::tempdir().unwrap());
        fs::create_dir(root.0.path().join("there")).unwrap();
        let (point, made) = root.open("there/a/b", EntryKind::Directory).unwrap();
        let found = fs::metadata(root.0.path().join("there/a/b")).unwrap();
        assert_eq!((FileStat::of(point.as_fd()).unwrap().id().inode(), made.len()), (found.ino(), 2));
        made.into_iter().rev().for_each(MadeEntry::remove);
        assert_eq!(fs::read_dir(root.0.path().join("there")).unwrap().count(), 0);

        let (_, file) = root.open("f", EntryKind::File).unwrap();
        let (_, dir) = root.open("d", EntryKind::Directory).unwrap();
        let (_, empty) = root.open("e", EntryKind::File).unwrap();
        fs::write(root.0.path().join("f"), "used").unwrap();
        fs::write(root.0.path().join("d/used"), "").unwrap();
        [file, dir, empty].into_iter().flatten().for_each(MadeEntry::remove);
        assert!(root.0.path().join("f").exists() && root.0.path().join("d/used").exists());
        assert!(!root.0.path().join("e").exists());
    }

    #[test]
    fn a_link_or_another_kind_is_refused_on_the_way_and_at_the_end() {
        let root = ResolveRoot(tempfile::tempdir().unwrap());
        fs::create_dir(root.0.path().join("d")).unwrap();
        fs::write(root.0.path().join("f"), "").unwrap();
        for (link, target) in [("dir-link", "d"), ("file-link", "f"), ("dangling", "nowhere"), ("up", "..")] {
            symlink(target, root.0.path().join(link)).unwrap();
            for path in [link.to_owned(), format!("{link}/x")] {
                for kind in [EntryKind::Directory, EntryKind::File] {
                    let refused = root.open(&path, kind).unwrap_err();
                    assert!(matches!(refused, MountPointError::Link), "{path}: {refused:?}");
                }
            }
        }
        for (path, kind) in [
            ("f", EntryKind::Directory),
            ("f/x", EntryKind::File),
            ("f/x", EntryKind::Directory),
            ("d", EntryKind::File),
        ] {
            let refused = root.open(path, kind).unwrap_err();
            assert!(matches!(refused, MountPointError::Unfit(_)), "{path}: {refused:?}");
        }
        assert!(!root.0.path().join("nowhere").exists());
    }
}
