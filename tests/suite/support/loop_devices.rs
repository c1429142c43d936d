//! Finds the loop devices of a file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many loop devices have `image` as their file.
pub fn showing(image: &Path) -> usize {
    let image = image.canonicalize().unwrap();
    let devices = fs::read_dir("/sys/block").unwrap().map(|device| device.unwrap().path());
    devices
        .filter(|device| {
            // Gone if the device was detached just now.
            let shown = fs::read_to_string(device.join("loop/backing_file")).unwrap_or_default();
            Path::new(shown.trim_end()) == image
        })
        .count()
}

/// Waits until there are none. The kernel detaches them some time after the end of a process or a mount namespace.
pub fn assert_none_soon(image: &Path) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while showing(image) > 0 {
        assert!(
            Instant::now() < deadline,
            "{image:?} ({} bytes) is still shown",
            image.metadata().unwrap().size()
        );
        std::thread::yield_now();
    }
}
