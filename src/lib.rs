//! Named persistent volumes for code sandboxes.
//!
//! A volume is a directory with a name, a quota and labels. The host writes files into it, attaches it to a
//! sandbox, and keeps it when the sandbox is gone.
//!
//! ```
//! use sandbox_volumes::model::{VolumeName, VolumeSpec};
//! use sandbox_volumes::store::{Durability, Store};
//! use sandbox_volumes::sync::CancelToken;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! let store = Store::open(home.path(), Durability::Full)?;
//! let name = VolumeName::parse("my-data")?;
//! let created = store.create(&name, &VolumeSpec::from_options(&[])?, &CancelToken::default())?;
//! assert!(created.path.ends_with("volumes/my-data"));
//! # Ok(())
//! # }
//! ```

/// All SQL: volumes, intents, attachments.
pub mod catalog;
/// The one error type: kinds, codes, context.
pub mod error;
/// New ext4 file systems.
pub mod ext4;
/// Disk images: ext4 made in Rust, and what an image made elsewhere is.
pub mod image;
/// Names, sizes, kinds, records: parsed on entry, then trusted.
pub mod model;
/// What is mounted where in a guest, and how each runtime is told.
pub mod mount;
/// The Node.js addon.
#[cfg(feature = "node")]
mod node;
/// Volumes from creation to removal, and what they are attached to.
pub mod store;
/// Waiting, turns and cancellation.
pub mod sync;
/// The operating system: descriptors, locks, processes.
mod sys;
/// Files inside one volume, opened beneath its directory descriptor.
pub mod volume_fs;
