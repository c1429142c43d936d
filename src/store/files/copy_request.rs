//! What to copy to or from a volume, and how.

use crate::error::Result;
use crate::model::{IntoVolumePath, VolumePath};
use crate::volume_fs::SymlinkPolicy;
use std::path::PathBuf;

/// The source and destination of a copy. A path of the host is absolute.
#[derive(Clone, Debug)]
pub enum CopyRequest {
    /// A copy within the volume.
    Within {
        /// Path of the source.
        from: VolumePath,
        /// Exact path of the copy.
        to: VolumePath,
    },
    /// A copy from the host into the volume.
    In {
        /// Path of the source on the host.
        host: PathBuf,
        /// Exact path of the copy in the volume.
        to: VolumePath,
    },
    /// A copy from the volume to the host.
    Out {
        /// Path of the source in the volume.
        from: VolumePath,
        /// Exact path of the copy on the host.
        host: PathBuf,
    },
}

impl CopyRequest {
    /// Requests a copy within the volume.
    pub fn within(from: impl IntoVolumePath, to: impl IntoVolumePath) -> Result<Self> {
        Ok(CopyRequest::Within { from: from.into_volume_path()?, to: to.into_volume_path()? })
    }

    /// Requests a copy from an absolute path of the host into the volume.
    pub fn from_host(host: impl Into<PathBuf>, to: impl IntoVolumePath) -> Result<Self> {
        Ok(CopyRequest::In { host: host.into(), to: to.into_volume_path()? })
    }

    /// Requests a copy from the volume to an absolute path of the host.
    pub fn to_host(from: impl IntoVolumePath, host: impl Into<PathBuf>) -> Result<Self> {
        Ok(CopyRequest::Out { from: from.into_volume_path()?, host: host.into() })
    }
}

/// Options of a copy between a volume and the host.
#[derive(Clone, Copy, Debug)]
pub struct TransferOptions {
    /// What to do with symbolic links that may lead outside of the copied tree.
    pub links: SymlinkPolicy,
    /// True to ask the filter about each entry below the top.
    pub asks: bool,
}

impl Default for TransferOptions {
    fn default() -> Self {
        TransferOptions { links: SymlinkPolicy::Refuse, asks: false }
    }
}
