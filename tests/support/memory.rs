//! A place that takes no disk its time.

use std::path::Path;

/// From now on the temporary directories of this process are in memory, where the machine has such a file system.
pub fn work_in_memory() {
    let shared_memory = Path::new("/dev/shm");
    if shared_memory.is_dir() {
        let _is_set_already = tempfile::env::override_temp_dir(shared_memory);
    }
}
