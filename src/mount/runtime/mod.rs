//! Renderers: convert resolved mounts to a runtime's notation. They fail with `UnsupportedMount` for a mount that the
//! runtime cannot express, and ignore no flag.

/// Arguments for bubblewrap's `bwrap`.
pub mod bubblewrap;
/// Arguments for `docker run` and `podman run`.
pub mod docker;
/// Mounts that the host's kernel makes.
pub mod host;
/// Volumes of a Kubernetes pod, and their claims.
pub mod kubernetes;
/// Options of a Kubernetes rendering.
pub mod kubernetes_options;
/// Arguments for microsandbox's `msb run`.
pub mod microsandbox;
/// Calls for microsandbox's TypeScript SDK.
pub mod microsandbox_sdk;
/// The `mounts` of an OCI runtime's `config.json`: runc, crun, containerd.
pub mod oci;
/// Arguments for QEMU, and the mount commands of its guest.
pub mod qemu;
/// JSON values that renderers return.
pub mod rendered;

use super::options::{self, MountFlags};
use super::resolved::ResolvedMount;
use crate::error::{Error, Result};
use crate::model::{MIB, OptionReader};
use std::borrow::Cow;
use std::path::Path;

/// The option that allows to mount parts of volumes by their paths.
const BY_PATH: &str = "byPath";

fn by_path(fields: &OptionReader<'_>) -> Result<bool> {
    Ok(fields.flag(BY_PATH)?.unwrap_or(false))
}

fn unsupported(runtime: &str, mount: &ResolvedMount, problem: impl std::fmt::Display) -> Error {
    Error::unsupported_mount(runtime, mount.guest_path.as_str(), problem)
}

/// Fails if a policy is set that only a virtiofs server implements, for a runtime without one.
fn refuse_virtiofs_policies(runtime: &str, mount: &ResolvedMount) -> Result<()> {
    match options::virtiofs_policy(mount.stat_virtualization, mount.host_permissions) {
        Some(policy) => {
            Err(unsupported(runtime, mount, format!("{policy:?} is virtiofs-only; leave it unset")))
        }
        None => Ok(()),
    }
}

/// Returns the error for a disk and a runtime that shares the host's kernel.
fn disk_refused(runtime: &str, mount: &ResolvedMount) -> Error {
    unsupported(runtime, mount, "a disk needs a virtual machine; use toQemu()")
}

/// Returns a host path as text. Fails if it is not UTF-8.
fn host_text<'a>(runtime: &str, mount: &ResolvedMount, host: &'a Path) -> Result<&'a str> {
    host.to_str().ok_or_else(|| {
        unsupported(runtime, mount, format!("its host path {host:?} is not UTF-8; mount a path that is"))
    })
}

/// Returns the path of a directory or file for a runtime that opens it in another mount namespace, where it cannot mount
/// a descriptor of this process. Fails for a part of a volume unless `by_path`.
///
/// TOCTOU: a process that can write to the volume may replace the part before the runtime opens it.
fn path_to_mount<'a>(runtime: &str, mount: &ResolvedMount, host: &'a Path, by_path: bool) -> Result<&'a str> {
    if mount.part().is_some() && !by_path {
        let problem = format!(
            "it finds a part of a volume by its path, where a sandbox that writes the volume could put a link; set \
             {BY_PATH:?} if none does, or use bubblewrap"
        );
        return Err(unsupported(runtime, mount, problem));
    }
    host_text(runtime, mount, host)
}

/// Returns the mounts of `later` whose mount points are in `mount` itself. `later` is in the order of
/// [`validate_and_order`](crate::mount::validate_and_order()), in which the paths below a path follow it immediately.
fn directly_below<'m>(mount: &ResolvedMount, later: &'m [ResolvedMount]) -> Vec<&'m ResolvedMount> {
    let holds =
        |outer: &ResolvedMount, inner: &ResolvedMount| inner.guest_path.below(&outer.guest_path).is_some();
    let mut direct: Vec<&ResolvedMount> = Vec::new();
    for inner in later.iter().take_while(|inner| holds(mount, inner)) {
        if !direct.last().is_some_and(|last| holds(last, inner)) {
            direct.push(inner);
        }
    }
    direct
}

/// Returns the flags as options of `mount -o`.
fn mount_options(flags: MountFlags) -> impl Iterator<Item = &'static str> {
    let access = if flags.readonly { "ro" } else { "rw" };
    let restrictions = [(flags.nosuid, "nosuid"), (flags.nodev, "nodev"), (flags.noexec, "noexec")];
    let set = restrictions.into_iter().filter(|(set, _)| *set).map(|(_, name)| name);
    std::iter::once(access).chain(set)
}

/// Returns the options of a tmpfs: its size, and mode 1777, so that every user may write to it.
fn tmpfs_options(size_mib: Option<u32>) -> impl Iterator<Item = Cow<'static, str>> {
    let size = size_mib.map(|mib| Cow::Owned(format!("size={}", u64::from(mib) * MIB)));
    size.into_iter().chain([Cow::Borrowed("mode=1777")])
}
