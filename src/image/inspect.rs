//! Inspects an image: its format, its size and its file system.

use super::detect::{self, Signature};
use super::partitions::PartitionTable;
use super::problem::Failure;
use super::vmdk::Parts;
use super::{bytes, qcow2, superblock, vmdk};
use crate::error::{Error, Result};
use crate::model::DiskFormat;
use crate::sys::fd::BorrowedFd;
use std::fs::File;
use std::path::Path;

/// The largest disk that an image may describe: 16 TiB. A header with a larger size is damaged.
pub(super) const MAX_CAPACITY_BYTES: u64 = 16 << 40;

/// How much of an image is read to detect its format and to parse its header.
const HEAD_BYTES: usize = 64 << 10;

/// The properties of a valid image.
#[derive(Debug)]
pub struct Inspected {
    /// The image's format.
    pub format: DiskFormat,
    /// The size of the disk that a guest sees.
    pub capacity_bytes: u64,
    /// The type of the file system on the whole disk, as `mount -t` spells it. `None` if there is no known one, or if the
    /// disk cannot be read.
    pub fstype: Option<&'static str>,
    /// The extents of a vmdk, if it is a descriptor only.
    pub parts: Option<Parts>,
    /// Why no program can write to the image, if none can.
    pub unwritable: Option<&'static str>,
    /// The size of the file system according to its superblock.
    pub fs_bytes: Option<u64>,
    /// The partition table, if the disk has one and no known file system of its own.
    pub partitions: Option<PartitionTable>,
}

impl Inspected {
    /// Fails if an image of the host at `path` cannot be mounted.
    ///
    /// It cannot be mounted for writing if its format is read-only. It cannot be mounted if a part of its file system is
    /// missing. Nor if it has a partition table, unless the caller `knows_fs`: states the file system itself.
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
            Some(table) if !knows_fs => Err(Error::disk_image(path, table.problem())),
            _ => Ok(()),
        }
    }
}

/// The properties that the code of a format finds.
pub(super) struct ProbeResult {
    pub capacity_bytes: u64,
    /// The first [`superblock::NEEDED_BYTES`] bytes of the disk, or all if it is shorter. Empty if they cannot be read.
    pub start: Vec<u8>,
    pub parts: Option<Parts>,
    pub unwritable: Option<&'static str>,
}

/// Inspects an image. Fails if it is damaged, or names a file outside its directory. Writes nothing, and opens only a
/// vmdk's extents in `directory`.
///
/// `file` is a regular file that is open for reading, in `directory`. `path` is for messages and for its extension.
///
/// The format is that which the caller `stated`, else that of the extension, else that of the content. The content must
/// match a stated format and an extension. An image that is stated to be raw may have any content.
pub fn inspect(
    file: &File,
    path: &Path,
    directory: BorrowedFd<'_>,
    stated: Option<DiskFormat>,
) -> Result<Inspected> {
    probe(file, path, directory, stated).map_err(|failure| failure.of(path))
}

fn probe(
    file: &File,
    path: &Path,
    directory: BorrowedFd<'_>,
    stated: Option<DiskFormat>,
) -> Result<Inspected, Failure> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Err(Failure::Invalid(
            "is empty. Make a disk in it first, with qemu-img create for instance.".into(),
        ));
    }
    let head = bytes::read_up_to(file, 0, HEAD_BYTES)?;
    let format = detect::format(stated, path, Signature::of(&head))?;
    let probe = match format {
        DiskFormat::Raw => ProbeResult {
            capacity_bytes: length,
            start: bytes::read_up_to(file, 0, superblock::NEEDED_BYTES)?,
            parts: None,
            unwritable: None,
        },
        DiskFormat::Qcow2 => qcow2::inspect(file, &head, length)?,
        DiskFormat::Vmdk => vmdk::inspect(file, &head, length, directory)?,
    };
    let fstype = superblock::fstype(&probe.start);
    let partitions = match fstype {
        Some(_) => None,
        None => PartitionTable::find(&probe.start, probe.capacity_bytes),
    };
    Ok(Inspected {
        format,
        capacity_bytes: probe.capacity_bytes,
        fstype,
        parts: probe.parts,
        unwritable: probe.unwritable,
        fs_bytes: fstype.and_then(|fstype| superblock::size_bytes(&probe.start, fstype)),
        partitions,
    })
}
