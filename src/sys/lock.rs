//! Advisory file locks (`flock`), always with a bound on the wait.

use super::{Dir, unique_token};
use crate::error::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a first retry waits; later ones back off, for locks to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// How often a new file may be taken for a leftover.
const ATTEMPTS: u32 = 100;

/// An exclusive lock, held until it is dropped or its process ends. It also excludes other threads of the
/// same process, for each acquisition opens the file anew.
#[derive(Debug)]
pub struct FileLock(Flock<OwnedFd>);

impl FileLock {
    /// Takes the lock if it is free at this moment.
    pub fn try_acquire(dir: &Dir, name: &str) -> Result<Option<Self>> {
        Self::lock(dir, name, dir.open_or_create_file(name)?)
    }

    /// Takes the lock of a file that stands there, if it is free at this moment.
    pub fn try_acquire_existing(dir: &Dir, name: &str) -> Result<Option<Self>> {
        let file = dir.open_existing_file(name)?;
        file.map_or(Ok(None), |file| Self::lock(dir, name, file))
    }

    /// Takes the lock, waiting at most `wait`; none when somebody held it all the while. `interrupted` is
    /// asked between attempts and ends the wait with its error.
    pub fn acquire(
        dir: &Dir,
        name: &str,
        wait: Duration,
        mut interrupted: impl FnMut() -> Result<()>,
    ) -> Result<Option<Self>> {
        attempt(wait, LONGEST_PAUSE, &mut interrupted, || Self::try_acquire(dir, name))
    }

    /// Makes a file, under a name that nobody else chose, that is locked as long as it is being worked on, so
    /// that a leftover one, whose lock is free, can be told from it. One that somebody took for a leftover
    /// before it was locked is theirs to delete, and another is made.
    pub fn create_unique(dir: &Dir, mode: u32) -> Result<(String, Self)> {
        for _ in 0..ATTEMPTS {
            let name = unique_token();
            let file = dir.create_file(&name, mode)?;
            if let Some(lock) = Self::lock(dir, &name, file)? {
                return Ok((name, lock));
            }
        }
        Err(Error::file_system("flock", dir.path(), Errno::EBUSY.into()))
    }

    /// The locked file.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn lock(dir: &Dir, name: &str, file: OwnedFd) -> Result<Option<Self>> {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // The file may have been deleted before it was locked; then others lock a new one of its name.
            Ok(held) => Ok(dir.is_entry(name, held.as_fd())?.then_some(FileLock(held))),
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(None),
            Err((_, errno)) => Err(Error::file_system("flock", dir.path_of(name), errno.into())),
        }
    }
}

/// Tries until it gives something, at most for `wait`, and at least once; see [`FileLock::acquire`].
pub(super) fn attempt<T>(
    wait: Duration,
    longest_pause: Duration,
    mut interrupted: impl FnMut() -> Result<()>,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + wait;
    let mut pause = FIRST_PAUSE;
    loop {
        let got = attempt()?;
        if got.is_some() || Instant::now() >= deadline {
            return Ok(got);
        }
        interrupted()?;
        std::thread::sleep(pause);
        pause = (pause * 2).min(longest_pause);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test changes the disk from outside")]
mod tests {
    use super::*;

    #[test]
    fn a_lock_on_a_file_that_was_deleted_is_none() {
        let home = tempfile::tempdir().unwrap();
        let dir = Dir::open_or_create_ambient(home.path()).unwrap();
        let stale = dir.open_or_create_file("x.lock").unwrap();
        std::fs::remove_file(home.path().join("x.lock")).unwrap();
        let lock = FileLock::try_acquire(&dir, "x.lock").unwrap();
        assert!(lock.is_some());
        assert!(FileLock::lock(&dir, "x.lock", stale).unwrap().is_none());
        assert!(FileLock::try_acquire(&dir, "x.lock").unwrap().is_none());
        drop(lock);
        assert!(FileLock::try_acquire(&dir, "x.lock").unwrap().is_some());
    }
}
