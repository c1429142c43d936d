//! Listings as tests look at them.

use sandbox_volumes::error::Error;
use sandbox_volumes::store::VolumeFs;
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::{EntryMetadata, ListOptions};
use std::ffi::OsStr;
use std::path::PathBuf;

/// All entries, each directory's sorted, from small batches.
pub fn listed(
    files: &VolumeFs,
    path: impl AsRef<OsStr>,
    recursive: bool,
) -> Result<Vec<(PathBuf, EntryMetadata)>, Error> {
    told(files, path, ListOptions { recursive, whole: true })
}

/// The entries from small batches, in the order of a listing with these options.
pub fn told(
    files: &VolumeFs,
    path: impl AsRef<OsStr>,
    options: ListOptions,
) -> Result<Vec<(PathBuf, EntryMetadata)>, Error> {
    let mut listing = files.list(path, options)?;
    let mut entries = Vec::new();
    loop {
        let batch = listing.next(3, &CancelToken::default())?;
        assert!(batch.metadata.len() <= 3);
        entries.extend(batch.entries());
        if batch.is_last {
            return Ok(entries);
        }
    }
}

pub fn paths(entries: &[(PathBuf, EntryMetadata)]) -> Vec<String> {
    entries.iter().map(|(path, _)| path.to_string_lossy().into_owned()).collect()
}

/// The kind of an entry, as JavaScript names it.
pub fn kind(mode: u32) -> &'static str {
    match mode & nix::libc::S_IFMT {
        nix::libc::S_IFREG => "file",
        nix::libc::S_IFDIR => "directory",
        nix::libc::S_IFLNK => "symlink",
        _ => "other",
    }
}
