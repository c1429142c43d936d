//! Copying within a volume, from the host into it, and from it to the host.

use super::volume_fs::{VolumeFs, WriteSession};
use crate::error::{Error, Result};
use crate::model::option_names::HOST_PATH;
use crate::store::AppendOptions;
use crate::store::attach::host_path::{is_in_private, overlaps_private};
use crate::store::layout::HomeDirs;
use crate::sync::{CancelToken, IgnorePoison, Slot, Slots};
use crate::sys::{Dir, EntryKind, HostEntry, open_host_entry, open_host_holder};
use crate::volume_fs::{
    CopyDest, CopyDestPlace, CopyJob, CopyPolicy, CopySource, CopyStats, Endpoint, FilterRequest, IntoVolume,
    OwnerPolicy, Progress, Reservation, SpaceRequest, SymlinkPolicy, VolumeRoot,
};
use nix::errno::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What a directory that is made inside a volume keeps of its mode: permissions and the sticky bit.
const MODE_INSIDE: u32 = 0o1777;

/// What one that is made on the host keeps of a guest's: permissions.
const MODE_OUTSIDE: u32 = 0o777;

/// What is copied where to. A path on the host is absolute.
#[derive(Clone, Debug)]
pub enum CopyRequest {
    /// Within the volume.
    Within {
        /// What.
        from: OsString,
        /// The exact path of the copy.
        to: OsString,
    },
    /// From the host into the volume.
    In {
        /// What, on the host.
        host: PathBuf,
        /// The exact path of the copy, in the volume.
        to: OsString,
    },
    /// From the volume to the host.
    Out {
        /// What, in the volume.
        from: OsString,
        /// The exact path of the copy, on the host.
        host: PathBuf,
    },
}

/// How it is copied between a volume and the host.
#[derive(Clone, Copy, Debug)]
pub struct TransferOptions {
    /// What becomes of links that may lead outside the copied tree.
    pub links: SymlinkPolicy,
    /// Whether each entry below the top is asked for first.
    pub asks: bool,
}

impl Default for TransferOptions {
    fn default() -> Self {
        TransferOptions { links: SymlinkPolicy::Refuse, asks: false }
    }
}

/// A copy, from when it is asked for until it is all there or undone.
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
    Asked(CopyRequest, TransferOptions),
    Begun(Box<CopyJob>),
    Over,
}

impl VolumeFs {
    /// Prepares a copy; nothing is looked at before it [advances](VolumeCopy::advance).
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
            stage: CopyStage::Asked(request, options),
        }
    }

    /// Copies a file or a tree within the volume.
    pub fn copy(
        &self,
        from: impl AsRef<OsStr>,
        to: impl AsRef<OsStr>,
        cancel: &CancelToken,
    ) -> Result<CopyStats> {
        let request = CopyRequest::Within { from: from.as_ref().into(), to: to.as_ref().into() };
        self.prepare_copy(request, TransferOptions::default(), cancel).run()
    }

    /// Copies a file or a tree of the host into the volume.
    pub fn copy_in(
        &self,
        host: &Path,
        to: impl AsRef<OsStr>,
        options: TransferOptions,
        cancel: &CancelToken,
    ) -> Result<CopyStats> {
        let request = CopyRequest::In { host: host.to_owned(), to: to.as_ref().into() };
        self.prepare_copy(request, options, cancel).run()
    }

    /// Copies a file or a tree of the volume to the host.
    pub fn copy_out(
        &self,
        from: impl AsRef<OsStr>,
        host: &Path,
        options: TransferOptions,
        cancel: &CancelToken,
    ) -> Result<CopyStats> {
        let request = CopyRequest::Out { from: from.as_ref().into(), host: host.to_owned() };
        self.prepare_copy(request, options, cancel).run()
    }

    /// Adds to the end of a file.
    pub fn append(
        &self,
        path: impl AsRef<OsStr>,
        data: &[u8],
        options: AppendOptions,
        cancel: &CancelToken,
    ) -> Result<()> {
        self.prepare_write()?.append(path, data, options, cancel)
    }
}

