//! Which file an entry is, distinguished also from an earlier file that had its inode number.

use super::fs::dir::FileId;
use super::fs::entry::{EntryKind, FileStat};
use rustix::fs::{AtFlags, StatxFlags, makedev, statx};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;

/// A file as it was found.
#[derive(Clone, Copy, Debug)]
pub struct FileStamp {
    id: FileId,
    born: u64,
    kind: EntryKind,
    has_other_names: bool,
}

impl FileStamp {
    /// Returns that of an open file.
    pub fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        stamp(file, OsStr::new(""), AtFlags::EMPTY_PATH, || FileStat::of(file))
    }

    /// Returns that of the entry `name` of a directory, of a link itself.
    pub fn at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        stamp(dir, name, AtFlags::SYMLINK_NOFOLLOW, || super::stat_at(dir, name))
    }

    /// Device and inode.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// When the file was made, in nanoseconds since 1970; 0 if the file system does not say.
    pub fn born(&self) -> u64 {
        self.born
    }

    /// The kind.
    pub fn kind(&self) -> EntryKind {
        self.kind
    }

    /// Whether the file has more names than one.
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
        // An old kernel, or what confines this process, does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => {
            let facts = stat()?;
            let (id, kind, has_other_names) = (facts.id(), facts.kind(), facts.has_other_names());
            return Ok(FileStamp { id, born: 0, kind, has_other_names });
        }
        Err(errno) => return Err(errno.into()),
    };
    let born = match StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME) {
        true => found.stx_btime.tv_sec as u64 * 1_000_000_000 + u64::from(found.stx_btime.tv_nsec),
        false => 0,
    };
    let id = FileId::from_numbers(makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino);
    let kind = EntryKind::of_mode(found.stx_mode.into());
    Ok(FileStamp { id, born, kind, has_other_names: found.stx_nlink > 1 })
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
        assert_eq!((opened.id(), opened.born()), (entry.id(), entry.born()));
        assert_eq!(opened.id(), FileStat::of(file.as_fd()).unwrap().id());
        assert_eq!((entry.kind(), entry.has_other_names()), (EntryKind::File, false));
        fs::hard_link(home.path().join("f"), home.path().join("g")).unwrap();
        assert!(FileStamp::of(file.as_fd()).unwrap().has_other_names());
        assert_eq!(FileStamp::of(dir.as_fd()).unwrap().kind(), EntryKind::Directory);
    }
}
