//! Intents: what is being done to a volume, written down before it is begun.

use super::{CatalogReader, CatalogWriter};
use crate::error::Result;
use crate::model::{VolumeId, VolumeName};
use rusqlite::Row;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Being made in the staging directory.
    Create,
    /// On its way out through the trash directory.
    Remove,
}

impl Action {
    /// The name in the catalog and in errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Remove => "remove",
        }
    }
}

/// A volume that somebody began to create or remove and has not finished with.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The volume's row.
    pub volume_id: i64,
    /// Its name.
    pub name: VolumeName,
    /// Its id.
    pub identity: VolumeId,
    /// What is being done.
    pub action: Action,
    /// The entry in the staging or the trash directory.
    pub entry: String,
    /// Whether the file with the id is beside the volume until the volume's data was moved or deleted. False if that is
    /// not known.
    pub is_marked: bool,
    /// Whether a removal began to delete the volume's content in its place, because it cannot be moved.
    pub in_place: bool,
}

impl CatalogReader<'_> {
    /// All intents, or those of one name. A row that no version of this program could have written is left out.
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
    /// Writes down what is about to be done to a volume, which hides it from readers.
    pub fn begin(&self, volume_id: i64, action: Action, entry: &str) -> Result<()> {
        self.0
            .prepare_cached("INSERT INTO intent (volume_id, action, entry) VALUES (?1, ?2, ?3)")?
            .execute((volume_id, action.as_str(), entry))?;
        Ok(())
    }

    /// Writes down anew what is there already. Where another process wrote it and died, it may not be on disk yet.
    /// Returns false, and writes nothing, if the intent is there no more.
    pub fn confirm(&self, intent: &Intent) -> Result<bool> {
        // SQLite writes nothing for a row that is replaced by the same.
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

    /// Strikes the intent out: the volume is there, whole, but for the file that has its id.
    pub fn settle_without_file(&self, volume_id: i64) -> Result<()> {
        self.0.prepare_cached("UPDATE volume SET identity_stored = 0 WHERE id = ?1")?.execute([volume_id])?;
        self.settle(volume_id)
    }

    /// Strikes the intent out: the volume is there, whole.
    pub fn settle(&self, volume_id: i64) -> Result<()> {
        self.0.prepare_cached("DELETE FROM intent WHERE volume_id = ?1")?.execute([volume_id])?;
        Ok(())
    }
}
