//! The place of a copy of a file until it takes the place of another.

use super::entry::CopyTask;
use super::settle::UNFINISHED;
use crate::error::Result;
use crate::sys::{FileLock, create_file, create_temp_file, rename_within, unique_token, unlink_entry};
use nix::errno::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// A copy that is not in its place yet: where no guest sees it, or on the host beside its place.
#[derive(Debug)]
pub enum Temporary {
    Staged { name: String, lock: FileLock },
    Beside { name: OsString, file: File },
}

impl Temporary {
    pub fn create(errand: &CopyTask<'_>) -> Result<Self> {
        if let Some(volume) = &errand.context.rules.into {
            let (name, lock) = create_temp_file(volume.staging(), errand.to)
                .map_err(|error| errand.context.sides.to.failed_for(&errand.path(), error))?;
            return Ok(Temporary::Staged { name, lock });
        }
        let name = OsString::from(format!(".{}.part", unique_token()));
        let file = create_file(errand.to, &name, UNFINISHED)
            .map_err(|error| errand.context.sides.to.refused("open", &errand.path(), error))?;
        Ok(Temporary::Beside { name, file })
    }

    pub fn file(&self, errand: &CopyTask<'_>) -> Result<File> {
        let file = match self {
            Temporary::Staged { lock, .. } => lock.file().try_clone_to_owned(),
            Temporary::Beside { file, .. } => file.as_fd().try_clone_to_owned(),
        };
        file.map(File::from).map_err(|error| errand.context.sides.to.refused("dup", &errand.path(), error))
    }

    /// Prepares for giving it its final mode; what is returned is to be held until it is in place.
    pub fn publish(&self, errand: &CopyTask<'_>, mode: u32) -> Result<Option<FileLock>> {
        match (self, &errand.context.rules.into) {
            (Temporary::Staged { .. }, Some(volume)) => FileLock::publish(volume.staging(), mode)
                .map_err(|error| errand.context.sides.to.failed_for(&errand.path(), error)),
            _ => Ok(None),
        }
    }

    /// Puts it in place of what stands there; `give_rights` gives it its rights once more if it has to be cloned for that.
    pub fn move_into_place(
        &self,
        errand: &CopyTask<'_>,
        give_rights: &dyn Fn(BorrowedFd<'_>) -> io::Result<()>,
    ) -> Result<()> {
        let refused = |error| errand.context.sides.to.refused("rename", &errand.path(), error);
        match (self, &errand.context.rules.into) {
            (Temporary::Staged { name, lock }, Some(volume)) => {
                let file = (name.as_str(), lock.file());
                let (root, staging) = (volume.root(), volume.staging());
                let replaced = staging.replace(file, root, errand.to, errand.name, give_rights);
                replaced.map_err(|error| errand.context.sides.to.failed_for(&errand.path(), error))
            }
            (Temporary::Beside { name, .. }, _) => {
                rename_within(errand.to, name, errand.name).map_err(refused)
            }
            (Temporary::Staged { .. }, None) => Err(refused(Errno::ENOENT.into())),
        }
    }

    pub fn remove(&self, errand: &CopyTask<'_>) -> Result<()> {
        let refused = |error| errand.context.sides.to.refused("unlink", &errand.path(), error);
        match (self, &errand.context.rules.into) {
            (Temporary::Staged { name, .. }, Some(volume)) => {
                let unlinked = volume.staging().unlink(name);
                unlinked.map_err(|error| errand.context.sides.to.failed_for(&errand.path(), error))
            }
            (Temporary::Beside { name, .. }, _) => unlink_entry(errand.to, name).map_err(refused),
            (Temporary::Staged { .. }, None) => Ok(()),
        }
    }
}
