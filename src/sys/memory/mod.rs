//! Memory for large buffers, and files in memory.

pub mod huge_pages;
pub mod memfd;
