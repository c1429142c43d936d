//! Appends to files.

use super::quota::reserve::{QuotaWrite, SpaceRequest};
use super::quota::usage::growth;
use super::write::InPlaceWrite;
use super::{VolumePath, VolumeRoot, WriteContext, WriteOptions};
use crate::error::Result;
use crate::sys::Access;
use cap_std::fs::Metadata;
use std::io::Write;

/// How to append data.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendOptions {
    /// Puts the data on disk before the call returns.
    pub durable: bool,
    /// The mode of a file that does not exist yet, less the umask; 0644 by default.
    pub mode: Option<u32>,
}

impl VolumeRoot {
    /// Appends `data` to the regular file at `path`, and creates the file if it is missing. The parent directory must
    /// exist. Keeps what other processes append at the same time (`O_APPEND`). Follows a link that stays inside the
    /// volume.
    pub(super) fn append(
        &self,
        path: &VolumePath,
        data: &[u8],
        options: AppendOptions,
        WriteContext { quota, cancel, .. }: &WriteContext<'_>,
    ) -> Result<()> {
        let reserve = |found: Option<&Metadata>| {
            let length = data.len() as u64;
            let request = match found {
                Some(found) => SpaceRequest {
                    length,
                    growth: growth(found, found.len(), length),
                    ..SpaceRequest::default()
                },
                None => SpaceRequest::whole(length, 0),
            };
            quota.reserve(&QuotaWrite { tree: self, path: path.as_str(), request, cancel })
        };
        let options = WriteOptions { atomic: false, durable: options.durable, mode: options.mode };
        let how = InPlaceWrite { access: Access::Append, options, cancel };
        let opened = self.open_or_create(path, &how, reserve)?;
        self.fill(path, opened, &how, |file| file.write_all(data))
    }
}
