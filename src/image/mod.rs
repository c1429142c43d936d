//! Disk images: inspects existing ones, and creates new ones without an external tool or a mount.
//!
//! A guest or an unknown author may have written an image, so the parsers trust no byte. An offset is compared with the
//! file's length before it is read, and a count with a limit before a loop. No file that an image names is opened,
//! except a vmdk's extents in the image's directory.
//!
//! A message recommends `qemu-img convert` only for an image that the caller trusts: that tool opens the files that an
//! image names.

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
