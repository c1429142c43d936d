//! Writing whole files.

use super::new_file::{NewFile, rely_on};
use super::open::EntryRef;
use super::{Quota, VolumePath, VolumeRoot};
use crate::error::Result;
use crate::sync::CancelToken;
use crate::sys::{Access, Dir as StoreDir, FileId, sync_up_to};
use cap_std::fs::{Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use nix::errno::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;

/// The mode of a file that did not exist, less the umask.
const NEW_FILE_MODE: u32 = 0o644;

/// How often a file that comes and goes while we look is looked for again.
const RETRIES: usize = 16;

/// How a file is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    /// Readers and crashes see the old or the new content, never a mix.
    pub atomic: bool,
    /// The content is on disk before the call returns.
    pub durable: bool,
    /// The mode of a file that does not exist yet, less the umask; 0644 by default.
    pub mode: Option<u32>,
}

impl WriteOptions {
    pub(super) fn new_file_mode(self) -> u32 {
        self.mode.unwrap_or(NEW_FILE_MODE)
    }
}

/// A file that a write made, and where.
#[derive(Debug)]
pub(super) struct CreatedFile {
    pub place: EntryRef,
    pub file: NewFile,
}

impl CreatedFile {
    /// Removes it, unless something else has its name or another call wrote it too.
    pub fn remove(&self) {
        self.file.remove(self.place.holder.as_fd(), &self.place.name);
    }
}

/// What a write may take and where it may work out of the guest's sight.
#[derive(Debug)]
pub struct WriteRules<'s> {
    /// A directory of the same file system that no guest sees.
    pub staging: &'s StoreDir,
    /// The volume's limit.
    pub quota: Quota,
}

impl VolumeRoot {
    /// Writes `content` to the file at `path`, made or replaced; the directory that holds it must exist.
    ///
    /// A plain write goes into the existing file, so its hard links see the change, and a reader or a crash may
    /// see a part of it. An atomic write makes a new file and puts it in place of the old one, with the old
    /// one's mode and owner. Either follows a link that stays inside, also to a file that it has to make.
    pub fn write(
        &self,
        path: impl AsRef<OsStr>,
        content: &[u8],
        options: WriteOptions,
        rules: &WriteRules<'_>,
        cancel: &CancelToken,
    ) -> Result<()> {
        let mut write = self.begin_write(path, content.len() as u64, options, rules, cancel)?;
        let written = write.write(content, cancel).and_then(|()| write.finish(rules, cancel));
        written.inspect_err(|_| write.discard(rules))
    }

    /// Has an opened file filled, which is removed again where it was made for that and it fails.
    pub(super) fn fill(
        &self,
        path: &VolumePath,
        (mut file, made): (File, Option<CreatedFile>),
        options: WriteOptions,
        cancel: &CancelToken,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<()> {
        let written = cancel.commit().and_then(|()| {
            let filled =
                fill(&mut file).and_then(|()| if options.durable { file.sync_all() } else { Ok(()) });
            filled.map_err(|error| self.refused("write", path, error))
        });
        match (made, written) {
            (None, written) => written,
            (Some(made), Ok(())) => self.sync_holder(path, &made.place, options.durable),
            (Some(made), Err(error)) => {
                made.remove();
                Err(error)
            }
        }
    }

    /// Opens the file at `path` for writing, or makes it, in a place that is then given as well. `admit` is asked
    /// first whether there is room, told what the file is now if it is there.
    pub(super) fn open_or_make(
        &self,
        path: &VolumePath,
        access: Access,
        options: WriteOptions,
        cancel: &CancelToken,
        mut admit: impl FnMut(Option<&Metadata>) -> Result<()>,
    ) -> Result<(File, Option<CreatedFile>)> {
        let refused = |error| self.refused("stat", path, error);
        let mut without_name = None;
        for _ in 0..RETRIES {
            if let Some((file, metadata)) = self.open_existing(path, access)? {
                let id = FileId::of_open(file.as_fd()).map_err(refused)?;
                rely_on(id);
                // Who made it may have removed it just before. Some file systems count no names at all.
                if has_no_name(&file).map_err(refused)? && without_name.replace(id) != Some(id) {
                    continue;
                }
                admit(Some(&metadata))?;
                return Ok((file, None));
            }
            let place = self.place(path)?;
            admit(None)?;
            cancel.check()?;
            if let Some(file) = self.create(path, &place, access, options)? {
                let new = NewFile::of(file.as_fd()).map_err(refused)?;
                return Ok((file, Some(CreatedFile { place, file: new })));
            }
        }
        Err(self.refused("open", path, Errno::EBUSY.into()))
    }

    fn open_existing(&self, path: &VolumePath, access: Access) -> Result<Option<(File, Metadata)>> {
        match self.open_regular(path, access) {
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Makes a new file; none where somebody else put something there first.
    fn create(
        &self,
        path: &VolumePath,
        place: &EntryRef,
        access: Access,
        options: WriteOptions,
    ) -> Result<Option<File>> {
        let mut new = OpenOptions::new();
        new.write(true).append(access == Access::Append).create_new(true).mode(options.new_file_mode());
        match place.holder.open_with(&place.name, &new) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
            created => {
                created.map(|file| Some(file.into_std())).map_err(|error| self.refused("open", path, error))
            }
        }
    }

    /// Puts the file's name on disk, and those of the directories of the volume that lead to it.
    pub(super) fn sync_holder(&self, path: &VolumePath, place: &EntryRef, durable: bool) -> Result<()> {
        let sync = || sync_up_to(place.holder.as_fd(), self.root.as_fd());
        match durable {
            true => sync().map_err(|error| self.refused("fsync", path, error)),
            false => Ok(()),
        }
    }
}

/// Whether no entry leads to a file any more.
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
        let options = WriteOptions::default();
        for replaces in [false, true] {
            let opened = tree.open_or_make(&path, Access::Write, options, &cancel, |_| Ok(())).unwrap();
            let result = tree.fill(&path, opened, options, &cancel, |_| {
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
        let (at, options) = (home.path().join("f"), WriteOptions::default());
        let open = || tree.open_or_make(&path, Access::Append, options, &cancel, |_| Ok(())).unwrap();
        let replace = || {
            fs::write(home.path().join("other"), "acknowledged").unwrap();
            fs::rename(home.path().join("other"), &at).unwrap();
        };
        let also_write =
            || tree.fill(&path, open(), options, &cancel, |file| file.write_all(b"acknowledged"));
        let meanwhile: [(&dyn Fn(), Option<&str>); 3] = [
            (&|| (), None),
            (&replace, Some("acknowledged")),
            (&|| also_write().unwrap(), Some("acknowledged")),
        ];
        for (meanwhile, left) in meanwhile {
            let result = tree.fill(&path, open(), options, &cancel, |_| {
                meanwhile();
                Err(Errno::ENOSPC.into())
            });
            assert_eq!(result.unwrap_err().code(), "ENOSPC");
            assert_eq!(fs::read_to_string(&at).ok().as_deref(), left);
            let _removed = fs::remove_file(&at);
        }
    }
}
