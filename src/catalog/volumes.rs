//! Volume rows.

use super::{CatalogReader, CatalogWriter};
use crate::error::{Error, Result};
use crate::model::{
    DISK_FSTYPE, DiskFormat, Labels, VolumeId, VolumeKind, VolumeName, VolumeRecord, VolumeSpec,
};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::{BTreeMap, HashSet};

const COLUMNS: &str =
    "id, identity, name, kind, quota_mib, capacity_bytes, disk_format, disk_fstype, labels, created_at_ms";

/// A volume that was found by its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundVolume {
    /// The directory's name.
    pub name: VolumeName,
    /// The id in the file beside it; `None` if there is none.
    pub identity: Option<VolumeId>,
    /// When the directory was made, in milliseconds since 1970, where that is known.
    pub created_at_ms: Option<i64>,
    /// The format and the size of the image that it holds, for a disk volume.
    pub disk: Option<(DiskFormat, Option<u64>)>,
}

/// A row that no version of this program could have written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRow {
    /// The row's id.
    pub id: i64,
    /// Its name as it stands there, which may be no volume's.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
}

impl CatalogReader<'_> {
    /// The volume of that name; one that is being created or removed is none.
    pub fn volume(&self, name: &VolumeName) -> Result<Option<VolumeRecord>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM volume
             WHERE name = ?1 AND id NOT IN (SELECT volume_id FROM intent)"
        );
        let found = self.0.prepare_cached(&sql)?.query_row([name.as_str()], to_record).optional()?;
        found.transpose()
    }

    /// The volume of an intent. Returns `None` if no version of this program could have written its row.
    pub fn intended_volume(&self, id: i64) -> Result<Option<VolumeRecord>> {
        let sql = format!("SELECT {COLUMNS} FROM volume WHERE id = ?1");
        let found = self.0.prepare_cached(&sql)?.query_row([id], to_record).optional()?;
        Ok(found.and_then(Result::ok))
    }

    /// All volumes, newest first, name as tie-break.
    ///
    /// A row that no version of this program could have written is input too, and an unusable one must not
    /// hide the others: it is told apart from them.
    pub fn volumes(&self) -> Result<(Vec<VolumeRecord>, Vec<InvalidRow>)> {
        let sql = format!(
            "SELECT {COLUMNS} FROM volume
             WHERE id NOT IN (SELECT volume_id FROM intent)
             ORDER BY created_at_ms DESC NULLS LAST, name"
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let (mut records, mut unusable) = (Vec::new(), Vec::new());
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            match to_record(row)? {
                Ok(record) => records.push(record),
                Err(error) => unusable.push(InvalidRow {
                    id: row.get("id")?,
                    name: row.get_ref("name")?.as_str().unwrap_or_default().to_owned(),
                    problem: error.to_string(),
                }),
            }
        }
        Ok((records, unusable))
    }
}

