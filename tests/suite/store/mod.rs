//! Tests of `src/store`.

mod attach;
mod catalog_repair;
mod check;
mod disks;
mod failing_syncs;
mod full_disk;
mod home;
mod home_rights;
mod layers;
mod leftovers;
mod processes;
mod root_cache;
mod volume;
