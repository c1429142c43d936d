//! Begins to remove volumes, and takes over the removals of dead processes.

use super::delete_content::ContentDeletion;
use super::recover::ResolveLimits;
use crate::catalog::{Action, CatalogWriter, HeldResource, ImageLease, Intent};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{VolumeRecord, VolumeRef};
use crate::store::attach::liveness::live_holders;
use crate::store::background;
use crate::store::paths::new_entry;
use crate::store::{Store, StoreHandle};
use crate::sync::{CancelToken, LOCK_TIMEOUT};
use crate::sys::{FileLock, ImageLock};
use std::sync::Arc;

/// A volume that is no longer listed and whose content is not deleted yet. If it is dropped, its intent stays, and
/// the next operation that finds the intent finishes the removal.
#[derive(Debug)]
pub struct BegunRemoval {
    handle: Arc<StoreHandle>,
    intent: Intent,
    work: ContentDeletion,
    /// Lock on the image until the image is deleted.
    _image: Option<ImageLock>,
}

impl Store {
    /// Deletes a volume's data and its record. Fails if the volume is attached.
    ///
    /// A `volume` with an id means no other volume of the same name. If the data cannot be deleted, the volume stays
    /// listed with what is left, and the caller can remove it again.
    pub fn remove(&self, volume: impl Into<VolumeRef>, cancel: &CancelToken) -> Result<()> {
        self.begin_remove(volume, cancel)?.finish()
    }

    /// Runs the first part of [`Self::remove`], up to the commit point. It takes the same time for each volume.
    pub fn begin_remove(&self, volume: impl Into<VolumeRef>, cancel: &CancelToken) -> Result<BegunRemoval> {
        self.begin_remove_volume(&volume.into(), false, cancel)
    }

    /// Begins to remove a volume. With `in_vain`, the caller has just created the volume, so no sandbox uses it.
    pub(crate) fn begin_remove_volume(
        &self,
        volume: &VolumeRef,
        in_vain: bool,
        cancel: &CancelToken,
    ) -> Result<BegunRemoval> {
        let (handle, name) = (self.handle()?, &volume.name);
        let lock = handle.lock_resolved(name, cancel)?;
        if !in_vain {
            // A missing volume is in no sandbox, even if microsandbox's catalog cannot be read.
            handle.check_listed(volume)?;
            handle.refuse_mounted_in_microsandbox(name, LOCK_TIMEOUT)?;
        }
        cancel.commit()?;
        let intended = match handle.intend_to_remove(volume) {
            Err(error) if handle.frees_volume_in_use(&error) => handle.intend_to_remove(volume),
            intended => intended,
        };
        let (intent, image) = intended?;
        let work = handle.begin_deletion(&intent, lock);
        Ok(BegunRemoval { handle, intent, work, _image: image })
    }
}

impl BegunRemoval {
    /// Deletes the content and then the record. This takes longer for more content.
    pub fn finish(self) -> Result<()> {
        self.handle.continue_deletion(&self.intent, self.work, None).map(drop)
    }
}

impl StoreHandle {
    /// Fails with `VolumeNotFound` if the volume does not exist. The caller holds the name lock.
    fn check_listed(&self, wanted: &VolumeRef) -> Result<()> {
        let found = self.catalog.read(|catalog| catalog.volume(&wanted.name))?;
        match found.is_some_and(|volume| wanted.admits(volume.identity)) {
            true => Ok(()),
            false => Err(Error::volume_not_found(wanted.name.as_str())),
        }
    }

    /// Writes the intent to remove a volume, and locks its image.
    fn intend_to_remove(&self, wanted: &VolumeRef) -> Result<(Intent, Option<ImageLock>)> {
        let name = &wanted.name;
        let entry = new_entry(name);
        let (volume, image) = self.write_to_free(|catalog| {
            let volume = catalog.reader().volume(name)?.filter(|volume| wanted.admits(volume.identity));
            let volume = volume.ok_or_else(|| Error::volume_not_found(name.as_str()))?;
            let image = self.lock_if_unused(catalog, &volume)?;
            catalog.begin(volume.id, Action::Remove, &entry)?;
            Ok((volume, image))
        })?;
        let (volume_id, identity) = (volume.id, volume.identity);
        let (name, action) = (name.clone(), Action::Remove);
        // No other removal can have moved the volume, so a mark would say nothing.
        Ok((Intent { volume_id, name, identity, action, entry, is_marked: false, in_place: false }, image))
    }

