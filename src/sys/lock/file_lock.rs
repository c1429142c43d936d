//! Advisory file locks (`flock`), always with a bound on the wait.

use crate::error::{Error, Result};
use crate::sys::fs::reopen::descriptor_path;
use crate::sys::{Dir, unique_token};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{geteuid, linkat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a first retry waits; later ones back off, for locks to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// How often a new file may be taken for a leftover.
const ATTEMPTS: u32 = 100;

/// The mode of a temp file: its owner can always open it, whatever mode it gets when it is published.
const TEMP_MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// The bits of `st_mode` that a mode can set.
const ALL_BITS: u32 = 0o7777;

/// How long a file that is about to be published waits for a clean-up of leftovers.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);

/// What came of asking for the lock of a file that may not be there.
#[derive(Debug)]
pub enum ExistingLock {
    /// It is held now.
    Acquired(FileLock),
    /// There is no such file.
    Missing,
}

/// An exclusive lock, held until it is dropped or its process ends. It also excludes other threads of the
/// same process, for each acquisition opens the file anew.
#[derive(Debug)]
pub struct FileLock(Flock<OwnedFd>);

impl FileLock {
    /// Takes the lock if it is free at this moment.
    pub fn try_acquire(dir: &Dir, name: &str) -> Result<Option<Self>> {
        Self::lock(dir, name, dir.open_or_create_file(name)?)
    }

    /// Locks a temp file whose maker has ended, so that it can be deleted. Returns `None` if the maker lives or the
    /// entry is gone.
    ///
    /// An entry that is no regular file has no maker. A file whose mode keeps its owner from opening it either was left
    /// by a crash or is being published, and then [`FileLock::publish`] holds the directory's lock. For both the
    /// directory's lock is returned. Fails if the file is another user's, which cannot be told from one in use.
    pub fn try_acquire_leftover(dir: &Dir, name: &str) -> Result<Option<Self>> {
        let Some(found) = dir.stat_entry(name)? else { return Ok(None) };
        if SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG {
            match dir.open_existing_file(name) {
                Ok(file) => return file.map_or(Ok(None), |file| Self::lock(dir, name, file)),
                Err(error) => {
                    let is_closed = found.st_mode & TEMP_MODE.bits() == 0;
                    if !(error.is_refusal(&[Errno::EACCES])
                        && is_closed
                        && found.st_uid == geteuid().as_raw())
                    {
                        return Err(error);
                    }
                }
            }
        }
        let lock = Self::lock_directory(dir, FlockArg::LockExclusiveNonblock)?;
        // It may have been published before the directory was locked.
        let is_there = dir.stat_entry(name)?.is_some_and(|now| now.st_ino == found.st_ino);
        Ok(lock.filter(|_| is_there))
    }

    /// Prepares for giving a temp file in `dir` its final `mode`. What is returned is to be held until the file is
    /// renamed away: it keeps [`FileLock::try_acquire_leftover`] from taking one that its owner cannot open for a
    /// leftover.
    pub fn publish(dir: &Dir, mode: u32) -> Result<Option<Self>> {
        if Mode::from_bits_truncate(mode).intersects(TEMP_MODE) {
            return Ok(None);
        }
        let lock = || Self::lock_directory(dir, FlockArg::LockSharedNonblock);
        match attempt(PUBLISH_WAIT, LONGEST_PAUSE, || Ok(()), lock) {
            Ok(None) => Err(Error::file_system("flock", dir.path(), Errno::EBUSY.into())),
            // A file system that cannot lock a directory refuses the clean-up too, which then leaves the file alone.
            locked => Ok(locked.unwrap_or_default()),
        }
    }

    /// Locks the directory itself; it is opened again, for a duplicate of its descriptor shares the lock.
    fn lock_directory(dir: &Dir, how: FlockArg) -> Result<Option<Self>> {
        match Flock::lock(dir.open_child(".")?.try_clone()?, how) {
            Ok(held) => Ok(Some(FileLock(held))),
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(None),
            Err((_, errno)) => Err(Error::file_system("flock", dir.path(), errno.into())),
        }
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

    /// Takes the lock of a file of ours that stands there, readable and writable, if it is free at this moment.
    pub fn try_acquire_own(dir: &Dir, name: &str) -> Result<Option<Self>> {
        let file = dir.open_own_file(name)?;
        file.map_or(Ok(None), |file| Self::lock(dir, name, file))
    }

    /// Takes the lock of a file of ours that stands there, waiting at most `wait`; returns `None` if it is held all the
    /// while. See [`FileLock::acquire`].
    pub fn acquire_existing(
        dir: &Dir,
        name: &str,
        wait: Duration,
        mut interrupted: impl FnMut() -> Result<()>,
    ) -> Result<Option<ExistingLock>> {
        attempt(wait, LONGEST_PAUSE, &mut interrupted, || match dir.open_own_file(name)? {
            Some(file) => Ok(Self::lock(dir, name, file)?.map(ExistingLock::Acquired)),
            None => Ok(Some(ExistingLock::Missing)),
        })
    }

    /// Makes a temp file, under a name that nobody else chose, that is locked as long as it is being worked on, so
    /// that a leftover one, whose lock is free, can be told from it. One that somebody took for a leftover
    /// before it was locked is theirs to delete, and another is made.
    ///
    /// Its mode is 0600 whatever the umask.
    pub fn create_unique(dir: &Dir) -> Result<(String, Self)> {
        for _ in 0..ATTEMPTS {
            let name = unique_token();
            let file = dir.create_file(&name, TEMP_MODE.bits())?;
            close_to_others(&file)
                .map_err(|errno| Error::file_system("chmod", dir.path_of(&name), errno.into()))?;
            if let Some(lock) = Self::lock(dir, &name, file)? {
                return Ok((name, lock));
            }
        }
        Err(Error::file_system("flock", dir.path(), Errno::EBUSY.into()))
    }

    /// Locks an open file that has no name, and then gives it one in `dir`, as [`FileLock::create_unique`] does. Returns
    /// `None` if it cannot have one there.
    pub(crate) fn name_unique(dir: &Dir, file: OwnedFd) -> Option<(String, Self)> {
        close_to_others(&file).ok()?;
        let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        let (name, link) = (unique_token(), descriptor_path("self", held.as_fd()));
        let linked = linkat(AT_FDCWD, &link, dir.as_fd(), name.as_str(), AtFlags::AT_SYMLINK_FOLLOW);
        linked.ok().map(|()| (name, FileLock(held)))
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

/// Takes all rights from those who do not own a temp file, and gives its owner those that it needs.
fn close_to_others(file: &OwnedFd) -> nix::Result<()> {
    match fstat(file)?.st_mode & ALL_BITS == TEMP_MODE.bits() {
        true => Ok(()),
        false => fchmod(file, TEMP_MODE),
    }
}

/// Tries until it gives something, at most for `wait`, and at least once; see [`FileLock::acquire`].
pub(crate) fn attempt<T>(
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
