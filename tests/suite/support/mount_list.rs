//! The mounts of this thread's mount namespace.

use std::path::Path;

/// The mounts below a directory in the order in which they were made: where each is, from there, and the line that
/// tells of it.
pub fn lines_below(directory: &Path) -> Vec<(String, String)> {
    let directory = directory.canonicalize().unwrap();
    let directory = directory.to_str().unwrap().trim_end_matches('/');
    let listed = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let lines = listed.lines().filter_map(|line| {
        let place = line.split(' ').nth(4).unwrap().replace("\\040", " ");
        let place = place.strip_prefix(directory)?;
        place.starts_with('/').then(|| (place.to_owned(), line.to_owned()))
    });
    lines.collect()
}
