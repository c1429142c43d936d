//! Copying one regular file.

use super::entry::{CopyTask, RETRIES, refuse_to_replace};
use super::job::CopyContext;
use super::settle::Settlement;
use super::temp_tree::Temporary;
use crate::error::{Error, Result};
use crate::sys::{
    Access, EntryKind, FileStat, TransferBuffer, clone_content, create_file, has_length, next_data,
    open_o_path, read_piece, reopen, transfer,
};
use crate::volume_fs::new_file::NewFile;
use crate::volume_fs::{Reservation, SpaceRequest, past_leases};
use nix::errno::Errno;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

/// How much is copied between two looks at the abort signal.
const CHUNK: u64 = 8 << 20;

/// How much is written in one turn where a volume's writers take turns.
const CHUNK_OF_A_TURN: u64 = 1 << 20;

/// How much is read at once beyond a file's stat length.
const PIECE_BEYOND: usize = 128 << 10;

/// Opens the regular file that `found` stands for.
pub fn open_found(errand: &CopyTask<'_>, found: BorrowedFd<'_>) -> Result<File> {
    let CopyContext { sides, rules, .. } = errand.context;
    let mut is_first = true;
    past_leases(&rules.cancel, || {
        if !std::mem::take(&mut is_first) {
            // Other copies work while this one waits for the holder of a lease.
            rules.slot.leave();
        }
        let opened = reopen(found, Access::Read);
        opened.map(File::from).map_err(|error| sides.from.refused("open", &errand.path(), error))
    })
}

/// A copy of a file that is whole, but not [published](FilledFile::publish).
#[derive(Debug)]
pub enum FilledFile {
    /// It has its name, which nothing had before.
    New(NewFile),
    /// It takes the place of another file.
    Replacing(Box<Replacement>),
}

/// A copy that is to take the place of another file, which gives `replaced` bytes back.
#[derive(Debug)]
pub struct Replacement {
    source: OpenSource,
    /// The other one, unless it is a link.
    old: Option<OwnedFd>,
    temporary: Temporary,
    written: u64,
    replaced: u64,
    claim: Reservation,
}

/// Copies an open file. One that stands at the destination, or a link, is replaced when the copy
/// is whole, and is never written through.
pub fn copy_file(
    errand: &CopyTask<'_>,
    buffer: &mut TransferBuffer,
    file: File,
    facts: &FileStat,
) -> Result<()> {
    fill_file(errand, buffer, file, facts)?.publish(errand)
}

/// Copies the content of an open file, and leaves what stands at the destination as it is.
pub fn fill_file(
    errand: &CopyTask<'_>,
    buffer: &mut TransferBuffer,
    file: File,
    facts: &FileStat,
) -> Result<FilledFile> {
    let settlement = Settlement::of(errand, file.as_fd(), facts)?;
    let source = OpenSource { file, facts: *facts, settlement };
    let refused = |syscall, error| errand.context.sides.to.refused(syscall, &errand.path(), error);
    for _ in 0..RETRIES {
        let filled = match create_file(errand.to, errand.name, source.settlement.first_mode(errand)) {
            Ok(to) => {
                let new = NewFile::of(to.as_fd()).map_err(|error| refused("fstat", error))?;
                let filled = source.fill(errand, buffer, &to, Some(&mut Reservation::default()));
                let copied =
                    filled.and_then(|_| source.settlement.settle_new(errand, source.file.as_fd(), &to));
                copied.inspect_err(|_| new.remove(errand.to, errand.name))?;
                FilledFile::New(new)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                match open_o_path(errand.to, errand.name) {
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(refused("stat", error)),
                    Ok(old) => {
                        let filled = source.fill_aside(errand, buffer, old)?;
                        errand.done();
                        return Ok(filled);
                    }
                }
            }
            Err(error) => return Err(refused("open", error)),
        };
        errand.done();
        return Ok(filled);
    }
    Err(refused("open", Errno::EBUSY.into()))
}

/// Runs a step of a copy, which says whether it wrote, once there is room for what it demands.
type Admit<'a> = dyn FnMut(SpaceRequest, &mut dyn FnMut() -> Result<bool>) -> Result<bool> + 'a;

