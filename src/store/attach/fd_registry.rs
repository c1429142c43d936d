//! The files that attachments hand on by their descriptors, open as long as their attachment lasts: attached disks, and
//! parts of volumes.
//!
//! A runtime is given such a descriptor or its path, and other homes see our locks on a disk, so these belong to the
//! process: not to a store, which may be opened anew or be let go of while its attachments last.

use crate::mount::GuestPath;
use crate::sync::IgnorePoison;
use crate::sys::{Access, HeldFile, reopen};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// How long a call waits for the kernel to end a loop device that nobody uses any more.
const LOOP_DEVICE_TIMEOUT: Duration = Duration::from_millis(250);

/// How often a `flock` that is to be taken again is tried, at first and at last.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What one attachment keeps open.
#[derive(Debug, Default)]
pub struct HeldFds {
    /// Its disks.
    pub disks: Vec<HeldDisk>,
    /// The parts of volumes that it mounts.
    pub parts: Vec<OwnedFd>,
    /// Whether a runtime was told to take the `flock` on its disks, so that it is not taken here any more.
    gave_flock_away: bool,
}

impl HeldFds {
    /// What an attachment is about to keep open.
    pub fn new(disks: Vec<HeldDisk>, parts: Vec<OwnedFd>) -> Self {
        HeldFds { disks, parts, gave_flock_away: false }
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
    /// Who has the `flock` on the files.
    pub flock: FlockHolder,
}

/// Who has the `flock` on a disk's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlockHolder {
    /// The attachment.
    #[default]
    Attachment,
    /// A loop device, or it is about to take it.
    Borrower,
    /// A loop device that was let go of. Something may use it still; once it has ended, the attachment takes it again.
    LeavingBorrower,
}

impl HeldDisk {
    /// Takes the `flock` again if it is free; what cannot be taken is tried another time.
    fn take_flock_back(&mut self) {
        let take = |file: &HeldFile| file.take_flock(self.readonly).unwrap_or(false);
        if self.flock == FlockHolder::LeavingBorrower && self.files.iter().all(take) {
            self.flock = FlockHolder::Attachment;
        }
    }
}

/// By the attachment's number, which is drawn at random.
fn held() -> MutexGuard<'static, HashMap<i64, HeldFds>> {
    static HELD: LazyLock<Mutex<HashMap<i64, HeldFds>>> = LazyLock::new(Mutex::default);
    HELD.lock().ignore_poison()
}

/// Keeps the files of an attachment open; also of one that has none, which then counts as held until it ends.
pub fn keep_open(attachment: i64, files: HeldFds) {
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
    let mut held = held();
    let disks = held.get_mut(&attachment).into_iter().flat_map(|held| &mut held.disks);
    disks.filter(|disk| disk.guest_path == *guest_path).try_for_each(|disk| {
        disk.flock = FlockHolder::Borrower;
        disk.files.iter().try_for_each(HeldFile::release_flock)
    })
}

/// Takes what [`lend_flock`] released again. What a borrower still has after a moment, it holds itself; it is taken as
/// soon as the borrower has ended, unless it was given away or the attachment has ended by then.
pub fn take_lent_flocks(attachment: i64) {
    let deadline = Instant::now() + LOOP_DEVICE_TIMEOUT;
    if let Some(held) = held().get_mut(&attachment) {
        let lent = held.disks.iter_mut().filter(|disk| disk.flock == FlockHolder::Borrower);
        lent.for_each(|disk| disk.flock = FlockHolder::LeavingBorrower);
    }
    while take_free_flocks(&mut held(), Some(attachment)) {
        if Instant::now() >= deadline {
            return take_in_background();
        }
        thread::sleep(SHORTEST_PAUSE);
    }
}

/// Takes what borrowers still had when their mounts were taken away, and have let go of since.
pub fn take_left_flocks() {
    take_free_flocks(&mut held(), None);
}

/// Takes each `flock` of an attachment, or of all, that its borrower is leaving and has let go of. Nothing is waited
/// for, and whether it was given away is looked at under the same lock. True if some are left.
fn take_free_flocks(held: &mut HashMap<i64, HeldFds>, of: Option<i64>) -> bool {
    let wanted = held.iter_mut().filter(|(id, held)| of.is_none_or(|of| of == **id) && !held.gave_flock_away);
    wanted.flat_map(|(_, held)| &mut held.disks).fold(false, |left, disk| {
        disk.take_flock_back();
        left || disk.flock == FlockHolder::LeavingBorrower
    })
}

/// Goes on taking what is left, on one thread, until nothing is. Without a thread, later calls do.
fn take_in_background() {
    /// Whether there is the thread; changed under the lock of what is held, under which it finds that nothing is left.
    static RUNS: AtomicBool = AtomicBool::new(false);
    let _held = held();
    if RUNS.swap(true, Ordering::Relaxed) {
        return;
    }
    let started = thread::Builder::new().name("take-flocks".to_owned()).spawn(|| {
        let mut pause = SHORTEST_PAUSE;
        loop {
            let mut held = held();
            if !take_free_flocks(&mut held, None) {
                RUNS.store(false, Ordering::Relaxed);
                return;
            }
            drop(held);
            thread::sleep(pause);
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    });
    if started.is_err() {
        RUNS.store(false, Ordering::Relaxed);
    }
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
