//! Copies and appends as JavaScript sees them. A copy is an object that is advanced until it is whole, and then
//! committed: in between JavaScript answers what it was asked, and meanwhile it looks how far the copy has come.

use super::files::{NativeFiles, in_turn_past_leases, nothing, pool_for_write};
use super::runtime::arguments::{host_path, volume_path};
use super::runtime::cancellation::{Cancellation, cancel_of};
use super::runtime::convert::to_input;
use super::runtime::data::{Copied, Data};
use super::runtime::dispatch::{current, run, run_in_steps};
use super::runtime::executor::{self, KeyedLimit, Pool};
use super::runtime::js_error::or_throw;
use crate::error::{Error, Result};
use crate::model::option_names::HOST_PATH;
use crate::model::{OptionReader, OptionValue};
use crate::store::{
    AppendOptions, CopyRequest, EntryKind, FilterRequest, Progress, SymlinkPolicy, TransferOptions,
    VolumeCopy,
};
use crate::sync::CancelToken;
use napi::Env;
use napi::bindgen_prelude::{ToNapiValue, Unknown};
use napi_derive::napi;
use std::sync::{Arc, Mutex, TryLockError};

/// How many copies of one volume may wait for it at a time, so that threads are left for those of others.
const MAX_COPIES_OF_A_VOLUME: usize = 16;

#[napi]
impl NativeFiles {
    /// `VolumeFs.append`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn append<'e>(
        &self,
        env: &'e Env,
        path: Unknown<'_>,
        data: Unknown<'_>,
        options: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        let (files, path, cancel) = self.start(env, path, cancellation)?;
        let data = Data::of(env, data)?;
        let options = or_throw(env, append_options(&to_input(options)?))?;
        let pool = pool_for_write(data.len(), options.durable, false);
        let its_lane = pool.clone();
        // What others append meanwhile must not come between its bytes, so they are written at once.
        let append = move |bytes: Copied| {
            let prepared = files.prepare_write()?;
            let turn = prepared.has_quota().then(|| KeyedLimit::one(files.queue(), &cancel));
            let append = move |cancel: &CancelToken| prepared.append_once(&path, &bytes, options, cancel);
            in_turn_past_leases(turn, its_lane, cancel, append)
        };
        let later = pool.clone();
        let work = move || data.with_whole(later, append);
        run_in_steps(env, pool, work, nothing)
    }

    /// `VolumeFs.copy`
    #[napi(catch_unwind)]
    pub fn copy(
        &self,
        env: &Env,
        from: Unknown<'_>,
        to: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<NativeCopy> {
        let request = CopyRequest::Within { from: volume_path(env, from)?, to: volume_path(env, to)? };
        Ok(self.prepare(request, TransferOptions::default(), cancellation))
    }

    /// `VolumeFs.copyIn`; `asks` where it has a filter.
    #[napi(catch_unwind)]
    pub fn copy_in(
        &self,
        env: &Env,
        host: Unknown<'_>,
        to: Unknown<'_>,
        options: Unknown<'_>,
        asks: bool,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<NativeCopy> {
        let request = CopyRequest::In { host: host_path(env, HOST_PATH, host)?, to: volume_path(env, to)? };
        let options = or_throw(env, transfer_options(&to_input(options)?, asks))?;
        Ok(self.prepare(request, options, cancellation))
    }

    /// `VolumeFs.copyOut`; `asks` where it has a filter.
    #[napi(catch_unwind)]
    pub fn copy_out(
        &self,
        env: &Env,
        from: Unknown<'_>,
        host: Unknown<'_>,
        options: Unknown<'_>,
        asks: bool,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<NativeCopy> {
        let request =
            CopyRequest::Out { from: volume_path(env, from)?, host: host_path(env, HOST_PATH, host)? };
        let options = or_throw(env, transfer_options(&to_input(options)?, asks))?;
        Ok(self.prepare(request, options, cancellation))
    }
}

impl NativeFiles {
    fn prepare(
        &self,
        request: CopyRequest,
        options: TransferOptions,
        cancellation: Option<&Cancellation>,
    ) -> NativeCopy {
        let cancel = cancel_of(cancellation);
        let copy = self.files().prepare_copy(request, options, &cancel).at_slots(self.slots());
        let turn = KeyedLimit { key: self.files().queue(), limit: MAX_COPIES_OF_A_VOLUME, cancel };
        NativeCopy { progress: copy.progress(), copy: Arc::new(Mutex::new(copy)), turn }
    }
}

/// A copy that lib/copying.js brings to its end.
#[napi]
pub struct NativeCopy {
    copy: Arc<Mutex<VolumeCopy>>,
    progress: Arc<Progress>,
    turn: KeyedLimit,
}

/// How far a copy has come.
#[napi(object, object_from_js = false)]
pub struct CopyTally {
    /// Files and links that were copied.
    pub files: f64,
    /// Bytes of content that were copied.
    pub bytes: f64,
    /// Links that were skipped.
    pub skipped_links: f64,
    /// The latest file, from the top.
    pub path: String,
}

/// An entry that the filter is asked for.
#[napi(object, object_from_js = false)]
pub struct CopyQuestion {
    /// Its path from the top.
    pub path: String,
    /// What it is.
    #[napi(ts_type = "'file' | 'directory' | 'symlink' | 'other'")]
    pub kind: &'static str,
}

#[napi]
impl NativeCopy {
    /// How far it has come.
    #[napi(catch_unwind)]
    pub fn tally(&self) -> CopyTally {
        let tally = self.progress.tally();
        CopyTally {
            files: tally.files as f64,
            bytes: tally.bytes as f64,
            skipped_links: tally.skipped_links as f64,
            path: tally.path.to_string_lossy().into_owned(),
        }
    }

    /// Copies on, up to the commit point (null) or to what has to be asked for; `verdicts` answer what was asked last.
    /// `commits` has it pass the commit point as well.
    #[napi(catch_unwind, ts_return_type = "Promise<CopyQuestion[] | null>")]
    pub fn advance<'e>(&self, env: &'e Env, verdicts: Vec<bool>, commits: bool) -> napi::Result<Unknown<'e>> {
        let copy = self.copy.clone();
        let cancelled_at_end = current(env)?.endings.add(&self.turn.cancel);
        let work = move || {
            let _cancelled_at_end = cancelled_at_end;
            with(&copy, |copy| match copy.advance(&verdicts)? {
                None if commits => copy.commit().map(|()| None),
                questions => Ok(questions),
            })
        };
        run(env, Pool::Copy(self.turn.clone()), work, questions)
    }

    /// Passes the commit point, or undoes the copy if it was cancelled.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn commit<'e>(&self, env: &'e Env) -> napi::Result<Unknown<'e>> {
        let copy = self.copy.clone();
        run(env, Pool::Blocking(None), move || with(&copy, VolumeCopy::commit), nothing)
    }
}

