//! Quotas on what the host writes into a directory volume.

use super::Tree;
use super::account::{Account, BLOCK, Moment, Subject, most_allocated};
use super::turn::{IsShared, Ledger};
use crate::error::{Error, Result};
use crate::model::{Cancel, MIB};
use crate::sys::{Subvolume, boot_id, free_space, time_since_boot};
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
    pub(super) fn admit(
        self,
        tree: &Tree,
        path: &str,
        length: u64,
        replaced: u64,
        cancel: &Cancel,
    ) -> Result<()> {
        self.admit_more(tree, path, Demand::whole(length, replaced), &mut Claim::default(), cancel)
    }

    /// The same for a part of a write, which is charged once, together with the parts that went before it.
    pub(super) fn admit_more(
        self,
        tree: &Tree,
        path: &str,
        demand: Demand,
        claim: &mut Claim,
        cancel: &Cancel,
    ) -> Result<()> {
        let Some(mib) = self.0 else { return Ok(()) };
        let write = Write { path, demand, limit: u64::from(mib) * MIB };
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
    pub(super) fn is_limited(self) -> bool {
        self.0.is_some()
    }
}

/// What a writer wants, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demand {
    /// What it writes, as the kernel's own limit counts it.
    pub(super) length: u64,
    /// What it has ready that is not in the volume yet, less what that gives back when it is.
    pub(super) ready: u64,
    /// What that gives back, as far as it takes as much itself.
    pub(super) given_back: u64,
    /// What the file system took for that beyond its content.
    pub(super) described_by: u64,
    /// The blocks that it adds to what is in the volume or ready.
    pub(super) growth: u64,
    /// Whether it makes an entry, which takes room also where it is empty.
    pub(super) is_new: bool,
    /// Whether more is to come, so that who looked a moment ago need not look again.
    pub(super) goes_on: bool,
}

impl Demand {
    /// What writing `length` bytes takes, where `replaced` bytes are given back by it.
    pub(super) fn whole(length: u64, replaced: u64) -> Self {
        let growth = length.saturating_add(BLOCK - 1) / BLOCK * BLOCK;
        let growth = growth.saturating_sub(replaced);
        Demand { length, growth, is_new: replaced == 0, ..Demand::default() }
    }

    /// What an entry without content takes.
    pub(super) fn entry() -> Self {
        Demand::whole(0, 0)
    }

    /// What a new directory takes.
    pub(super) fn directory() -> Self {
        Demand::whole(BLOCK, 0)
    }

    /// What `length` bytes take that are written behind the others of a new file.
    pub(super) fn piece(length: u64) -> Self {
        Demand { goes_on: true, ..Demand::whole(length, 0) }
    }

    /// What putting a file in place takes that is written: it has `length` bytes besides its holes and takes
    /// `allocated`, and gives `replaced` back.
    pub(super) fn in_place(length: u64, allocated: u64, replaced: u64) -> Self {
        let content = length.next_multiple_of(BLOCK);
        Demand {
            length,
            ready: content.saturating_sub(replaced),
            given_back: content.min(replaced),
            described_by: allocated.saturating_sub(content),
            is_new: replaced == 0,
            ..Demand::default()
        }
    }

    fn in_all(&self) -> u64 {
        self.ready.saturating_add(self.growth)
    }
}

/// What a writer has charged to a volume's account. It stands there until the volume is measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claim {
    /// Tells the account by when its volume was measured.
    account: Option<Duration>,
    growth: u64,
    /// As much of that was not made use of.
    unused: u64,
}

impl Claim {
    /// Has what was admitted last, and was not written, serve for what is asked for next.
    pub(super) fn keep_unused(&mut self, demand: Demand) {
        self.unused = demand.growth;
    }

    fn is_in(&self, account: &Account) -> bool {
        self.account == Some(account.measured_at)
    }

    /// The account with all that a demand has ready, what else the demand is to be charged, and the claim thereafter.
    fn charge(&self, account: Account, demand: &Demand) -> (Account, u64, Claim) {
        let in_account = Some(account.measured_at);
        if self.is_in(&account) {
            let used = self.growth.saturating_sub(self.unused);
            let growth = used.saturating_add(demand.growth);
            let more = most_allocated(growth).saturating_sub(most_allocated(used));
            let account = account.without(most_allocated(self.growth).saturating_sub(most_allocated(used)));
            return (account, more, Claim { account: in_account, growth, unused: 0 });
        }
        let allocated = demand.ready.saturating_add(demand.given_back).saturating_add(demand.described_by);
        let account = account.with_ready(allocated, demand.given_back);
        let claim = Claim { account: in_account, growth: demand.growth, unused: 0 };
        (account, most_allocated(demand.growth), claim)
    }
}

/// A write that wants to be admitted.
struct Write<'w> {
    path: &'w str,
    demand: Demand,
    limit: u64,
}

impl Write<'_> {
    /// Refuses what the kernel would refuse halfway. It counts what the file system needs itself, and of what is
    /// overwritten the old and the new; what was freed it takes off once that is on disk.
    fn fits_the_kernels_quota(&self, tree: &Tree) -> Result<()> {
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
        tree: &Tree,
        ledger: &mut Ledger,
        is_shared: &IsShared,
        claim: &mut Claim,
        cancel: &Cancel,
    ) -> Result<()> {
        let failed = |error| Error::file_system("write", self.path, error).in_volume(tree.volume.as_str());
        let subject = subject(tree);
        let before = moment(tree, is_shared)?;
        if let Some((subject, account)) = subject.zip(ledger.read()) {
            let goes_on = self.demand.goes_on && claim.is_in(&account);
            let (account, more, charged) = claim.charge(account, &self.demand);
            // What is given back later counts as given back for who gives it.
            let free = before.free.map(|free| free.saturating_add(self.demand.given_back));
            let most_used = account.most_used(subject, Moment { free, goes_on, ..before });
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
            let mut measured = Account {
                subject,
                measured_at: before.now,
                measuring_took: after.now.saturating_sub(before.now),
                entries: usage.entries,
                used: usage.bytes,
                charged: 0,
                free: before.free,
            };
            if fits {
                let (account, more, charged) = Claim::default().charge(measured, &self.demand);
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
fn subject(tree: &Tree) -> Option<Subject> {
    let root = tree.root.dir_metadata().ok()?;
    let born = root.created().ok()?.into_std().duration_since(UNIX_EPOCH).ok()?;
    let boot = u128::from_str_radix(&boot_id().ok()?.replace('-', ""), 16).ok()?;
    let born_ns = u64::try_from(born.as_nanos()).ok()?;
    Some(Subject { device: root.dev(), inode: root.ino(), born_ns, boot })
}

fn moment(tree: &Tree, is_shared: &IsShared) -> Result<Moment> {
    let failed = |error| Error::file_system("statfs", ".", error).in_volume(tree.volume.as_str());
    let free = free_space(tree.root.as_fd()).map_err(failed)?;
    let now = time_since_boot().map_err(failed)?;
    Ok(Moment { now, free, shared: is_shared(&tree.volume)?, goes_on: false })
}
