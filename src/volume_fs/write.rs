//! Writes whole files.

use super::new_file::{Creation, NewFile, mark_shared};
use super::open::EntryRef;
use super::{AppendOptions, Quota, VolumePath, VolumeRoot};
use crate::error::{Errno, Result};
use crate::model::IntoVolumePath;
use crate::sync::CancelToken;
use crate::sys::fd::AsFd;
use crate::sys::{Access, Dir as StoreDir, FileId, sync_up_to};
use cap_std::fs::{Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use std::fs::File;
use std::io::{self, ErrorKind};

/// The mode of a new file, less the umask.
const NEW_FILE_MODE: u32 = 0o644;

/// How many times to try to open a file that is created and removed between two steps.
const MAX_ATTEMPTS: usize = 16;

/// How to write a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    /// Readers and crashes see the old or the new content, never a mix.
    pub atomic: bool,
    /// Puts the content on disk before the call returns.
    pub durable: bool,
    /// The mode of a file that does not exist yet, less the umask; 0644 by default.
    pub mode: Option<u32>,
}

impl WriteOptions {
    pub(super) fn new_file_mode(self) -> u32 {
        self.mode.unwrap_or(NEW_FILE_MODE)
    }
}

/// A file that a write created, and its entry.
#[derive(Debug)]
pub(super) struct CreatedFile {
    pub entry: EntryRef,
    pub file: NewFile,
}

impl CreatedFile {
    /// Removes the file, unless another file has its name or another call wrote to it too.
    pub fn remove(&self) {
        self.file.remove(self.entry.parent.as_fd(), &self.entry.name);
    }
}

/// A write to one file.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// The path of the file. Its parent directory must exist.
    pub path: VolumePath,
    /// How to write it.
    pub kind: WriteKind,
}

/// What becomes of the old content of a file.
#[derive(Clone, Copy, Debug)]
pub enum WriteKind {
    /// The data replaces it.
    Whole(WriteOptions),
    /// The data goes behind it.
    Append(AppendOptions),
}

impl WriteRequest {
    /// Requests a write of a whole file.
    pub fn whole(path: impl IntoVolumePath, options: WriteOptions) -> Result<Self> {
        Ok(WriteRequest { path: path.into_volume_path()?, kind: WriteKind::Whole(options) })
    }

    /// Requests an append.
    pub fn append(path: impl IntoVolumePath, options: AppendOptions) -> Result<Self> {
        Ok(WriteRequest { path: path.into_volume_path()?, kind: WriteKind::Append(options) })
    }
}

/// What the writes of one operation have in common.
#[derive(Clone, Copy, Debug)]
pub struct WriteContext<'c> {
    /// The directory for temp files: of the same file system, and invisible to guests.
    pub staging: &'c StoreDir,
    /// The volume's quota.
    pub quota: Quota,
    /// The token of the operation.
    pub cancel: &'c CancelToken,
}

/// How to open and fill a file in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct InPlaceWrite<'c> {
    pub access: Access,
    pub options: WriteOptions,
    pub cancel: &'c CancelToken,
}

impl VolumeRoot {
    /// Writes `data` to a file, which is created if it is missing.
    ///
    /// A plain write goes into the existing file, so its hard links see the change. A reader or a crash may see a part
    /// of it. An atomic write renames a new file over the old one, with the old one's mode and owner. Either follows a
    /// link that stays inside, also to a file that it has to create.
    pub fn write(&self, request: &WriteRequest, data: &[u8], context: &WriteContext<'_>) -> Result<()> {
        let options = match request.kind {
            WriteKind::Whole(options) => options,
            WriteKind::Append(options) => return self.append(&request.path, data, options, context),
        };
        let mut write = self.begin_write(&request.path, data.len() as u64, options, context)?;
        let written = write.write(data, context.cancel).and_then(|()| write.finish(context));
        written.inspect_err(|_| write.discard(context.staging))
    }

    /// Fills an open file with `fill`. Removes a file that was created for this write if it fails.
    pub(super) fn fill(
        &self,
        path: &VolumePath,
        (mut file, created): (File, Option<CreatedFile>),
        InPlaceWrite { options, cancel, .. }: &InPlaceWrite<'_>,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<()> {
        let written = cancel.commit().and_then(|()| {
            let filled =
                fill(&mut file).and_then(|()| if options.durable { file.sync_all() } else { Ok(()) });
            filled.map_err(|error| self.io_error("write", path, error))
        });
        match (created, written) {
            (None, written) => written,
            (Some(created), Ok(())) => self.sync_parents(path, &created.entry, options.durable),
            (Some(created), Err(error)) => {
                created.remove();
                Err(error)
            }
        }
    }