impl VolumeCopy {
    /// Has the copy take turns with others at `slots`.
    pub fn at_slots(self, slots: &Arc<Slots>) -> Self {
        VolumeCopy { slot: Arc::new(Slot::of(slots)), ..self }
    }

    /// How far it has come, also while it advances on another thread.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Whether there is something to undo.
    pub fn is_begun(&self) -> bool {
        matches!(self.stage, CopyStage::Begun(_))
    }

    /// Copies on, up to the commit point (`None`) or to what has to be asked for; `verdicts` answer, in order, what was
    /// asked last. An error undoes what did not stand at the destination before, and so does dropping the copy before
    /// [`commit`](VolumeCopy::commit).
    pub fn advance(&mut self, verdicts: &[bool]) -> Result<Option<Vec<FilterRequest>>> {
        let advanced = self.advance_at_slot(verdicts);
        self.slot.leave();
        advanced
    }

    /// Passes the commit point, which a cancellation may have come before: then the copy is undone.
    pub fn commit(&mut self) -> Result<()> {
        let committed = match std::mem::replace(&mut self.stage, CopyStage::Over) {
            CopyStage::Begun(job) => job.commit(),
            CopyStage::Asked(..) | CopyStage::Over => Ok(()),
        };
        self.slot.leave();
        committed
    }

    fn advance_at_slot(&mut self, verdicts: &[bool]) -> Result<Option<Vec<FilterRequest>>> {
        let mut job = match std::mem::replace(&mut self.stage, CopyStage::Over) {
            CopyStage::Asked(request, options) => Box::new(self.begin(request, options)?),
            CopyStage::Begun(job) => job,
            CopyStage::Over => return Ok(None),
        };
        let questions = job.advance(verdicts)?;
        self.stage = CopyStage::Begun(job);
        Ok(questions)
    }

    /// Copies everything, whatever would be asked for.
    fn run(mut self) -> Result<CopyStats> {
        let mut answers = Vec::new();
        while let Some(questions) = self.advance(&answers)? {
            answers = vec![true; questions.len()];
        }
        self.commit()?;
        Ok(self.progress.tally())
    }

    fn begin(&self, request: CopyRequest, options: TransferOptions) -> Result<CopyJob> {
        self.slot.go_on(&self.cancel)?;
        let opened = self.files.store.opened()?;
        let tree = self.files.tree_of(&opened)?;
        let layout = &opened.layout;
        let (source, target, owner) = match &request {
            CopyRequest::Within { from, to } => {
                let source = tree.copy_source(from)?;
                let target = tree.copy_target(to, source.facts.kind())?;
                (source, target, OwnerPolicy::Preserve)
            }
            CopyRequest::In { host, to } => {
                let source = host_source(layout, host)?;
                let target = tree.copy_target(to, source.facts.kind())?;
                (source, target, OwnerPolicy::CurrentUser)
            }
            CopyRequest::Out { from, host } => {
                let source = tree.copy_source(from)?;
                let target = host_target(layout, host, source.facts.kind())?;
                (source, target, OwnerPolicy::CurrentUser)
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
                    let volume = self.files.prepare_write_in(opened)?;
                    Some(Box::new(CopyWriter::new(volume, tree, &self.cancel, self.slot.clone())))
                }
            },
            asks: options.asks,
            cancel: self.cancel.clone(),
            slot: self.slot.clone(),
        };
        Ok(CopyJob::new(source, target, rules, self.progress.clone()))
    }
}

/// Who writes into a volume while a copy lasts.
#[derive(Debug)]
struct CopyWriter {
    volume: WriteSession,
    tree: VolumeRoot,
    cancel: CancelToken,
    slot: Arc<Slot>,
    /// Held by the one of the copy's threads that stands in the volume's queue, so that none loses its patience with
    /// the others.
    queues: Mutex<()>,
}

impl CopyWriter {
    fn new(volume: WriteSession, tree: VolumeRoot, cancel: &CancelToken, slot: Arc<Slot>) -> Self {
        CopyWriter { volume, tree, cancel: cancel.of_a_step(), slot, queues: Mutex::default() }
    }
}

impl IntoVolume for CopyWriter {
    fn staging(&self) -> &Dir {
        self.volume.rules().staging
    }

