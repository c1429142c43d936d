//! Quotas on what the host writes into a directory volume.

use super::estimate::{BLOCK, DirIdentity, Observation, UsageEstimate, most_allocated};
use super::lock::{IsShared, UsageFile};
use crate::error::{Error, Result};
use crate::model::MIB;
use crate::sync::CancelToken;
use crate::sys::{Subvolume, boot_id, free_space, time_since_boot};
use crate::volume_fs::VolumeRoot;
use cap_std::fs::MetadataExt;
use nix::unistd::syncfs;
use std::os::fd::AsFd;
use std::time::{Duration, UNIX_EPOCH};

/// The bytes that btrfs reserves for a small write's own description, at least, and by how much content more.
const KERNEL_OVERHEAD: u64 = 128 << 10;
const DESCRIBED_BY_KERNEL: u64 = 64;

/// A volume's limit; none is unlimited.
#[derive(Clone, Copy, Debug)]
pub struct Quota(Option<u32>);

impl Quota {
    /// A limit in MiB.
    pub fn mib(mib: Option<u32>) -> Self {
        Quota(mib)
    }

    /// Refuses a write of `length` bytes at `path` that would take the volume over its limit, where
    /// `replaced` bytes are given back by it. What the guest wrote counts as well.
    ///
    /// The tree is measured only where its account cannot tell that the write fits, so that a refusal always
    /// rests on what was found this moment. The caller has the volume's turn, from here until it has written.
    pub(crate) fn admit(
        self,
        tree: &VolumeRoot,
        path: &str,
        length: u64,
        replaced: u64,
        cancel: &CancelToken,
    ) -> Result<()> {
        self.admit_more(
            tree,
            path,
            SpaceRequest::whole(length, replaced),
            &mut Reservation::default(),
            cancel,
        )
    }

    /// The same for a part of a write, which is charged once, together with the parts that went before it.
    pub(crate) fn admit_more(
        self,
        tree: &VolumeRoot,
        path: &str,
        demand: SpaceRequest,
        claim: &mut Reservation,
        cancel: &CancelToken,
    ) -> Result<()> {
        let Some(mib) = self.0 else { return Ok(()) };
        let write = QuotaWrite { path, demand, limit: u64::from(mib) * MIB };
        write.fits_the_kernels_quota(tree)?;
        if demand.in_all() == 0 && !demand.is_new {
            return Ok(());
        }
        let outside = || Error::internal("a write was admitted outside its volume's turn");
        let turns = tree.turns.as_ref().ok_or_else(outside)?;
        let turn = turns.held(&tree.volume).ok_or_else(outside)?;
        let mut ledger = turn.ledger();
        write.admit(tree, ledger.as_mut().ok_or_else(outside)?, &turns.is_shared, claim, cancel)
    }

    /// Whether there is a limit.
    pub(crate) fn is_limited(self) -> bool {
        self.0.is_some()
    }
}

/// What a writer wants, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpaceRequest {
    /// What it writes, as the kernel's own limit counts it.
    pub(crate) length: u64,
    /// What it has ready that is not in the volume yet, less what that gives back when it is.
    pub(crate) ready: u64,
    /// What that gives back, as far as it takes as much itself.
    pub(crate) given_back: u64,
    /// What the file system took for that beyond its content.
    pub(crate) described_by: u64,
    /// The blocks that it adds to what is in the volume or ready.
    pub(crate) growth: u64,
    /// Whether it makes an entry, which takes room also where it is empty.
    pub(crate) is_new: bool,
    /// Whether more is to come, so that who looked a moment ago need not look again.
    pub(crate) goes_on: bool,
}

impl SpaceRequest {
    /// What writing `length` bytes takes, where `replaced` bytes are given back by it.
    pub(crate) fn whole(length: u64, replaced: u64) -> Self {
        let growth = length.saturating_add(BLOCK - 1) / BLOCK * BLOCK;
        let growth = growth.saturating_sub(replaced);
        SpaceRequest { length, growth, is_new: replaced == 0, ..SpaceRequest::default() }
    }

    /// What an entry without content takes.
    pub(crate) fn entry() -> Self {
        SpaceRequest::whole(0, 0)
    }

    /// What a new directory takes.
    pub(crate) fn directory() -> Self {
        SpaceRequest::whole(BLOCK, 0)
    }

    /// What `length` bytes take that are written behind the others of a new file.
    pub(crate) fn piece(length: u64) -> Self {
        SpaceRequest { goes_on: true, ..SpaceRequest::whole(length, 0) }
    }

    /// What putting a file in place takes that is written: it has `length` bytes besides its holes and takes
    /// `allocated`, and gives `replaced` back.
    pub(crate) fn in_place(length: u64, allocated: u64, replaced: u64) -> Self {
        let content = length.next_multiple_of(BLOCK);
        SpaceRequest {
            length,
            ready: content.saturating_sub(replaced),
            given_back: content.min(replaced),
            described_by: allocated.saturating_sub(content),
            is_new: replaced == 0,
            ..SpaceRequest::default()
        }
    }

    fn in_all(&self) -> u64 {
        self.ready.saturating_add(self.growth)
    }
}

/// What a writer has charged to a volume's account. It stands there until the volume is measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reservation {
    /// Tells the account by when its volume was measured.
    account: Option<Duration>,
    growth: u64,
    /// As much of that was not made use of.
    unused: u64,
}