    /// Opens the file at `path` for writing, or creates it and returns its entry as well. Calls `reserve` first, with
    /// the file's metadata if it exists.
    pub(super) fn open_or_create(
        &self,
        path: &VolumePath,
        how: &InPlaceWrite<'_>,
        mut reserve: impl FnMut(Option<&Metadata>) -> Result<()>,
    ) -> Result<(File, Option<CreatedFile>)> {
        let io_error = |error| self.io_error("stat", path, error);
        let mut without_name = None;
        for _ in 0..MAX_ATTEMPTS {
            if let Some((file, metadata)) = self.open_existing(path, how.access)? {
                let id = FileId::of_open(file.as_fd()).map_err(io_error)?;
                mark_shared(id);
                // TOCTOU: the call that created the file may have removed it just before. Some file systems count no
                // links at all.
                if has_no_name(&file).map_err(io_error)? && without_name.replace(id) != Some(id) {
                    continue;
                }
                reserve(Some(&metadata))?;
                return Ok((file, None));
            }
            let entry = self.resolve_entry(path)?;
            reserve(None)?;
            how.cancel.check()?;
            let creation = Creation::begin();
            if let Some(file) = self.create(path, &entry, how)? {
                let new = NewFile::of(&creation, file.as_fd()).map_err(io_error)?;
                return Ok((file, Some(CreatedFile { entry, file: new })));
            }
        }
        Err(self.io_error("open", path, Errno::EBUSY.into()))
    }

    fn open_existing(&self, path: &VolumePath, access: Access) -> Result<Option<(File, Metadata)>> {
        match self.open_regular(path, access) {
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Creates a new file. Returns `None` if another process created an entry there first.
    fn create(&self, path: &VolumePath, entry: &EntryRef, how: &InPlaceWrite<'_>) -> Result<Option<File>> {
        let mut new = OpenOptions::new();
        new.write(true)
            .append(how.access == Access::Append)
            .create_new(true)
            .mode(how.options.new_file_mode());
        match entry.parent.open_with(&entry.name, &new) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
            created => {
                created.map(|file| Some(file.into_std())).map_err(|error| self.io_error("open", path, error))
            }
        }
    }

    /// Syncs the parent directory of the entry, and all its parents up to the volume's root.
    pub(super) fn sync_parents(&self, path: &VolumePath, entry: &EntryRef, durable: bool) -> Result<()> {
        let sync = || sync_up_to(entry.parent.as_fd(), self.root.as_fd());
        match durable {
            true => sync().map_err(|error| self.io_error("fsync", path, error)),
            false => Ok(()),
        }
    }
}

/// Returns whether a file has no hard link left.
pub(super) fn has_no_name(file: &File) -> io::Result<bool> {
    Ok(Metadata::from_file(file)?.nlink() == 0)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test plays the guest")]
mod tests {
    use super::*;
    use crate::model::VolumeName;
    use std::fs;
    use std::io::Write;

    #[test]
    fn a_write_that_fails_says_why_whatever_a_guest_does_to_its_new_file() {
        let home = tempfile::tempdir().unwrap();
        let root = File::open(home.path()).unwrap().into();
        let tree = VolumeRoot::new(VolumeName::parse("v").unwrap(), root);
        let (path, cancel) = (VolumePath::parse("f").unwrap(), CancelToken::default());
        let how = InPlaceWrite { access: Access::Write, options: WriteOptions::default(), cancel: &cancel };
        for replaces in [false, true] {
            let opened = tree.open_or_create(&path, &how, |_| Ok(())).unwrap();
            let result = tree.fill(&path, opened, &how, |_| {
                fs::remove_file(home.path().join("f"))?;
                if replaces {
                    fs::create_dir(home.path().join("f"))?;
                }
                Err(Errno::ENOSPC.into())
            });
            assert_eq!(result.unwrap_err().code(), "ENOSPC");
        }
    }

    #[test]
    fn a_write_that_fails_removes_the_file_that_it_made_and_no_other() {
        let home = tempfile::tempdir().unwrap();
        let root = File::open(home.path()).unwrap().into();
        let tree = VolumeRoot::new(VolumeName::parse("v").unwrap(), root);
        let (path, cancel) = (VolumePath::parse("f").unwrap(), CancelToken::default());
        let how = InPlaceWrite { access: Access::Append, options: WriteOptions::default(), cancel: &cancel };
        let at = home.path().join("f");
        let open = || tree.open_or_create(&path, &how, |_| Ok(())).unwrap();
        let replace = || {
            fs::write(home.path().join("other"), "acknowledged").unwrap();
            fs::rename(home.path().join("other"), &at).unwrap();
        };
        let also_write = || tree.fill(&path, open(), &how, |file| file.write_all(b"acknowledged"));
        let interfere: [(&dyn Fn(), Option<&str>); 3] = [
            (&|| (), None),
            (&replace, Some("acknowledged")),
            (&|| also_write().unwrap(), Some("acknowledged")),
        ];
        for (interfere, left) in interfere {
            let result = tree.fill(&path, open(), &how, |_| {
                interfere();
                Err(Errno::ENOSPC.into())
            });
            assert_eq!(result.unwrap_err().code(), "ENOSPC");
            assert_eq!(fs::read_to_string(&at).ok().as_deref(), left);
            let _removed = fs::remove_file(&at);
        }
    }
}
