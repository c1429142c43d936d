//! Making directories.

use super::quota::estimate::BLOCK;
use super::{Quota, VolumePath, VolumeRoot, dir_from};
use crate::error::Result;
use crate::sync::CancelToken;
use crate::sys::{FileId, give_to_owner_of, open_parent, open_subdirectory};
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt};
use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// The mode of a new directory, less the umask.
const NEW_DIRECTORY_MODE: u32 = 0o755;

/// Whose new directories are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MadeFor {
    /// This process's user.
    Us,
    /// The owner of the directory that each is made in, as far as this process may give files away.
    OwnerAbove,
}

impl VolumeRoot {
    /// Makes the directory and all that are missing above it (mode 0755 less the umask). One that is there
    /// already is fine, be it through a link that stays inside. Each new one counts as a block.
    pub fn mkdir(&self, path: impl AsRef<OsStr>, quota: Quota, cancel: &CancelToken) -> Result<()> {
        self.make(path, MadeFor::Us, quota, cancel)
    }

    /// The same, of directories that each belong to the owner of the one that they are made in, as far as this process
    /// may give them away.
    pub fn mkdir_for_owner(&self, path: impl AsRef<OsStr>, quota: Quota, cancel: &CancelToken) -> Result<()> {
        self.make(path, MadeFor::OwnerAbove, quota, cancel)
    }

    fn make(
        &self,
        path: impl AsRef<OsStr>,
        made_for: MadeFor,
        quota: Quota,
        cancel: &CancelToken,
    ) -> Result<()> {
        let path = VolumePath::parse(path)?;
        if quota.is_limited() {
            let missing = self.missing_components(&path);
            if missing > 0 {
                quota.admit(self, path.as_str(), missing * BLOCK, 0, cancel)?;
            }
        }
        cancel.commit()?;
        let mut builder = DirBuilder::new();
        builder.mode(NEW_DIRECTORY_MODE);
        let make_last = || self.at("mkdir", &path, |dir, rest| dir.create_dir_with(rest, &builder));
        match made_for {
            MadeFor::OwnerAbove => self.make_each(&path, made_for)?,
            MadeFor::Us => match make_last() {
                Err(error) if error.is_refusal(&[Errno::ENOENT]) => self.make_each(&path, made_for)?,
                Err(error) if error.is_refusal(&[Errno::EEXIST]) => {}
                made => made?,
            },
        }
        self.at("mkdir", &path, |dir, rest| match dir.metadata(rest)?.is_dir() {
            true => Ok(()),
            false => Err(io::Error::from(Errno::EEXIST)),
        })
    }

    /// How many components of a path are missing, as it is now: all behind the first that is.
    fn missing_components(&self, path: &VolumePath) -> u64 {
        let lengths: Vec<_> = path.components().map(|(_, length)| length).collect();
        let is_missing = |length: &usize| {
            let found = self.at("mkdir", &path.up_to(*length), |dir, rest| dir.metadata(rest));
            found.is_err_and(|error| error.is_refusal(&[Errno::ENOENT]))
        };
        (lengths.len() - lengths.partition_point(|length| !is_missing(length))) as u64
    }

    /// Makes one component after the other, each in the one before it. What the last one is, is not looked at.
    fn make_each(&self, path: &VolumePath, made_for: MadeFor) -> Result<()> {
        let refused = |error| self.refused("mkdir", path, error);
        let mut holder = self.root.try_clone().map_err(refused)?;
        // The directories that were gone through since the last link, which `..` leads back to.
        let mut above = Vec::new();
        let mut components = path.components().peekable();
        while let Some((name, length)) = components.next() {
            let found = match name == ".." {
                true => above.pop().and_then(|id| step_up(&holder, id)),
                false => {
                    above.push(FileId::of_open(holder.as_fd()).map_err(refused)?);
                    step(&holder, name, made_for).map_err(refused)?
                }
            };
            holder = match found {
                Some(dir) => dir,
                None if components.peek().is_none() => return Ok(()),
                // A link may lead out of the directory that holds it, and yet not out of the volume.
                None => {
                    above.clear();
                    self.at("mkdir", &path.up_to(length), |dir, rest| dir.open_dir(rest))?
                }
            };
        }
        Ok(())
    }
}

/// Opens the directory above, if it still is the one that was gone through on the way down. A guest may have moved
/// `holder` anywhere, so what is above it is not used before that is known.
fn step_up(holder: &Dir, expected: FileId) -> Option<Dir> {
    let parent = open_parent(holder.as_fd()).ok()?;
    let is_expected = FileId::of_open(parent.as_fd()).ok()? == expected;
    is_expected.then(|| dir_from(parent))
}

/// Makes the directory `name` in `holder`, unless something is there, and opens it; none where it is a link, a mount,
/// not to be read, or no directory.
fn step(holder: &Dir, name: &OsStr, made_for: MadeFor) -> io::Result<Option<Dir>> {
    let is_new = match mkdirat(holder, name, Mode::from_bits_truncate(NEW_DIRECTORY_MODE)) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(errno) => return Err(errno.into()),
    };
    match open_subdirectory(holder.as_fd(), Path::new(name)) {
        Ok(dir) => {
            if is_new && made_for == MadeFor::OwnerAbove {
                give_to_owner_of(holder.as_fd(), dir.as_fd())?;
            }
            Ok(Some(dir_from(dir)))
        }
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            // What may not be read may still be passed through.
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
        let holder = opened(inside.join("sub"));
        assert!(step_up(&holder, id).is_some());
        fs::rename(inside.join("sub"), outside.join("sub")).unwrap();
        assert!(step_up(&holder, id).is_none());
    }
}
