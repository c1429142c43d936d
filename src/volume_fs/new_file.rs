//! Files that a call makes, and removes again if it fails. Where another call opened one to write it, it belongs to both:
//! what the other call wrote must not go with it.

use crate::sync::IgnorePoison;
use crate::sys::{EntryKind, FileId, FileStamp, remove_directory, unlink_entry};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};

/// What this process is making.
static IN_THE_MAKING: LazyLock<Mutex<HashMap<FileId, Making>>> = LazyLock::new(Mutex::default);

/// A file that is being made, or one of a copy that is.
#[derive(Clone, Copy, Debug)]
struct Making {
    /// See [`FileStamp::born`].
    born: u64,
    /// Whether another call opened it to write.
    is_shared: bool,
    /// The copy that it is a part of.
    copy: Option<CopyId>,
}

impl Making {
    fn is(&self, found: &FileStamp) -> bool {
        self.born == found.born()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CopyId(u32);

/// A file that a call made and has not completed.
#[derive(Debug)]
pub struct NewFile(FileId);

impl NewFile {
    /// The one that was just made.
    pub fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        let found = FileStamp::of(file)?;
        let making = Making { born: found.born(), is_shared: false, copy: None };
        match in_the_making().entry(found.id()) {
            // The file of a call that still works was removed, and its number given to this one.
            Entry::Occupied(mut old) if old.get().copy.is_none() => old.get_mut().is_shared = true,
            Entry::Occupied(mut old) => *old.get_mut() = making,
            Entry::Vacant(new) => drop(new.insert(making)),
        }
        Ok(NewFile(found.id()))
    }

    /// Leaves it there, also if its call fails.
    pub fn share(&self) {
        rely_on(self.0);
    }

    /// Removes the entry of that name if it still is this file, and no other call wrote this file.
    pub fn remove(&self, dir: BorrowedFd<'_>, name: &OsStr) {
        // Held until it is removed: a call that opens it later finds that it has no name any more.
        let all = in_the_making();
        let made = all.get(&self.0).filter(|made| !made.is_shared);
        // TOCTOU: a guest or another process may put another file there between the look and the removal. No system
        // call removes an entry only if it is a certain file, and one that was moved aside to be looked at would be
        // missing for that time.
        let is_it = |made: &Making| {
            FileStamp::at(dir, name).is_ok_and(|found| found.id() == self.0 && made.is(&found))
        };
        if made.is_some_and(is_it) {
            // The error that led here says more than one of cleaning up.
            let _removed = unlink_entry(dir, name);
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // One that is a part of a copy stays in the making until that is over.
        if let Entry::Occupied(made) = in_the_making().entry(self.0)
            && made.get().copy.is_none()
        {
            made.remove();
        }
    }
}

/// What a copy of a directory made so far, below its top: it removes nothing else if it fails. Each entry takes about 60
/// bytes of memory until the copy is over.
#[derive(Debug)]
pub struct CopyRecord(CopyId);

impl CopyRecord {
    /// One of a copy that begins.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        CopyRecord(CopyId(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Adds a file that the copy completed.
    pub fn add_file(&self, file: &NewFile) {
        if let Some(making) = in_the_making().get_mut(&file.0) {
            making.copy = Some(self.0);
        }
    }

    /// Adds a directory or link that the copy just made. Another entry that took its place in between is left out if it is
    /// of another kind.
    pub fn add_entry(&self, dir: BorrowedFd<'_>, name: &OsStr, kind: EntryKind) {
        if let Ok(found) = FileStamp::at(dir, name)
            && found.kind() == kind
        {
            let making = Making { born: found.born(), is_shared: false, copy: Some(self.0) };
            in_the_making().insert(found.id(), making);
        }
    }

    /// Whether the copy made what was found, and it has no other name.
    pub fn has_made(&self, found: &FileStamp) -> bool {
        self.is_own(&in_the_making(), found)
    }

    fn is_own(&self, all: &HashMap<FileId, Making>, found: &FileStamp) -> bool {
        let made = all.get(&found.id()).filter(|made| made.copy == Some(self.0));
        let is_own = made.is_some_and(|made| !made.is_shared && made.is(found));
        is_own && (found.kind() == EntryKind::Directory || !found.has_other_names())
    }

    /// Removes the entry of that name if the copy made it and no other call wrote it; a directory only if it is empty.
    /// TOCTOU: as [`NewFile::remove`].
    pub fn remove(&self, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let all = in_the_making();
        let found = FileStamp::at(dir, name)?;
        match (self.is_own(&all, &found), found.kind()) {
            (false, _) => Ok(()),
            (true, EntryKind::Directory) => remove_directory(dir, name),
            (true, _) => unlink_entry(dir, name),
        }
    }
}

impl Drop for CopyRecord {
    fn drop(&mut self) {
        let mut all = in_the_making();
        all.retain(|_, making| making.copy != Some(self.0));
        all.shrink_to(MIN_CAPACITY);
    }
}

/// How many files the list has room for when little is being made.
const MIN_CAPACITY: usize = 1 << 10;

/// Says that an existing file was opened to be written, so that the call that makes it, if one does, leaves it there.
pub fn rely_on(file: FileId) {
    if let Some(making) = in_the_making().get_mut(&file) {
        making.is_shared = true;
    }
}

fn in_the_making() -> MutexGuard<'static, HashMap<FileId, Making>> {
    IN_THE_MAKING.lock().ignore_poison()
}
