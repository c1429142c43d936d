//! Attaches mounts to a sandbox: all of them or none.

use super::fd_registry;
use super::liveness::identify;
use super::microsandbox::SeenByMicrosandbox;
use super::pending::PendingAttachment;
use crate::error::{Error, ErrorKind, Result};
use crate::model::VolumeName;
use crate::mount::{GuestPath, MountConfig, MountSource, Provision, ResolvedMount};
use crate::store::Store;
use crate::sync::CancelToken;

/// Maximum length of a sandbox's name in bytes.
const MAX_SANDBOX_BYTES: usize = 255;

/// Maximum number of attempts if a volume appears or vanishes between two lookups.
const MAX_ATTEMPTS: u32 = 16;

/// Mounts that a sandbox holds until it is detached or its process ends.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Id of the attachment in the catalog.
    pub id: i64,
    /// Name of the sandbox.
    pub sandbox: String,
    /// Process that owns the attachment.
    pub pid: u32,
    /// Mounts, parents before children.
    pub mounts: Vec<ResolvedMount>,
    /// What microsandbox's catalog had about the volumes.
    pub(crate) seen: SeenByMicrosandbox,
}

impl Store {
    /// Attaches `mounts` to `sandbox`, in the order of [`crate::mount::validate_and_order`].
    ///
    /// The process `pid`, by default this one, owns the attachment. On a failure, the volumes that this call created
    /// are removed again, and nothing else changes.
    pub fn attach(
        &self,
        sandbox: &str,
        mounts: &[(GuestPath, MountConfig)],
        pid: Option<u32>,
        cancel: &CancelToken,
    ) -> Result<Attachment> {
        check_sandbox(sandbox)?;
        let pid = pid.unwrap_or_else(std::process::id);
        let owner = identify(pid)?;
        let handle = self.handle()?;
        fd_registry::reclaim_flocks();
        let mut attempts = MAX_ATTEMPTS;
        loop {
            let mut pending = PendingAttachment::new(&handle, cancel);
            let error = match pending.resolve(mounts).and_then(|()| pending.record(sandbox, &owner)) {
                Ok(id) => {
                    let (mounts, seen) = pending.keep_open(id);
                    return Ok(Attachment { id, sandbox: sandbox.to_owned(), pid, mounts, seen });
                }
                Err(error) => pending.volume_not_found_or(error),
            };
            pending.rollback(self);
            attempts -= 1;
            let may_retry = lost_ensured_volume(mounts, &error) || handle.frees_volume_in_use(&error);
            if attempts == 0 || !may_retry {
                return Err(error);
            }
        }
    }
}

impl Attachment {
    /// Fails if the attachment has ended. Its volumes may be removed or attached again, and its descriptor numbers
    /// may be reused.
    pub fn check_held(&self) -> Result<()> {
        match fd_registry::is_held(self.id) {
            true => Ok(()),
            false => Err(Error::invalid_config(
                "attachment",
                "it was detached, or its process ended, and its volumes and disks are not held any more; attach them \
                 again",
            )),
        }
    }

    /// Releases the `flock` on the disks, for a microsandbox that mounts them and takes the `flock` itself. The
    /// leases and the record locks, which other attachments and QEMU check, stay.
    pub fn give_flock_away(&self) -> Result<()> {
        let failed = |error| Error::file_system("flock", "attached disk", error);
        fd_registry::give_flock_away(self.id).map_err(failed)
    }

    /// Returns the descriptors of mounted subpaths, in the order of the mounts.
    pub fn descriptors(&self) -> Result<Vec<i32>> {
        self.check_held()?;
        Ok(self.mounts.iter().filter_map(ResolvedMount::part).map(|part| part.descriptor).collect())
    }
}

/// Returns true if a volume that must exist was removed after the lookup. It is then created again.
fn lost_ensured_volume(mounts: &[(GuestPath, MountConfig)], error: &Error) -> bool {
    let is_lost = |volume: &VolumeName| error.context().volume.as_deref() == Some(volume.as_str());
    error.kind() == ErrorKind::VolumeNotFound
        && mounts.iter().any(|(_, config)| match config.source() {
            MountSource::Named { volume, provision: Provision::EnsureExists(_), .. } => is_lost(&volume.name),
            _ => false,
        })
}

/// Checks a sandbox's name, which messages contain.
pub fn check_sandbox(sandbox: &str) -> Result<()> {
    let shown = sandbox.chars().take(MAX_SANDBOX_BYTES).collect::<String>();
    if sandbox.is_empty() || sandbox.len() > MAX_SANDBOX_BYTES || sandbox.chars().any(char::is_control) {
        return Err(Error::invalid_config(
            "sandbox",
            format!("{shown:?} is not a sandbox name: 1 to {MAX_SANDBOX_BYTES} bytes, no control characters"),
        ));
    }
    Ok(())
}
