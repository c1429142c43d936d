//! Mounts that nobody sees until they are whole: made, restricted, and only then put in place, each by its
//! descriptor.

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

/// What a mount does not let anybody do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// Write.
    pub readonly: bool,
    /// Execute.
    pub noexec: bool,
    /// Gain another user's rights by a file's set-id bits.
    pub nosuid: bool,
    /// Open devices.
    pub nodev: bool,
}

/// The system call that failed, and how.
#[derive(Debug)]
pub struct CallFailed {
    /// Its name.
    pub call: &'static str,
    /// What it gave.
    pub error: io::Error,
}

/// A mount, which vanishes when this is dropped unless it was put in place.
#[derive(Debug)]
pub struct DetachedMount(OwnedFd);

impl DetachedMount {
    /// A second mount of the file or directory that `source` stands for, without what is mounted below it.
    pub fn showing(source: BorrowedFd<'_>) -> Result<Self, CallFailed> {
        let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
        // SAFETY: the descriptor is open and the path is an empty C string.
        let tree = unsafe { libc::syscall(libc::SYS_open_tree, source.as_raw_fd(), c"".as_ptr(), flags) };
        Ok(DetachedMount(descriptor("open_tree", tree)?))
    }

    /// A mount of a file system of that type, with options as `mount -o` spells them. What it is on, if it needs
    /// that, is its `source`.
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

    /// Adds restrictions to those that the mount has, and cuts its ties to the mount that it was made from: what is
    /// mounted in one does not appear in the other.
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
        // SAFETY: the descriptor is open, the path is an empty C string, and the kernel reads `attributes`, of which
        // it is told the size.
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

    /// Puts the mount on the directory or file that `target` stands for, whatever its name is by now.
    pub fn put_on(&self, target: BorrowedFd<'_>) -> Result<(), CallFailed> {
        let empty = c"".as_ptr();
        let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
        let (from, to) = (self.0.as_raw_fd(), target.as_raw_fd());
        // SAFETY: both descriptors are open, and both paths are empty C strings.
        let done = unsafe { libc::syscall(libc::SYS_move_mount, from, empty, to, empty, flags) };
        checked("move_mount", done).map(drop)
    }

    /// Takes the mount from its place again, with what is mounted below it.
    pub fn take_away(&self) -> io::Result<()> {
        Ok(unmount(self.0.as_fd())?)
    }
}

impl AsFd for DetachedMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Unmounts the very mount whose root is open, at once: what uses it keeps it until it ends.
pub(crate) fn unmount(root: BorrowedFd<'_>) -> nix::Result<()> {
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
    // SAFETY: the kernel has just given this descriptor to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn checked(call: &'static str, result: c_long) -> Result<c_long, CallFailed> {
    Errno::result(result).map_err(|errno| CallFailed { call, error: errno.into() })
}
