//! Other processes: whether they still run, and what user namespaces allow.

pub mod identity;
pub mod umask;
pub mod user_namespace;
