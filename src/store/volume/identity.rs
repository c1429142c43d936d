//! Id files: each holds the id of one volume.
//!
//! If the catalog is lost, the ids are read from these files. Their directory is private: a guest reaches only what
//! is below its volume's root. A file changes only under its volume's name lock.

use crate::catalog::Action;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{VolumeId, VolumeName};
use crate::store::StoreHandle;
use crate::store::home_dirs::HomeDirs;
use crate::sys::ext::FileExt;
use crate::sys::{FileLock, random_bytes};
use std::fs::File;
use std::io::Read;

/// Maximum length of an id file in bytes.
const MAX_BYTES: u64 = 64;

/// Generates a random id for a new volume.
pub fn new_identity() -> Result<VolumeId> {
    let bytes = random_bytes().map_err(|error| Error::file_system("getrandom", "", error))?;
    Ok(VolumeId::from_bytes(bytes))
}

impl HomeDirs {
    /// Writes a volume's id file, and flushes it if the store is durable.
    pub fn store_identity(&self, name: &VolumeName, id: VolumeId) -> Result<()> {
        let file = self.write_identity(name, id)?;
        self.sync.file(&file, &self.ids.path_of(name.as_str()))?;
        self.sync.dir(&self.ids)
    }

    fn write_identity(&self, name: &VolumeName, id: VolumeId) -> Result<File> {
        let file = File::from(self.ids.open_or_create_file(name.as_str())?);
        let text = format!("{id}\n");
        let written = file.write_all_at(text.as_bytes(), 0).and_then(|()| file.set_len(text.len() as u64));
        written.map_err(|error| Error::file_system("write", self.ids.path_of(name.as_str()), error))?;
        Ok(file)
    }

    /// Returns the id in a volume's id file. Returns `None` if the file does not exist or has no valid id.
    pub fn stored_identity(&self, name: &VolumeName) -> Option<VolumeId> {
        let file = File::from(self.ids.open_existing_file(name.as_str()).ok()??);
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
        VolumeId::parse(text.trim_end())
    }

    /// Deletes the id file of a volume that is removed.
    pub fn delete_identity(&self, name: &VolumeName) -> Result<()> {
        self.ids.unlink(name.as_str())
    }

    /// Deletes the id file and the quota files of a volume that is gone, and flushes that if the store is durable.
    /// The caller holds the name lock.
    pub fn delete_files_beside(&self, name: &VolumeName) -> Result<()> {
        self.locks.delete_quota_files(name)?;
        self.delete_identity(name)?;
        self.sync.dir(&self.ids)
    }
}

impl StoreHandle {
    /// Returns the names of id files whose volume is gone. Skips volumes that are being created.
    pub(crate) fn stale_identities(&self) -> Result<Vec<VolumeName>> {
        let entries = self.dirs.ids.names()?;
        let known = self.catalog.read(|catalog| catalog.names())?;
        let mut stale = Vec::new();
        for entry in entries {
            if let Some(entry) = entry.to_str().filter(|entry| !known.contains(*entry))
                && let Ok(name) = VolumeName::parse(entry)
                && self.is_stale(&name)?
            {
                stale.push(name);
            }
        }
        Ok(stale)
    }

    /// Returns true if the id file of a name has neither a row in the catalog nor a directory.
    pub(crate) fn is_stale(&self, name: &VolumeName) -> Result<bool> {
        let entry = name.as_str();
        Ok(self.dirs.ids.contains(entry)?
            && !self.dirs.volumes.contains(entry)?
            && !self.catalog.read(|catalog| catalog.has_row(name))?)
    }

    /// Deletes the id file and the quota files of a volume that is gone. Returns false if the name is in use.
    pub(crate) fn delete_stale_identity(&self, name: &VolumeName) -> Result<bool> {
        let Some(_lock) = self.dirs.locks.try_lock(name)? else { return Ok(false) };
        let is_stale = self.is_stale(name)?;
        if is_stale {
            self.dirs.delete_files_beside(name)?;
        }
        Ok(is_stale)
    }

    /// Deletes the id files of volumes that are gone, because of a power failure or a lost catalog. Continues after an
    /// id file that the file system refuses to delete.
    pub(crate) fn delete_stale_identities(&self) -> Result<()> {
        self.stale_identities()?.iter().try_for_each(|name| match self.delete_stale_identity(name) {
            Err(error) if error.kind() == ErrorKind::FileSystem => Ok(()),
            deleted => deleted.map(drop),
        })
    }

    /// Marks all id files as missing if the directory of them is empty: it was deleted or replaced.
    pub(crate) fn forget_lost_identities(&self) -> Result<()> {
        if !self.dirs.ids.names()?.is_empty() {
            return Ok(());
        }
        let are_lost = self.catalog.read(|catalog| catalog.has_volume_with_file())?;
        if are_lost {
            self.catalog.write(|catalog| catalog.forget_identity_files())?;
        }
        // The directory is also empty after the removal of the only volume deleted its id file.
        if are_lost || self.dirs.ids_are_new { self.forget_identities_of_removals() } else { Ok(()) }
    }

    /// Clears the mark of each volume whose removal moved nothing before its process died. Without an id file, the mark
    /// would say that the volume was moved.
    fn forget_identities_of_removals(&self) -> Result<()> {
        for intent in self.catalog.read(|catalog| catalog.intents(None))? {
            if intent.action != Action::Remove || !intent.is_marked {
                continue;
            }
            let Some(_lock) = self.try_lock_usable(&intent.name)? else { continue };
            // TOCTOU: a removal deletes its intent before it releases the work lock, so the intent is read last.
            let is_abandoned = !self.dirs.locks.is_work_locked(&intent.name)?
                && self.intent_of(&intent.name)?.is_some_and(|now| now.entry == intent.entry)
                && !self.dirs.trash.contains(&intent.entry)?
                && self.dirs.volumes.contains(intent.name.as_str())?;
            if is_abandoned && self.dirs.stored_identity(&intent.name).is_none() {
                self.catalog.write(|catalog| catalog.forget_identity_file(intent.volume_id))?;
            }
        }
        Ok(())
    }

    /// Acquires the name lock. Returns `None` if it is held or cannot be held.
    fn try_lock_usable(&self, name: &VolumeName) -> Result<Option<FileLock>> {
        if self.dirs.locks.is_unusable(name)? { Ok(None) } else { self.dirs.locks.try_lock(name) }
    }

    /// Writes the id files of volumes that an earlier version created or that were discovered without an id.
    pub(crate) fn store_missing_identities(&self) -> Result<()> {
        let missing = self.catalog.read(|catalog| catalog.volumes_without_file())?;
        let mut stored = Vec::new();
        for (row, name) in missing {
            let Some(_lock) = self.try_lock_usable(&name)? else { continue };
            // TOCTOU: the volume of that name may have been removed and created again before the lock was taken.
            let current = self.catalog.read(|catalog| catalog.volume(&name))?;
            if let Some(volume) = current.filter(|volume| volume.id == row) {
                match self.dirs.write_identity(&name, volume.identity) {
                    // The id files of the other volumes are written all the same.
                    Err(error) if error.kind() == ErrorKind::FileSystem => {}
                    written => {
                        written?;
                        stored.push(row);
                    }
                }
            }
        }
        if stored.is_empty() {
            return Ok(());
        }
        // Crash safety: one flush for all files comes before the catalog records them.
        self.dirs.sync.file_system(&self.dirs.ids)?;
        self.catalog.write(|catalog| stored.iter().try_for_each(|row| catalog.mark_identity_stored(*row)))
    }
}
