//! Finishes or rolls back operations of dead processes.
//!
//! The operation that holds the name lock owns an intent. While it deletes content, it holds the work lock instead.
//! If both are free, the owner is dead. The next operation that finds the intent takes the name lock and resolves it.

use super::delete_tree::{delete_tree, delete_tree_with_helper};
use super::name_locks::WorkLock;
use crate::catalog::{Action, Intent};
use crate::error::{Errno, Error, ErrorKind, Result};
use crate::model::VolumeName;
use crate::store::StoreHandle;
use crate::store::paths::EntryOwner;
use crate::sync::{CancelToken, LOCK_TIMEOUT, SLICE};
use crate::sys::{Dir, FileLock, ReflinkRename};
use std::time::{Duration, Instant};

/// Pause between two checks if an operation still holds the work lock.
const WORK_PAUSE: Duration = Duration::from_millis(2);

/// Time limits for the resolution of an intent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResolveLimits {
    /// Maximum wait for a catalog that is being written. Zero for an operation that only reads, so that it returns
    /// while the catalog is blocked.
    pub wait: Duration,
    /// Time at which the deletion of content moves to the background queue; `None` to delete all of it.
    pub until: Option<Instant>,
}

impl ResolveLimits {
    /// Returns the limits of an operation that only reads.
    fn of_reader() -> Self {
        ResolveLimits { wait: Duration::ZERO, until: Some(Instant::now() + SLICE) }
    }

    /// Returns the limits of an operation that waits for the name.
    fn of_writer() -> Self {
        ResolveLimits { wait: LOCK_TIMEOUT, until: Some(Instant::now() + SLICE) }
    }
}

impl StoreHandle {
    /// Resolves every abandoned intent, deletes every leftover and ends the attachments of dead processes.
    ///
    /// A failure must not make the volumes unavailable: the next opening tries again.
    pub(crate) fn recover(&self) -> Result<()> {
        if self.dirs.is_read_only() {
            return Ok(());
        }
        let resolved = self
            .resolve_abandoned_intents(
                ResolveLimits { wait: LOCK_TIMEOUT, until: None },
                &CancelToken::default(),
            )
            .and_then(|()| self.reap_dead_attachments())
            .and_then(|()| self.store_missing_identities());
        ignore_refusal(resolved)?;
        self.clear_leftovers(&self.dirs.staging)?;
        self.clear_leftovers(&self.dirs.trash)
    }

    /// Resolves all abandoned intents. Stops at the first error of the catalog, for which each intent would wait.
    /// Skips an intent if the file system, or its lock, fails.
    fn resolve_abandoned_intents(&self, limits: ResolveLimits, cancel: &CancelToken) -> Result<()> {
        for intent in self.catalog.read(|catalog| catalog.intents(None))? {
            cancel.check()?;
            match self.resolve_if_abandoned(&intent.name, limits) {
                Err(error) if error.kind() == ErrorKind::FileSystem => {}
                resolved => resolved.map(drop)?,
            }
        }
        Ok(())
    }

    /// Resolves abandoned intents for an operation that only reads. Returns false if the file system or the catalog
    /// did not permit it. Also returns false if the catalog is locked longer than a reader waits.
    pub(crate) fn try_resolve_abandoned_intents(&self, cancel: &CancelToken) -> Result<bool> {
        let resolved = self.resolve_abandoned_intents(ResolveLimits::of_reader(), cancel);
        false_if_refused(resolved.map(|()| true))
    }

    /// Resolves the abandoned intent of one name for an operation that only reads. Also returns false if an operation
    /// works on the name.
    pub(crate) fn try_resolve_if_abandoned(&self, name: &VolumeName) -> Result<bool> {
        false_if_refused(self.resolve_if_abandoned(name, ResolveLimits::of_reader()))
    }

