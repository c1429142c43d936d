//! Mounts on the host. Each is recorded before it is put in place.

use super::{CatalogReader, CatalogWriter};
use crate::error::Result;
use rusqlite::{OptionalExtension, Params, Row};

/// A mount on the host that may be in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostMountRow {
    /// Attachment of the mount, which may have ended.
    pub attachment_id: i64,
    /// Position among the mounts of the attachment.
    pub sequence: u32,
    /// Guest path, for messages.
    pub guest_path: String,
    /// Boot id at the time of the mount.
    pub boot_id: String,
    /// Mount name space of the mount.
    pub mount_namespace: u64,
    /// Mount id, which the kernel may reuse.
    pub mount_id: u64,
    /// Mount id that the kernel never reuses; 0 if the kernel has none.
    pub unique_id: u64,
    /// Device of the mount's root.
    pub device: u64,
    /// Inode of the mount's root.
    pub inode: u64,
}

const MOUNTS: &str =
    "SELECT attachment_id, sequence, guest_path, boot_id, mount_namespace, mount_id, unique_id, device, inode
                      FROM host_mount";

impl CatalogReader<'_> {
    /// Returns the mounts of one attachment, or of all. The last mount comes first.
    pub fn host_mounts(&self, attachment: Option<i64>) -> Result<Vec<HostMountRow>> {
        self.query_mounts("?1 IS NULL OR attachment_id = ?1", [attachment])
    }

    /// Returns the mounts of attachments that have ended. The last mount comes first.
    pub fn orphaned_mounts(&self) -> Result<Vec<HostMountRow>> {
        self.query_mounts("attachment_id NOT IN (SELECT id FROM attachment)", [])
    }

    fn query_mounts(&self, condition: &str, values: impl Params) -> Result<Vec<HostMountRow>> {
        let order = "ORDER BY attachment_id, sequence DESC";
        let mut statement = self.0.prepare_cached(&format!("{MOUNTS} WHERE {condition} {order}"))?;
        let rows = statement.query_map(values, to_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Returns true if an attachment with this id exists.
    pub fn is_attached(&self, attachment: i64) -> Result<bool> {
        let mut statement = self.0.prepare_cached("SELECT 1 FROM attachment WHERE id = ?1")?;
        Ok(statement.query_row([attachment], |_| Ok(())).optional()?.is_some())
    }
}

fn to_row(row: &Row<'_>) -> rusqlite::Result<HostMountRow> {
    let number = |at| row.get::<_, i64>(at).map(|number| number as u64);
    Ok(HostMountRow {
        attachment_id: row.get(0)?,
        sequence: row.get(1)?,
        guest_path: row.get(2)?,
        boot_id: row.get(3)?,
        mount_namespace: number(4)?,
        mount_id: number(5)?,
        unique_id: number(6)?,
        device: number(7)?,
        inode: number(8)?,
    })
}

impl CatalogWriter<'_> {
    /// Records a mount before it is put in place.
    pub fn add_host_mount(&self, mount: &HostMountRow) -> Result<()> {
        self.0
            .prepare_cached("INSERT INTO host_mount VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
            .execute((
                mount.attachment_id,
                mount.sequence,
                &mount.guest_path,
                &mount.boot_id,
                mount.mount_namespace as i64,
                mount.mount_id as i64,
                mount.unique_id as i64,
                mount.device as i64,
                mount.inode as i64,
            ))?;
        Ok(())
    }

    /// Deletes the row of a mount that is no longer in place.
    pub fn delete_host_mount(&self, mount: &HostMountRow) -> Result<()> {
        self.0
            .prepare_cached("DELETE FROM host_mount WHERE attachment_id = ?1 AND sequence = ?2")?
            .execute((mount.attachment_id, mount.sequence))?;
        Ok(())
    }
}
