//! Copies within a volume, from the host into it, and from it to the host.

use super::copy_request::{CopyRequest, TransferOptions};
use super::volume_fs::VolumeFs;
use crate::error::{Errno, Error, Result};
use crate::model::IntoVolumePath;
use crate::model::option_names::HOST_PATH;
use crate::store::attach::host_path::{is_in_private, overlaps_private};
use crate::store::home_dirs::HomeDirs;
use crate::sync::{CancelToken, Slot, Slots};
use crate::sys::{EntryKind, HostEntry, open_host_entry, open_host_parent};
use crate::volume_fs::{
    CopyDest, CopyDestPlace, CopyJob, CopyPolicy, CopySource, CopyStats, DestVolume, Endpoint, FilterRequest,
    OwnerPolicy, Progress, SymlinkPolicy,
};
use std::path::Path;
use std::sync::Arc;

/// Mode bits that a new directory in a volume keeps: the permissions and the sticky bit.
const MODE_INSIDE: u32 = 0o1777;

/// Mode bits that a new directory on the host keeps: the permissions.
const MODE_OUTSIDE: u32 = 0o777;

/// A copy, from its request until it is complete or rolled back.
#[derive(Debug)]
pub struct VolumeCopy {
    files: VolumeFs,
    cancel: CancelToken,
    progress: Arc<Progress>,
    slot: Arc<Slot>,
    stage: CopyStage,
}

#[derive(Debug)]
enum CopyStage {
    Requested(CopyRequest, TransferOptions),
    Begun(Box<CopyJob>),
    Finished,
}

impl VolumeFs {
    /// Prepares a copy. No path is looked up before [`advance`](VolumeCopy::advance).
    pub fn prepare_copy(
        &self,
        request: CopyRequest,
        options: TransferOptions,
        cancel: &CancelToken,
    ) -> VolumeCopy {
        VolumeCopy {
            files: self.clone(),
            cancel: cancel.clone(),
            progress: Arc::default(),
            slot: Arc::default(),
            stage: CopyStage::Requested(request, options),
        }
    }

    /// Copies a file or a tree within the volume.
    pub fn copy(
        &self,
        from: impl IntoVolumePath,
        to: impl IntoVolumePath,
        cancel: &CancelToken,
    ) -> Result<CopyStats> {
        let request = CopyRequest::within(from, to)?;
        self.prepare_copy(request, TransferOptions::default(), cancel).run()
    }

    /// Copies a file or a tree of the host into the volume.
    pub fn copy_in(
        &self,
        host: &Path,
        to: impl IntoVolumePath,
        options: TransferOptions,
        cancel: &CancelToken,
    ) -> Result<CopyStats> {
        let request = CopyRequest::from_host(host, to)?;
        self.prepare_copy(request, options, cancel).run()
    }

    /// Copies a file or a tree of the volume to the host.
    pub fn copy_out(
        &self,
        from: impl IntoVolumePath,
        host: &Path,
        options: TransferOptions,
        cancel: &CancelToken,
    ) -> Result<CopyStats> {
        let request = CopyRequest::to_host(from, host)?;
        self.prepare_copy(request, options, cancel).run()
    }
}

impl VolumeCopy {
    /// Limits the number of concurrent copies by `slots`.
    pub fn at_slots(self, slots: &Arc<Slots>) -> Self {
        VolumeCopy { slot: Arc::new(Slot::of(slots)), ..self }
    }

    /// Returns the progress. It changes while the copy advances on another thread.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Returns true if the copy has begun, so that a failure must be rolled back.
    pub fn is_begun(&self) -> bool {
        matches!(self.stage, CopyStage::Begun(_))
    }

    /// Copies until the commit point (`None`) or until the filter must decide. `decisions` answer the last requests,
    /// in order.
    ///
    /// An error deletes what did not exist at the destination before. Dropping the copy before
    /// [`commit`](VolumeCopy::commit) does the same.
    pub fn advance(&mut self, decisions: &[bool]) -> Result<Option<Vec<FilterRequest>>> {
        let advanced = self.advance_at_slot(decisions);
        self.slot.leave();
        advanced
    }

    /// Passes the commit point. If the copy was cancelled before, it is rolled back.
    pub fn commit(&mut self) -> Result<()> {
        let committed = match std::mem::replace(&mut self.stage, CopyStage::Finished) {
            CopyStage::Begun(job) => job.commit(),
            CopyStage::Requested(..) | CopyStage::Finished => Ok(()),
        };
        self.slot.leave();
        committed
    }

