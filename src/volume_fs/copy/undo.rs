//! Removes what a copy of a directory created, and nothing that other processes added.

use crate::error::Errno;
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::{
    EntryKind, EntryReader, FileId, open_subdirectory, regain_access, regain_access_to, stat_at,
};
use crate::volume_fs::dir_from;
use crate::volume_fs::new_file::CopyRecord;
use crate::volume_fs::walk::cursor::{DirCursor, DirPos};
use cap_std::fs::Dir;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

/// The top directory of a copy, which the copy created.
#[derive(Debug)]
pub struct CreatedTop {
    pub parent: OwnedFd,
    pub name: OsString,
    pub id: FileId,
}

/// The tasks that are left, the last first.
enum Task {
    /// Empties a directory of `parent`.
    Empty { parent: DirPos, name: OsString },
    /// Removes a directory of `parent` if it is empty.
    RemoveDir { parent: DirPos, name: OsString },
}

impl CreatedTop {
    /// Removes what the copy created in the directory. Then removes the directory itself if it still has its name,
    /// is empty, and no other call shares it. Ignores entries that cannot be removed: the original error says more.
    pub fn undo(&self, record: &CopyRecord) {
        let parent = self.parent.as_fd();
        let is_it = || stat_at(parent, &self.name).is_ok_and(|found| found.id() == self.id);
        let open = || open_subdirectory(parent, Path::new(&self.name));
        let top = match is_it() {
            true => with_access(parent, &self.name, open),
            false => return,
        };
        let Some(top) = top.ok().filter(|top| FileId::of_open(top.as_fd()).ok() == Some(self.id)) else {
            return;
        };
        let mut undo = Undo { record, cursor: DirCursor::new(dir_from(top)), tasks: Vec::new() };
        let _ignored = undo.empty(DirPos::default());
        while let Some(task) = undo.tasks.pop() {
            match task {
                Task::Empty { parent, name } => drop(undo.empty_child(&parent, &name)),
                Task::RemoveDir { parent, name } => drop(undo.remove_dir(&parent, &name)),
            }
        }
        if is_it() {
            let _not_empty = record.remove(parent, &self.name);
        }
    }
}

struct Undo<'r> {
    record: &'r CopyRecord,
    cursor: DirCursor<Dir>,
    tasks: Vec<Task>,
}

impl Undo<'_> {
    fn empty_child(&mut self, parent: &DirPos, name: &OsStr) -> io::Result<()> {
        let above = self.cursor.open(parent)?;
        let found = stat_at(above.as_fd(), name)?;
        if found.kind() != EntryKind::Directory || !self.record.has_created(&found) {
            return Ok(());
        }
        with_access(above.as_fd(), name, || open_subdirectory(above.as_fd(), Path::new(name)))?;
        self.empty(parent.child(name))
    }

    /// Removes what the copy created in a directory. Subdirectories are queued, to be emptied before they are removed.
    fn empty(&mut self, pos: DirPos) -> io::Result<()> {
        let dir = self.cursor.open(&pos)?;
        let children = self.cursor.anchor_below(pos, &dir);
        for entry in EntryReader::of(dir.as_fd())? {
            let (name, kind) = entry?;
            if kind.is_none_or(|kind| kind == EntryKind::Directory) {
                self.tasks.push(Task::RemoveDir { parent: children.clone(), name: name.clone() });
                self.tasks.push(Task::Empty { parent: children.clone(), name });
            } else {
                let _left = self.remove(&dir, &name);
            }
        }
        Ok(())
    }

    fn remove_dir(&mut self, parent: &DirPos, name: &OsStr) -> io::Result<()> {
        let above = self.cursor.open(parent)?;
        self.remove(&above, name)
    }

    /// Removes an entry, also from a directory that has its final mode already.
    fn remove(&self, dir: &Dir, name: &OsStr) -> io::Result<()> {
        match self.record.remove(dir.as_fd(), name) {
            Err(error) if is_lack_of_access(&error) && regain_access(dir.as_fd()).is_ok() => {
                self.record.remove(dir.as_fd(), name)
            }
            removed => removed,
        }
    }
}

/// Runs a step on the directory `name` of `parent`. Retries it with the owner's rights, which the directory's final
/// mode may lack.
fn with_access<T>(parent: BorrowedFd<'_>, name: &OsStr, step: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match step() {
        Err(error) if is_lack_of_access(&error) => {
            regain_access_to(parent, Path::new(name)).map_err(|_| error)?;
            step()
        }
        result => result,
    }
}

fn is_lack_of_access(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EACCES as i32)
}
