//! Writing whole files.

use super::open::Place;
use super::usage::allocated;
use super::{Quota, RelPath, Tree};
use crate::error::{Error, Result};
use crate::model::Cancel;
use crate::sys::{Access, Dir as StoreDir, FileLock};
use cap_std::fs::{Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::fchown;

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
    fn new_file_mode(self) -> u32 {
        self.mode.unwrap_or(NEW_FILE_MODE)
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

impl Tree {
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
        cancel: &Cancel,
    ) -> Result<()> {
        let path = RelPath::parse(path)?;
        match options.atomic {
            true => self.replace(&path, content, options, rules, cancel),
            false => self.overwrite(&path, content, options, rules.quota, cancel),
        }
    }

    fn overwrite(
        &self,
        path: &RelPath,
        content: &[u8],
        options: WriteOptions,
        quota: Quota,
        cancel: &Cancel,
    ) -> Result<()> {
        let length = content.len() as u64;
        let written = |file: &mut File| {
            let filled = fill(file, content, options.durable);
            filled.map_err(|error| self.refused("write", path, error))
        };
        for _ in 0..RETRIES {
            if let Some((mut file, metadata)) = self.open_existing(path)? {
                quota.admit(self, path.as_str(), length, allocated(&metadata), cancel)?;
                cancel.commit()?;
                return written(&mut file);
            }
            let place = self.place(path)?;
            quota.admit(self, path.as_str(), length, 0, cancel)?;
            cancel.check()?;
            let Some(mut file) = self.create(path, &place, options.new_file_mode())? else { continue };
            let result = cancel.commit().and_then(|()| written(&mut file));
            return match result {
                Ok(()) => self.sync_holder(path, &place, options.durable),
                Err(error) => {
                    let removed = place.holder.remove_file(&place.name);
                    removed.map_err(|error| self.refused("unlink", path, error))?;
                    Err(error)
                }
            };
        }
        Err(self.refused("open", path, Errno::EBUSY.into()))
    }

    fn open_existing(&self, path: &RelPath) -> Result<Option<(File, Metadata)>> {
        match self.open_regular(path, Access::Write) {
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Makes a new file; none where somebody else put something there first.
    fn create(&self, path: &RelPath, place: &Place, mode: u32) -> Result<Option<File>> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        match place.holder.open_with(&place.name, &options) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
            created => {
                created.map(|file| Some(file.into_std())).map_err(|error| self.refused("open", path, error))
            }
        }
    }

    fn replace(
        &self,
        path: &RelPath,
        content: &[u8],
        options: WriteOptions,
        rules: &WriteRules<'_>,
        cancel: &Cancel,
    ) -> Result<()> {
        let place = self.place(path)?;
        let old = match place.holder.symlink_metadata(&place.name) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            // Put there this very moment.
            Ok(metadata) if metadata.is_symlink() => None,
            found => Some(self.regular(path, found)?),
        };
        // An old file with other names stays allocated.
        let replaced = old.as_ref().filter(|old| old.nlink() == 1).map_or(0, allocated);
        rules.quota.admit(self, path.as_str(), content.len() as u64, replaced, cancel)?;

        let (temporary, staged) = FileLock::create_unique(rules.staging, options.new_file_mode())?;
        let put_in_place = || {
            let mut file = File::from(staged.file().try_clone_to_owned()?);
            file.write_all(content)?;
            if let Some(old) = &old {
                keep_mode_and_owner(&file, old)?;
            }
            file.sync_all()?;
            Ok(())
        };
        let result = put_in_place()
            .map_err(|error| self.refused("write", path, error))
            .and_then(|()| cancel.commit())
            .and_then(|()| rules.staging.replace(&temporary, place.holder.as_fd(), &place.name));
        if let Err(error) = result {
            rules.staging.unlink(&temporary)?;
            let error = match self.is_over_the_kernels_quota(error.context().errno) {
                true => Error::quota_refused(self.volume.as_str(), path.as_str()),
                false => error.in_volume(self.volume.as_str()),
            };
            return Err(error);
        }
        self.sync_holder(path, &place, options.durable)
    }

    /// Puts the file's name on disk.
    fn sync_holder(&self, path: &RelPath, place: &Place, durable: bool) -> Result<()> {
        match durable {
            // The holder's own descriptor cannot do I/O.
            true => place
                .holder
                .open(".")
                .and_then(|dir| dir.sync_all())
                .map_err(|error| self.refused("fsync", path, error)),
            false => Ok(()),
        }
    }
}

/// Overwrites in place and then cuts off what was longer: truncating a non-empty file first makes some file
/// systems flush it.
fn fill(file: &mut File, content: &[u8], durable: bool) -> io::Result<()> {
    file.write_all(content)?;
    if file.metadata()?.len() > content.len() as u64 {
        file.set_len(content.len() as u64)?;
    }
    match durable {
        true => file.sync_all(),
        false => Ok(()),
    }
}

/// An unprivileged process cannot give files away; then the new file is its own.
fn keep_mode_and_owner(file: &File, old: &Metadata) -> io::Result<()> {
    match fchown(file, Some(old.uid()), Some(old.gid())) {
        Err(error) if error.raw_os_error() != Some(Errno::EPERM as i32) => return Err(error),
        _ => {}
    }
    Ok(fchmod(file, Mode::from_bits_truncate(old.mode()))?)
}
