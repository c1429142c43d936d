//! Who holds a volume or a disk image, and whether they still do.

use super::{CatalogReader, CatalogWriter};
use crate::error::Result;
use crate::model::{ProcessIdentity, VolumeName};
use rusqlite::{Params, Row};

/// An attachment that holds something.
#[derive(Clone, Debug)]
pub struct HolderRow {
    /// The attachment's id.
    pub attachment_id: i64,
    /// The sandbox it was made for.
    pub sandbox: String,
    /// The process it belongs to.
    pub owner: ProcessIdentity,
    /// Whether it only reads what it holds.
    pub readonly: bool,
    /// Whether that process has the locks on the attachment's images, until the attachment ends or it does.
    pub keeps_locks: bool,
}

/// One mount's hold on the file of a disk image: one writer, or many readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLease {
    /// The device that the file is on.
    pub device: u64,
    /// The file's number there.
    pub inode: u64,
    /// Whether it is only read.
    pub readonly: bool,
}

/// What holders are looked for by.
#[derive(Clone, Copy, Debug)]
pub enum HeldResource {
    /// Those that hold the volume of that id.
    Volume(i64),
    /// Those that hold an image in a way that does not go with this lease.
    Against(ImageLease),
}

impl CatalogReader<'_> {
    /// The attachments that hold something, by their sandboxes' names.
    pub fn holders(&self, held: HeldResource) -> Result<Vec<HolderRow>> {
        let holders = match held {
            HeldResource::Volume(id) => self.query_holders("lease", "volume_id = ?1", [id])?,
            HeldResource::Against(lease) => self.query_holders(
                "image_lease",
                "device = ?1 AND inode = ?2 AND NOT (readonly AND ?3)",
                (lease.device as i64, lease.inode as i64, lease.readonly),
            )?,
        };
        Ok(holders)
    }

    /// Whether an attachment may write the volume of that name; one whose process ended may be among them.
    pub fn may_be_written(&self, volume: &VolumeName) -> Result<bool> {
        let mut statement = self.0.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM lease JOIN volume ON volume.id = volume_id
             WHERE name = ?1 AND NOT readonly)",
        )?;
        Ok(statement.query_row([volume.as_str()], |row| row.get(0))?)
    }

    /// The processes that attachments belong to, each once.
    pub fn owners(&self) -> Result<Vec<ProcessIdentity>> {
        let mut statement = self
            .0
            .prepare_cached("SELECT DISTINCT pid, start_time, boot_id, pid_namespace FROM attachment")?;
        let owners = statement.query_map([], to_owner)?;
        Ok(owners.collect::<rusqlite::Result<_>>()?)
    }

    /// An attachment holds what any of its leases on it says.
    fn query_holders(
        &self,
        leases: &str,
        condition: &str,
        values: impl Params,
    ) -> rusqlite::Result<Vec<HolderRow>> {
        let mut statement = self.0.prepare_cached(&format!(
            "SELECT id, sandbox, pid, start_time, boot_id, pid_namespace, keeps_locks, min(readonly) AS readonly
             FROM attachment JOIN {leases} ON attachment_id = id
             WHERE {condition} GROUP BY id ORDER BY sandbox, id"
        ))?;
        let holders = statement.query_map(values, |row| {
            Ok(HolderRow {
                attachment_id: row.get("id")?,
                sandbox: row.get("sandbox")?,
                owner: to_owner(row)?,
                readonly: row.get("readonly")?,
                keeps_locks: row.get("keeps_locks")?,
            })
        })?;
        holders.collect()
    }
}

impl CatalogWriter<'_> {
    /// Deletes all attachments of a process, and gives their ids.
    pub fn detach_all_of(&self, owner: &ProcessIdentity) -> Result<Vec<i64>> {
        let mut statement = self.0.prepare_cached(
            "DELETE FROM attachment WHERE pid = ?1 AND start_time = ?2 AND boot_id = ?3 AND pid_namespace = ?4
             RETURNING id",
        )?;
        let values = (owner.pid, owner.start_time as i64, &owner.boot_id, owner.pid_namespace as i64);
        let ended = statement.query_map(values, |row| row.get(0))?;
        Ok(ended.collect::<rusqlite::Result<_>>()?)
    }
}

/// The process of an attachment's row.
pub(super) fn to_owner(row: &Row<'_>) -> rusqlite::Result<ProcessIdentity> {
    Ok(ProcessIdentity {
        pid: row.get("pid")?,
        start_time: row.get::<_, i64>("start_time")? as u64,
        boot_id: row.get("boot_id")?,
        pid_namespace: row.get::<_, i64>("pid_namespace")? as u64,
    })
}
