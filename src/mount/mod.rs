//! Mounts as data: what a caller asked for, where it goes in the guest, and how a runtime is told.
//!
//! Options are parsed into a `MountConfig` when the mount is built, `plan` gives every one its `GuestPath` and
//! its turn, the store resolves each into a `ResolvedMount`, and `runtime` writes those down for a sandbox
//! engine. Nothing here looks at the disk.

#![forbid(unsafe_code)]

mod config;
mod guest_path;
mod host_path;
mod option_names;
mod options;
mod provision;
mod resolved;
/// What a sandbox engine is told: one pure renderer a file.
pub mod runtime;
mod serialize;
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
pub use validate::plan;
