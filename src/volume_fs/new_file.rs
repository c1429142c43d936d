//! Files that a call creates, and removes if it fails. A file that another call opened for writing belongs to both
//! calls: removing it would lose what the other call wrote.

use crate::sync::IgnorePoison;
use crate::sys::fd::{BorrowedFd, OwnedFd};
use crate::sys::{EntryKind, FileId, FileStat, open_o_path, remove_directory, stat_at, unlink_entry};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};

/// The files that this process is creating.
static NEW_ENTRIES: LazyLock<Mutex<HashMap<FileId, NewEntry>>> = LazyLock::new(Mutex::default);

/// The entries that calls open while other calls are between creating an entry and registering it. Locked after
/// [`NEW_ENTRIES`].
static EARLY_SHARES: LazyLock<Mutex<EarlyShares>> = LazyLock::new(Mutex::default);

#[derive(Debug, Default)]
struct EarlyShares {
    /// How many creations are not registered yet.
    creations: usize,
    shared: HashSet<FileId>,
    /// Whether there were more than [`MAX_EARLY_SHARES`]. Then each entry that is registered counts as shared.
    is_full: bool,
}

/// How many early shares are remembered. Each takes about 20 bytes of memory.
const MAX_EARLY_SHARES: usize = 1 << 12;

/// The creation of an entry, from before the system call until the entry is registered.
///
/// TOCTOU: another call may open the entry before it is registered, and must be able to say so.
#[derive(Debug)]
pub struct Creation(());

impl Creation {
    /// Begins the creation of an entry.
    pub fn begin() -> Self {
        early_shares().creations += 1;
        Creation(())
    }

    /// Returns whether another call opened the entry since it was created.
    fn is_shared(&self, file: FileId) -> bool {
        let early = early_shares();
        early.is_full || early.shared.contains(&file)
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        let mut early = early_shares();
        early.creations -= 1;
        if early.creations == 0 {
            early.shared.clear();
            early.is_full = false;
        }
    }
}

fn early_shares() -> MutexGuard<'static, EarlyShares> {
    EARLY_SHARES.lock().ignore_poison()
}

/// A file that a call is creating, or an entry of a copy in progress.
#[derive(Clone, Copy, Debug)]
struct NewEntry {
    /// See [`FileStat::born_ns`].
    born: u64,
    /// Whether another call opened the file for writing.
    is_shared: bool,
    /// The copy that the entry belongs to.
    copy: Option<CopyId>,
}

