//! Mounts that the host's kernel makes below a root directory of the host.

use super::{directly_below, refuse_virtiofs_policies, tmpfs_options, unsupported};
use crate::error::Result;
use crate::model::DiskFormat;
use crate::mount::{MountFlags, ResolvedMount, ResolvedSource};
use std::borrow::Cow;

/// The name of the kernel in messages.
pub const RUNTIME: &str = "The host's kernel";

/// A mount as the kernel makes it.
#[derive(Debug)]
pub struct HostMount<'m> {
    /// The attached mount.
    pub mount: &'m ResolvedMount,
    /// The flags. `nosuid` and `nodev` are always set: other users of the host may reach the mount, and a guest can create
    /// set-id programs and device nodes in it.
    pub flags: MountFlags,
    /// The file system to mount. `None` for a bind mount of a directory or file.
    pub file_system: Option<FileSystem<'m>>,
    /// The mount points to create before the mount becomes read-only: relative path, and whether it is a file.
    pub mount_points: Vec<(&'m str, bool)>,
}

/// A file system with its options as `mount -o` spells them.
#[derive(Debug)]
pub struct FileSystem<'m> {
    /// The type as `mount -t` spells it.
    pub kind: &'m str,
    /// The options.
    pub options: Vec<String>,
}

/// Returns the mounts for the kernel, in the order of [`validate_and_order`](crate::mount::validate_and_order()).
pub fn render(mounts: &[ResolvedMount]) -> Result<Vec<HostMount<'_>>> {
    mounts.iter().enumerate().map(|(at, mount)| host_mount(mount, &mounts[at + 1..])).collect()
}

fn host_mount<'m>(mount: &'m ResolvedMount, later: &'m [ResolvedMount]) -> Result<HostMount<'m>> {
    refuse_virtiofs_policies(RUNTIME, mount)?;
    let flags = MountFlags { nosuid: true, nodev: true, ..mount.flags };
    let mut mount_points = Vec::new();
    let file_system = match &mount.origin {
        ResolvedSource::Bind { .. } | ResolvedSource::Named { .. } => None,
        ResolvedSource::Tmpfs { size_mib } => {
            if flags.readonly {
                mount_points = points_in(mount, later);
            }
            Some(FileSystem {
                kind: "tmpfs",
                options: tmpfs_options(*size_mib).map(Cow::into_owned).collect(),
            })
        }
        ResolvedSource::Disk { format: DiskFormat::Raw, fstype, .. } => {
            let Some(kind) = fstype else {
                let problem =
                    "no file system that is known was found in its image; say which with \"fstype\"";
                return Err(unsupported(RUNTIME, mount, problem));
            };
            Some(FileSystem { kind, options: disk_options(kind, flags.readonly) })
        }
        ResolvedSource::Disk { format, .. } => {
            let problem = format!(
                "it reads raw images only, and this one is {}; use toQemu(), or convert it with \"qemu-img convert -O \
                 raw\"",
                format.as_str()
            );
            return Err(unsupported(RUNTIME, mount, problem));
        }
    };
    Ok(HostMount { mount, flags, file_system, mount_points })
}

/// Returns the mount points of `later` that are in this mount itself.
fn points_in<'m>(mount: &ResolvedMount, later: &'m [ResolvedMount]) -> Vec<(&'m str, bool)> {
    let inside = directly_below(mount, later).into_iter();
    inside.filter_map(|inner| Some((inner.guest_path.below(&mount.guest_path)?, inner.is_file()))).collect()
}

fn disk_options(kind: &str, readonly: bool) -> Vec<String> {
    // The superblock says what the kernel does about an error, and a guest may write "panic" there.
    let errors = kind.starts_with("ext").then_some("errors=remount-ro");
    readonly.then_some("ro").into_iter().chain(errors).map(str::to_owned).collect()
}
