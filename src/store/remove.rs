//! Removing a volume.

use super::discard::discard;
use super::layout::new_entry;
use super::name_locks::WorkLock;
use super::{Opened, Store, living};
use crate::catalog::{Action, Held, Intent};
use crate::error::{Error, Result};
use crate::model::{Cancel, VolumeRef};
use crate::sys::{FileLock, ImageLock, regain_access_to};
use nix::errno::Errno;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

/// A volume that nobody finds any more and whose content is still to be deleted. If it is dropped, the intent stays,
/// which the next operation to meet it finishes.
#[derive(Debug)]
pub struct BegunRemoval {
    opened: Arc<Opened>,
    intent: Intent,
    work: Deletion,
    /// Keeps other programs from the image until it is deleted.
    _image: Option<ImageLock>,
}

/// The deletion of content that was moved to the trash, and the lock that tells that its owner lives.
#[derive(Debug)]
struct Deletion {
    /// Whether the content is in the trash; in its place where it cannot be moved.
    moved: Result<bool>,
    work: Option<WorkLock>,
    /// Where there is no room for the file of the other lock, the name's lock tells the same.
    _lock: Option<FileLock>,
}

impl Store {
    /// Deletes a volume's data and its record; a volume that is meant by its id, and no other of its name. Refused while it is attached. Where its data cannot be deleted,
    /// the volume stays listed with what is left, and removal can be tried again.
    pub fn remove(&self, volume: impl Into<VolumeRef>, cancel: &Cancel) -> Result<()> {
        self.begin_remove(volume, cancel)?.finish()
    }

    /// The first part of [`Self::remove`], which takes the same time for each volume and passes the commit point.
    pub fn begin_remove(&self, volume: impl Into<VolumeRef>, cancel: &Cancel) -> Result<BegunRemoval> {
        self.begin_remove_volume(&volume.into(), false, cancel)
    }

    /// The same; one that was created in vain is in no sandbox yet.
    pub(super) fn begin_remove_volume(
        &self,
        volume: &VolumeRef,
        in_vain: bool,
        cancel: &Cancel,
    ) -> Result<BegunRemoval> {
        let (opened, name) = (self.opened()?, &volume.name);
        let lock = opened.lock_settled(name, cancel)?;
        if !in_vain {
            self.refuse_mounted_in_microsandbox(&opened, name)?;
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
        self.opened.finish_deletion(&self.intent, self.work)
    }
}

impl Opened {
    /// Writes down that a volume is to be removed, and keeps other programs from its image meanwhile.
    fn intend_to_remove(&self, wanted: &VolumeRef) -> Result<(Intent, Option<ImageLock>)> {
        let name = &wanted.name;
        let entry = new_entry(name);
        let (volume, image) = self.write_to_free(|catalog| {
            let volume = catalog.reader().volume(name)?.filter(|volume| wanted.admits(volume.identity));
            let volume = volume.ok_or_else(|| Error::volume_not_found(name.as_str()))?;
            let holders = living(catalog, Held::Volume(volume.id))?;
            if !holders.is_empty() {
                return Err(Error::volume_attached(name.as_str(), holders));
            }
            let image = self.lock_image_of(&volume)?;
            catalog.begin(volume.id, Action::Remove, &entry)?;
            Ok((volume, image))
        })?;
        let (volume_id, identity) = (volume.id, volume.identity);
        let (name, action) = (name.clone(), Action::Remove);
        // This is the first to move the volume, so it needs no mark.
        Ok((Intent { volume_id, name, identity, action, entry, is_marked: false }, image))
    }

    /// Moves the data to the trash, deletes it there, and then the record. Also finishes what another process
    /// began: each step is skipped where it was done. The caller gives the name's lock, which is held only until the
    /// data is in the trash: the intent keeps the name, and the lock of the work tells that its owner lives.
    pub(super) fn finish_removal(&self, intent: &Intent, lock: FileLock) -> Result<()> {
        self.finish_deletion(intent, self.begin_deletion(intent, lock))
    }

    /// Moves the data to the trash and exchanges the name's lock for that of the work.
    fn begin_deletion(&self, intent: &Intent, lock: FileLock) -> Deletion {
        let moved = self.move_to_trash(intent);
        let work = self.layout.claim_work(&intent.name).ok().flatten();
        let _lock = work.is_none().then_some(lock);
        Deletion { moved, work, _lock }
    }

    /// Deletes the data and then the record, or puts what is left back where the data cannot be deleted.
    fn finish_deletion(&self, intent: &Intent, deletion: Deletion) -> Result<()> {
        let name = intent.name.as_str();
        let Deletion { moved, work, _lock } = deletion;
        let (trash, volumes) = (&self.layout.trash, &self.layout.volumes);
        let shown = volumes.path_of(name);
        let result = moved.and_then(|in_trash| match in_trash {
            true => discard(trash, &intent.entry, &shown),
            false => discard(volumes, name, &shown)
                .and_then(|()| self.layout.put_on_disk(volumes))
                .and_then(|()| self.layout.delete_identity(&intent.name)),
        });
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
        result.map_err(|error| error.in_volume(name))
    }

    /// Moves the data to the trash, and deletes what is ours beside it. Returns false if the data cannot be moved and is to
    /// be deleted in its place. The caller holds the name's lock.
    fn move_to_trash(&self, intent: &Intent) -> Result<bool> {
        let (volumes, trash, name) = (&self.layout.volumes, &self.layout.trash, intent.name.as_str());
        let mut in_place = false;
        // Once the volume was moved, microsandbox may have made another one of its name.
        let was_moved =
            intent.is_marked && self.layout.stored_identity(&intent.name) != Some(intent.identity);
        if !was_moved && !trash.contains(&intent.entry)? && volumes.contains(name)? {
            let moved = || volumes.move_to(name, trash, &intent.entry);
            match moved() {
                // A guest of the same user may have made its root unwritable, which moving it needs.
                Err(error) if error.is_refusal(&[Errno::EACCES]) => {
                    regain_access_to(volumes.as_fd(), Path::new(name)).map_err(|_| error)?;
                    moved()?;
                }
                // A directory of a lower layer of an overlay cannot be moved. Crash safety: the intent hides the volume
                // until all of it is deleted.
                Err(error) if error.is_refusal(&[Errno::EXDEV]) => in_place = true,
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
