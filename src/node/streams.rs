//! The native side of lib/streams.js: a file that jobs read or write piece by piece.
//!
//! A stream requests one piece at a time, so that a job never waits for another job of the same file.

use super::files::{
    NativeFiles, WRITE_OPTIONS, pool_for_data, run_exclusive, run_exclusive_with_retry, write_options_of,
};
use super::lease_retry::retry_while_leased;
use super::runtime::arguments::path_bytes;
use super::runtime::cancellation::release_cancelled;
use super::runtime::convert::to_option_value;
use super::runtime::data::{CopiedData, DataSink, WriteData};
use super::runtime::dispatch::BorrowedMemory;
use super::runtime::executor::{self, KeyedLimit, Pool};
use super::runtime::job::{Job, JobPromise, Outcome, run};
use super::runtime::js_error::or_throw;
use crate::error::{Error, Result};
use crate::model::{OptionReader, OptionValue, VolumePath};
use crate::store::{FileReader, ReadRange, StreamWriter, VolumeFs, WriteFrom, WriteOptions, WriteSession};
use crate::sync::{CancelToken, IgnorePoison};
use napi::Env;
use napi::bindgen_prelude::Unknown;
use napi_derive::napi;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// How much one job reads by default, and how much a writer buffers before it applies backpressure.
const DEFAULT_HIGH_WATER_MARK: u32 = 512 * 1024;

/// The highest `highWaterMark` that a caller may set: 1 GiB.
const MAX_HIGH_WATER_MARK: u32 = 1 << 30;

/// The open file of a stream. The file is closed at the latest when the stream is garbage.
struct StreamSlot<F: Send + 'static> {
    file: Arc<Mutex<Option<F>>>,
    cancel: CancelToken,
    is_open: Arc<AtomicBool>,
}

impl<F: Send + 'static> StreamSlot<F> {
    fn new() -> Self {
        let (file, cancel) = (Arc::default(), CancelToken::default());
        StreamSlot { file, cancel, is_open: Arc::default() }
    }

    /// Returns a function that tries to open the file with `prepared`, and then runs `inspect` on it.
    fn open<P: 'static, T: 'static>(
        &self,
        open: impl Fn(&P, &CancelToken) -> Result<F> + Send + 'static,
        inspect: fn(&F) -> T,
    ) -> impl Fn(&P, &CancelToken) -> Result<T> + Send + 'static {
        let (file, is_open) = (self.file.clone(), self.is_open.clone());
        move |prepared, cancel| {
            cancel.check()?;
            let opened = open(prepared, cancel)?;
            let found = inspect(&opened);
            is_open.store(true, Ordering::Release);
            *lock(&file) = Some(opened);
            Ok(found)
        }
    }

    /// Returns a job that uses the open file.
    fn use_open<T: 'static>(
        &self,
        work: impl FnOnce(&mut F, &CancelToken) -> Result<T> + Send + 'static,
    ) -> impl FnOnce() -> Result<T> + Send + 'static {
        let (file, cancel) = (self.file.clone(), self.cancel.clone());
        move || match lock(&file).as_mut() {
            Some(file) => work(file, &cancel),
            None => Err(not_open()),
        }
    }

    /// Returns a job that closes the file.
    fn close(&self) -> impl FnOnce() -> Result<()> + Send + 'static {
        let (file, is_open) = (self.file.clone(), self.is_open.clone());
        move || {
            drop(lock(&file).take());
            is_open.store(false, Ordering::Release);
            Ok(())
        }
    }

    /// Returns a job that closes the file on `pool`. It waits for no job of an operation that goes on.
    fn close_on(&self, pool: Pool) -> Job<()> {
        Job::on(pool, self.close()).hurried_by(&self.cancel)
    }
}

/// Locks the file. The wait is one piece at most, and a piece is as long as its buffer: lib/streams.js
/// requests one at a time.
fn lock<F>(file: &Mutex<Option<F>>) -> MutexGuard<'_, Option<F>> {
    file.lock().ignore_poison()
}

/// The target of one piece of a write stream.
struct StreamSink {
    file: Arc<Mutex<Option<StreamWriter>>>,
    cancel: CancelToken,
}

impl DataSink for StreamSink {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match lock(&self.file).as_mut() {
            Some(file) => file.write(bytes, &self.cancel),
            None => Err(not_open()),
        }
    }

    fn finish(self) -> Result<()> {
        Ok(())
    }
}

fn not_open() -> Error {
    Error::internal("a stream used its file while that was not open")
}

impl<F: Send + 'static> Drop for StreamSlot<F> {
    fn drop(&mut self) {
        self.cancel.cancel();
        if self.is_open.load(Ordering::Acquire) {
            let close = self.close();
            // If no thread can be started, the file is closed when the job is dropped.
            let _not_queued = executor::submit(Pool::Blocking(None), Box::new(move || drop(close())));
        }
    }
}

