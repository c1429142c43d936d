//! Named persistent volumes for code sandboxes.
//!
//! A volume is a directory with a name, a quota and labels. The host writes files into it, attaches it to a
//! sandbox, and keeps it when the sandbox is gone.
//!
//! ```
//! use sandbox_volumes::model::{Cancel, VolumeName, VolumeSpec};
//! use sandbox_volumes::store::{Durability, Store};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! let store = Store::open(home.path(), Durability::Full)?;
//! let name = VolumeName::parse("my-data")?;
//! let created = store.create(&name, &VolumeSpec::from_options(&[])?, &Cancel::default())?;
//! assert!(created.path.ends_with("volumes/my-data"));
//! # Ok(())
//! # }
//! ```

/// The Node.js addon.
#[cfg(feature = "node")]
mod bindings;
/// All SQL: volumes, intents, attachments.
pub mod catalog;
/// Files inside one volume, opened beneath its directory descriptor.
pub mod content;
/// The one error type: kinds, codes, context.
pub mod error;
/// Disk images: ext4 made in Rust, and what an image made elsewhere is.
pub mod image;
/// Names, sizes, kinds, records: parsed on entry, then trusted.
pub mod model;
/// What is mounted where in a guest, and how each runtime is told.
pub mod mount;
/// Volumes from creation to removal, and what they are attached to.
pub mod store;
/// The operating system: descriptors, locks, processes.
mod sys;