    /// Fails with `VolumeInUse` if an attachment uses the volume, or a program has locked its image. Returns the lock
    /// on the image.
    fn lock_if_unused(
        &self,
        catalog: &CatalogWriter<'_>,
        volume: &VolumeRecord,
    ) -> Result<Option<ImageLock>> {
        let name = volume.name.as_str();
        let (held, refused) =
            (HeldResource::Volume(volume.id), |holders| Err(Error::volume_attached(name, holders)));
        // This closes the descriptors that this process still has for ended attachments, before the lock is tried.
        let holders = live_holders(catalog, held, None)?;
        if holders.iter().any(|holder| holder.running) {
            return refused(holders);
        }
        let image = self.lock_image_of(volume);
        if holders.is_empty() {
            return image;
        }
        let failed = |error| Error::file_system("stat", name, error);
        let proof = match &image {
            Ok(Some(lock)) => lock.proof().map_err(failed)?,
            _ => None,
        };
        let proof = proof.map(|id| ImageLease { device: id.device(), inode: id.inode(), readonly: false });
        let holders = live_holders(catalog, held, proof)?;
        if holders.is_empty() { image } else { refused(holders) }
    }

    /// Finishes the removal of a dead process. The caller passes the name lock.
    ///
    /// If that process had not moved the volume yet, all checks of a removal run again. If the volume may be in use
    /// now, it stays and the intent is deleted.
    ///
    /// Returns false if the [background queue](background::delete_in_background) deletes the content, because that takes
    /// too long for the caller.
    pub(crate) fn resolve_removal(
        &self,
        intent: &Intent,
        lock: FileLock,
        limits: ResolveLimits,
    ) -> Result<bool> {
        let has_begun = intent.in_place || !self.is_in_place(intent)?;
        let looked = match has_begun {
            true => Ok(()),
            false => self.refuse_mounted_in_microsandbox(&intent.name, limits.wait),
        };
        if limits.wait.is_zero() && looked.as_ref().is_err_and(|error| error.kind() != ErrorKind::VolumeInUse)
        {
            // Another operation, which waits longer, gets a more precise result.
            return looked.map(|()| true);
        }
        if !has_begun {
            // Crash safety: a process that moved the volume back may have died before the rename was on disk.
            self.dirs.sync.dir(&self.dirs.volumes)?;
        }
        let claimed = self.write_to_free(|catalog| {
            if !catalog.confirm(intent)? {
                // The owner of the intent finished after the intent was read.
                return Ok(None);
            }
            let image = match (has_begun, &looked, catalog.reader().intended_volume(intent.volume_id)?) {
                (true, ..) => return Ok(Some(None)),
                (false, Ok(()), Some(volume)) => self.lock_if_unused(catalog, &volume),
                (false, ..) => return catalog.delete_intent(intent.volume_id).map(|()| None),
            };
            match image {
                Ok(image) => Ok(Some(image)),
                Err(error) if error.kind() == ErrorKind::Catalog => Err(error),
                Err(_in_use) => catalog.delete_intent(intent.volume_id).map(|()| None),
            }
        })?;
        match claimed {
            Some(image) => {
                let queue = limits.until.and_then(|_| background::queue());
                let until = limits.until.filter(|_| queue.is_some());
                let work = self.continue_deletion(intent, self.begin_deletion(intent, lock), until)?;
                let Some(work) = work else { return Ok(true) };
                if let (Some(handle), Some(queue)) = (self.this.upgrade(), queue) {
                    let rest = BegunRemoval { handle, intent: intent.clone(), work, _image: image };
                    // A volume that cannot be deleted is listed again.
                    queue(Box::new(move || drop(rest.finish())));
                }
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// Returns true if the volume is still where it was when its removal began.
    pub(super) fn is_in_place(&self, intent: &Intent) -> Result<bool> {
        // After the volume was moved, microsandbox may have created another one with its name.
        let was_moved = intent.is_marked && self.dirs.stored_identity(&intent.name) != Some(intent.identity);
        Ok(!was_moved
            && !self.dirs.trash.contains(&intent.entry)?
            && self.dirs.volumes.contains(intent.name.as_str())?)
    }
}
