//! The native end of an `AbortSignal`.

use super::executor;
use crate::node::pauses;
use crate::store::release_cancelled_writes;
use crate::sync::CancelToken;
use napi_derive::napi;

/// Handed to one operation; lib/call.js cancels it when the caller's signal fires.
#[napi]
pub struct Cancellation(CancelToken);

#[napi]
impl Cancellation {
    /// A cancellation that has not happened.
    #[napi(constructor, catch_unwind)]
    pub fn new() -> Self {
        Cancellation(CancelToken::asked_now())
    }

    /// Asks for it, which comes too late where the operation is past the point of no return.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.0.cancel();
        release_cancelled();
        release_cancelled_writes();
    }
}

/// Has cancelled operations that wait, for their turn or for a lease, end now. Returns at once, however many there are.
pub fn release_cancelled() {
    executor::release_cancelled();
    pauses::release_cancelled();
}

/// The cancellation that a call was given, or one that never happens.
pub fn cancel_of(cancellation: Option<&Cancellation>) -> CancelToken {
    cancellation.map_or_else(CancelToken::asked_now, |cancellation| cancellation.0.clone())
}
