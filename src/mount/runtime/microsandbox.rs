//! `msb run` and `msb create` arguments, for microsandbox 0.6.

use super::{host_text, unsupported};
use crate::error::Result;
use crate::model::{DiskFormat, Fields, Input, VolumeName};
use crate::mount::{HostPermissions, MountFlags, Origin, ResolvedMount, StatVirtualization};
use std::path::Path;

pub(super) const RUNTIME: &str = "Microsandbox";

const BY_NAME: &str = "byName";

/// What separates fields in microsandbox's own notation, which it therefore takes in no host path.
const SEPARATORS: [char; 3] = [',', ':', ';'];

/// How microsandbox is to find a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MicrosandboxOptions {
    /// By its name, in microsandbox's own catalog; else by its path.
    by_name: bool,
}

impl MicrosandboxOptions {
    /// Reads the options of `toMicrosandbox` and `configureSandbox`.
    pub fn from_input(input: &Input) -> Result<Self> {
        let fields = Fields::of("MicrosandboxOptions", input, &[BY_NAME])?;
        Ok(MicrosandboxOptions { by_name: fields.flag(BY_NAME)?.unwrap_or(false) })
    }
}

/// What microsandbox is told to mount.
pub(super) enum Source<'m> {
    Named(&'m VolumeName),
    Directory(&'m str),
    File(&'m str),
    Tmpfs(Option<u32>),
    Disk { host: &'m str, format: DiskFormat, fstype: Option<&'m str> },
}

/// What microsandbox is told to mount for `mount`, as far as it can.
pub(super) fn source<'m>(mount: &'m ResolvedMount, options: &MicrosandboxOptions) -> Result<Source<'m>> {
    if let Origin::Disk { format: DiskFormat::Vmdk, .. } = &mount.origin
        && !mount.flags.readonly
    {
        let problem = "it reads a vmdk and does not write one; mount it \"readonly\", or convert the image";
        return Err(unsupported(RUNTIME, mount, problem));
    }
    if options.by_name && mount.part().is_some() {
        let problem = "by its name it mounts all of a volume, and this is a part; leave \"byName\" unset";
        return Err(unsupported(RUNTIME, mount, problem));
    }
    Ok(match &mount.origin {
        Origin::Named { volume, .. } | Origin::Disk { volume: Some(volume), .. } if options.by_name => {
            Source::Named(volume)
        }
        Origin::Bind { host, .. } | Origin::Named { open: host, .. } if mount.is_file() => {
            Source::File(checked(mount, host)?)
        }
        Origin::Bind { host, .. } | Origin::Named { open: host, .. } => {
            Source::Directory(checked(mount, host)?)
        }
        Origin::Tmpfs { size_mib } => Source::Tmpfs(*size_mib),
        Origin::Disk { open, format, fstype, .. } => {
            Source::Disk { host: checked(mount, open)?, format: *format, fstype: fstype.as_deref() }
        }
    })
}

fn checked<'m>(mount: &ResolvedMount, host: &'m Path) -> Result<&'m str> {
    let host = host_text(RUNTIME, mount, host)?;
    if host.contains(SEPARATORS) {
        let problem = format!("it takes no host path with \",\", \":\" or \";\", as {host:?} has");
        return Err(unsupported(RUNTIME, mount, problem));
    }
    Ok(host)
}

/// The arguments that make these mounts.
pub fn render(mounts: &[ResolvedMount], options: &MicrosandboxOptions) -> Result<Vec<String>> {
    let mut argv = Vec::new();
    for mount in mounts {
        let at = mount.guest_path.as_str();
        let (flag, what, mut words) = match source(mount, options)? {
            Source::Named(volume) => ("--mount-named", format!("{volume}:{at}"), Vec::new()),
            Source::Directory(host) => ("--mount-dir", format!("{host}:{at}"), Vec::new()),
            Source::File(host) => ("--mount-file", format!("{host}:{at}"), Vec::new()),
            Source::Tmpfs(None) => ("--tmpfs", at.to_owned(), Vec::new()),
            Source::Tmpfs(Some(mib)) => ("--tmpfs", format!("{at}:{mib}M"), Vec::new()),
            Source::Disk { host, format, fstype } => {
                let mut words = vec![format!("format={}", format.as_str())];
                words.extend(fstype.map(|fstype| format!("fstype={fstype}")));
                ("--mount-disk", format!("{host}:{at}"), words)
            }
        };
        words.extend(flags(mount.flags).map(str::to_owned));
        let policies = [
            ("stat-virt", mount.stat_virtualization.map(StatVirtualization::as_str)),
            ("host-perms", mount.host_permissions.map(HostPermissions::as_str)),
        ];
        words
            .extend(policies.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={value}"))));
        let options = if words.is_empty() { String::new() } else { format!(":{}", words.join(",")) };
        argv.extend([flag.to_owned(), format!("{what}{options}")]);
    }
    Ok(argv)
}

fn flags(flags: MountFlags) -> impl Iterator<Item = &'static str> {
    let all =
        [(flags.readonly, "ro"), (flags.noexec, "noexec"), (flags.nosuid, "nosuid"), (flags.nodev, "nodev")];
    all.into_iter().filter(|(set, _)| *set).map(|(_, name)| name)
}
