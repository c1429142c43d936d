//! `msb run` and `msb create` arguments, for microsandbox 0.6.

use super::{host_text, unsupported};
use crate::error::Result;
use crate::model::{DiskFormat, MIB, OptionReader, OptionValue, VolumeKind, VolumeName};
use crate::mount::{HostPermissions, MountFlags, ResolvedMount, ResolvedSource, StatVirtualization};
use std::path::Path;

pub(super) const RUNTIME: &str = "Microsandbox";

const BY_NAME: &str = "byName";
const HAND_OVER: &str = "handOver";

/// The separators of microsandbox's notation. A host path cannot contain them.
const SEPARATORS: [char; 3] = [',', ':', ';'];

/// The options of a rendering for microsandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MicrosandboxOptions {
    /// Whether volumes are mounted by their names in microsandbox's catalog instead of their paths.
    by_name: bool,
    /// Whether the attachment releases the locks that microsandbox takes itself.
    hand_over: bool,
}

impl Default for MicrosandboxOptions {
    fn default() -> Self {
        MicrosandboxOptions { by_name: false, hand_over: true }
    }
}

impl MicrosandboxOptions {
    /// Reads the options of `toMicrosandbox` and `configureSandbox`.
    pub fn from_input(input: &OptionValue) -> Result<Self> {
        let fields = OptionReader::of("MicrosandboxOptions", input, &[BY_NAME, HAND_OVER])?;
        let default = MicrosandboxOptions::default();
        Ok(MicrosandboxOptions {
            by_name: fields.flag(BY_NAME)?.unwrap_or(default.by_name),
            hand_over: fields.flag(HAND_OVER)?.unwrap_or(default.hand_over),
        })
    }

    /// Reports whether the attachment releases the locks that microsandbox takes itself.
    pub fn hands_over(&self) -> bool {
        self.hand_over
    }
}

/// A volume in microsandbox's catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownVolume {
    /// Directory or disk.
    pub kind: VolumeKind,
    /// The size of a disk.
    pub capacity_bytes: Option<u64>,
}

/// The result of a lookup in microsandbox's catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ByName {
    /// Microsandbox knows the volume.
    Known(KnownVolume),
    /// Microsandbox does not know the volume, for this reason.
    Unknown(String),
}

/// Looks a volume up in microsandbox's catalog.
pub type LookUp<'l> = dyn Fn(&VolumeName) -> Result<ByName> + 'l;

/// The source of a mount as microsandbox can express it.
pub(super) enum MicrosandboxSource<'m> {
    Named {
        volume: &'m VolumeName,
        /// The size of a disk in MiB; `None` for a directory.
        disk_mib: Option<u64>,
    },
    Directory(&'m str),
    File(&'m str),
    Tmpfs(Option<u32>),
    Disk {
        host: &'m str,
        format: DiskFormat,
        fstype: Option<&'m str>,
    },
}

/// Returns the source of `mount` for microsandbox. Fails if microsandbox cannot express it.
pub(super) fn source<'m>(
    mount: &'m ResolvedMount,
    options: &MicrosandboxOptions,
    look_up: &LookUp<'_>,
) -> Result<MicrosandboxSource<'m>> {
    if let ResolvedSource::Disk { format: DiskFormat::Vmdk, .. } = &mount.origin
        && !mount.flags.readonly
    {
        let problem = "it reads a vmdk and does not write one; mount it \"readonly\", or convert the image";
        return Err(unsupported(RUNTIME, mount, problem));
    }
    if options.by_name && mount.part().is_some() {
        let problem = "by its name it mounts all of a volume, and this is a part; leave \"byName\" unset";
        return Err(unsupported(RUNTIME, mount, problem));
    }
    if let ResolvedSource::Disk { volume: Some(_), format: DiskFormat::Qcow2, .. } = &mount.origin
        && options.by_name
    {
        let problem = "by its name it opens a disk's \"disk.raw\", and this disk is a qcow2; leave \"byName\" unset, \
                       which mounts it by its path";
        return Err(unsupported(RUNTIME, mount, problem));
    }
    Ok(match &mount.origin {
        ResolvedSource::Named { volume, .. } | ResolvedSource::Disk { volume: Some(volume), .. }
            if options.by_name =>
        {
            named(mount, volume, look_up)?
        }
        ResolvedSource::Bind { host, .. } | ResolvedSource::Named { open: host, .. } if mount.is_file() => {
            MicrosandboxSource::File(checked(mount, host)?)
        }
        ResolvedSource::Bind { host, .. } | ResolvedSource::Named { open: host, .. } => {
            MicrosandboxSource::Directory(checked(mount, host)?)
        }
        ResolvedSource::Tmpfs { size_mib } => MicrosandboxSource::Tmpfs(*size_mib),
        ResolvedSource::Disk { open, format, fstype, .. } => MicrosandboxSource::Disk {
            host: checked(mount, open)?,
            format: *format,
            fstype: fstype.as_deref(),
        },
    })
}

