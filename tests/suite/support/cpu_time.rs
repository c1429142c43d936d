//! How much this thread has computed: what a busy machine does not change.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
