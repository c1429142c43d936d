//! The rights of other users of the host on a directory of the store, and how to remove them.
//!
//! `st_mode` is not the whole access policy: an access control list can grant a user more rights than "other" has. The
//! group's bits of `st_mode` are its mask, so without these bits it grants nothing.

use super::open_flags::PATH_ONLY_NOFOLLOW;
use super::reopen::descriptor_path;
use crate::error::{Error, Result};
use crate::sys::Dir;
use nix::errno::Errno;
use nix::fcntl::openat;
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mknodat};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::geteuid;
use rustix::fs::{fgetxattr, fremovexattr};
use rustix::io::Errno as XattrErrno;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;

const ACCESS_LIST: &CStr = c"system.posix_acl_access";
const DEFAULT_LIST: &CStr = c"system.posix_acl_default";

/// The lengths in bytes of an ACL's parts in the extended attribute: its version, then entries of tag, rights and ID.
const LIST_HEADER: usize = 4;
const LIST_ENTRY: usize = 8;
const LIST_USER: u16 = 0x02;
const LIST_WRITE: u16 = 0x02;

/// The kernel's limit for the value of an extended attribute.
const MAX_ATTRIBUTE_BYTES: usize = 64 << 10;

const GROUP_AND_OTHERS: u32 = 0o077;
const GROUP: u32 = 0o070;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;
const FILE_MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// The rights on a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OthersRights {
    /// The owner, if it is neither this process's user nor root.
    pub foreign_owner: Option<u32>,
    /// Whether this process's user owns it.
    pub is_ours: bool,
    /// Whether another user may create entries in it: every user, or one that its access control list names.
    pub writable: bool,
    /// Whether such a user cannot remove or rename the entries of others, as in `/tmp` (sticky bit).
    pub sticky: bool,
    /// Whether a user other than the owner has any right on it.
    pub open: bool,
}

impl Dir {
    /// Returns the rights of other users on this directory.
    pub fn others_rights(&self) -> Result<OthersRights> {
        let failed = |error| Error::file_system("stat", self.path(), error);
        let found = fstat(self).map_err(|errno| failed(errno.into()))?;
        let (owner, us) = (found.st_uid, geteuid().as_raw());
        let named = found.st_mode & GROUP != 0 && has_named_writer(self.as_fd(), us).map_err(failed)?;
        Ok(OthersRights {
            foreign_owner: Some(owner).filter(|owner| *owner != us && *owner != 0),
            is_ours: owner == us,
            writable: named || found.st_mode & OTHERS_WRITE != 0,
            sticky: found.st_mode & STICKY != 0,
            open: found.st_mode & GROUP_AND_OTHERS != 0,
        })
    }

    /// Removes all rights of other users on this directory, and its default ACL, from which new entries inherit.
    pub fn make_private(&self) -> Result<()> {
        fchmod(self, Mode::S_IRWXU)
            .map_err(|errno| Error::file_system("chmod", self.path(), errno.into()))?;
        for list in [ACCESS_LIST, DEFAULT_LIST] {
            match fremovexattr(self, list) {
                Ok(()) | Err(XattrErrno::NODATA | XattrErrno::OPNOTSUPP) => {}
                Err(errno) => return Err(Error::file_system("removexattr", self.path(), errno.into())),
            }
        }
        Ok(())
    }

    /// Reports whether the file system or the mount is read-only.
    pub fn is_read_only(&self) -> Result<bool> {
        let found = fstatvfs(self);
        let found = found.map_err(|errno| Error::file_system("statvfs", self.path(), errno.into()))?;
        Ok(found.flags().contains(FsFlags::ST_RDONLY))
    }

    /// Returns the file type of the entry `name`, in words, if it is not a regular file. Returns `None` if it is one, or
    /// if it is missing.
    pub fn non_file_at(&self, name: &str) -> Result<Option<&'static str>> {
        self.other_than(SFlag::S_IFREG, name)
    }

    /// Returns the file type of the entry `name`, in words, if it is not a directory. Returns `None` if it is one, or if
    /// it is missing.
    pub fn non_directory_at(&self, name: &str) -> Result<Option<&'static str>> {
        self.other_than(SFlag::S_IFDIR, name)
    }

    fn other_than(&self, wanted: SFlag, name: &str) -> Result<Option<&'static str>> {
        let found = self.stat_entry(name)?.map(|found| kind_of(&found));
        Ok(found.filter(|found| *found != wanted).map(|found| match found {
            SFlag::S_IFREG => "a regular file",
            SFlag::S_IFLNK => "a symbolic link",
            SFlag::S_IFDIR => "a directory",
            SFlag::S_IFIFO => "a FIFO",
            SFlag::S_IFSOCK => "a socket",
            _ => "a device",
        }))
    }

    /// Creates an empty file with mode 0600 without opening it. Does nothing if the entry exists, or if the file system
    /// refuses `mknod(2)`.
    ///
    /// Closing a descriptor of the file would release the record locks that this process holds on it.
    pub fn make_empty_file(&self, name: &str) -> Result<()> {
        match mknodat(self, name, SFlag::S_IFREG, FILE_MODE, 0) {
            Ok(()) | Err(Errno::EEXIST | Errno::EPERM | Errno::ENOSYS | Errno::EOPNOTSUPP) => Ok(()),
            Err(errno) => Err(Error::file_system("open", self.path_of(name), errno.into())),
        }
    }

    /// Removes all rights of other users on the regular file `name`, if this process's user owns it. Does not open it for
    /// I/O.
    #[expect(clippy::disallowed_methods, reason = "the path is procfs' name for a descriptor that we hold")]
    pub fn make_file_private(&self, name: &str) -> Result<()> {
        let failed = |errno: Errno| Error::file_system("chmod", self.path_of(name), errno.into());
        let file = match openat(self, name, PATH_ONLY_NOFOLLOW, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(()),
            opened => opened.map_err(failed)?,
        };
        let found = fstat(&file).map_err(failed)?;
        let is_open = found.st_mode & GROUP_AND_OTHERS != 0 && found.st_uid == geteuid().as_raw();
        if !is_open || kind_of(&found) != SFlag::S_IFREG {
            return Ok(());
        }
        let private = std::fs::Permissions::from_mode(FILE_MODE.bits());
        std::fs::set_permissions(descriptor_path("self", file.as_fd()), private)
            .map_err(|error| Error::file_system("chmod", self.path_of(name), error))
    }
}

fn kind_of(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits())
}

/// Reports whether the access control list of a directory names a user with write permission who is not root or `us`.
fn has_named_writer(dir: BorrowedFd<'_>, us: u32) -> io::Result<bool> {
    let mut list = vec![0_u8; MAX_ATTRIBUTE_BYTES];
    match fgetxattr(dir, ACCESS_LIST, &mut list[..]) {
        Ok(length) => list.truncate(length),
        Err(XattrErrno::NODATA | XattrErrno::OPNOTSUPP) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    }
    let entries = list.get(LIST_HEADER..).unwrap_or_default().chunks_exact(LIST_ENTRY);
    Ok(entries.into_iter().any(|entry| {
        let [tag, tag_high, rights, rights_high, id @ ..] = entry else { return false };
        let (tag, rights) =
            (u16::from_le_bytes([*tag, *tag_high]), u16::from_le_bytes([*rights, *rights_high]));
        let id = id.iter().rev().fold(0_u32, |id, byte| id << 8 | u32::from(*byte));
        tag == LIST_USER && rights & LIST_WRITE != 0 && id != us && id != 0
    }))
}
