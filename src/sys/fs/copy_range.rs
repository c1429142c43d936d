//! Copies content from one open file to another, as cheaply as the file systems allow.

use nix::errno::Errno;
use nix::fcntl::copy_file_range;
use nix::unistd::{Whence, lseek64};
use rustix::fs::ioctl_ficlone;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The longest piece that is copied by read and write: up to here that is faster than `copy_file_range(2)`.
const MAX_BUFFERED_BYTES: usize = 256 * 1024;

/// The copy buffer of one thread, reused from file to file.
#[derive(Debug, Default)]
pub struct TransferBuffer(Vec<u8>);

/// Reflinks `from` to `to`, which then share their blocks. Returns `false` if these two files cannot.
pub fn clone_content(from: &File, to: &File) -> io::Result<bool> {
    match ioctl_ficlone(to, from).map_err(|errno| Errno::from_raw(errno.raw_os_error())) {
        Ok(_) => Ok(true),
        Err(
            Errno::EOPNOTSUPP
            | Errno::EXDEV
            | Errno::EINVAL
            | Errno::ENOTTY
            | Errno::ENOSYS
            | Errno::EPERM
            | Errno::ETXTBSY
            | Errno::EBADF,
        ) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Copies at most `length` bytes at the offset `at` to the same offset. Returns how many: 0 at the end of `from`.
pub fn transfer(
    from: &File,
    to: &File,
    at: u64,
    length: usize,
    buffer: &mut TransferBuffer,
) -> io::Result<usize> {
    if length > MAX_BUFFERED_BYTES
        && let (Ok(mut read_at), Ok(mut write_at)) = (i64::try_from(at), i64::try_from(at))
    {
        match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), length) {
            Err(
                Errno::EXDEV
                | Errno::EOPNOTSUPP
                | Errno::ENOSYS
                | Errno::EINVAL
                | Errno::EPERM
                | Errno::EIO
                | Errno::EINTR
                | Errno::ETXTBSY,
            ) => {}
            // Files of procfs and sysfs copy 0 bytes, although a read returns some.
            Ok(0) => {}
            copied => return Ok(copied?),
        }
    }
    let content = read_piece(from, at, length, buffer)?;
    to.write_all_at(content, at)?;
    Ok(content.len())
}

/// Reads at most `length` bytes at the offset `at` into the buffer. Returns an empty slice at the end of `from`.
pub fn read_piece<'b>(
    from: &File,
    at: u64,
    length: usize,
    buffer: &'b mut TransferBuffer,
) -> io::Result<&'b [u8]> {
    // The kernel refuses an offset beyond i64::MAX.
    let max_length = usize::try_from(i64::MAX.unsigned_abs().saturating_sub(at)).unwrap_or(usize::MAX);
    let length = length.min(MAX_BUFFERED_BYTES).min(max_length);
    if buffer.0.len() < length {
        buffer.0.resize(length, 0);
    }
    let content = &mut buffer.0[..length];
    loop {
        match from.read_at(content, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            got => return Ok(&content[..got?]),
        }
    }
}

/// Reports whether the stat length of `file` is still `length`. If it changed, another process writes to the file.
///
/// If not, bytes beyond that length belong to the file: those of procfs and of some FUSE file systems are longer
/// than their stat length.
pub fn has_length(file: &File, length: u64) -> io::Result<bool> {
    Ok(file.metadata()?.len() == length)
}

/// Finds the next piece of `file` between `at` and `end` that is not a hole, and returns its begin and end.
///
/// A file system without `SEEK_DATA` has one piece.
pub fn next_data(file: &File, at: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
    let seek = |at: u64, whence| {
        let at = i64::try_from(at).map_err(|_| Errno::EOVERFLOW)?;
        lseek64(file, at, whence).map(i64::unsigned_abs)
    };
    let begin = match seek(at, Whence::SeekData) {
        Ok(begin) => begin,
        Err(Errno::ENXIO) => return Ok(None),
        Err(Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ESPIPE) => return Ok((at < end).then_some((at, end))),
        Err(errno) => return Err(errno.into()),
    };
    if begin >= end {
        return Ok(None);
    }
    match seek(begin, Whence::SeekHole) {
        Ok(hole) => Ok(Some((begin, hole.min(end)))),
        Err(Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
