//! What a write is given, and how a job writes it.

use super::dispatch::Outcome;
use super::executor::Pool;
use super::feed::{Fed, Next};
use super::feed_queue::{CopiedSlice, SLICE_BYTES};
use super::js_error::or_throw;
use crate::error::{Error, Result};
use napi::bindgen_prelude::{FromNapiValue, Uint8ArraySlice, Unknown};
use napi::{Env, JsValue, ValueType};
use std::ops::Deref;

/// From here on copied data is charged to its environment, and reading and writing moves to the long pool.
pub const LARGE: usize = 64 * 1024;

/// Bytes for a job.
pub enum Data {
    /// Copied in the call.
    Copied(Copied),
    /// Copied when the job asks for them.
    Fed(Fed),
}

/// Bytes in memory of our own.
pub enum Copied {
    /// Of which nobody keeps count.
    Free(Vec<u8>),
    /// Charged to their environment.
    Charged(CopiedSlice),
}

impl Deref for Copied {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Copied::Free(bytes) => bytes,
            Copied::Charged(slice) => slice,
        }
    }
}

impl Data {
    /// Takes a string or a `Uint8Array`, of which at most [`SLICE_BYTES`] bytes are copied here.
    pub fn of(env: &Env, value: Unknown<'_>) -> napi::Result<Self> {
        if value.get_type()? == ValueType::String {
            return Ok(Data::Copied(Copied::Free(String::from_unknown(value)?.into_bytes())));
        }
        let refused = || Error::invalid_config("data", "expected a Uint8Array or a string");
        let bytes = or_throw(env, Uint8ArraySlice::from_unknown(value).map_err(|_| refused()))?;
        let length = bytes.len();
        let copied = match length {
            ..LARGE => Some(Copied::Free(bytes.to_vec())),
            LARGE..=SLICE_BYTES => CopiedSlice::in_call(env, &bytes)?.map(Copied::Charged),
            _ => None,
        };
        copied.map_or_else(|| Fed::of(env, value, length).map(Data::Fed), |copied| Ok(Data::Copied(copied)))
    }

    /// Takes an array of them too, which are copied here: the caller keeps it short.
    pub fn of_several(env: &Env, value: Unknown<'_>) -> napi::Result<Self> {
        if value.get_type()? != ValueType::Object || !value.is_array()? {
            return Data::of(env, value);
        }
        let mut joined = Vec::new();
        for chunk in Vec::<Uint8ArraySlice<'_>>::from_unknown(value)? {
            joined.extend_from_slice(&chunk);
        }
        Ok(Data::Copied(Copied::Free(joined)))
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        match self {
            Data::Copied(bytes) => bytes.len(),
            Data::Fed(fed) => fed.len(),
        }
    }

    /// Has `work` done, unless the data is found to be gone first.
    pub fn if_there(
        self,
        pool: Pool,
        work: impl FnOnce(Self) -> Result<Outcome<()>> + Send + 'static,
    ) -> Result<Outcome<()>> {
        let Data::Fed(fed) = self else { return work(self) };
        Ok(Outcome::Parked(Box::new(move |resume| {
            fed.look(move |fed| {
                let rest = move || fed.check().and_then(|()| work(Data::Fed(fed)));
                resume(pool, Box::new(rest));
            });
        })))
    }

    /// Has `work` done with all of the data in memory, where it cannot be written slice by slice.
    pub fn with_whole(
        self,
        pool: Pool,
        work: impl FnOnce(Copied) -> Result<Outcome<()>> + Send + 'static,
    ) -> Result<Outcome<()>> {
        let fed = match self {
            Data::Copied(bytes) => return work(bytes),
            Data::Fed(fed) => fed,
        };
        fed.reserve_whole()?;
        Ok(Outcome::Parked(Box::new(move |resume| {
            fed.collect(move |fed| {
                resume(pool, Box::new(move || work(Copied::Free(fed.whole()?))));
            });
        })))
    }

    /// Writes the data to `sink` slice by slice, and completes it.
    pub fn pour(self, pool: Pool, mut sink: impl Sink) -> Result<Outcome<()>> {
        let fed = match self {
            Data::Copied(bytes) => {
                sink.write(&bytes)?;
                return sink.finish().map(Outcome::Ready);
            }
            Data::Fed(fed) => fed,
        };
        loop {
            match fed.next()? {
                Next::CopiedSlice(slice) => sink.write(&slice)?,
                Next::End => return sink.finish().map(Outcome::Ready),
                Next::Pending => break,
            }
        }
        Ok(Outcome::Parked(Box::new(move |resume| {
            fed.when_ready(move |fed| {
                let rest_lane = pool.clone();
                resume(pool, Box::new(move || Data::Fed(fed).pour(rest_lane, sink)));
            });
        })))
    }
}

/// Where data goes. One that is dropped before it was finished undoes what it can.
pub trait Sink: Send + 'static {
    /// Writes the next bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Completes what was written.
    fn finish(self) -> Result<()>;
}
