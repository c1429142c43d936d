//! vmdk, with a reader of our own: imago supports neither sparse extents nor the keys that VMware writes, and it opens
//! extents by name.
//!
//! Decisions beyond the specification of the format:
//! - Supported types of one file are `monolithicSparse` and `streamOptimized`. Supported types of a descriptor and extents
//!   are `monolithicFlat`, `twoGbMaxExtentFlat`, `twoGbMaxExtentSparse` and `vmfs`. Snapshots and raw devices are
//!   refused.
//! - An extent is a regular file in the image's directory, by a plain name. QEMU parses a name with a colon as a protocol,
//!   so a colon is refused.
//! - QEMU finds a parent's name anywhere in a descriptor, comments included, and at a fixed offset of a sparse file. An
//!   image with such a name is refused.
//! - A descriptor is parsed as QEMU does, and refused if QEMU refuses it. QEMU ignores an extent of zeros (`ZERO`), which
//!   has no file, so it is ignored here.
//! - QEMU follows the descriptor of a sparse file of capacity 0 to other files. Such a file is refused, also as an extent.

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
use crate::sys::fd::{AsFd, BorrowedFd};
use crate::sys::{FileId, Found, open_beside};
use disk::VmdkSegment;
use std::fs::File;

/// The unit of every offset and size in a vmdk.
const SECTOR: u64 = 512;

/// The offset at which QEMU searches a sparse file for a parent's name, and how many bytes it searches.
const PARENT_AT: usize = 0x200;
const PARENT_SEARCH_BYTES: usize = 20 * 512;

/// The description of an image whose grains are compressed. QEMU refuses to write such a grain again.
const COMPRESSED: &str = "a streamOptimized vmdk";

/// A file with a part of a vmdk's data.
#[derive(Debug)]
pub struct ExtentFile {
    /// The file's name in the image's directory.
    pub name: String,
    /// The regular file, open for reading.
    pub file: File,
}

/// The parts of a vmdk whose data is in other files.
#[derive(Debug)]
pub struct Parts {
    /// The descriptor, which names the files.
    pub descriptor: Descriptor,
    /// The regular files, in the image's directory.
    pub files: Vec<ExtentFile>,
}

/// Inspects an image of `length` bytes that begins with `head`.
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
        return Err(Failure::Invalid(descriptor::TOO_LONG.into()));
    }
    let text = read_up_to(file, 0, descriptor::MAX_BYTES as usize)?;
    let descriptor = Descriptor::parse(&text)?;
    let extents = descriptor.separate_extents()?;
    let opened = open_extents(extents, directory)?;
    refuse_shared_files(file, &opened)?;
    let mut parts = Vec::with_capacity(extents.len());
    for (extent, opened) in extents.iter().zip(&opened) {
        parts.push(segment(extent, opened)?);
    }
    let sectors: u64 = extents.iter().map(|extent| extent.sectors).sum();
    let capacity_bytes = sectors * SECTOR;
    let start = disk::read_start(&parts, wanted(capacity_bytes))?;
    let unwritable = parts.iter().any(VmdkSegment::is_compressed).then_some(COMPRESSED);
    Ok(ProbeResult { capacity_bytes, start, parts: Some(Parts { descriptor, files: opened }), unwritable })
}

/// Inspects a sparse file that is the whole disk.
fn inspect_sparse(file: &File, head: &[u8], length: u64) -> Result<ProbeResult, Failure> {
    let header = sparse_header(file, head, length)?;
    let Some(place) = &header.descriptor else {
        return Err(Failure::Invalid(
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

/// Reads the header of a sparse file, from its footer if the file was written as a stream.
fn sparse_header(file: &File, head: &[u8], length: u64) -> Result<SparseHeader, Failure> {
    let searched = head.get(PARENT_AT..).unwrap_or_default();
    descriptor::check_parentless(&searched[..searched.len().min(PARENT_SEARCH_BYTES)])?;
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
                Err(Failure::Invalid(format!("names the extent {name:?}, which is {kind}").into()))
            }
            Err(error) => Err(Failure::Damaged(
                format!("names the extent {name:?}, which cannot be opened beside it").into(),
                error,
            )),
        }
    };
    extents.iter().map(open).collect()
}

/// Fails if a file is used for two extents, or is the image itself: a write to one would change the other.
fn refuse_shared_files(image: &File, extents: &[ExtentFile]) -> Result<(), Failure> {
    let mut seen = vec![FileId::of_open(image.as_fd())?];
    for extent in extents {
        let id = FileId::of_open(extent.file.as_fd())?;
        if seen.contains(&id) {
            let problem =
                format!("names the file of the extent {:?} twice, or is that file itself", extent.name);
            return Err(Failure::Invalid(problem.into()));
        }
        seen.push(id);
    }
    Ok(())
}

/// Checks an extent's file against the descriptor.
fn segment<'e>(extent: &VmdkExtent, opened: &'e ExtentFile) -> Result<VmdkSegment<'e>, Failure> {
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
            let head = read_up_to(&opened.file, 0, PARENT_AT + PARENT_SEARCH_BYTES)?;
            let header = sparse_header(&opened.file, &head, length).map_err(|failure| match failure {
                Failure::Invalid(problem) => Failure::Invalid(of_extent(problem)),
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
    capacity_bytes.min(superblock::NEEDED_BYTES as u64) as usize
}
