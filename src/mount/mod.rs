//! Mounts as data: what a caller requested, the path in the guest, and the arguments for a runtime.
//!
//! A `MountConfig` is parsed from options when the mount is built. `validate_and_order` gives each mount its `GuestPath`
//! and its position. The store resolves each to a `ResolvedMount`, and `runtime` renders those for a sandbox engine. This
//! room does not access the disk.

#![forbid(unsafe_code)]

mod config;
mod guest_path;
mod host_path;
mod option_names;
mod options;
mod parse;
mod provision;
mod resolved;
/// Renderers of mounts for sandbox engines, one per file.
pub mod runtime;
mod source;
mod subpath;
mod validate;

pub use config::MountConfig;
pub use guest_path::GuestPath;
pub use options::{HostPermissions, MountFlags, StatVirtualization};
pub use provision::{Provision, ProvisionMode};
pub use resolved::{MountedPart, ResolvedMount, ResolvedSource};
pub use source::{MountKind, MountSource};
pub use subpath::Subpath;
pub use validate::validate_and_order;
