//! Advisory file locks (`flock(2)`). Every wait is bounded.

use crate::error::{Error, Result};
use crate::sys::fs::reopen::descriptor_path;
use crate::sys::{Dir, unique_token};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{geteuid, linkat};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The pause before the first retry. It doubles up to a limit, which is [`MAX_PAUSE`] for file locks.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const MAX_PAUSE: Duration = Duration::from_millis(10);

/// How many temp files are created in turn if each is taken for a leftover before it is locked.
const MAX_ATTEMPTS: u32 = 100;

/// The mode of a temp file. Its owner can open it until it gets its final mode.
const TEMP_MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// The bits of `st_mode` that `chmod(2)` can set.
const MODE_BITS: u32 = 0o7777;

/// How long the publication of a file waits for a concurrent clean-up of leftovers.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of locking a file that may be missing.
#[derive(Debug)]
pub enum ExistingLock {
    /// The lock is held now.
    Acquired(FileLock),
    /// The file does not exist.
    Missing,
}

/// An exclusive lock, held until it is dropped or its process ends. It also excludes other threads of the same
/// process: each acquisition opens the file again.
#[derive(Debug)]
pub struct FileLock(Flock<OwnedFd>);

impl FileLock {
    /// A second descriptor of the lock. A process that inherits it keeps the lock where this process ends without dropping
    /// it.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Acquires the lock; creates the file if it is missing. Returns `None` if the lock is held.
    pub fn try_acquire(dir: &Dir, name: &str) -> Result<Option<Self>> {
        Self::lock(dir, name, dir.open_or_create_file(name)?)
    }

    /// Locks a temp file whose creator has ended, so that it can be deleted. Returns `None` if the creator is running, or if
    /// the entry is gone.
    ///
    /// Returns the directory's lock in two cases. An entry that is not a regular file has no lock of its own. A file whose
    /// mode keeps its owner from opening it is either left by a crash or being published, and
    /// [`FileLock::publish`] then holds the directory's lock.
    ///
    /// Fails if another user owns the file: whether it is in use cannot be determined.
    pub fn try_acquire_leftover(dir: &Dir, name: &str) -> Result<Option<Self>> {
        let Some(found) = dir.stat_entry(name)? else { return Ok(None) };
        if SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG {
            match dir.open_existing_file(name) {
                Ok(file) => return file.map_or(Ok(None), |file| Self::lock(dir, name, file)),
                Err(error) => {
                    let is_inaccessible = found.st_mode & TEMP_MODE.bits() == 0;
                    if !(error.is_refusal(&[Errno::EACCES])
                        && is_inaccessible
                        && found.st_uid == geteuid().as_raw())
                    {
                        return Err(error);
                    }
                }
            }
        }
        let lock = Self::lock_directory(dir, FlockArg::LockExclusiveNonblock)?;
        // TOCTOU: it may have been published before the directory was locked.
        let is_there = dir.stat_entry(name)?.is_some_and(|now| now.st_ino == found.st_ino);
        Ok(lock.filter(|_| is_there))
    }

    /// Prepares to give a temp file in `dir` its final `mode`.
    ///
    /// If the mode keeps the owner from opening the file, returns a lock. Hold it until the file is renamed: it keeps
    /// [`FileLock::try_acquire_leftover`] from taking the file for a leftover.
    pub fn publish(dir: &Dir, mode: u32) -> Result<Option<Self>> {
        if Mode::from_bits_truncate(mode).intersects(TEMP_MODE) {
            return Ok(None);
        }
        let lock = || Self::lock_directory(dir, FlockArg::LockSharedNonblock);
        match retry(PUBLISH_TIMEOUT, MAX_PAUSE, || Ok(()), lock) {
            Ok(None) => Err(Error::file_system("flock", dir.path(), Errno::EBUSY.into())),
            // If the file system cannot lock a directory, the clean-up fails too and leaves the file alone.
            locked => Ok(locked.unwrap_or_default()),
        }
    }

