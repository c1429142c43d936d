//! `bwrap` arguments, for bubblewrap 0.7 and later.

use super::{disk_refused, host_text, refuse_virtiofs_policies, unsupported};
use crate::error::{Error, Result};
use crate::model::{MIB, OptionReader, OptionValue};
use crate::mount::{ResolvedMount, ResolvedSource};

const RUNTIME: &str = "Bubblewrap";

const FIRST_FD: &str = "firstFd";

/// The first descriptor number after standard input, output and error.
const MIN_FD: u32 = 3;

/// The options of `toBubblewrap`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BubblewrapOptions {
    /// The number of the first descriptor that bubblewrap inherits. The others follow.
    first_fd: Option<u32>,
}

impl BubblewrapOptions {
    /// Reads `toBubblewrap`'s options.
    pub fn from_input(input: &OptionValue) -> Result<Self> {
        let first_fd = OptionReader::of("BubblewrapOptions", input, &[FIRST_FD])?.u32(FIRST_FD)?;
        match first_fd {
            Some(number) if number < MIN_FD => {
                Err(Error::invalid_config(FIRST_FD, format!("expected at least {MIN_FD}, got {number}")))
            }
            _ => Ok(BubblewrapOptions { first_fd }),
        }
    }

    /// Returns the descriptor number of a part, after `before` other parts.
    fn number_of(&self, mount: &ResolvedMount, before: u32) -> Result<String> {
        let number = self.first_fd.and_then(|first| first.checked_add(before));
        number.map(|number| number.to_string()).ok_or_else(|| {
            let guest_path = mount.guest_path.as_str();
            let problem = format!(
                "the part of a volume at \"{guest_path}\" is handed on as a descriptor; say by which number \
                 bubblewrap finds the first one, and start it with descriptors() from there on"
            );
            Error::invalid_config(FIRST_FD, problem)
        })
    }
}

/// Returns the arguments for these mounts, which are in the order of
/// [`validate_and_order`](crate::mount::validate_and_order()).
///
/// A part of a volume is bound by its descriptor. Its procfs path does not work in bubblewrap's user namespace, and
/// another process that can write to the volume could replace the entry at its path.
///
/// `nosuid` and `nodev` need no argument: bubblewrap sets both for every bind mount and tmpfs. It has no `noexec`.
pub fn render(mounts: &[ResolvedMount], options: &BubblewrapOptions) -> Result<Vec<String>> {
    let mut argv = Vec::new();
    let mut parts = 0;
    if !mounts.is_empty() {
        // A sandbox that root starts keeps its capabilities. With CAP_SYS_ADMIN it could undo every flag below.
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
            ResolvedSource::Named { part: Some(_), .. } => {
                let bind = if mount.flags.readonly { "--ro-bind-fd" } else { "--bind-fd" };
                argv.extend([bind, &options.number_of(mount, parts)?, guest_path].map(str::to_owned));
                parts += 1;
            }
            ResolvedSource::Bind { host, .. } | ResolvedSource::Named { host, .. } => {
                let bind = if mount.flags.readonly { "--ro-bind" } else { "--bind" };
                argv.extend([bind, host_text(RUNTIME, mount, host)?, guest_path].map(str::to_owned));
            }
            ResolvedSource::Tmpfs { size_mib } => {
                argv.extend(["--perms", "1777"].map(str::to_owned));
                if let Some(mib) = size_mib {
                    argv.extend(["--size".to_owned(), (u64::from(*mib) * MIB).to_string()]);
                }
                argv.extend(["--tmpfs", guest_path].map(str::to_owned));
                if mount.flags.readonly {
                    readonly_tmpfs.push(guest_path);
                }
            }
            ResolvedSource::Disk { .. } => return Err(disk_refused(RUNTIME, mount)),
        }
    }
    // Last, because bubblewrap creates the mount points below them first.
    for guest_path in readonly_tmpfs.into_iter().rev() {
        argv.extend(["--remount-ro", guest_path].map(str::to_owned));
    }
    Ok(argv)
}
