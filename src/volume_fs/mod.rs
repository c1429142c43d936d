//! Files inside one volume: the only room that opens paths a guest may have written.
//!
//! The kernel resolves every path beneath the volume's directory descriptor (cap-std: `openat2` with
//! `RESOLVE_BENEATH`). The guest may change the tree at any moment, so no code here checks a path and then uses it.
//! Each step acts on a descriptor or is one system call.

#![forbid(unsafe_code)]

mod append;
mod atomic_write;
mod chunked_write;
mod copy;
mod entry_batch;
mod exists;
mod lease_wait;
mod list;
mod metadata;
mod mkdir;
mod mount_point;
mod new_file;
mod open;
mod quota;
mod read;
mod read_stream;
mod removal;
mod remove;
mod remove_tree;
mod rename;
mod stat;
mod subpath;
mod walk;
mod write;
mod write_stream;

pub use append::AppendOptions;
pub use chunked_write::ChunkedWrite;
pub use copy::{
    CopyDest, CopyDestPlace, CopyJob, CopyPolicy, CopySource, CopyStats, DestVolume, Endpoint, FilterRequest,
    OwnerPolicy, Progress, SymlinkPolicy,
};
pub use entry_batch::EntryBatch;
pub use lease_wait::{LeaseWait, is_lease_error, retry_past_leases};
pub use list::{DirListing, ListOptions};
pub use metadata::EntryMetadata;
pub use mount_point::{MountPoint, inspect_mount_point};
pub use quota::lock::{QuotaHooks, QuotaLocks, VolumeQuota};
pub use quota::reserve::Quota;
pub use read::OpenedFile;
pub use read_stream::{FileReader, ReadRange};
pub use removal::{Removal, remove_tree};
pub use stat::Stat;
pub use subpath::PinnedSubpath;
pub use write::{WriteContext, WriteKind, WriteOptions, WriteRequest};
pub use write_stream::{FileWriter, WriteFrom};

use crate::error::{Errno, Error, Result};
use crate::model::{VolumeName, VolumePath};
use crate::sys::Subvolume;
use crate::sys::ext::OsStrExt;
use crate::sys::fd::{AsFd, OwnedFd};
use cap_std::fs::Dir;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// How many times to retry a step when a link was replaced before cap-std, without `openat2`, read it.
const MAX_RETRIES: usize = 16;

/// The root directory of a directory volume, held by descriptor.
#[derive(Clone, Debug)]
pub struct VolumeRoot {
    root: Arc<Dir>,
    volume: VolumeName,
    quota_locks: Option<Arc<QuotaLocks>>,
}

impl VolumeRoot {
    /// Wraps the open root directory of a volume.
    pub fn new(volume: VolumeName, root: OwnedFd) -> Self {
        VolumeRoot { root: Arc::new(dir_from(root)), volume, quota_locks: None }
    }

    /// Makes writes take the volume's quota lock, if it has a quota.
    pub fn with_quota_locks(self, quota_locks: &Arc<QuotaLocks>) -> Self {
        VolumeRoot { quota_locks: Some(quota_locks.clone()), ..self }
    }

    /// Runs one step on `path`, with the directory to resolve it from. Adds `syscall` and `path` to an error.
    fn at<T>(
        &self,
        syscall: &'static str,
        path: &VolumePath,
        step: impl Fn(&Dir, &Path) -> io::Result<T>,
    ) -> Result<T> {
        self.resolve(path, step).map_err(|error| self.io_error(syscall, path, error))
    }

    /// Runs one step on `path`, with the directory to resolve it from.
    fn resolve<T>(&self, path: &VolumePath, step: impl Fn(&Dir, &Path) -> io::Result<T>) -> io::Result<T> {
        let attempt = || {
            let (start, rest) = self.resolve_start(path)?;
            step(&start, rest)
        };
        let mut result = attempt();
        for _ in 0..MAX_RETRIES {
            match &result {
                Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => result = attempt(),
                _ => break,
            }
        }
        result
    }

    /// Returns the directory to resolve `path` from, and the rest of the path. That is the root, or for a path beyond
    /// `PATH_MAX` the directory that its first pieces lead to. Each piece of such a path stays beneath the one before.
    fn resolve_start<'p>(&self, path: &'p VolumePath) -> io::Result<(ResolveStart<'_>, &'p Path)> {
        let mut start = ResolveStart::Root(&self.root);
        let (pieces, last) = path.pieces();
        for piece in pieces {
            start = ResolveStart::Below(start.open_dir(os_str(piece))?);
        }
        Ok((start, Path::new(os_str(last))))
    }

    fn io_error(&self, syscall: &'static str, path: &VolumePath, error: io::Error) -> Error {
        let error = match is_escape(&error) {
            true => Error::path_escape(path.as_str()),
            false if self.exceeds_kernel_quota(error.raw_os_error()) => {
                Error::quota_refused(self.volume.as_str(), path.as_str())
            }
            false => Error::file_system(syscall, path.as_str(), error),
        };
        error.in_volume(self.volume.as_str())
    }
}

/// Returns whether cap-std refused a path that leads outside: its only error of this kind without an errno.
fn is_escape(error: &io::Error) -> bool {
    error.raw_os_error().is_none() && error.kind() == io::ErrorKind::PermissionDenied
}

impl VolumeRoot {
    /// Adds `path` to an error of a step taken for it, which may have been on a temp file. Says so if the kernel
    /// enforced the volume's own quota.
    fn map_error(&self, error: Error, path: &str) -> Error {
        match self.exceeds_kernel_quota(error.context().errno) {
            true => Error::quota_refused(self.volume.as_str(), path),
            false => error.at_path(path).in_volume(self.volume.as_str()),
        }
    }

    /// Returns whether the kernel enforced the volume's own quota, and not that of a user.
    fn exceeds_kernel_quota(&self, errno: Option<i32>) -> bool {
        let is_limited = || Subvolume::of_root(self.root.as_fd()).is_ok_and(|found| found.is_some());
        errno == Some(Errno::EDQUOT as i32) && is_limited()
    }
}

fn not_a_regular_file(syscall: &'static str, path: &VolumePath) -> Error {
    Error::file_system_because(syscall, path.as_str(), Errno::ENOTSUP, "not a regular file")
}

fn os_str(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

fn dir_from(fd: OwnedFd) -> Dir {
    Dir::from_std_file(File::from(fd))
}

enum ResolveStart<'t> {
    Root(&'t Dir),
    Below(Dir),
}

impl Deref for ResolveStart<'_> {
    type Target = Dir;

    fn deref(&self) -> &Dir {
        match self {
            ResolveStart::Root(dir) => dir,
            ResolveStart::Below(dir) => dir,
        }
    }
}
