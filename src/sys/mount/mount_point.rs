//! Opens or creates mount points below a directory that a guest may have written.

use crate::sys::fs::file_stat::{EntryKind, FileStat};
use crate::sys::fs::open_flags::PATH_ONLY_NOFOLLOW;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

/// How often an entry is opened or created while another process deletes and creates it.
const MAX_ATTEMPTS: usize = 16;

/// Why a mount point cannot be opened.
#[derive(Debug)]
pub enum MountPointError {
    /// The path contains a link.
    Link,
    /// A component of the path is not of this type, which it must be.
    WrongKind(EntryKind),
    /// The system refused a call.
    System(&'static str, io::Error),
}

fn system(call: &'static str) -> impl Fn(Errno) -> MountPointError {
    move |errno| MountPointError::System(call, errno.into())
}

/// An entry that was created for a mount point.
#[derive(Debug)]
pub struct CreatedEntry {
    parent: OwnedFd,
    name: OsString,
    kind: EntryKind,
}

impl CreatedEntry {
    /// Removes the entry if it is still empty.
    ///
    /// TOCTOU: if another process replaces it with an empty entry, that entry is removed.
    pub fn remove(self) {
        let flags = match self.kind {
            EntryKind::Directory => UnlinkatFlags::RemoveDir,
            _ => {
                let found = fstatat(&self.parent, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
                let is_empty = found.is_ok_and(|found| found.st_size == 0);
                if !is_empty {
                    return;
                }
                UnlinkatFlags::NoRemoveDir
            }
        };
        let _kept_if_refused = unlinkat(&self.parent, self.name.as_os_str(), flags);
    }
}

/// Opens the entry at `path` below `root` as an `O_PATH` descriptor. Creates missing directories, and the last entry as
/// a file or directory of `kind`. Adds each created entry to `created`.
///
/// Opens one component at a time and follows no link. Enters other mounts.
///
/// TOCTOU: a concurrent rename cannot lead the path out of `root`.
pub fn open_mount_point(
    root: BorrowedFd<'_>,
    path: &Path,
    kind: EntryKind,
    created: &mut Vec<CreatedEntry>,
) -> Result<OwnedFd, MountPointError> {
    let mut here = root.try_clone_to_owned().map_err(|error| MountPointError::System("dup", error))?;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let Component::Normal(name) = component else { return Err(MountPointError::Link) };
        let wanted = if components.peek().is_some() { EntryKind::Directory } else { kind };
        here = open_or_create(here, name.to_owned(), wanted, created)?;
    }
    Ok(here)
}

fn open_or_create(
    parent: OwnedFd,
    name: OsString,
    kind: EntryKind,
    created: &mut Vec<CreatedEntry>,
) -> Result<OwnedFd, MountPointError> {
    for _ in 0..MAX_ATTEMPTS {
        match openat(&parent, name.as_os_str(), PATH_ONLY_NOFOLLOW, Mode::empty()) {
            Ok(found) => {
                let stat =
                    FileStat::of(found.as_fd()).map_err(|error| MountPointError::System("stat", error))?;
                return match stat.kind() {
                    actual if actual == kind => Ok(found),
                    EntryKind::Link => Err(MountPointError::Link),
                    _ => Err(MountPointError::WrongKind(kind)),
                };
            }
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(system("open")(errno)),
        }
        match create(&parent, &name, kind) {
            Ok(()) => {
                let parent = parent.try_clone().map_err(|error| MountPointError::System("dup", error))?;
                created.push(CreatedEntry { parent, name: name.clone(), kind });
            }
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(system("mkdir")(errno)),
        }
    }
    Err(system("open")(Errno::EBUSY))
}

fn create(parent: &OwnedFd, name: &OsString, kind: EntryKind) -> nix::Result<()> {
    match kind {
        EntryKind::Directory => mkdirat(parent, name.as_os_str(), Mode::from_bits_truncate(0o755)),
        _ => {
            let flags =
                OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(parent, name.as_os_str(), flags, Mode::from_bits_truncate(0o644)).map(drop)
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test looks at the disk from outside")]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    struct Rootfs(tempfile::TempDir);

    impl Rootfs {
        fn open(&self, path: &str, kind: EntryKind) -> Result<(OwnedFd, Vec<CreatedEntry>), MountPointError> {
            let root = fs::File::open(self.0.path()).unwrap();
            let mut created = Vec::new();
            Ok((open_mount_point(root.as_fd(), Path::new(path), kind, &mut created)?, created))
        }
    }

    #[test]
    fn missing_entries_are_created_and_removed_unless_they_are_used() {
        let root = Rootfs(tempfile::tempdir().unwrap());
        fs::create_dir(root.0.path().join("there")).unwrap();
        let (point, created) = root.open("there/a/b", EntryKind::Directory).unwrap();
        let found = fs::metadata(root.0.path().join("there/a/b")).unwrap();
        assert_eq!((FileStat::of(point.as_fd()).unwrap().id().inode(), created.len()), (found.ino(), 2));
        created.into_iter().rev().for_each(CreatedEntry::remove);
        assert_eq!(fs::read_dir(root.0.path().join("there")).unwrap().count(), 0);

        let (_, file) = root.open("f", EntryKind::File).unwrap();
        let (_, dir) = root.open("d", EntryKind::Directory).unwrap();
        let (_, empty) = root.open("e", EntryKind::File).unwrap();
        fs::write(root.0.path().join("f"), "used").unwrap();
        fs::write(root.0.path().join("d/used"), "").unwrap();
        [file, dir, empty].into_iter().flatten().for_each(CreatedEntry::remove);
        assert!(root.0.path().join("f").exists() && root.0.path().join("d/used").exists());
        assert!(!root.0.path().join("e").exists());
    }

    #[test]
    fn a_link_or_another_kind_is_refused_on_the_way_and_at_the_end() {
        let root = Rootfs(tempfile::tempdir().unwrap());
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
            assert!(matches!(refused, MountPointError::WrongKind(_)), "{path}: {refused:?}");
        }
        assert!(!root.0.path().join("nowhere").exists());
    }
}
