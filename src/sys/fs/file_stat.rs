//! The metadata of a file. It also distinguishes a file from an earlier one with the same inode number.

use super::dir::FileId;
use super::free_space::STAT_BLOCK;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat as RawStat, SFlag, fstat, fstatat};
use rustix::fs::{AtFlags as StatxFlags, Statx, StatxFlags as StatxMask, StatxTimestamp, makedev, statx};
use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, SystemTime};

/// The file type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A FIFO, socket or device.
    Special,
}

impl EntryKind {
    /// Returns the file type of an `st_mode`.
    pub(crate) fn of_mode(mode: u32) -> Self {
        match SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => EntryKind::File,
            SFlag::S_IFDIR => EntryKind::Directory,
            SFlag::S_IFLNK => EntryKind::Link,
            _ => EntryKind::Special,
        }
    }
}

/// The metadata of a file, by `statx(2)`.
#[derive(Clone, Copy, Debug)]
pub struct FileStat {
    id: FileId,
    type_and_mode: u32,
    links: u64,
    owner: (u32, u32),
    length: u64,
    allocated: u64,
    accessed: KernelTime,
    modified: KernelTime,
    changed: KernelTime,
    created: Option<KernelTime>,
}

impl FileStat {
    /// Returns the status of an open file, or of one that an `O_PATH` descriptor names.
    pub fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        FileStat::read(file, OsStr::new(""), StatxFlags::EMPTY_PATH, || fstat(file))
    }

    /// Asks `statx` rather than the standard library, which has no birth times with musl. An old kernel or a seccomp
    /// filter has no `statx`: `stat` answers in its place, without a birth time.
    fn read(
        dir: BorrowedFd<'_>,
        name: &OsStr,
        flags: StatxFlags,
        stat: impl FnOnce() -> nix::Result<RawStat>,
    ) -> io::Result<Self> {
        // As `stat` does, and unlike `statx` by default: looking at an automount point mounts nothing.
        let flags = flags | StatxFlags::NO_AUTOMOUNT;
        match statx(dir, name, flags, StatxMask::BASIC_STATS | StatxMask::BTIME) {
            Ok(found) => Ok(FileStat::from(found)),
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => Ok(FileStat::from(stat()?)),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns the file type.
    pub fn kind(&self) -> EntryKind {
        EntryKind::of_mode(self.type_and_mode)
    }

    /// Returns file type and permission bits, as in `st_mode`.
    pub fn type_and_mode(&self) -> u32 {
        self.type_and_mode
    }

    /// Returns when the content was last read, or `None` if the file system returns an invalid time.
    pub fn accessed(&self) -> Option<SystemTime> {
        self.accessed.system_time()
    }

    /// Returns when the content last changed, or `None` if the file system returns an invalid time.
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified.system_time()
    }

    /// Returns when content or metadata last changed (`ctime`), which no process can set back.
    pub fn changed(&self) -> Option<SystemTime> {
        self.changed.system_time()
    }

    /// Returns when the file was created, or `None` if the file system does not record it.
    pub fn created(&self) -> Option<SystemTime> {
        self.created.and_then(KernelTime::system_time)
    }

    /// Returns the birth time in nanoseconds since 1970, or 0 if the file system does not record it.
    pub fn born_ns(&self) -> u64 {
        let since = self.created().and_then(|created| created.duration_since(SystemTime::UNIX_EPOCH).ok());
        since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
    }

    /// Returns device and inode. With the birth time they also distinguish a file from an earlier one, whose inode
    /// number it got.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Returns permissions, set-id bits and sticky bit.
    pub fn mode(&self) -> u32 {
        self.type_and_mode & 0o7777
    }

    /// Returns the length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the bytes that are allocated on the host.
    pub fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Returns the number of hard links.
    pub fn links(&self) -> u64 {
        self.links
    }

    /// Reports whether the link count is more than 1.
    pub fn has_other_names(&self) -> bool {
        self.links > 1
    }

    /// Returns user and group.
    pub fn owner(&self) -> (u32, u32) {
        self.owner
    }
}

