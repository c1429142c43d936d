//! Copies one regular file.

use super::attributes::CopiedAttributes;
use super::entry::{CopyTask, MAX_ATTEMPTS, refuse_to_replace};
use super::job::CopyContext;
use super::temp_file::CopyTempFile;
use crate::error::{Errno, Error, Result};
use crate::sys::ext::FileExt;
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::{
    Access, EntryKind, FileStat, TransferBuffer, clone_content, create_file, has_length, next_data,
    open_o_path, read_piece, reopen, transfer,
};
use crate::volume_fs::new_file::{Creation, NewFile};
use crate::volume_fs::quota::reserve::{Reservation, SpaceRequest};
use crate::volume_fs::retry_past_leases;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;

/// How many bytes are copied between two checks of the abort signal.
const MAX_CHUNK_BYTES: u64 = 8 << 20;

/// How many bytes are written under one quota lock.
const MAX_QUOTA_CHUNK_BYTES: u64 = 1 << 20;

/// How many bytes are read at once beyond a file's stat length.
const BEYOND_CHUNK_BYTES: usize = 128 << 10;

/// Opens the regular file of the `O_PATH` descriptor `found`.
pub fn open_found(task: &CopyTask<'_>, found: BorrowedFd<'_>) -> Result<File> {
    let CopyContext { endpoints, policy, .. } = task.context;
    let mut is_first = true;
    retry_past_leases(&policy.cancel, || {
        if !std::mem::take(&mut is_first) {
            // Releases the slot to other copies during the wait for the holder of a lease.
            policy.slot.leave();
        }
        let opened = reopen(found, Access::Read);
        opened.map(File::from).map_err(|error| endpoints.from.io_error("open", &task.path(), error))
    })
}

/// A copy of a file that is complete, but not [published](FilledFile::publish).
#[derive(Debug)]
pub enum FilledFile {
    /// A new file that has its final name.
    New(NewFile),
    /// A temp file that replaces another file.
    Replacing(Box<Replacement>),
}

/// A temp file that is to replace another file.
#[derive(Debug)]
pub struct Replacement {
    source: OpenSource,
    /// The file to replace; `None` if it is a link.
    old: Option<OwnedFd>,
    temp_file: CopyTempFile,
    written: u64,
    replaced: u64,
    reservation: Reservation,
}

/// Copies an open file. Replaces a file or link at the destination when the copy is complete, and never writes through
/// it.
pub fn copy_file(
    task: &CopyTask<'_>,
    buffer: &mut TransferBuffer,
    file: File,
    stat: &FileStat,
) -> Result<()> {
    fill_file(task, buffer, file, stat)?.publish(task)
}

/// Copies the content of an open file. Does not touch the file or link at the destination.
pub fn fill_file(
    task: &CopyTask<'_>,
    buffer: &mut TransferBuffer,
    file: File,
    stat: &FileStat,
) -> Result<FilledFile> {
    let attributes = CopiedAttributes::of(task, file.as_fd(), stat)?;
    let source = OpenSource { file, stat: *stat, attributes };
    let io_error = |syscall, error| task.context.endpoints.to.io_error(syscall, &task.path(), error);
    for _ in 0..MAX_ATTEMPTS {
        let creation = Creation::begin();
        let filled = match create_file(task.to, task.name, source.attributes.initial_mode(task)) {
            Ok(to) => {
                let new = NewFile::of(&creation, to.as_fd()).map_err(|error| io_error("fstat", error))?;
                drop(creation);
                let filled = source.fill(task, buffer, &to, Some(&mut Reservation::default()));
                let copied =
                    filled.and_then(|_| source.attributes.apply_to_new(task, source.file.as_fd(), &to));
                copied.inspect_err(|_| new.remove(task.to, task.name))?;
                FilledFile::New(new)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match open_o_path(task.to, task.name) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(io_error("stat", error)),
                Ok(old) => {
                    drop(creation);
                    let filled = source.fill_temp_file(task, buffer, old)?;
                    task.done();
                    return Ok(filled);
                }
            },
            Err(error) => return Err(io_error("open", error)),
        };
        task.done();
        return Ok(filled);
    }
    Err(io_error("open", Errno::EBUSY.into()))
}

/// Runs a step of a copy, which returns whether it wrote, once there is room for its request.
type ReserveFn<'a> = dyn FnMut(SpaceRequest, &mut dyn FnMut() -> Result<bool>) -> Result<bool> + 'a;

