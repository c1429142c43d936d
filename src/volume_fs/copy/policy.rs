//! What a copy keeps, and what it may take.

use crate::error::{Error, Result};
use crate::sync::{CancelToken, Slot};
use crate::sys::Dir as StoreDir;
use crate::volume_fs::{Quota, Reservation, SpaceRequest, VolumeRoot};
use std::fmt::Debug;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// What becomes of symbolic links. They are never followed below the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymlinkPolicy {
    /// Copied as they are, wherever they lead.
    Keep,
    /// Copied, unless one may lead out of the copied tree: then nothing is.
    Refuse,
    /// Copied, but for those that may lead out of the copied tree.
    Skip,
}

/// Whose the copies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerPolicy {
    /// The owner of what was copied, as far as this process may give files away.
    Preserve,
    /// This process's user.
    CurrentUser,
}

/// A volume that is copied into: where its files can be made out of the guest's sight, and its limit.
pub trait IntoVolume: Debug + Send + Sync {
    /// A directory of the same file system that no guest sees.
    fn staging(&self) -> &StoreDir;

    /// Its root.
    fn root(&self) -> BorrowedFd<'_>;

    /// An error of the copy's; where the kernel keeps the limit and refused it for that, one that says so.
    fn told(&self, error: Error) -> Error;

    /// Whether it has a limit, so that [`admit`](IntoVolume::admit) matters.
    fn is_limited(&self) -> bool;

    /// Runs `write` when it is this writer's turn and the limit leaves room for what it demands at `path`, together
    /// with what was claimed for that before.
    fn admit(
        &self,
        path: &str,
        demand: SpaceRequest,
        claim: &mut Reservation,
        write: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()>;
}

/// How it is copied.
#[derive(Debug)]
pub struct CopyPolicy {
    /// What becomes of links.
    pub links: SymlinkPolicy,
    /// Whose the copies are.
    pub owner: OwnerPolicy,
    /// The bits of a mode that a directory keeps. A file keeps its permissions only: a set-id bit would make a
    /// program of the guest's run as whoever owns the copy.
    pub directory_mode: u32,
    /// What it is copied into, where that is a volume.
    pub into: Option<Box<dyn IntoVolume>>,
    /// Whether each entry below the top is asked for first.
    pub asks: bool,
    /// Ends the copy, which is then undone.
    pub cancel: CancelToken,
    /// At which it takes turns with other copies.
    pub slot: Arc<Slot>,
}

impl CopyPolicy {
    /// Takes turns with other copies. Fails if the copy was cancelled.
    pub(super) fn go_on(&self) -> Result<()> {
        self.slot.go_on(&self.cancel)
    }

    /// Runs `write` once there is room for what it demands; see [`IntoVolume::admit`].
    pub(super) fn admit(
        &self,
        path: impl Fn() -> String,
        demand: SpaceRequest,
        claim: &mut Reservation,
        write: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        match &self.into {
            Some(volume) if volume.is_limited() => volume.admit(&path(), demand, claim, write),
            _ => write(),
        }
    }

    /// See [`IntoVolume::told`].
    pub(super) fn told(&self, error: Error) -> Error {
        match &self.into {
            Some(volume) => volume.told(error),
            None => error,
        }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.into.as_ref().is_some_and(|volume| volume.is_limited())
    }
}

impl VolumeRoot {
    /// See [`IntoVolume::told`].
    pub fn told_of_copy(&self, error: Error) -> Error {
        match error.context().path.clone() {
            Some(path) => self.told(error, &path),
            None => error,
        }
    }

    /// The root's descriptor.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Refuses what would take the volume over its limit; see [`Quota`].
    pub fn admit(
        &self,
        quota: Quota,
        path: &str,
        demand: SpaceRequest,
        claim: &mut Reservation,
        cancel: &CancelToken,
    ) -> Result<()> {
        quota.admit_more(self, path, demand, claim, cancel)
    }
}
