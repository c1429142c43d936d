//! Quotas on what the host writes into a directory volume.

use super::estimate::{BLOCK, DirIdentity, Observation, UsageEstimate, max_allocated};
use super::lock::{QuotaLocks, UsageFile};
use crate::error::{Error, Result};
use crate::model::MIB;
use crate::sync::CancelToken;
use crate::sys::fd::AsFd;
use crate::sys::{FileStat, Subvolume, boot_id, free_space, sync_file_system, time_since_boot};
use crate::volume_fs::VolumeRoot;
use std::time::{Duration, UNIX_EPOCH};

/// The fewest bytes of metadata that btrfs reserves for a write. Then the bytes of content per further byte.
const BTRFS_MIN_OVERHEAD_BYTES: u64 = 128 << 10;
const BTRFS_CONTENT_PER_METADATA_BYTE: u64 = 64;

/// A volume's quota; `None` is unlimited.
#[derive(Clone, Copy, Debug)]
pub struct Quota(Option<u32>);

impl Quota {
    /// Creates a quota in MiB.
    pub fn mib(mib: Option<u32>) -> Self {
        Quota(mib)
    }

    /// Fails if a write would exceed the quota. What the guest wrote counts as well.
    ///
    /// Measures the tree only if the estimate does not show that the write fits. A refusal therefore rests on a fresh
    /// measurement. The caller holds the volume's quota lock, from here until it has written.
    pub(crate) fn reserve(self, write: &QuotaWrite<'_>) -> Result<()> {
        self.reserve_more(write, &mut Reservation::default())
    }

    /// Reserves space for a part of a write, like [`Quota::reserve`]. Charges it once, together with the earlier parts
    /// in `reservation`.
    pub(crate) fn reserve_more(self, write: &QuotaWrite<'_>, reservation: &mut Reservation) -> Result<()> {
        let Some(mib) = self.0 else { return Ok(()) };
        let QuotaWrite { tree, request, .. } = write;
        write.check_kernel_quota()?;
        if request.total() == 0 && !request.is_new {
            return Ok(());
        }
        let outside = || Error::internal("a write was admitted without its volume's quota lock");
        let quota_locks = tree.quota_locks.as_ref().ok_or_else(outside)?;
        let quota_lock = quota_locks.current(&tree.volume).ok_or_else(outside)?;
        let mut usage_file = quota_lock.usage_file();
        let usage_file = usage_file.as_mut().ok_or_else(outside)?;
        write.reserve(u64::from(mib) * MIB, quota_locks, usage_file, reservation)
    }

    /// Returns whether there is a limit.
    pub(crate) fn is_limited(self) -> bool {
        self.0.is_some()
    }
}

/// The space that a writer asks for, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpaceRequest {
    /// The bytes to write, as the kernel's own quota counts them.
    pub(crate) length: u64,
    /// The bytes of the temp file, less those that publishing it frees.
    pub(crate) staged: u64,
    /// The bytes that publishing the temp file frees, at most its own size.
    pub(crate) freed: u64,
    /// The bytes of metadata that the file system allocated for the temp file.
    pub(crate) metadata_bytes: u64,
    /// The bytes of the blocks to add to the volume or the temp file.
    pub(crate) growth: u64,
    /// Whether the write creates an entry, which takes space even if it is empty.
    pub(crate) is_new: bool,
    /// Whether this continues a write, so that the volume need not be measured again so soon.
    pub(crate) is_continued: bool,
}

impl SpaceRequest {
    /// Returns the request for a write of `length` bytes that frees `replaced` bytes.
    pub(crate) fn whole(length: u64, replaced: u64) -> Self {
        let growth = length.saturating_add(BLOCK - 1) / BLOCK * BLOCK;
        let growth = growth.saturating_sub(replaced);
        SpaceRequest { length, growth, is_new: replaced == 0, ..SpaceRequest::default() }
    }

    /// Returns the request for an entry without content.
    pub(crate) fn entry() -> Self {
        SpaceRequest::whole(0, 0)
    }

    /// Returns the request for a new directory.
    pub(crate) fn directory() -> Self {
        SpaceRequest::whole(BLOCK, 0)
    }

    /// Returns the request for the next `length` bytes of a new file.
    pub(crate) fn piece(length: u64) -> Self {
        SpaceRequest { is_continued: true, ..SpaceRequest::whole(length, 0) }
    }

    /// Returns the request for publishing a temp file that takes `allocated` bytes and frees `replaced`. `length` is
    /// its content without holes.
    pub(crate) fn in_place(length: u64, allocated: u64, replaced: u64) -> Self {
        let content = length.next_multiple_of(BLOCK);
        SpaceRequest {
            length,
            staged: content.saturating_sub(replaced),
            freed: content.min(replaced),
            metadata_bytes: allocated.saturating_sub(content),
            is_new: replaced == 0,
            ..SpaceRequest::default()
        }
    }

    fn total(&self) -> u64 {
        self.staged.saturating_add(self.growth)
    }
}

/// The charge of a writer in a volume's estimate. It stays until the volume is measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reservation {
    /// Identifies the estimate by the time of its measurement.
    measured_at: Option<Duration>,
    growth: u64,
    /// The part of `growth` that was not used.
    unused: u64,
}

impl Reservation {
    /// Lets the next request use what was reserved last and not written.
    pub(crate) fn keep_unused(&mut self, request: SpaceRequest) {
        self.unused = request.growth;
    }

    fn is_in(&self, estimate: &UsageEstimate) -> bool {
        self.measured_at == Some(estimate.measured_at)
    }

