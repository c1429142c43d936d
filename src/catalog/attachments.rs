//! Attachments and the leases they hold on volumes.

use super::{Reader, Writer};
use crate::error::Result;
use crate::model::ProcessIdentity;

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

impl Reader<'_> {
    /// The attachments that hold a volume, or all of them, by their sandboxes' names.
    pub fn holders(&self, volume_id: Option<i64>) -> Result<Vec<Holder>> {
        let mut statement = self.0.prepare_cached(
            "SELECT id, sandbox, pid, start_time, boot_id, pid_namespace FROM attachment
             WHERE ?1 IS NULL OR id IN (SELECT attachment_id FROM lease WHERE volume_id = ?1)
             ORDER BY sandbox",
        )?;
        let holders = statement.query_map([volume_id], |row| {
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
        Ok(holders.collect::<rusqlite::Result<_>>()?)
    }
}

impl Writer<'_> {
    /// Records an attachment and its leases, each a volume's id and whether it is read-only. The id is drawn at
    /// random, so that it means nothing in another catalog that takes this one's place.
    pub fn attach(
        &self,
        sandbox: &str,
        owner: &ProcessIdentity,
        leases: &[(i64, bool)],
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
        Ok(attachment_id)
    }

    /// Deletes an attachment and its leases; one that is gone already is fine.
    pub fn detach(&self, attachment_id: i64) -> Result<()> {
        self.0.prepare_cached("DELETE FROM attachment WHERE id = ?1")?.execute([attachment_id])?;
        Ok(())
    }
}
