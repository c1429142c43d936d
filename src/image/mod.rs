//! Disk images: bytes in, facts out; and new ones made without a tool or a mount.
//!
//! An image may have been written by a guest, or by whoever sent it, so its parsers trust nothing.

#![forbid(unsafe_code)]

/// New ext4 file systems.
pub mod ext4;
