//! The `mounts` list of the OCI runtime specification.

use super::{
    BY_PATH, by_path, disk_refused, mount_options, path_to_mount, refuse_virtiofs_policies, tmpfs_options,
};
use crate::error::Result;
use crate::model::{Fields, Input};
use crate::mount::{Origin, ResolvedMount};
use serde_json::{Value, json};

const RUNTIME: &str = "An OCI runtime";

/// What `toOci` is told besides the mounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OciOptions {
    /// Parts of volumes may be told by their paths.
    by_path: bool,
}

impl OciOptions {
    /// Reads `toOci`'s options.
    pub fn from_input(input: &Input) -> Result<Self> {
        Ok(OciOptions { by_path: by_path(&Fields::of("OciOptions", input, &[BY_PATH])?)? })
    }
}

/// The entries that make these mounts, which stand in the order of [`plan`](crate::mount::plan()).
pub fn render(mounts: &[ResolvedMount], options: &OciOptions) -> Result<Vec<Value>> {
    mounts.iter().map(|mount| entry(mount, options)).collect()
}

fn entry(mount: &ResolvedMount, oci: &OciOptions) -> Result<Value> {
    refuse_virtiofs_policies(RUNTIME, mount)?;
    let mut options: Vec<String> = Vec::new();
    let (kind, source) = match &mount.origin {
        Origin::Bind { host, .. } | Origin::Named { host, .. } => {
            // Not "rbind": the flags would not reach what is mounted below the source.
            options.extend(["bind", "rprivate"].map(str::to_owned));
            options.extend(mount_options(mount.flags));
            ("bind", path_to_mount(RUNTIME, mount, host, oci.by_path)?)
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
