//! Who may do what with a new file: as the one that it replaces, as its directory has it, or as its original has it.
//!
//! Permission bits are not all of it. Where a file has an ACL, its mode shows the ACL's mask in place of the group's
//! rights, so that a mode alone is wider than the file. Each step here narrows first and widens last.

use super::acl::Acl;
use super::entry::FileStat;
use super::xattrs::{self, XattrNames};
use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchown, getegid, geteuid};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

const USER_ATTRIBUTES: &[u8] = b"user.";

/// What overlayfs notes of a file's place among its layers, which is not true of another file.
const OVERLAY_ATTRIBUTES: [&[u8]; 2] = [b"user.overlay.", b"trusted.overlay."];

/// What is true of a file's content, and ends with it.
const CONTENT_ATTRIBUTES: [&[u8]; 3] = [b"security.capability", b"security.ima", b"security.evm"];

const PERMISSIONS: u32 = 0o777;
const STICKY: u32 = 0o1000;
const SET_GROUP_ID: u32 = 0o2000;
const SET_ID: u32 = 0o6000;

/// Gives `new` the owner, mode, ACL and attributes of `old`, whose place it takes with other content. What of these says
/// something of the content is left out: capabilities, and set-id bits where the kernel would drop them when `old` is
/// written to, or where the owner cannot be kept. Where the group cannot be, the new one gets no more than others have.
pub fn keep_rights(old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> io::Result<()> {
    let (facts, names) = (FileStat::of(old)?, XattrNames::of(old)?);
    keep_named(old, &names, new)?;
    let acl = access_acl(old, &names)?;
    let (user, group) = facts.owner();
    let is_owner_kept = give_owner(new, Some(user), Some(group))?;
    let is_group_kept = is_owner_kept || give_owner(new, None, Some(group))?;
    let keeps_set_id = is_owner_kept && geteuid().is_root();
    let special = if keeps_set_id { SET_ID | STICKY } else { STICKY };
    let others = facts.mode() & 0o7;
    match acl {
        Some(mut acl) => {
            if !is_group_kept {
                acl.limit_group(others);
            }
            set(new, Some(&acl), facts.mode() & special | acl.mode())
        }
        None => {
            let group = if is_group_kept { 0o070 } else { others << 3 };
            set(new, None, facts.mode() & (special | 0o707 | group))
        }
    }
}

/// What a copy has of its original.
#[derive(Debug)]
pub struct CopiedRights {
    names: XattrNames,
    /// The permission bits: of a file with an ACL, which is not copied, those that give nobody more.
    pub permissions: u32,
}

impl CopiedRights {
    /// Of an open file that was found to be this.
    pub fn of(file: BorrowedFd<'_>, facts: &FileStat) -> io::Result<Self> {
        let names = XattrNames::of(file)?;
        let acl = access_acl(file, &names)?;
        let narrowest = acl.map_or(PERMISSIONS, |acl| acl.narrowest_mode());
        Ok(CopiedRights { names, permissions: facts.mode() & PERMISSIONS & narrowest })
    }

    /// Whether the copy gets attributes, for which it must be writable.
    pub fn has_attributes(&self) -> bool {
        self.names.iter().any(is_copied)
    }

    /// Gives a copy the user attributes of its original, as far as its file system has such.
    pub fn give_attributes(&self, original: BorrowedFd<'_>, copy: BorrowedFd<'_>) -> io::Result<()> {
        xattrs::copy(original, &self.names, copy, is_copied, |_| true)
    }
}

/// Gives `new` the attributes of `old`, whose place it takes with other content, and not its ACL.
pub fn keep_attributes(old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> io::Result<()> {
    keep_named(old, &XattrNames::of(old)?, new)
}

/// Gives a copy the ACL of `old`, whose place it takes, and of `permissions` what that leaves.
pub fn keep_acl(old: BorrowedFd<'_>, copy: BorrowedFd<'_>, permissions: u32) -> io::Result<()> {
    match access_acl(old, &XattrNames::of(old)?)? {
        Some(acl) => {
            let (acl, mode) = acl.created_with(permissions);
            set(copy, acl.as_ref(), mode)
        }
        None => set(copy, None, permissions),
    }
}

/// What a new entry has from its directory, as if it were made there.
#[derive(Debug)]
pub struct Inheritance {
    group: Option<u32>,
    default_acl: Option<Acl>,
}

impl Inheritance {
    /// Of what is made in `dir`.
    pub fn of(dir: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Inheritance { group: inherited_group(dir)?, default_acl: default_acl(dir)? })
    }

    /// Whether a new entry is another than elsewhere.
    pub fn is_any(&self) -> bool {
        self.group.is_some() || self.has_acl()
    }

    /// Whether a new entry has an ACL, or permission bits from one, and no umask.
    pub fn has_acl(&self) -> bool {
        self.default_acl.is_some()
    }

    /// Gives a file that was made elsewhere the group, ACL and mode that it would have if it were made in the directory
    /// with `mode`, less no umask.
    pub fn give(&self, new: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
        self.give_group(new)?;
        self.give_mode(new, mode)
    }

    /// The same, of the group only. Where this process may not give it, the file belongs to this process's group.
    pub fn give_group(&self, new: BorrowedFd<'_>) -> io::Result<()> {
        let ours = getegid().as_raw();
        match self.group {
            Some(group) if give_owner(new, None, Some(group))? => Ok(()),
            _ => give_owner(new, None, Some(ours)).map(drop),
        }
    }

    /// The same, of ACL and mode only.
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

/// The group that what is made in `dir` belongs to, where that is the directory's.
pub fn inherited_group(dir: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let facts = FileStat::of(dir)?;
    Ok((facts.mode() & SET_GROUP_ID != 0).then_some(facts.owner().1))
}

/// Gives `file` the group that `dir` gives to what is made in it, if it gives one. Returns false if this process may not.
pub(crate) fn give_group_of(dir: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<bool> {
    match inherited_group(dir)? {
        Some(group) => give_owner(file, None, Some(group)),
        None => Ok(true),
    }
}

/// The mode that a directory, which was just made, has in the end where `permissions` are wanted: what it has from the one
/// that it was made in stays. `None` if it has that mode already.
pub fn mode_of_new_directory(dir: BorrowedFd<'_>, permissions: u32) -> io::Result<Option<u32>> {
    let made = FileStat::of(dir)?.mode();
    let wanted = permissions | made & SET_GROUP_ID;
    let mode = if wanted != made && default_acl(dir)?.is_some() { wanted & made } else { wanted };
    Ok((mode != made).then_some(mode))
}

fn keep_named(old: BorrowedFd<'_>, names: &XattrNames, new: BorrowedFd<'_>) -> io::Result<()> {
    let is_users = |name: &[u8]| name.starts_with(USER_ATTRIBUTES);
    xattrs::copy(old, names, new, is_kept, |name| !is_users(name))
}

/// Whether an attribute stays with a file that gets other content.
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

/// Gives a file away; false where this process may not, or cannot name who it is.
fn give_owner(file: BorrowedFd<'_>, user: Option<u32>, group: Option<u32>) -> io::Result<bool> {
    let now = FileStat::of(file)?.owner();
    if (user.unwrap_or(now.0), group.unwrap_or(now.1)) == now {
        return Ok(true);
    }
    match fchown(file, user.map(Uid::from_raw), group.map(Gid::from_raw)) {
        Ok(()) => Ok(true),
        Err(Errno::EPERM | Errno::EINVAL) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Sets ACL and mode. Where the file system has no ACLs, the mode gives nobody more than the ACL.
fn set(file: BorrowedFd<'_>, acl: Option<&Acl>, mode: u32) -> io::Result<()> {
    let mode = match acl.map(|acl| xattrs::set(file, ACCESS_ACL, &acl.to_bytes())) {
        Some(Err(error)) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => {
            mode & !PERMISSIONS | acl.map_or(0, Acl::narrowest_mode)
        }
        Some(result) => result.map(|()| mode)?,
        // Such as the directory of temp files may have given it.
        None if xattrs::get(file, ACCESS_ACL)?.is_some() => {
            xattrs::remove(file, ACCESS_ACL)?;
            mode
        }
        None => mode,
    };
    match FileStat::of(file)?.mode() == mode {
        true => Ok(()),
        false => Ok(fchmod(file, Mode::from_bits_truncate(mode))?),
    }
}

/// Gives a directory that was just made by this process, and in which nothing is yet, to the owner of the one that holds
/// it, as far as this process may. One that another user put in its place is left alone.
pub fn give_to_owner_of(holder: BorrowedFd<'_>, made: BorrowedFd<'_>) -> io::Result<()> {
    let (user, group) = FileStat::of(holder)?.owner();
    let is_ours = FileStat::of(made)?.owner().0 == geteuid().as_raw();
    if is_ours && super::entry::EntryReader::of(made.as_fd())?.next().is_none() {
        give_owner(made, Some(user), Some(group))?;
    }
    Ok(())
}
