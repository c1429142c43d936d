//! Host paths as far as text goes; whether anything is there is the store's question.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// `path` made absolute against `cwd`. A `..` is kept, because it may cross a link.
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

/// `path` where it must be absolute already, because `factory` has resolved it.
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
