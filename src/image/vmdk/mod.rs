//! vmdk, by our own reader: imago knows neither sparse extents nor the keys that VMware writes, and would open extents
//! by name.
//!
//! Decisions beyond the letter of the format:
//! - Read are `monolithicSparse` and `streamOptimized`, which are one file, and `monolithicFlat`,
//!   `twoGbMaxExtentFlat`, `twoGbMaxExtentSparse` and `vmfs`, which are a descriptor and extents beside it. Snapshots
//!   and raw devices are refused.
//! - An extent is a plain name of the image's own directory, and a regular file there. QEMU takes a name with a colon
//!   for a protocol, so there is none in it.
//! - QEMU looks for a parent's name anywhere in a descriptor, comments included, and at a fixed place of a sparse
//!   file. So do we, and refuse the image wherever it stands.
//! - A descriptor is read as QEMU reads it, and refused where QEMU refuses it. An extent of zeros (`ZERO`), which has no
//!   file, is no part of the disk to QEMU, so it is none here.
//! - A sparse file of capacity 0 is one whose own descriptor QEMU would follow to further files: refused, for extents
//!   as well.

mod descriptor;
mod disk;
mod sparse;

pub use descriptor::{Descriptor, Storage, VmdkExtent};
pub use sparse::{MAGIC as SPARSE_MAGIC, SparseHeader};

pub(super) use descriptor::is_descriptor;

use super::bytes::read_up_to;
use super::inspect::ProbeResult;
use super::problem::{Failure, ImageProblem};
use super::superblock;
use crate::sys::{FileId, Found, open_beside};
use disk::VmdkSegment;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

/// The unit of every offset and size in a vmdk.
const SECTOR: u64 = 512;

/// Where QEMU looks for a parent's name in a sparse file, and how far.
const PARENT_AT: usize = 0x200;
const PARENT_WITHIN: usize = 20 * 512;

/// What an image is whose grains are written once: QEMU refuses to write one again.
const COMPRESSED: &str = "a streamOptimized vmdk";

/// A file that holds a part of a vmdk's data.
#[derive(Debug)]
pub struct ExtentFile {
    /// Its name in the image's directory.
    pub name: String,
    /// The file, a regular one, open for reading.
    pub file: File,
}

/// What a vmdk consists of that has none of its data itself.
#[derive(Debug)]
pub struct Parts {
    /// What it says of them.
    pub descriptor: Descriptor,
    /// The files: regular ones of the image's own directory.
    pub files: Vec<ExtentFile>,
}

/// What the image is that begins with `head` and has `length` bytes.
pub(super) fn inspect(
    file: &File,
    head: &[u8],
    length: u64,
    directory: BorrowedFd<'_>,
) -> Result<ProbeResult, Failure> {
    if head.starts_with(&SPARSE_MAGIC) {
        return inspect_sparse(file, head, length);
    }
    if length > descriptor::MAX_BYTES {
        return Err(Failure::Unfit(descriptor::TOO_LONG.into()));
    }
    let text = read_up_to(file, 0, descriptor::MAX_BYTES as usize)?;
    let descriptor = Descriptor::parse(&text)?;
    let extents = descriptor.separate_extents()?;
    let opened = open_extents(extents, directory)?;
    refuse_shared_files(file, &opened)?;
    let mut parts = Vec::with_capacity(extents.len());
    for (extent, opened) in extents.iter().zip(&opened) {
        parts.push(part(extent, opened)?);
    }
    let sectors: u64 = extents.iter().map(|extent| extent.sectors).sum();
    let capacity_bytes = sectors * SECTOR;
    let start = disk::read_start(&parts, wanted(capacity_bytes))?;
    let unwritable = parts.iter().any(VmdkSegment::is_compressed).then_some(COMPRESSED);
    Ok(ProbeResult { capacity_bytes, start, parts: Some(Parts { descriptor, files: opened }), unwritable })
}