impl Drop for NativeCopy {
    /// Undoes a copy that was given up, off the JavaScript thread. If it cannot be locked, a job works on it and drops it.
    fn drop(&mut self) {
        if self.copy.try_lock().is_ok_and(|copy| copy.is_begun()) {
            let copy = self.copy.clone();
            // If no thread can be had, the copy is undone where the job was refused.
            let _refused = executor::submit(Pool::Walk, Box::new(move || drop(copy)));
        }
    }
}

/// Works on a copy that nobody else works on: that may take as long as the copy has to go, and is not waited for.
fn with<T>(copy: &Mutex<VolumeCopy>, work: impl FnOnce(&mut VolumeCopy) -> Result<T>) -> Result<T> {
    match copy.try_lock() {
        Ok(mut copy) => work(&mut copy),
        Err(TryLockError::Poisoned(poisoned)) => work(&mut poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(Error::internal("a copy was asked to go on while it did")),
    }
}

fn questions(env: &Env, questions: Option<Vec<FilterRequest>>) -> napi::Result<Unknown<'_>> {
    let plain = |question: FilterRequest| CopyQuestion {
        path: question.path.to_string_lossy().into_owned(),
        kind: match question.kind {
            EntryKind::File => "file",
            EntryKind::Directory => "directory",
            EntryKind::Link => "symlink",
            EntryKind::Special => "other",
        },
    };
    questions.map(|questions| questions.into_iter().map(plain).collect::<Vec<_>>()).into_unknown(env)
}

fn append_options(options: &OptionValue) -> Result<AppendOptions> {
    let fields = OptionReader::of("AppendOptions", options, &["durable", "mode"])?;
    let mode = fields.u32("mode")?;
    if mode.is_some_and(|mode| mode > 0o7777) {
        return Err(Error::invalid_config("mode", "expected permission bits, at most 0o7777"));
    }
    Ok(AppendOptions { durable: fields.flag("durable")?.unwrap_or(false), mode })
}

fn transfer_options(options: &OptionValue, asks: bool) -> Result<TransferOptions> {
    let fields = OptionReader::of("TransferOptions", options, &["links"])?;
    let choices = [("refuse", SymlinkPolicy::Refuse), ("skip", SymlinkPolicy::Skip)];
    let links = fields.choice("links", &choices)?.unwrap_or(SymlinkPolicy::Refuse);
    Ok(TransferOptions { links, asks })
}
