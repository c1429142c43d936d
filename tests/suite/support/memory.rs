//! Temporary directories in memory, where the disk takes no time.

use super::read_only;
use std::path::{Path, PathBuf};

/// Where temporary directories are in memory, if the machine has such a file system; else where they usually are.
pub fn memory_dir() -> PathBuf {
    let shared_memory = Path::new("/dev/shm");
    if shared_memory.is_dir() && !read_only::is_here() {
        shared_memory.to_owned()
    } else {
        tempfile::env::temp_dir()
    }
}