    fn told(&self, error: Error) -> Error {
        self.tree.told_of_copy(error)
    }

    fn root(&self) -> BorrowedFd<'_> {
        self.tree.root()
    }

    fn is_limited(&self) -> bool {
        self.volume.has_quota()
    }

    fn admit(
        &self,
        path: &str,
        demand: SpaceRequest,
        claim: &mut Reservation,
        write: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let _queues = self.queues.lock().ignore_poison();
        let mut write = || {
            self.tree.admit(self.volume.rules().quota, path, demand, claim, &self.cancel)?;
            write()
        };
        if let Some(()) = self.volume.try_in_turn(&mut write)? {
            return Ok(());
        }
        // Copies into other volumes work meanwhile.
        self.slot.leave();
        self.volume.in_turn(&self.cancel, write)
    }
}

fn host_source(layout: &HomeDirs, path: &Path) -> Result<CopySource> {
    let HostEntry { fd, facts, real } =
        open_host_entry(path).map_err(|error| Error::file_system("open", path, error))?;
    refuse_private(layout, path, &real)?;
    Ok(CopySource { side: Endpoint::on_host(path), fd, facts })
}

fn host_target(layout: &HomeDirs, path: &Path, kind: EntryKind) -> Result<CopyDest> {
    let failed = |error| Error::file_system("open", path, error);
    let side = Endpoint::on_host(path);
    if kind == EntryKind::Directory {
        match open_host_entry(path) {
            Ok(found) if found.facts.kind() == EntryKind::Directory => {
                refuse_private(layout, path, &found.real)?;
                return Ok(CopyDest { side, place: CopyDestPlace::Directory(found.fd) });
            }
            Ok(_) => return Err(failed(Errno::ENOTDIR.into())),
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let (holder, name) = open_host_holder(path).map_err(failed)?;
    // What stands at the name is not followed, but replaced.
    if is_in_private(layout, &holder.real)? {
        return Err(private(path));
    }
    Ok(CopyDest { side, place: CopyDestPlace::Entry { holder: holder.fd, name } })
}

fn refuse_private(layout: &HomeDirs, path: &Path, real: &Path) -> Result<()> {
    match overlaps_private(layout, real)? {
        false => Ok(()),
        true => Err(private(path)),
    }
}

fn private(path: &Path) -> Error {
    Error::invalid_config(
        HOST_PATH,
        format!(
            "{path:?} holds volumes or their catalog, or is held by them; use \"copy\" within a volume, and for \
             the rest another place"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{OptionValue, VolumeName, VolumeSpec};
    use crate::store::{Durability, Store};
    use crate::sync::LONGEST_WAIT;
    use serde_json::json;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn a_thread_of_a_copy_waits_for_another_of_it_however_long_that_takes() {
        let home = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(home.path(), Durability::Fast).unwrap());
        let name = VolumeName::parse("v").unwrap();
        let spec = VolumeSpec::from_options(&[OptionValue::from(json!({ "quotaMib": 1 }))]).unwrap();
        store.create(&name, &spec, &CancelToken::default()).unwrap();
        let files = store.files(&name);
        let opened = store.opened().unwrap();
        let tree = files.tree_of(&opened).unwrap();
        let volume = files.prepare_write_in(opened).unwrap();
        let writer = CopyWriter::new(volume, tree, &CancelToken::default(), Arc::default());
        let admit = |path: &str, write: &mut dyn FnMut() -> Result<()>| {
            writer.admit(path, SpaceRequest::default(), &mut Reservation::default(), write)
        };
        let (admit, (begun, begins), (ended, ends)) = (&admit, mpsc::channel(), mpsc::channel());
        thread::scope(|scope| {
            scope.spawn(move || {
                begins.recv().unwrap();
                ended.send(admit("second", &mut || Ok(()))).unwrap();
            });
            let mut write = || {
                begun.send(()).unwrap();
                // As long as measuring a large volume may take.
                let early = ends.recv_timeout(LONGEST_WAIT + Duration::from_secs(1));
                assert!(early.is_err(), "{early:?}");
                Ok(())
            };
            admit("first", &mut write).unwrap();
            ends.recv().unwrap().unwrap();
        });
    }
}
