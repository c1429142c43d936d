//! Creates directories.

use super::new_file::mark_shared;
use super::quota::estimate::BLOCK;
use super::quota::reserve::{QuotaWrite, SpaceRequest};
use super::{Quota, VolumePath, VolumeRoot, dir_from, os_str};
use crate::error::{Errno, Result};
use crate::sync::CancelToken;
use crate::sys::fd::AsFd;
use crate::sys::{FileId, create_directory, give_to_owner_of, open_parent, open_subdirectory};
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, MetadataExt};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The mode of a new directory, less the umask.
const NEW_DIRECTORY_MODE: u32 = 0o755;

/// How often a directory that vanishes at the same time is created again.
const RETRIES: usize = 16;

/// The owner of new directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NewDirOwner {
    /// This process's user.
    CurrentUser,
    /// The owner of each directory's parent, as far as this process may change owners.
    ParentOwner,
}

impl VolumeRoot {
    /// Creates the directory and all missing parents (mode 0755 less the umask). Accepts an existing directory, also
    /// through a link that stays inside. Each new directory counts as one block.
    pub fn mkdir(&self, path: &VolumePath, quota: Quota, cancel: &CancelToken) -> Result<()> {
        self.mkdir_as(path, NewDirOwner::CurrentUser, quota, cancel)
    }

    /// Creates directories like [`VolumeRoot::mkdir`]. Gives each to the owner of its parent, as far as this process
    /// may change owners.
    pub fn mkdir_for_owner(&self, path: &VolumePath, quota: Quota, cancel: &CancelToken) -> Result<()> {
        self.mkdir_as(path, NewDirOwner::ParentOwner, quota, cancel)
    }

    fn mkdir_as(
        &self,
        path: &VolumePath,
        owner: NewDirOwner,
        quota: Quota,
        cancel: &CancelToken,
    ) -> Result<()> {
        if quota.is_limited() {
            let missing = self.missing_components(path);
            if missing > 0 {
                let request = SpaceRequest::whole(missing * BLOCK, 0);
                quota.reserve(&QuotaWrite { tree: self, path: path.as_str(), request, cancel })?;
            }
        }
        cancel.commit()?;
        let mut builder = DirBuilder::new();
        builder.mode(NEW_DIRECTORY_MODE);
        let create_last = || self.at("mkdir", path, |dir, rest| dir.create_dir_with(rest, &builder));
        let mut shared = None;
        for _ in 0..RETRIES {
            match owner {
                NewDirOwner::ParentOwner => self.create_each(path, owner)?,
                NewDirOwner::CurrentUser => match create_last() {
                    Err(error) if error.is_refusal(&[Errno::ENOENT]) => self.create_each(path, owner)?,
                    Err(error) if error.is_refusal(&[Errno::EEXIST]) => {}
                    created => created?,
                },
            }
            match self.directory_id(path) {
                Err(error) if error.is_refusal(&[Errno::ENOENT]) => {}
                // TOCTOU: a copy that is undone may have removed its directory before it was shared.
                found => match found? {
                    id if shared.replace(id) == Some(id) => return Ok(()),
                    id => mark_shared(id),
                },
            }
        }
        self.directory_id(path).map(drop)
    }

    /// Returns the directory that a path leads to now. Fails with `EEXIST` if it leads to another kind of entry.
    fn directory_id(&self, path: &VolumePath) -> Result<FileId> {
        self.at("mkdir", path, |dir, rest| {
            let found = dir.metadata(rest)?;
            match found.is_dir() {
                true => Ok(FileId::from_numbers(found.dev(), found.ino())),
                false => Err(io::Error::from(Errno::EEXIST)),
            }
        })
    }

    /// Counts the components of a path that are missing now: all after the first missing one.
    fn missing_components(&self, path: &VolumePath) -> u64 {
        let lengths: Vec<_> = path.components().map(|(_, length)| length).collect();
        let is_missing = |length: &usize| {
            let found = self.at("mkdir", &path.up_to(*length), |dir, rest| dir.metadata(rest));
            found.is_err_and(|error| error.is_refusal(&[Errno::ENOENT]))
        };
        (lengths.len() - lengths.partition_point(|length| !is_missing(length))) as u64
    }

    /// Creates one component after the other, each in the one before it. Does not check what the last component is.
    fn create_each(&self, path: &VolumePath, owner: NewDirOwner) -> Result<()> {
        let io_error = |error| self.io_error("mkdir", path, error);
        let mut parent = self.root.try_clone().map_err(io_error)?;
        // The directories that were passed since the last link, to which `..` leads back.
        let mut above = Vec::new();
        let mut components = path.components().peekable();
        while let Some((name, length)) = components.next() {
            let found = match name == b".." {
                true => above.pop().and_then(|id| step_up(&parent, id)),
                false => {
                    above.push(FileId::of_open(parent.as_fd()).map_err(io_error)?);
                    step(&parent, os_str(name), owner).map_err(io_error)?
                }
            };
            parent = match found {
                Some(dir) => dir,
                None if components.peek().is_none() => return Ok(()),
                // A link may lead out of its parent directory and still stay inside the volume.
                None => {
                    above.clear();
                    self.at("mkdir", &path.up_to(length), |dir, rest| dir.open_dir(rest))?
                }
            };
        }
        Ok(())
    }
}

/// Opens the parent of `dir` if it is the directory that was passed on the way down. TOCTOU: a guest may have moved
/// `dir` anywhere, so its parent is not used before that is known.
fn step_up(dir: &Dir, expected: FileId) -> Option<Dir> {
    let parent = open_parent(dir.as_fd()).ok()?;
    let is_expected = FileId::of_open(parent.as_fd()).ok()? == expected;
    is_expected.then(|| dir_from(parent))
}

/// Creates the directory `name` in `parent` unless an entry exists, and opens it. Returns `None` if it is a link, a
/// mount, unreadable, or not a directory.
fn step(parent: &Dir, name: &OsStr, owner: NewDirOwner) -> io::Result<Option<Dir>> {
    let is_new = match create_directory(parent.as_fd(), name, NEW_DIRECTORY_MODE) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    match open_subdirectory(parent.as_fd(), Path::new(name)) {
        Ok(dir) => {
            if is_new && owner == NewDirOwner::ParentOwner {
                give_to_owner_of(parent.as_fd(), dir.as_fd())?;
            }
            Ok(Some(dir_from(dir)))
        }
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            // A directory that may not be read may still be traversed.
            Some(Errno::ELOOP | Errno::ENOTDIR | Errno::EXDEV | Errno::EACCES) => Ok(None),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test plays the guest")]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn what_is_above_is_used_only_as_long_as_it_was_gone_through() {
        let home = tempfile::tempdir().unwrap();
        let [inside, outside] = ["inside", "outside"].map(|name| home.path().join(name));
        fs::create_dir_all(inside.join("sub")).unwrap();
        fs::create_dir(&outside).unwrap();
        let opened = |path| Dir::from_std_file(File::open(path).unwrap());
        let id = FileId::of_open(opened(inside.clone()).as_fd()).unwrap();
        let dir = opened(inside.join("sub"));
        assert!(step_up(&dir, id).is_some());
        fs::rename(inside.join("sub"), outside.join("sub")).unwrap();
        assert!(step_up(&dir, id).is_none());
    }
}
