//! Btrfs only: subvolumes whose size the kernel limits by a qgroup, and files that are written in place.

#![expect(unsafe_code, reason = "btrfs is controlled by ioctls, which take addresses")]

use super::fs::dir::Dir;
use crate::error::{Error, Result};
use linux_raw_sys::btrfs::{
    BTRFS_QGROUP_LIMIT_MAX_RFER, btrfs_ioctl_fs_info_args, btrfs_ioctl_ino_lookup_args,
    btrfs_ioctl_qgroup_create_args, btrfs_ioctl_qgroup_limit_args, btrfs_ioctl_vol_args, btrfs_qgroup_limit,
};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

/// The inode number of every subvolume's root directory, and of no other directory.
const ROOT_INODE: u64 = 256;

mod ioctl {
    use super::{
        btrfs_ioctl_fs_info_args, btrfs_ioctl_ino_lookup_args, btrfs_ioctl_qgroup_create_args,
        btrfs_ioctl_qgroup_limit_args, btrfs_ioctl_vol_args,
    };
    nix::ioctl_write_ptr!(subvol_create, 0x94, 14, btrfs_ioctl_vol_args);
    nix::ioctl_readwrite!(ino_lookup, 0x94, 18, btrfs_ioctl_ino_lookup_args);
    nix::ioctl_read!(fs_info, 0x94, 31, btrfs_ioctl_fs_info_args);
    nix::ioctl_write_ptr!(qgroup_create, 0x94, 42, btrfs_ioctl_qgroup_create_args);
    nix::ioctl_read!(qgroup_limit, 0x94, 43, btrfs_ioctl_qgroup_limit_args);
}

/// A btrfs subvolume.
#[derive(Clone, Debug)]
pub struct Subvolume {
    /// The subvolume's ID in its file system.
    id: u64,
    /// The sysfs directory of the file system's qgroups.
    qgroups: PathBuf,
}

/// The limit of a subvolume, and how much of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelQuota {
    /// The limit in bytes.
    pub limit: u64,
    /// The bytes that are left, less those that are reserved for writes in progress.
    pub left: u64,
}

impl Subvolume {
    /// Returns the subvolume whose root directory is open, or `None` if `dir` is not such a root.
    pub fn of_root(dir: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        match fstat(dir)?.st_ino == ROOT_INODE && is_btrfs(dir)? {
            true => Ok(Some(Subvolume { id: subvolume_id(dir)?, qgroups: qgroups(dir)? })),
            false => Ok(None),
        }
    }

    /// Returns the limit that the kernel enforces. Returns `None` if there is no limit, or if sysfs does not show it.
    pub fn quota(&self) -> Option<KernelQuota> {
        let is_limited = self.qgroup_value("limit_flags")? & u64::from(BTRFS_QGROUP_LIMIT_MAX_RFER) != 0;
        let limit = self.qgroup_value("max_referenced").filter(|_| is_limited)?;
        let used = ["referenced", "rsv_data", "rsv_meta_pertrans", "rsv_meta_prealloc"];
        let used =
            used.iter().try_fold(0u64, |sum, name| Some(sum.saturating_add(self.qgroup_value(name)?)))?;
        Some(KernelQuota { limit, left: limit.saturating_sub(used) })
    }

    /// Deletes the qgroup of a deleted subvolume. `dir` is any directory of the file system.
    ///
    /// Newer kernels delete it themselves. They refuse the call while a part of the subvolume is left.
    pub fn delete_qgroup(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        let args = btrfs_ioctl_qgroup_create_args { create: 0, qgroupid: self.id };
        // SAFETY: the kernel reads `args`, which has the type that this call takes.
        unsafe { ioctl::qgroup_create(dir.as_raw_fd(), &args) }?;
        Ok(())
    }

    /// Reads a number of the qgroup from sysfs.
    #[expect(clippy::disallowed_methods, reason = "sysfs is the kernel's, no guest writes there")]
    fn qgroup_value(&self, name: &str) -> Option<u64> {
        let text = std::fs::read_to_string(self.qgroups.join(format!("0_{}", self.id)).join(name)).ok()?;
        let text = text.trim();
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    }
}

