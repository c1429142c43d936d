//! What is behind the streams of lib/streams.js: a file that is read or written piece by piece, one job each.
//!
//! A stream asks for one thing at a time, so that a job never waits for another of the same file.

use super::files::{
    NativeFiles, WRITE_OPTIONS, in_turn, in_turn_past_leases, nothing, pool_for_data, write_options_of,
};
use super::pauses::past_leases;
use super::runtime::arguments::volume_path;
use super::runtime::cancellation::release_cancelled;
use super::runtime::convert::to_input;
use super::runtime::data::{Copied, Data, Sink};
use super::runtime::dispatch::{BorrowedMemory, Outcome, run, run_in_steps};
use super::runtime::executor::{self, KeyedLimit, Pool};
use super::runtime::js_error::or_throw;
use crate::error::{Error, Result};
use crate::model::{OptionReader, OptionValue};
use crate::store::{FileReader, ReadRange, StreamWriter, VolumeFs, WriteFrom, WriteOptions, WriteSession};
use crate::sync::{CancelToken, IgnorePoison};
use napi::Env;
use napi::bindgen_prelude::{ToNapiValue, Unknown};
use napi_derive::napi;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// How much one job reads, and how much a writer holds before it asks to wait.
const HIGH_WATER_MARK: u32 = 512 * 1024;

/// The most that a caller may have instead: 1 GiB.
const HIGHEST_WATER_MARK: u32 = 1 << 30;

/// A file that a stream has open, which is closed at the latest when the stream is garbage.
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

    /// An attempt to open the file, with what was prepared for it, and to look at it.
    fn open<P: 'static, T: 'static>(
        &self,
        open: impl Fn(&P, &CancelToken) -> Result<F> + Send + 'static,
        look: fn(&F) -> T,
    ) -> impl Fn(&P, &CancelToken) -> Result<T> + Send + 'static {
        let (file, is_open) = (self.file.clone(), self.is_open.clone());
        move |prepared, cancel| {
            cancel.check()?;
            let opened = open(prepared, cancel)?;
            let found = look(&opened);
            is_open.store(true, Ordering::Release);
            *lock(&file) = Some(opened);
            Ok(found)
        }
    }

    /// A job that works on the open file.
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

    /// A job that closes the file.
    fn close(&self) -> impl FnOnce() -> Result<()> + Send + 'static {
        let (file, is_open) = (self.file.clone(), self.is_open.clone());
        move || {
            drop(lock(&file).take());
            is_open.store(false, Ordering::Release);
            Ok(())
        }
    }
}

/// Waits for one piece at most, which is as long as its buffer: lib/streams.js asks for one thing at a time.
fn lock<F>(file: &Mutex<Option<F>>) -> MutexGuard<'_, Option<F>> {
    file.lock().ignore_poison()
}

/// One piece of a stream on its way to the open file.
struct StreamSink {
    file: Arc<Mutex<Option<StreamWriter>>>,
    cancel: CancelToken,
}

impl Sink for StreamSink {
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
            // Where no thread can be had, the file is closed with the job that was refused.
            let _refused = executor::submit(Pool::Blocking(None), Box::new(move || drop(close())));
        }
    }
}

/// A file that is read by a stream.
#[napi]
pub struct NativeReader {
    files: VolumeFs,
    path: OsString,
    range: ReadRange,
    high_water_mark: u32,
    file: StreamSlot<FileReader>,
}

/// A file that is written by a stream.
#[napi]
pub struct NativeWriter {
    files: VolumeFs,
    path: OsString,
    options: WriteOptions,
    from: WriteFrom,
    high_water_mark: u32,
    file: StreamSlot<StreamWriter>,
    /// Whether others may write the volume meanwhile, so that each piece waits for its turn.
    takes_turns: Arc<AtomicBool>,
}

#[napi]
impl NativeFiles {
    /// What a `readStream` reads from; nothing is opened yet.
    #[napi(catch_unwind)]
    pub fn reader(&self, env: &Env, path: Unknown<'_>, options: Unknown<'_>) -> napi::Result<NativeReader> {
        let path = volume_path(env, path)?;
        let (range, high_water_mark) = or_throw(env, read_options(&to_input(options)?))?;
        Ok(NativeReader {
            files: self.files().clone(),
            path,
            range,
            high_water_mark,
            file: StreamSlot::new(),
        })
    }

    /// What a `writeStream` writes to; nothing is opened yet.
    #[napi(catch_unwind)]
    pub fn writer(&self, env: &Env, path: Unknown<'_>, options: Unknown<'_>) -> napi::Result<NativeWriter> {
        let (files, path) = (self.files().clone(), volume_path(env, path)?);
        let (options, from, high_water_mark) = or_throw(env, write_options(&to_input(options)?))?;
        let (file, takes_turns) = (StreamSlot::new(), Arc::default());
        Ok(NativeWriter { files, path, options, from, high_water_mark, file, takes_turns })
    }
}

#[napi]
impl NativeReader {
    /// The most bytes that one read gives.
    #[napi(getter, catch_unwind)]
    pub fn high_water_mark(&self) -> u32 {
        self.high_water_mark
    }

