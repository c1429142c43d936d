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
use std::time::UNIX_EPOCH;

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
        let Some(mib) = self.0 else { return Ok(()) };
        let needed = length.saturating_add(BLOCK - 1) / BLOCK * BLOCK;
        let write = Write { path, needed: needed.saturating_sub(replaced), limit: u64::from(mib) * MIB };
        write.fits_the_kernels_quota(tree, length)?;
        if write.needed == 0 && replaced > 0 {
            return Ok(());
        }
        let outside = || Error::internal("a write was admitted outside its volume's turn");
        let turns = tree.turns.as_ref().ok_or_else(outside)?;
        let turn = turns.held(&tree.volume).ok_or_else(outside)?;
        let mut ledger = turn.ledger();
        write.admit(tree, ledger.as_mut().ok_or_else(outside)?, &turns.is_shared, cancel)
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(self) -> bool {
        self.0.is_some()
    }
}

/// A write that wants to be admitted.
struct Write<'w> {
    path: &'w str,
    needed: u64,
    limit: u64,
}

impl Write<'_> {
    /// Refuses what the kernel would refuse halfway. It counts what the file system needs itself, and of what is
    /// overwritten the old and the new; what was freed it takes off once that is on disk.
    fn fits_the_kernels_quota(&self, tree: &Tree, length: u64) -> Result<()> {
        let failed = |error| Error::file_system("statfs", self.path, error).in_volume(tree.volume.as_str());
        let Some(subvolume) = Subvolume::of_root(tree.root.as_fd()).map_err(failed)? else { return Ok(()) };
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

    fn admit(&self, tree: &Tree, ledger: &mut Ledger, is_shared: &IsShared, cancel: &Cancel) -> Result<()> {
        let allocates = most_allocated(self.needed);
        let keep = |ledger: &Ledger, account: Account| {
            let kept = ledger.write(&account);
            kept.map_err(|error| {
                Error::file_system("write", self.path, error).in_volume(tree.volume.as_str())
            })
        };
        let subject = subject(tree);
        let before = moment(tree, is_shared)?;
        let account = subject.and_then(|subject| ledger.read().map(|account| (subject, account)));
        if let Some((subject, account)) = account {
            let most_used = account.most_used(subject, before);
            if most_used.is_some_and(|used| used.saturating_add(allocates) <= self.limit) {
                return keep(ledger, account.with(allocates));
            }
        }
        ledger.check_time_to_measure()?;
        let usage = tree.measure(cancel)?;
        let after = moment(tree, is_shared)?;
        let measured = subject.map(|subject| Account {
            subject,
            measured_at: before.now,
            measuring_took: after.now.saturating_sub(before.now),
            entries: usage.entries,
            used: usage.bytes,
            charged: 0,
            free: before.free,
        });
        if usage.bytes.saturating_add(self.needed) > self.limit {
            measured.map_or(Ok(()), |measured| keep(ledger, measured))?;
            let volume = tree.volume.as_str();
            return Err(Error::quota_exceeded(volume, self.path, self.limit, usage.bytes, self.needed));
        }
        measured.map_or(Ok(()), |measured| keep(ledger, measured.with(allocates)))
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
    Ok(Moment { now: time_since_boot().map_err(failed)?, free, shared: is_shared(&tree.volume)? })
}
