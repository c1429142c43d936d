//! Host paths as text. The store checks whether they exist.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Resolves `path` against `cwd`. Keeps `..`, because it may follow a link.
pub(super) fn resolve(field: &str, path: &str, cwd: &Path) -> Result<PathBuf> {
    let absolute = cwd.join(check(field, path)?);
    if absolute.to_str().is_none() {
        return Err(Error::invalid_config(
            field,
            format!(
                "{path:?} is relative to a working directory whose path is not UTF-8; give an absolute path"
            ),
        ));
    }
    Ok(absolute)
}

/// Returns `path`, which `factory` has resolved. Fails if it is not absolute.
pub(super) fn absolute(field: &str, path: &str, factory: &str) -> Result<PathBuf> {
    let path = check(field, path)?;
    if path.is_relative() {
        return Err(Error::invalid_config(
            field,
            format!("{path:?} is relative; build the mount with {factory}, which resolves it"),
        ));
    }
    Ok(path.to_owned())
}

fn check<'a>(field: &str, path: &'a str) -> Result<&'a Path> {
    if path.is_empty() {
        return Err(Error::invalid_config(field, "a host path must not be empty"));
    }
    if path.contains('\0') {
        return Err(Error::invalid_config(field, format!("{path:?} contains a NUL character")));
    }
    Ok(Path::new(path))
}
