//! Creates sparse images with the metadata of a new file system as content.

use super::inspect::MAX_CAPACITY_BYTES;
use crate::error::{Errno, Error, Result};
use crate::ext4::Extent;
use crate::sys::ext::FileExt;
use imago::qcow2::Qcow2;
use imago::{
    DenyImplicitOpenGate, FormatAccess, FormatCreateBuilder, FormatDriverBuilder, StorageOpenOptions,
};
use std::fs::File;
use std::io;
use std::path::Path;

type NewImage = Qcow2<imago::file::File>;

/// Writes a qcow2 image (version 3, clusters of 64 KiB) of `capacity_bytes` with this content to the empty `file`, which
/// is open for reading and writing. Does not sync it. `path` is for messages.
pub fn create_qcow2(file: &File, path: &Path, capacity_bytes: u64, content: &[Extent]) -> Result<()> {
    check(capacity_bytes, content)?;
    let write = || {
        let storage = StorageOpenOptions::new().write(true);
        let storage = imago::file::File::from_open_file(file.try_clone()?, storage)?;
        let image = NewImage::create_builder(storage)
            .size(capacity_bytes)
            .create_open(DenyImplicitOpenGate::default(), |storage| {
                Ok(NewImage::builder(storage).backing(None).write(true))
            })?;
        let image = FormatAccess::new(image);
        for extent in content {
            image.write(extent.bytes.as_slice(), extent.offset)?;
        }
        image.flush()
    };
    write().map_err(|error| Error::file_system("write", path, with_errno(error)))
}

/// Writes a raw image with this content, and holes between it, to the empty `file`, which is open for writing. Does not
/// sync it. `path` is for messages.
pub fn create_raw(file: &File, path: &Path, capacity_bytes: u64, content: &[Extent]) -> Result<()> {
    check(capacity_bytes, content)?;
    file.set_len(capacity_bytes).map_err(|error| Error::file_system("ftruncate", path, error))?;
    for extent in content {
        file.write_all_at(&extent.bytes, extent.offset)
            .map_err(|error| Error::file_system("write", path, error))?;
    }
    Ok(())
}

/// Fails with an internal error if the capacity or an extent is out of range: both come from this library.
fn check(capacity_bytes: u64, content: &[Extent]) -> Result<()> {
    let fits = |extent: &Extent| {
        let end = extent.offset.checked_add(extent.bytes.len() as u64);
        end.is_some_and(|end| end <= capacity_bytes)
    };
    match (1..=MAX_CAPACITY_BYTES).contains(&capacity_bytes) && content.iter().all(fits) {
        true => Ok(()),
        false => Err(Error::internal(format_args!(
            "an image of {capacity_bytes} bytes is too big, or its content does not fit"
        ))),
    }
}

/// Restores the `errno` of an error of imago, which keeps only its kind.
fn with_errno(error: io::Error) -> io::Error {
    let errno = match error.kind() {
        _ if error.raw_os_error().is_some() => return error,
        io::ErrorKind::StorageFull => Errno::ENOSPC,
        io::ErrorKind::QuotaExceeded => Errno::EDQUOT,
        io::ErrorKind::FileTooLarge => Errno::EFBIG,
        _ => return error,
    };
    errno.into()
}
