//! Renderers: resolved mounts in, a runtime's own notation out. One that a runtime cannot express is an
//! `UnsupportedMount` error; no flag is dropped in silence.

/// Arguments for bubblewrap's `bwrap`.
pub mod bubblewrap;
/// Arguments for `docker run` and `podman run`.
pub mod docker;
/// Mounts that the host's own kernel makes.
pub mod host;
/// Volumes of a Kubernetes pod, and their claims.
pub mod kubernetes;
/// What a Kubernetes rendering is told besides.
pub mod kubernetes_options;
/// Arguments for microsandbox's `msb run`.
pub mod microsandbox;
/// Calls for microsandbox's TypeScript SDK.
pub mod microsandbox_sdk;
/// The `mounts` of an OCI runtime's `config.json`: runc, crun, containerd.
pub mod oci;
/// Arguments for QEMU, and the mount commands of its guest.
pub mod qemu;
/// What the renderers give that is more than arguments.
pub mod rendered;

use super::options::{self, MountFlags};
use super::resolved::ResolvedMount;
use crate::error::{Error, Result};
use crate::model::{MIB, OptionReader};
use std::borrow::Cow;
use std::path::Path;

/// Whether a runtime may be told of parts of volumes by their paths.
const BY_PATH: &str = "byPath";

fn by_path(fields: &OptionReader<'_>) -> Result<bool> {
    Ok(fields.flag(BY_PATH)?.unwrap_or(false))
}

fn unsupported(runtime: &str, mount: &ResolvedMount, problem: impl std::fmt::Display) -> Error {
    Error::unsupported_mount(runtime, mount.guest_path.as_str(), problem)
}

/// Refuses the policies that only a virtiofs server can keep, for a runtime that has none.
fn refuse_virtiofs_policies(runtime: &str, mount: &ResolvedMount) -> Result<()> {
    match options::virtiofs_policy(mount.stat_virtualization, mount.host_permissions) {
        Some(policy) => {
            Err(unsupported(runtime, mount, format!("{policy:?} is virtiofs-only; leave it unset")))
        }
        None => Ok(()),
    }
}

/// What a disk is to a runtime that shares the host's kernel.
fn disk_refused(runtime: &str, mount: &ResolvedMount) -> Error {
    unsupported(runtime, mount, "a disk needs a virtual machine; use toQemu()")
}

/// A host path for a notation that is text.
fn host_text<'a>(runtime: &str, mount: &ResolvedMount, host: &'a Path) -> Result<&'a str> {
    host.to_str().ok_or_else(|| {
        unsupported(runtime, mount, format!("its host path {host:?} is not UTF-8; mount a path that is"))
    })
}

/// The path of a directory or file for a runtime that looks for it by itself, in a mount name space of its own. From
/// there no descriptor of ours can be mounted, so a part of a volume has only its path, which others may change.
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

/// Those of `later`, in the order of [`plan`](crate::mount::plan()), whose mount points `mount` holds itself. In that order
/// what is below a path follows it at once.
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

/// The flags as the words of `mount -o`.
fn mount_options(flags: MountFlags) -> impl Iterator<Item = &'static str> {
    let access = if flags.readonly { "ro" } else { "rw" };
    let restrictions = [(flags.nosuid, "nosuid"), (flags.nodev, "nodev"), (flags.noexec, "noexec")];
    let set = restrictions.into_iter().filter(|(set, _)| *set).map(|(_, name)| name);
    std::iter::once(access).chain(set)
}

/// What a tmpfs is told besides: anybody may write to it, up to its size.
fn tmpfs_options(size_mib: Option<u32>) -> impl Iterator<Item = Cow<'static, str>> {
    let size = size_mib.map(|mib| Cow::Owned(format!("size={}", u64::from(mib) * MIB)));
    size.into_iter().chain([Cow::Borrowed("mode=1777")])
}