impl FilledFile {
    /// Passes the commit point if this file is all there is to copy, and gives the copy its name. An error undoes the
    /// copy.
    pub fn publish(self, task: &CopyTask<'_>) -> Result<()> {
        match self {
            FilledFile::New(new) => {
                task.commit().inspect_err(|_| new.remove(task.to, task.name))?;
                task.context.record.iter().for_each(|record| record.add_file(&new));
                Ok(())
            }
            FilledFile::Replacing(mut replacement) => {
                let published = replacement.publish(task);
                if published.is_err() {
                    // The original error says more than an error of the cleanup.
                    let _left = replacement.temp_file.remove(task);
                }
                published
            }
        }
    }

    /// Removes a copy that is no longer wanted.
    pub fn undo(self, task: &CopyTask<'_>) {
        match self {
            FilledFile::New(new) => new.remove(task.to, task.name),
            // The original error says more than an error of the cleanup.
            FilledFile::Replacing(replacement) => drop(replacement.temp_file.remove(task)),
        }
    }
}

impl Replacement {
    fn publish(&mut self, task: &CopyTask<'_>) -> Result<()> {
        let to = self.temp_file.file(task)?;
        let OpenSource { file, attributes, .. } = &self.source;
        let _published = self.temp_file.publish(task, attributes.permissions())?;
        let give_rights =
            |to: BorrowedFd<'_>| attributes.apply_to_replacement(task, file.as_fd(), to, self.old.as_ref());
        let endpoints = &task.context.endpoints;
        give_rights(to.as_fd()).map_err(|error| endpoints.to.io_error("setxattr", &task.path(), error))?;
        let took = FileStat::of(to.as_fd()).map_err(|error| content_error(task, error))?.allocated();
        let request = SpaceRequest::in_place(self.written, took, self.replaced);
        let temp_file = &self.temp_file;
        task.context.policy.reserve(|| task.shown(), request, &mut self.reservation, &mut || {
            task.commit()?;
            temp_file.move_into_place(task, &give_rights)
        })
    }
}

/// A file to copy, and its metadata when it was found.
#[derive(Debug)]
struct OpenSource {
    file: File,
    stat: FileStat,
    attributes: CopiedAttributes,
}

impl OpenSource {
    /// Creates a complete temp file that is to replace the entry at the destination.
    fn fill_temp_file(
        self,
        task: &CopyTask<'_>,
        buffer: &mut TransferBuffer,
        (old, old_stat): (OwnedFd, FileStat),
    ) -> Result<FilledFile> {
        refuse_to_replace(task, &old_stat, &self.stat)?;
        let policy = &task.context.policy;
        let replaced = if old_stat.has_other_names() { 0 } else { old_stat.allocated() };
        let old = (old_stat.kind() == EntryKind::File).then_some(old);
        let (expected, mut reservation) = (self.data(), Reservation::default());
        let whole = SpaceRequest::whole(expected, replaced);
        policy.reserve(|| task.shown(), whole, &mut reservation, &mut || Ok(()))?;
        let temp_file = CopyTempFile::create(task)?;
        match temp_file.file(task).and_then(|to| self.fill(task, buffer, &to, None)) {
            Ok(written) => {
                let reservation = if written > expected { Reservation::default() } else { reservation };
                let replacement =
                    Replacement { source: self, old, temp_file, written, replaced, reservation };
                Ok(FilledFile::Replacing(Box::new(replacement)))
            }
            Err(error) => {
                // The original error says more than an error of the cleanup.
                let _left = temp_file.remove(task);
                Err(error)
            }
        }
    }

    /// Returns how many bytes are not holes, judged by the file's blocks.
    fn data(&self) -> u64 {
        self.stat.allocated().min(self.stat.length())
    }