    fn advance_at_slot(&mut self, decisions: &[bool]) -> Result<Option<Vec<FilterRequest>>> {
        let mut job = match std::mem::replace(&mut self.stage, CopyStage::Finished) {
            CopyStage::Requested(request, options) => Box::new(self.begin(request, options)?),
            CopyStage::Begun(job) => job,
            CopyStage::Finished => return Ok(None),
        };
        let requests = job.advance(decisions)?;
        self.stage = CopyStage::Begun(job);
        Ok(requests)
    }

    /// Copies everything, without a filter.
    fn run(mut self) -> Result<CopyStats> {
        let mut decisions = Vec::new();
        while let Some(requests) = self.advance(&decisions)? {
            decisions = vec![true; requests.len()];
        }
        self.commit()?;
        Ok(self.progress.stats())
    }

    fn begin(&self, request: CopyRequest, options: TransferOptions) -> Result<CopyJob> {
        self.slot.go_on(&self.cancel)?;
        let handle = self.files.store.handle()?;
        let volume_root = self.files.open_root_in(&handle)?;
        let dirs = &handle.dirs;
        let (source, dest, owner) = match &request {
            CopyRequest::Within { from, to } => {
                let source = volume_root.copy_source(from)?;
                let dest = volume_root.copy_target(to, source.stat.kind())?;
                (source, dest, OwnerPolicy::Preserve)
            }
            CopyRequest::In { host, to } => {
                let source = host_source(dirs, host)?;
                let dest = volume_root.copy_target(to, source.stat.kind())?;
                (source, dest, OwnerPolicy::CurrentUser)
            }
            CopyRequest::Out { from, host } => {
                let source = volume_root.copy_source(from)?;
                let dest = host_dest(dirs, host, source.stat.kind())?;
                (source, dest, OwnerPolicy::CurrentUser)
            }
        };
        let rules = CopyPolicy {
            links: if owner == OwnerPolicy::Preserve { SymlinkPolicy::Keep } else { options.links },
            owner,
            directory_mode: if matches!(request, CopyRequest::Out { .. }) {
                MODE_OUTSIDE
            } else {
                MODE_INSIDE
            },
            into: match request {
                CopyRequest::Out { .. } => None,
                _ => {
                    let quota = handle.quota_of(&handle.volume(&self.files.volume)?);
                    Some(DestVolume::new(volume_root, dirs.staging.clone(), quota))
                }
            },
            filters: options.asks,
            cancel: self.cancel.clone(),
            slot: self.slot.clone(),
        };
        Ok(CopyJob::new(source, dest, rules, self.progress.clone()))
    }
}

fn host_source(dirs: &HomeDirs, path: &Path) -> Result<CopySource> {
    let HostEntry { fd, stat: facts, real } =
        open_host_entry(path).map_err(|error| Error::file_system("open", path, error))?;
    refuse_private(dirs, path, &real)?;
    Ok(CopySource { endpoint: Endpoint::on_host(path), fd, stat: facts })
}

fn host_dest(dirs: &HomeDirs, path: &Path, kind: EntryKind) -> Result<CopyDest> {
    let failed = |error| Error::file_system("open", path, error);
    let endpoint = Endpoint::on_host(path);
    if kind == EntryKind::Directory {
        match open_host_entry(path) {
            Ok(found) if found.stat.kind() == EntryKind::Directory => {
                refuse_private(dirs, path, &found.real)?;
                return Ok(CopyDest { endpoint, place: CopyDestPlace::Directory(found.fd) });
            }
            Ok(_) => return Err(failed(Errno::ENOTDIR.into())),
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let (holder, name) = open_host_parent(path).map_err(failed)?;
    // An entry at the name is replaced, and a symbolic link there is not followed.
    if is_in_private(dirs, &holder.real)? {
        return Err(private_path_error(path));
    }
    Ok(CopyDest { endpoint, place: CopyDestPlace::Entry { parent: holder.fd, name } })
}

fn refuse_private(dirs: &HomeDirs, path: &Path, real: &Path) -> Result<()> {
    match overlaps_private(dirs, real)? {
        false => Ok(()),
        true => Err(private_path_error(path)),
    }
}

fn private_path_error(path: &Path) -> Error {
    Error::invalid_config(
        HOST_PATH,
        format!(
            "{path:?} holds volumes or their catalog, or is held by them; use \"copy\" within a volume, and for \
             the rest another place"
        ),
    )
}
