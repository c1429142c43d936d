//! Tests of `src/store/volume`.

mod foreign_owners;
mod foreign_owners_races;
mod identity;
mod lifecycle;
mod owner_permissions;
mod parallel_removals;
mod undeletable;
