//! Finding what a bind mount names on the host.

#![expect(clippy::disallowed_methods, reason = "the one place that resolves paths of the host's own by name")]

use super::layout::Layout;
use crate::error::{Error, Result};
use crate::sys::FileId;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The real path of a bind mount's source, and whether it is a file: it is that or a directory, and nothing that
/// overlaps the store's own.
///
/// The path is the host's, not a guest's, and is handed to a runtime by name; links are resolved here, so that
/// what was checked is what is named.
pub fn resolve_bind_source(layout: &Layout, source: &Path) -> Result<(PathBuf, bool)> {
    let failed = |error| Error::file_system("realpath", source, error);
    let real = std::fs::canonicalize(source).map_err(failed)?;
    let kind = std::fs::symlink_metadata(&real).map_err(failed)?.file_type();
    if !kind.is_dir() && !kind.is_file() {
        let problem = format!("{source:?} is neither a file nor a directory");
        return Err(Error::invalid_config("bind", problem));
    }
    for private in layout.private_directories() {
        let private = std::fs::canonicalize(private).map_err(failed)?;
        if is_in(&real, &private)? || is_in(&private, &real)? {
            return Err(Error::invalid_config(
                "bind",
                format!(
                    "{source:?} holds volumes or their catalog, or is held by them, and would give a sandbox \
                     more than it may have; attach a volume with Mount.named"
                ),
            ));
        }
    }
    match real.to_str() {
        Some(_) => Ok((real, kind.is_file())),
        None => {
            Err(Error::invalid_config("bind", format!("{source:?} resolves to a path that is not UTF-8")))
        }
    }
}

/// Whether `path` is `dir` or below it, as directories go: another mount may show the same one elsewhere.
fn is_in(path: &Path, dir: &Path) -> Result<bool> {
    let dir = FileId::at(dir)?;
    path.ancestors().try_fold(false, |found, ancestor| Ok(found || FileId::at(ancestor)? == dir))
}

/// Opens the source of a bind mount that is a directory.
pub fn open_directory(source: &Path) -> Result<OwnedFd> {
    let opened = File::open(source).map_err(|error| Error::file_system("open", source, error))?;
    Ok(opened.into())
}
