//! The files that attachments hand on by their descriptors, open as long as their attachment lasts: attached disks, and
//! parts of volumes.
//!
//! A runtime is given such a descriptor or its path, and other homes see our locks on a disk, so these belong to the
//! process: not to a store, which may be opened anew or be let go of while its attachments last.

use crate::mount::GuestPath;
use crate::sys::{Access, HeldFile, reopen, take_flock_again};
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
    /// Whether a runtime was told to take the `flock` on its disks, so that it is not taken here any more.
    gave_flock_away: bool,
}

impl Held {
    /// What an attachment is about to keep open.
    pub fn new(disks: Vec<HeldDisk>, parts: Vec<OwnedFd>) -> Self {
        Held { disks, parts, gave_flock_away: false }
    }
}

/// The files of one disk.
#[derive(Debug)]
pub struct HeldDisk {
    /// Where it is attached.
    pub guest_path: GuestPath,
    /// The image, and the extents of one that consists of several files.
    pub files: Vec<HeldFile>,
    /// What a runtime opens instead of an image that names other files.
    #[expect(dead_code, reason = "it is kept open")]
    pub stand_in: Option<HeldFile>,
    /// Whether the disk is only read.
    pub readonly: bool,
}

/// By the attachment's number, which is drawn at random.
fn held() -> MutexGuard<'static, HashMap<i64, Held>> {
    static HELD: LazyLock<Mutex<HashMap<i64, Held>>> = LazyLock::new(Mutex::default);
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the files of an attachment open; also of one that has none, which then counts as held until it ends.
pub fn keep_open(attachment: i64, files: Held) {
    held().insert(attachment, files);
}

/// Opens the image of the disk that is attached at a guest path once more; none where it is not held any more.
pub fn reopen_image(attachment: i64, guest_path: &GuestPath, access: Access) -> io::Result<Option<File>> {
    let held = held();
    let disk =
        held.get(&attachment).and_then(|held| held.disks.iter().find(|disk| disk.guest_path == *guest_path));
    let image = disk.and_then(|disk| disk.files.first());
    image.map(|image| reopen(image.as_fd(), access).map(File::from)).transpose()
}

/// Releases the `flock` on the disks of an attachment, once and for good, for a runtime that takes it itself. What else
/// tells others that they are attached stays.
pub fn give_flock_away(attachment: i64) -> io::Result<()> {
    let mut held = held();
    match held.get_mut(&attachment) {
        Some(held) if !held.gave_flock_away => {
            held.gave_flock_away = true;
            held.disks.iter().flat_map(|disk| &disk.files).try_for_each(HeldFile::release_flock)
        }
        _ => Ok(()),
    }
}

/// Releases the `flock` on the disk that is attached at a guest path, for a loop device that takes it itself.
pub fn lend_flock(attachment: i64, guest_path: &GuestPath) -> io::Result<()> {
    let held = held();
    let disks = held.get(&attachment).into_iter().flat_map(|held| &held.disks);
    let lent = disks.filter(|disk| disk.guest_path == *guest_path);
    lent.flat_map(|disk| &disk.files).try_for_each(HeldFile::release_flock)
}

/// Takes what [`lend_flock`] released again, except where the borrower still has it: then it holds the image itself.
pub fn take_lent_flocks(attachment: i64) {
    for (file, readonly) in lent_files(attachment) {
        let _the_borrower_has_it = take_flock_again(file, readonly);
    }
}

/// The files of an attachment whose `flock` may be lent, as the same openings, so that waiting for one keeps nobody
/// from the others.
fn lent_files(attachment: i64) -> Vec<(OwnedFd, bool)> {
    let held = held();
    let held = held.get(&attachment).filter(|held| !held.gave_flock_away);
    let disks = held.into_iter().flat_map(|held| &held.disks);
    let files = disks.flat_map(|disk| disk.files.iter().map(move |file| (file, disk.readonly)));
    files.filter_map(|(file, readonly)| Some((file.as_fd().try_clone_to_owned().ok()?, readonly))).collect()
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

/// Whether an attachment of this process has not ended yet, so that its files are open.
pub fn is_held(attachment: i64) -> bool {
    held().contains_key(&attachment)
}