impl Dir {
    /// Creates a subdirectory, which must not exist, as a subvolume that the kernel limits.
    ///
    /// Returns `None` and creates nothing if the file system is not btrfs, if its quotas are disabled, or if this
    /// process may not set a limit.
    pub fn create_limited_child(&self, name: &str, mode: u32, limit: u64) -> Result<Option<Dir>> {
        let failed = |error| Error::file_system("mkdir", self.path_of(name), error);
        if !keeps_quotas(self.as_fd()) {
            return Ok(None);
        }
        match create_subvolume(self.as_fd(), name) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => return Err(failed(error)),
            Err(_) => return Ok(None),
        }
        let child = self.open_child(name)?;
        if set_limit(child.as_fd(), limit).is_err() {
            unlinkat(self.as_fd(), name, UnlinkatFlags::RemoveDir).map_err(|errno| failed(errno.into()))?;
            return Ok(None);
        }
        child.set_mode(mode)?;
        Ok(Some(child))
    }

    /// Sets `FS_NOCOW_FL`, so that files that are created here from now on are written in place. Does nothing if the
    /// file system is not btrfs.
    ///
    /// Without it, a program that changes a file in a memory mapping is killed if no space is left for a copy.
    pub fn write_files_in_place(&self) -> io::Result<()> {
        if !is_btrfs(self.as_fd())? {
            return Ok(());
        }
        let flags = ioctl_getflags(self)?;
        if !flags.contains(IFlags::NOCOW) {
            ioctl_setflags(self, flags | IFlags::NOCOW)?;
        }
        Ok(())
    }
}

/// Reports whether sysfs shows that quotas are enabled on the file system of `dir`.
fn keeps_quotas(dir: BorrowedFd<'_>) -> bool {
    is_btrfs(dir).unwrap_or(false) && qgroups(dir).is_ok_and(|qgroups| qgroups.is_dir())
}

fn is_btrfs(dir: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(fstatfs(dir)?.filesystem_type() == BTRFS_SUPER_MAGIC)
}

fn create_subvolume(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let mut args = btrfs_ioctl_vol_args { fd: 0, name: [0; 4088] };
    // The last byte stays the closing NUL.
    if name.len() >= args.name.len() {
        return Err(Errno::ENAMETOOLONG.into());
    }
    for (place, byte) in args.name.iter_mut().zip(name.bytes()) {
        *place = byte as _;
    }
    // SAFETY: the kernel reads `args`, which has the type that this call takes and ends its name with NUL.
    unsafe { ioctl::subvol_create(parent.as_raw_fd(), &args) }?;
    Ok(())
}

fn set_limit(dir: BorrowedFd<'_>, limit: u64) -> io::Result<()> {
    let lim = btrfs_qgroup_limit {
        flags: BTRFS_QGROUP_LIMIT_MAX_RFER.into(),
        max_rfer: limit,
        max_excl: 0,
        rsv_rfer: 0,
        rsv_excl: 0,
    };
    // Group 0 is the subvolume that the directory is in.
    let mut args = btrfs_ioctl_qgroup_limit_args { qgroupid: 0, lim };
    // SAFETY: the kernel reads and may write `args`, which has the type that this call takes and outlives it.
    unsafe { ioctl::qgroup_limit(dir.as_raw_fd(), &mut args) }?;
    Ok(())
}

fn subvolume_id(dir: BorrowedFd<'_>) -> io::Result<u64> {
    let mut args = btrfs_ioctl_ino_lookup_args { treeid: 0, objectid: ROOT_INODE, name: [0; 4080] };
    // SAFETY: the kernel reads and writes `args`, which has the type that this call takes and outlives it.
    unsafe { ioctl::ino_lookup(dir.as_raw_fd(), &mut args) }?;
    Ok(args.treeid)
}

fn qgroups(dir: BorrowedFd<'_>) -> io::Result<PathBuf> {
    let mut args = btrfs_ioctl_fs_info_args {
        max_id: 0,
        num_devices: 0,
        fsid: [0; 16],
        nodesize: 0,
        sectorsize: 0,
        clone_alignment: 0,
        csum_type: 0,
        csum_size: 0,
        flags: 0,
        generation: 0,
        metadata_uuid: [0; 16],
        reserved: [0; 944],
    };
    // SAFETY: the kernel reads and writes `args`, which has the type that this call takes and outlives it.
    unsafe { ioctl::fs_info(dir.as_raw_fd(), &mut args) }?;
    let mut id = String::new();
    for (at, byte) in args.fsid.iter().enumerate() {
        if [4, 6, 8, 10].contains(&at) {
            id.push('-');
        }
        id.push_str(&format!("{byte:02x}"));
    }
    Ok(format!("/sys/fs/btrfs/{id}/qgroups").into())
}
