//! Writes of whole files whose content arrives in chunks.

use super::volume_fs::WriteSession;
use crate::error::{Error, Result};
use crate::model::VolumePath;
use crate::sync::{Baton, CancelToken, Relay};
use crate::sys::FileId;
use crate::volume_fs::{ChunkedWrite, LeaseWait, WriteOptions};
use std::sync::LazyLock;
use std::time::Duration;

/// Files that this process writes in place, chunk by chunk. Two concurrent writes of one file would mix their chunks.
static WRITTEN: LazyLock<Relay<FileId>> = LazyLock::new(Relay::default);

/// Maximum number of restarts of a write whose file was removed before it got the file's lock.
const MAX_RESTARTS: usize = 16;

/// A write of a whole file in progress. If it is dropped before [`finish`](OngoingWrite::finish), it is rolled back
/// as far as possible.
#[derive(Debug)]
pub struct OngoingWrite {
    volume: WriteSession,
    file: ChunkedWrite,
    target: Option<FileId>,
    /// Number of restarts so far.
    restarts: usize,
    cancel: CancelToken,
    lease: LeaseWait,
    is_finished: bool,
    /// Dropped last, after an unfinished write is rolled back.
    baton: Option<Baton<FileId>>,
}

/// Makes cancelled writes that wait for a file fail now.
pub fn release_cancelled_writes() {
    WRITTEN.release_cancelled();
}

impl WriteSession {
    /// Begins a write of `length` bytes in a volume without a quota. Before the first chunk it must acquire the file:
    /// see [`OngoingWrite::try_take_turn`]. Fails with `EAGAIN` if a guest holds a lease on the file.
    pub fn begin_write(
        &self,
        path: &VolumePath,
        length: u64,
        options: WriteOptions,
        cancel: &CancelToken,
    ) -> Result<OngoingWrite> {
        let volume_root = self.files.open_root_in(&self.handle)?;
        let mut write = OngoingWrite {
            file: volume_root.begin_write(path, length, options, &self.context(cancel))?,
            volume: self.clone(),
            target: None,
            restarts: 0,
            cancel: cancel.clone(),
            lease: LeaseWait::default(),
            is_finished: false,
            baton: None,
        };
        write.target = write.file.target_id()?;
        Ok(write)
    }
}

impl OngoingWrite {
    /// Acquires the file for this write. Returns `false` if another write of this process has it.
    ///
    /// TOCTOU: the operation that created the file may have removed it. Then this write restarts with the file that
    /// it opens or creates now.
    ///
    /// Fails with `EAGAIN` if a guest holds a lease on the file: see [`OngoingWrite::pause_after`].
    pub fn try_take_turn(&mut self) -> Result<bool> {
        while let Some(target) = &self.target {
            if self.baton.is_none() {
                self.baton = WRITTEN.try_acquire(target);
            }
            if self.baton.is_none() {
                return Ok(false);
            }
            let (file, context) = (&mut self.file, self.volume.context(&self.cancel));
            if !file.reopen_if_removed(&context)? {
                break;
            }
            self.baton = None;
            self.target = self.file.target_id()?;
            self.restarts += 1;
            if self.restarts > MAX_RESTARTS {
                return Err(Error::internal("a file that is written is removed again and again"));
            }
        }
        Ok(true)
    }

    /// Returns the cancel token of the operation.
    pub fn cancel(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// Releases the file after a failure that a lease caused, and returns the time to wait before the next attempt.
    /// Fails with any other error.
    pub fn pause_after(&mut self, error: Error) -> Result<Duration> {
        let pause = self.lease.pause_after(error, &self.cancel)?;
        self.file.share();
        self.baton = None;
        Ok(pause)
    }

    /// Calls `go_on` when the file may be [acquired](Self::try_take_turn), or with an error if the write is
    /// cancelled: see [`release_cancelled_writes`]. `go_on` must not block or drop the write.
    pub fn on_turn(mut self, go_on: impl FnOnce(Self, Result<()>) + Send + 'static) {
        let Some(target) = self.target else { return go_on(self, Ok(())) };
        let cancel = self.cancel.clone();
        WRITTEN.acquire(&target, &cancel, move |baton| {
            self.file.share();
            let acquired = baton.map(|baton| self.baton = Some(baton));
            go_on(self, acquired);
        });
    }

    /// Writes the next chunk.
    pub fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.file.write(chunk, &self.cancel)
    }

    /// Completes the file after its last chunk.
    pub fn finish(mut self) -> Result<()> {
        self.file.finish(&self.volume.context(&self.cancel))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for OngoingWrite {
    fn drop(&mut self) {
        if !self.is_finished {
            self.file.discard(self.volume.staging());
        }
    }
}