impl CatalogReader<'_> {
    /// Whether the name is taken, be it by a volume that is being created or removed, or by an unusable row.
    pub fn has_row(&self, name: &VolumeName) -> Result<bool> {
        let mut statement = self.0.prepare_cached("SELECT 1 FROM volume WHERE name = ?1")?;
        Ok(statement.exists([name.as_str()])?)
    }

    /// The volumes whose id no file has yet, by their rows; one that is being created or removed is none of them.
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
    /// All names that are taken; see [`CatalogReader::has_row`].
    pub fn names(&self) -> Result<HashSet<String>> {
        let mut statement = self.0.prepare_cached("SELECT name FROM volume")?;
        let names = statement.query_map((), |row| row.get(0))?;
        Ok(names.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether a file has the id of some volume; one that is being created or removed is none of them.
    pub fn has_volume_with_file(&self) -> Result<bool> {
        let sql = "SELECT 1 FROM volume WHERE identity_stored AND id NOT IN (SELECT volume_id FROM intent)";
        Ok(self.0.prepare_cached(sql)?.exists(())?)
    }
}

impl CatalogWriter<'_> {
    /// Records that no file has the id of any volume, but of those that are being created or removed.
    pub fn forget_identity_files(&self) -> Result<()> {
        let sql = "UPDATE volume SET identity_stored = 0
                   WHERE identity_stored AND id NOT IN (SELECT volume_id FROM intent)";
        self.0.prepare_cached(sql)?.execute(())?;
        Ok(())
    }

    /// Adds a volume, whose id the caller puts in a file before the volume is visible, and returns the number of its
    /// row. Returns `None` if the name is taken, be it by one that is being created or removed.
    pub fn insert_volume(
        &self,
        name: &VolumeName,
        identity: VolumeId,
        spec: &VolumeSpec,
        now_ms: i64,
    ) -> Result<Option<i64>> {
        let disk = spec.disk();
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
                spec.kind().as_str(),
                spec.quota_mib(),
                disk.map(|disk| disk.capacity_bytes() as i64),
                disk.map(|disk| disk.format().as_str()),
                disk.map(|_| DISK_FSTYPE),
                labels,
                now_ms,
            ))?;
        Ok((inserted == 1).then(|| self.0.last_insert_rowid()))
    }

    /// Adds a volume that was found by its directory; false where the name is taken.
    pub fn adopt_volume(&self, volume: &FoundVolume) -> Result<bool> {
        adopt(&self.0, volume)
    }

    /// Records that the file beside a volume has its id.
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

/// What only the row knew is lost: the labels and a quota. A volume without an id, or with that of another one, as a
/// directory that was copied by hand has it, gets a new one.
pub(super) fn adopt(connection: &Connection, volume: &FoundVolume) -> Result<bool> {
    let kind = if volume.disk.is_some() { VolumeKind::Disk } else { VolumeKind::Dir };
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
            kind.as_str(),
            volume.disk.and_then(|(_, bytes)| bytes).map(|bytes| bytes as i64),
            volume.disk.map(|(format, _)| format.as_str()),
            volume.created_at_ms,
        ))?;
    Ok(inserted == 1)
}

/// A row as a record; the inner error is about what the row says, the outer one about reading it.
fn to_record(row: &Row<'_>) -> rusqlite::Result<Result<VolumeRecord>> {
    let record = || {
        let name: String = row.get("name")?;
        let kind: String = row.get("kind")?;
        let labels: String = row.get("labels")?;
        let unusable = |what: &str| Error::catalog(format!("holds a row that is not usable: {what}"));
        let pairs: BTreeMap<String, String> = match serde_json::from_str(&labels) {
            Ok(serde_json::Value::Object(entries)) => entries
                .into_iter()
                .map(|(key, value)| value.as_str().map(|text| (key, text.to_owned())))
                .collect::<Option<_>>()
                .ok_or_else(|| unusable("labels"))?,
            _ => return Err(unusable("labels")),
        };
        Ok(VolumeRecord {
            id: row.get("id")?,
            identity: row
                .get::<_, Option<String>>("identity")?
                .and_then(|text| VolumeId::parse(&text))
                .ok_or_else(|| unusable("identity"))?,
            name: VolumeName::parse(&name).map_err(|error| unusable("name").caused_by(error))?,
            kind: VolumeKind::parse(&kind).ok_or_else(|| unusable("kind"))?,
            quota_mib: row.get("quota_mib")?,
            capacity_bytes: row.get::<_, Option<i64>>("capacity_bytes")?.map(|bytes| bytes as u64),
            disk_format: match row.get::<_, Option<String>>("disk_format")? {
                Some(name) => Some(DiskFormat::parse(&name).ok_or_else(|| unusable("disk_format"))?),
                None => None,
            },
            disk_fstype: row.get("disk_fstype")?,
            labels: Labels::new(pairs)?,
            created_at_ms: row.get("created_at_ms")?,
        })
    };
    Ok(record())
}
