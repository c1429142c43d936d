//! Adding to the end of files.

use super::quota::reserve::{Reservation, SpaceRequest};
use super::quota::usage::growth;
use super::{Quota, VolumePath, VolumeRoot, WriteOptions};
use crate::error::Result;
use crate::sync::CancelToken;
use crate::sys::Access;
use cap_std::fs::Metadata;
use std::ffi::OsStr;
use std::io::Write;

/// How data is added.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendOptions {
    /// The data is on disk before the call returns.
    pub durable: bool,
    /// The mode of a file that does not exist yet, less the umask; 0644 by default.
    pub mode: Option<u32>,
}

impl VolumeRoot {
    /// Adds `data` to the end of the regular file at `path`, made where it is missing; the directory that holds it
    /// must exist. What others add meanwhile stays (`O_APPEND`). A link that stays inside is followed.
    pub fn append(
        &self,
        path: impl AsRef<OsStr>,
        data: &[u8],
        options: AppendOptions,
        quota: Quota,
        cancel: &CancelToken,
    ) -> Result<()> {
        let path = VolumePath::parse(path)?;
        let admit = |found: Option<&Metadata>| {
            let length = data.len() as u64;
            let demand = match found {
                Some(found) => SpaceRequest {
                    length,
                    growth: growth(found, found.len(), length),
                    ..SpaceRequest::default()
                },
                None => SpaceRequest::whole(length, 0),
            };
            quota.admit_more(self, path.as_str(), demand, &mut Reservation::default(), cancel)
        };
        let options = WriteOptions { atomic: false, durable: options.durable, mode: options.mode };
        let opened = self.open_or_make(&path, Access::Append, options, cancel, admit)?;
        self.fill(&path, opened, options, cancel, |file| file.write_all(data))
    }
}
