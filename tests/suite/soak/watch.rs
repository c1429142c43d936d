//! Checks, from another process and while all workers run, what must hold at any moment.

use super::content::is_sealed;
use super::environment::{Environment, SHARED_FILES, SHARED_WITH_GUEST};
use rusqlite::{Connection, OpenFlags};
use sandbox_volumes::error::Error;
use sandbox_volumes::model::Labels;
use sandbox_volumes::store::{Durability, Store, VolumeInfo};
use sandbox_volumes::sync::CancelToken;
use std::fs;

/// Rows that no moment may show: a lease of a volume that is being created or removed, or is gone, and a disk with a
/// writer and another holder.
const NEVER: [&str; 2] = [
    "SELECT count(*) FROM lease WHERE volume_id IN (SELECT volume_id FROM intent)
     OR volume_id NOT IN (SELECT id FROM volume)",
    "SELECT count(*) FROM (SELECT 1 FROM image_lease GROUP BY device, inode
     HAVING count(*) > 1 AND min(readonly) = 0)",
];

pub struct Watch<'g> {
    environment: &'g Environment,
    store: Store,
    catalog: Connection,
}

impl<'g> Watch<'g> {
    pub fn new(environment: &'g Environment) -> Result<Self, String> {
        let opened = |error| format!("the home does not open: {error}");
        let store = Store::open(&environment.home(), Durability::Full).map_err(opened)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let catalog = Connection::open_with_flags(environment.home().join("db/volumes.db"), flags);
        let catalog = catalog.map_err(|error| format!("the catalog does not open: {error}"))?;
        Ok(Watch { environment, store, catalog })
    }

    /// One look, and what is wrong with what it shows.
    pub fn look(&self) -> Vec<String> {
        let mut wrong = self.environment.touched();
        for question in NEVER {
            match self.catalog.query_row(question, (), |row| row.get::<_, i64>(0)) {
                Ok(0) => {}
                Ok(count) => wrong.push(format!("{count} by {question}")),
                Err(error) => wrong.push(format!("{error} by {question}")),
            }
        }
        for volume in SHARED_WITH_GUEST {
            for file in SHARED_FILES {
                let content = fs::read(self.environment.volume(volume).join(file));
                if content.is_ok_and(|content| !is_sealed(&content)) {
                    wrong.push(format!("{volume}/{file} is not whole"));
                }
            }
        }
        wrong.extend(self.look_at_volumes().unwrap_or_else(|error| vec![format!("listing failed: {error}")]));
        wrong
    }

    fn list(&self) -> Result<Vec<VolumeInfo>, Error> {
        self.store.list(&Labels::default(), &CancelToken::default())
    }

    /// A listed volume has its directory, as long as it is listed.
    fn look_at_volumes(&self) -> Result<Vec<String>, Error> {
        let volumes = self.list()?;
        let missing: Vec<_> = volumes.iter().filter(|volume| !volume.path.is_dir()).collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let still: Vec<_> = self.list()?.into_iter().map(|volume| volume.record.id).collect();
        let listed = missing.into_iter().filter(|volume| still.contains(&volume.record.id));
        Ok(listed.map(|volume| format!("{} is listed without its directory", volume.record.name)).collect())
    }
}
