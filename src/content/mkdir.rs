//! Making directories.

use super::{RelPath, Tree};
use crate::error::Result;
use cap_std::fs::{DirBuilder, DirBuilderExt};
use nix::errno::Errno;
use std::ffi::OsStr;
use std::io;

/// The mode of a new directory, less the umask.
const NEW_DIRECTORY_MODE: u32 = 0o755;

impl Tree {
    /// Makes the directory and all that are missing above it (mode 0755 less the umask). One that is there
    /// already is fine, be it through a link that stays inside.
    pub fn mkdir(&self, path: impl AsRef<OsStr>) -> Result<()> {
        let path = RelPath::parse(path)?;
        if self.make_one(&path)? == Made::ParentMissing {
            for prefix in path.prefixes() {
                self.make_one(&prefix)?;
            }
        }
        self.at("mkdir", &path, |dir, rest| match dir.metadata(rest)?.is_dir() {
            true => Ok(()),
            false => Err(io::Error::from(Errno::EEXIST)),
        })
    }

    fn make_one(&self, path: &RelPath) -> Result<Made> {
        let mut builder = DirBuilder::new();
        builder.mode(NEW_DIRECTORY_MODE);
        match self.at("mkdir", path, |dir, rest| dir.create_dir_with(rest, &builder)) {
            Ok(()) => Ok(Made::There),
            Err(error) if error.is_refusal(&[Errno::EEXIST]) => Ok(Made::There),
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => Ok(Made::ParentMissing),
            Err(error) => Err(error),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Made {
    There,
    ParentMissing,
}