/// A sparse file that is the whole disk.
fn inspect_sparse(file: &File, head: &[u8], length: u64) -> Result<ProbeResult, Failure> {
    let header = sparse_header(file, head, length)?;
    let Some(place) = &header.descriptor else {
        return Err(Failure::Unfit(
            "is a part of a vmdk image. Give the .vmdk file that names its parts.".into(),
        ));
    };
    let text = read_up_to(file, place.start, (place.end - place.start) as usize)?;
    let descriptor = Descriptor::parse(&text)?;
    descriptor.check_embedded(header.sectors)?;
    let capacity_bytes = header.sectors * SECTOR;
    let unwritable = (header.is_compressed || descriptor.is_stream()).then_some(COMPRESSED);
    let start = disk::read_start(&[VmdkSegment::sparse(file, length, header)], wanted(capacity_bytes))?;
    Ok(ProbeResult { capacity_bytes, start, parts: None, unwritable })
}

/// The header of a sparse file, from its footer where the file was written in one go.
fn sparse_header(file: &File, head: &[u8], length: u64) -> Result<SparseHeader, Failure> {
    let searched = head.get(PARENT_AT..).unwrap_or_default();
    descriptor::check_parentless(&searched[..searched.len().min(PARENT_WITHIN)])?;
    match SparseHeader::parse(head, length)? {
        sparse::Parsed::Header(header) => Ok(header),
        sparse::Parsed::FooterAt(at) => {
            let footer = read_up_to(file, at, SECTOR as usize)?;
            Ok(SparseHeader::parse_footer(head, &footer, length)?)
        }
    }
}

fn open_extents(extents: &[VmdkExtent], directory: BorrowedFd<'_>) -> Result<Vec<ExtentFile>, Failure> {
    let open = |extent: &VmdkExtent| {
        let name = extent.name.clone();
        match open_beside(directory, &name) {
            Ok(Found::Regular(file)) => Ok(ExtentFile { file: File::from(file), name }),
            Ok(Found::Other(kind)) => {
                Err(Failure::Unfit(format!("names the extent {name:?}, which is {kind}").into()))
            }
            Err(error) => Err(Failure::Damaged(
                format!("names the extent {name:?}, which cannot be opened beside it").into(),
                error,
            )),
        }
    };
    extents.iter().map(open).collect()
}

/// Refuses a file that holds two parts of a disk, or that is the image itself: writing the one would change the other.
fn refuse_shared_files(image: &File, extents: &[ExtentFile]) -> Result<(), Failure> {
    let mut seen = vec![FileId::of_open(image.as_fd())?];
    for extent in extents {
        let id = FileId::of_open(extent.file.as_fd())?;
        if seen.contains(&id) {
            let problem =
                format!("names the file of the extent {:?} twice, or is that file itself", extent.name);
            return Err(Failure::Unfit(problem.into()));
        }
        seen.push(id);
    }
    Ok(())
}

/// Holds an extent's file against what the descriptor says of it.
fn part<'e>(extent: &VmdkExtent, opened: &'e ExtentFile) -> Result<VmdkSegment<'e>, Failure> {
    let length = opened.file.metadata()?.len();
    let of_extent = |problem: ImageProblem| {
        ImageProblem::from(format!("names the extent {:?}, which {problem}", extent.name))
    };
    match extent.storage {
        Storage::Flat { first_sector } => {
            let end = first_sector.checked_add(extent.sectors).and_then(|end| end.checked_mul(SECTOR));
            match end {
                Some(end) if end <= length => {
                    Ok(VmdkSegment::flat(&opened.file, first_sector * SECTOR, extent.sectors))
                }
                _ => Err(of_extent("is smaller than the image says".into()).into()),
            }
        }
        Storage::Sparse => {
            let head = read_up_to(&opened.file, 0, PARENT_AT + PARENT_WITHIN)?;
            let header = sparse_header(&opened.file, &head, length).map_err(|failure| match failure {
                Failure::Unfit(problem) => Failure::Unfit(of_extent(problem)),
                other => other,
            })?;
            match header.sectors == extent.sectors {
                true => Ok(VmdkSegment::sparse(&opened.file, length, header)),
                false => Err(of_extent("has another size than the image says".into()).into()),
            }
        }
    }
}

fn wanted(capacity_bytes: u64) -> usize {
    capacity_bytes.min(superblock::NEEDED as u64) as usize
}
