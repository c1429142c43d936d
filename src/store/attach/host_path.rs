//! Finding what a bind mount names on the host.

#![expect(clippy::disallowed_methods, reason = "the one place that resolves paths of the host's own by name")]

use crate::error::{Error, Result};
use crate::image;
use crate::mount::MountKind;
use crate::store::layout::HomeDirs;
use crate::sys::{
    Access, EntryKind, FileId, FileStat, open_host_entry, open_without_links, readable_directory, reopen,
};
use nix::errno::Errno;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The real path of a bind mount's source, and whether it is a file: it is that or a directory, and nothing that
/// overlaps the store's own.
///
/// The path is the host's, not a guest's, and is handed to a runtime by name; links are resolved here, so that
/// what was checked is what is named.
pub fn resolve_bind_source(layout: &HomeDirs, source: &Path) -> Result<(PathBuf, bool)> {
    let failed = |error| Error::file_system("realpath", source, error);
    let real = std::fs::canonicalize(source).map_err(failed)?;
    let kind = std::fs::symlink_metadata(&real).map_err(failed)?.file_type();
    if !kind.is_dir() && !kind.is_file() {
        let problem = format!("{source:?} is neither a file nor a directory");
        return Err(Error::invalid_config(MountKind::Bind.as_str(), problem));
    }
    refuse_private(MountKind::Bind, layout, source, &real)?;
    match real.to_str() {
        Some(_) => Ok((real, kind.is_file())),
        None => Err(Error::invalid_config(
            MountKind::Bind.as_str(),
            format!("{source:?} resolves to a path that is not UTF-8"),
        )),
    }
}

/// Opens a disk image: a regular file that is not among the store's own, and that this process may write unless it
/// is `readonly`.
pub fn open_image(layout: &HomeDirs, source: &Path, readonly: bool) -> Result<image::OpenedImage> {
    let opened = image::open(source, |real, id| {
        refuse_private(MountKind::Disk, layout, source, real)?;
        match layout.is_catalogs(id)? {
            true => Err(private(MountKind::Disk, source)),
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

/// Refuses a file that this process may not write. A runtime would find out later, and say less.
pub fn check_writable(file: &File, path: &Path) -> Result<()> {
    let opened = reopen(file.as_fd(), Access::Write);
    opened.map(drop).map_err(|error| Error::file_system("open", path, error))
}

/// Refuses what holds, or is held by, a directory of the store's own.
fn refuse_private(kind: MountKind, layout: &HomeDirs, source: &Path, real: &Path) -> Result<()> {
    match overlaps_private(layout, real)? {
        true => Err(private(kind, source)),
        false => Ok(()),
    }
}

/// Whether a path free of links holds, or is held by, a directory of the store's own.
pub fn overlaps_private(layout: &HomeDirs, real: &Path) -> Result<bool> {
    any_private(layout, |own| Ok(is_in(real, own)? || is_in(own, real)?))
}

/// Whether a directory, by its path free of links, is one of the store's own or below one.
pub fn is_in_private(layout: &HomeDirs, real: &Path) -> Result<bool> {
    any_private(layout, |own| is_in(real, own))
}

fn any_private(layout: &HomeDirs, is_one: impl Fn(&Path) -> Result<bool>) -> Result<bool> {
    for own in layout.private_directories() {
        let own = std::fs::canonicalize(own).map_err(|error| Error::file_system("realpath", own, error))?;
        if is_one(&own)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn private(kind: MountKind, source: &Path) -> Error {
    let problem = format!(
        "{source:?} holds volumes or their catalog, or is held by them, and would give a sandbox more than it may \
         have; attach a volume with Mount.named"
    );
    Error::invalid_config(kind.as_str(), problem)
}

/// Whether `path` is `dir` or below it, as directories go: another mount may show the same one elsewhere.
pub fn is_in(path: &Path, dir: &Path) -> Result<bool> {
    let dir = FileId::at(dir)?;
    path.ancestors().try_fold(false, |found, ancestor| Ok(found || FileId::at(ancestor)? == dir))
}

/// Opens what a bind mount shows, which may only be what its source was when it was resolved: a link on the way is
/// refused, and so is what is no file or directory any more.
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

/// Opens the directory that a bind mount shows, for looking at what is in it. Only what was found to be a directory is
/// opened, by its descriptor: to open a FIFO by name would wait for its other end.
pub fn open_source_directory(source: &Path) -> Result<OwnedFd> {
    let found = open_source(source, false)?;
    readable_directory(found.as_fd()).map_err(|error| Error::file_system("open", source, error))
}

/// The same of a path that leads to a descriptor of ours.
pub fn open_held_directory(path: &Path) -> Result<OwnedFd> {
    let failed = |error| Error::file_system("open", path, error);
    let found = open_host_entry(path).map_err(failed)?;
    match found.facts.kind() {
        EntryKind::Directory => readable_directory(found.fd.as_fd()).map_err(failed),
        _ => Err(failed(Errno::ENOTDIR.into())),
    }
}