    /// Locks the directory itself. Opens it again, because a duplicate of its descriptor would share the lock.
    fn lock_directory(dir: &Dir, how: FlockArg) -> Result<Option<Self>> {
        match Flock::lock(dir.open_child(".")?.try_clone()?, how) {
            Ok(held) => Ok(Some(FileLock(held))),
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(None),
            Err((_, errno)) => Err(Error::file_system("flock", dir.path(), errno.into())),
        }
    }

    /// Acquires the lock; creates the file if it is missing. Returns `None` if the lock is still held after `wait`.
    ///
    /// `interrupted` is called between attempts. Its error ends the wait.
    pub fn acquire(
        dir: &Dir,
        name: &str,
        wait: Duration,
        mut interrupted: impl FnMut() -> Result<()>,
    ) -> Result<Option<Self>> {
        retry(wait, MAX_PAUSE, &mut interrupted, || Self::try_acquire(dir, name))
    }

    /// Acquires the lock of an existing file of the store, which must be readable and writable. Returns `None` if the lock
    /// is held, or if the file is missing.
    pub fn try_acquire_own(dir: &Dir, name: &str) -> Result<Option<Self>> {
        let file = dir.open_own_file(name)?;
        file.map_or(Ok(None), |file| Self::lock(dir, name, file))
    }

    /// Acquires the lock of an existing file of the store. Returns `None` if the lock is still held after `wait`. See
    /// [`FileLock::acquire`].
    pub fn acquire_existing(
        dir: &Dir,
        name: &str,
        wait: Duration,
        mut interrupted: impl FnMut() -> Result<()>,
    ) -> Result<Option<ExistingLock>> {
        retry(wait, MAX_PAUSE, &mut interrupted, || match dir.open_own_file(name)? {
            Some(file) => Ok(Self::lock(dir, name, file)?.map(ExistingLock::Acquired)),
            None => Ok(Some(ExistingLock::Missing)),
        })
    }

    /// Creates a temp file with a unique name and locks it. The lock shows that the file is in use: the lock of a leftover
    /// is free. The mode is 0600, whatever the umask.
    ///
    /// TOCTOU: another process may take the file for a leftover before it is locked, and deletes it. Another file is then
    /// created.
    pub fn create_unique(dir: &Dir) -> Result<(String, Self)> {
        for _ in 0..MAX_ATTEMPTS {
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

    /// Locks an open file without a name, and links it into `dir` under a unique name; see [`FileLock::create_unique`].
    /// Returns `None` if it cannot be linked there.
    pub(crate) fn name_unique(dir: &Dir, file: OwnedFd) -> Option<(String, Self)> {
        close_to_others(&file).ok()?;
        let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        let (name, link) = (unique_token(), descriptor_path("self", held.as_fd()));
        let linked = linkat(AT_FDCWD, &link, dir.as_fd(), name.as_str(), AtFlags::AT_SYMLINK_FOLLOW);
        linked.ok().map(|()| (name, FileLock(held)))
    }

    /// Returns the locked file.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn lock(dir: &Dir, name: &str, file: OwnedFd) -> Result<Option<Self>> {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // TOCTOU: if the file was deleted before it was locked, other processes lock a new file of that name.
            Ok(held) => Ok(dir.is_entry(name, held.as_fd())?.then_some(FileLock(held))),
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(None),
            Err((_, errno)) => Err(Error::file_system("flock", dir.path_of(name), errno.into())),
        }
    }
}

/// Gives a temp file [`TEMP_MODE`].
fn close_to_others(file: &OwnedFd) -> nix::Result<()> {
    match fstat(file)?.st_mode & MODE_BITS == TEMP_MODE.bits() {
        true => Ok(()),
        false => fchmod(file, TEMP_MODE),
    }
}

/// Calls `attempt` until it returns a value, for at most `wait`, and at least once; see [`FileLock::acquire`].
pub(crate) fn retry<T>(
    wait: Duration,
    max_pause: Duration,
    mut interrupted: impl FnMut() -> Result<()>,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + wait;
    let mut pause = FIRST_PAUSE;
    loop {
        let result = attempt()?;
        if result.is_some() || Instant::now() >= deadline {
            return Ok(result);
        }
        interrupted()?;
        std::thread::sleep(pause);
        pause = (pause * 2).min(max_pause);
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
