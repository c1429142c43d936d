//! Finishing or undoing what a dead process left.
//!
//! An intent belongs to whoever holds its name's lock. Where the lock is free, its owner is dead, and the one
//! who takes the lock settles the intent.

use super::Opened;
use super::discard::discard;
use super::layout::EntryOwner;
use crate::catalog::{Action, Intent};
use crate::error::{ErrorKind, Result};
use crate::model::VolumeName;
use crate::sys::{Dir, FileLock, PassingClone};
use nix::errno::Errno;

impl Opened {
    /// Settles every intent, clears every leftover and ends every attachment that no living process has. What
    /// cannot be done now must not keep the volumes away: it stays for the next time.
    pub(super) fn recover(&self) -> Result<()> {
        if self.layout.is_read_only() {
            return Ok(());
        }
        let settled = self
            .settle_abandoned_intents()
            .and_then(|()| self.end_dead_attachments())
            .and_then(|()| self.store_missing_identities());
        later_if_refused(settled)?;
        self.clear_leftovers(&self.layout.staging)?;
        self.clear_leftovers(&self.layout.trash)
    }

    /// Ends at the first that the catalog refuses: it would have each of them wait. One that the disk refuses, also
    /// its lock, keeps none of the others from being settled.
    fn settle_abandoned_intents(&self) -> Result<()> {
        for intent in self.catalog.read(|catalog| catalog.intents(None))? {
            let locked = self.layout.try_lock(&intent.name);
            match locked.and_then(|lock| lock.map_or(Ok(()), |_lock| self.settle_intents_of(&intent.name))) {
                Err(error) if error.kind() == ErrorKind::FileSystem => {}
                settled => settled?,
            }
        }
        Ok(())
    }

    /// Settles the intents of a name, whose lock the caller holds.
    pub(super) fn settle_intents_of(&self, name: &VolumeName) -> Result<()> {
        for intent in self.catalog.read(|catalog| catalog.intents(Some(name)))? {
            self.settle(&intent)?;
        }
        Ok(())
    }

    /// Brings the volume of an intent to a whole state. The caller holds the name's lock.
    pub(super) fn settle(&self, intent: &Intent) -> Result<()> {
        if EntryOwner::of(&intent.entry) != EntryOwner::Volume(intent.name.clone()) {
            // Not written by us, so nothing was done, and the entry may be a path to anywhere.
            return self.write_to_free(|catalog| catalog.settle(intent.volume_id));
        }
        match intent.action {
            // A removal that cannot be finished leaves the volume listed; whoever asks for it again is told.
            Action::Remove => {
                let confirmed = self.write_to_free(|catalog| catalog.confirm(intent));
                match confirmed.and_then(|()| self.finish_removal(intent)) {
                    Err(error) if error.kind() != ErrorKind::Catalog => Ok(()),
                    finished => finished,
                }
            }
            Action::Create => self.settle_creation(intent),
        }
    }

    /// A volume still in staging never was: it is undone. One that was moved into place is whole.
    fn settle_creation(&self, intent: &Intent) -> Result<()> {
        let (staging, volumes) = (&self.layout.staging, &self.layout.volumes);
        let in_place = !staging.contains(&intent.entry)? && volumes.contains(intent.name.as_str())?;
        // In place or taken back: where it is now has to be on disk before the catalog says so.
        self.layout.put_on_disk(volumes)?;
        if in_place {
            return self.write_to_free(|catalog| catalog.settle(intent.volume_id));
        }
        discard(staging, &intent.entry, &staging.path_of(&intent.entry))?;
        self.layout.delete_identity(&intent.name)?;
        self.write_to_free(|catalog| catalog.delete_volume(intent.volume_id))
    }

    /// Deletes what has no intent: the trail of an operation that died before it wrote one or after it struck
    /// one out, and files of interrupted atomic writes. What is not ours stays, and so does what cannot be deleted,
    /// which keeps none of the others from it: [`super::check`] reports it.
    fn clear_leftovers(&self, dir: &Dir) -> Result<()> {
        for entry in dir.names()? {
            let Some(text) = entry.to_str() else { continue };
            later_if_refused(self.clear_leftover(dir, text))?;
        }
        Ok(())
    }

    /// Deletes one such entry; one that is in use, or not ours, stays.
    pub(super) fn clear_leftover(&self, dir: &Dir, entry: &str) -> Result<()> {
        let Some(_lock) = self.lock_abandoned(dir, entry)? else { return Ok(()) };
        if let EntryOwner::Cloned(clone) = EntryOwner::of(entry) {
            self.remove_passing(&clone)?;
        }
        discard(dir, entry, &dir.path_of(entry))
    }

    /// Removes a clone that was not yet in place from whichever volume it stands in. One that cannot be looked at keeps
    /// none of the others from that.
    fn remove_passing(&self, clone: &PassingClone) -> Result<()> {
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
    pub(super) fn lock_abandoned(&self, dir: &Dir, entry: &str) -> Result<Option<FileLock>> {
        let lock = match EntryOwner::of(entry) {
            EntryOwner::Volume(name) => self.layout.try_lock(&name)?,
            EntryOwner::File | EntryOwner::Cloned(_) => FileLock::try_acquire_leftover(dir, entry)?,
            EntryOwner::Stranger => None,
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

fn later_if_refused(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::FileSystem | ErrorKind::Catalog) => Ok(()),
        result => result,
    }
}
