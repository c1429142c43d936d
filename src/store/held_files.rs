//! The files that attachments hand on by their descriptors, open as long as their attachment lasts: attached disks, and
//! parts of volumes.
//!
//! A runtime is given such a descriptor or its path, and other homes see our locks on a disk, so these belong to the
//! process: not to a store, which may be opened anew or be let go of while its attachments last.

use crate::mount::GuestPath;
use crate::sys::{Access, HeldFile, reopen};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// What one attachment keeps open.
#[derive(Debug, Default)]
pub struct Held {
    /// Its disks.
    pub disks: Vec<HeldDisk>,
    /// The parts of volumes that it mounts.
    pub parts: Vec<OwnedFd>,
}

/// The files of one disk.
#[derive(Debug)]
pub struct HeldDisk {
    /// Where it is attached.
    pub guest_path: GuestPath,
    /// The image, then what else belongs to it.
    pub files: Vec<HeldFile>,
}

/// By the attachment's number, which is drawn at random.
fn held() -> MutexGuard<'static, HashMap<i64, Held>> {
    static HELD: LazyLock<Mutex<HashMap<i64, Held>>> = LazyLock::new(Mutex::default);
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the files of an attachment open.
pub fn keep_open(attachment: i64, files: Held) {
    if !files.disks.is_empty() || !files.parts.is_empty() {
        held().insert(attachment, files);
    }
}

/// Opens the image of the disk that is attached at a guest path once more; none where it is not held any more.
pub fn reopen_image(attachment: i64, guest_path: &GuestPath, access: Access) -> io::Result<Option<File>> {
    let held = held();
    let disk =
        held.get(&attachment).and_then(|held| held.disks.iter().find(|disk| disk.guest_path == *guest_path));
    let image = disk.and_then(|disk| disk.files.first());
    image.map(|image| reopen(image.as_fd(), access).map(File::from)).transpose()
}

/// The part of a volume that an attachment holds by the descriptor of that number; none where it is not held any more.
pub fn part(attachment: i64, descriptor: i32) -> io::Result<Option<OwnedFd>> {
    let held = held();
    let part =
        held.get(&attachment).and_then(|held| held.parts.iter().find(|part| part.as_raw_fd() == descriptor));
    part.map(OwnedFd::try_clone).transpose()
}

/// Closes the files of an attachment that has ended.
pub fn close(attachment: i64) {
    drop(held().remove(&attachment));
}

/// Whether the files of an attachment that has some are open.
pub fn are_open(attachment: i64) -> bool {
    held().contains_key(&attachment)
}