/// The file of a `readStream`.
#[napi]
pub struct NativeReader {
    files: VolumeFs,
    /// Parsed by `open`, because an invalid path is an `'error'` event.
    path: Vec<u8>,
    range: ReadRange,
    high_water_mark: u32,
    file: StreamSlot<FileReader>,
}

/// The file of a `writeStream`.
#[napi]
pub struct NativeWriter {
    files: VolumeFs,
    /// Parsed by `open`, because an invalid path is an `'error'` event.
    path: Vec<u8>,
    options: WriteOptions,
    from: WriteFrom,
    high_water_mark: u32,
    file: StreamSlot<StreamWriter>,
    /// Whether the volume has a quota, so that each piece waits until no other write runs.
    has_quota: Arc<AtomicBool>,
}

#[napi]
impl NativeFiles {
    /// Creates the file of a `readStream`. Opens nothing yet.
    #[napi(catch_unwind)]
    pub fn reader(&self, env: &Env, path: Unknown<'_>, options: Unknown<'_>) -> napi::Result<NativeReader> {
        or_throw(env, || {
            let (files, path) = (self.files().clone(), path_bytes(path)?);
            let (range, high_water_mark) = read_options(&to_option_value(options)?)?;
            Ok(NativeReader { files, path, range, high_water_mark, file: StreamSlot::new() })
        })
    }

    /// Creates the file of a `writeStream`. Opens nothing yet.
    #[napi(catch_unwind)]
    pub fn writer(&self, env: &Env, path: Unknown<'_>, options: Unknown<'_>) -> napi::Result<NativeWriter> {
        or_throw(env, || {
            let (files, path) = (self.files().clone(), path_bytes(path)?);
            let (options, from, high_water_mark) = write_options(&to_option_value(options)?)?;
            let (file, has_quota) = (StreamSlot::new(), Arc::default());
            Ok(NativeWriter { files, path, options, from, high_water_mark, file, has_quota })
        })
    }
}

#[napi]
impl NativeReader {
    /// How many bytes one read returns at most.
    #[napi(getter, catch_unwind)]
    pub fn high_water_mark(&self) -> u32 {
        self.high_water_mark
    }

    /// Opens the file. Returns how many bytes there are to read.
    #[napi(catch_unwind, ts_return_type = "Promise<number>")]
    pub fn open(&self) -> JobPromise<f64> {
        run(|| {
            let (files, path, range) = (self.files.clone(), VolumePath::from_bytes(&self.path)?, self.range);
            let open = self.file.open(move |(), _| files.open_reader_once(&path, range), FileReader::left);
            let cancel = self.file.cancel.clone();
            let attempt = move |cancel: &CancelToken| open(&(), cancel);
            let done = |left| Ok(Outcome::Ready(left as f64));
            let job =
                Job::in_steps(Pool::Fast, move || retry_while_leased(Pool::Fast, cancel, attempt, done));
            Ok(job.cancelled_by(&self.file.cancel))
        })
    }

    /// Fills `buffer`, and returns how many bytes it read: fewer than the buffer holds only at the end. No
    /// other code may access `buffer` during the call.
    #[napi(catch_unwind, ts_return_type = "Promise<number>")]
    pub fn read(&self, env: &Env, buffer: Unknown<'_>) -> JobPromise<f64> {
        run(|| {
            let mut buffer = BorrowedMemory::from_js(env, buffer)?;
            let pool = pool_for_piece(buffer.len());
            let read = self.file.use_open(move |file, cancel| {
                buffer.fill(|bytes| file.read_next(bytes, cancel)).map(|length| length as f64)
            });
            Ok(Job::on(pool, read).cancelled_by(&self.file.cancel))
        })
    }

    /// Ends what runs soon, and lets nothing start.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.file.cancel.cancel();
        release_cancelled();
    }

    /// Closes the file.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn close(&self) -> JobPromise<()> {
        run(|| Ok(self.file.close_on(Pool::Bulk)))
    }
}

#[napi]
impl NativeWriter {
    /// How many bytes a writer buffers before it applies backpressure.
    #[napi(getter, catch_unwind)]
    pub fn high_water_mark(&self) -> u32 {
        self.high_water_mark
    }

