//! What a copy preserves, and what it may use.

use crate::error::{Error, Result};
use crate::sync::{CancelToken, Slot};
use crate::sys::Dir as StoreDir;
use crate::sys::fd::{AsFd, BorrowedFd};
use crate::volume_fs::{Quota, Reservation, SpaceRequest, VolumeRoot};
use std::fmt::Debug;
use std::sync::Arc;

/// What to do with symbolic links. A link below the top is never followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymlinkPolicy {
    /// Copies all links, wherever they lead.
    Keep,
    /// Fails if a link may lead out of the copied tree.
    Refuse,
    /// Leaves out links that may lead out of the copied tree.
    Skip,
}

/// The owner of the copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerPolicy {
    /// The owner of the original, as far as this process may change owners.
    Preserve,
    /// This process's user.
    CurrentUser,
}

/// A volume that is copied into: its staging directory and its quota.
pub trait IntoVolume: Debug + Send + Sync {
    /// Returns a directory of the same file system that no guest sees.
    fn staging(&self) -> &StoreDir;

    /// Returns the volume's root directory.
    fn root(&self) -> BorrowedFd<'_>;

    /// Adds the volume's quota to an error if the kernel enforced it.
    fn map_error(&self, error: Error) -> Error;

    /// Returns whether the volume has a quota, so that [`reserve`](IntoVolume::reserve) matters.
    fn is_limited(&self) -> bool;

    /// Runs `write` under the quota lock, if the quota has room for `request` at `path`. `reservation` holds what was
    /// reserved for the same file before.
    fn reserve(
        &self,
        path: &str,
        request: SpaceRequest,
        reservation: &mut Reservation,
        write: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()>;
}

/// How to copy.
#[derive(Debug)]
pub struct CopyPolicy {
    /// What to do with links.
    pub links: SymlinkPolicy,
    /// The owner of the copies.
    pub owner: OwnerPolicy,
    /// The mode bits that a directory keeps. A file keeps its permissions only: a set-id bit would run a guest's
    /// program as the owner of the copy.
    pub directory_mode: u32,
    /// The volume that is copied into, if the destination is one.
    pub into: Option<Box<dyn IntoVolume>>,
    /// Whether the caller decides on each entry below the top.
    pub filters: bool,
    /// Ends the copy, which is then undone.
    pub cancel: CancelToken,
    /// The slot at which the copy takes turns with other copies.
    pub slot: Arc<Slot>,
}

impl CopyPolicy {
    /// Takes turns with other copies. Fails if the copy was cancelled.
    pub(super) fn yield_turn(&self) -> Result<()> {
        self.slot.go_on(&self.cancel)
    }

    /// Runs `write` once there is room for `request`; see [`IntoVolume::reserve`].
    pub(super) fn reserve(
        &self,
        path: impl Fn() -> String,
        request: SpaceRequest,
        reservation: &mut Reservation,
        write: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        match &self.into {
            Some(volume) if volume.is_limited() => volume.reserve(&path(), request, reservation, write),
            _ => write(),
        }
    }

    /// See [`IntoVolume::map_error`].
    pub(super) fn map_error(&self, error: Error) -> Error {
        match &self.into {
            Some(volume) => volume.map_error(error),
            None => error,
        }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.into.as_ref().is_some_and(|volume| volume.is_limited())
    }
}

impl VolumeRoot {
    /// See [`IntoVolume::map_error`].
    pub fn map_copy_error(&self, error: Error) -> Error {
        match error.context().path.clone() {
            Some(path) => self.map_error(error, &path),
            None => error,
        }
    }

    /// Returns the root's descriptor.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Fails if `request` would take the volume over its quota; see [`Quota`].
    pub fn reserve(
        &self,
        quota: Quota,
        path: &str,
        request: SpaceRequest,
        reservation: &mut Reservation,
        cancel: &CancelToken,
    ) -> Result<()> {
        quota.reserve_more(self, path, request, reservation, cancel)
    }
}
