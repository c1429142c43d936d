//! The `mounts` list of the OCI runtime specification.

use super::{disk_refused, host_text, refuse_virtiofs_policies};
use crate::error::Result;
use crate::model::MIB;
use crate::mount::{MountFlags, Origin, ResolvedMount};
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
        Origin::Bind { host } | Origin::Named { host, .. } => {
            // Not "rbind": the flags would not reach what is mounted below the source.
            options.extend(["bind", "rprivate"].map(str::to_owned));
            options.extend(flags(mount.flags));
            ("bind", host_text(RUNTIME, mount, host)?)
        }
        Origin::Tmpfs { size_mib } => {
            options.extend(flags(mount.flags));
            options.extend(size_mib.map(|mib| format!("size={}", u64::from(mib) * MIB)));
            options.push("mode=1777".to_owned());
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

fn flags(flags: MountFlags) -> impl Iterator<Item = String> {
    let access = if flags.readonly { "ro" } else { "rw" };
    let restrictions = [(flags.nosuid, "nosuid"), (flags.nodev, "nodev"), (flags.noexec, "noexec")];
    let set = restrictions.into_iter().filter(|(set, _)| *set).map(|(_, name)| name);
    std::iter::once(access).chain(set).map(str::to_owned)
}
