//! The `mounts` list of the OCI runtime specification.

use super::rendered::Rendered::{self, Text, Word};
use super::rendered::{object, text};
use super::{
    BY_PATH, by_path, disk_refused, mount_options, path_to_mount, refuse_virtiofs_policies, tmpfs_options,
};
use crate::error::Result;
use crate::model::{OptionReader, OptionValue};
use crate::mount::{ResolvedMount, ResolvedSource};

const RUNTIME: &str = "An OCI runtime";

/// The options of `toOci`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OciOptions {
    /// Whether parts of volumes may be mounted by their paths.
    by_path: bool,
}

impl OciOptions {
    /// Reads `toOci`'s options.
    pub fn from_input(input: &OptionValue) -> Result<Self> {
        Ok(OciOptions { by_path: by_path(&OptionReader::of("OciOptions", input, &[BY_PATH])?)? })
    }
}

/// Returns the entries for these mounts, which are in the order of
/// [`validate_and_order`](crate::mount::validate_and_order()).
pub fn render<'m>(mounts: &'m [ResolvedMount], options: &OciOptions) -> Result<Vec<Rendered<'m>>> {
    mounts.iter().map(|mount| entry(mount, options)).collect()
}

fn entry<'m>(mount: &'m ResolvedMount, oci: &OciOptions) -> Result<Rendered<'m>> {
    refuse_virtiofs_policies(RUNTIME, mount)?;
    let flags = mount_options(mount.flags).map(Word);
    let (kind, source, options) = match &mount.origin {
        ResolvedSource::Bind { host, .. } | ResolvedSource::Named { host, .. } => {
            let source = text(path_to_mount(RUNTIME, mount, host, oci.by_path)?);
            // Not "rbind": the flags would not apply to the mounts below the source.
            ("bind", source, ["bind", "rprivate"].map(Word).into_iter().chain(flags).collect())
        }
        ResolvedSource::Tmpfs { size_mib } => {
            ("tmpfs", Word("tmpfs"), flags.chain(tmpfs_options(*size_mib).map(Text)).collect())
        }
        ResolvedSource::Disk { .. } => return Err(disk_refused(RUNTIME, mount)),
    };
    Ok(object([
        ("destination", text(mount.guest_path.as_str())),
        ("type", Word(kind)),
        ("source", source),
        ("options", Rendered::List(options)),
    ]))
}
