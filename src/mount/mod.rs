//! Mounts as data: what a caller asked for, where it goes in the guest, and how a runtime is told.
//!
//! Options are parsed into a `MountConfig` when the mount is built, `plan` gives every one its `GuestPath` and
//! its turn, the store resolves each into a `ResolvedMount`, and `runtime` writes those down for a sandbox
//! engine. Nothing here looks at the disk.

#![forbid(unsafe_code)]

mod config;
mod field;
mod guest_path;
mod host_path;
mod options;
mod plain;
mod plan;
mod provision;
mod resolved;
/// What a sandbox engine is told: one pure renderer a file.
pub mod runtime;
mod source;
mod subpath;

pub use config::MountConfig;
pub use guest_path::GuestPath;
pub use options::{HostPermissions, MountFlags, StatVirtualization};
pub use plan::plan;
pub use provision::{Provision, ProvisionMode};
pub use resolved::{MountedPart, Origin, ResolvedMount};
pub use source::{MountKind, MountSource};
pub use subpath::Subpath;
