//! The files of one volume as JavaScript sees them.

use super::pauses::{past_leases, pause_for};
use super::runtime::arguments::volume_path;
use super::runtime::cancellation::{Cancellation, cancel_of};
use super::runtime::convert::to_input;
use super::runtime::data::{Data, LARGE, Sink};
use super::runtime::dispatch::{Convert, Outcome, run, run_in_steps};
use super::runtime::executor::{KeyedLimit, Pool};
use super::runtime::js_error::or_throw;
use super::runtime::pages::NativePages;
use crate::error::{Error, Result};
use crate::model::{OptionReader, OptionValue};
use crate::store::{OngoingWrite, OpenedFile, VolumeFs, WriteOptions};
use crate::sync::{CancelToken, SLICE, Slots};
use napi::Env;
use napi::bindgen_prelude::{Buffer, BufferSlice, Either, ToNapiValue, Unknown};
use napi_derive::napi;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Instant;

/// From here on reading and writing takes longer than the jobs of the long pool may.
const HUGE: usize = 4 << 20;

/// The files of one volume.
#[napi]
pub struct NativeFiles {
    files: VolumeFs,
    /// At which its copies take turns.
    slots: Arc<Slots>,
}

impl NativeFiles {
    pub fn new(files: VolumeFs, slots: Arc<Slots>) -> Self {
        NativeFiles { files, slots }
    }

    pub(super) fn files(&self) -> &VolumeFs {
        &self.files
    }

    pub(super) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// What every call starts from.
    pub fn start(
        &self,
        env: &Env,
        path: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<(VolumeFs, OsString, CancelToken)> {
        Ok((self.files.clone(), volume_path(env, path)?, cancel_of(cancellation)))
    }

    /// Reads a whole file; a large one on another pool.
    fn read_whole<'e, T: Send + 'static>(
        &self,
        env: &'e Env,
        path: Unknown<'_>,
        cancellation: Option<&Cancellation>,
        read: fn(OpenedFile, &CancelToken) -> Result<T>,
        convert: Convert<T>,
    ) -> napi::Result<Unknown<'e>> {
        let (files, path, cancel) = self.start(env, path, cancellation)?;
        let work = move || {
            let reading = cancel.clone();
            let read = move |file: OpenedFile| {
                let pool = pool_for_data(usize::try_from(file.size()).unwrap_or(usize::MAX));
                match pool {
                    Pool::Fast => read(file, &reading).map(Outcome::Ready),
                    pool => Ok(Outcome::later(pool, move || read(file, &reading))),
                }
            };
            past_leases(Pool::Fast, cancel, move |_| files.open_once(&path), read)
        };
        run_in_steps(env, Pool::Fast, work, convert)
    }
}

#[napi]
impl NativeFiles {
    /// The data directory's absolute path on the host.
    #[napi(getter, catch_unwind)]
    pub fn root(&self) -> String {
        self.files.root().to_string_lossy().into_owned()
    }

    /// `VolumeFs.read`
    #[napi(catch_unwind, ts_return_type = "Promise<Buffer>")]
    pub fn read<'e>(
        &self,
        env: &'e Env,
        path: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        self.read_whole(env, path, cancellation, OpenedFile::read, to_buffer)
    }

    /// `VolumeFs.readString`; a long text in pieces.
    #[napi(catch_unwind, ts_return_type = "Promise<string | NativePages>")]
    pub fn read_string<'e>(
        &self,
        env: &'e Env,
        path: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        let read = |file: OpenedFile, cancel: &CancelToken| {
            let text = file.read_string(cancel)?;
            Ok(match NativePages::is_for(&text) {
                true => Either::B(NativePages::of_text(&text)),
                false => Either::A(text),
            })
        };
        self.read_whole(env, path, cancellation, read, |env, text| text.into_unknown(env))
    }

    /// `VolumeFs.write`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn write<'e>(
        &self,
        env: &'e Env,
        path: Unknown<'_>,
        data: Unknown<'_>,
        options: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        let (files, path, cancel) = self.start(env, path, cancellation)?;
        let data = Data::of(env, data)?;
        let options = or_throw(env, write_options(&to_input(options)?))?;
        let pool = pool_for_write(data.len(), options.durable, options.atomic);
        let later = pool.clone();
        let write = move |data: Data| {
            let prepared = files.prepare_write()?;
            if !prepared.has_quota() {
                let length = data.len() as u64;
                let begin = move |cancel: &CancelToken| prepared.begin_write(&path, length, options, cancel);
                return past_leases(later.clone(), cancel, begin, move |write| {
                    pour_in_turn(data, later, write)
                });
            }
            // Other writers of the volume wait while it has its turn, so it waits for nothing then.
            data.with_whole(later.clone(), move |bytes| {
                match prepared.try_write(&path, &bytes, options, &cancel)? {
                    Some(()) => Ok(Outcome::Ready(())),
                    None => {
                        let turn = Some(KeyedLimit::one(files.queue(), &cancel));
                        let write =
                            move |cancel: &CancelToken| prepared.write_once(&path, &bytes, options, cancel);
                        in_turn_past_leases(turn, later, cancel, write)
                    }
                }
            })
        };
        let pools = pool.clone();
        let work = move || data.if_there(pools, write);
        run_in_steps(env, pool, work, nothing)
    }

    /// `VolumeFs.mkdir`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn mkdir<'e>(
        &self,
        env: &'e Env,
        path: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        let (files, path, cancel) = self.start(env, path, cancellation)?;
        let work = move || {
            let prepared = files.prepare_write()?;
            let has_quota = prepared.has_quota();
            let turn = KeyedLimit::one(files.queue(), &cancel);
            in_turn(has_quota, turn, move || prepared.mkdir(&path, &cancel))
        };
        run_in_steps(env, Pool::Fast, work, nothing)
    }

    /// `VolumeFs.remove`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn remove<'e>(
        &self,
        env: &'e Env,
        path: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        let (files, path, cancel) = self.start(env, path, cancellation)?;
        run(env, Pool::Fast, move || files.remove(&path, &cancel), nothing)
    }

    /// `VolumeFs.removeAll`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn remove_all<'e>(
        &self,
        env: &'e Env,
        path: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        let (files, path, cancel) = self.start(env, path, cancellation)?;
        let work = move || {
            let mut removal = files.prepare_remove_all(&path, &cancel)?;
            match removal.go_on(Some(Instant::now() + SLICE))? {
                true => Ok(Outcome::Ready(())),
                false => Ok(Outcome::later(Pool::Walk, move || removal.go_on(None).map(drop))),
            }
        };
        run_in_steps(env, Pool::Bulk, work, nothing)
    }

    /// `VolumeFs.exists`
    #[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
    pub fn exists<'e>(
        &self,
        env: &'e Env,
        path: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        let (files, path, cancel) = self.start(env, path, cancellation)?;
        let work = move || {
            cancel.check()?;
            files.exists(&path)
        };
        run(env, Pool::Fast, work, |env, there| there.into_unknown(env))
    }
}

