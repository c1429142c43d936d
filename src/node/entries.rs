//! The native side of `list`, `stat` and `rename`.

use super::files::NativeFiles;
use super::runtime::arguments::volume_path;
use super::runtime::cancellation::Cancellation;
use super::runtime::convert::to_option_value;
use super::runtime::executor::Pool;
use super::runtime::job::{Job, JobPromise, Outcome, run_cancellable};
use super::runtime::js_error::or_throw;
use crate::error::Result;
use crate::model::{OptionReader, OptionValue, VolumePath};
use crate::store::{DirListing, EntryBatch, EntryMetadata, ListOptions, VolumeFs};
use crate::sync::{CancelToken, IgnorePoison};
use crate::wire::{FileStatJson, milliseconds, to_json};
use napi::Env;
use napi::bindgen_prelude::{Buffer, Either, Float64Array, Uint32Array, Unknown};
use napi_derive::napi;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};

/// How many entries one batch of a listing has on [`Pool::Fast`] and on [`Pool::Bulk`]. The first takes a
/// millisecond, the second two, on the JavaScript thread as well.
const FAST_BATCH_ENTRIES: usize = 1000;
const BULK_BATCH_ENTRIES: usize = 2048;

#[napi]
impl NativeFiles {
    /// `VolumeFs.stat`. Returns the metadata as JSON.
    #[napi(catch_unwind, ts_return_type = "Promise<string>")]
    pub fn stat(
        &self,
        path: Unknown<'_>,
        options: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> JobPromise<String> {
        self.run_at(path, cancellation, |files, path, cancel| {
            let follow = flag("StatOptions", &to_option_value(options)?, "followSymlinks")?;
            Ok(Job::on(Pool::Fast, move || {
                cancel.check()?;
                to_json(&FileStatJson::from(&files.stat(&path, follow.unwrap_or(true))?))
            }))
        })
    }

    /// `VolumeFs.rename`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn rename(
        &self,
        from: Unknown<'_>,
        to: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> JobPromise<()> {
        self.run_at(from, cancellation, |files, from, cancel| {
            let to = volume_path(to)?;
            Ok(Job::on(Pool::Fast, move || files.rename(&from, &to, &cancel)))
        })
    }

    /// `VolumeFs.list`. `whole` says that the caller collects all entries in memory.
    #[napi(catch_unwind)]
    pub fn list(
        &self,
        env: &Env,
        path: Unknown<'_>,
        options: Unknown<'_>,
        whole: bool,
    ) -> napi::Result<NativeListing> {
        or_throw(env, || {
            let path = volume_path(path)?;
            let recursive = flag("ListFilesOptions", &to_option_value(options)?, "recursive")?;
            let options = ListOptions { recursive: recursive.unwrap_or(false), whole };
            let state = ListingState::NotStarted(self.files().clone(), path, options);
            Ok(NativeListing(Arc::new(ListingSlot(Mutex::new(state)))))
        })
    }
}

/// A directory listing. The first call of `next` starts it.
#[napi]
pub struct NativeListing(Arc<ListingSlot>);

struct ListingSlot(Mutex<ListingState>);

enum ListingState {
    NotStarted(VolumeFs, VolumePath, ListOptions),
    Started(Box<DirListing>),
    /// A call of `next` uses the listing.
    Busy,
    Over,
}

/// Some entries of a listing, in columns.
#[napi(object)]
pub struct NativeBatch {
    /// The texts of each run of entries of one directory: the common start of the paths, then the names. A
    /// NUL ends each text. Bytes if not all of it is UTF-8.
    pub text: Either<String, Buffer>,
    /// The count of entries of each run.
    pub runs: Uint32Array,
    /// `st_mode`, the size in bytes and the modification time in milliseconds of each entry. NaN if unknown.
    pub stats: Float64Array,
    pub is_last: bool,
}

#[napi]
impl NativeListing {
    /// Reads the next entries. Allows one call at a time. After the last entries or an error it returns no
    /// entries.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeBatch>")]
    pub fn next(&self, cancellation: Option<&Cancellation>) -> JobPromise<NativeBatch> {
        run_cancellable(cancellation, |cancel| {
            let slot = self.0.clone();
            Ok(Job::in_steps(slot.pool(), move || slot.next(cancel)))
        })
    }

    /// Ends the listing: at once, or when the running call of `next` ends.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        *self.0.lock() = ListingState::Over;
    }
}

impl ListingSlot {
    fn lock(&self) -> MutexGuard<'_, ListingState> {
        self.0.lock().ignore_poison()
    }

    fn pool(&self) -> Pool {
        match &*self.lock() {
            ListingState::NotStarted(_, _, ListOptions { recursive: false, .. }) => Pool::Fast,
            _ => Pool::Bulk,
        }
    }

    fn next(self: Arc<Self>, cancel: CancelToken) -> Result<Outcome<NativeBatch>> {
        cancel.check()?;
        let state = mem::replace(&mut *self.lock(), ListingState::Busy);
        match state {
            ListingState::NotStarted(files, path, options) => {
                let listing = Box::new(files.list(&path, options)?);
                match (listing.is_small(), options.recursive) {
                    (true, _) => self.read_batch(listing, FAST_BATCH_ENTRIES, &cancel).map(Outcome::Ready),
                    (false, true) => {
                        self.read_batch(listing, BULK_BATCH_ENTRIES, &cancel).map(Outcome::Ready)
                    }
                    (false, false) => Ok(Outcome::last_step_on(Pool::Bulk, move || {
                        self.read_batch(listing, BULK_BATCH_ENTRIES, &cancel)
                    })),
                }
            }
            ListingState::Started(listing) => {
                self.read_batch(listing, BULK_BATCH_ENTRIES, &cancel).map(Outcome::Ready)
            }
            ListingState::Busy | ListingState::Over => {
                Ok(Outcome::Ready(EntryBatch { is_last: true, ..EntryBatch::default() }.into()))
            }
        }
    }

    /// Reads the next entries. Keeps the listing if it has more and was not closed in between.
    fn read_batch(
        &self,
        mut listing: Box<DirListing>,
        max_entries: usize,
        cancel: &CancelToken,
    ) -> Result<NativeBatch> {
        let batch = listing.next(max_entries, cancel)?;
        let mut state = self.lock();
        if matches!(*state, ListingState::Busy) && !batch.is_last {
            *state = ListingState::Started(listing);
        }
        Ok(batch.into())
    }
}

impl From<EntryBatch> for NativeBatch {
    fn from(batch: EntryBatch) -> Self {
        let stats = batch.metadata.iter();
        let modified = |stat: &EntryMetadata| milliseconds(stat.modified).map_or(f64::NAN, |ms| ms as f64);
        let stats = stats.flat_map(|stat| [stat.mode.into(), stat.size as f64, modified(stat)]);
        NativeBatch {
            stats: stats.collect::<Vec<f64>>().into(),
            runs: batch.runs.into(),
            is_last: batch.is_last,
            text: match String::from_utf8(batch.text) {
                Ok(text) => Either::A(text),
                Err(error) => Either::B(error.into_bytes().into()),
            },
        }
    }
}

fn flag(owner: &'static str, options: &OptionValue, name: &'static str) -> Result<Option<bool>> {
    OptionReader::of(owner, options, &[name])?.flag(name)
}