impl Reservation {
    /// Has what was admitted last, and was not written, serve for what is asked for next.
    pub(crate) fn keep_unused(&mut self, demand: SpaceRequest) {
        self.unused = demand.growth;
    }

    fn is_in(&self, account: &UsageEstimate) -> bool {
        self.account == Some(account.measured_at)
    }

    /// The account with all that a demand has ready, what else the demand is to be charged, and the claim thereafter.
    fn charge(&self, account: UsageEstimate, demand: &SpaceRequest) -> (UsageEstimate, u64, Reservation) {
        let in_account = Some(account.measured_at);
        if self.is_in(&account) {
            let used = self.growth.saturating_sub(self.unused);
            let growth = used.saturating_add(demand.growth);
            let more = most_allocated(growth).saturating_sub(most_allocated(used));
            let account = account.without(most_allocated(self.growth).saturating_sub(most_allocated(used)));
            return (account, more, Reservation { account: in_account, growth, unused: 0 });
        }
        let allocated = demand.ready.saturating_add(demand.given_back).saturating_add(demand.described_by);
        let account = account.with_ready(allocated, demand.given_back);
        let claim = Reservation { account: in_account, growth: demand.growth, unused: 0 };
        (account, most_allocated(demand.growth), claim)
    }
}

/// A write that wants to be admitted.
struct QuotaWrite<'w> {
    path: &'w str,
    demand: SpaceRequest,
    limit: u64,
}

impl QuotaWrite<'_> {
    /// Refuses what the kernel would refuse halfway. It counts what the file system needs itself, and of what is
    /// overwritten the old and the new; what was freed it takes off once that is on disk.
    fn fits_the_kernels_quota(&self, tree: &VolumeRoot) -> Result<()> {
        let failed = |error| Error::file_system("statfs", self.path, error).in_volume(tree.volume.as_str());
        let Some(subvolume) = Subvolume::of_root(tree.root.as_fd()).map_err(failed)? else { return Ok(()) };
        let length = self.demand.length;
        let takes = length.saturating_add(length / DESCRIBED_BY_KERNEL).saturating_add(KERNEL_OVERHEAD);
        let fits = || subvolume.quota().is_none_or(|quota| takes <= quota.left);
        if length == 0 || fits() {
            return Ok(());
        }
        syncfs(&tree.root).map_err(|errno| failed(errno.into()))?;
        match fits() {
            true => Ok(()),
            false => Err(Error::quota_refused(tree.volume.as_str(), self.path)),
        }
    }

    fn admit(
        &self,
        tree: &VolumeRoot,
        ledger: &mut UsageFile,
        is_shared: &IsShared,
        claim: &mut Reservation,
        cancel: &CancelToken,
    ) -> Result<()> {
        let failed = |error| Error::file_system("write", self.path, error).in_volume(tree.volume.as_str());
        let subject = subject(tree);
        let before = moment(tree, is_shared)?;
        if let Some((subject, account)) = subject.zip(ledger.read()) {
            let goes_on = self.demand.goes_on && claim.is_in(&account);
            let (account, more, charged) = claim.charge(account, &self.demand);
            // What is given back later counts as given back for who gives it.
            let free = before.free.map(|free| free.saturating_add(self.demand.given_back));
            let most_used = account.most_used(subject, Observation { free, goes_on, ..before });
            if most_used.is_some_and(|used| used.saturating_add(more) <= self.limit) {
                ledger.write(&account.with(more)).map_err(failed)?;
                *claim = charged;
                return Ok(());
            }
        }
        ledger.check_time_to_measure()?;
        let usage = tree.measure(cancel)?;
        let after = moment(tree, is_shared)?;
        let needed = self.demand.in_all();
        let fits = usage.bytes.saturating_add(needed) <= self.limit;
        if let Some(subject) = subject {
            let mut measured = UsageEstimate {
                subject,
                measured_at: before.now,
                measuring_took: after.now.saturating_sub(before.now),
                entries: usage.entries,
                used: usage.bytes,
                charged: 0,
                free: before.free,
            };
            if fits {
                let (account, more, charged) = Reservation::default().charge(measured, &self.demand);
                measured = account.with(more);
                *claim = charged;
            }
            ledger.write(&measured).map_err(failed)?;
        }
        match fits {
            true => Ok(()),
            false => {
                let volume = tree.volume.as_str();
                Err(Error::quota_exceeded(volume, self.path, self.limit, usage.bytes, needed))
            }
        }
    }
}

/// What an account of the tree is an account of; none where a later directory could not be told from this one.
fn subject(tree: &VolumeRoot) -> Option<DirIdentity> {
    let root = tree.root.dir_metadata().ok()?;
    let born = root.created().ok()?.into_std().duration_since(UNIX_EPOCH).ok()?;
    let boot = u128::from_str_radix(&boot_id().ok()?.replace('-', ""), 16).ok()?;
    let born_ns = u64::try_from(born.as_nanos()).ok()?;
    Some(DirIdentity { device: root.dev(), inode: root.ino(), born_ns, boot })
}

fn moment(tree: &VolumeRoot, is_shared: &IsShared) -> Result<Observation> {
    let failed = |error| Error::file_system("statfs", ".", error).in_volume(tree.volume.as_str());
    let free = free_space(tree.root.as_fd()).map_err(failed)?;
    let now = time_since_boot().map_err(failed)?;
    Ok(Observation { now, free, shared: is_shared(&tree.volume)?, goes_on: false })
}
