//! Finishing or undoing what a dead process left.
//!
//! An intent belongs to the operation that holds its name's lock or, while it deletes content, the lock of that work. If
//! both are free the owner is dead, and whichever operation meets the intent settles it, under the name's lock.

use super::delete_trash::{discard, discard_with_help};
use crate::catalog::{Action, Intent};
use crate::error::{Error, ErrorKind, Result};
use crate::model::VolumeName;
use crate::store::StoreHandle;
use crate::store::layout::EntryOwner;
use crate::sync::{CancelToken, LONGEST_WAIT, SLICE};
use crate::sys::{Dir, FileLock, ReflinkRename};
use nix::errno::Errno;
use std::time::{Duration, Instant};

/// How long to wait before looking again whether an operation still works on a volume.
const WORK_PAUSE: Duration = Duration::from_millis(2);

/// How long the settling of an intent may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SettleLimits {
    /// How long to wait for a catalog that is being written; zero for an operation that only reads, which gets an answer
    /// while the catalog is blocked.
    pub wait: Duration,
    /// When the deletion of content goes on elsewhere; `None` to delete all of it.
    pub until: Option<Instant>,
}

impl SettleLimits {
    /// Of an operation that only reads.
    fn of_reader() -> Self {
        SettleLimits { wait: Duration::ZERO, until: Some(Instant::now() + SLICE) }
    }

    /// Of an operation that waits for the name.
    fn of_writer() -> Self {
        SettleLimits { wait: LONGEST_WAIT, until: Some(Instant::now() + SLICE) }
    }
}

impl StoreHandle {
    /// Settles every intent, clears every leftover and ends every attachment that no living process has. What
    /// cannot be done now must not keep the volumes away: it stays for the next time.
    pub(crate) fn recover(&self) -> Result<()> {
        if self.layout.is_read_only() {
            return Ok(());
        }
        let settled = self
            .resolve_abandoned_intents(
                SettleLimits { wait: LONGEST_WAIT, until: None },
                &CancelToken::default(),
            )
            .and_then(|()| self.reap_dead_attachments())
            .and_then(|()| self.store_missing_identities());
        later_if_refused(settled)?;
        self.clear_leftovers(&self.layout.staging)?;
        self.clear_leftovers(&self.layout.trash)
    }

    /// Ends at the first that the catalog refuses: it would have each of them wait. One that the disk refuses, also
    /// its lock, keeps none of the others from being settled.
    fn resolve_abandoned_intents(&self, limits: SettleLimits, cancel: &CancelToken) -> Result<()> {
        for intent in self.catalog.read(|catalog| catalog.intents(None))? {
            cancel.check()?;
            match self.resolve_if_abandoned(&intent.name, limits) {
                Err(error) if error.kind() == ErrorKind::FileSystem => {}
                settled => settled.map(drop)?,
            }
        }
        Ok(())
    }

    /// Settles what dead processes left, for one who only reads; false where the disk or the catalog refused that, or
    /// the catalog is being written for longer than a reader waits.
    pub(crate) fn settles_abandoned_intents(&self, cancel: &CancelToken) -> Result<bool> {
        let settled = self.resolve_abandoned_intents(SettleLimits::of_reader(), cancel);
        done_unless_refused(settled.map(|()| true))
    }

    /// The same for one name; false also where a living operation is at work on it.
    pub(crate) fn settles_if_abandoned(&self, name: &VolumeName) -> Result<bool> {
        done_unless_refused(self.resolve_if_abandoned(name, SettleLimits::of_reader()))
    }

    /// Settles the intent of a name, unless a living operation is at work on it. Returns whether none is.
    fn resolve_if_abandoned(&self, name: &VolumeName, limits: SettleLimits) -> Result<bool> {
        let Some(lock) = self.layout.try_lock(name)? else { return Ok(false) };
        match self.intent_of(name)? {
            Some(_) if self.layout.is_worked_on(name)? => Ok(false),
            Some(intent) => {
                if limits.wait.is_zero() {
                    self.catalog.check_writable_soon()?;
                }
                self.settle(&intent, lock, limits)
            }
            None => Ok(true),
        }
    }

    /// Locks a name once no other operation works on it, and what a dead process left of it is settled.
    pub(crate) fn lock_settled(&self, name: &VolumeName, cancel: &CancelToken) -> Result<FileLock> {
        let deadline = cancel.may_wait_until();
        let mut settled = None;
        loop {
            let lock = self.layout.lock_until(name, deadline, cancel)?;
            let Some(intent) = self.intent_of(name)? else { return Ok(lock) };
            if self.layout.is_worked_on(name)? {
                drop(lock);
            } else if settled.as_ref() == Some(&intent.entry) {
                // What could not be settled is an error of what the caller is about to do.
                return Ok(lock);
            } else if self.settle(&intent, lock, SettleLimits::of_writer())? {
                settled = Some(intent.entry);
                continue;
            }
            cancel.check()?;
            if Instant::now() >= deadline {
                return Err(Error::volume_worked_on(name.as_str(), intent.action.as_str(), LONGEST_WAIT));
            }
            std::thread::sleep(WORK_PAUSE);
        }
    }

    /// The intent of a name, of which there is one at most.
    fn intent_of(&self, name: &VolumeName) -> Result<Option<Intent>> {
        Ok(self.catalog.read(|catalog| catalog.intents(Some(name)))?.pop())
    }

