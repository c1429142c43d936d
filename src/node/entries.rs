//! DirListing, looking at and renaming the entries of a volume.

use super::files::{NativeFiles, nothing};
use super::runtime::arguments::volume_path;
use super::runtime::cancellation::{Cancellation, cancel_of};
use super::runtime::convert::{from_input, to_input};
use super::runtime::dispatch::{Outcome, run, run_in_steps};
use super::runtime::executor::Pool;
use super::runtime::js_error::or_throw;
use crate::error::Result;
use crate::model::{OptionReader, OptionValue};
use crate::store::{DirListing, EntryBatch, ListOptions, Stat, VolumeFs};
use crate::sync::{CancelToken, IgnorePoison};
use napi::Env;
use napi::bindgen_prelude::{Buffer, Either, Float64Array, ToNapiValue, Uint32Array, Unknown};
use napi_derive::napi;
use std::ffi::OsString;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

/// How many entries a listing tells at once where that is done on the short pool, and elsewhere. The first is a
/// millisecond's work, the second two, on the JavaScript thread as well.
const FEW: usize = 1000;
const MANY: usize = 2048;

/// The farthest from 1970 that a `Date` may be, in milliseconds.
const FARTHEST_MS: f64 = 8.64e15;

#[napi]
impl NativeFiles {
    /// `VolumeFs.stat`
    #[napi(catch_unwind, ts_return_type = "Promise<object>")]
    pub fn stat<'e>(
        &self,
        env: &'e Env,
        path: Unknown<'_>,
        options: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        let (files, path, cancel) = self.start(env, path, cancellation)?;
        let follow = or_throw(env, flag("StatOptions", &to_input(options)?, "followSymlinks"))?;
        let work = move || {
            cancel.check()?;
            files.stat(&path, follow.unwrap_or(true))
        };
        run(env, Pool::Fast, work, |env, stat| from_input(env, &plain(&stat)))
    }

    /// `VolumeFs.rename`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn rename<'e>(
        &self,
        env: &'e Env,
        from: Unknown<'_>,
        to: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        let (files, from, cancel) = self.start(env, from, cancellation)?;
        let to = volume_path(env, to)?;
        run(env, Pool::Fast, move || files.rename(&from, &to, &cancel), nothing)
    }

    /// `VolumeFs.list`; `whole` for a listing that will be in memory as a whole.
    #[napi(catch_unwind)]
    pub fn list(
        &self,
        env: &Env,
        path: Unknown<'_>,
        options: Unknown<'_>,
        whole: bool,
    ) -> napi::Result<NativeListing> {
        let (files, path, _) = self.start(env, path, None)?;
        let recursive = or_throw(env, flag("ListFilesOptions", &to_input(options)?, "recursive"))?;
        let options = ListOptions { recursive: recursive.unwrap_or(false), whole };
        let state = Mutex::new(ListingState::ToBegin(files, path, options));
        Ok(NativeListing(Arc::new(ListingSlot(state))))
    }
}

/// A listing, begun by the first call of `next`.
#[napi]
pub struct NativeListing(Arc<ListingSlot>);

struct ListingSlot(Mutex<ListingState>);

enum ListingState {
    ToBegin(VolumeFs, OsString, ListOptions),
    Begun(Box<DirListing>),
    /// A call of `next` has the listing.
    Busy,
    Over,
}

/// Some entries, in columns.
#[napi(object)]
pub struct NativeBatch {
    /// For each run of entries of one directory what their paths begin with, then their names, each closed by a NUL;
    /// bytes where not all of it is UTF-8.
    pub text: Either<String, Buffer>,
    /// How many entries each run has.
    pub runs: Uint32Array,
    /// For each entry `st_mode`, the size in bytes, and when it was modified in milliseconds; NaN where unknown.
    pub facts: Float64Array,
    pub is_last: bool,
}