    /// Opens or creates the file.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn open(&self) -> JobPromise<()> {
        run(|| {
            let (files, path) = (self.files.clone(), VolumePath::from_bytes(&self.path)?);
            let (options, from) = (self.options, self.from);
            let open = move |session: &WriteSession, cancel: &CancelToken| {
                session.open_writer_once(&path, options, from, cancel)
            };
            let (open, cancel) = (self.file.open(open, |_| ()), self.file.cancel.clone());
            let has_quota = self.has_quota.clone();
            // The truncation of a large file takes long.
            let pool = Pool::Blocking(None);
            let later = pool.clone();
            let job = Job::in_steps(pool, move || {
                let session = files.prepare_write()?;
                has_quota.store(session.has_quota(), Ordering::Release);
                let limit = session.has_quota().then(|| KeyedLimit::exclusive(files.queue(), &cancel));
                run_exclusive_with_retry(limit, later, cancel, move |cancel| open(&session, cancel))
            });
            Ok(job.cancelled_by(&self.file.cancel))
        })
    }

    /// Writes a piece: a string, a `Uint8Array`, or an array of `Uint8Array` as one piece.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn write(&self, data: Unknown<'_>) -> JobPromise<()> {
        run(|| {
            let data = WriteData::from_chunks(data)?;
            let mut sink = StreamSink { file: self.file.file.clone(), cancel: self.file.cancel.clone() };
            let pool = pool_for_piece(data.len());
            let (later, cancel) = (pool.clone(), &self.file.cancel);
            if !self.has_quota.load(Ordering::Acquire) {
                return Ok(Job::in_steps(pool, move || data.write_to(later, sink)).cancelled_by(cancel));
            }
            // A piece that waits must not hold slices, because writes into other volumes need them.
            let limit = KeyedLimit::exclusive(self.files.queue(), cancel);
            let write = move |bytes: CopiedData| run_exclusive(true, limit, move || sink.write(&bytes));
            Ok(Job::in_steps(pool, move || data.with_all(later, write)).cancelled_by(cancel))
        })
    }

    /// Completes the file.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn finish(&self) -> JobPromise<()> {
        let pool =
            self.exclusive_pool_or(if self.options.durable { Pool::Blocking(None) } else { Pool::Bulk });
        let finish = self.file.use_open(StreamWriter::finish);
        run(|| Ok(Job::on(pool, finish).cancelled_by(&self.file.cancel)))
    }

    /// Ends what runs soon, and lets nothing start.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.file.cancel.cancel();
        release_cancelled();
    }

    /// Closes the file. Discards an atomic write that was not finished.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn close(&self) -> JobPromise<()> {
        run(|| Ok(self.file.close_on(Pool::Blocking(None))))
    }
}

impl NativeWriter {
    /// Returns `pool`, or a pool with one writer at a time if the volume has a quota.
    fn exclusive_pool_or(&self, pool: Pool) -> Pool {
        match self.has_quota.load(Ordering::Acquire) {
            true => Pool::Blocking(Some(KeyedLimit::exclusive(self.files.queue(), &self.file.cancel))),
            false => pool,
        }
    }
}

/// Returns the pool that reads or writes one piece. A short piece belongs to a longer stream, so it does not
/// use [`Pool::Fast`].
fn pool_for_piece(length: usize) -> Pool {
    match pool_for_data(length) {
        Pool::Fast => Pool::Bulk,
        pool => pool,
    }
}

fn high_water_mark(fields: &OptionReader<'_>) -> Result<u32> {
    match fields.u32("highWaterMark")?.unwrap_or(DEFAULT_HIGH_WATER_MARK) {
        bytes @ 1..=MAX_HIGH_WATER_MARK => Ok(bytes),
        bytes => {
            let problem = format!("expected from 1 to {MAX_HIGH_WATER_MARK} bytes, got {bytes}");
            Err(Error::invalid_config("highWaterMark", problem))
        }
    }
}

fn read_options(options: &OptionValue) -> Result<(ReadRange, u32)> {
    let fields = OptionReader::of("ReadStreamOptions", options, &["start", "end", "highWaterMark"])?;
    let range =
        ReadRange { start: fields.safe_integer("start")?.unwrap_or(0), end: fields.safe_integer("end")? };
    if range.end.is_some_and(|end| end < range.start) {
        return Err(Error::invalid_config("end", "is the last byte to be read, and lies before \"start\""));
    }
    Ok((range, high_water_mark(&fields)?))
}

fn write_options(options: &OptionValue) -> Result<(WriteOptions, WriteFrom, u32)> {
    let known = [&WRITE_OPTIONS[..], &["append", "start", "highWaterMark"]].concat();
    let fields = OptionReader::of("WriteStreamOptions", options, &known)?;
    let write = write_options_of(&fields)?;
    let (append, start) = (fields.flag("append")?.unwrap_or(false), fields.safe_integer("start")?);
    let from = match (append, start) {
        (true, Some(_)) => {
            return Err(Error::invalid_config("append", "goes behind what is there; leave \"start\" out"));
        }
        (true, None) => WriteFrom::End,
        (false, Some(position)) => WriteFrom::Position(position),
        (false, None) => WriteFrom::Empty,
    };
    if write.atomic && from != WriteFrom::Empty {
        let problem = "makes a new file, which goes neither with \"append\" nor with \"start\"";
        return Err(Error::invalid_config("atomic", problem));
    }
    Ok((write, from, high_water_mark(&fields)?))
}