    /// Brings the volume of an intent to a whole state. The caller gives the name's lock. Returns false if content is still
    /// deleted elsewhere.
    fn settle(&self, intent: &Intent, lock: FileLock, limits: SettleLimits) -> Result<bool> {
        if EntryOwner::of(&intent.entry) != EntryOwner::Volume(intent.name.clone()) {
            // Not written by us, so nothing was done, and the entry may be a path to anywhere.
            return self.write_to_free(|catalog| catalog.settle(intent.volume_id)).map(|()| true);
        }
        match intent.action {
            // A removal that cannot be finished leaves the volume listed; whoever asks for it again is told.
            Action::Remove => match self.settle_removal(intent, lock, limits) {
                Err(error) if error.kind() != ErrorKind::Catalog => Ok(true),
                settled => settled,
            },
            Action::Create => self.settle_creation(intent).map(|()| true),
        }
    }

    /// A volume still in staging never was: it is undone. One that was moved into place is whole.
    pub(crate) fn settle_creation(&self, intent: &Intent) -> Result<()> {
        let (staging, volumes) = (&self.layout.staging, &self.layout.volumes);
        let in_place = !staging.contains(&intent.entry)? && volumes.contains(intent.name.as_str())?;
        // In place or taken back: where it is now has to be on disk before the catalog says so.
        self.layout.put_on_disk(volumes)?;
        if in_place {
            return self.write_to_free(|catalog| catalog.settle(intent.volume_id));
        }
        discard(staging, &intent.entry, &staging.path_of(&intent.entry))?;
        self.layout.delete_identity(&intent.name)?;
        // Crash safety: before the row, so that a directory of that name, made later, never gets this id.
        self.layout.put_on_disk(&self.layout.ids)?;
        self.write_to_free(|catalog| catalog.delete_volume(intent.volume_id))
    }

    /// Deletes what has no intent: the trail of an operation that died before it wrote one or after it struck
    /// one out, and files of interrupted atomic writes. What is not ours stays, and so does what cannot be deleted,
    /// which keeps none of the others from it: [`crate::store::check()`] reports it.
    fn clear_leftovers(&self, dir: &Dir) -> Result<()> {
        for entry in dir.names()? {
            let Some(text) = entry.to_str() else { continue };
            later_if_refused(self.clear_leftover(dir, text))?;
        }
        Ok(())
    }

    /// Deletes one such entry; one that is in use, or not ours, stays.
    pub(crate) fn clear_leftover(&self, dir: &Dir, entry: &str) -> Result<()> {
        let Some(lock) = self.lock_abandoned(dir, entry)? else { return Ok(()) };
        let discard = || self.discard_leftover(dir, entry);
        match EntryOwner::of(entry) {
            EntryOwner::Volume(name) => match self.layout.claim_work(&name) {
                Ok(Some(work)) => {
                    // Content is not deleted under the lock of a name, for which others wait.
                    drop(lock);
                    let discarded = discard();
                    work.delete(&self.layout).and(discarded)
                }
                Ok(None) => Ok(()),
                // There is no room for that file.
                Err(_) => discard(),
            },
            EntryOwner::Cloned(clone) => {
                self.remove_passing(&clone)?;
                discard()
            }
            EntryOwner::File | EntryOwner::Unrecognized => discard(),
        }
    }

    /// Starts no process for a leftover for which one was started in vain before; `check` that repairs tries again.
    fn discard_leftover(&self, dir: &Dir, entry: &str) -> Result<()> {
        let is_kept = self.layout.is_kept(entry);
        let mut may_help = !is_kept;
        let discarded = discard_with_help(dir, entry, &dir.path_of(entry), &mut may_help);
        if !is_kept && !may_help {
            self.layout.keep(entry);
        }
        discarded
    }

    /// Removes a clone that was not yet in place from whichever volume it stands in. One that cannot be looked at keeps
    /// none of the others from that.
    fn remove_passing(&self, clone: &ReflinkRename) -> Result<()> {
        let (records, _unusable) = self.catalog.read(|catalog| catalog.volumes())?;
        let mut result = Ok(());
        for record in records {
            let removed = match self.layout.volumes.open_child(record.name.as_str()) {
                Err(error) if error.is_refusal(&[Errno::ENOENT]) => Ok(()),
                root => root.and_then(|root| clone.remove_from(&root)),
            };
            result = result.and(removed);
        }
        result
    }

    /// The lock of an entry of the staging or trash directory that belongs to nobody who lives; none where the entry is
    /// gone meanwhile. It is to be held until the entry is deleted: a file that was only just made is locked by its
    /// maker in the next moment.
    pub(crate) fn lock_abandoned(&self, dir: &Dir, entry: &str) -> Result<Option<FileLock>> {
        let lock = match EntryOwner::of(entry) {
            EntryOwner::Volume(name) => match self.layout.try_lock(&name)? {
                Some(_) if self.layout.is_worked_on(&name)? => None,
                lock => lock,
            },
            EntryOwner::File | EntryOwner::Cloned(_) => FileLock::try_acquire_leftover(dir, entry)?,
            EntryOwner::Unrecognized => None,
        };
        match lock {
            Some(lock) if dir.contains(entry)? && !self.is_intended(entry)? => Ok(Some(lock)),
            _ => Ok(None),
        }
    }

    fn is_intended(&self, entry: &str) -> Result<bool> {
        let intents = self.catalog.read(|catalog| catalog.intents(None))?;
        Ok(intents.iter().any(|intent| intent.entry == entry))
    }
}

/// What could not be settled now is as it was, for one who only reads.
fn done_unless_refused(result: Result<bool>) -> Result<bool> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::FileSystem | ErrorKind::Catalog) => Ok(false),
        result => result,
    }
}

/// What could not be done now is left for the next one to open the home.
pub(crate) fn later_if_refused(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::FileSystem | ErrorKind::Catalog) => Ok(()),
        result => result,
    }
}
