//! The calls of `MountBuilder` in microsandbox's TypeScript SDK for each mount.

use super::microsandbox::{LookUp, MicrosandboxOptions, MicrosandboxSource, source};
use super::rendered::Rendered::{self, List, Number, Word};
use super::rendered::{list, object, text};
use crate::error::Result;
use crate::mount::option_names::{
    FSTYPE, HOST_PERMISSIONS, NODEV, NOEXEC, NOSUID, READONLY, STAT_VIRTUALIZATION,
};
use crate::mount::{HostPermissions, MountKind, ResolvedMount, StatVirtualization};

/// Returns one entry per mount: `{ guestPath, calls: [[method, ...arguments]] }`.
pub fn render<'m>(
    mounts: &'m [ResolvedMount],
    options: &MicrosandboxOptions,
    look_up: &LookUp<'_>,
) -> Result<Vec<Rendered<'m>>> {
    mounts.iter().map(|mount| entry(mount, options, look_up)).collect()
}

fn entry<'m>(
    mount: &'m ResolvedMount,
    options: &MicrosandboxOptions,
    look_up: &LookUp<'_>,
) -> Result<Rendered<'m>> {
    let mut calls = match source(mount, options, look_up)? {
        // In this mode microsandbox fails for an unknown volume instead of creating one. It needs no disk size.
        MicrosandboxSource::Named { volume, .. } => {
            vec![list([Word("namedWith"), text(volume.as_str()), Word("existing")])]
        }
        MicrosandboxSource::Directory(host) | MicrosandboxSource::File(host) => {
            vec![list([Word(MountKind::Bind.as_str()), text(host)])]
        }
        MicrosandboxSource::Tmpfs(size_mib) => {
            let size = size_mib.map(|mib| list([Word("size"), Number(mib)]));
            [list([Word(MountKind::Tmpfs.as_str())])].into_iter().chain(size).collect()
        }
        MicrosandboxSource::Disk { host, format, fstype } => {
            let image = list([Word(MountKind::Disk.as_str()), text(host)]);
            let format = list([Word("format"), Word(format.as_str())]);
            let fstype = fstype.map(|fstype| list([Word(FSTYPE), text(fstype)]));
            [image, format].into_iter().chain(fstype).collect()
        }
    };
    let flags = [
        (mount.flags.readonly, READONLY),
        (mount.flags.noexec, NOEXEC),
        (mount.flags.nosuid, NOSUID),
        (mount.flags.nodev, NODEV),
    ];
    calls.extend(flags.iter().filter(|(set, _)| *set).map(|(_, name)| list([Word(name)])));
    let policies = [
        (STAT_VIRTUALIZATION, mount.stat_virtualization.map(StatVirtualization::as_str)),
        (HOST_PERMISSIONS, mount.host_permissions.map(HostPermissions::as_str)),
    ];
    calls.extend(
        policies.iter().filter_map(|(name, value)| value.map(|value| list([Word(name), Word(value)]))),
    );
    Ok(object([("guestPath", text(mount.guest_path.as_str())), ("calls", List(calls))]))
}
