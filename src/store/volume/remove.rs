//! Removing a volume.

use super::delete_trash::Discarding;
use super::name_locks::WorkLock;
use super::recover::SettleLimits;
use crate::catalog::{Action, CatalogWriter, HeldResource, ImageLease, Intent};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{VolumeRecord, VolumeRef};
use crate::store::elsewhere;
use crate::store::layout::new_entry;
use crate::store::{Store, StoreHandle, living};
use crate::sync::{CancelToken, LONGEST_WAIT};
use crate::sys::{FileLock, ImageLock, regain_access_to};
use nix::errno::Errno;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A volume that nobody finds any more and whose content is still to be deleted. If it is dropped, the intent stays,
/// which the next operation to meet it finishes.
#[derive(Debug)]
pub struct BegunRemoval {
    opened: Arc<StoreHandle>,
    intent: Intent,
    work: Deletion,
    /// Keeps other programs from the image until it is deleted.
    _image: Option<ImageLock>,
}

/// The deletion of content that was moved to the trash, and the lock that tells that its owner lives.
#[derive(Debug)]
struct Deletion {
    content: Result<Content>,
    work: Option<WorkLock>,
    /// Where there is no room for the file of the other lock, the name's lock tells the same.
    _lock: Option<FileLock>,
}

/// What is deleted.
#[derive(Debug)]
struct Content {
    /// Whether it is in the trash; in its place where it cannot be moved.
    in_trash: bool,
    discarding: Discarding,
}

impl Store {
    /// Deletes a volume's data and its record; a volume that is meant by its id, and no other of its name. Refused while it is attached. Where its data cannot be deleted,
    /// the volume stays listed with what is left, and removal can be tried again.
    pub fn remove(&self, volume: impl Into<VolumeRef>, cancel: &CancelToken) -> Result<()> {
        self.begin_remove(volume, cancel)?.finish()
    }

    /// The first part of [`Self::remove`], which takes the same time for each volume and passes the commit point.
    pub fn begin_remove(&self, volume: impl Into<VolumeRef>, cancel: &CancelToken) -> Result<BegunRemoval> {
        self.begin_remove_volume(&volume.into(), false, cancel)
    }

    /// The same; one that was created in vain is in no sandbox yet.
    pub(crate) fn begin_remove_volume(
        &self,
        volume: &VolumeRef,
        in_vain: bool,
        cancel: &CancelToken,
    ) -> Result<BegunRemoval> {
        let (opened, name) = (self.opened()?, &volume.name);
        let lock = opened.lock_settled(name, cancel)?;
        if !in_vain {
            // A volume that is not there is in no sandbox, whatever microsandbox's catalog is.
            opened.check_listed(volume)?;
            opened.refuse_mounted_in_microsandbox(name, LONGEST_WAIT)?;
        }
        cancel.commit()?;
        let intended = match opened.intend_to_remove(volume) {
            Err(error) if opened.frees_what_is_in_use(&error) => opened.intend_to_remove(volume),
            intended => intended,
        };
        let (intent, image) = intended?;
        let work = opened.begin_deletion(&intent, lock);
        Ok(BegunRemoval { opened, intent, work, _image: image })
    }
}

impl BegunRemoval {
    /// Deletes the content and then the record, which takes as long as the content is large.
    pub fn finish(self) -> Result<()> {
        self.opened.go_on_deletion(&self.intent, self.work, None).map(drop)
    }
}

impl StoreHandle {
    /// Fails with `VolumeNotFound` if there is no such volume. The caller holds the name's lock.
    fn check_listed(&self, wanted: &VolumeRef) -> Result<()> {
        let found = self.catalog.read(|catalog| catalog.volume(&wanted.name))?;
        match found.is_some_and(|volume| wanted.admits(volume.identity)) {
            true => Ok(()),
            false => Err(Error::volume_not_found(wanted.name.as_str())),
        }
    }

