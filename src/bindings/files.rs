//! The files of one volume as JavaScript sees them.

use super::arguments::volume_path;
use super::cancellation::{Cancellation, cancel_of};
use super::data::{Data, LARGE, Sink};
use super::dispatch::{Convert, Step, run, run_in_steps};
use super::errors::or_throw;
use super::lanes::{Lane, Turn};
use super::pages::NativePages;
use super::pauses::{past_leases, pause_for};
use super::values::to_input;
use crate::error::{Error, Result};
use crate::model::{Cancel, Fields, Input, SLICE, Slots};
use crate::store::{OngoingWrite, OpenedFile, VolumeFiles, WriteOptions};
use napi::Env;
use napi::bindgen_prelude::{Buffer, BufferSlice, Either, ToNapiValue, Unknown};
use napi_derive::napi;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Instant;

/// From here on reading and writing takes longer than the jobs of the long lane may.
const HUGE: usize = 4 << 20;

/// The files of one volume.
#[napi]
pub struct NativeFiles {
    files: VolumeFiles,
    /// At which its copies take turns.
    slots: Arc<Slots>,
}

impl NativeFiles {
    pub fn new(files: VolumeFiles, slots: Arc<Slots>) -> Self {
        NativeFiles { files, slots }
    }

    pub(super) fn files(&self) -> &VolumeFiles {
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
    ) -> napi::Result<(VolumeFiles, OsString, Cancel)> {
        Ok((self.files.clone(), volume_path(env, path)?, cancel_of(cancellation)))
    }

    /// Reads a whole file; a large one on another lane.
    fn read_whole<'e, T: Send + 'static>(
        &self,
        env: &'e Env,
        path: Unknown<'_>,
        cancellation: Option<&Cancellation>,
        read: fn(OpenedFile, &Cancel) -> Result<T>,
        convert: Convert<T>,
    ) -> napi::Result<Unknown<'e>> {
        let (files, path, cancel) = self.start(env, path, cancellation)?;
        let work = move || {
            let reading = cancel.clone();
            let read = move |file: OpenedFile| {
                let lane = lane_of_data(usize::try_from(file.size()).unwrap_or(usize::MAX));
                match lane {
                    Lane::Short => read(file, &reading).map(Step::Done),
                    lane => Ok(Step::later(lane, move || read(file, &reading))),
                }
            };
            past_leases(Lane::Short, cancel, move |_| files.open_once(&path), read)
        };
        run_in_steps(env, Lane::Short, work, convert)
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
        let read = |file: OpenedFile, cancel: &Cancel| {
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
        let lane = lane_of_write(data.len(), options.durable, options.atomic);
        let later = lane.clone();
        let write = move |data: Data| {
            let prepared = files.prepare_write()?;
            if !prepared.has_quota() {
                let length = data.len() as u64;
                let begin = move |cancel: &Cancel| prepared.begin_write(&path, length, options, cancel);
                return past_leases(later.clone(), cancel, begin, move |write| {
                    pour_in_turn(data, later, write)
                });
            }
            // Other writers of the volume wait while it has its turn, so it waits for nothing then.
            data.with_whole(later.clone(), move |bytes| {
                match prepared.try_write(&path, &bytes, options, &cancel)? {
                    Some(()) => Ok(Step::Done(())),
                    None => {
                        let turn = Some(Turn::one(files.queue(), &cancel));
                        let write =
                            move |cancel: &Cancel| prepared.write_once(&path, &bytes, options, cancel);
                        in_turn_past_leases(turn, later, cancel, write)
                    }
                }
            })
        };
        let lanes = lane.clone();
        let work = move || data.if_there(lanes, write);
        run_in_steps(env, lane, work, nothing)
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
            let turn = Turn::one(files.queue(), &cancel);
            in_turn(has_quota, turn, move || prepared.mkdir(&path, &cancel))
        };
        run_in_steps(env, Lane::Short, work, nothing)
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
        run(env, Lane::Short, move || files.remove(&path, &cancel), nothing)
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
                true => Ok(Step::Done(())),
                false => Ok(Step::later(Lane::Walk, move || removal.go_on(None).map(drop))),
            }
        };
        run_in_steps(env, Lane::Long, work, nothing)
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
        run(env, Lane::Short, work, |env, there| there.into_unknown(env))
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
fn pour_in_turn(data: Data, lane: Lane, mut write: OngoingWrite) -> Result<Step<()>> {
    match write.try_take_turn() {
        Ok(true) => return data.pour(lane, write),
        Ok(false) => {}
        Err(error) => {
            let (pause, cancel, later) = (write.pause_after(error)?, write.cancel(), lane.clone());
            return Ok(pause_for(pause, later, cancel, move || pour_in_turn(data, lane, write)));
        }
    }
    Ok(Step::Parked(Box::new(move |resume| {
        write.on_turn(move |write, taken| {
            let rest_lane = lane.clone();
            resume(lane, Box::new(move || taken.and_then(|()| pour_in_turn(data, rest_lane, write))));
        });
    })))
}

/// Where that many bytes of a file are read or written.
pub(super) fn lane_of_data(length: usize) -> Lane {
    match length {
        ..LARGE => Lane::Short,
        LARGE..HUGE => Lane::Long,
        HUGE.. => Lane::Bulk,
    }
}

/// The same, if they may have to be on disk, or in a file that replaces another.
pub(super) fn lane_of_write(length: usize, durable: bool, atomic: bool) -> Lane {
    match lane_of_data(length) {
        Lane::Short | Lane::Long if durable => Lane::Waiting(None),
        Lane::Short if atomic => Lane::Long,
        lane => lane,
    }
}

/// Writers of a volume with a quota take turns, so they wait elsewhere.
pub fn in_turn(
    has_quota: bool,
    turn: Turn,
    write: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<Step<()>> {
    match has_quota {
        true => Ok(Step::later(Lane::Waiting(Some(turn)), write)),
        false => write().map(Step::Done),
    }
}

/// Runs a write on `lane`, or with the volume's turn if writers of the volume take turns. While a guest holds a lease on
/// the file, other operations have the lane and the turn.
pub fn in_turn_past_leases(
    turn: Option<Turn>,
    lane: Lane,
    cancel: Cancel,
    write: impl FnMut(&Cancel) -> Result<()> + Send + 'static,
) -> Result<Step<()>> {
    let done = |()| Ok(Step::Done(()));
    let Some(turn) = turn else { return past_leases(lane, cancel, write, done) };
    let lane = Lane::Waiting(Some(turn));
    Ok(Step::Later(lane.clone(), Box::new(move || past_leases(lane, cancel, write, done))))
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

fn write_options(options: &Input) -> Result<WriteOptions> {
    write_options_of(&Fields::of("WriteOptions", options, &WRITE_OPTIONS)?)
}

/// The options of a write among those of a call that takes others as well.
pub(super) fn write_options_of(fields: &Fields<'_>) -> Result<WriteOptions> {
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
