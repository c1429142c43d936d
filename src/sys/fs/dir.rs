//! A directory of the store, by descriptor. Its methods name an entry by one component, never by a path.

use super::open_flags::{READ_DIRECTORY, READ_DIRECTORY_NOFOLLOW};
use super::reflink_rename::PublishRequest;
use super::reopen::descriptor_path;
use crate::error::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlink, renameat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, fstatat, lstat, mkdirat, stat};
use nix::unistd::{UnlinkatFlags, fsync, syncfs, unlinkat};
use rustix::fs::{RenameFlags, renameat_with};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Device and inode, which distinguish a file from another one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    dev: u64,
    ino: u64,
}

impl FileId {
    pub(crate) fn of(found: &FileStat) -> Self {
        FileId { dev: found.st_dev, ino: found.st_ino }
    }

    /// Returns the identity of an open file.
    pub fn of_open(file: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(FileId::of(&fstat(file)?))
    }

    /// Builds an identity from stored numbers.
    pub fn from_numbers(device: u64, inode: u64) -> Self {
        FileId { dev: device, ino: inode }
    }

    /// Returns the file's device.
    pub fn device(self) -> u64 {
        self.dev
    }

    /// Returns the file's inode number.
    pub fn inode(self) -> u64 {
        self.ino
    }

    /// Returns the identity of the file that is at `path` now, or `None` if no file is there.
    pub fn at(path: &Path) -> Result<Option<Self>> {
        FileId::found(path, stat(path))
    }

    /// Same as [`FileId::at`], but does not follow a link at the end.
    pub fn at_entry(path: &Path) -> Result<Option<Self>> {
        FileId::found(path, lstat(path))
    }

    fn found(path: &Path, found: nix::Result<FileStat>) -> Result<Option<Self>> {
        match found {
            Ok(found) => Ok(Some(FileId::of(&found))),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(Error::file_system("stat", path, errno.into())),
        }
    }
}

/// An open directory of the store. Its path is for messages only: no file is opened by it.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// Whether the directory does not exist and cannot be created. Then it is empty, and `fd` is its parent.
    is_missing: bool,
}