    /// Writes down that a volume is to be removed, and keeps other programs from its image meanwhile.
    fn intend_to_remove(&self, wanted: &VolumeRef) -> Result<(Intent, Option<ImageLock>)> {
        let name = &wanted.name;
        let entry = new_entry(name);
        let (volume, image) = self.write_to_free(|catalog| {
            let volume = catalog.reader().volume(name)?.filter(|volume| wanted.admits(volume.identity));
            let volume = volume.ok_or_else(|| Error::volume_not_found(name.as_str()))?;
            let image = self.claim_unused(catalog, &volume)?;
            catalog.begin(volume.id, Action::Remove, &entry)?;
            Ok((volume, image))
        })?;
        let (volume_id, identity) = (volume.id, volume.identity);
        let (name, action) = (name.clone(), Action::Remove);
        // This is the first to move the volume, so it needs no mark.
        Ok((Intent { volume_id, name, identity, action, entry, is_marked: false, in_place: false }, image))
    }

    /// Fails with `VolumeInUse` if an attachment, or a program that locked its image, uses the volume. Returns what keeps
    /// other programs from the image.
    fn claim_unused(&self, catalog: &CatalogWriter<'_>, volume: &VolumeRecord) -> Result<Option<ImageLock>> {
        let name = volume.name.as_str();
        let (held, refused) =
            (HeldResource::Volume(volume.id), |holders| Err(Error::volume_attached(name, holders)));
        // What this process still has open for those that ended is closed here, before the lock is tried.
        let holders = living(catalog, held, None)?;
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
        let holders = living(catalog, held, proof)?;
        if holders.is_empty() { image } else { refused(holders) }
    }

