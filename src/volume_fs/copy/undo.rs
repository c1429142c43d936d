//! Removing what a copy of a directory made, and nothing that others put there.

use crate::sys::{
    EntryKind, EntryReader, FileId, FileStamp, open_subdirectory, regain_access, regain_access_to,
    remove_directory,
};
use crate::volume_fs::dir_from;
use crate::volume_fs::new_file::CopyRecord;
use crate::volume_fs::walk::cursor::{DirCursor, DirPos};
use cap_std::fs::Dir;
use nix::errno::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The top directory of a copy that made it.
#[derive(Debug)]
pub struct Top {
    pub holder: OwnedFd,
    pub name: OsString,
    pub id: FileId,
}

/// What is left to do, the last first.
enum Task {
    /// A directory of `holder` is to be emptied.
    Visit { holder: DirPos, name: OsString },
    /// It is to be removed if it is empty.
    Leave { holder: DirPos, name: OsString },
}

impl Top {
    /// Removes what the copy made in the directory, and the directory itself if it still has its name and is empty then.
    /// What cannot be removed stays: the error that led here says more.
    pub fn undo(&self, record: &CopyRecord) {
        let holder = self.holder.as_fd();
        let is_it = || FileStamp::at(holder, &self.name).is_ok_and(|found| found.id() == self.id);
        let open = || open_subdirectory(holder, Path::new(&self.name));
        let top = match is_it() {
            true => with_access(holder, &self.name, open),
            false => return,
        };
        let Some(top) = top.ok().filter(|top| FileId::of_open(top.as_fd()).ok() == Some(self.id)) else {
            return;
        };
        let mut undo = Undo { record, way: DirCursor::new(dir_from(top)), tasks: Vec::new() };
        let _what_is_left_stays = undo.empty(DirPos::default());
        while let Some(task) = undo.tasks.pop() {
            match task {
                Task::Visit { holder, name } => drop(undo.visit(&holder, &name)),
                Task::Leave { holder, name } => drop(undo.leave(&holder, &name)),
            }
        }
        if is_it() {
            let _not_empty = remove_directory(holder, &self.name);
        }
    }
}

struct Undo<'r> {
    record: &'r CopyRecord,
    way: DirCursor<Dir>,
    tasks: Vec<Task>,
}

impl Undo<'_> {
    fn visit(&mut self, holder: &DirPos, name: &OsStr) -> io::Result<()> {
        let above = self.way.open(holder)?;
        let found = FileStamp::at(above.as_fd(), name)?;
        if found.kind() != EntryKind::Directory || !self.record.has_made(&found) {
            return Ok(());
        }
        with_access(above.as_fd(), name, || open_subdirectory(above.as_fd(), Path::new(name)))?;
        self.empty(holder.child(name))
    }

    /// Removes what the copy made in a directory, except directories, which are visited first.
    fn empty(&mut self, spot: DirPos) -> io::Result<()> {
        let dir = self.way.open(&spot)?;
        let children = self.way.anchor_below(spot, &dir);
        for entry in EntryReader::of(dir.as_fd())? {
            let (name, kind) = entry?;
            if kind.is_none_or(|kind| kind == EntryKind::Directory) {
                self.tasks.push(Task::Leave { holder: children.clone(), name: name.clone() });
                self.tasks.push(Task::Visit { holder: children.clone(), name });
            } else {
                let _left = self.remove(&dir, &name);
            }
        }
        Ok(())
    }

    fn leave(&mut self, holder: &DirPos, name: &OsStr) -> io::Result<()> {
        let above = self.way.open(holder)?;
        self.remove(&above, name)
    }

    /// Removes an entry, also from a directory that got its final mode already.
    fn remove(&self, dir: &Dir, name: &OsStr) -> io::Result<()> {
        match self.record.remove(dir.as_fd(), name) {
            Err(error) if is_lack_of_access(&error) && regain_access(dir.as_fd()).is_ok() => {
                self.record.remove(dir.as_fd(), name)
            }
            removed => removed,
        }
    }
}

/// Runs a step on the directory `name` of `holder`, and again with the rights of its owner, whom its final mode may keep
/// out.
fn with_access<T>(holder: BorrowedFd<'_>, name: &OsStr, step: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match step() {
        Err(error) if is_lack_of_access(&error) => {
            regain_access_to(holder, Path::new(name)).map_err(|_| error)?;
            step()
        }
        result => result,
    }
}

fn is_lack_of_access(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EACCES as i32)
}
