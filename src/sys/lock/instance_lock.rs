//! Excludes other instances of the addon in the same process: npm installs one for each of two dependents.
//!
//! SQLite's locks belong to the process. Two instances of SQLite in one process do not see each other's locks, and
//! closing a file releases the locks of both. So the instances exclude each other by locks in a file.
//!
//! Each instance announces itself by a lock on a byte of its own. It enters by a lock on the turn byte of the process:
//! a shared lock if it is the only instance, else an exclusive one. These locks belong to open file descriptions, so
//! instances of one process see each other's.

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

/// The logarithm to base 2 of the bytes per process. The lower half announces instances, the upper half has the turn
/// byte.
const LOG2_BYTES_PER_PROCESS: u32 = 40;

/// The logarithm to base 2 of how many processes have bytes in the file.
const LOG2_PROCESSES: u32 = 22;

/// The offset of the turn byte in the bytes of a process.
const TURN_BYTE: off_t = 1 << (LOG2_BYTES_PER_PROCESS - 1);

/// The logarithm to base 2 of a page's bytes. Instances are identified by the page of one of their statics.
const LOG2_PAGE_BYTES: u32 = 12;

/// The longest pause between two attempts to enter. Other instances stay for a short time only.
const MAX_PAUSE: Duration = Duration::from_micros(300);

/// This instance of the addon. The process may have several.
#[derive(Debug)]
pub struct AddonInstance {
    file: File,
    path: PathBuf,
    /// The first byte of this process.
    process: off_t,
    /// The byte of this instance.
    own: off_t,
    /// How many threads of this instance have entered while it is the only one.
    entered: Mutex<usize>,
    dir: Arc<Dir>,
    entry: &'static str,
}

impl AddonInstance {
    /// Announces this instance to the others until it is dropped. Returns `None` if the file system has no such locks.
    ///
    /// All instances use the same file `entry`, which serves no other lock: some file systems turn a lock on the whole
    /// file into record locks on all of its bytes.
    pub fn announce(dir: &Arc<Dir>, entry: &'static str) -> Result<Option<Arc<Self>>> {
        static HERE: u8 = 0;
        let this = this_process()?;
        let process = first_byte_of(&this);
        let own = process + ((&raw const HERE as usize >> LOG2_PAGE_BYTES) as off_t % TURN_BYTE);
        let file = File::from(dir.open_or_create_file(entry)?);
        let (dir, path) = (dir.clone(), dir.path_of(entry));
        let instance =
            AddonInstance { file, path: path.clone(), process, own, entered: Mutex::new(0), dir, entry };
        match try_lock_record(&instance.file, SHARED, instance.own, 1) {
            Err(error) if is_unsupported(&error) => Ok(None),
            locked => locked
                .map(|_| Some(Arc::new(instance)))
                .map_err(|error| Error::file_system("fcntl", path, error)),
        }
    }

    /// Reports whether this process has other instances.
    pub fn has_others(&self) -> Result<bool> {
        let others = |start, end| {
            let length = end - start;
            Ok(length > 0 && has_record_lock(&self.file, EXCLUSIVE, start, length)?)
        };
        let found = others(self.process, self.own)
            .and_then(|found| Ok(found || others(self.own + 1, self.process + TURN_BYTE)?));
        found.map_err(|error| self.io_error(error))
    }

    /// Excludes the other instances until the guard is dropped. Returns `None` if one of them is still in after `wait`.
    pub fn enter(self: &Arc<Self>, wait: Duration) -> Result<Option<InstanceGuard>> {
        let enter = || match self.try_enter_alone()? {
            true => Ok(Some(InstanceGuard { instance: self.clone(), exclusive: None })),
            false => self.try_enter_exclusively(),
        };
        file_lock::retry(wait, MAX_PAUSE, || Ok(()), enter)
    }

    /// Enters with a shared lock. Returns `false` if there are other instances.
    fn try_enter_alone(&self) -> Result<bool> {
        let mut entered = self.entered.lock().unwrap_or_else(PoisonError::into_inner);
        if *entered == 0 {
            let locked = try_lock_record(&self.file, SHARED, self.process + TURN_BYTE, 1);
            if !locked.map_err(|error| self.io_error(error))? {
                return Ok(false);
            }
        }
        *entered += 1;
        drop(entered);
        // TOCTOU: an instance that announces itself from now on finds the turn byte locked.
        let found = self.has_others();
        if !matches!(found, Ok(false)) {
            self.leave();
        }
        found.map(|found| !found)
    }

    /// Enters with an exclusive lock. Opens the file again, so that the threads of this instance exclude each other too:
    /// together they must not keep the other instances out for long.
    fn try_enter_exclusively(self: &Arc<Self>) -> Result<Option<InstanceGuard>> {
        let file = File::from(self.dir.open_or_create_file(self.entry)?);
        let locked = try_lock_record(&file, EXCLUSIVE, self.process + TURN_BYTE, 1);
        let locked = locked.map_err(|error| self.io_error(error))?;
        Ok(locked.then(|| InstanceGuard { instance: self.clone(), exclusive: Some(file) }))
    }

