//! Rows of volumes.

use super::{CatalogReader, CatalogWriter};
use crate::error::{Error, Result};
use crate::model::{
    DiskFormat, Labels, VolumeDisk, VolumeId, VolumeKind, VolumeName, VolumeRecord, VolumeSpec, VolumeStorage,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::{BTreeMap, HashSet};

const COLUMNS: &str =
    "id, identity, name, kind, quota_mib, capacity_bytes, disk_format, disk_fstype, labels, created_at_ms";

/// A volume that was discovered by its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundVolume {
    /// Name of the directory.
    pub name: VolumeName,
    /// Id in the volume's id file; `None` if there is no file.
    pub identity: Option<VolumeId>,
    /// Creation time of the directory, in milliseconds since 1970, if known.
    pub created_at_ms: Option<i64>,
    /// Directory without a quota, or disk.
    pub storage: VolumeStorage,
}

/// A row that no version of this program could have written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRow {
    /// Id of the row.
    pub id: i64,
    /// Name in the row. It may be an invalid volume name.
    pub name: String,
    /// Reason why the row is invalid.
    pub problem: String,
}

impl CatalogReader<'_> {
    /// Returns the volume with this name. Returns `None` while the volume is being created or removed.
    pub fn volume(&self, name: &VolumeName) -> Result<Option<VolumeRecord>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM volume
             WHERE name = ?1 AND id NOT IN (SELECT volume_id FROM intent)"
        );
        let found = self.0.prepare_cached(&sql)?.query_row([name.as_str()], to_record).optional()?;
        found.transpose()
    }

    /// Returns the volume of an intent. Returns `None` if no version of this program could have written its row.
    pub fn intended_volume(&self, id: i64) -> Result<Option<VolumeRecord>> {
        let sql = format!("SELECT {COLUMNS} FROM volume WHERE id = ?1");
        let found = self.0.prepare_cached(&sql)?.query_row([id], to_record).optional()?;
        Ok(found.and_then(Result::ok))
    }

    /// Returns all volumes, the newest first; the name breaks ties.
    ///
    /// The second list has the rows that no version of this program could have written. An invalid row must not hide
    /// the others.
    pub fn volumes(&self) -> Result<(Vec<VolumeRecord>, Vec<InvalidRow>)> {
        let sql = format!(
            "SELECT {COLUMNS} FROM volume
             WHERE id NOT IN (SELECT volume_id FROM intent)
             ORDER BY created_at_ms DESC NULLS LAST, name"
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let (mut records, mut invalid) = (Vec::new(), Vec::new());
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            match to_record(row)? {
                Ok(record) => records.push(record),
                Err(error) => invalid.push(InvalidRow {
                    id: row.get("id")?,
                    name: row.get_ref("name")?.as_str().unwrap_or_default().to_owned(),
                    problem: error.to_string(),
                }),
            }
        }
        Ok((records, invalid))
    }
}

impl CatalogReader<'_> {
    /// Returns true if any row has the name. Invalid rows, and volumes that are being created or removed, count too.
    pub fn has_row(&self, name: &VolumeName) -> Result<bool> {
        let mut statement = self.0.prepare_cached("SELECT 1 FROM volume WHERE name = ?1")?;
        Ok(statement.exists([name.as_str()])?)
    }

    /// Returns the rows and names of volumes without an id file. Skips volumes that are being created or removed.
    pub fn volumes_without_file(&self) -> Result<Vec<(i64, VolumeName)>> {
        let mut statement = self.0.prepare_cached(
            "SELECT id, name FROM volume
             WHERE NOT identity_stored AND id NOT IN (SELECT volume_id FROM intent)",
        )?;
        let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(rows.into_iter().filter_map(|(id, name)| Some((id, VolumeName::parse(&name).ok()?))).collect())
    }
}

impl CatalogReader<'_> {
    /// Returns all names that are in use; see [`CatalogReader::has_row`].
    pub fn names(&self) -> Result<HashSet<String>> {
        let mut statement = self.0.prepare_cached("SELECT name FROM volume")?;
        let names = statement.query_map((), |row| row.get(0))?;
        Ok(names.collect::<rusqlite::Result<_>>()?)
    }

    /// Returns true if a volume has an id file. Ignores volumes that are being created or removed.
    pub fn has_volume_with_file(&self) -> Result<bool> {
        let sql = "SELECT 1 FROM volume WHERE identity_stored AND id NOT IN (SELECT volume_id FROM intent)";
        Ok(self.0.prepare_cached(sql)?.exists(())?)
    }
}

