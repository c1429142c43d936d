//! Disk images: bytes in, facts out; and new ones made without a tool or a mount.
//!
//! An image may have been written by a guest, or by whoever sent it, so its parsers trust nothing: every offset is
//! held against the file's length before it is read, every count against a bound before it is looped over, and
//! nothing that an image names is opened but a vmdk's extents beside it. A message advises qemu-img convert only to
//! whoever trusts the image, for that tool does follow what an image names.

#![forbid(unsafe_code)]

mod bytes;
mod create;
mod detect;
mod external_devices;
mod inspect;
mod open;
/// Partition tables.
pub mod partitions;
mod problem;
/// The qcow2 format.
pub mod qcow2;
/// The file system in a disk.
pub mod superblock;
/// The vmdk format.
pub mod vmdk;

pub use create::{create_qcow2, create_raw};
pub use external_devices::names_other_devices;
pub use inspect::{Inspected, inspect};
pub use open::{OpenedImage, open};
pub use problem::ImageProblem;
