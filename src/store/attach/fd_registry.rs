//! Descriptors that stay open while an attachment lasts: of attached disks and mounted subpaths.
//!
//! Runtimes get such a descriptor or its path, and other homes see the locks on a disk. So the descriptors belong to
//! the process. A store may be opened again or dropped while its attachments last.

use crate::mount::GuestPath;
use crate::sync::IgnorePoison;
use crate::sys::fd::{AsFd, AsRawFd, OwnedFd};
use crate::sys::{Access, HeldFile, reopen};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Maximum wait of one call for the kernel to end an unused loop device.
const LOOP_DEVICE_TIMEOUT: Duration = Duration::from_millis(250);

/// First and last pause between two attempts to take a `flock` back.
const MIN_RETRY_PAUSE: Duration = Duration::from_millis(5);
const MAX_RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Open descriptors of one attachment.
#[derive(Debug, Default)]
pub struct HeldFds {
    /// Attached disks.
    pub disks: Vec<HeldDisk>,
    /// Mounted subpaths.
    pub subpaths: Vec<OwnedFd>,
    /// True if a runtime takes the `flock` on the disks itself, so that it is not taken back.
    gave_flock_away: bool,
}

impl HeldFds {
    /// Collects the descriptors of an attachment.
    pub fn new(disks: Vec<HeldDisk>, subpaths: Vec<OwnedFd>) -> Self {
        HeldFds { disks, subpaths, gave_flock_away: false }
    }
}

/// The files of one disk.
#[derive(Debug)]
pub struct HeldDisk {
    /// Guest path of the disk.
    pub guest_path: GuestPath,
    /// The image, followed by its extents if it consists of several files.
    pub files: Vec<HeldFile>,
    /// File that a runtime opens instead of an image that names other files.
    #[expect(dead_code, reason = "it is kept open")]
    pub stand_in: Option<HeldFile>,
    /// True if the mount is read-only.
    pub readonly: bool,
    /// Holder of the `flock` on the files.
    pub flock: FlockHolder,
}

/// Holder of the `flock` on a disk's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlockHolder {
    /// The attachment.
    #[default]
    Attachment,
    /// A loop device, which has the `flock` or is about to take it.
    Borrower,
    /// A loop device that was released and may still be in use. After its end, the attachment takes the `flock` back.
    LeavingBorrower,
}

impl HeldDisk {
    /// Takes the `flock` back if it is free.
    fn reclaim_flock(&mut self) {
        let take = |file: &HeldFile| file.take_flock(self.readonly).unwrap_or(false);
        if self.flock == FlockHolder::LeavingBorrower && self.files.iter().all(take) {
            self.flock = FlockHolder::Attachment;
        }
    }
}

/// Returns the registry, by the random ids of the attachments.
fn registry() -> MutexGuard<'static, HashMap<i64, HeldFds>> {
    static REGISTRY: LazyLock<Mutex<HashMap<i64, HeldFds>>> = LazyLock::new(Mutex::default);
    REGISTRY.lock().ignore_poison()
}

/// Registers the descriptors of an attachment. An attachment without descriptors is registered too, so that
/// [`is_held`] returns true.
pub fn keep_open(attachment: i64, files: HeldFds) {
    registry().insert(attachment, files);
}

/// Opens the image that is attached at a guest path again. Returns `None` if it is not attached any more.
pub fn reopen_image(attachment: i64, guest_path: &GuestPath, access: Access) -> io::Result<Option<File>> {
    let held = registry();
    let disk =
        held.get(&attachment).and_then(|held| held.disks.iter().find(|disk| disk.guest_path == *guest_path));
    let image = disk.and_then(|disk| disk.files.first());
    image.map(|image| reopen(image.as_fd(), access).map(File::from)).transpose()
}

/// Releases the `flock` on the disks of an attachment for good, for a runtime that takes it itself. Leases and record
/// locks stay.
pub fn give_flock_away(attachment: i64) -> io::Result<()> {
    let mut held = registry();
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
    let mut held = registry();
    let disks = held.get_mut(&attachment).into_iter().flat_map(|held| &mut held.disks);
    disks.filter(|disk| disk.guest_path == *guest_path).try_for_each(|disk| {
        disk.flock = FlockHolder::Borrower;
        disk.files.iter().try_for_each(HeldFile::release_flock)
    })
}

/// Takes back what [`lend_flock`] released.
///
/// A loop device that is still in use after the timeout keeps its `flock`. The `flock` is taken back after the
/// device's end, unless it was given away or the attachment has ended by then.
pub fn reclaim_lent_flocks(attachment: i64) {
    let deadline = Instant::now() + LOOP_DEVICE_TIMEOUT;
    if let Some(held) = registry().get_mut(&attachment) {
        let lent = held.disks.iter_mut().filter(|disk| disk.flock == FlockHolder::Borrower);
        lent.for_each(|disk| disk.flock = FlockHolder::LeavingBorrower);
    }
    while reclaim_free_flocks(&mut registry(), Some(attachment)) {
        if Instant::now() >= deadline {
            return reclaim_in_background();
        }
        thread::sleep(MIN_RETRY_PAUSE);
    }
}

/// Takes back each `flock` that a released loop device does not hold any more.
pub fn reclaim_flocks() {
    reclaim_free_flocks(&mut registry(), None);
}

/// Takes back each free `flock` of one attachment, or of all. Does not wait. Returns true if a released loop device
/// still holds one.
///
/// TOCTOU: `gave_flock_away` is checked under the lock of the registry.
fn reclaim_free_flocks(held: &mut HashMap<i64, HeldFds>, of: Option<i64>) -> bool {
    let selected =
        held.iter_mut().filter(|(id, held)| of.is_none_or(|of| of == **id) && !held.gave_flock_away);
    selected.flat_map(|(_, held)| &mut held.disks).fold(false, |remains, disk| {
        disk.reclaim_flock();
        remains || disk.flock == FlockHolder::LeavingBorrower
    })
}

/// Takes back the remaining locks on one thread, until none remains. If the thread cannot be started, later calls do
/// this.
fn reclaim_in_background() {
    /// True while the thread runs. It changes only under the lock of the registry, under which the thread finds
    /// nothing left.
    static IS_RUNNING: AtomicBool = AtomicBool::new(false);
    let _registry = registry();
    if IS_RUNNING.swap(true, Ordering::Relaxed) {
        return;
    }
    let started = thread::Builder::new().name("take-flocks".to_owned()).spawn(|| {
        let mut pause = MIN_RETRY_PAUSE;
        loop {
            let mut held = registry();
            if !reclaim_free_flocks(&mut held, None) {
                IS_RUNNING.store(false, Ordering::Relaxed);
                return;
            }
            drop(held);
            thread::sleep(pause);
            pause = MAX_RETRY_PAUSE.min(pause * 2);
        }
    });
    if started.is_err() {
        IS_RUNNING.store(false, Ordering::Relaxed);
    }
}

/// Returns the mounted subpath with this descriptor number. Returns `None` if the attachment does not hold it.
pub fn subpath(attachment: i64, descriptor: i32) -> io::Result<Option<OwnedFd>> {
    let held = registry();
    let subpath =
        held.get(&attachment).and_then(|held| held.subpaths.iter().find(|fd| fd.as_raw_fd() == descriptor));
    subpath.map(OwnedFd::try_clone).transpose()
}

/// Closes the descriptors of an ended attachment.
pub fn close(attachment: i64) {
    drop(registry().remove(&attachment));
}

/// Returns true if an attachment of this process has not ended, so that its descriptors are open.
pub fn is_held(attachment: i64) -> bool {
    registry().contains_key(&attachment)
}
