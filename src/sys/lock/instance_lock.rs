//! Other copies of this library in the same process, as npm installs them for two dependents.
//!
//! A library that keeps its locks by process, as SQLite does, takes a second copy of itself for nobody: neither sees
//! the other's locks, and closing a file drops both's. So copies take turns. Each tells that it is there by a lock on a
//! byte of its own in a file, and enters by a lock on a byte of the process: shared as long as it is the only copy,
//! exclusive once it is not. The locks belong to open files, which is why copies see each other's.

use super::file_lock;
use super::record_lock::{EXCLUSIVE, SHARED, has_record_lock, try_lock_record, unlock_record};
use crate::error::{Error, Result};
use crate::sys::Dir;
use crate::sys::process::identity::{ThisProcess, this_process};
use nix::errno::Errno;
use nix::libc::off_t;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Each process has so many bytes (in powers of two); the lower half tells of copies, the upper one is the turn.
const BYTES_OF_A_PROCESS: u32 = 40;

/// So many processes (in powers of two) have their bytes in the file.
const PROCESSES: u32 = 22;

const TURN: off_t = 1 << (BYTES_OF_A_PROCESS - 1);

/// Tells the copies of this library apart by where they were loaded; addresses that close are of one of them.
const CLOSE: u32 = 12;

/// How long a copy pauses before it looks again whether it may enter: others are in for a moment only.
const PAUSE: Duration = Duration::from_micros(300);

/// One of perhaps several copies of this library.
#[derive(Debug)]
pub struct AddonInstance {
    file: File,
    path: PathBuf,
    /// The first byte of this process, and the one of this copy.
    process: off_t,
    own: off_t,
    /// How many of this copy are in while it is the only one.
    entered: Mutex<usize>,
    dir: Arc<Dir>,
    entry: &'static str,
}

impl AddonInstance {
    /// Tells others that this copy is there, until it is dropped, by a file that all of them use, and that nothing else
    /// is locked by: some file systems make a lock of all its bytes from one of the whole file. None where there are no
    /// such locks, and so nobody can be told.
    pub fn announce(dir: &Arc<Dir>, entry: &'static str) -> Result<Option<Arc<Self>>> {
        static HERE: u8 = 0;
        let this = this_process().map_err(|error| Error::file_system("open", "/proc/self/stat", error))?;
        let process = first_byte_of(&this);
        let own = process + ((&raw const HERE as usize >> CLOSE) as off_t % TURN);
        let file = File::from(dir.open_or_create_file(entry)?);
        let (dir, path) = (dir.clone(), dir.path_of(entry));
        let copy =
            AddonInstance { file, path: path.clone(), process, own, entered: Mutex::new(0), dir, entry };
        match try_lock_record(&copy.file, SHARED, copy.own, 1) {
            Err(error) if are_missing(&error) => Ok(None),
            locked => {
                locked.map(|_| Some(Arc::new(copy))).map_err(|error| Error::file_system("fcntl", path, error))
            }
        }
    }

    /// Whether there are others.
    pub fn has_others(&self) -> Result<bool> {
        let others = |start, end| {
            let length = end - start;
            Ok(length > 0 && has_record_lock(&self.file, EXCLUSIVE, start, length)?)
        };
        let found = others(self.process, self.own)
            .and_then(|found| Ok(found || others(self.own + 1, self.process + TURN)?));
        found.map_err(|error| self.failed(error))
    }

    /// Keeps the others out until what this gives is dropped; none where they were in all the while.
    pub fn enter(self: &Arc<Self>, wait: Duration) -> Result<Option<InstanceTurn>> {
        let enter = || match self.enter_as_the_only_one()? {
            true => Ok(Some(InstanceTurn { copy: self.clone(), among_others: None })),
            false => self.enter_among_others(),
        };
        file_lock::attempt(wait, PAUSE, || Ok(()), enter)
    }

    fn enter_as_the_only_one(&self) -> Result<bool> {
        let mut entered = self.entered.lock().unwrap_or_else(PoisonError::into_inner);
        if *entered == 0 {
            let locked = try_lock_record(&self.file, SHARED, self.process + TURN, 1);
            if !locked.map_err(|error| self.failed(error))? {
                return Ok(false);
            }
        }
        *entered += 1;
        drop(entered);
        // Whoever comes now finds this copy in.
        let found = self.has_others();
        if !matches!(found, Ok(false)) {
            self.leave();
        }
        found.map(|found| !found)
    }

