//! The native end of an `AbortSignal`.

use super::executor;
use crate::node::lease_retry;
use crate::store::release_cancelled_writes;
use crate::sync::CancelToken;
use napi_derive::napi;

/// Passed to one operation. lib/call.js cancels it when the caller's signal fires.
#[napi]
pub struct Cancellation(CancelToken);

#[napi]
impl Cancellation {
    /// Creates a token that is not cancelled.
    #[napi(constructor, catch_unwind)]
    pub fn new() -> Self {
        Cancellation(CancelToken::asked_now())
    }

    /// Requests cancellation. Has no effect after the commit point of the operation.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.0.cancel();
        release_cancelled();
        release_cancelled_writes();
    }
}

/// Ends cancelled operations that are queued for a thread, or that wait for a keyed limit or for a lease. Returns
/// at once, however many there are.
pub fn release_cancelled() {
    executor::release_cancelled();
    lease_retry::release_cancelled();
}

/// Returns the token that a call was given, or one that is never cancelled.
pub fn cancel_token(cancellation: Option<&Cancellation>) -> CancelToken {
    cancellation.map_or_else(CancelToken::asked_now, |cancellation| cancellation.0.clone())
}
