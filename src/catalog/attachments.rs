//! Attachments and the leases they hold on volumes.

use super::Writer;
use crate::error::Result;
use crate::model::ProcessIdentity;

/// Who holds a volume.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The attachment that took it.
    pub attachment_id: i64,
    /// The sandbox it was taken for.
    pub sandbox: String,
    /// The process it belongs to.
    pub owner: ProcessIdentity,
}

impl Writer<'_> {
    /// Records an attachment and its leases, each a volume's id and whether it is read-only.
    pub fn attach(
        &self,
        sandbox: &str,
        owner: &ProcessIdentity,
        leases: &[(i64, bool)],
        now_ms: i64,
    ) -> Result<i64> {
        self.0
            .prepare_cached(
                "INSERT INTO attachment (sandbox, pid, start_time, boot_id, created_at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((sandbox, owner.pid, owner.start_time as i64, &owner.boot_id, now_ms))?;
        let attachment_id = self.0.last_insert_rowid();
        for (volume_id, readonly) in leases {
            self.0
                .prepare_cached("INSERT INTO lease (attachment_id, volume_id, readonly) VALUES (?1, ?2, ?3)")?
                .execute((attachment_id, volume_id, readonly))?;
        }
        Ok(attachment_id)
    }

    /// Deletes an attachment and its leases; one that is gone already is fine.
    pub fn detach(&self, attachment_id: i64) -> Result<()> {
        self.0.prepare_cached("DELETE FROM attachment WHERE id = ?1")?.execute([attachment_id])?;
        Ok(())
    }

    /// The leases on a volume.
    pub fn leases(&self, volume_id: i64) -> Result<Vec<Lease>> {
        let mut statement = self.0.prepare_cached(
            "SELECT DISTINCT attachment.id, sandbox, pid, start_time, boot_id
             FROM attachment JOIN lease ON attachment.id = attachment_id
             WHERE volume_id = ?1 ORDER BY attachment.id",
        )?;
        let leases = statement.query_map([volume_id], |row| {
            Ok(Lease {
                attachment_id: row.get(0)?,
                sandbox: row.get(1)?,
                owner: ProcessIdentity {
                    pid: row.get(2)?,
                    start_time: row.get::<_, i64>(3)? as u64,
                    boot_id: row.get(4)?,
                },
            })
        })?;
        Ok(leases.collect::<rusqlite::Result<_>>()?)
    }
}
