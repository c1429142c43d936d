//! The schema, its version and its migrations.

use super::verify::damaged;
use crate::error::{Error, Result};
use rusqlite::{Connection, Transaction, TransactionBehavior};

/// A step from one version of the catalog to the next.
struct Migration {
    /// Lowest version that a program must know to use the catalog after this step. An additive step keeps the value
    /// of the step before, so that older programs can use the catalog.
    min_reader: i64,
    sql: &'static str,
}

/// The migrations. Entry N migrates version N to N + 1. A released entry never changes.
///
/// `user_version` in the file is the lowest version that a program must know; every release checks it. Since version
/// 4, the table `schema_version` holds the version itself.
const MIGRATIONS: &[Migration] = &[
    Migration {
        min_reader: 1,
        sql: "
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
    },
    Migration {
        min_reader: 2,
        sql: "
    CREATE TABLE image_lease (
        attachment_id INTEGER NOT NULL REFERENCES attachment (id) ON DELETE CASCADE,
        device        INTEGER NOT NULL,
        inode         INTEGER NOT NULL,
        readonly      INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX image_lease_by_file ON image_lease (device, inode);
    CREATE INDEX image_lease_by_attachment ON image_lease (attachment_id);
",
    },
    Migration {
        min_reader: 3,
        sql: "
    -- Path at which the guest sees the mount; NULL for attachments that an earlier version made.
    ALTER TABLE lease ADD COLUMN guest_path TEXT;
    -- Mounted part of the volume; NULL for the whole volume.
    ALTER TABLE lease ADD COLUMN subpath TEXT;
    ALTER TABLE image_lease ADD COLUMN guest_path TEXT;
    -- Path of an image of the host; NULL for a disk volume, and for an image's further files.
    ALTER TABLE image_lease ADD COLUMN path TEXT;

    -- Mounts of attachments on the host. A mount that could not be unmounted outlives its attachment, with its row.
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
    },
    Migration {
        min_reader: 3,
        sql: "
    CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;
    INSERT INTO schema_version VALUES (4);

    -- Unique id of the volume: 32 lower-case hexadecimal digits.
    ALTER TABLE volume ADD COLUMN identity TEXT;
    -- Whether the volume's id file exists.
    ALTER TABLE volume ADD COLUMN identity_stored INTEGER NOT NULL DEFAULT 0;
    UPDATE volume SET identity = lower(hex(randomblob(16)));
    CREATE UNIQUE INDEX volume_by_identity ON volume (identity);
    CREATE INDEX volume_without_file ON volume (id) WHERE NOT identity_stored;
    -- A program of version 3 inserts volumes without an id.
    CREATE TRIGGER volume_identity AFTER INSERT ON volume WHEN NEW.identity IS NULL BEGIN
        UPDATE volume SET identity = lower(hex(randomblob(16))) WHERE id = NEW.id;
    END;
",
    },
    Migration {
        min_reader: 3,
        sql: "
    -- Whether a removal began to delete the volume's content in its place, so that it can only be finished.
    ALTER TABLE intent ADD COLUMN in_place INTEGER NOT NULL DEFAULT 0;
",
    },
    Migration {
        min_reader: 3,
        sql: "
    -- Whether the owner holds the locks on the images until the attachment or the process ends.
    ALTER TABLE attachment ADD COLUMN keeps_locks INTEGER NOT NULL DEFAULT 0;
    -- The new owner does not get the locks. Programs of earlier versions hand attachments over as well.
    CREATE TRIGGER attachment_handed_over AFTER UPDATE OF pid ON attachment BEGIN
        UPDATE attachment SET keeps_locks = 0 WHERE id = NEW.id;
    END;
",
    },
];

/// Migrates the catalog to the newest version in one transaction. `fill` is called in the same transaction if the
/// catalog is new.
///
/// Crash safety: a catalog is never new and unfilled.
pub fn prepare(connection: &mut Connection, fill: impl FnOnce(&Transaction<'_>) -> Result<()>) -> Result<()> {
    if is_newest(connection)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let first = version(&transaction)?;
    if first < 0 {
        return Err(damaged("its version is negative"));
    }
    for (index, migration) in (0i64..).zip(MIGRATIONS).filter(|(index, _)| *index >= first) {
        transaction.execute_batch(migration.sql)?;
        if has_version_table(&transaction)? {
            transaction.execute("UPDATE schema_version SET version = ?1", [index + 1])?;
        }
        transaction.pragma_update(None, "user_version", migration.min_reader)?;
    }
    if first == 0 {
        fill(&transaction)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Returns true if no migration is needed. A newer program may have added to the catalog what this one does not know.
pub fn is_newest(connection: &Connection) -> Result<bool> {
    Ok(version(connection)? >= MIGRATIONS.len() as i64)
}

/// Returns true if the catalog has exactly the newest version that this program knows.
pub fn is_of_this_version(connection: &Connection) -> Result<bool> {
    Ok(version(connection)? == MIGRATIONS.len() as i64
        && Some(min_reader(connection)?) == newest_min_reader())
}

/// Returns true if the version is the newest, but the lowest version that a program must know is wrong.
pub fn has_wrong_min_reader(connection: &Connection) -> Result<bool> {
    Ok(version(connection)? == MIGRATIONS.len() as i64
        && Some(min_reader(connection)?) != newest_min_reader())
}

/// Returns true if a newer program wrote the catalog: its two versions agree, and this program does not know them.
pub fn is_newer(connection: &Connection) -> Result<bool> {
    let version = version(connection)?;
    let is_ours = version <= MIGRATIONS.len() as i64;
    Ok(!is_ours && has_version_table(connection)? && version >= min_reader(connection)?)
}

/// Writes the newest version to a catalog that has the tables of that version.
pub fn restore_version(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("DELETE FROM schema_version", ())?;
    transaction.execute("INSERT INTO schema_version VALUES (?1)", [MIGRATIONS.len() as i64])?;
    transaction.pragma_update(None, "user_version", newest_min_reader())?;
    Ok(transaction.commit()?)
}

fn newest_min_reader() -> Option<i64> {
    MIGRATIONS.last().map(|migration| migration.min_reader)
}

/// Fails, before any change, if only newer programs may use the catalog.
pub fn refuse_newer(connection: &Connection) -> Result<()> {
    let (needed, known) = (min_reader(connection)?, MIGRATIONS.len());
    if needed > known as i64 {
        return Err(Error::catalog(format!(
            "has schema version {needed}, and this version of sandbox-volumes knows {known} at most. \
             It was left as it is; update sandbox-volumes to use it."
        )));
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<i64> {
    match has_version_table(connection)? {
        true => {
            Ok(connection
                .query_row("SELECT coalesce(max(version), -1) FROM schema_version", (), |row| row.get(0))?)
        }
        false => min_reader(connection),
    }
}

fn has_version_table(connection: &Connection) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_version')";
    Ok(connection.query_row(sql, (), |row| row.get(0))?)
}

fn min_reader(connection: &Connection) -> Result<i64> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
