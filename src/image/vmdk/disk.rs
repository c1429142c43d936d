//! Reads the beginning of the disk that a vmdk's files make up.

use super::{SECTOR, SparseHeader};
use crate::image::bytes::{fill, le32, le64, read_up_to};
use crate::image::problem::{Failure, ImageProblem};
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use std::fs::File;

/// The length of the marker before a compressed grain: the grain's sector and size.
const MARKER_BYTES: u64 = 12;

/// A file with a segment of the disk, and its layout.
pub(super) struct VmdkSegment<'f> {
    file: &'f File,
    bytes: u64,
    layout: VmdkLayout,
}

enum VmdkLayout {
    Flat { from: u64 },
    Sparse { length: u64, header: SparseHeader },
}

impl<'f> VmdkSegment<'f> {
    /// A segment of plain data that begins at the byte `from`.
    pub fn flat(file: &'f File, from: u64, sectors: u64) -> Self {
        VmdkSegment { file, bytes: sectors * SECTOR, layout: VmdkLayout::Flat { from } }
    }

    /// A segment of grains in a file of `length` bytes.
    pub fn sparse(file: &'f File, length: u64, header: SparseHeader) -> Self {
        VmdkSegment { file, bytes: header.sectors * SECTOR, layout: VmdkLayout::Sparse { length, header } }
    }

    /// Reports whether its grains are compressed, so that they cannot be written again.
    pub fn is_compressed(&self) -> bool {
        matches!(&self.layout, VmdkLayout::Sparse { header, .. } if header.is_compressed)
    }

    /// Fills `buffer` with the first bytes. The segment must not be shorter.
    fn read_start(&self, buffer: &mut [u8]) -> Result<(), Failure> {
        match &self.layout {
            VmdkLayout::Flat { from } => {
                fill(self.file, *from, buffer)?;
            }
            VmdkLayout::Sparse { length, header } => {
                let grain_bytes = (header.grain_sectors * SECTOR) as usize;
                for (grain, piece) in (0u64..).zip(buffer.chunks_mut(grain_bytes)) {
                    self.read_grain(header, *length, grain, piece)?;
                }
            }
        }
        Ok(())
    }

    /// Reads the beginning of a grain into `piece`, which contains zeros. A grain that was never written leaves it as it is.
    fn read_grain(
        &self,
        header: &SparseHeader,
        length: u64,
        grain: u64,
        piece: &mut [u8],
    ) -> Result<(), Failure> {
        let (directory_index, table_index) = SparseHeader::grain_indices(grain);
        let table = self.entry(header.directory_at, directory_index, length)?;
        if table == 0 {
            return Ok(());
        }
        let sector = self.entry(table * SECTOR, table_index, length)?;
        if sector == 0 || (sector == 1 && header.has_zero_grains) {
            return Ok(());
        }
        let at = sector * SECTOR;
        if header.is_compressed {
            return self.inflate_grain(header, at, piece);
        }
        match at < length {
            true => fill(self.file, at, piece)?,
            false => return Err(outside()),
        };
        Ok(())
    }

    /// Reads an entry of a table. Fails if it is outside the file.
    fn entry(&self, table_at: u64, number: u64, length: u64) -> Result<u64, Failure> {
        let at = table_at + number * 4;
        let bytes = if at < length { read_up_to(self.file, at, 4)? } else { Vec::new() };
        le32(&bytes, 0).map(u64::from).ok_or_else(outside)
    }

    fn inflate_grain(&self, header: &SparseHeader, at: u64, piece: &mut [u8]) -> Result<(), Failure> {
        let damaged = || Failure::Invalid("is damaged: a compressed grain in it cannot be read".into());
        let marker = read_up_to(self.file, at, MARKER_BYTES as usize)?;
        let (Some(_), Some(size)) = (le64(&marker, 0), le32(&marker, 8)) else { return Err(outside()) };
        let grain_bytes = (header.grain_sectors * SECTOR) as usize;
        // Incompressible data becomes a little longer.
        if size as usize > 2 * grain_bytes {
            return Err(damaged());
        }
        let deflated = read_up_to(self.file, at + MARKER_BYTES, size as usize)?;
        let grain = decompress_to_vec_zlib_with_limit(&deflated, grain_bytes).map_err(|_| damaged())?;
        // The last grain of a disk may be shorter.
        let available = grain.len().min(piece.len());
        piece[..available].copy_from_slice(&grain[..available]);
        Ok(())
    }
}

fn outside() -> Failure {
    Failure::Invalid(ImageProblem::Borrowed("is damaged: its tables point outside it"))
}

/// Returns the first `wanted` bytes of the disk. Bytes beyond its end are zero.
pub(super) fn read_start(parts: &[VmdkSegment<'_>], wanted: usize) -> Result<Vec<u8>, Failure> {
    let mut start = vec![0; wanted];
    let mut rest = start.as_mut_slice();
    for part in parts {
        let here = usize::try_from(part.bytes).unwrap_or(usize::MAX).min(rest.len());
        let (piece, tail) = rest.split_at_mut(here);
        part.read_start(piece)?;
        rest = tail;
    }
    Ok(start)
}
