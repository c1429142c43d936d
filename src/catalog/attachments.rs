//! Rows of attachments and of their leases.

use super::holders::to_owner;
use super::{CatalogReader, CatalogWriter, ImageLease};
use crate::error::Result;
use crate::model::{ProcessIdentity, VolumeName};
use rusqlite::{OptionalExtension, Row};

/// An attachment to insert.
#[derive(Clone, Debug)]
pub struct NewAttachment<'a> {
    /// Name of the sandbox.
    pub sandbox: &'a str,
    /// Process that owns the attachment.
    pub owner: &'a ProcessIdentity,
    /// Volumes to mount, each with the id of its row.
    pub volumes: Vec<(i64, AttachedVolume)>,
    /// Files of disk images to mount. The first file of each image of the host carries the image's path.
    pub images: Vec<(ImageLease, Option<AttachedImage>)>,
    /// Time of the attachment, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// True if the owner holds the locks on the images until the attachment or the process ends.
    pub keeps_locks: bool,
}

/// An attachment as the catalog has it. Its process may have ended since.
#[derive(Clone, Debug)]
pub struct AttachmentRecord {
    /// Id of the row.
    pub id: i64,
    /// Name of the sandbox.
    pub sandbox: String,
    /// Process that owns the attachment.
    pub owner: ProcessIdentity,
    /// Time of the attachment, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// Mounted volumes.
    pub volumes: Vec<AttachedVolume>,
    /// Mounted disk images of the host.
    pub images: Vec<AttachedImage>,
}

/// One mount of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedVolume {
    /// Name of the volume.
    pub name: String,
    /// Path at which the guest sees the mount. `None` if an earlier version, which did not record it, made the row.
    pub guest_path: Option<String>,
    /// Mounted part of the volume. `None` for the whole volume.
    pub subpath: Option<String>,
    /// True if the mount is read-only.
    pub readonly: bool,
}

/// One mount of a disk image of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedImage {
    /// Path on the host.
    pub path: String,
    /// Path at which the guest sees the mount.
    pub guest_path: Option<String>,
    /// True if the mount is read-only.
    pub readonly: bool,
}

const COLUMNS: &str = "id, sandbox, pid, start_time, boot_id, pid_namespace, created_at_ms";

impl CatalogReader<'_> {
    /// Returns the attachments to `sandbox` and of `volume`, or all of them. The newest comes first; the sandbox
    /// breaks ties.
    pub fn attachments(
        &self,
        sandbox: Option<&str>,
        volume: Option<&VolumeName>,
    ) -> Result<Vec<AttachmentRecord>> {
        let mut statement = self.0.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM attachment
             WHERE (?1 IS NULL OR sandbox = ?1) AND (?2 IS NULL OR id IN
                 (SELECT attachment_id FROM lease JOIN volume ON volume.id = volume_id WHERE name = ?2))
             ORDER BY created_at_ms DESC, sandbox, id"
        ))?;
        let found = statement.query_map((sandbox, volume.map(VolumeName::as_str)), to_record)?;
        found.map(|record| self.with_mounts(record?)).collect()
    }

    /// Returns the attachment with this id.
    pub fn attachment(&self, id: i64) -> Result<Option<AttachmentRecord>> {
        let mut statement =
            self.0.prepare_cached(&format!("SELECT {COLUMNS} FROM attachment WHERE id = ?1"))?;
        let found = statement.query_row([id], to_record).optional()?;
        found.map(|record| self.with_mounts(record)).transpose()
    }

    fn with_mounts(&self, record: AttachmentRecord) -> Result<AttachmentRecord> {
        let volumes = self
            .0
            .prepare_cached(
                "SELECT name, guest_path, subpath, readonly FROM lease JOIN volume ON volume.id = volume_id
                 WHERE attachment_id = ?1 ORDER BY lease.rowid",
            )?
            .query_map([record.id], |row| {
                Ok(AttachedVolume {
                    name: row.get("name")?,
                    guest_path: row.get("guest_path")?,
                    subpath: row.get("subpath")?,
                    readonly: row.get("readonly")?,
                })
            })?
            .collect::<rusqlite::Result<_>>()?;
        let images = self
            .0
            .prepare_cached(
                "SELECT path, guest_path, readonly FROM image_lease
                 WHERE attachment_id = ?1 AND path IS NOT NULL ORDER BY rowid",
            )?
            .query_map([record.id], |row| {
                Ok(AttachedImage {
                    path: row.get("path")?,
                    guest_path: row.get("guest_path")?,
                    readonly: row.get("readonly")?,
                })
            })?
            .collect::<rusqlite::Result<_>>()?;
        Ok(AttachmentRecord { volumes, images, ..record })
    }
}

fn to_record(row: &Row<'_>) -> rusqlite::Result<AttachmentRecord> {
    Ok(AttachmentRecord {
        id: row.get("id")?,
        sandbox: row.get("sandbox")?,
        owner: to_owner(row)?,
        created_at_ms: row.get("created_at_ms")?,
        volumes: Vec::new(),
        images: Vec::new(),
    })
}

impl CatalogWriter<'_> {
    /// Inserts an attachment with its leases. The id is random, so that it means nothing in another catalog that
    /// replaces this one.
    pub fn attach(&self, attachment: &NewAttachment<'_>) -> Result<i64> {
        let owner = attachment.owner;
        self.0
            .prepare_cached(
                "INSERT INTO attachment (id, sandbox, pid, start_time, boot_id, pid_namespace, created_at_ms,
                                         keeps_locks)
                 VALUES (abs(random()), ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((
                attachment.sandbox,
                owner.pid,
                owner.start_time as i64,
                &owner.boot_id,
                owner.pid_namespace as i64,
                attachment.created_at_ms,
                attachment.keeps_locks,
            ))?;
        let attachment_id = self.0.last_insert_rowid();
        for (volume_id, volume) in &attachment.volumes {
            self.0
                .prepare_cached(
                    "INSERT INTO lease (attachment_id, volume_id, readonly, guest_path, subpath)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute((attachment_id, volume_id, volume.readonly, &volume.guest_path, &volume.subpath))?;
        }
        for (lease, image) in &attachment.images {
            let guest_path = image.as_ref().and_then(|image| image.guest_path.as_ref());
            self.0
                .prepare_cached(
                    "INSERT INTO image_lease (attachment_id, device, inode, readonly, guest_path, path)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute((
                    attachment_id,
                    lease.device as i64,
                    lease.inode as i64,
                    lease.readonly,
                    guest_path,
                    image.as_ref().map(|image| &image.path),
                ))?;
        }
        Ok(attachment_id)
    }

    /// Makes another process the owner. That process does not get the locks.
    pub fn hand_over(&self, attachment_id: i64, owner: &ProcessIdentity) -> Result<()> {
        self.0
            .prepare_cached(
                "UPDATE attachment SET pid = ?2, start_time = ?3, boot_id = ?4, pid_namespace = ?5 WHERE id = ?1",
            )?
            .execute((
                attachment_id,
                owner.pid,
                owner.start_time as i64,
                &owner.boot_id,
                owner.pid_namespace as i64,
            ))?;
        Ok(())
    }

    /// Deletes an attachment and its leases. Succeeds if it is gone already.
    pub fn detach(&self, attachment_id: i64) -> Result<()> {
        self.0.prepare_cached("DELETE FROM attachment WHERE id = ?1")?.execute([attachment_id])?;
        Ok(())
    }
}
