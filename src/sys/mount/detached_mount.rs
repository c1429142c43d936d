//! Detached mounts: created and restricted by descriptor, and only then attached to the file tree.

#![expect(unsafe_code, reason = "no dependency of ours wraps mount_setattr")]

use crate::sys::fs::reopen::descriptor_path;
use linux_raw_sys::general::{
    AT_EMPTY_PATH, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, mount_attr,
};
use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, umount2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

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
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        Ok(DetachedMount(open_tree(source, c"", flags).map_err(failed("open_tree"))?))
    }

    /// Mounts a file system of the type `kind`, with options as `mount -o` spells them. `source` is its device, if it
    /// needs one.
    pub fn of_file_system(kind: &str, source: &str, options: &[String]) -> Result<Self, CallFailed> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("fsopen"))?;
        fsconfig_set_string(&context, "source", source).map_err(failed("fsconfig"))?;
        for option in options {
            let set = match option.split_once('=') {
                Some((key, value)) => fsconfig_set_string(&context, key, value),
                None => fsconfig_set_flag(&context, option.as_str()),
            };
            set.map_err(failed("fsconfig"))?;
        }
        fsconfig_create(&context).map_err(failed("fsconfig"))?;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
        Ok(DetachedMount(mount.map_err(failed("fsmount"))?))
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
        Errno::result(done).map(drop).map_err(failed("mount_setattr"))
    }

    /// Attaches the mount to the directory or file that `target` names, also if that was renamed.
    pub fn attach_to(&self, target: BorrowedFd<'_>) -> Result<(), CallFailed> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&self.0, c"", target, c"", flags).map_err(failed("move_mount"))
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

fn failed<E: Into<io::Error>>(call: &'static str) -> impl Fn(E) -> CallFailed {
    move |error| CallFailed { call, error: error.into() }
}
