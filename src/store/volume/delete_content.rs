//! Deletes the content of a volume whose removal began.

use super::delete_tree::{TreeDeletion, delete_tree};
use super::name_locks::WorkLock;
use crate::catalog::Intent;
use crate::error::{Errno, Error, Result};
use crate::store::StoreHandle;
use crate::sync::CancelToken;
use crate::sys::fd::AsFd;
use crate::sys::{Dir, FileLock, regain_access_to};
use std::path::Path;
use std::time::Instant;

/// The deletion of content in the trash, with the lock that marks its owner as alive.
#[derive(Debug)]
pub(super) struct ContentDeletion {
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

impl StoreHandle {
    /// Moves the data to the trash and replaces the name lock by the work lock. Skips the steps that another process
    /// did.
    ///
    /// The intent reserves the name, and the work lock marks its owner as alive.
    pub(super) fn begin_deletion(&self, intent: &Intent, lock: FileLock) -> ContentDeletion {
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
    pub(super) fn continue_deletion(
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
