//! What the host's own kernel is told, for mounts that are made on the host, below a root directory.

use super::{directly_below, refuse_virtiofs_policies, tmpfs_options, unsupported};
use crate::error::Result;
use crate::model::DiskFormat;
use crate::mount::{MountFlags, ResolvedMount, ResolvedSource};
use std::borrow::Cow;

/// What the kernel is called in messages.
pub const RUNTIME: &str = "The host's kernel";

/// A mount as the kernel makes it.
#[derive(Debug)]
pub struct HostMount<'m> {
    /// What was attached.
    pub mount: &'m ResolvedMount,
    /// Its flags. `nosuid` and `nodev` are always among them: other users of the host may come upon the mount, and a
    /// guest makes set-id programs and device nodes.
    pub flags: MountFlags,
    /// The file system that is mounted; none where a directory or file of the host is shown.
    pub file_system: Option<FileSystem<'m>>,
    /// What has to be made in it, by relative path, before it is made read-only: mount points of mounts below.
    pub mount_points: Vec<(&'m str, bool)>,
}

/// A file system with its options as `mount -o` spells them.
#[derive(Debug)]
pub struct FileSystem<'m> {
    /// Its type as `mount -t` spells it.
    pub kind: &'m str,
    /// The options.
    pub options: Vec<String>,
}

/// What the kernel is to mount, in the order of [`plan`](crate::mount::plan()).
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

/// The places in this mount of those that it holds itself.
fn points_in<'m>(mount: &ResolvedMount, later: &'m [ResolvedMount]) -> Vec<(&'m str, bool)> {
    let inside = directly_below(mount, later).into_iter();
    inside.filter_map(|inner| Some((inner.guest_path.below(&mount.guest_path)?, inner.is_file()))).collect()
}

fn disk_options(kind: &str, readonly: bool) -> Vec<String> {
    // The file system itself says what is done about an error in it, and a guest may have it say "panic".
    let errors = kind.starts_with("ext").then_some("errors=remount-ro");
    readonly.then_some("ro").into_iter().chain(errors).map(str::to_owned).collect()
}
