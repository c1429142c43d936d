//! Detached mounts: created and restricted by descriptor, and only then attached to the file tree.

#![expect(unsafe_code, reason = "no dependency of ours wraps these system calls")]

use crate::sys::fs::reopen::descriptor_path;
use linux_raw_sys::general::{
    AT_EMPTY_PATH, FSMOUNT_CLOEXEC, FSOPEN_CLOEXEC, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE,
    fsconfig_command, mount_attr,
};
use nix::errno::Errno;
use nix::libc::{self, c_char, c_int, c_long, c_uint};
use nix::mount::{MntFlags, umount2};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// What a mount forbids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// Writing.
    pub readonly: bool,
    /// Executing programs.
    pub noexec: bool,
    /// Gaining another user's rights by a file's set-id bits.
    pub nosuid: bool,
    /// Opening devices.
    pub nodev: bool,
}

/// The failure of a system call.
#[derive(Debug)]
pub struct CallFailed {
    /// The call's name.
    pub call: &'static str,
    /// The call's error.
    pub error: io::Error,
}

/// A mount. Dropping it unmounts it unless it was attached.
#[derive(Debug)]
pub struct DetachedMount(OwnedFd);

impl DetachedMount {
    /// Creates a bind mount of the file or directory that `source` names, without the mounts below it.
    pub fn bind(source: BorrowedFd<'_>) -> Result<Self, CallFailed> {
        let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
        // SAFETY: the descriptor is open and the path is an empty C string.
        let tree = unsafe { libc::syscall(libc::SYS_open_tree, source.as_raw_fd(), c"".as_ptr(), flags) };
        Ok(DetachedMount(descriptor("open_tree", tree)?))
    }

    /// Mounts a file system of the type `kind`, with options as `mount -o` spells them. `source` is its device, if it
    /// needs one.
    pub fn of_file_system(kind: &str, source: &str, options: &[String]) -> Result<Self, CallFailed> {
        let kind = text("fsopen", kind)?;
        // SAFETY: the type is a C string.
        let context = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) };
        let context = descriptor("fsopen", context)?;
        configure(&context, fsconfig_command::FSCONFIG_SET_STRING, Some("source"), Some(source))?;
        for option in options {
            match option.split_once('=') {
                Some((key, value)) => {
                    configure(&context, fsconfig_command::FSCONFIG_SET_STRING, Some(key), Some(value))?;
                }
                None => configure(&context, fsconfig_command::FSCONFIG_SET_FLAG, Some(option), None)?,
            }
        }
        configure(&context, fsconfig_command::FSCONFIG_CMD_CREATE, None, None)?;
        let no_attributes: c_uint = 0;
        // SAFETY: the descriptor is open, and the call takes no address.
        let mount =
            unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, no_attributes) };
        Ok(DetachedMount(descriptor("fsmount", mount)?))
    }

    /// Adds restrictions to those that the mount has, and makes it private: later mounts do not propagate between it and
    /// the mount that it was created from.
    pub fn restrict(&self, restrictions: Restrictions) -> Result<(), CallFailed> {
        let Restrictions { readonly, noexec, nosuid, nodev } = restrictions;
        let flags = [
            (readonly, MOUNT_ATTR_RDONLY),
            (noexec, MOUNT_ATTR_NOEXEC),
            (nosuid, MOUNT_ATTR_NOSUID),
            (nodev, MOUNT_ATTR_NODEV),
        ];
        let set = flags.iter().filter(|(set, _)| *set).fold(0, |set, (_, flag)| set | u64::from(*flag));
        let attributes =
            mount_attr { attr_set: set, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
        // SAFETY: the descriptor is open, the path is an empty C string, and the kernel reads `attributes`, whose size
        // is passed.
        let done = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                AT_EMPTY_PATH,
                &raw const attributes,
                size_of::<mount_attr>(),
            )
        };
        checked("mount_setattr", done).map(drop)
    }

    /// Attaches the mount to the directory or file that `target` names, also if that was renamed.
    pub fn attach_to(&self, target: BorrowedFd<'_>) -> Result<(), CallFailed> {
        let empty = c"".as_ptr();
        let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
        let (from, to) = (self.0.as_raw_fd(), target.as_raw_fd());
        // SAFETY: both descriptors are open, and both paths are empty C strings.
        let done = unsafe { libc::syscall(libc::SYS_move_mount, from, empty, to, empty, flags) };
        checked("move_mount", done).map(drop)
    }

    /// Unmounts the mount, with the mounts below it.
    pub fn unmount(&self) -> io::Result<()> {
        Ok(unmount_lazily(self.0.as_fd())?)
    }
}

impl AsFd for DetachedMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Unmounts the mount whose root is open (`MNT_DETACH`). Processes that use it keep it until they end.
pub(crate) fn unmount_lazily(root: BorrowedFd<'_>) -> nix::Result<()> {
    umount2(&descriptor_path("self", root), MntFlags::MNT_DETACH)
}

fn configure(
    context: &OwnedFd,
    command: fsconfig_command,
    key: Option<&str>,
    value: Option<&str>,
) -> Result<(), CallFailed> {
    let owned = |part: Option<&str>| part.map(|part| text("fsconfig", part)).transpose();
    let (key, value) = (owned(key)?, owned(value)?);
    let address = |part: &Option<CString>| part.as_ref().map_or(ptr::null::<c_char>(), |part| part.as_ptr());
    let unused: c_int = 0;
    // SAFETY: the descriptor is open; key and value are C strings that outlive the call, or null where the command
    // takes none.
    let done = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            command as c_uint,
            address(&key),
            address(&value),
            unused,
        )
    };
    checked("fsconfig", done).map(drop)
}

fn text(call: &'static str, text: &str) -> Result<CString, CallFailed> {
    CString::new(text).map_err(|_| CallFailed { call, error: Errno::EINVAL.into() })
}

fn descriptor(call: &'static str, result: c_long) -> Result<OwnedFd, CallFailed> {
    let descriptor = checked(call, result)? as c_int;
    // SAFETY: the kernel has just returned this descriptor, and no other code owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn checked(call: &'static str, result: c_long) -> Result<c_long, CallFailed> {
    Errno::result(result).map_err(|errno| CallFailed { call, error: errno.into() })
}
