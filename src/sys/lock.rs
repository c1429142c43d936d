//! Advisory file locks (`flock`), always with a bound on the wait.

use super::{Dir, unique_token};
use crate::error::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a first retry waits; later ones back off to [`LONGEST_PAUSE`].
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
        Self::lock(dir, name, dir.open_or_create_file(name)?).map(Result::ok)
    }

    /// Takes the lock of a file that stands there, if it is free at this moment.
    pub fn try_acquire_existing(dir: &Dir, name: &str) -> Result<Option<Self>> {
        let file = dir.open_existing_file(name)?;
        file.map_or(Ok(None), |file| Self::lock(dir, name, file).map(Result::ok))
    }

    /// Takes the lock, waiting at most `wait`; none when somebody held it all the while. `interrupted` is
    /// asked between attempts and ends the wait with its error.
    pub fn acquire(
        dir: &Dir,
        name: &str,
        wait: Duration,
        mut interrupted: impl FnMut() -> Result<()>,
    ) -> Result<Option<Self>> {
        let deadline = Instant::now() + wait;
        let mut pause = FIRST_PAUSE;
        let mut file = dir.open_or_create_file(name)?;
        loop {
            file = match Self::lock(dir, name, file)? {
                Ok(lock) => return Ok(Some(lock)),
                Err(file) => file,
            };
            if Instant::now() >= deadline {
                return Ok(None);
            }
            interrupted()?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Makes a file, under a name that nobody else chose, that is locked as long as it is being worked on, so
    /// that a leftover one, whose lock is free, can be told from it. One that somebody took for a leftover
    /// before it was locked is theirs to delete, and another is made.
    pub fn create_unique(dir: &Dir, mode: u32) -> Result<(String, Self)> {
        for _ in 0..ATTEMPTS {
            let name = unique_token();
            let file = dir.create_file(&name, mode)?;
            if let Ok(lock) = Self::lock(dir, &name, file)?
                && dir.contains(&name)?
            {
                return Ok((name, lock));
            }
        }
        Err(Error::file_system("flock", dir.path(), Errno::EBUSY.into()))
    }

    /// The locked file.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn lock(dir: &Dir, name: &str, file: OwnedFd) -> Result<Result<Self, OwnedFd>> {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Ok(FileLock(held))),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(Err(file)),
            Err((_, errno)) => Err(Error::file_system("flock", dir.path_of(name), errno.into())),
        }
    }
}