impl NewEntry {
    fn is(&self, found: &FileStat) -> bool {
        self.born == found.born_ns()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CopyId(u32);

/// A file that a call created and has not completed.
#[derive(Debug)]
pub struct NewFile(FileId);

impl NewFile {
    /// Registers a file that was just created.
    pub fn of(creation: &Creation, file: BorrowedFd<'_>) -> io::Result<Self> {
        let found = FileStat::of(file)?;
        let mut all = new_entries();
        let is_shared = creation.is_shared(found.id());
        let new_entry = NewEntry { born: found.born_ns(), is_shared, copy: None };
        match all.entry(found.id()) {
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
        // The original error says more than an error of the cleanup.
        let _removed = self.unlink(dir, name);
    }

    /// Removes the entry like [`NewFile::remove`]. Returns a descriptor of what was there: the file system frees the
    /// blocks of a removed file when the caller drops it, without the lock.
    fn unlink(&self, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<OwnedFd>> {
        let delay = delay_freeing(dir, name);
        // Held until the file is removed: a call that opens it later sees that it has no name left.
        let all = new_entries();
        // TOCTOU: a guest or another process may put another file there between the check and the removal. No system
        // call removes an entry only if it is a certain file. Renaming the entry to check it would make it disappear
        // for that time.
        let is_it = |created: &NewEntry| {
            stat_at(dir, name).is_ok_and(|found| found.id() == self.0 && created.is(&found))
        };
        if all.get(&self.0).is_some_and(|created| !created.is_shared && is_it(created)) {
            unlink_entry(dir, name)?;
        }
        Ok(delay)
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
/// takes about 80 bytes of memory until the copy is over.
#[derive(Debug)]
pub struct CopyRecord {
    id: CopyId,
    /// The entries that were added, so that the end of the copy visits no entry of another copy.
    entries: Mutex<Vec<FileId>>,
}

impl CopyRecord {
    /// Creates the record of a copy that begins.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = CopyId(NEXT.fetch_add(1, Ordering::Relaxed));
        CopyRecord { id, entries: Mutex::default() }
    }

    /// Adds a file that the copy completed.
    pub fn add_file(&self, file: &NewFile) {
        if let Some(new_entry) = new_entries().get_mut(&file.0) {
            new_entry.copy = Some(self.id);
            self.entries().push(file.0);
        }
    }

    /// Adds a directory or link that the copy just created. Leaves out an entry of another kind that replaced it since.
    pub fn add_entry(&self, creation: &Creation, dir: BorrowedFd<'_>, name: &OsStr, kind: EntryKind) {
        if let Ok(found) = stat_at(dir, name)
            && found.kind() == kind
        {
            let mut all = new_entries();
            let is_shared = creation.is_shared(found.id());
            all.insert(found.id(), NewEntry { born: found.born_ns(), is_shared, copy: Some(self.id) });
            drop(all);
            self.entries().push(found.id());
        }
    }

    /// Returns whether the copy created the entry that was found, also if another call shares it.
    pub fn has_created(&self, found: &FileStat) -> bool {
        self.created(&new_entries(), found).is_some()
    }

    fn created(&self, all: &HashMap<FileId, NewEntry>, found: &FileStat) -> Option<NewEntry> {
        let created = all.get(&found.id()).copied();
        created.filter(|created| created.copy == Some(self.id) && created.is(found))
    }

    fn entries(&self) -> MutexGuard<'_, Vec<FileId>> {
        self.entries.lock().ignore_poison()
    }

    fn is_own(&self, all: &HashMap<FileId, NewEntry>, found: &FileStat) -> bool {
        let is_own = self.created(all, found).is_some_and(|created| !created.is_shared);
        is_own && (found.kind() == EntryKind::Directory || !found.has_other_names())
    }

    /// Removes the entry `name` if the copy created it and no other call wrote to it; a directory only if it is empty.
    /// TOCTOU: as [`NewFile::remove`].
    pub fn remove(&self, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        self.unlink(dir, name).map(drop)
    }

    /// Removes the entry like [`CopyRecord::remove`]. Returns what [`NewFile::unlink`] returns.
    fn unlink(&self, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<OwnedFd>> {
        let delay = delay_freeing(dir, name);
        let all = new_entries();
        let found = stat_at(dir, name)?;
        match (self.is_own(&all, &found), found.kind()) {
            (false, _) => {}
            (true, EntryKind::Directory) => remove_directory(dir, name)?,
            (true, _) => unlink_entry(dir, name)?,
        }
        Ok(delay)
    }
}

impl Drop for CopyRecord {
    fn drop(&mut self) {
        let entries = mem::take(&mut *self.entries());
        for batch in entries.chunks(MAX_FORGOTTEN) {
            let mut all = new_entries();
            for entry in batch {
                if let Entry::Occupied(created) = all.entry(*entry)
                    && created.get().copy == Some(self.id)
                {
                    created.remove();
                }
            }
            // Shrinking moves every entry, so it waits until few are left.
            if all.len() < all.capacity() / 4 {
                let capacity = (all.len() * 2).max(MIN_CAPACITY);
                all.shrink_to(capacity);
            }
        }
    }
}

/// The capacity of the list, in entries, when few files are being created.
const MIN_CAPACITY: usize = 1 << 10;

/// How many entries the end of a copy takes out of the list while it holds the lock.
const MAX_FORGOTTEN: usize = 1 << 10;

/// Records that an existing file was opened for writing, or an existing directory was asked for, so that the call
/// that is creating it keeps it.
pub fn mark_shared(file: FileId) {
    let mut all = new_entries();
    if let Some(new_entry) = all.get_mut(&file) {
        new_entry.is_shared = true;
    }
    let mut early = early_shares();
    if early.creations > 0 && early.shared.len() < MAX_EARLY_SHARES {
        early.shared.insert(file);
    } else if early.creations > 0 {
        early.is_full = true;
    }
}

/// Opens an entry that is about to be removed under the lock. Freeing the extents of a large file takes seconds, for
/// which every write of the process would wait. The file system frees none while the file is open. Returns `None` if
/// there is no such entry, or no descriptor left.
fn delay_freeing(dir: BorrowedFd<'_>, name: &OsStr) -> Option<OwnedFd> {
    open_o_path(dir, name).ok().map(|(file, _)| file)
}

fn new_entries() -> MutexGuard<'static, HashMap<FileId, NewEntry>> {
    NEW_ENTRIES.lock().ignore_poison()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test plays the guest")]
mod tests {
    use super::*;
    use crate::sys::ext::MetadataExt;
    use crate::sys::fd::AsFd;
    use std::fs::{self, File};
    use std::path::Path;

    /// Whether the file system still has the file, though no entry leads to it.
    fn is_kept_without_name(file: &Option<OwnedFd>) -> bool {
        let file = File::from(file.as_ref().unwrap().try_clone().unwrap()).metadata().unwrap();
        file.nlink() == 0
    }

    #[test]
    fn what_a_removed_file_holds_is_freed_without_the_lock() {
        let home = tempfile::tempdir().unwrap();
        let dir = File::open(home.path()).unwrap();
        let (dir, path, record) = (dir.as_fd(), home.path(), CopyRecord::new());
        let make =
            |name| NewFile::of(&Creation::begin(), File::create(path.join(name)).unwrap().as_fd()).unwrap();
        let failed = make("failed");
        record.add_file(&make("copied"));
        fs::create_dir(path.join("dir")).unwrap();
        record.add_entry(&Creation::begin(), dir, OsStr::new("dir"), EntryKind::Directory);
        let removed = [
            failed.unlink(dir, OsStr::new("failed")).unwrap(),
            record.unlink(dir, OsStr::new("copied")).unwrap(),
            record.unlink(dir, OsStr::new("dir")).unwrap(),
        ];
        assert_eq!(fs::read_dir(path).unwrap().count(), 0);
        assert!(removed.iter().all(is_kept_without_name));
        // Before the inode is freed: a file of another test may get its number.
        drop(failed);
    }

    #[test]
    fn what_another_call_opens_before_it_is_registered_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let dir = File::open(home.path()).unwrap();
        let (dir, path) = (dir.as_fd(), home.path());
        let record = CopyRecord::new();
        let opened = |path: &Path| mark_shared(FileId::of_open(File::open(path).unwrap().as_fd()).unwrap());

        let creation = Creation::begin();
        let file = File::create(path.join("file")).unwrap();
        opened(&path.join("file"));
        let new = NewFile::of(&creation, file.as_fd()).unwrap();
        fs::create_dir(path.join("dir")).unwrap();
        opened(&path.join("dir"));
        record.add_entry(&creation, dir, OsStr::new("dir"), EntryKind::Directory);
        drop(creation);
        new.remove(dir, OsStr::new("file"));
        record.remove(dir, OsStr::new("dir")).unwrap();
        assert!(path.join("file").exists() && path.join("dir").exists());
    }

    #[test]
    fn a_copy_that_is_over_leaves_the_entries_of_another() {
        let home = tempfile::tempdir().unwrap();
        let dir = File::open(home.path()).unwrap();
        let (dir, [over, other]) = (dir.as_fd(), [CopyRecord::new(), CopyRecord::new()]);
        let mut found = Vec::new();
        for at in 0..MAX_FORGOTTEN * 3 {
            let name = format!("{at}");
            let file = File::create(home.path().join(&name)).unwrap();
            let record = if at % 2 == 0 { &over } else { &other };
            record.add_file(&NewFile::of(&Creation::begin(), file.as_fd()).unwrap());
            found.push(stat_at(dir, OsStr::new(&name)).unwrap());
        }
        let id = over.id;
        drop(over);
        assert!(new_entries().values().all(|created| created.copy != Some(id)));
        assert!(found.iter().skip(1).step_by(2).all(|found| other.has_created(found)));
    }
}
