//! Processes: identity and state, the umask, deletion in a user namespace.

pub mod identity;
pub mod umask;
pub mod user_namespace;