impl Sink for OngoingWrite {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        OngoingWrite::write(self, bytes)
    }

    fn finish(self) -> Result<()> {
        OngoingWrite::finish(self)
    }
}

/// Writes data to its file when no other write of this process does.
fn pour_in_turn(data: Data, pool: Pool, mut write: OngoingWrite) -> Result<Outcome<()>> {
    match write.try_take_turn() {
        Ok(true) => return data.pour(pool, write),
        Ok(false) => {}
        Err(error) => {
            let (pause, cancel, later) = (write.pause_after(error)?, write.cancel(), pool.clone());
            return Ok(pause_for(pause, later, cancel, move || pour_in_turn(data, pool, write)));
        }
    }
    Ok(Outcome::Parked(Box::new(move |resume| {
        write.on_turn(move |write, taken| {
            let rest_lane = pool.clone();
            resume(pool, Box::new(move || taken.and_then(|()| pour_in_turn(data, rest_lane, write))));
        });
    })))
}

/// Where that many bytes of a file are read or written.
pub(super) fn pool_for_data(length: usize) -> Pool {
    match length {
        ..LARGE => Pool::Fast,
        LARGE..HUGE => Pool::Bulk,
        HUGE.. => Pool::Transfer,
    }
}

/// The same, if they may have to be on disk, or in a file that replaces another.
pub(super) fn pool_for_write(length: usize, durable: bool, atomic: bool) -> Pool {
    match pool_for_data(length) {
        Pool::Fast | Pool::Bulk if durable => Pool::Blocking(None),
        Pool::Fast if atomic => Pool::Bulk,
        pool => pool,
    }
}

/// Writers of a volume with a quota take turns, so they wait elsewhere.
pub fn in_turn(
    has_quota: bool,
    turn: KeyedLimit,
    write: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<Outcome<()>> {
    match has_quota {
        true => Ok(Outcome::later(Pool::Blocking(Some(turn)), write)),
        false => write().map(Outcome::Ready),
    }
}

/// Runs a write on `pool`, or with the volume's turn if writers of the volume take turns. While a guest holds a lease on
/// the file, other operations have the pool and the turn.
pub fn in_turn_past_leases(
    turn: Option<KeyedLimit>,
    pool: Pool,
    cancel: CancelToken,
    write: impl FnMut(&CancelToken) -> Result<()> + Send + 'static,
) -> Result<Outcome<()>> {
    let done = |()| Ok(Outcome::Ready(()));
    let Some(turn) = turn else { return past_leases(pool, cancel, write, done) };
    let pool = Pool::Blocking(Some(turn));
    Ok(Outcome::Continue(pool.clone(), Box::new(move || past_leases(pool, cancel, write, done))))
}

/// What a call gives that gives nothing.
pub fn nothing(env: &Env, (): ()) -> napi::Result<Unknown<'_>> {
    ().into_unknown(env)
}

fn to_buffer<'e>(env: &'e Env, content: Vec<u8>) -> napi::Result<Unknown<'e>> {
    match content.len() < LARGE {
        true => BufferSlice::copy_from(env, content)?.into_unknown(env),
        false => Buffer::from(content).into_unknown(env),
    }
}

/// What a write may be given, and a stream that writes as well.
pub(super) const WRITE_OPTIONS: [&str; 3] = ["atomic", "durable", "mode"];

fn write_options(options: &OptionValue) -> Result<WriteOptions> {
    write_options_of(&OptionReader::of("WriteOptions", options, &WRITE_OPTIONS)?)
}

/// The options of a write among those of a call that takes others as well.
pub(super) fn write_options_of(fields: &OptionReader<'_>) -> Result<WriteOptions> {
    let mode = fields.u32("mode")?;
    if mode.is_some_and(|mode| mode > 0o7777) {
        return Err(Error::invalid_config("mode", "expected permission bits, at most 0o7777"));
    }
    Ok(WriteOptions {
        atomic: fields.flag("atomic")?.unwrap_or(false),
        durable: fields.flag("durable")?.unwrap_or(false),
        mode,
    })
}
