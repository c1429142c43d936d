//! Intents: a volume is being created or removed. An intent is written before the first change.

use super::{CatalogReader, CatalogWriter};
use crate::error::Result;
use crate::model::{VolumeId, VolumeName};
use rusqlite::Row;

/// The operation of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The volume is being created in the staging directory.
    Create,
    /// The volume is being removed through the trash directory.
    Remove,
}

impl Action {
    /// Returns the name that the catalog and errors use.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Remove => "remove",
        }
    }
}

/// A creation or removal of a volume that has not finished.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Row of the volume.
    pub volume_id: i64,
    /// Name of the volume.
    pub name: VolumeName,
    /// Id of the volume.
    pub identity: VolumeId,
    /// Operation on the volume.
    pub action: Action,
    /// Entry in the staging or the trash directory.
    pub entry: String,
    /// True if the volume's id file exists until the volume's data is moved or deleted. False if that is unknown.
    pub is_marked: bool,
    /// True if a removal began to delete the content in its place, because it cannot be moved.
    pub in_place: bool,
}

impl CatalogReader<'_> {
    /// Returns the intents of one name, or all. Skips rows that no version of this program could have written.
    pub fn intents(&self, name: Option<&VolumeName>) -> Result<Vec<Intent>> {
        let mut statement = self.0.prepare_cached(
            "SELECT volume_id, name, action, entry, identity, identity_stored, in_place
             FROM intent JOIN volume ON volume.id = volume_id
             WHERE ?1 IS NULL OR name = ?1",
        )?;
        let rows = statement
            .query_map([name.map(VolumeName::as_str)], |row| Ok(to_intent(row)))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(rows.into_iter().flatten().collect())
    }
}

fn to_intent(row: &Row<'_>) -> Option<Intent> {
    let (name, action): (String, String) = (row.get(1).ok()?, row.get(2).ok()?);
    let identity: String = row.get(4).ok()?;
    Some(Intent {
        volume_id: row.get(0).ok()?,
        name: VolumeName::parse(&name).ok()?,
        identity: VolumeId::parse(&identity)?,
        action: [Action::Create, Action::Remove].into_iter().find(|known| known.as_str() == action)?,
        entry: row.get(3).ok()?,
        is_marked: row.get(5).ok()?,
        in_place: row.get(6).ok()?,
    })
}

impl CatalogWriter<'_> {
    /// Inserts the intent of a volume, which hides the volume from readers.
    pub fn begin(&self, volume_id: i64, action: Action, entry: &str) -> Result<()> {
        self.0
            .prepare_cached("INSERT INTO intent (volume_id, action, entry) VALUES (?1, ?2, ?3)")?
            .execute((volume_id, action.as_str(), entry))?;
        Ok(())
    }

    /// Inserts an existing intent again. Returns false, and writes nothing, if the intent is gone.
    ///
    /// Crash safety: the process that wrote the intent may have died before the row was on disk.
    pub fn confirm(&self, intent: &Intent) -> Result<bool> {
        // SQLite writes nothing if a row is replaced by an equal one, so the row is deleted first.
        let mut statement =
            self.0.prepare_cached("DELETE FROM intent WHERE volume_id = ?1 AND entry = ?2")?;
        let is_there = statement.execute((intent.volume_id, &intent.entry))? == 1;
        if is_there {
            self.begin(intent.volume_id, intent.action, &intent.entry)?;
            if intent.in_place {
                self.mark_in_place(intent.volume_id)?;
            }
        }
        Ok(is_there)
    }

    /// Records that a removal is about to delete the volume's content in its place.
    pub fn mark_in_place(&self, volume_id: i64) -> Result<()> {
        self.0.prepare_cached("UPDATE intent SET in_place = 1 WHERE volume_id = ?1")?.execute([volume_id])?;
        Ok(())
    }

    /// Records that a volume has no id file. Keeps its intent.
    pub fn forget_identity_file(&self, volume_id: i64) -> Result<()> {
        self.0.prepare_cached("UPDATE volume SET identity_stored = 0 WHERE id = ?1")?.execute([volume_id])?;
        Ok(())
    }

    /// Deletes the intent. The volume is complete, except that its id file is missing.
    pub fn delete_intent_without_id_file(&self, volume_id: i64) -> Result<()> {
        self.forget_identity_file(volume_id)?;
        self.delete_intent(volume_id)
    }

    /// Deletes the intent. The volume is complete.
    pub fn delete_intent(&self, volume_id: i64) -> Result<()> {
        self.0.prepare_cached("DELETE FROM intent WHERE volume_id = ?1")?.execute([volume_id])?;
        Ok(())
    }
}
