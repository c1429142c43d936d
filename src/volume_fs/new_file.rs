//! Files that a call creates, and removes if it fails. A file that another call opened for writing belongs to both
//! calls: removing it would lose what the other call wrote.

use crate::sync::IgnorePoison;
use crate::sys::{EntryKind, FileId, FileStamp, remove_directory, unlink_entry};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};

/// The files that this process is creating.
static NEW_ENTRIES: LazyLock<Mutex<HashMap<FileId, NewEntry>>> = LazyLock::new(Mutex::default);

/// A file that a call is creating, or an entry of a copy in progress.
#[derive(Clone, Copy, Debug)]
struct NewEntry {
    /// See [`FileStamp::born`].
    born: u64,
    /// Whether another call opened the file for writing.
    is_shared: bool,
    /// The copy that the entry belongs to.
    copy: Option<CopyId>,
}

impl NewEntry {
    fn is(&self, found: &FileStamp) -> bool {
        self.born == found.born()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CopyId(u32);

/// A file that a call created and has not completed.
#[derive(Debug)]
pub struct NewFile(FileId);

impl NewFile {
    /// Registers a file that was just created.
    pub fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        let found = FileStamp::of(file)?;
        let new_entry = NewEntry { born: found.born(), is_shared: false, copy: None };
        match new_entries().entry(found.id()) {
            // The file of a call in progress was removed, and this file got its inode number.
            Entry::Occupied(mut old) if old.get().copy.is_none() => old.get_mut().is_shared = true,
            Entry::Occupied(mut old) => *old.get_mut() = new_entry,
            Entry::Vacant(new) => drop(new.insert(new_entry)),
        }
        Ok(NewFile(found.id()))
    }

    /// Keeps the file even if its call fails.
    pub fn share(&self) {
        mark_shared(self.0);
    }

    /// Removes the entry `name` if it still is this file, and no other call wrote to the file.
    pub fn remove(&self, dir: BorrowedFd<'_>, name: &OsStr) {
        // Held until the file is removed: a call that opens it later sees that it has no name left.
        let all = new_entries();
        let created = all.get(&self.0).filter(|created| !created.is_shared);
        // TOCTOU: a guest or another process may put another file there between the check and the removal. No system
        // call removes an entry only if it is a certain file. Renaming the entry to check it would make it disappear
        // for that time.
        let is_it = |created: &NewEntry| {
            FileStamp::at(dir, name).is_ok_and(|found| found.id() == self.0 && created.is(&found))
        };
        if created.is_some_and(is_it) {
            // The original error says more than an error of the cleanup.
            let _removed = unlink_entry(dir, name);
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // An entry of a copy stays registered until the copy is over.
        if let Entry::Occupied(created) = new_entries().entry(self.0)
            && created.get().copy.is_none()
        {
            created.remove();
        }
    }
}

/// The entries that a copy of a directory created so far below its top. A copy that fails removes only these. Each
/// takes about 60 bytes of memory until the copy is over.
#[derive(Debug)]
pub struct CopyRecord(CopyId);

impl CopyRecord {
    /// Creates the record of a copy that begins.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        CopyRecord(CopyId(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Adds a file that the copy completed.
    pub fn add_file(&self, file: &NewFile) {
        if let Some(new_entry) = new_entries().get_mut(&file.0) {
            new_entry.copy = Some(self.0);
        }
    }

    /// Adds a directory or link that the copy just created. Leaves out an entry of another kind that replaced it since.
    pub fn add_entry(&self, dir: BorrowedFd<'_>, name: &OsStr, kind: EntryKind) {
        if let Ok(found) = FileStamp::at(dir, name)
            && found.kind() == kind
        {
            let new_entry = NewEntry { born: found.born(), is_shared: false, copy: Some(self.0) };
            new_entries().insert(found.id(), new_entry);
        }
    }

    /// Returns whether the copy created the entry that was found, and it has no other hard link.
    pub fn has_created(&self, found: &FileStamp) -> bool {
        self.is_own(&new_entries(), found)
    }

    fn is_own(&self, all: &HashMap<FileId, NewEntry>, found: &FileStamp) -> bool {
        let created = all.get(&found.id()).filter(|created| created.copy == Some(self.0));
        let is_own = created.is_some_and(|created| !created.is_shared && created.is(found));
        is_own && (found.kind() == EntryKind::Directory || !found.has_other_names())
    }

    /// Removes the entry `name` if the copy created it and no other call wrote to it; a directory only if it is empty.
    /// TOCTOU: as [`NewFile::remove`].
    pub fn remove(&self, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let all = new_entries();
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
        let mut all = new_entries();
        all.retain(|_, new_entry| new_entry.copy != Some(self.0));
        all.shrink_to(MIN_CAPACITY);
    }
}

/// The capacity of the list, in entries, when few files are being created.
const MIN_CAPACITY: usize = 1 << 10;

/// Records that an existing file was opened for writing, so that the call that is creating it keeps it.
pub fn mark_shared(file: FileId) {
    if let Some(new_entry) = new_entries().get_mut(&file) {
        new_entry.is_shared = true;
    }
}

fn new_entries() -> MutexGuard<'static, HashMap<FileId, NewEntry>> {
    NEW_ENTRIES.lock().ignore_poison()
}