/// Returns the source of a volume by name. Fails if microsandbox does not know it with the same kind and size.
///
/// A volume that it does not know is an unexpected directory to it: it fails, and its rollback deletes that directory
/// with all data.
fn named<'m>(
    mount: &ResolvedMount,
    volume: &'m VolumeName,
    look_up: &LookUp<'_>,
) -> Result<MicrosandboxSource<'m>> {
    let refused = |problem: String| {
        let problem = format!("it would not find the volume by its name: {problem}; leave {BY_NAME:?} unset");
        Err(unsupported(RUNTIME, mount, problem))
    };
    let known = match look_up(volume)? {
        ByName::Known(known) => known,
        ByName::Unknown(problem) => return refused(problem),
    };
    let kind =
        if matches!(mount.origin, ResolvedSource::Disk { .. }) { VolumeKind::Disk } else { VolumeKind::Dir };
    if known.kind != kind {
        let (theirs, ours) = (known.kind.as_str(), kind.as_str());
        return refused(format!("its kind is {theirs:?} in its catalog, and {ours:?} here"));
    }
    let disk_mib = match (kind, known.capacity_bytes) {
        (VolumeKind::Dir, _) => None,
        (VolumeKind::Disk, Some(bytes)) if bytes >= MIB && bytes % MIB == 0 => Some(bytes / MIB),
        (VolumeKind::Disk, _) => return refused("its catalog has no size in MiB for the disk".to_owned()),
    };
    Ok(MicrosandboxSource::Named { volume, disk_mib })
}

fn checked<'m>(mount: &ResolvedMount, host: &'m Path) -> Result<&'m str> {
    let host = host_text(RUNTIME, mount, host)?;
    if host.contains(SEPARATORS) {
        let problem = format!("it takes no host path with \",\", \":\" or \";\", as {host:?} has");
        return Err(unsupported(RUNTIME, mount, problem));
    }
    Ok(host)
}

/// Returns the arguments for these mounts.
pub fn render(
    mounts: &[ResolvedMount],
    options: &MicrosandboxOptions,
    look_up: &LookUp<'_>,
) -> Result<Vec<String>> {
    let mut argv = Vec::new();
    for mount in mounts {
        let at = mount.guest_path.as_str();
        let (flag, what, mut words) = match source(mount, options, look_up)? {
            MicrosandboxSource::Named { volume, disk_mib } => {
                let words = disk_mib
                    .map(|mib| vec![format!("kind={}", VolumeKind::Disk.as_str()), format!("size={mib}M")]);
                ("--mount-named", format!("{volume}:{at}"), words.unwrap_or_default())
            }
            MicrosandboxSource::Directory(host) => ("--mount-dir", format!("{host}:{at}"), Vec::new()),
            MicrosandboxSource::File(host) => ("--mount-file", format!("{host}:{at}"), Vec::new()),
            MicrosandboxSource::Tmpfs(None) => ("--tmpfs", at.to_owned(), Vec::new()),
            MicrosandboxSource::Tmpfs(Some(mib)) => ("--tmpfs", format!("{at}:{mib}M"), Vec::new()),
            MicrosandboxSource::Disk { host, format, fstype } => {
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