#[napi]
impl NativeListing {
    /// The next entries. One call at a time; none after the last entries or an error.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeBatch>")]
    pub fn next<'e>(&self, env: &'e Env, cancellation: Option<&Cancellation>) -> napi::Result<Unknown<'e>> {
        let (slot, cancel) = (self.0.clone(), cancel_of(cancellation));
        run_in_steps(env, slot.pool(), move || slot.next(cancel), |env, batch| batch.into_unknown(env))
    }

    /// Ends the listing, at once or with the call of `next` that runs.
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
            ListingState::ToBegin(_, _, ListOptions { recursive: false, .. }) => Pool::Fast,
            _ => Pool::Bulk,
        }
    }

    fn next(self: Arc<Self>, cancel: CancelToken) -> Result<Outcome<NativeBatch>> {
        cancel.check()?;
        let state = mem::replace(&mut *self.lock(), ListingState::Busy);
        match state {
            ListingState::ToBegin(files, path, options) => {
                let listing = Box::new(files.list(&path, options)?);
                match (listing.is_small(), options.recursive) {
                    (true, _) => self.tell(listing, FEW, &cancel).map(Outcome::Ready),
                    (false, true) => self.tell(listing, MANY, &cancel).map(Outcome::Ready),
                    (false, false) => {
                        Ok(Outcome::later(Pool::Bulk, move || self.tell(listing, MANY, &cancel)))
                    }
                }
            }
            ListingState::Begun(listing) => self.tell(listing, MANY, &cancel).map(Outcome::Ready),
            ListingState::Busy | ListingState::Over => {
                Ok(Outcome::Ready(EntryBatch { is_last: true, ..EntryBatch::default() }.into()))
            }
        }
    }

    /// Tells of the next entries, and keeps what is left of the listing unless it was closed meanwhile.
    fn tell(&self, mut listing: Box<DirListing>, most: usize, cancel: &CancelToken) -> Result<NativeBatch> {
        let batch = listing.next(most, cancel)?;
        let mut state = self.lock();
        if matches!(*state, ListingState::Busy) && !batch.is_last {
            *state = ListingState::Begun(listing);
        }
        Ok(batch.into())
    }
}

impl From<EntryBatch> for NativeBatch {
    fn from(batch: EntryBatch) -> Self {
        let facts = batch.facts.iter();
        let facts =
            facts.flat_map(|facts| [facts.mode.into(), facts.size as f64, milliseconds(facts.modified)]);
        NativeBatch {
            facts: facts.collect::<Vec<f64>>().into(),
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

/// What `lib/metadata.js` makes a `FileMetadata` of.
fn plain(stat: &Stat) -> OptionValue {
    let fields = [
        ("mode", stat.mode.into()),
        ("size", stat.size as f64),
        ("allocatedBytes", stat.allocated_bytes as f64),
        ("uid", stat.uid.into()),
        ("gid", stat.gid.into()),
        ("nlink", stat.nlink as f64),
        ("modifiedMs", milliseconds(stat.modified)),
        ("accessedMs", milliseconds(stat.accessed)),
        ("createdMs", milliseconds(stat.created)),
    ];
    OptionValue::Object(
        fields.into_iter().map(|(name, value)| (name.to_owned(), OptionValue::Number(value))).collect(),
    )
}

/// A time as a `Date` has it and as Node rounds it, in milliseconds; NaN where there is none or a `Date` cannot hold it.
fn milliseconds(time: Option<SystemTime>) -> f64 {
    let rounded = |span: Duration| (span.as_secs() as f64) * 1e3 + f64::from(span.subsec_nanos()) / 1e6;
    let since = match time.map(|time| time.duration_since(SystemTime::UNIX_EPOCH)) {
        None => f64::NAN,
        Some(Ok(after)) => rounded(after),
        Some(Err(before)) => -rounded(before.duration()),
    };
    match (since + 0.5).floor() {
        ms if ms.abs() <= FARTHEST_MS => ms,
        _ => f64::NAN,
    }
}
