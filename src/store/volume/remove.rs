//! Removes volumes.

use super::delete_tree::{TreeDeletion, delete_tree};
use super::name_locks::WorkLock;
use super::recover::ResolveLimits;
use crate::catalog::{Action, CatalogWriter, HeldResource, ImageLease, Intent};
use crate::error::{Errno, Error, ErrorKind, Result};
use crate::model::{VolumeRecord, VolumeRef};
use crate::store::attach::liveness::live_holders;
use crate::store::background;
use crate::store::paths::new_entry;
use crate::store::{Store, StoreHandle};
use crate::sync::{CancelToken, LOCK_TIMEOUT};
use crate::sys::fd::AsFd;
use crate::sys::{Dir, FileLock, ImageLock, regain_access_to};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

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

/// The deletion of content in the trash, with the lock that marks its owner as alive.
#[derive(Debug)]
struct ContentDeletion {
    content: Result<RemovedContent>,
    work: Option<WorkLock>,
    /// The name lock, which replaces the work lock if there is no space for that file.
    name_lock: Option<FileLock>,
}

/// Maximum number of times that an emptied root is emptied again because a process wrote into it.
const MAX_REFILLS: u32 = 8;

/// The content to delete.
#[derive(Debug)]
struct RemovedContent {
    /// The root of a volume that cannot be moved. Its content is deleted in its place.
    root: Option<Dir>,
    /// How often a process wrote into the emptied root.
    refills: u32,
    deletion: TreeDeletion,
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
    fn is_in_place(&self, intent: &Intent) -> Result<bool> {
        // After the volume was moved, microsandbox may have created another one with its name.
        let was_moved = intent.is_marked && self.dirs.stored_identity(&intent.name) != Some(intent.identity);
        Ok(!was_moved
            && !self.dirs.trash.contains(&intent.entry)?
            && self.dirs.volumes.contains(intent.name.as_str())?)
    }

    /// Moves the data to the trash and replaces the name lock by the work lock. Skips the steps that another process
    /// did.
    ///
    /// The intent reserves the name, and the work lock marks its owner as alive.
    fn begin_deletion(&self, intent: &Intent, lock: FileLock) -> ContentDeletion {
        let content = self.move_to_trash(intent).and_then(|in_trash| self.content(intent, in_trash));
        let work = self.dirs.locks.acquire_work_lock(&intent.name).ok().flatten();
        let content = content.and_then(|content| {
            Ok(RemovedContent { deletion: keeping_work(content.deletion, work.as_ref())?, ..content })
        });
        let name_lock = work.is_none().then_some(lock);
        ContentDeletion { content, work, name_lock }
    }

    fn content(&self, intent: &Intent, in_trash: bool) -> Result<RemovedContent> {
        let (volumes, name) = (&self.dirs.volumes, intent.name.as_str());
        let shown = volumes.path_of(name);
        if in_trash {
            let deletion = TreeDeletion::new(&self.dirs.trash, &intent.entry, &shown, true)?;
            return Ok(RemovedContent { root: None, refills: 0, deletion });
        }
        let root = match volumes.open_child(name) {
            Err(error) if error.is_refusal(&[Errno::EACCES]) => {
                regain_access_to(volumes.as_fd(), Path::new(name)).map_err(|_| error)?;
                volumes.open_child(name)?
            }
            opened => opened?,
        };
        let deletion = TreeDeletion::of_content(&root, &shown)?;
        Ok(RemovedContent { root: Some(root), refills: 0, deletion })
    }

    /// Deletes the data and then the record. If the data cannot be deleted, moves the rest back into place. With
    /// `until`, stops at about that time and returns the remaining work.
    fn continue_deletion(
        &self,
        intent: &Intent,
        content_deletion: ContentDeletion,
        until: Option<Instant>,
    ) -> Result<Option<ContentDeletion>> {
        let name = intent.name.as_str();
        let ContentDeletion { content, work, name_lock } = content_deletion;
        let (trash, volumes) = (&self.dirs.trash, &self.dirs.volumes);
        let deleted = content.and_then(|mut content| {
            loop {
                if !content.deletion.go_on(until)? {
                    return Ok(Some(content));
                }
                let Some(root) = &content.root else { return Ok(None) };
                if self.move_emptied_root(intent, root, name_lock.as_ref())? {
                    self.content(intent, true)?.deletion.go_on(None)?;
                    return Ok(None);
                }
                let shown = volumes.path_of(name);
                content.refills += 1;
                if content.refills > MAX_REFILLS {
                    return Err(Error::file_system("rename", shown, Errno::ENOTEMPTY.into()));
                }
                content.deletion = keeping_work(TreeDeletion::of_content(root, &shown)?, work.as_ref())?;
            }
        });
        let result = match deleted {
            Ok(Some(content)) => return Ok(Some(ContentDeletion { content: Ok(content), work, name_lock })),
            deleted => deleted.map(drop),
        };
        match &result {
            Ok(()) => {
                self.write_to_free(|catalog| catalog.delete_volume(intent.volume_id))?;
            }
            Err(_) => {
                if trash.contains(&intent.entry)? {
                    // Crash safety: a mark without an id file says that the volume was moved. It is cleared before the
                    // content is moved back. If that fails, the content stays in the trash.
                    self.write_to_free(|catalog| catalog.forget_identity_file(intent.volume_id))?;
                    trash.move_to(&intent.entry, volumes, name)?;
                    self.dirs.sync.dir(volumes)?;
                }
                self.write_to_free(|catalog| catalog.delete_intent_without_id_file(intent.volume_id))?;
                // If this fails, the next opening of the home writes the id file.
                let _later = self.store_missing_identities();
            }
        }
        // The work lock is held as long as the intent exists. A lock file that stays is deleted by the next removal.
        let _left = work.map_or(Ok(()), |work| work.delete(&self.dirs.locks));
        // The removed volume may have freed space.
        self.dirs.reserve.fill();
        result.map(|()| None).map_err(|error| error.in_volume(name))
    }

