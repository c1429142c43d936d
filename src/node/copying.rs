//! The native side of copies.
//!
//! lib/copying.js advances a copy until it is complete, then commits it. Between two steps JavaScript answers
//! the filter requests of the last step. It may read the progress at any time.

use super::files::NativeFiles;
use super::runtime::arguments::{host_path, volume_path};
use super::runtime::cancellation::{Cancellation, cancel_token};
use super::runtime::convert::to_option_value;
use super::runtime::dispatch::current;
use super::runtime::executor::{self, KeyedLimit, Pool};
use super::runtime::job::{Job, JobPromise, Outcome, run};
use super::runtime::js_error::or_throw;
use crate::error::{Error, Result};
use crate::model::option_names::HOST_PATH;
use crate::model::{OptionReader, OptionValue};
use crate::store::{
    CopyRequest, EntryKind, FilterRequest, Progress, SymlinkPolicy, TransferOptions, VolumeCopy,
};
use napi::Env;
use napi::bindgen_prelude::Unknown;
use napi_derive::napi;
use std::sync::{Arc, Mutex, TryLockError};

/// How many copies of one volume may wait for it at a time, so that copies of other volumes find a thread.
const MAX_COPIES_PER_VOLUME: usize = 16;

#[napi]
impl NativeFiles {
    /// `VolumeFs.copy`
    #[napi(catch_unwind)]
    pub fn copy(
        &self,
        env: &Env,
        from: Unknown<'_>,
        to: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<NativeCopy> {
        or_throw(env, || {
            let request = CopyRequest::Within { from: volume_path(from)?, to: volume_path(to)? };
            Ok(self.prepare(request, TransferOptions::default(), cancellation))
        })
    }

    /// `VolumeFs.copyIn`. `has_filter` makes `advance` return filter requests.
    #[napi(catch_unwind)]
    pub fn copy_in(
        &self,
        env: &Env,
        host: Unknown<'_>,
        to: Unknown<'_>,
        options: Unknown<'_>,
        has_filter: bool,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<NativeCopy> {
        or_throw(env, || {
            let request = CopyRequest::In { host: host_path(HOST_PATH, host)?, to: volume_path(to)? };
            let options = transfer_options(&to_option_value(options)?, has_filter)?;
            Ok(self.prepare(request, options, cancellation))
        })
    }

    /// `VolumeFs.copyOut`. `has_filter` makes `advance` return filter requests.
    #[napi(catch_unwind)]
    pub fn copy_out(
        &self,
        env: &Env,
        from: Unknown<'_>,
        host: Unknown<'_>,
        options: Unknown<'_>,
        has_filter: bool,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<NativeCopy> {
        or_throw(env, || {
            let request = CopyRequest::Out { from: volume_path(from)?, host: host_path(HOST_PATH, host)? };
            let options = transfer_options(&to_option_value(options)?, has_filter)?;
            Ok(self.prepare(request, options, cancellation))
        })
    }
}

impl NativeFiles {
    fn prepare(
        &self,
        request: CopyRequest,
        options: TransferOptions,
        cancellation: Option<&Cancellation>,
    ) -> NativeCopy {
        let cancel = cancel_token(cancellation);
        let copy = self.files().prepare_copy(request, options, &cancel).at_slots(self.slots());
        let limit = KeyedLimit { key: self.files().queue(), max_running: MAX_COPIES_PER_VOLUME, cancel };
        NativeCopy { progress: copy.progress(), copy: Arc::new(Mutex::new(copy)), limit }
    }
}

/// A copy that lib/copying.js runs to completion.
#[napi]
pub struct NativeCopy {
    copy: Arc<Mutex<VolumeCopy>>,
    progress: Arc<Progress>,
    limit: KeyedLimit,
}

/// The progress of a copy.
#[napi(object, object_from_js = false)]
pub struct NativeCopyProgress {
    /// Files and links that were copied.
    pub files: f64,
    /// Bytes of content that were copied.
    pub bytes: f64,
    /// Symlinks that were skipped.
    pub skipped_links: f64,
    /// The latest file, relative to the top of the copy.
    pub path: String,
}

/// An entry that the filter decides on.
#[napi(object, object_from_js = false)]
pub struct CopyFilterEntry {
    /// The path, relative to the top of the copy.
    pub path: String,
    /// The kind of the entry.
    #[napi(ts_type = "'file' | 'directory' | 'symlink' | 'other'")]
    pub kind: &'static str,
}

#[napi]
impl NativeCopy {
    /// Returns the progress so far.
    #[napi(catch_unwind)]
    pub fn progress(&self) -> NativeCopyProgress {
        let stats = self.progress.stats();
        NativeCopyProgress {
            files: stats.files as f64,
            bytes: stats.bytes as f64,
            skipped_links: stats.skipped_links as f64,
            path: stats.path.to_string_lossy().into_owned(),
        }
    }

    /// Copies until the next filter requests, and returns these, or until the commit point, and returns null.
    /// `decisions` answers the last filter requests. `commits` makes it pass the commit point as well.
    #[napi(catch_unwind, ts_return_type = "Promise<CopyFilterEntry[] | null>")]
    pub fn advance(
        &self,
        env: &Env,
        decisions: Vec<bool>,
        commits: bool,
    ) -> JobPromise<Option<Vec<CopyFilterEntry>>> {
        run(|| {
            let copy = self.copy.clone();
            let teardown_guard = current(env)?.teardown.add(&self.limit.cancel);
            Ok(Job::on(Pool::Copy(self.limit.clone()), move || {
                let _teardown_guard = teardown_guard;
                with(&copy, |copy| match copy.advance(&decisions)? {
                    None if commits => copy.commit().map(|()| None),
                    requests => Ok(requests.map(filter_entries)),
                })
            }))
        })
    }

    /// Passes the commit point, or undoes the copy if it was cancelled.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn commit(&self) -> JobPromise<()> {
        let (copy, cancel) = (self.copy.clone(), self.limit.cancel.clone());
        let commit = move || with(&copy, VolumeCopy::commit);
        let commit_or_undo = move || match cancel.check() {
            Ok(()) => commit().map(Outcome::Ready),
            // To undo a large copy takes long, and other aborts use the threads that end cancelled jobs.
            Err(_) => Ok(Outcome::last_step_on(Pool::Delete, commit)),
        };
        run(|| Ok(Job::in_steps(Pool::Blocking(None), commit_or_undo).hurried_by(&self.limit.cancel)))
    }
}

impl Drop for NativeCopy {
    /// Undoes an abandoned copy, off the JavaScript thread. If the copy is locked, the job that works on it
    /// drops it.
    fn drop(&mut self) {
        if self.copy.try_lock().is_ok_and(|copy| copy.is_begun()) {
            let copy = self.copy.clone();
            // If no thread can be started, the copy is undone on this thread.
            let _not_queued = executor::submit(Pool::Delete, Box::new(move || drop(copy)));
        }
    }
}

/// Runs `work` on a copy. Fails if another job works on it: a wait could take as long as the copy.
fn with<T>(copy: &Mutex<VolumeCopy>, work: impl FnOnce(&mut VolumeCopy) -> Result<T>) -> Result<T> {
    match copy.try_lock() {
        Ok(mut copy) => work(&mut copy),
        Err(TryLockError::Poisoned(poisoned)) => work(&mut poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(Error::internal("a copy was advanced by two jobs at once")),
    }
}

fn filter_entries(requests: Vec<FilterRequest>) -> Vec<CopyFilterEntry> {
    let entry = |request: FilterRequest| CopyFilterEntry {
        path: request.path.to_string_lossy().into_owned(),
        kind: match request.kind {
            EntryKind::File => "file",
            EntryKind::Directory => "directory",
            EntryKind::Link => "symlink",
            EntryKind::Special => "other",
        },
    };
    requests.into_iter().map(entry).collect()
}

fn transfer_options(options: &OptionValue, has_filter: bool) -> Result<TransferOptions> {
    let fields = OptionReader::of("TransferOptions", options, &["links"])?;
    let choices = [("refuse", SymlinkPolicy::Refuse), ("skip", SymlinkPolicy::Skip)];
    let links = fields.choice("links", &choices)?.unwrap_or(SymlinkPolicy::Refuse);
    Ok(TransferOptions { links, asks: has_filter })
}
