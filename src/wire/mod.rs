//! The JSON shapes of results, for every caller: the addon, and other Rust programs.
//!
//! Each shape is a struct that only serializes. A missing value is `null`, so that every field is always there.

#![forbid(unsafe_code)]

mod attachment;
mod file_stat;
mod home_problem;
mod mount;
mod volume;

pub use attachment::{AttachedDiskJson, AttachedVolumeJson, AttachmentJson, owner_name};
pub use file_stat::{FileStatJson, milliseconds};
pub use home_problem::HomeProblemJson;
pub use mount::{MountConfigJson, ResolvedMountJson};
pub use volume::{CreatedVolumeJson, LabelsJson, VolumeJson};

use crate::error::{Error, Result};
use serde::Serialize;

/// Returns the JSON text of a shape.
pub fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal("a result could not be written as JSON").caused_by(error))
}