    fn leave(&self) {
        let mut entered = self.entered.lock().unwrap_or_else(PoisonError::into_inner);
        *entered -= 1;
        if *entered == 0 {
            let _closing_the_file_would = unlock_record(&self.file, self.process + TURN_BYTE, 1);
        }
    }

    fn io_error(&self, error: io::Error) -> Error {
        Error::file_system("fcntl", &self.path, error)
    }
}

/// Returns the first byte of a process. The algorithm never changes: instances of different versions must agree.
fn first_byte_of(process: &ThisProcess) -> off_t {
    let ThisProcess { pid_namespace, pid, start_time } = *process;
    // FNV-1a with 64 bits.
    let bytes = [pid_namespace, pid.into(), start_time].into_iter().flat_map(u64::to_le_bytes);
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, mix);
    ((hash >> (u64::BITS - LOG2_PROCESSES)) << LOG2_BYTES_PER_PROCESS) as off_t
}

fn is_unsupported(error: &io::Error) -> bool {
    let unsupported = [Errno::EINVAL, Errno::ENOLCK, Errno::ENOSYS];
    unsupported.into_iter().any(|errno| error.raw_os_error() == Some(errno as i32))
}

/// Excludes the other instances until it is dropped.
#[derive(Debug)]
pub struct InstanceGuard {
    instance: Arc<AddonInstance>,
    /// The file with the exclusive lock. `None` if the instance entered alone.
    exclusive: Option<File>,
}

impl Drop for InstanceGuard {
    fn drop(&mut self) {
        match &self.exclusive {
            // Closing alone would leave the lock to a child process that has not yet called execve(2).
            Some(file) => drop(unlock_record(file, self.instance.process + TURN_BYTE, 1)),
            None => self.instance.leave(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instances() -> (tempfile::TempDir, [Arc<AddonInstance>; 2]) {
        let home = tempfile::tempdir().unwrap();
        let dir = Arc::new(Dir::open_or_create_ambient(home.path()).unwrap());
        let instance = |distance| {
            let mut instance =
                Arc::into_inner(AddonInstance::announce(&dir, "instances").unwrap().unwrap()).unwrap();
            unlock_record(&instance.file, instance.own, 1).unwrap();
            instance.own += distance;
            try_lock_record(&instance.file, SHARED, instance.own, 1).unwrap();
            Arc::new(instance)
        };
        let instances = [instance(0), instance(7)];
        (home, instances)
    }

    #[test]
    fn the_only_instance_enters_any_number_of_times() {
        let (_home, [one, other]) = instances();
        assert!(one.has_others().unwrap() && other.has_others().unwrap());
        drop(other);
        assert!(!one.has_others().unwrap());
        let both = [one.enter(Duration::ZERO).unwrap(), one.enter(Duration::ZERO).unwrap()];
        assert!(both.iter().all(Option::is_some));
    }

    #[test]
    fn of_two_instances_one_is_in_at_a_time() {
        let (_home, [one, other]) = instances();
        for (first, second) in [(&one, &other), (&other, &one), (&one, &one)] {
            let entered = first.enter(Duration::ZERO).unwrap();
            assert!(entered.is_some() && second.enter(Duration::ZERO).unwrap().is_none());
            drop(entered);
            assert!(second.enter(Duration::ZERO).unwrap().is_some());
        }
    }

    #[test]
    fn processes_with_one_pid_differ_by_their_namespace_and_start_time() {
        let one = ThisProcess { pid_namespace: 4_026_532_001, pid: 1, start_time: 500 };
        let others = [
            ThisProcess { pid_namespace: 4_026_532_002, ..one },
            ThisProcess { start_time: 501, ..one },
            ThisProcess { pid: 2, ..one },
        ];
        assert!(others.iter().all(|other| first_byte_of(other) != first_byte_of(&one)));
        for process in [one, this_process().unwrap()] {
            let end = first_byte_of(&process).checked_add(TURN_BYTE * 2);
            assert!(end.is_some() && first_byte_of(&process) >= 0);
        }
    }

    #[test]
    fn a_new_instance_waits_for_one_that_entered_alone() {
        let (_home, [one, other]) = instances();
        unlock_record(&other.file, other.own, 1).unwrap();
        let alone = one.enter(Duration::ZERO).unwrap();
        try_lock_record(&other.file, SHARED, other.own, 1).unwrap();
        assert!(alone.is_some() && other.enter(Duration::ZERO).unwrap().is_none());
        drop(alone);
        assert!(other.enter(Duration::ZERO).unwrap().is_some());
    }
}
