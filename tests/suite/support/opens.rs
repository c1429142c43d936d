//! Notices that a file is opened.

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::path::Path;

/// Whether a file was opened for I/O, which its driver or other end notices.
pub struct Opens(Inotify);

impl Opens {
    pub fn watch(path: &Path) -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
        inotify.add_watch(path, AddWatchFlags::IN_OPEN).unwrap();
        Opens(inotify)
    }

    pub fn any(&self) -> bool {
        match self.0.read_events() {
            Ok(events) => !events.is_empty(),
            Err(errno) => {
                assert_eq!(errno, Errno::EAGAIN);
                false
            }
        }
    }
}
