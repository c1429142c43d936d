//! Quotas on directory volumes: usage, the lock for writers, and reservations.

pub mod estimate;
pub mod lock;
pub mod reserve;
pub mod usage;
