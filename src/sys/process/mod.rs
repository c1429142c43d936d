//! Processes: identity and state, priority, the umask, deletion in a user namespace.

pub mod identity;
#[cfg(any(feature = "node", test))]
pub mod priority;
pub mod umask;
pub mod user_namespace;
