//! Owner, mode, ACL and attributes of a new file: those of the file that it replaces, of its directory, or of its
//! original.
//!
//! The mode of a file with an ACL shows the ACL's mask in place of the group's rights. So the mode alone would grant more
//! than the file does. Each function here narrows first and widens last.

use super::acl::Acl;
use super::file_stat::FileStat;
use super::xattrs::{self, XattrNames};
use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchown, getegid, geteuid};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

const USER_ATTRIBUTES: &[u8] = b"user.";

/// Overlayfs records here how a file relates to its layers, which is not true of another file.
const OVERLAY_ATTRIBUTES: [&[u8]; 2] = [b"user.overlay.", b"trusted.overlay."];

/// Attributes that describe the content, and do not apply to new content.
const CONTENT_ATTRIBUTES: [&[u8]; 3] = [b"security.capability", b"security.ima", b"security.evm"];

const PERMISSIONS: u32 = 0o777;
const STICKY: u32 = 0o1000;
const SET_GROUP_ID: u32 = 0o2000;
const SET_ID: u32 = 0o6000;

/// Gives `new`, which replaces `old` with other content, the owner, mode, ACL and attributes of `old`.
///
/// Leaves out what depends on the content: capabilities, and set-id bits that the kernel would drop on a write to
/// `old`. Leaves out set-id bits also if the owner cannot be kept. If the group cannot be kept, it gets the rights of
/// others.
pub fn keep_rights(old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> io::Result<()> {
    let (stat, names) = (FileStat::of(old)?, XattrNames::of(old)?);
    keep_named(old, &names, new)?;
    let acl = access_acl(old, &names)?;
    let (user, group) = stat.owner();
    let is_owner_kept = try_chown(new, Some(user), Some(group))?;
    let is_group_kept = is_owner_kept || try_chown(new, None, Some(group))?;
    let keeps_set_id = is_owner_kept && geteuid().is_root();
    let special = if keeps_set_id { SET_ID | STICKY } else { STICKY };
    let others = stat.mode() & 0o7;
    match acl {
        Some(mut acl) => {
            if !is_group_kept {
                acl.limit_group(others);
            }
            set(new, Some(&acl), stat.mode() & special | acl.mode())
        }
        None => {
            let group = if is_group_kept { 0o070 } else { others << 3 };
            set(new, None, stat.mode() & (special | 0o707 | group))
        }
    }
}

/// The rights and attributes that a copy gets from its original.
#[derive(Debug)]
pub struct CopiedRights {
    names: XattrNames,
    /// The permission bits. The ACL is not copied, so if there is one, these are bits that give no user more.
    pub permissions: u32,
}

impl CopiedRights {
    /// Reads the rights of an open file with this status.
    pub fn of(file: BorrowedFd<'_>, stat: &FileStat) -> io::Result<Self> {
        let names = XattrNames::of(file)?;
        let acl = access_acl(file, &names)?;
        let narrowest = acl.map_or(PERMISSIONS, |acl| acl.narrowest_mode());
        Ok(CopiedRights { names, permissions: stat.mode() & PERMISSIONS & narrowest })
    }

    /// Reports whether the copy gets attributes, for which it must be writable.
    pub fn has_attributes(&self) -> bool {
        self.names.iter().any(is_copied)
    }

    /// Gives a copy the user attributes of its original. Skips them if the copy's file system lacks attributes.
    pub fn give_attributes(&self, original: BorrowedFd<'_>, copy: BorrowedFd<'_>) -> io::Result<()> {
        xattrs::copy(original, &self.names, copy, is_copied, |_| true)
    }
}

/// Gives `new`, which replaces `old` with other content, the attributes of `old` without the ACL.
pub fn keep_attributes(old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> io::Result<()> {
    keep_named(old, &XattrNames::of(old)?, new)
}

/// Gives a copy, which replaces `old`, the ACL of `old`, and `permissions` less what the ACL denies.
pub fn keep_acl(old: BorrowedFd<'_>, copy: BorrowedFd<'_>, permissions: u32) -> io::Result<()> {
    match access_acl(old, &XattrNames::of(old)?)? {
        Some(acl) => {
            let (acl, mode) = acl.created_with(permissions);
            set(copy, acl.as_ref(), mode)
        }
        None => set(copy, None, permissions),
    }
}

/// The group and the default ACL that a new entry inherits from its directory.
#[derive(Debug)]
pub struct Inheritance {
    group: Option<u32>,
    default_acl: Option<Acl>,
}

impl Inheritance {
    /// Reads what entries of `dir` inherit.
    pub fn of(dir: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Inheritance { group: inherited_group(dir)?, default_acl: default_acl(dir)? })
    }

    /// Reports whether a new entry inherits anything.
    pub fn is_any(&self) -> bool {
        self.group.is_some() || self.has_acl()
    }

    /// Reports whether `dir` has a default ACL. A new entry then gets its rights from it, and the umask does not apply.
    pub fn has_acl(&self) -> bool {
        self.default_acl.is_some()
    }

    /// Gives a file that was created elsewhere the group, ACL and mode of one that is created in the directory with
    /// `mode`. The umask is not applied.
    pub fn give(&self, new: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
        self.give_group(new)?;
        self.give_mode(new, mode)
    }

    /// Gives the file the inherited group, or this process's group if the process may not give it.
    pub fn give_group(&self, new: BorrowedFd<'_>) -> io::Result<()> {
        let ours = getegid().as_raw();
        match self.group {
            Some(group) if try_chown(new, None, Some(group))? => Ok(()),
            _ => try_chown(new, None, Some(ours)).map(drop),
        }
    }

    /// Gives the file the inherited ACL and the mode.
    pub fn give_mode(&self, new: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
        match &self.default_acl {
            Some(acl) => {
                let (acl, permissions) = acl.clone().created_with(mode);
                set(new, acl.as_ref(), mode & !PERMISSIONS | permissions)
            }
            None => set(new, None, mode),
        }
    }
}

/// Returns the group that new entries inherit from `dir`, or `None` if `dir` lacks the set-gid bit.
fn inherited_group(dir: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let stat = FileStat::of(dir)?;
    Ok((stat.mode() & SET_GROUP_ID != 0).then_some(stat.owner().1))
}

/// Gives `file` the group that new entries inherit from `dir`, if any. Returns `false` if this process may not.
pub(crate) fn give_group_of(dir: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<bool> {
    match inherited_group(dir)? {
        Some(group) => try_chown(file, None, Some(group)),
        None => Ok(true),
    }
}

/// Gives a copy the owner of its original, which has the status `stat`: the user, and the group unless `dir` passes on
/// its own. Does nothing if this process may not.
pub fn chown_copy(copy: BorrowedFd<'_>, stat: &FileStat, dir: BorrowedFd<'_>) -> io::Result<()> {
    let (user, group) = stat.owner();
    let group = inherited_group(dir)?.unwrap_or(group);
    match fchown(copy, Some(Uid::from_raw(user)), Some(Gid::from_raw(group))) {
        Ok(()) | Err(Errno::EPERM | Errno::EACCES) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Changes the mode of an open file: permissions, set-id bits and sticky bit.
pub fn set_mode(file: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    Ok(fchmod(file, Mode::from_bits_truncate(mode))?)
}

/// Returns the mode to set on a newly created directory that is to have `permissions`. The set-gid bit and the limits of
/// a default ACL, which it inherited, stay. Returns `None` if it has that mode already.
pub fn mode_of_new_directory(dir: BorrowedFd<'_>, permissions: u32) -> io::Result<Option<u32>> {
    let current = FileStat::of(dir)?.mode();
    let wanted = permissions | current & SET_GROUP_ID;
    let mode = if wanted != current && default_acl(dir)?.is_some() { wanted & current } else { wanted };
    Ok((mode != current).then_some(mode))
}

fn keep_named(old: BorrowedFd<'_>, names: &XattrNames, new: BorrowedFd<'_>) -> io::Result<()> {
    let is_users = |name: &[u8]| name.starts_with(USER_ATTRIBUTES);
    xattrs::copy(old, names, new, is_kept, |name| !is_users(name))
}

/// Reports whether a file keeps an attribute when it gets other content.
fn is_kept(name: &[u8]) -> bool {
    let is_system = name.starts_with(b"system.");
    !is_system && !CONTENT_ATTRIBUTES.contains(&name) && !is_overlays(name)
}

fn is_copied(name: &[u8]) -> bool {
    name.starts_with(USER_ATTRIBUTES) && !is_overlays(name)
}

fn is_overlays(name: &[u8]) -> bool {
    OVERLAY_ATTRIBUTES.iter().any(|prefix| name.starts_with(prefix))
}

fn access_acl(file: BorrowedFd<'_>, names: &XattrNames) -> io::Result<Option<Acl>> {
    match names.contains(ACCESS_ACL) {
        true => xattrs::get(file, ACCESS_ACL)?.map(|value| Acl::parse(&value)).transpose(),
        false => Ok(None),
    }
}

fn default_acl(dir: BorrowedFd<'_>) -> io::Result<Option<Acl>> {
    xattrs::get(dir, DEFAULT_ACL)?.map(|value| Acl::parse(&value)).transpose()
}

/// Changes user and group. Returns `false` if this process may not, or if the ID has no mapping in its user namespace.
fn try_chown(file: BorrowedFd<'_>, user: Option<u32>, group: Option<u32>) -> io::Result<bool> {
    let current = FileStat::of(file)?.owner();
    if (user.unwrap_or(current.0), group.unwrap_or(current.1)) == current {
        return Ok(true);
    }
    match fchown(file, user.map(Uid::from_raw), group.map(Gid::from_raw)) {
        Ok(()) => Ok(true),
        Err(Errno::EPERM | Errno::EINVAL) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Sets ACL and mode. If the file system has no ACLs, sets a mode that gives no user more than the ACL does.
fn set(file: BorrowedFd<'_>, acl: Option<&Acl>, mode: u32) -> io::Result<()> {
    let mode = match acl.map(|acl| xattrs::set(file, ACCESS_ACL, &acl.to_bytes())) {
        Some(Err(error)) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => {
            mode & !PERMISSIONS | acl.map_or(0, Acl::narrowest_mode)
        }
        Some(result) => result.map(|()| mode)?,
        // The file may have inherited an ACL from the directory of temp files.
        None if xattrs::get(file, ACCESS_ACL)?.is_some() => {
            xattrs::remove(file, ACCESS_ACL)?;
            mode
        }
        None => mode,
    };
    match FileStat::of(file)?.mode() == mode {
        true => Ok(()),
        false => set_mode(file, mode),
    }
}

/// Gives the directory `child`, which this process just created, to the owner of `parent`. Does nothing if this process
/// may not.
///
/// TOCTOU: does nothing if another user owns `child`, or if it has entries: then another process replaced it.
pub fn give_to_owner_of(parent: BorrowedFd<'_>, child: BorrowedFd<'_>) -> io::Result<()> {
    let (user, group) = FileStat::of(parent)?.owner();
    let is_ours = FileStat::of(child)?.owner().0 == geteuid().as_raw();
    if is_ours && super::entry::EntryReader::of(child.as_fd())?.next().is_none() {
        try_chown(child, Some(user), Some(group))?;
    }
    Ok(())
}
