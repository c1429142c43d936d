//! Moving the content of one open file into another, as cheaply as their file systems can.

#![expect(unsafe_code, reason = "the ioctl that clones a file has no safe wrapper among our dependencies")]

use nix::errno::Errno;
use nix::fcntl::copy_file_range;
use nix::libc;
use nix::unistd::{Whence, lseek64};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// Up to here a plain read and write are faster than asking the kernel to copy.
const SMALL: usize = 256 * 1024;

mod ioctl {
    nix::ioctl_write_int!(ficlone, 0x94, 9);
}

/// Memory that one thread copies through, kept from file to file.
#[derive(Debug, Default)]
pub struct TransferBuffer(Vec<u8>);

/// Makes `to` share the content of `from`. False where that is not possible for these two.
pub fn clone_content(from: &File, to: &File) -> io::Result<bool> {
    // SAFETY: FICLONE takes a descriptor as its argument and touches no memory of ours; both are open.
    match unsafe { ioctl::ficlone(to.as_raw_fd(), from.as_raw_fd() as libc::c_ulong) } {
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

/// Copies at most `length` bytes at the offset `at`, to the same offset, and gives how many: none at the source's
/// end.
pub fn transfer(
    from: &File,
    to: &File,
    at: u64,
    length: usize,
    buffer: &mut TransferBuffer,
) -> io::Result<usize> {
    if length > SMALL
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
            // Some file systems of the kernel's own claim that there is nothing; reading tells.
            Ok(0) => {}
            copied => return Ok(copied?),
        }
    }
    let content = read_piece(from, at, length, buffer)?;
    to.write_all_at(content, at)?;
    Ok(content.len())
}

/// Reads at most `length` bytes at the offset `at` into the buffer: nothing at the file's end.
pub fn read_piece<'b>(
    from: &File,
    at: u64,
    length: usize,
    buffer: &'b mut TransferBuffer,
) -> io::Result<&'b [u8]> {
    // The kernel refuses to look beyond the longest offset.
    let longest = usize::try_from(i64::MAX.unsigned_abs().saturating_sub(at)).unwrap_or(usize::MAX);
    let length = length.min(SMALL).min(longest);
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

/// Whether `file` still has the length `found`. Bytes that it yields beyond that are then its own: files of procfs and
/// of some FUSE file systems are longer than their stat length. A file whose length changes is being written to.
pub fn has_length(file: &File, found: u64) -> io::Result<bool> {
    Ok(file.metadata()?.len() == found)
}

/// The next piece of `file` that is no hole, from `at` on and before `end`: where it begins and ends. A file system
/// that cannot tell has one piece.
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
