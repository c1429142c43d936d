//! Attachments and the leases they hold on volumes.

use super::{Reader, Writer};
use crate::error::Result;
use crate::model::{ProcessIdentity, VolumeName};
use rusqlite::Params;

/// Who holds volumes.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The attachment's id.
    pub attachment_id: i64,
    /// The sandbox it was made for.
    pub sandbox: String,
    /// The process it belongs to.
    pub owner: ProcessIdentity,
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

/// What attachments are looked for by.
#[derive(Clone, Copy, Debug)]
pub enum Held {
    /// Nothing: all of them.
    Anything,
    /// Those that hold the volume of that id.
    Volume(i64),
    /// Those that hold an image in a way that does not go with this lease.
    Against(ImageLease),
}

const HOLDERS: &str = "SELECT id, sandbox, pid, start_time, boot_id, pid_namespace FROM attachment";

impl Reader<'_> {
    /// The attachments that hold something, by their sandboxes' names.
    pub fn holders(&self, held: Held) -> Result<Vec<Holder>> {
        let holders = match held {
            Held::Anything => self.query_holders("", [])?,
            Held::Volume(id) => self
                .query_holders("WHERE id IN (SELECT attachment_id FROM lease WHERE volume_id = ?1)", [id])?,
            Held::Against(lease) => self.query_holders(
                "WHERE id IN (SELECT attachment_id FROM image_lease
                 WHERE device = ?1 AND inode = ?2 AND NOT (readonly AND ?3))",
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

    fn query_holders(&self, condition: &str, values: impl Params) -> rusqlite::Result<Vec<Holder>> {
        let mut statement = self.0.prepare_cached(&format!("{HOLDERS} {condition} ORDER BY sandbox"))?;
        let holders = statement.query_map(values, |row| {
            Ok(Holder {
                attachment_id: row.get(0)?,
                sandbox: row.get(1)?,
                owner: ProcessIdentity {
                    pid: row.get(2)?,
                    start_time: row.get::<_, i64>(3)? as u64,
                    boot_id: row.get(4)?,
                    pid_namespace: row.get::<_, i64>(5)? as u64,
                },
            })
        })?;
        holders.collect()
    }
}

impl Writer<'_> {
    /// Records an attachment, its leases, each a volume's id and whether it is read-only, and those on images. The id is drawn at
    /// random, so that it means nothing in another catalog that takes this one's place.
    pub fn attach(
        &self,
        sandbox: &str,
        owner: &ProcessIdentity,
        leases: &[(i64, bool)],
        images: &[ImageLease],
        now_ms: i64,
    ) -> Result<i64> {
        self.0
            .prepare_cached(
                "INSERT INTO attachment (id, sandbox, pid, start_time, boot_id, pid_namespace, created_at_ms)
                 VALUES (abs(random()), ?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((
                sandbox,
                owner.pid,
                owner.start_time as i64,
                &owner.boot_id,
                owner.pid_namespace as i64,
                now_ms,
            ))?;
        let attachment_id = self.0.last_insert_rowid();
        for (volume_id, readonly) in leases {
            self.0
                .prepare_cached("INSERT INTO lease (attachment_id, volume_id, readonly) VALUES (?1, ?2, ?3)")?
                .execute((attachment_id, volume_id, readonly))?;
        }
        for image in images {
            self.0
                .prepare_cached(
                    "INSERT INTO image_lease (attachment_id, device, inode, readonly) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute((attachment_id, image.device as i64, image.inode as i64, image.readonly))?;
        }
        Ok(attachment_id)
    }

    /// Deletes an attachment and its leases; one that is gone already is fine.
    pub fn detach(&self, attachment_id: i64) -> Result<()> {
        self.0.prepare_cached("DELETE FROM attachment WHERE id = ?1")?.execute([attachment_id])?;
        Ok(())
    }
}