    /// Opens the file and gives how many bytes are to be read.
    #[napi(catch_unwind, ts_return_type = "Promise<number>")]
    pub fn open<'e>(&self, env: &'e Env) -> napi::Result<Unknown<'e>> {
        let (files, path, range) = (self.files.clone(), self.path.clone(), self.range);
        let open = self.file.open(move |(), _| files.open_reader_once(&path, range), FileReader::left);
        let cancel = self.file.cancel.clone();
        let attempt = move |cancel: &CancelToken| open(&(), cancel);
        let work = move || past_leases(Pool::Fast, cancel, attempt, |left| Ok(Outcome::Ready(left)));
        run_in_steps(env, Pool::Fast, work, |env, left| (left as f64).into_unknown(env))
    }

    /// Fills `buffer`, which no other code may reach meanwhile, and gives how many bytes it got: fewer than it holds only
    /// at the end.
    #[napi(catch_unwind, ts_return_type = "Promise<number>")]
    pub fn read<'e>(&self, env: &'e Env, buffer: Unknown<'_>) -> napi::Result<Unknown<'e>> {
        let mut buffer = BorrowedMemory::of(env, buffer)?;
        let pool = pool_for_piece(buffer.len());
        let read = self.file.use_open(move |file, cancel| buffer.fill(|bytes| file.read_next(bytes, cancel)));
        run(env, pool, read, |env, length| (length as f64).into_unknown(env))
    }

    /// Has what runs end soon, and nothing begin.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.file.cancel.cancel();
        release_cancelled();
    }

    /// Closes the file.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn close<'e>(&self, env: &'e Env) -> napi::Result<Unknown<'e>> {
        run(env, Pool::Bulk, self.file.close(), nothing)
    }
}

#[napi]
impl NativeWriter {
    /// How many bytes may be held before the writer is asked to wait.
    #[napi(getter, catch_unwind)]
    pub fn high_water_mark(&self) -> u32 {
        self.high_water_mark
    }

    /// Opens the file, or makes it.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn open<'e>(&self, env: &'e Env) -> napi::Result<Unknown<'e>> {
        let (files, path, options, from) = (self.files.clone(), self.path.clone(), self.options, self.from);
        let open = move |prepared: &WriteSession, cancel: &CancelToken| {
            prepared.open_writer_once(&path, options, from, cancel)
        };
        let (open, cancel) = (self.file.open(open, |_| ()), self.file.cancel.clone());
        let takes_turns = self.takes_turns.clone();
        // Emptying a large file takes long.
        let pool = Pool::Blocking(None);
        let later = pool.clone();
        let work = move || {
            let prepared = files.prepare_write()?;
            takes_turns.store(prepared.has_quota(), Ordering::Release);
            let turn = prepared.has_quota().then(|| KeyedLimit::one(files.queue(), &cancel));
            in_turn_past_leases(turn, later, cancel, move |cancel| open(&prepared, cancel))
        };
        run_in_steps(env, pool, work, nothing)
    }

    /// Writes a piece: a string, a `Uint8Array`, or several of them that are put together.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn write<'e>(&self, env: &'e Env, data: Unknown<'_>) -> napi::Result<Unknown<'e>> {
        let data = Data::of_several(env, data)?;
        let mut sink = StreamSink { file: self.file.file.clone(), cancel: self.file.cancel.clone() };
        let pool = pool_for_piece(data.len());
        let later = pool.clone();
        if !self.takes_turns.load(Ordering::Acquire) {
            return run_in_steps(env, pool, move || data.pour(later, sink), nothing);
        }
        // Slices that a piece held while it waits for its turn would be lacking to writes into other volumes.
        let turn = KeyedLimit::one(self.files.queue(), &self.file.cancel);
        let write = move |bytes: Copied| in_turn(true, turn, move || sink.write(&bytes));
        run_in_steps(env, pool, move || data.with_whole(later, write), nothing)
    }

    /// Completes the file.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn finish<'e>(&self, env: &'e Env) -> napi::Result<Unknown<'e>> {
        let pool = self.pool_or(if self.options.durable { Pool::Blocking(None) } else { Pool::Bulk });
        run(env, pool, self.file.use_open(StreamWriter::finish), nothing)
    }

    /// Has what runs end soon, and nothing begin.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.file.cancel.cancel();
        release_cancelled();
    }

    /// Closes the file; of an atomic one that was not finished nothing stays.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn close<'e>(&self, env: &'e Env) -> napi::Result<Unknown<'e>> {
        run(env, Pool::Blocking(None), self.file.close(), nothing)
    }
}

impl NativeWriter {
    /// That pool, unless the volume's writers take turns.
    fn pool_or(&self, pool: Pool) -> Pool {
        match self.takes_turns.load(Ordering::Acquire) {
            true => Pool::Blocking(Some(KeyedLimit::one(self.files.queue(), &self.file.cancel))),
            false => pool,
        }
    }
}

/// Where a piece of that many bytes is read or written. A short one belongs to a whole that is longer.
fn pool_for_piece(length: usize) -> Pool {
    match pool_for_data(length) {
        Pool::Fast => Pool::Bulk,
        pool => pool,
    }
}

fn high_water_mark(fields: &OptionReader<'_>) -> Result<u32> {
    match fields.u32("highWaterMark")?.unwrap_or(HIGH_WATER_MARK) {
        bytes @ 1..=HIGHEST_WATER_MARK => Ok(bytes),
        bytes => {
            let problem = format!("expected from 1 to {HIGHEST_WATER_MARK} bytes, got {bytes}");
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
