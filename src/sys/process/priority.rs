//! The scheduling priority of threads.

use rustix::process::setpriority_process;

/// Sets the niceness of this thread. A failure costs speed only, so it is ignored.
pub fn set_thread_niceness(niceness: i32) {
    // On Linux, no process ID means the calling thread, not its whole process.
    let _unchanged_on_failure = setpriority_process(None, niceness);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;
    use std::thread;

    #[test]
    fn only_the_calling_thread_is_changed() {
        const MAX_NICENESS: i32 = 19;
        let here = getpriority_process(None).unwrap();
        let lower = MAX_NICENESS.min(here + 1);
        let changed = thread::spawn(move || {
            set_thread_niceness(lower);
            getpriority_process(None).unwrap()
        });
        assert_eq!(changed.join().unwrap(), lower);
        assert_eq!(getpriority_process(None).unwrap(), here);
    }
}