    /// Resolves the intent of a name. Returns false if an operation works on the name.
    fn resolve_if_abandoned(&self, name: &VolumeName, limits: ResolveLimits) -> Result<bool> {
        let Some(lock) = self.dirs.locks.try_lock(name)? else { return Ok(false) };
        match self.intent_of(name)? {
            Some(_) if self.dirs.locks.is_work_locked(name)? => Ok(false),
            Some(intent) => {
                if limits.wait.is_zero() {
                    self.catalog.check_writable_soon()?;
                }
                self.resolve_intent(&intent, lock, limits)
            }
            None => Ok(true),
        }
    }

    /// Acquires the name lock after other operations have finished and an abandoned intent is resolved.
    pub(crate) fn lock_resolved(&self, name: &VolumeName, cancel: &CancelToken) -> Result<FileLock> {
        let deadline = cancel.lock_deadline();
        let mut resolved = None;
        loop {
            let lock = self.dirs.locks.lock_until(name, deadline, cancel)?;
            let Some(intent) = self.intent_of(name)? else { return Ok(lock) };
            if self.dirs.locks.is_work_locked(name)? {
                drop(lock);
            } else if resolved.as_ref() == Some(&intent.entry) {
                // The caller's operation fails if the intent could not be resolved.
                return Ok(lock);
            } else if self.resolve_intent(&intent, lock, ResolveLimits::of_writer())? {
                resolved = Some(intent.entry);
                continue;
            }
            cancel.check()?;
            if Instant::now() >= deadline {
                return Err(Error::volume_worked_on(name.as_str(), intent.action.as_str(), LOCK_TIMEOUT));
            }
            std::thread::sleep(WORK_PAUSE);
        }
    }

    /// Returns the intent of a name. A name has at most one.
    pub(super) fn intent_of(&self, name: &VolumeName) -> Result<Option<Intent>> {
        Ok(self.catalog.read(|catalog| catalog.intents(Some(name)))?.pop())
    }

    /// Resolves an intent, so that the volume is complete or gone. The caller passes the name lock. Returns false if
    /// content is still being deleted in the background.
    fn resolve_intent(&self, intent: &Intent, lock: FileLock, limits: ResolveLimits) -> Result<bool> {
        if EntryOwner::of(&intent.entry) != EntryOwner::Volume(intent.name.clone()) {
            // This program did not write such an intent, so nothing was done. The entry may be a path to anywhere.
            return self.write_to_free(|catalog| catalog.delete_intent(intent.volume_id)).map(|()| true);
        }
        match intent.action {
            // A removal that cannot be finished leaves the volume listed. The next removal reports the error.
            Action::Remove => match self.resolve_removal(intent, lock, limits) {
                Err(error) if error.kind() != ErrorKind::Catalog => Ok(true),
                resolved => resolved,
            },
            Action::Create => self.resolve_creation(intent).map(|()| true),
        }
    }

    /// Rolls back a creation whose directory is still in the staging directory. Completes one whose directory is in
    /// place.
    pub(crate) fn resolve_creation(&self, intent: &Intent) -> Result<()> {
        let (staging, volumes) = (&self.dirs.staging, &self.dirs.volumes);
        let in_place = !staging.contains(&intent.entry)? && volumes.contains(intent.name.as_str())?;
        // Crash safety: the rename, into place or back, must be on disk before the catalog records it.
        self.dirs.sync.dir(volumes)?;
        if in_place {
            return self.write_to_free(|catalog| catalog.delete_intent(intent.volume_id));
        }
        delete_tree(staging, &intent.entry, &staging.path_of(&intent.entry))?;
        self.dirs.delete_identity(&intent.name)?;
        // Crash safety: the id file goes before the row, so that a later directory with this name never gets this id.
        self.dirs.sync.dir(&self.dirs.ids)?;
        self.write_to_free(|catalog| catalog.delete_volume(intent.volume_id))
    }

    /// Deletes leftovers without an intent: of operations that died before they wrote one or after they deleted it,
    /// and of interrupted atomic writes.
    ///
    /// Unrecognized entries stay. An entry that cannot be deleted stays too, and [`crate::store::check()`] reports
    /// it.
    fn clear_leftovers(&self, dir: &Dir) -> Result<()> {
        for entry in dir.names()? {
            let Some(text) = entry.to_str() else { continue };
            ignore_refusal(self.clear_leftover(dir, text))?;
        }
        Ok(())
    }

