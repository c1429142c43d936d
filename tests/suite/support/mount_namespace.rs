//! Mount namespaces of tests.

use super::skip::skip;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Gives this thread, and the processes that it starts, a mount namespace. If that is not possible, skips the test and
/// returns `false`.
pub fn enter_namespace() -> bool {
    let nothing: Option<&str> = None;
    let entered = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing));
    match entered {
        Ok(()) => true,
        Err(errno) => {
            skip(format_args!("this process may not make a mount name space: {errno}"));
            false
        }
    }
}