impl FilledFile {
    /// Passes the commit point where this is all there is to copy, and gives the copy its name. An error undoes it.
    pub fn publish(self, errand: &CopyTask<'_>) -> Result<()> {
        match self {
            FilledFile::New(new) => {
                errand.commit().inspect_err(|_| new.remove(errand.to, errand.name))?;
                errand.context.record.iter().for_each(|record| record.add_file(&new));
                Ok(())
            }
            FilledFile::Replacing(mut replacement) => {
                let published = replacement.publish(errand);
                if published.is_err() {
                    // The error says more than one of cleaning up.
                    let _left = replacement.temporary.remove(errand);
                }
                published
            }
        }
    }

    /// Removes a copy that is not wanted any more.
    pub fn undo(self, errand: &CopyTask<'_>) {
        match self {
            FilledFile::New(new) => new.remove(errand.to, errand.name),
            // The error that led here says more than one of cleaning up.
            FilledFile::Replacing(replacement) => drop(replacement.temporary.remove(errand)),
        }
    }
}

impl Replacement {
    fn publish(&mut self, errand: &CopyTask<'_>) -> Result<()> {
        let to = self.temporary.file(errand)?;
        let OpenSource { file, settlement, .. } = &self.source;
        let _published = self.temporary.publish(errand, settlement.permissions())?;
        let give_rights =
            |to: BorrowedFd<'_>| settlement.settle_replacing(errand, file.as_fd(), to, self.old.as_ref());
        let sides = &errand.context.sides;
        give_rights(to.as_fd()).map_err(|error| sides.to.refused("setxattr", &errand.path(), error))?;
        let took = FileStat::of(to.as_fd()).map_err(|error| named(errand, error))?.allocated();
        let demand = SpaceRequest::in_place(self.written, took, self.replaced);
        let temporary = &self.temporary;
        errand.context.rules.admit(|| errand.shown(), demand, &mut self.claim, &mut || {
            errand.commit()?;
            temporary.move_into_place(errand, &give_rights)
        })
    }
}

/// A file that is copied, and what it was when it was found.
#[derive(Debug)]
struct OpenSource {
    file: File,
    facts: FileStat,
    settlement: Settlement,
}

impl OpenSource {
    /// Makes a whole copy that is to replace what is there.
    fn fill_aside(
        self,
        errand: &CopyTask<'_>,
        buffer: &mut TransferBuffer,
        (old, old_facts): (OwnedFd, FileStat),
    ) -> Result<FilledFile> {
        refuse_to_replace(errand, &old_facts, &self.facts)?;
        let rules = &errand.context.rules;
        let replaced = if old_facts.has_other_names() { 0 } else { old_facts.allocated() };
        let old = (old_facts.kind() == EntryKind::File).then_some(old);
        let (expected, mut claim) = (self.data(), Reservation::default());
        let whole = SpaceRequest::whole(expected, replaced);
        rules.admit(|| errand.shown(), whole, &mut claim, &mut || Ok(()))?;
        let temporary = Temporary::create(errand)?;
        match temporary.file(errand).and_then(|to| self.fill(errand, buffer, &to, None)) {
            Ok(written) => {
                let claim = if written > expected { Reservation::default() } else { claim };
                let replacement = Replacement { source: self, old, temporary, written, replaced, claim };
                Ok(FilledFile::Replacing(Box::new(replacement)))
            }
            Err(error) => {
                // The error says more than one of cleaning up.
                let _left = temporary.remove(errand);
                Err(error)
            }
        }
    }

    /// How many bytes are no holes, as far as the file's blocks tell.
    fn data(&self) -> u64 {
        self.facts.allocated().min(self.facts.length())
    }

