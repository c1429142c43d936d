//! The identity of a file, distinct also from that of an earlier file with the same inode number.

use super::fs::dir::FileId;
use super::fs::entry::{EntryKind, FileStat};
use rustix::fs::{AtFlags, StatxFlags, makedev, statx};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;

/// The identity, the birth time and the kind of a file.
#[derive(Clone, Copy, Debug)]
pub struct FileStamp {
    id: FileId,
    born_ns: u64,
    kind: EntryKind,
    has_other_names: bool,
}

impl FileStamp {
    /// Stamps an open file.
    pub fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        stamp(file, OsStr::new(""), AtFlags::EMPTY_PATH, || FileStat::of(file))
    }

    /// Stamps the entry `name` of a directory. A link is not followed.
    pub fn at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        stamp(dir, name, AtFlags::SYMLINK_NOFOLLOW, || super::stat_at(dir, name))
    }

    /// Returns device and inode.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Returns the birth time in nanoseconds since 1970, or 0 if the file system does not record it.
    pub fn born_ns(&self) -> u64 {
        self.born_ns
    }

    /// Returns the file type.
    pub fn kind(&self) -> EntryKind {
        self.kind
    }

    /// Reports whether the link count is more than 1.
    pub fn has_other_names(&self) -> bool {
        self.has_other_names
    }
}

fn stamp(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    flags: AtFlags,
    stat: impl FnOnce() -> io::Result<FileStat>,
) -> io::Result<FileStamp> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let found = match statx(dir, name, flags, wanted) {
        Ok(found) => found,
        // An old kernel or a seccomp filter has no statx.
        Err(Errno::NOSYS | Errno::PERM) => {
            let stat = stat()?;
            let (id, kind, has_other_names) = (stat.id(), stat.kind(), stat.has_other_names());
            return Ok(FileStamp { id, born_ns: 0, kind, has_other_names });
        }
        Err(errno) => return Err(errno.into()),
    };
    let born_ns = match StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME) {
        true => found.stx_btime.tv_sec as u64 * 1_000_000_000 + u64::from(found.stx_btime.tv_nsec),
        false => 0,
    };
    let id = FileId::from_numbers(makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino);
    let kind = EntryKind::of_mode(found.stx_mode.into());
    Ok(FileStamp { id, born_ns, kind, has_other_names: found.stx_nlink > 1 })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes what it looks at")]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    #[test]
    fn an_entry_and_the_open_file_have_one_stamp() {
        let home = tempfile::tempdir().unwrap();
        let file = File::create(home.path().join("f")).unwrap();
        let dir = File::open(home.path()).unwrap();
        let (opened, entry) =
            (FileStamp::of(file.as_fd()).unwrap(), FileStamp::at(dir.as_fd(), OsStr::new("f")).unwrap());
        assert_eq!((opened.id(), opened.born_ns()), (entry.id(), entry.born_ns()));
        assert_eq!(opened.id(), FileStat::of(file.as_fd()).unwrap().id());
        assert_eq!((entry.kind(), entry.has_other_names()), (EntryKind::File, false));
        fs::hard_link(home.path().join("f"), home.path().join("g")).unwrap();
        assert!(FileStamp::of(file.as_fd()).unwrap().has_other_names());
        assert_eq!(FileStamp::of(dir.as_fd()).unwrap().kind(), EntryKind::Directory);
    }
}
