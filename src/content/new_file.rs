//! Files that a call makes, and removes again if it fails. Where another call opened one meanwhile to write it, it is not
//! that call's alone any more: what the other one was told is written must not go with it.

use crate::sys::{FileId, facts_at, unlink_entry};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// The files that this process is making, and whether another of its calls opened them to write.
static IN_THE_MAKING: LazyLock<Mutex<HashMap<FileId, bool>>> = LazyLock::new(Mutex::default);

/// A file that a call made and has not completed.
#[derive(Debug)]
pub struct NewFile(FileId);

impl NewFile {
    /// The one that was just made.
    pub fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        let id = FileId::of_open(file)?;
        // One that is there already was removed by somebody else, and its number given to this one.
        in_the_making().entry(id).and_modify(|is_shared| *is_shared = true).or_insert(false);
        Ok(NewFile(id))
    }

    /// Leaves it there, also if its call fails.
    pub fn share(&self) {
        in_the_making().insert(self.0, true);
    }

    /// Removes the entry of that name if it still is this file, and this file is nobody else's.
    pub fn remove(&self, dir: BorrowedFd<'_>, name: &OsStr) {
        // Held until it is removed: who opens it later finds that it has no name any more.
        let all = in_the_making();
        let is_ours_alone = all.get(&self.0).is_some_and(|is_shared| !is_shared);
        // TOCTOU: a guest or another process may put another file there between the look and the removal. No system
        // call removes an entry only if it is a certain file, and one that was moved aside to be looked at would be
        // missing meanwhile.
        if is_ours_alone && facts_at(dir, name).is_ok_and(|facts| facts.id() == self.0) {
            // The error that led here says more than one of cleaning up.
            let _removed = unlink_entry(dir, name);
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        in_the_making().remove(&self.0);
    }
}

/// Says that an existing file was opened to be written, so that the call that makes it, if one does, lets it be.
pub fn rely_on(file: FileId) {
    if let Some(is_shared) = in_the_making().get_mut(&file) {
        *is_shared = true;
    }
}

fn in_the_making() -> MutexGuard<'static, HashMap<FileId, bool>> {
    IN_THE_MAKING.lock().unwrap_or_else(PoisonError::into_inner)
}