    /// Copies the content, as long as it was when the file was found. Copies what lies beyond the stat length only of a
    /// file that yields more than that length. Returns how many bytes are not holes. With a `reservation`, each chunk
    /// waits for the quota lock and for free quota.
    fn fill(
        &self,
        task: &CopyTask<'_>,
        buffer: &mut TransferBuffer,
        to: &File,
        mut reservation: Option<&mut Reservation>,
    ) -> Result<u64> {
        let context = task.context;
        let length = self.stat.length();
        let io_error = |error: io::Error| content_error(task, error);
        let is_limited = reservation.is_some() && context.policy.is_limited();
        // `write` returns whether it wrote.
        let mut reserve = |request, write: &mut dyn FnMut() -> Result<bool>| {
            let Some(reservation) = reservation.as_deref_mut() else { return write() };
            let mut is_written = false;
            let mut write = || write().map(|wrote| is_written = wrote);
            context.policy.reserve(|| task.shown(), request, reservation, &mut write)?;
            if !is_written {
                reservation.keep_unused(request);
            }
            Ok(is_written)
        };
        if length == 0 {
            reserve(SpaceRequest::entry(), &mut || Ok(true))?;
            return self.fill_beyond(task, to, buffer, &mut reserve);
        }
        let data = self.data();
        if is_limited && data > MAX_QUOTA_CHUNK_BYTES {
            // Fails early if the file does not fit.
            reserve(SpaceRequest::piece(data), &mut || Ok(false))?;
        }
        if context.may_clone.load(Ordering::Relaxed) {
            let is_cloned = reserve(SpaceRequest::piece(data), &mut || {
                let is_cloned = clone_content(&self.file, to).map_err(io_error)?;
                if is_cloned && to.metadata().map_err(io_error)?.len() > length {
                    to.set_len(length).map_err(io_error)?;
                }
                Ok(is_cloned)
            })?;
            if is_cloned {
                context.progress.add_bytes(length);
                return Ok(data);
            }
            context.may_clone.store(false, Ordering::Relaxed);
        }
        let is_sparse = data < length;
        let max = if is_limited { MAX_QUOTA_CHUNK_BYTES } else { MAX_CHUNK_BYTES };
        let (mut at, mut written) = (0, 0);
        while at < length {
            let piece = match is_sparse {
                true => next_data(&self.file, at, length).map_err(io_error)?,
                false => Some((at, length)),
            };
            let Some((begin, end)) = piece else { break };
            context.progress.add_bytes(begin - at);
            at = begin;
            while at < end {
                context.policy.yield_turn()?;
                let chunk = max.min(end - at);
                let mut copied = 0;
                reserve(SpaceRequest::piece(chunk), &mut || {
                    copied = self.copy_piece(to, at, chunk, buffer).map_err(io_error)?;
                    Ok(true)
                })?;
                context.progress.add_bytes(copied);
                written += copied;
                at += copied;
                if copied < chunk {
                    // TOCTOU: another process truncated the file.
                    return Ok(written);
                }
            }
        }
        if at < length {
            // A hole at the end, of a file that another process may have truncated.
            let left = self.file.metadata().map_err(io_error)?.len().min(length);
            to.set_len(left.max(at)).map_err(io_error)?;
            context.progress.add_bytes(left.saturating_sub(at));
            if left < length {
                return Ok(written);
            }
        }
        Ok(written + self.fill_beyond(task, to, buffer, &mut reserve)?)
    }

    /// Copies what the file yields beyond its stat length, up to its end. Returns how many bytes that is. Copies
    /// nothing if the length changed since the file was found: a file that grows is copied as it was then.
    fn fill_beyond(
        &self,
        task: &CopyTask<'_>,
        to: &File,
        buffer: &mut TransferBuffer,
        reserve: &mut ReserveFn<'_>,
    ) -> Result<u64> {
        let io_error = |error: io::Error| content_error(task, error);
        let (length, mut beyond) = (self.stat.length(), 0);
        loop {
            let at = length.saturating_add(beyond);
            let piece = read_piece(&self.file, at, BEYOND_CHUNK_BYTES, buffer).map_err(io_error)?;
            if piece.is_empty() || !has_length(&self.file, length).map_err(io_error)? {
                return Ok(beyond);
            }
            task.context.policy.yield_turn()?;
            let more = piece.len() as u64;
            reserve(SpaceRequest::piece(more), &mut || {
                to.write_all_at(piece, at).map(|()| true).map_err(io_error)
            })?;
            task.context.progress.add_bytes(more);
            beyond += more;
        }
    }

    /// Copies `length` bytes, or up to the end of the file.
    fn copy_piece(&self, to: &File, at: u64, length: u64, buffer: &mut TransferBuffer) -> io::Result<u64> {
        let mut copied = 0;
        while copied < length {
            match transfer(&self.file, to, at + copied, (length - copied) as usize, buffer)? {
                0 => break,
                more => copied += more as u64,
            }
        }
        Ok(copied)
    }
}

/// Attributes an error of copying content to one side.
fn content_error(task: &CopyTask<'_>, error: io::Error) -> Error {
    let endpoints = &task.context.endpoints;
    let errno = error.raw_os_error().map(Errno::from_raw);
    match errno {
        Some(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG | Errno::EROFS) => {
            endpoints.to.io_error("write", &task.path(), error)
        }
        _ => endpoints.from.io_error("copy", &task.path(), error),
    }
}
