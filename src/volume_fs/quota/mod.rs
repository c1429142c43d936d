//! Quotas on directory volumes: how much is used, who may write, and how much more.

pub mod estimate;
pub mod lock;
pub mod reserve;
pub mod usage;