impl CatalogWriter<'_> {
    /// Records that no volume has an id file. Skips volumes that are being created or removed.
    pub fn forget_identity_files(&self) -> Result<()> {
        let sql = "UPDATE volume SET identity_stored = 0
                   WHERE identity_stored AND id NOT IN (SELECT volume_id FROM intent)";
        self.0.prepare_cached(sql)?.execute(())?;
        Ok(())
    }

    /// Inserts a volume and returns the id of its row. The caller writes the id file before the volume becomes
    /// visible. Returns `None` if the name is in use, also by a volume that is being created or removed.
    pub fn insert_volume(
        &self,
        name: &VolumeName,
        identity: VolumeId,
        spec: &VolumeSpec,
        now_ms: i64,
    ) -> Result<Option<i64>> {
        let storage = spec.storage();
        let columns = StorageColumns::of(&storage);
        let labels = serde_json::Value::from_iter(spec.labels().iter()).to_string();
        let inserted = self
            .0
            .prepare_cached(
                "INSERT INTO volume
                 (name, identity, identity_stored, kind, quota_mib, capacity_bytes, disk_format, disk_fstype, labels,
                  created_at_ms)
                 VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (name) DO NOTHING",
            )?
            .execute((
                name.as_str(),
                identity.to_string(),
                columns.kind,
                columns.quota_mib,
                columns.capacity_bytes,
                columns.disk_format,
                columns.disk_fstype,
                labels,
                now_ms,
            ))?;
        Ok((inserted == 1).then(|| self.0.last_insert_rowid()))
    }

    /// Inserts a volume that was discovered by its directory. Returns false if the name is in use.
    pub fn adopt_volume(&self, volume: &FoundVolume) -> Result<bool> {
        adopt(&self.0, volume)
    }

    /// Records that the id file of a volume exists.
    pub fn mark_identity_stored(&self, id: i64) -> Result<()> {
        self.0.prepare_cached("UPDATE volume SET identity_stored = 1 WHERE id = ?1")?.execute([id])?;
        Ok(())
    }

    /// Deletes a volume's row and its intent.
    pub fn delete_volume(&self, id: i64) -> Result<()> {
        self.0.prepare_cached("DELETE FROM volume WHERE id = ?1")?.execute([id])?;
        Ok(())
    }
}

/// The columns of a volume's storage.
struct StorageColumns<'s> {
    kind: &'static str,
    quota_mib: Option<u32>,
    capacity_bytes: Option<i64>,
    disk_format: Option<&'static str>,
    disk_fstype: Option<&'s str>,
}

impl<'s> StorageColumns<'s> {
    fn of(storage: &'s VolumeStorage) -> Self {
        let disk = storage.disk();
        StorageColumns {
            kind: storage.kind().as_str(),
            quota_mib: storage.quota_mib(),
            capacity_bytes: disk.and_then(|disk| disk.capacity_bytes).map(|bytes| bytes as i64),
            disk_format: disk.map(|disk| disk.format.as_str()),
            disk_fstype: disk.and_then(|disk| disk.fstype.as_deref()),
        }
    }
}

/// Inserts a discovered volume. Labels and a quota are lost, because only the row had them.
///
/// A volume gets a new id if it has none, or the id of another volume. A directory that was copied by hand has such
/// an id.
pub(super) fn adopt(connection: &Connection, volume: &FoundVolume) -> Result<bool> {
    let columns = StorageColumns::of(&volume.storage);
    let inserted = connection
        .prepare_cached(
            "INSERT INTO volume (name, identity, identity_stored, kind, capacity_bytes, disk_format, labels,
                                 created_at_ms)
             SELECT ?1, iif(own, ?2, NULL), own, ?3, ?4, ?5, '{}', ?6
             FROM (SELECT ?2 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM volume WHERE identity = ?2) AS own)
             WHERE true ON CONFLICT (name) DO NOTHING",
        )?
        .execute((
            volume.name.as_str(),
            volume.identity.map(|identity| identity.to_string()),
            columns.kind,
            columns.capacity_bytes,
            columns.disk_format,
            volume.created_at_ms,
        ))?;
    Ok(inserted == 1)
}

/// Converts a row. The inner error is about the content of the row, the outer one about reading it.
fn to_record(row: &Row<'_>) -> rusqlite::Result<Result<VolumeRecord>> {
    let record = || {
        let name: String = row.get("name")?;
        let labels: String = row.get("labels")?;
        let pairs: BTreeMap<String, String> = match serde_json::from_str(&labels) {
            Ok(serde_json::Value::Object(entries)) => entries
                .into_iter()
                .map(|(key, value)| value.as_str().map(|text| (key, text.to_owned())))
                .collect::<Option<_>>()
                .ok_or_else(|| invalid("labels"))?,
            _ => return Err(invalid("labels")),
        };
        Ok(VolumeRecord {
            id: row.get("id")?,
            identity: row
                .get::<_, Option<String>>("identity")?
                .and_then(|text| VolumeId::parse(&text))
                .ok_or_else(|| invalid("identity"))?,
            name: VolumeName::parse(&name).map_err(|error| invalid("name").caused_by(error))?,
            storage: to_storage(row)?,
            labels: Labels::new(pairs)?,
            created_at_ms: row.get("created_at_ms")?,
        })
    };
    Ok(record())
}

/// Reads the columns of a volume's storage. Fails if a directory has a column of disks, or a disk has one of directories.
fn to_storage(row: &Row<'_>) -> Result<VolumeStorage> {
    let kind = VolumeKind::parse(&row.get::<_, String>("kind")?).ok_or_else(|| invalid("kind"))?;
    let foreign = match kind {
        VolumeKind::Dir => &["capacity_bytes", "disk_format", "disk_fstype"][..],
        VolumeKind::Disk => &["quota_mib"],
    };
    for column in foreign {
        if row.get_ref(*column)? != ValueRef::Null {
            return Err(invalid(column));
        }
    }
    Ok(match kind {
        VolumeKind::Dir => VolumeStorage::Directory { quota_mib: row.get("quota_mib")? },
        VolumeKind::Disk => {
            let format = row.get::<_, Option<String>>("disk_format")?;
            VolumeStorage::Disk(VolumeDisk {
                format: format
                    .and_then(|name| DiskFormat::parse(&name))
                    .ok_or_else(|| invalid("disk_format"))?,
                capacity_bytes: row.get::<_, Option<i64>>("capacity_bytes")?.map(|bytes| bytes as u64),
                fstype: row.get("disk_fstype")?,
            })
        }
    })
}

fn invalid(column: &str) -> Error {
    Error::catalog(format!("holds a row that is not usable: {column}"))
}
