//! The schema, its version and the way there.

use crate::error::{Error, Result};
use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Each entry takes a catalog from the version of its index to the next; entries are never changed once
/// released. `user_version` in the file counts those that ran.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE volume (
        id             INTEGER PRIMARY KEY AUTOINCREMENT,
        name           TEXT NOT NULL UNIQUE,
        kind           TEXT NOT NULL,
        quota_mib      INTEGER,
        capacity_bytes INTEGER,
        disk_format    TEXT,
        disk_fstype    TEXT,
        labels         TEXT NOT NULL,
        created_at_ms  INTEGER
    ) STRICT;

    CREATE TABLE intent (
        volume_id INTEGER PRIMARY KEY REFERENCES volume (id) ON DELETE CASCADE,
        action    TEXT NOT NULL,
        entry     TEXT NOT NULL
    ) STRICT;

    CREATE TABLE attachment (
        id            INTEGER PRIMARY KEY,
        sandbox       TEXT NOT NULL,
        pid           INTEGER NOT NULL,
        start_time    INTEGER NOT NULL,
        boot_id       TEXT NOT NULL,
        pid_namespace INTEGER NOT NULL,
        created_at_ms INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE lease (
        attachment_id INTEGER NOT NULL REFERENCES attachment (id) ON DELETE CASCADE,
        volume_id     INTEGER NOT NULL REFERENCES volume (id),
        readonly      INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX lease_by_volume ON lease (volume_id);
    CREATE INDEX lease_by_attachment ON lease (attachment_id);
",
    "
    CREATE TABLE image_lease (
        attachment_id INTEGER NOT NULL REFERENCES attachment (id) ON DELETE CASCADE,
        device        INTEGER NOT NULL,
        inode         INTEGER NOT NULL,
        readonly      INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX image_lease_by_file ON image_lease (device, inode);
    CREATE INDEX image_lease_by_attachment ON image_lease (attachment_id);
",
    "
    -- Where the guest sees it; none for attachments that an earlier version made.
    ALTER TABLE lease ADD COLUMN guest_path TEXT;
    -- The part of the volume that is mounted; none is all of it.
    ALTER TABLE lease ADD COLUMN subpath TEXT;
    ALTER TABLE image_lease ADD COLUMN guest_path TEXT;
    -- The image of the host that was asked for; none for a disk volume's, and for an image's further files.
    ALTER TABLE image_lease ADD COLUMN path TEXT;

    -- The mounts that attachments have on the host. One may outlive its attachment, where nobody could take it away yet,
    -- and so does its row.
    CREATE TABLE host_mount (
        attachment_id   INTEGER NOT NULL,
        sequence        INTEGER NOT NULL,
        guest_path      TEXT NOT NULL,
        boot_id         TEXT NOT NULL,
        mount_namespace INTEGER NOT NULL,
        mount_id        INTEGER NOT NULL,
        unique_id       INTEGER NOT NULL,
        device          INTEGER NOT NULL,
        inode           INTEGER NOT NULL,
        PRIMARY KEY (attachment_id, sequence)
    ) STRICT, WITHOUT ROWID;
",
];

/// Brings the catalog to the newest version in one transaction. `fill` is called within it where the catalog is a
/// new one, so that none is ever left new and unfilled.
pub fn prepare(connection: &mut Connection, fill: impl FnOnce(&Transaction<'_>) -> Result<()>) -> Result<()> {
    if is_newest(connection)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let is_new = version(&transaction)? == 0;
    for (index, migration) in MIGRATIONS.iter().enumerate() {
        if version(&transaction)? == index as i64 {
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        }
    }
    if is_new {
        fill(&transaction)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Whether there is nothing to prepare.
pub fn is_newest(connection: &Connection) -> Result<bool> {
    Ok(version(connection)? == MIGRATIONS.len() as i64)
}

/// Refuses a catalog that a newer program wrote, before anything in it is touched.
pub fn refuse_newer(connection: &Connection) -> Result<()> {
    let (found, known) = (version(connection)?, MIGRATIONS.len());
    if found > known as i64 {
        return Err(Error::catalog(format!(
            "has schema version {found}, and this version of sandbox-volumes knows {known} at most. \
             It was left as it is; update sandbox-volumes to use it."
        )));
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<i64> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