    /// By a file of its own, so that the threads of this copy take turns as well: none of them may hold the others up.
    fn enter_among_others(self: &Arc<Self>) -> Result<Option<InstanceTurn>> {
        let file = File::from(self.dir.open_or_create_file(self.entry)?);
        let locked = try_lock_record(&file, EXCLUSIVE, self.process + TURN, 1);
        let locked = locked.map_err(|error| self.failed(error))?;
        Ok(locked.then(|| InstanceTurn { copy: self.clone(), among_others: Some(file) }))
    }

    fn leave(&self) {
        let mut entered = self.entered.lock().unwrap_or_else(PoisonError::into_inner);
        *entered -= 1;
        if *entered == 0 {
            let _closing_the_file_would = unlock_record(&self.file, self.process + TURN, 1);
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::file_system("fcntl", &self.path, error)
    }
}

/// Where the bytes of a process begin. Copies that were built at different times agree on it.
fn first_byte_of(process: &ThisProcess) -> off_t {
    let ThisProcess { pid_namespace, pid, start_time } = *process;
    // FNV-1a, of 64 bits.
    let bytes = [pid_namespace, pid.into(), start_time].into_iter().flat_map(u64::to_le_bytes);
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, mix);
    ((hash >> (u64::BITS - PROCESSES)) << BYTES_OF_A_PROCESS) as off_t
}

fn are_missing(error: &io::Error) -> bool {
    let missing = [Errno::EINVAL, Errno::ENOLCK, Errno::ENOSYS];
    missing.into_iter().any(|errno| error.raw_os_error() == Some(errno as i32))
}

/// A copy's turn.
#[derive(Debug)]
pub struct InstanceTurn {
    copy: Arc<AddonInstance>,
    among_others: Option<File>,
}

impl Drop for InstanceTurn {
    fn drop(&mut self) {
        match &self.among_others {
            // Closing it alone would leave the lock to a child process that has it open for another moment.
            Some(file) => drop(unlock_record(file, self.copy.process + TURN, 1)),
            None => self.copy.leave(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copies() -> (tempfile::TempDir, [Arc<AddonInstance>; 2]) {
        let home = tempfile::tempdir().unwrap();
        let dir = Arc::new(Dir::open_or_create_ambient(home.path()).unwrap());
        let copy = |distance| {
            let mut copy =
                Arc::into_inner(AddonInstance::announce(&dir, "copies").unwrap().unwrap()).unwrap();
            unlock_record(&copy.file, copy.own, 1).unwrap();
            copy.own += distance;
            try_lock_record(&copy.file, SHARED, copy.own, 1).unwrap();
            Arc::new(copy)
        };
        let copies = [copy(0), copy(7)];
        (home, copies)
    }

    #[test]
    fn the_only_copy_enters_as_often_as_it_likes() {
        let (_home, [one, other]) = copies();
        assert!(one.has_others().unwrap() && other.has_others().unwrap());
        drop(other);
        assert!(!one.has_others().unwrap());
        let both = [one.enter(Duration::ZERO).unwrap(), one.enter(Duration::ZERO).unwrap()];
        assert!(both.iter().all(Option::is_some));
    }

    #[test]
    fn of_two_copies_one_is_in_at_a_time() {
        let (_home, [one, other]) = copies();
        for (first, second) in [(&one, &other), (&other, &one), (&one, &one)] {
            let entered = first.enter(Duration::ZERO).unwrap();
            assert!(entered.is_some() && second.enter(Duration::ZERO).unwrap().is_none());
            drop(entered);
            assert!(second.enter(Duration::ZERO).unwrap().is_some());
        }
    }

    #[test]
    fn processes_with_one_number_are_told_apart_by_their_name_space_and_start() {
        let one = ThisProcess { pid_namespace: 4_026_532_001, pid: 1, start_time: 500 };
        let others = [
            ThisProcess { pid_namespace: 4_026_532_002, ..one },
            ThisProcess { start_time: 501, ..one },
            ThisProcess { pid: 2, ..one },
        ];
        assert!(others.iter().all(|other| first_byte_of(other) != first_byte_of(&one)));
        for process in [one, this_process().unwrap()] {
            let end = first_byte_of(&process).checked_add(TURN * 2);
            assert!(end.is_some() && first_byte_of(&process) >= 0);
        }
    }

    #[test]
    fn one_that_entered_alone_is_waited_for_by_one_that_comes() {
        let (_home, [one, other]) = copies();
        unlock_record(&other.file, other.own, 1).unwrap();
        let alone = one.enter(Duration::ZERO).unwrap();
        try_lock_record(&other.file, SHARED, other.own, 1).unwrap();
        assert!(alone.is_some() && other.enter(Duration::ZERO).unwrap().is_none());
        drop(alone);
        assert!(other.enter(Duration::ZERO).unwrap().is_some());
    }
}
