//! Tests of `src/volume_fs`.

mod content;
mod copy;
mod entries;
mod error_paths;
mod leases;
mod model;
mod paths;
mod quota;
mod races;
mod rights;
mod special_files;
mod streaming;
mod trees;
