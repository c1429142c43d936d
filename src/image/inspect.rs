//! What an image is: its format, its size, the file system in it.

use super::detect::{self, Signature};
use super::partitions::PartitionTable;
use super::problem::Failure;
use super::vmdk::Parts;
use super::{bytes, qcow2, superblock, vmdk};
use crate::error::{Error, Result};
use crate::model::DiskFormat;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// The biggest disk that an image may describe: 16 TiB. More than that in a header is taken for damage.
pub(super) const MAX_CAPACITY: u64 = 16 << 40;

/// How much of an image tells its format, and holds all of its header.
const HEAD: usize = 64 << 10;

/// What an image is.
#[derive(Debug)]
pub struct Inspected {
    /// Its format.
    pub format: DiskFormat,
    /// The size of the disk that a guest sees.
    pub capacity_bytes: u64,
    /// The type of the file system on the whole disk, as `mount -t` spells it; none where there is no known one, or
    /// where it could not be told.
    pub fstype: Option<&'static str>,
    /// What holds a vmdk's data, if it has none itself.
    pub parts: Option<Parts>,
    /// Why no program can write to the image.
    pub unwritable: Option<&'static str>,
    /// How long the file system says that it is.
    pub fs_bytes: Option<u64>,
    /// The partitions, where the disk has a partition table and no known file system of its own.
    pub partitions: Option<PartitionTable>,
}

impl Inspected {
    /// Fails if an image of the host at `path` cannot be mounted: if it is to be written and its format allows no
    /// writing, if a part of its file system is missing, or if it has partitions where a file system was expected.
    /// The caller `knows_fs` if it says itself which file system there is.
    pub fn check_mountable(&self, path: &Path, readonly: bool, knows_fs: bool) -> Result<()> {
        if let (Some(kind), false) = (self.unwritable, readonly) {
            let problem = format!(
                "is {kind}, which can only be read. Mount it \"readonly\", or convert it with qemu-img convert -O qcow2."
            );
            return Err(Error::disk_image(path, problem));
        }
        if let (Some(fstype), Some(bytes)) = (self.fstype, self.fs_bytes)
            && bytes > self.capacity_bytes
        {
            let problem = format!(
                "has {} bytes, and its {fstype} {bytes}: a part of it is missing. Get a whole copy of it.",
                self.capacity_bytes
            );
            return Err(Error::disk_image(path, problem));
        }
        match &self.partitions {
            Some(table) if !knows_fs => Err(Error::disk_image(path, table.in_words())),
            _ => Ok(()),
        }
    }
}

/// A format's part of it.
pub(super) struct ProbeResult {
    pub capacity_bytes: u64,
    /// The first [`superblock::NEEDED`] bytes of the disk, or as many as it has; none where they cannot be read.
    pub start: Vec<u8>,
    pub parts: Option<Parts>,
    pub unwritable: Option<&'static str>,
}

/// Finds out what an image is and refuses one that is not sound or names a file outside its directory. Nothing is
/// written, and nothing opened but a vmdk's extents in `directory`.
///
/// `file` is the image, a regular file open for reading; `path` tells a format by its extension, and stands in
/// messages; `directory` holds the image. The format is `stated`, or else told by the extension, or else by the
/// content; where stated or told by its extension it must be what the content says, and an image that is stated to be
/// raw is raw whatever it holds.
pub fn inspect(
    file: &File,
    path: &Path,
    directory: BorrowedFd<'_>,
    stated: Option<DiskFormat>,
) -> Result<Inspected> {
    facts(file, path, directory, stated).map_err(|failure| failure.of(path))
}

fn facts(
    file: &File,
    path: &Path,
    directory: BorrowedFd<'_>,
    stated: Option<DiskFormat>,
) -> Result<Inspected, Failure> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Err(Failure::Unfit(
            "is empty. Make a disk in it first, with qemu-img create for instance.".into(),
        ));
    }
    let head = bytes::read_up_to(file, 0, HEAD)?;
    let format = detect::format(stated, path, Signature::of(&head))?;
    let facts = match format {
        DiskFormat::Raw => ProbeResult {
            capacity_bytes: length,
            start: bytes::read_up_to(file, 0, superblock::NEEDED)?,
            parts: None,
            unwritable: None,
        },
        DiskFormat::Qcow2 => qcow2::inspect(file, &head, length)?,
        DiskFormat::Vmdk => vmdk::inspect(file, &head, length, directory)?,
    };
    let fstype = superblock::fstype(&facts.start);
    let partitions = match fstype {
        Some(_) => None,
        None => PartitionTable::find(&facts.start, facts.capacity_bytes),
    };
    Ok(Inspected {
        format,
        capacity_bytes: facts.capacity_bytes,
        fstype,
        parts: facts.parts,
        unwritable: facts.unwritable,
        fs_bytes: fstype.and_then(|fstype| superblock::size_bytes(&facts.start, fstype)),
        partitions,
    })
}
