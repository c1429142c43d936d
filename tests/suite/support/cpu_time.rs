//! The CPU time of this thread, which does not depend on the load of the machine.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
