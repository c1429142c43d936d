//! The calls that tell the `MountBuilder` of microsandbox's TypeScript SDK about each mount.

use super::microsandbox::{LookUp, MicrosandboxOptions, Source, source};
use crate::error::Result;
use crate::mount::field::{FSTYPE, HOST_PERMISSIONS, NODEV, NOEXEC, NOSUID, READONLY, STAT_VIRTUALIZATION};
use crate::mount::{HostPermissions, MountKind, ResolvedMount, StatVirtualization};
use serde_json::{Value, json};

/// One entry a mount: `{ guestPath, calls: [[method, ...arguments]] }`.
pub fn render(
    mounts: &[ResolvedMount],
    options: &MicrosandboxOptions,
    look_up: &LookUp<'_>,
) -> Result<Vec<Value>> {
    mounts.iter().map(|mount| entry(mount, options, look_up)).collect()
}

fn entry(mount: &ResolvedMount, options: &MicrosandboxOptions, look_up: &LookUp<'_>) -> Result<Value> {
    let mut calls = match source(mount, options, look_up)? {
        // By this mode a volume that microsandbox does not know is an error, and no new one. It needs no size of a disk.
        Source::Named { volume, .. } => vec![json!(["namedWith", volume.as_str(), "existing"])],
        Source::Directory(host) | Source::File(host) => vec![json!([MountKind::Bind.as_str(), host])],
        Source::Tmpfs(size_mib) => {
            let size = size_mib.map(|mib| json!(["size", mib]));
            [json!([MountKind::Tmpfs.as_str()])].into_iter().chain(size).collect()
        }
        Source::Disk { host, format, fstype } => {
            let image = [json!([MountKind::Disk.as_str(), host]), json!(["format", format.as_str()])];
            image.into_iter().chain(fstype.map(|fstype| json!([FSTYPE, fstype]))).collect()
        }
    };
    let flags = [
        (mount.flags.readonly, READONLY),
        (mount.flags.noexec, NOEXEC),
        (mount.flags.nosuid, NOSUID),
        (mount.flags.nodev, NODEV),
    ];
    calls.extend(flags.iter().filter(|(set, _)| *set).map(|(_, name)| json!([name])));
    let policies = [
        (STAT_VIRTUALIZATION, mount.stat_virtualization.map(StatVirtualization::as_str)),
        (HOST_PERMISSIONS, mount.host_permissions.map(HostPermissions::as_str)),
    ];
    calls.extend(policies.iter().filter_map(|(name, value)| value.map(|value| json!([name, value]))));
    Ok(json!({ "guestPath": mount.guest_path.as_str(), "calls": calls }))
}