    /// Replaces the emptied root of a volume that cannot be moved by a new directory, which can, and moves that one to
    /// the trash. Returns false if a process wrote into the root since. `lock` is the name lock, if the caller holds it.
    ///
    /// Crash safety: until the new directory is in the trash, the name is taken. So each directory that is found there
    /// is the volume's, and never one that microsandbox created since.
    fn move_emptied_root(&self, intent: &Intent, root: &Dir, lock: Option<&FileLock>) -> Result<bool> {
        let (volumes, staging, name) = (&self.dirs.volumes, &self.dirs.staging, intent.name.as_str());
        let _lock = match lock {
            Some(_) => None,
            None => Some(self.dirs.locks.lock(&intent.name, &CancelToken::default())?),
        };
        if !volumes.is_entry(name, root.as_fd())? {
            // The root was deleted from outside, and there may be another volume's.
            return self.delete_files_of_moved(intent).map(|()| true);
        }
        staging.open_or_create_child(&intent.entry)?;
        if let Err(error) = staging.move_over_empty(&intent.entry, volumes, name) {
            // If this fails too, the next opening of the home deletes the directory.
            let _left = delete_tree(staging, &intent.entry, &staging.path_of(&intent.entry));
            let is_refilled = error.is_refusal(&[Errno::ENOTEMPTY, Errno::EEXIST]);
            return if is_refilled { Ok(false) } else { Err(error) };
        }
        // Crash safety: the next rename must not be on the disk without this one. Then the old root would stay.
        self.dirs.sync.dir(volumes)?;
        match self.move_to_trash(intent)? {
            true => Ok(true),
            false => Err(Error::file_system("rename", volumes.path_of(name), Errno::EXDEV.into())),
        }
    }

    /// Moves the data to the trash, and deletes the id file and the quota files. Returns false if the data cannot be
    /// moved and must be deleted in its place. The caller holds the name lock.
    fn move_to_trash(&self, intent: &Intent) -> Result<bool> {
        let (volumes, trash, name) = (&self.dirs.volumes, &self.dirs.trash, intent.name.as_str());
        let mut in_place = false;
        if self.is_in_place(intent)? {
            let moved = || volumes.move_to(name, trash, &intent.entry);
            match moved() {
                // A guest of the same user may have made its root unwritable, which prevents a rename.
                Err(error) if error.is_refusal(&[Errno::EACCES]) => {
                    regain_access_to(volumes.as_fd(), Path::new(name)).map_err(|_| error)?;
                    moved()?;
                }
                // A directory of a lower layer of an overlay cannot be renamed.
                //
                // Crash safety: the intent hides the volume while its content is being deleted.
                Err(error) if error.is_refusal(&[Errno::EXDEV]) => {
                    self.write_to_free(|catalog| catalog.mark_in_place(intent.volume_id))?;
                    in_place = true;
                }
                result => result?,
            }
        }
        if in_place {
            self.root_cache.remove(&intent.name);
        } else {
            self.delete_files_of_moved(intent)?;
        }
        Ok(!in_place)
    }

    /// Deletes the id file and the quota files of a volume that is no longer in its place, and marks it as moved. The
    /// caller holds the name lock, and deletes the content after that.
    fn delete_files_of_moved(&self, intent: &Intent) -> Result<()> {
        // Crash safety: this also flushes a rename of a process that died before it flushed.
        self.dirs.sync.dir(&self.dirs.volumes)?;
        self.root_cache.remove(&intent.name);
        // Crash safety: the id file goes before the name lock is released, because then others may create the
        // directory.
        self.dirs.delete_files_beside(&intent.name)?;
        if self.intent_of(&intent.name)?.is_some_and(|now| !now.is_marked) {
            // Crash safety: without a mark, a directory that another program creates after the content is deleted would
            // be treated as the volume.
            self.write_to_free(|catalog| catalog.mark_identity_stored(intent.volume_id))?;
        }
        Ok(())
    }
}

/// Has each helper process of a deletion keep the work lock, if there is one, until it has ended.
fn keeping_work(deletion: TreeDeletion, work: Option<&WorkLock>) -> Result<TreeDeletion> {
    match work {
        Some(work) => deletion.keeping(work),
        None => Ok(deletion),
    }
}
