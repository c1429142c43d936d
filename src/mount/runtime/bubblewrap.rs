//! `bwrap` arguments, for bubblewrap 0.7 and later.

use super::{disk_refused, host_text, refuse_virtiofs_policies, unsupported};
use crate::error::Result;
use crate::model::MIB;
use crate::mount::{Origin, ResolvedMount};

const RUNTIME: &str = "Bubblewrap";

/// The arguments that make these mounts, which stand in the order of [`plan`](crate::mount::plan()).
///
/// `nosuid` and `nodev` hold without an argument: bubblewrap makes every bind and tmpfs with both. It has no
/// `noexec`.
pub fn render(mounts: &[ResolvedMount]) -> Result<Vec<String>> {
    let mut argv = Vec::new();
    if !mounts.is_empty() {
        // A sandbox that root starts keeps its capabilities, and with this one it could undo every flag below.
        argv.extend(["--cap-drop", "CAP_SYS_ADMIN"].map(str::to_owned));
    }
    let mut readonly_tmpfs = Vec::new();
    for mount in mounts {
        refuse_virtiofs_policies(RUNTIME, mount)?;
        if mount.flags.noexec {
            return Err(unsupported(
                RUNTIME,
                mount,
                "it has no \"noexec\"; leave it unset, or use another runtime",
            ));
        }
        let guest_path = mount.guest_path.as_str();
        match &mount.origin {
            Origin::Bind { host, .. } | Origin::Named { host, .. } => {
                let bind = if mount.flags.readonly { "--ro-bind" } else { "--bind" };
                argv.extend([bind, host_text(RUNTIME, mount, host)?, guest_path].map(str::to_owned));
            }
            Origin::Tmpfs { size_mib } => {
                argv.extend(["--perms", "1777"].map(str::to_owned));
                if let Some(mib) = size_mib {
                    argv.extend(["--size".to_owned(), (u64::from(*mib) * MIB).to_string()]);
                }
                argv.extend(["--tmpfs", guest_path].map(str::to_owned));
                if mount.flags.readonly {
                    readonly_tmpfs.push(guest_path);
                }
            }
            Origin::Disk { .. } => return Err(disk_refused(RUNTIME, mount)),
        }
    }
    // Only now, because the mount points below them had to be made first.
    for guest_path in readonly_tmpfs.into_iter().rev() {
        argv.extend(["--remount-ro", guest_path].map(str::to_owned));
    }
    Ok(argv)
}