    /// Finishes the removal that another process began. If that had not moved the volume yet, all that a removal looks at
    /// is looked at again, and a volume that may be in use by now stays: the intent is dropped. The caller gives the
    /// name's lock. Returns false if the content is deleted [elsewhere](elsewhere::delete_elsewhere), which takes longer
    /// than the caller does.
    pub(crate) fn settle_removal(
        &self,
        intent: &Intent,
        lock: FileLock,
        limits: SettleLimits,
    ) -> Result<bool> {
        let has_begun = intent.in_place || !self.is_unmoved(intent)?;
        let looked = match has_begun {
            true => Ok(()),
            false => self.refuse_mounted_in_microsandbox(&intent.name, limits.wait),
        };
        if limits.wait.is_zero() && looked.as_ref().is_err_and(|error| error.kind() != ErrorKind::VolumeInUse)
        {
            // Another operation, which waits longer, gets to know more.
            return looked.map(|()| true);
        }
        if !has_begun {
            // Crash safety: a process that put the volume back may have died before that was on disk.
            self.layout.put_on_disk(&self.layout.volumes)?;
        }
        let claimed = self.write_to_free(|catalog| {
            if !catalog.confirm(intent)? {
                // Its owner came to the end since the intent was read.
                return Ok(None);
            }
            let image = match (has_begun, &looked, catalog.reader().intended_volume(intent.volume_id)?) {
                (true, ..) => return Ok(Some(None)),
                (false, Ok(()), Some(volume)) => self.claim_unused(catalog, &volume),
                (false, ..) => return catalog.settle(intent.volume_id).map(|()| None),
            };
            match image {
                Ok(image) => Ok(Some(image)),
                Err(error) if error.kind() == ErrorKind::Catalog => Err(error),
                Err(_in_use) => catalog.settle(intent.volume_id).map(|()| None),
            }
        })?;
        match claimed {
            Some(image) => {
                let queue = limits.until.and_then(|_| elsewhere::queue());
                let until = limits.until.filter(|_| queue.is_some());
                let work = self.go_on_deletion(intent, self.begin_deletion(intent, lock), until)?;
                let Some(work) = work else { return Ok(true) };
                if let (Some(opened), Some(queue)) = (self.shared.upgrade(), queue) {
                    let rest = BegunRemoval { opened, intent: intent.clone(), work, _image: image };
                    // A volume that cannot be deleted is listed again.
                    queue(Box::new(move || drop(rest.finish())));
                }
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// Whether the volume stands where it was when its removal was begun.
    fn is_unmoved(&self, intent: &Intent) -> Result<bool> {
        // Once the volume was moved, microsandbox may have made another one of its name.
        let was_moved =
            intent.is_marked && self.layout.stored_identity(&intent.name) != Some(intent.identity);
        Ok(!was_moved
            && !self.layout.trash.contains(&intent.entry)?
            && self.layout.volumes.contains(intent.name.as_str())?)
    }

    /// Moves the data to the trash and exchanges the name's lock for that of the work. Each step is skipped where another
    /// process did it. The intent keeps the name, and the lock of the work tells that its owner lives.
    fn begin_deletion(&self, intent: &Intent, lock: FileLock) -> Deletion {
        let content = self.move_to_trash(intent).and_then(|in_trash| self.content(intent, in_trash));
        let work = self.layout.claim_work(&intent.name).ok().flatten();
        let _lock = work.is_none().then_some(lock);
        Deletion { content, work, _lock }
    }

    fn content(&self, intent: &Intent, in_trash: bool) -> Result<Content> {
        let (trash, volumes, name) = (&self.layout.trash, &self.layout.volumes, intent.name.as_str());
        let (dir, entry) = if in_trash { (trash, intent.entry.as_str()) } else { (volumes, name) };
        Ok(Content { in_trash, discarding: Discarding::new(dir, entry, &volumes.path_of(name), true)? })
    }

    /// Deletes the data and then the record, or puts what is left back where the data cannot be deleted. With `until` it
    /// stops at about that time, and returns what is left to do.
    fn go_on_deletion(
        &self,
        intent: &Intent,
        deletion: Deletion,
        until: Option<Instant>,
    ) -> Result<Option<Deletion>> {
        let name = intent.name.as_str();
        let Deletion { content, work, _lock } = deletion;
        let (trash, volumes) = (&self.layout.trash, &self.layout.volumes);
        let deleted = content.and_then(|mut content| {
            if !content.discarding.go_on(until)? {
                return Ok(Some(content));
            }
            if !content.in_trash {
                self.layout.put_on_disk(volumes)?;
                self.layout.delete_identity(&intent.name)?;
                self.layout.put_on_disk(&self.layout.ids)?;
            }
            Ok(None)
        });
        let result = match deleted {
            Ok(Some(content)) => return Ok(Some(Deletion { content: Ok(content), work, _lock })),
            deleted => deleted.map(drop),
        };
        match &result {
            Ok(()) => {
                self.write_to_free(|catalog| catalog.delete_volume(intent.volume_id))?;
            }
            Err(_) => {
                if trash.contains(&intent.entry)? {
                    trash.move_to(&intent.entry, volumes, name)?;
                    self.layout.put_on_disk(volumes)?;
                }
                self.write_to_free(|catalog| catalog.settle_without_file(intent.volume_id))?;
                // Where this is refused, the next one to open the home writes the file.
                let _later = self.store_missing_identities();
            }
        }
        // As long as there is the intent, that lock is held. A file that stays is the next removal's to delete.
        let _left = work.map_or(Ok(()), |work| work.delete(&self.layout));
        // With the volume gone there may be room that there was not before.
        self.layout.keep_spare();
        result.map(|()| None).map_err(|error| error.in_volume(name))
    }

    /// Moves the data to the trash, and deletes what is ours beside it. Returns false if the data cannot be moved and is to
    /// be deleted in its place. The caller holds the name's lock.
    fn move_to_trash(&self, intent: &Intent) -> Result<bool> {
        let (volumes, trash, name) = (&self.layout.volumes, &self.layout.trash, intent.name.as_str());
        let mut in_place = false;
        if self.is_unmoved(intent)? {
            let moved = || volumes.move_to(name, trash, &intent.entry);
            match moved() {
                // A guest of the same user may have made its root unwritable, which moving it needs.
                Err(error) if error.is_refusal(&[Errno::EACCES]) => {
                    regain_access_to(volumes.as_fd(), Path::new(name)).map_err(|_| error)?;
                    moved()?;
                }
                // A directory of a lower layer of an overlay cannot be moved. Crash safety: the intent hides the volume
                // until all of it is deleted.
                Err(error) if error.is_refusal(&[Errno::EXDEV]) => {
                    self.write_to_free(|catalog| catalog.mark_in_place(intent.volume_id))?;
                    in_place = true;
                }
                result => result?,
            }
        }
        // Also where it was moved before: whoever did that may have died before it was on disk.
        self.layout.put_on_disk(volumes)?;
        self.trees.let_go(&intent.name);
        self.layout.delete_quota_files(&intent.name)?;
        if !in_place {
            self.layout.delete_identity(&intent.name)?;
            // Crash safety: before the name's lock is released, which lets others make the directory.
            self.layout.put_on_disk(&self.layout.ids)?;
        }
        Ok(!in_place)
    }
}