    /// Copies the content and gives how many bytes are no holes: as much as there was when the file was found, and what
    /// is beyond the stat length only of one that yields more than that says. Where there is a `claim` to charge it to, each piece waits for its turn and for what the limit leaves.
    fn fill(
        &self,
        errand: &CopyTask<'_>,
        buffer: &mut TransferBuffer,
        to: &File,
        mut claim: Option<&mut Reservation>,
    ) -> Result<u64> {
        let context = errand.context;
        let length = self.facts.length();
        let failed = |error: io::Error| named(errand, error);
        let is_limited = claim.is_some() && context.rules.is_limited();
        // `write` says whether it wrote.
        let mut admit = |demand, write: &mut dyn FnMut() -> Result<bool>| {
            let Some(claim) = claim.as_deref_mut() else { return write() };
            let mut is_written = false;
            let mut write = || write().map(|wrote| is_written = wrote);
            context.rules.admit(|| errand.shown(), demand, claim, &mut write)?;
            if !is_written {
                claim.keep_unused(demand);
            }
            Ok(is_written)
        };
        if length == 0 {
            admit(SpaceRequest::entry(), &mut || Ok(true))?;
            return self.fill_beyond(errand, to, buffer, &mut admit);
        }
        let data = self.data();
        if is_limited && data > CHUNK_OF_A_TURN {
            // What cannot end well is not begun.
            admit(SpaceRequest::piece(data), &mut || Ok(false))?;
        }
        if context.may_clone.load(Ordering::Relaxed) {
            let is_cloned = admit(SpaceRequest::piece(data), &mut || {
                let is_cloned = clone_content(&self.file, to).map_err(failed)?;
                if is_cloned && to.metadata().map_err(failed)?.len() > length {
                    to.set_len(length).map_err(failed)?;
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
        let most = if is_limited { CHUNK_OF_A_TURN } else { CHUNK };
        let (mut at, mut written) = (0, 0);
        while at < length {
            let piece = match is_sparse {
                true => next_data(&self.file, at, length).map_err(failed)?,
                false => Some((at, length)),
            };
            let Some((begin, end)) = piece else { break };
            context.progress.add_bytes(begin - at);
            at = begin;
            while at < end {
                context.rules.go_on()?;
                let chunk = most.min(end - at);
                let mut copied = 0;
                admit(SpaceRequest::piece(chunk), &mut || {
                    copied = self.copy_piece(to, at, chunk, buffer).map_err(failed)?;
                    Ok(true)
                })?;
                context.progress.add_bytes(copied);
                written += copied;
                at += copied;
                if copied < chunk {
                    // It was cut off meanwhile.
                    return Ok(written);
                }
            }
        }
        if at < length {
            // A hole at the end, of a file that may have been cut off meanwhile.
            let left = self.file.metadata().map_err(failed)?.len().min(length);
            to.set_len(left.max(at)).map_err(failed)?;
            context.progress.add_bytes(left.saturating_sub(at));
            if left < length {
                return Ok(written);
            }
        }
        Ok(written + self.fill_beyond(errand, to, buffer, &mut admit)?)
    }

    /// Copies what the file yields beyond its stat length, up to its end, and returns how many bytes that is. Nothing
    /// if the length is another than when the file was found: a file that grows is copied as it was then.
    fn fill_beyond(
        &self,
        errand: &CopyTask<'_>,
        to: &File,
        buffer: &mut TransferBuffer,
        admit: &mut Admit<'_>,
    ) -> Result<u64> {
        let failed = |error: io::Error| named(errand, error);
        let (length, mut beyond) = (self.facts.length(), 0);
        loop {
            let at = length.saturating_add(beyond);
            let piece = read_piece(&self.file, at, PIECE_BEYOND, buffer).map_err(failed)?;
            if piece.is_empty() || !has_length(&self.file, length).map_err(failed)? {
                return Ok(beyond);
            }
            errand.context.rules.go_on()?;
            let more = piece.len() as u64;
            admit(SpaceRequest::piece(more), &mut || {
                to.write_all_at(piece, at).map(|()| true).map_err(failed)
            })?;
            errand.context.progress.add_bytes(more);
            beyond += more;
        }
    }

    /// Copies `length` bytes, or as many as there are.
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

/// Names the side that an error while copying content is about.
fn named(errand: &CopyTask<'_>, error: io::Error) -> Error {
    let sides = &errand.context.sides;
    let errno = error.raw_os_error().map(Errno::from_raw);
    match errno {
        Some(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG | Errno::EROFS) => {
            sides.to.refused("write", &errand.path(), error)
        }
        _ => sides.from.refused("copy", &errand.path(), error),
    }
}
