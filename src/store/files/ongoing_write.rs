//! Whole files that are written while their content still comes.

use super::volume_fs::WriteSession;
use crate::error::{Error, Result};
use crate::sync::{Baton, CancelToken, Relay};
use crate::sys::FileId;
use crate::volume_fs::{ChunkedWrite, LeaseWait, WriteOptions};
use std::ffi::OsStr;
use std::sync::LazyLock;
use std::time::Duration;

/// The files that this process writes in place chunk by chunk. Two such writes of one file would mix their chunks.
static WRITTEN: LazyLock<Relay<FileId>> = LazyLock::new(Relay::default);

/// How often a write begins again whose file was removed before its turn came.
const RETRIES: usize = 16;

/// A write of a whole file in progress. One that is dropped before it was finished is undone, as far as a write of its
/// kind can be.
#[derive(Debug)]
pub struct OngoingWrite {
    volume: WriteSession,
    file: ChunkedWrite,
    target: Option<FileId>,
    /// How often its file was gone when it had its turn.
    begun_again: usize,
    cancel: CancelToken,
    lease: LeaseWait,
    is_finished: bool,
    /// Released last, after an unfinished write is undone.
    turn: Option<Baton<FileId>>,
}

/// Has cancelled writes that wait for their turn at a file end now.
pub fn release_cancelled_writes() {
    WRITTEN.release_cancelled();
}

impl WriteSession {
    /// Begins a write of `length` bytes in a volume without a quota. Before the first chunk it takes its turn at the
    /// file: see [`OngoingWrite::try_take_turn`]. Fails with `EAGAIN` if a guest holds a lease on the file.
    pub fn begin_write(
        &self,
        path: impl AsRef<OsStr>,
        length: u64,
        options: WriteOptions,
        cancel: &CancelToken,
    ) -> Result<OngoingWrite> {
        let tree = self.files.tree_of(&self.opened)?;
        let mut write = OngoingWrite {
            file: tree.begin_write(path, length, options, &self.rules(), cancel)?,
            volume: self.clone(),
            target: None,
            begun_again: 0,
            cancel: cancel.clone(),
            lease: LeaseWait::default(),
            is_finished: false,
            turn: None,
        };
        write.target = write.file.target_id()?;
        Ok(write)
    }
}

impl OngoingWrite {
    /// Takes this write's turn at its file unless another write of this process has it; then returns `false`. One that
    /// has its turn already only makes sure that its file is still there: who made that may have removed it, and this
    /// write then begins again, with the file that it opens or makes now. Fails with `EAGAIN` if a guest holds a lease
    /// on that: see [`OngoingWrite::pause_after`].
    pub fn try_take_turn(&mut self) -> Result<bool> {
        while let Some(target) = &self.target {
            if self.turn.is_none() {
                self.turn = WRITTEN.try_take(target);
            }
            if self.turn.is_none() {
                return Ok(false);
            }
            let (file, rules, cancel) = (&mut self.file, self.volume.rules(), &self.cancel);
            if !file.begin_again_if_removed(&rules, cancel)? {
                break;
            }
            self.turn = None;
            self.target = self.file.target_id()?;
            self.begun_again += 1;
            if self.begun_again > RETRIES {
                return Err(Error::internal("a file that is written is removed again and again"));
            }
        }
        Ok(true)
    }

    /// The cancellation of the operation.
    pub fn cancel(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// Gives the turn back after a failure because of a lease, and returns how long to wait before it is taken again.
    /// Fails with the error of another failure.
    pub fn pause_after(&mut self, error: Error) -> Result<Duration> {
        let pause = self.lease.pause_after(error, &self.cancel)?;
        self.file.share();
        self.turn = None;
        Ok(pause)
    }

    /// Calls `go_on` when it is this write's turn at its file, which is then to be [taken](Self::try_take_turn), or with an
    /// error once it is cancelled: see [`release_cancelled_writes`]. `go_on` must not block, nor drop the write.
    pub fn on_turn(mut self, go_on: impl FnOnce(Self, Result<()>) + Send + 'static) {
        let Some(target) = self.target else { return go_on(self, Ok(())) };
        let cancel = self.cancel.clone();
        WRITTEN.take(&target, &cancel, move |turn| {
            self.file.share();
            let taken = turn.map(|turn| self.turn = Some(turn));
            go_on(self, taken);
        });
    }

    /// Writes the next chunk.
    pub fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.file.write(chunk, &self.cancel)
    }

    /// Completes the file after its last chunk.
    pub fn finish(mut self) -> Result<()> {
        self.file.finish(&self.volume.rules(), &self.cancel)?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for OngoingWrite {
    fn drop(&mut self) {
        if !self.is_finished {
            self.file.discard(&self.volume.rules());
        }
    }
}