impl Dir {
    /// Opens the directory at an absolute path that the host's user chose. Creates it and its missing parents with mode
    /// 0700. Follows links: above the volumes the host's user decides.
    pub fn open_or_create_ambient(path: &Path) -> Result<Self> {
        match Dir::open_ambient(path) {
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => {
                let parent = path.parent().map(Dir::open_or_create_ambient).transpose()?;
                match mkdirat(AT_FDCWD, path, Mode::S_IRWXU) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(Error::file_system("mkdir", path, errno.into())),
                }
                parent.map_or(Ok(()), |parent| parent.sync())?;
                Dir::open_ambient(path)
            }
            opened => opened,
        }
    }

    /// Opens the directory at an absolute path that the host's user chose. Follows links.
    pub fn open_ambient(path: &Path) -> Result<Self> {
        match openat(AT_FDCWD, path, READ_DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Dir { fd, path: path.to_owned(), is_missing: false }),
            Err(errno) => Err(Error::file_system("open", path, errno.into())),
        }
    }

    /// Returns the path by which the directory was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory's current path, without links, or [`Dir::path`] if procfs does not show it.
    pub fn real_path(&self) -> PathBuf {
        if self.is_missing {
            return self.path.clone();
        }
        let link = descriptor_path("self", self.fd.as_fd());
        let target = readlink(&link).map(PathBuf::from).ok().filter(|path| path.is_absolute());
        target.unwrap_or_else(|| self.path.clone())
    }

    /// Returns the length of the file `name`, or `None` if there is no such entry.
    pub fn length_of(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.stat_entry(name)?.map(|found| found.st_size as u64))
    }

    /// Returns the path of an entry, for messages and for a runtime.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Duplicates the descriptor.
    pub fn try_clone(&self) -> Result<OwnedFd> {
        self.check_there("dup", "")?;
        self.fd.try_clone().map_err(|error| Error::file_system("dup", &self.path, error))
    }

    /// Fails with `EROFS` if the directory does not exist because the file system is read-only.
    fn check_there(&self, call: &'static str, name: &str) -> Result<()> {
        match self.is_missing {
            true => Err(Error::file_system(call, self.path_of(name), Errno::EROFS.into())),
            false => Ok(()),
        }
    }

    /// Reports whether the directory does not exist; see [`Dir::open_child_or_none`].
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }

    /// Opens a subdirectory, and creates it with mode 0700 if it is missing.
    ///
    /// If a read-only file system lacks it, returns an empty `Dir` in which nothing can be created.
    pub fn open_child_or_none(&self, name: &str) -> Result<Dir> {
        match self.open_or_create_child(name) {
            Err(error) if error.is_refusal(&[Errno::EROFS]) && !self.contains(name)? => {
                let fd = self.try_clone()?;
                Ok(Dir { fd, path: self.path_of(name), is_missing: true })
            }
            opened => opened,
        }
    }

    /// Opens a subdirectory. Fails if a link is there.
    pub fn open_child(&self, name: &str) -> Result<Dir> {
        let path = self.path_of(name);
        if self.is_missing {
            return Err(Error::file_system("open", path, Errno::ENOENT.into()));
        }
        match openat(&self.fd, name, READ_DIRECTORY_NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Dir { fd, path, is_missing: false }),
            Err(errno) => Err(Error::file_system("open", path, errno.into())),
        }
    }

    /// Creates a subdirectory that must not exist, with `mode` and the set-gid bit that it inherits.
    pub fn create_child(&self, name: &str, mode: u32) -> Result<Dir> {
        self.check_there("mkdir", name)?;
        let path = self.path_of(name);
        mkdirat(&self.fd, name, Mode::S_IRWXU)
            .map_err(|errno| Error::file_system("mkdir", &path, errno.into()))?;
        let child = self.open_child(name)?;
        child.set_mode(mode)?;
        Ok(child)
    }

    /// Sets the mode, and keeps the set-gid bit.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<()> {
        let inherited = fstat(&self.fd).map(|made| Mode::from_bits_truncate(made.st_mode) & Mode::S_ISGID);
        inherited
            .and_then(|inherited| fchmod(&self.fd, Mode::from_bits_truncate(mode) | inherited))
            .map_err(|errno| Error::file_system("chmod", &self.path, errno.into()))
    }

    /// Opens a subdirectory, and creates it with mode 0700 if it is missing.
    pub fn open_or_create_child(&self, name: &str) -> Result<Dir> {
        self.check_there("mkdir", name)?;
        match mkdirat(&self.fd, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => self.open_child(name),
            Err(errno) => Err(Error::file_system("mkdir", self.path_of(name), errno.into())),
        }
    }

    /// Opens a file of the store, and creates it with mode 0600 if it is missing. Fails with `ELOOP` if a link is there.
    pub fn open_or_create_file(&self, name: &str) -> Result<OwnedFd> {
        self.check_there("open", name)?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        openat(&self.fd, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| Error::file_system("open", self.path_of(name), errno.into()))
    }

    /// Opens a file of the store for reading and writing. Returns `None` if it is missing; fails with `ELOOP` if a link
    /// is there.
    pub fn open_own_file(&self, name: &str) -> Result<Option<OwnedFd>> {
        if self.is_missing {
            return Ok(None);
        }
        match openat(&self.fd, name, OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::file_system("open", self.path_of(name), errno.into())),
        }
    }

    /// Opens a file of the store for its lock, also if it is only readable or only writable. Returns `None` if it is
    /// missing.
    pub fn open_existing_file(&self, name: &str) -> Result<Option<OwnedFd>> {
        if self.is_missing {
            return Ok(None);
        }
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let open = |access| openat(&self.fd, name, flags | access, Mode::empty());
        match open(OFlag::O_RDONLY).or_else(|_| open(OFlag::O_WRONLY)) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::file_system("open", self.path_of(name), errno.into())),
        }
    }

    /// Creates a file that must not exist, with `mode` less the umask.
    pub fn create_file(&self, name: &str, mode: u32) -> Result<OwnedFd> {
        self.check_there("open", name)?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        openat(&self.fd, name, flags, Mode::from_bits_truncate(mode))
            .map_err(|errno| Error::file_system("open", self.path_of(name), errno.into()))
    }

    /// Reports whether there is an entry `name`, a dangling link included.
    pub fn contains(&self, name: &str) -> Result<bool> {
        Ok(self.stat_entry(name)?.is_some())
    }

    /// Returns the status of the entry `name`, or `None` if it is missing. Does not follow a link.
    pub(crate) fn stat_entry(&self, name: &str) -> Result<Option<FileStat>> {
        if self.is_missing {
            return Ok(None);
        }
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::file_system("stat", self.path_of(name), errno.into())),
        }
    }

    /// Moves an entry into another directory of the same file system. Fails with `EEXIST` if the new name exists.
    pub fn move_to(&self, name: &str, target: &Dir, new_name: &str) -> Result<()> {
        self.check_there("rename", name).and_then(|()| target.check_there("rename", new_name))?;
        renameat_with(&self.fd, name, &target.fd, new_name, RenameFlags::NOREPLACE)
            .map_err(|errno| Error::file_system("rename", self.path_of(name), errno.into()))
    }

    /// Moves a directory over an empty one in another directory of the same file system. Fails with `ENOTEMPTY` if that
    /// one is not empty.
    pub fn move_over_empty(&self, name: &str, target: &Dir, new_name: &str) -> Result<()> {
        self.check_there("rename", name).and_then(|()| target.check_there("rename", new_name))?;
        renameat(&self.fd, name, &target.fd, new_name)
            .map_err(|errno| Error::file_system("rename", target.path_of(new_name), errno.into()))
    }

    /// Renames an open temp file, whose name is a unique token, to `new_name` in `target`, and replaces that entry.
    ///
    /// `target` is a directory below `root`, on the same file system as this directory. If it is in another subvolume,
    /// the file is cloned, and `give_rights` sets the rights of the clone.
    pub fn replace(
        &self,
        (name, file): (&str, BorrowedFd<'_>),
        root: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        new_name: &OsStr,
        give_rights: &dyn Fn(BorrowedFd<'_>) -> io::Result<()>,
    ) -> Result<()> {
        self.check_there("rename", name)?;
        let source = self.fd.as_fd();
        let request = PublishRequest { source, name, file, root, target, new_name, give_rights };
        let replaced = match request.by_rename() {
            Err(Errno::EXDEV) => request.by_clone(),
            renamed => renamed,
        };
        replaced.map_err(|errno| Error::file_system("rename", new_name, errno.into()))
    }

    /// Unlinks a file. Succeeds if it is already gone.
    pub fn unlink(&self, name: &str) -> Result<()> {
        if self.is_missing {
            return Ok(());
        }
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::file_system("unlink", self.path_of(name), errno.into())),
        }
    }

    /// Returns the names of all entries except `.` and `..`.
    pub fn names(&self) -> Result<Vec<OsString>> {
        if self.is_missing {
            return Ok(Vec::new());
        }
        let fail = |errno: Errno| Error::file_system("scandir", &self.path, errno.into());
        let mut listing =
            nix::dir::Dir::openat(&self.fd, ".", READ_DIRECTORY_NOFOLLOW, Mode::empty()).map_err(fail)?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let name = entry.map_err(fail)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// Flushes the whole file system of the directory to disk.
    pub fn sync_file_system(&self) -> Result<()> {
        syncfs(&self.fd).map_err(|errno| Error::file_system("syncfs", &self.path, errno.into()))
    }

    /// Flushes the directory's entries to disk.
    pub fn sync(&self) -> Result<()> {
        fsync(&self.fd).map_err(|errno| Error::file_system("fsync", &self.path, errno.into()))
    }

    /// Returns when an entry was last created, renamed or deleted here, in seconds and nanoseconds.
    pub fn changed_at(&self) -> Result<(i64, i64)> {
        let found = fstat(&self.fd).map_err(|errno| Error::file_system("stat", &self.path, errno.into()))?;
        Ok((found.st_mtime, found.st_mtime_nsec))
    }

    /// Reports whether an open file is the entry `name`.
    pub fn is_entry(&self, name: &str, file: BorrowedFd<'_>) -> Result<bool> {
        let Some(found) = self.stat_entry(name)? else { return Ok(false) };
        let file =
            fstat(file).map_err(|errno| Error::file_system("stat", self.path_of(name), errno.into()))?;
        Ok(FileId::of(&found) == FileId::of(&file))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
