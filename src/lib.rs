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
/// Creates ext4 file systems.
pub mod ext4;
/// Disk images: create new ones, inspect existing ones.
pub mod image;
/// Names, sizes, kinds, records: parsed on entry, then trusted.
pub mod model;
/// Mounts of a guest, and their rendering for each runtime.
pub mod mount;
/// The Node.js addon.
#[cfg(feature = "node")]
mod node;
/// Volumes from creation to removal, and their attachments.
pub mod store;
/// Waiting, locks and cancellation.
pub mod sync;
/// The operating system: descriptors, locks, processes.
mod sys;
/// Files inside one volume, opened beneath its directory descriptor.
pub mod volume_fs;
/// The JSON shapes of results.
pub mod wire;
