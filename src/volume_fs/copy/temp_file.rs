//! The temp file of a copy that replaces another file.

use super::attributes::PARTIAL_FILE_MODE;
use super::entry::CopyTask;
use crate::error::{Errno, Result};
use crate::sys::fd::{AsFd, BorrowedFd};
use crate::sys::{FileLock, create_file, create_temp_file, rename_entry, unique_token, unlink_entry};
use std::ffi::OsString;
use std::fs::File;
use std::io;

/// A copy without its final name: in staging, where no guest sees it, or on the host beside its destination.
#[derive(Debug)]
pub enum CopyTempFile {
    Staged { name: String, lock: FileLock },
    Beside { name: OsString, file: File },
}

impl CopyTempFile {
    pub fn create(task: &CopyTask<'_>) -> Result<Self> {
        if let Some(volume) = &task.context.policy.into {
            let (name, lock) = create_temp_file(&volume.staging, task.to)
                .map_err(|error| task.context.endpoints.to.temp_file_error(&task.path(), error))?;
            return Ok(CopyTempFile::Staged { name, lock });
        }
        let name = OsString::from(format!(".{}.part", unique_token()));
        let file = create_file(task.to, &name, PARTIAL_FILE_MODE)
            .map_err(|error| task.context.endpoints.to.io_error("open", &task.path(), error))?;
        Ok(CopyTempFile::Beside { name, file })
    }

    pub fn file(&self, task: &CopyTask<'_>) -> Result<File> {
        let file = match self {
            CopyTempFile::Staged { lock, .. } => lock.file().try_clone_to_owned(),
            CopyTempFile::Beside { file, .. } => file.as_fd().try_clone_to_owned(),
        };
        file.map(File::from).map_err(|error| task.context.endpoints.to.io_error("dup", &task.path(), error))
    }

    /// Prepares for the final mode. The caller holds the returned lock until the file is in place.
    pub fn publish(&self, task: &CopyTask<'_>, mode: u32) -> Result<Option<FileLock>> {
        match (self, &task.context.policy.into) {
            (CopyTempFile::Staged { .. }, Some(volume)) => FileLock::publish(&volume.staging, mode)
                .map_err(|error| task.context.endpoints.to.temp_file_error(&task.path(), error)),
            _ => Ok(None),
        }
    }

    /// Renames the file over the entry at the destination. `give_rights` applies the rights once more if the file must
    /// be cloned for that.
    pub fn move_into_place(
        &self,
        task: &CopyTask<'_>,
        give_rights: &dyn Fn(BorrowedFd<'_>) -> io::Result<()>,
    ) -> Result<()> {
        let io_error = |error| task.context.endpoints.to.io_error("rename", &task.path(), error);
        match (self, &task.context.policy.into) {
            (CopyTempFile::Staged { name, lock }, Some(volume)) => {
                let file = (name.as_str(), lock.file());
                let root = volume.root.root.as_fd();
                let replaced = volume.staging.replace(file, root, task.to, task.name, give_rights);
                replaced.map_err(|error| task.context.endpoints.to.temp_file_error(&task.path(), error))
            }
            (CopyTempFile::Beside { name, .. }, _) => {
                rename_entry(task.to, name, task.to, task.name).map_err(io_error)
            }
            (CopyTempFile::Staged { .. }, None) => Err(io_error(Errno::ENOENT.into())),
        }
    }

    pub fn remove(&self, task: &CopyTask<'_>) -> Result<()> {
        let io_error = |error| task.context.endpoints.to.io_error("unlink", &task.path(), error);
        match (self, &task.context.policy.into) {
            (CopyTempFile::Staged { name, .. }, Some(volume)) => {
                let unlinked = volume.staging.unlink(name);
                unlinked.map_err(|error| task.context.endpoints.to.temp_file_error(&task.path(), error))
            }
            (CopyTempFile::Beside { name, .. }, _) => unlink_entry(task.to, name).map_err(io_error),
            (CopyTempFile::Staged { .. }, None) => Ok(()),
        }
    }
}
