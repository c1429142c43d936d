//! Resolves paths of the host that mounts name.

#![expect(clippy::disallowed_methods, reason = "the one place that resolves paths of the host's own by name")]

use crate::error::{Errno, Error, Result};
use crate::image;
use crate::mount::MountKind;
use crate::store::home_dirs::HomeDirs;
use crate::sys::fd::{AsFd, OwnedFd};
use crate::sys::{
    Access, EntryKind, FileId, FileStat, open_host_entry, open_without_links, readable_directory, reopen,
};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Returns the real path of a bind mount's source, and true if it is a file. Fails if it is neither a file nor a
/// directory, or overlaps the store's directories.
///
/// The path is the host's, not a guest's, and a runtime gets it by name. Symbolic links are resolved here, so that
/// the name leads to what was checked.
pub fn resolve_bind_source(dirs: &HomeDirs, source: &Path) -> Result<(PathBuf, bool)> {
    let failed = |error| Error::file_system("realpath", source, error);
    let real = std::fs::canonicalize(source).map_err(failed)?;
    let kind = std::fs::symlink_metadata(&real).map_err(failed)?.file_type();
    if !kind.is_dir() && !kind.is_file() {
        let problem = format!("{source:?} is neither a file nor a directory");
        return Err(Error::invalid_config(MountKind::Bind.as_str(), problem));
    }
    refuse_private(MountKind::Bind, dirs, source, &real)?;
    match real.to_str() {
        Some(_) => Ok((real, kind.is_file())),
        None => Err(Error::invalid_config(
            MountKind::Bind.as_str(),
            format!("{source:?} resolves to a path that is not UTF-8"),
        )),
    }
}

/// Opens a disk image. Fails if it is no regular file or belongs to the store. Unless `readonly`, also fails if this
/// process may not write it.
pub fn open_image(dirs: &HomeDirs, source: &Path, readonly: bool) -> Result<image::OpenedImage> {
    let opened = image::open(source, |real, id| {
        refuse_private(MountKind::Disk, dirs, source, real)?;
        match dirs.is_catalog_file(id)? {
            true => Err(private_path_error(MountKind::Disk, source)),
            false => Ok(()),
        }
    })?;
    if !readonly {
        check_writable(&opened.file, source)?;
    }
    match opened.path.to_str() {
        Some(_) => Ok(opened),
        None => Err(Error::invalid_config(
            MountKind::Disk.as_str(),
            format!("{source:?} resolves to a path that is not UTF-8"),
        )),
    }
}

/// Fails if this process may not write the file. A runtime would fail later, with a less precise error.
pub fn check_writable(file: &File, path: &Path) -> Result<()> {
    let opened = reopen(file.as_fd(), Access::Write);
    opened.map(drop).map_err(|error| Error::file_system("open", path, error))
}

/// Fails if a path contains, or is below, a directory of the store.
fn refuse_private(kind: MountKind, dirs: &HomeDirs, source: &Path, real: &Path) -> Result<()> {
    match overlaps_private(dirs, real)? {
        true => Err(private_path_error(kind, source)),
        false => Ok(()),
    }
}

/// Returns true if a real path contains, or is below, a directory of the store.
pub fn overlaps_private(dirs: &HomeDirs, real: &Path) -> Result<bool> {
    any_private(dirs, |own| Ok(is_in(real, own)? || is_in(own, real)?))
}

/// Returns true if a real path is, or is below, a directory of the store.
pub fn is_in_private(dirs: &HomeDirs, real: &Path) -> Result<bool> {
    any_private(dirs, |own| is_in(real, own))
}

fn any_private(dirs: &HomeDirs, is_one: impl Fn(&Path) -> Result<bool>) -> Result<bool> {
    for own in dirs.private_directories() {
        let own = std::fs::canonicalize(own).map_err(|error| Error::file_system("realpath", own, error))?;
        if is_one(&own)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn private_path_error(kind: MountKind, source: &Path) -> Error {
    let problem = format!(
        "{source:?} holds volumes or their catalog, or is held by them, and would give a sandbox more than it may \
         have; attach a volume with Mount.named"
    );
    Error::invalid_config(kind.as_str(), problem)
}

/// Returns true if `path` is `dir` or below it. Compares inodes, because another mount may show the same directory.
pub fn is_in(path: &Path, dir: &Path) -> Result<bool> {
    let dir = FileId::at(dir)?;
    path.ancestors().try_fold(false, |found, ancestor| Ok(found || FileId::at(ancestor)? == dir))
}

/// Opens the source of a bind mount. Fails if it is not what it was when it was resolved: if a symbolic link is on
/// the path, or its kind has changed.
pub fn open_source(source: &Path, is_file: bool) -> Result<OwnedFd> {
    let failed = |error| Error::file_system("open", source, error);
    let found = open_without_links(source).map_err(failed)?;
    match FileStat::of(found.as_fd()).map_err(failed)?.kind() {
        EntryKind::File if is_file => Ok(found),
        EntryKind::Directory if !is_file => Ok(found),
        EntryKind::Link => Err(failed(Errno::ELOOP.into())),
        _ => Err(failed(Errno::ENOTDIR.into())),
    }
}

/// Opens the source directory of a bind mount for reading.
///
/// TOCTOU: the entry is opened as O_PATH and checked first. Opening a FIFO by name would block.
pub fn open_source_directory(source: &Path) -> Result<OwnedFd> {
    let found = open_source(source, false)?;
    readable_directory(found.as_fd()).map_err(|error| Error::file_system("open", source, error))
}

/// Opens a directory for reading, by the path of a descriptor of this process.
pub fn open_held_directory(path: &Path) -> Result<OwnedFd> {
    let failed = |error| Error::file_system("open", path, error);
    let found = open_host_entry(path).map_err(failed)?;
    match found.stat.kind() {
        EntryKind::Directory => readable_directory(found.fd.as_fd()).map_err(failed),
        _ => Err(failed(Errno::ENOTDIR.into())),
    }
}
