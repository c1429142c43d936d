//! New images, sparse, with a file system's skeleton for content.

use super::inspect::MAX_CAPACITY;
use crate::error::{Error, Result};
use crate::ext4::Extent;
use imago::qcow2::Qcow2;
use imago::{
    DenyImplicitOpenGate, FormatAccess, FormatCreateBuilder, FormatDriverBuilder, StorageOpenOptions,
};
use nix::errno::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

type NewImage = Qcow2<imago::file::File>;

/// Makes the empty `file`, open for reading and writing, a qcow2 image (version 3, clusters of 64 KiB) of a disk of
/// `capacity_bytes` with this content. `path` stands in messages. Nothing is synced.
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
    write().map_err(|error| Error::file_system("write", path, with_number(error)))
}

/// Makes the empty `file`, open for writing, a raw image: the disk's bytes and holes between them. `path` stands in
/// messages. Nothing is synced.
pub fn create_raw(file: &File, path: &Path, capacity_bytes: u64, content: &[Extent]) -> Result<()> {
    check(capacity_bytes, content)?;
    file.set_len(capacity_bytes).map_err(|error| Error::file_system("ftruncate", path, error))?;
    for extent in content {
        file.write_all_at(&extent.bytes, extent.offset)
            .map_err(|error| Error::file_system("write", path, error))?;
    }
    Ok(())
}

/// Sizes and content come from our own code.
fn check(capacity_bytes: u64, content: &[Extent]) -> Result<()> {
    let fits = |extent: &Extent| {
        let end = extent.offset.checked_add(extent.bytes.len() as u64);
        end.is_some_and(|end| end <= capacity_bytes)
    };
    match (1..=MAX_CAPACITY).contains(&capacity_bytes) && content.iter().all(fits) {
        true => Ok(()),
        false => Err(Error::internal(format_args!(
            "an image of {capacity_bytes} bytes is too big, or its content does not fit"
        ))),
    }
}

/// imago words an error anew, and only its kind tells the number that the system gave.
fn with_number(error: io::Error) -> io::Error {
    let errno = match error.kind() {
        _ if error.raw_os_error().is_some() => return error,
        io::ErrorKind::StorageFull => Errno::ENOSPC,
        io::ErrorKind::QuotaExceeded => Errno::EDQUOT,
        io::ErrorKind::FileTooLarge => Errno::EFBIG,
        _ => return error,
    };
    errno.into()
}
