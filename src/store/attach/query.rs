//! Attachments as anybody who has the home may see, give on and end them.

use super::attachment::check_sandbox;
use super::fd_registry;
use super::liveness::{ProcessState, identify, life_of, reap_dead};
use crate::catalog::{AttachmentRecord, CatalogWriter};
use crate::error::{AttachmentHolder, Error, Result};
use crate::model::VolumeName;
use crate::store::Store;
use crate::sync::CancelToken;

/// An attachment that has not ended, as far as that can be told.
#[derive(Clone, Debug)]
pub struct AttachmentInfo {
    /// What the catalog knows.
    pub record: AttachmentRecord,
    /// Whether its process was seen running; else it is one of another PID name space.
    pub running: bool,
}

impl Store {
    /// The attachments to that sandbox and of that volume, or all; newest first, the sandbox as tie-break. Those whose
    /// process ended are left out.
    pub fn attachments(
        &self,
        sandbox: Option<&str>,
        volume: Option<&VolumeName>,
        cancel: &CancelToken,
    ) -> Result<Vec<AttachmentInfo>> {
        sandbox.map_or(Ok(()), check_sandbox)?;
        cancel.check()?;
        fd_registry::take_left_flocks();
        let opened = self.opened()?;
        let records = opened.catalog.read(|catalog| {
            if let Some(name) = volume
                && catalog.volume(name)?.is_none()
            {
                return Err(Error::volume_not_found(name.as_str()));
            }
            catalog.attachments(sandbox, volume)
        })?;
        Ok(records.into_iter().filter_map(still_there).collect())
    }

    /// Gives an attachment to the process of that number, whose end then frees what it holds. What this process keeps
    /// open for it stays open.
    pub fn hand_over(&self, id: i64, pid: u32, cancel: &CancelToken) -> Result<()> {
        let owner = identify(pid)?;
        self.opened()?.catalog.write(|catalog| {
            living_attachment(catalog, id)?;
            catalog.hand_over(id, &owner)?;
            cancel.commit()
        })
    }

    /// Ends an attachment of whatever process; with `force` also one whose process is seen running.
    pub fn end_attachment(&self, id: i64, force: bool, cancel: &CancelToken) -> Result<()> {
        self.opened()?.write_to_free(|catalog| {
            let AttachmentInfo { record, running } = living_attachment(catalog, id)?;
            if running && !force {
                let readonly = record.volumes.iter().map(|volume| volume.readonly);
                let readonly = readonly.chain(record.images.iter().map(|image| image.readonly)).all(|it| it);
                let (sandbox, pid) = (record.sandbox, record.owner.pid);
                return Err(Error::attachment_in_use(AttachmentHolder {
                    id,
                    sandbox,
                    pid,
                    running,
                    readonly,
                }));
            }
            reap_dead(catalog)?;
            cancel.commit()
        })?;
        self.detach_asked(id, cancel)
    }
}

fn living_attachment(catalog: &CatalogWriter<'_>, id: i64) -> Result<AttachmentInfo> {
    let found = catalog.reader().attachment(id)?.and_then(still_there);
    found.ok_or_else(|| Error::attachment_not_found(id))
}

fn still_there(record: AttachmentRecord) -> Option<AttachmentInfo> {
    match life_of(&record.owner) {
        ProcessState::Ended => None,
        life => Some(AttachmentInfo { record, running: life == ProcessState::Running }),
    }
}