    /// Deletes one leftover. An entry that is in use or unrecognized stays.
    pub(crate) fn clear_leftover(&self, dir: &Dir, entry: &str) -> Result<()> {
        let Some(lock) = self.lock_abandoned(dir, entry)? else { return Ok(()) };
        let delete = |work: Option<&WorkLock>| self.delete_leftover(dir, entry, work);
        match EntryOwner::of(entry) {
            EntryOwner::Volume(name) => match self.dirs.locks.acquire_work_lock(&name) {
                Ok(Some(work)) => {
                    // Other operations wait for the name lock, so content is not deleted under it.
                    drop(lock);
                    let deleted = delete(Some(&work));
                    work.delete(&self.dirs.locks).and(deleted)
                }
                Ok(None) => Ok(()),
                // No space for the file of the work lock.
                Err(_) => delete(None),
            },
            EntryOwner::Cloned(clone) => {
                self.remove_clone(&clone)?;
                delete(None)
            }
            EntryOwner::File | EntryOwner::Unrecognized => delete(None),
        }
    }

    /// Deletes a leftover. Starts no helper process if an earlier one failed; a `check` that repairs tries again.
    fn delete_leftover(&self, dir: &Dir, entry: &str, work: Option<&WorkLock>) -> Result<()> {
        let is_undeletable = self.dirs.is_undeletable(entry);
        let mut may_start_helper = !is_undeletable;
        let deleted = delete_tree_with_helper(dir, entry, &dir.path_of(entry), &mut may_start_helper, work);
        if !is_undeletable && !may_start_helper {
            self.dirs.add_undeletable(entry);
        }
        deleted
    }

    /// Removes a clone that was not renamed into place from the volume that contains it. A volume that cannot be
    /// opened does not prevent a search of the others.
    fn remove_clone(&self, clone: &ReflinkRename) -> Result<()> {
        let (records, _invalid) = self.catalog.read(|catalog| catalog.volumes())?;
        let mut result = Ok(());
        for record in records {
            let removed = match self.dirs.volumes.open_child(record.name.as_str()) {
                Err(error) if error.is_refusal(&[Errno::ENOENT]) => Ok(()),
                root => root.and_then(|root| clone.remove_from(&root)),
            };
            result = result.and(removed);
        }
        result
    }

    /// Locks an entry of the staging or trash directory whose owner is dead. Returns `None` if the entry is gone or
    /// has an owner.
    ///
    /// TOCTOU: the caller holds the lock until the entry is deleted. The creator of a new file locks it a moment
    /// later.
    pub(crate) fn lock_abandoned(&self, dir: &Dir, entry: &str) -> Result<Option<FileLock>> {
        let lock = match EntryOwner::of(entry) {
            EntryOwner::Volume(name) => match self.dirs.locks.try_lock(&name)? {
                Some(_) if self.dirs.locks.is_work_locked(&name)? => None,
                lock => lock,
            },
            EntryOwner::File | EntryOwner::Cloned(_) => FileLock::try_acquire_leftover(dir, entry)?,
            EntryOwner::Unrecognized => None,
        };
        match lock {
            Some(lock) if dir.contains(entry)? && !self.has_intent(entry)? => Ok(Some(lock)),
            _ => Ok(None),
        }
    }

    fn has_intent(&self, entry: &str) -> Result<bool> {
        let intents = self.catalog.read(|catalog| catalog.intents(None))?;
        Ok(intents.iter().any(|intent| intent.entry == entry))
    }
}

/// Returns false if the resolution failed for a reason that does not matter to an operation that only reads.
fn false_if_refused(result: Result<bool>) -> Result<bool> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::FileSystem | ErrorKind::Catalog) => Ok(false),
        result => result,
    }
}

/// Ignores an error of the file system or the catalog. The next opening of the home tries again.
pub(crate) fn ignore_refusal(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::FileSystem | ErrorKind::Catalog) => Ok(()),
        result => result,
    }
}