    /// Returns the estimate with the request's temp file, what else to charge, and the reservation after that.
    fn charge(&self, estimate: UsageEstimate, request: &SpaceRequest) -> (UsageEstimate, u64, Reservation) {
        let measured_at = Some(estimate.measured_at);
        if self.is_in(&estimate) {
            let used = self.growth.saturating_sub(self.unused);
            let growth = used.saturating_add(request.growth);
            let more = max_allocated(growth).saturating_sub(max_allocated(used));
            let estimate = estimate.minus(max_allocated(self.growth).saturating_sub(max_allocated(used)));
            return (estimate, more, Reservation { measured_at, growth, unused: 0 });
        }
        let allocated = request.staged.saturating_add(request.freed).saturating_add(request.metadata_bytes);
        let estimate = estimate.plus_staged(allocated, request.freed);
        let reservation = Reservation { measured_at, growth: request.growth, unused: 0 };
        (estimate, max_allocated(request.growth), reservation)
    }
}

/// A write that asks for space.
#[derive(Debug)]
pub(crate) struct QuotaWrite<'w> {
    /// The volume.
    pub(crate) tree: &'w VolumeRoot,
    /// The path that an error names.
    pub(crate) path: &'w str,
    /// The space.
    pub(crate) request: SpaceRequest,
    /// The token of the operation, which ends a measurement.
    pub(crate) cancel: &'w CancelToken,
}

impl QuotaWrite<'_> {
    /// Fails if the kernel's quota would stop the write halfway. The kernel counts metadata, and both the old and the
    /// new content. It subtracts freed space once that is on disk.
    fn check_kernel_quota(&self) -> Result<()> {
        let tree = self.tree;
        let io_error = |error| Error::file_system("statfs", self.path, error).in_volume(tree.volume.as_str());
        let Some(subvolume) = Subvolume::of_root(tree.root.as_fd()).map_err(io_error)? else { return Ok(()) };
        let length = self.request.length;
        let takes = length
            .saturating_add(length / BTRFS_CONTENT_PER_METADATA_BYTE)
            .saturating_add(BTRFS_MIN_OVERHEAD_BYTES);
        let fits = || subvolume.quota().is_none_or(|quota| takes <= quota.left);
        if length == 0 || fits() {
            return Ok(());
        }
        sync_file_system(tree.root.as_fd()).map_err(io_error)?;
        match fits() {
            true => Ok(()),
            false => Err(Error::quota_refused(tree.volume.as_str(), self.path)),
        }
    }

    /// Charges the write to the estimate. Fails if the volume would then take more than `limit` bytes.
    fn reserve(
        &self,
        limit: u64,
        quota_locks: &QuotaLocks,
        usage_file: &mut UsageFile,
        reservation: &mut Reservation,
    ) -> Result<()> {
        let tree = self.tree;
        let io_error = |error| Error::file_system("write", self.path, error).in_volume(tree.volume.as_str());
        let identity = identify(tree);
        let before = observe(tree, quota_locks)?;
        if let Some((identity, estimate)) = identity.zip(usage_file.read()) {
            let is_continued = self.request.is_continued && reservation.is_in(&estimate);
            let (estimate, more, charged) = reservation.charge(estimate, &self.request);
            // What is freed later counts as freed for this writer.
            let free = before.free.map(|free| free.saturating_add(self.request.freed));
            let max_used = estimate.max_used(identity, Observation { free, is_continued, ..before });
            if max_used.is_some_and(|used| used.saturating_add(more) <= limit) {
                usage_file.write(&estimate.plus(more)).map_err(io_error)?;
                *reservation = charged;
                return Ok(());
            }
        }
        usage_file.check_may_measure()?;
        let usage = tree.measure(self.cancel)?;
        let after = observe(tree, quota_locks)?;
        let needed = self.request.total();
        let fits = usage.bytes.saturating_add(needed) <= limit;
        if let Some(identity) = identity {
            let mut measured = UsageEstimate {
                identity,
                measured_at: before.now,
                measuring_took: after.now.saturating_sub(before.now),
                entries: usage.entries,
                used: usage.bytes,
                charged: 0,
                free: before.free,
            };
            if fits {
                let (estimate, more, charged) = Reservation::default().charge(measured, &self.request);
                measured = estimate.plus(more);
                *reservation = charged;
            }
            usage_file.write(&measured).map_err(io_error)?;
        }
        match fits {
            true => Ok(()),
            false => {
                let volume = tree.volume.as_str();
                Err(Error::quota_exceeded(volume, self.path, limit, usage.bytes, needed))
            }
        }
    }
}

/// Identifies the tree for its estimate. Returns `None` if a later directory could look the same.
fn identify(tree: &VolumeRoot) -> Option<DirIdentity> {
    let root = FileStat::of(tree.root.as_fd()).ok()?;
    let born = root.created()?.duration_since(UNIX_EPOCH).ok()?;
    let boot = u128::from_str_radix(&boot_id().ok()?.replace('-', ""), 16).ok()?;
    let born_ns = u64::try_from(born.as_nanos()).ok()?;
    Some(DirIdentity { device: root.id().device(), inode: root.id().inode(), born_ns, boot })
}

fn observe(tree: &VolumeRoot, quota_locks: &QuotaLocks) -> Result<Observation> {
    let io_error = |error| Error::file_system("statfs", ".", error).in_volume(tree.volume.as_str());
    let free = free_space(tree.root.as_fd()).map_err(io_error)?;
    let now = time_since_boot().map_err(io_error)?;
    Ok(Observation { now, free, shared: quota_locks.is_shared(&tree.volume)?, is_continued: false })
}
