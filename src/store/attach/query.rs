//! Lists, hands over and ends attachments of any process that uses the home.

use super::attachment::check_sandbox;
use super::fd_registry;
use super::liveness::{ProcessState, identify, process_state, reap_dead};
use crate::catalog::{AttachmentRecord, CatalogWriter};
use crate::error::{AttachmentHolder, Error, Result};
use crate::model::VolumeName;
use crate::store::Store;
use crate::sync::CancelToken;

/// An attachment that has not ended, as far as is known.
#[derive(Clone, Debug)]
pub struct AttachmentInfo {
    /// The attachment's row in the catalog.
    pub record: AttachmentRecord,
    /// True if the owner is running. False if its state is unknown, as in another PID name space.
    pub running: bool,
}

impl Store {
    /// Returns the attachments to `sandbox` and of `volume`, or all. The newest comes first; the sandbox breaks ties.
    /// Attachments of dead processes are skipped.
    pub fn attachments(
        &self,
        sandbox: Option<&str>,
        volume: Option<&VolumeName>,
        cancel: &CancelToken,
    ) -> Result<Vec<AttachmentInfo>> {
        sandbox.map_or(Ok(()), check_sandbox)?;
        cancel.check()?;
        fd_registry::reclaim_flocks();
        let handle = self.handle()?;
        let records = handle.catalog.read(|catalog| {
            if let Some(name) = volume
                && catalog.volume(name)?.is_none()
            {
                return Err(Error::volume_not_found(name.as_str()));
            }
            catalog.attachments(sandbox, volume)
        })?;
        Ok(records.into_iter().filter_map(live_info).collect())
    }

    /// Makes the process `pid` the owner, so that its end frees the volumes. The descriptors stay open in this
    /// process.
    pub fn hand_over(&self, id: i64, pid: u32, cancel: &CancelToken) -> Result<()> {
        let owner = identify(pid)?;
        self.handle()?.catalog.write(|catalog| {
            live_attachment(catalog, id)?;
            catalog.hand_over(id, &owner)?;
            cancel.commit()
        })
    }

    /// Ends an attachment of any process. Without `force`, fails if its owner is running.
    pub fn end_attachment(&self, id: i64, force: bool, cancel: &CancelToken) -> Result<()> {
        self.handle()?.write_to_free(|catalog| {
            let AttachmentInfo { record, running } = live_attachment(catalog, id)?;
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

fn live_attachment(catalog: &CatalogWriter<'_>, id: i64) -> Result<AttachmentInfo> {
    let found = catalog.reader().attachment(id)?.and_then(live_info);
    found.ok_or_else(|| Error::attachment_not_found(id))
}

fn live_info(record: AttachmentRecord) -> Option<AttachmentInfo> {
    match process_state(&record.owner) {
        ProcessState::Ended => None,
        state => Some(AttachmentInfo { record, running: state == ProcessState::Running }),
    }
}
