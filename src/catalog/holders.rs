//! Attachments that hold a volume or a disk image.

use super::{CatalogReader, CatalogWriter};
use crate::error::Result;
use crate::model::{ProcessIdentity, VolumeName};
use rusqlite::{Params, Row};

/// An attachment that holds a volume or a disk image.
#[derive(Clone, Debug)]
pub struct HolderRow {
    /// Id of the attachment.
    pub attachment_id: i64,
    /// Name of the sandbox.
    pub sandbox: String,
    /// Process that owns the attachment.
    pub owner: ProcessIdentity,
    /// True if the attachment only reads what it holds.
    pub readonly: bool,
    /// True if the owner holds the locks on the images until the attachment or the process ends.
    pub keeps_locks: bool,
}

/// The lease of one mount on the file of a disk image: one writer, or many readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLease {
    /// Device of the file.
    pub device: u64,
    /// Inode of the file.
    pub inode: u64,
    /// True if the mount is read-only.
    pub readonly: bool,
}

/// The resource to find holders of.
#[derive(Clone, Copy, Debug)]
pub enum HeldResource {
    /// The volume with this row id.
    Volume(i64),
    /// The image of this lease; only holders that conflict with the lease are found.
    Against(ImageLease),
}

impl CatalogReader<'_> {
    /// Returns the attachments that hold a resource, ordered by sandbox.
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

    /// Returns true if an attachment may write the volume. Its process may have ended.
    pub fn may_be_written(&self, volume: &VolumeName) -> Result<bool> {
        let mut statement = self.0.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM lease JOIN volume ON volume.id = volume_id
             WHERE name = ?1 AND NOT readonly)",
        )?;
        Ok(statement.query_row([volume.as_str()], |row| row.get(0))?)
    }

    /// Returns the processes that own attachments, each once.
    pub fn owners(&self) -> Result<Vec<ProcessIdentity>> {
        let mut statement = self
            .0
            .prepare_cached("SELECT DISTINCT pid, start_time, boot_id, pid_namespace FROM attachment")?;
        let owners = statement.query_map([], to_owner)?;
        Ok(owners.collect::<rusqlite::Result<_>>()?)
    }

    /// Returns one row for each attachment. It is read-only if all of its leases on the resource are.
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
    /// Deletes all attachments of a process and returns their ids.
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

/// Reads the owner from the row of an attachment.
pub(super) fn to_owner(row: &Row<'_>) -> rusqlite::Result<ProcessIdentity> {
    Ok(ProcessIdentity {
        pid: row.get("pid")?,
        start_time: row.get::<_, i64>("start_time")? as u64,
        boot_id: row.get("boot_id")?,
        pid_namespace: row.get::<_, i64>("pid_namespace")? as u64,
    })
}
