//! Renderers: resolved mounts in, a runtime's own notation out. One that a runtime cannot express is an
//! `UnsupportedMount` error; no flag is dropped in silence.

/// Arguments for bubblewrap's `bwrap`.
pub mod bubblewrap;
/// The `mounts` of an OCI runtime's `config.json`: runc, crun, containerd.
pub mod oci;

use super::options;
use super::resolved::ResolvedMount;
use crate::error::{Error, Result};
use std::path::Path;

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
