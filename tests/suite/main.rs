//! The tests of the core. The folders are those of `src/`.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

mod crash;
mod error;
mod ext4;
mod faulty;
mod image;
mod mount;
mod soak;
mod store;
mod support;
mod volume_fs;
