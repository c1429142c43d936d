//! The data of a write, and how a job writes it.

use super::executor::Pool;
use super::feed::{FeedReader, NextSlice};
use super::feed_queue::{CopiedSlice, SLICE_BYTES};
use super::job::{CallResult, Outcome};
use crate::error::{Error, Result};
use napi::bindgen_prelude::{FromNapiValue, Uint8ArraySlice, Unknown};
use napi::{Env, JsValue, ValueType};
use std::ops::Deref;

/// From this length on, copied data is charged to its environment, and a job reads or writes on
/// [`Pool::Bulk`].
pub const BULK_MIN_BYTES: usize = 64 * 1024;

/// The bytes that a job writes.
pub enum WriteData {
    /// Copied during the call.
    Copied(CopiedData),
    /// Copied when the job requests them.
    Fed(FeedReader),
}

/// Bytes in memory of this addon.
pub enum CopiedData {
    /// Not charged to the environment.
    Uncharged(Vec<u8>),
    /// Charged to the environment.
    Charged(CopiedSlice),
}

impl Deref for CopiedData {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            CopiedData::Uncharged(bytes) => bytes,
            CopiedData::Charged(slice) => slice,
        }
    }
}

impl WriteData {
    /// Takes a string or a `Uint8Array`. Copies at most [`SLICE_BYTES`] bytes of an array here.
    pub fn from_js(value: Unknown<'_>) -> CallResult<Self> {
        let env = &Env::from_raw(value.value().env);
        if value.get_type()? == ValueType::String {
            return Ok(WriteData::Copied(CopiedData::Uncharged(String::from_unknown(value)?.into_bytes())));
        }
        let wrong_type = || Error::invalid_config("data", "expected a Uint8Array or a string");
        let bytes = Uint8ArraySlice::from_unknown(value).map_err(|_| wrong_type())?;
        let length = bytes.len();
        let copied = match length {
            ..BULK_MIN_BYTES => Some(CopiedData::Uncharged(bytes.to_vec())),
            BULK_MIN_BYTES..=SLICE_BYTES => CopiedSlice::in_call(env, &bytes)?.map(CopiedData::Charged),
            _ => None,
        };
        Ok(match copied {
            Some(copied) => WriteData::Copied(copied),
            None => WriteData::Fed(FeedReader::from_js(env, value, length)?),
        })
    }

    /// Takes also an array of `Uint8Array`, and copies all of it here. The caller keeps the array short.
    pub fn from_chunks(value: Unknown<'_>) -> CallResult<Self> {
        if value.get_type()? != ValueType::Object || !value.is_array()? {
            return WriteData::from_js(value);
        }
        let mut joined = Vec::new();
        for chunk in Vec::<Uint8ArraySlice<'_>>::from_unknown(value)? {
            joined.extend_from_slice(&chunk);
        }
        Ok(WriteData::Copied(CopiedData::Uncharged(joined)))
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        match self {
            WriteData::Copied(bytes) => bytes.len(),
            WriteData::Fed(fed) => fed.len(),
        }
    }

    /// Runs `work`, or fails if the buffer of the data is lost by then.
    pub fn check_then(
        self,
        pool: Pool,
        work: impl FnOnce(Self) -> Result<Outcome<()>> + Send + 'static,
    ) -> Result<Outcome<()>> {
        let WriteData::Fed(fed) = self else { return work(self) };
        Ok(Outcome::Parked(Box::new(move |resume| {
            fed.when_checked(move |fed| {
                let rest = move || fed.check().and_then(|()| work(WriteData::Fed(fed)));
                resume(pool, Box::new(rest));
            });
        })))
    }

    /// Runs `work` with all of the data in memory, for a write that cannot be done slice by slice.
    pub fn with_all(
        self,
        pool: Pool,
        work: impl FnOnce(CopiedData) -> Result<Outcome<()>> + Send + 'static,
    ) -> Result<Outcome<()>> {
        let fed = match self {
            WriteData::Copied(bytes) => return work(bytes),
            WriteData::Fed(fed) => fed,
        };
        fed.reserve_all()?;
        Ok(Outcome::Parked(Box::new(move |resume| {
            fed.when_collected(move |fed| {
                resume(pool, Box::new(move || work(CopiedData::Uncharged(fed.take_all()?))));
            });
        })))
    }

    /// Writes the data to `sink` slice by slice, then finishes the sink.
    pub fn write_to(self, pool: Pool, mut sink: impl DataSink) -> Result<Outcome<()>> {
        let fed = match self {
            WriteData::Copied(bytes) => {
                sink.write(&bytes)?;
                return sink.finish().map(Outcome::Ready);
            }
            WriteData::Fed(fed) => fed,
        };
        loop {
            match fed.next()? {
                NextSlice::Bytes(slice) => sink.write(&slice)?,
                NextSlice::End => return sink.finish().map(Outcome::Ready),
                NextSlice::Pending => break,
            }
        }
        Ok(Outcome::Parked(Box::new(move |resume| {
            fed.when_ready(move |fed| {
                let later = pool.clone();
                resume(pool, Box::new(move || WriteData::Fed(fed).write_to(later, sink)));
            });
        })))
    }
}

/// The target of a write. A sink that is dropped before `finish` undoes what it can.
pub trait DataSink: Send + 'static {
    /// Writes the next bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Completes the write.
    fn finish(self) -> Result<()>;
}
