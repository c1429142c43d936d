//! The `mounts` list of the OCI runtime specification.

use super::{disk_refused, host_text, mount_options, refuse_virtiofs_policies, tmpfs_options};
use crate::error::Result;
use crate::mount::{Origin, ResolvedMount};
use serde_json::{Value, json};

const RUNTIME: &str = "An OCI runtime";

/// The entries that make these mounts, which stand in the order of [`plan`](crate::mount::plan()).
pub fn render(mounts: &[ResolvedMount]) -> Result<Vec<Value>> {
    mounts.iter().map(entry).collect()
}

fn entry(mount: &ResolvedMount) -> Result<Value> {
    refuse_virtiofs_policies(RUNTIME, mount)?;
    let mut options: Vec<String> = Vec::new();
    let (kind, source) = match &mount.origin {
        Origin::Bind { host, .. } | Origin::Named { open: host, .. } => {
            // Not "rbind": the flags would not reach what is mounted below the source.
            options.extend(["bind", "rprivate"].map(str::to_owned));
            options.extend(mount_options(mount.flags));
            ("bind", host_text(RUNTIME, mount, host)?)
        }
        Origin::Tmpfs { size_mib } => {
            options.extend(mount_options(mount.flags));
            options.extend(tmpfs_options(*size_mib));
            ("tmpfs", "tmpfs")
        }
        Origin::Disk { .. } => return Err(disk_refused(RUNTIME, mount)),
    };
    Ok(json!({
        "destination": mount.guest_path.as_str(),
        "type": kind,
        "source": source,
        "options": options,
    }))
}