impl From<Statx> for FileStat {
    fn from(found: Statx) -> Self {
        let time = |time: StatxTimestamp| KernelTime { seconds: time.tv_sec, nanos: time.tv_nsec.into() };
        let has_created = StatxMask::from_bits_retain(found.stx_mask).contains(StatxMask::BTIME);
        FileStat {
            id: FileId::from_numbers(makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino),
            type_and_mode: found.stx_mode.into(),
            links: found.stx_nlink.into(),
            owner: (found.stx_uid, found.stx_gid),
            length: found.stx_size,
            allocated: found.stx_blocks.saturating_mul(STAT_BLOCK),
            accessed: time(found.stx_atime),
            modified: time(found.stx_mtime),
            changed: time(found.stx_ctime),
            created: has_created.then(|| time(found.stx_btime)),
        }
    }
}

impl From<RawStat> for FileStat {
    #[expect(clippy::useless_conversion, reason = "the type of a link count differs between architectures")]
    fn from(found: RawStat) -> Self {
        FileStat {
            id: FileId::of(&found),
            type_and_mode: found.st_mode,
            links: found.st_nlink.into(),
            owner: (found.st_uid, found.st_gid),
            length: found.st_size.max(0).unsigned_abs(),
            allocated: found.st_blocks.max(0).unsigned_abs().saturating_mul(STAT_BLOCK),
            accessed: KernelTime { seconds: found.st_atime, nanos: found.st_atime_nsec },
            modified: KernelTime { seconds: found.st_mtime, nanos: found.st_mtime_nsec },
            changed: KernelTime { seconds: found.st_ctime, nanos: found.st_ctime_nsec },
            created: None,
        }
    }
}

/// A time as the kernel gives it. A guest's own file system may return any number.
#[derive(Clone, Copy, Debug)]
struct KernelTime {
    seconds: i64,
    nanos: i64,
}

impl KernelTime {
    fn system_time(self) -> Option<SystemTime> {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let second = match self.seconds < 0 {
            true => SystemTime::UNIX_EPOCH.checked_sub(whole),
            false => SystemTime::UNIX_EPOCH.checked_add(whole),
        };
        let nanos = u32::try_from(self.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
        second?.checked_add(Duration::new(0, nanos))
    }
}

/// Returns the status of the entry `name`. Does not follow a link.
pub fn stat_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<FileStat> {
    let stat = || fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    FileStat::read(dir, name, StatxFlags::SYMLINK_NOFOLLOW, stat)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes what it looks at")]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    #[test]
    fn a_time_is_converted_if_it_is_valid() {
        let epoch = SystemTime::UNIX_EPOCH;
        let time = |seconds, nanos| KernelTime { seconds, nanos }.system_time();
        assert_eq!(time(1, 5), Some(epoch + Duration::new(1, 5)));
        assert_eq!(time(-1, 5), Some(epoch - Duration::from_secs(1) + Duration::from_nanos(5)));
        assert_eq!(time(0, 1_000_000_000), None);
        assert_eq!(time(0, -1), None);
        assert!(time(i64::MAX, 999_999_999).is_some());
        assert!(time(i64::MIN, 0).is_some());
    }

    #[test]
    fn without_statx_a_file_has_all_but_its_birth_time() {
        let home = tempfile::tempdir().unwrap();
        let file = File::create(home.path().join("f")).unwrap();
        file.set_len(1 << 20).unwrap();
        let asked = FileStat::of(file.as_fd()).unwrap();
        let answered = FileStat::from(fstat(&file).unwrap());
        assert_eq!(format!("{answered:?}"), format!("{:?}", FileStat { created: None, ..asked }));
        assert_eq!(asked.created(), file.metadata().unwrap().created().ok());
        assert_eq!((answered.created(), answered.born_ns()), (None, 0));
    }

    #[test]
    fn an_entry_and_the_open_file_have_one_status() {
        let home = tempfile::tempdir().unwrap();
        let file = File::create(home.path().join("f")).unwrap();
        let dir = File::open(home.path()).unwrap();
        let (opened, entry) =
            (FileStat::of(file.as_fd()).unwrap(), stat_at(dir.as_fd(), OsStr::new("f")).unwrap());
        assert_eq!((opened.id(), opened.born_ns()), (entry.id(), entry.born_ns()));
        assert_eq!(opened.id(), FileId::of_open(file.as_fd()).unwrap());
        assert_eq!((entry.kind(), entry.has_other_names()), (EntryKind::File, false));
        fs::hard_link(home.path().join("f"), home.path().join("g")).unwrap();
        assert!(FileStat::of(file.as_fd()).unwrap().has_other_names());
        assert_eq!(FileStat::of(dir.as_fd()).unwrap().kind(), EntryKind::Directory);
    }
}
