//! The files that hold the ids of volumes.
//!
//! A catalog that was lost takes the ids from there. The directory is private: a guest reaches only what is below its
//! volume's root. A file is changed under the lock of its volume's name alone.

use super::Opened;
use super::layout::Layout;
use crate::error::{Error, Result};
use crate::model::{VolumeId, VolumeName};
use crate::sys::random_bytes;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

/// The longest text that is read from such a file.
const MAX_BYTES: u64 = 64;

/// Draws the id of a new volume.
pub fn new_identity() -> Result<VolumeId> {
    let bytes = random_bytes().map_err(|error| Error::file_system("getrandom", "", error))?;
    Ok(VolumeId::from_bytes(bytes))
}

impl Layout {
    /// Writes a volume's id to the file beside it, and puts that on disk where the store was opened so.
    pub fn store_identity(&self, name: &VolumeName, id: VolumeId) -> Result<()> {
        let file = self.write_identity(name, id)?;
        self.put_file_on_disk(&file, &self.ids.path_of(name.as_str()))?;
        self.put_on_disk(&self.ids)
    }

    fn write_identity(&self, name: &VolumeName, id: VolumeId) -> Result<File> {
        let file = File::from(self.ids.open_or_create_file(name.as_str())?);
        let text = format!("{id}\n");
        let written = file.write_all_at(text.as_bytes(), 0).and_then(|()| file.set_len(text.len() as u64));
        written.map_err(|error| Error::file_system("write", self.ids.path_of(name.as_str()), error))?;
        Ok(file)
    }

    /// The id in the file beside a volume. Returns `None` if there is no such file, or no id in it.
    pub fn stored_identity(&self, name: &VolumeName) -> Option<VolumeId> {
        let file = File::from(self.ids.open_existing_file(name.as_str()).ok()??);
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
        VolumeId::parse(text.trim_end())
    }

    /// Deletes the file of a volume that is removed.
    pub fn delete_identity(&self, name: &VolumeName) -> Result<()> {
        self.ids.unlink(name.as_str())
    }
}

impl Opened {
    /// Writes the files of volumes that an earlier version made, or that were found without an id.
    pub(super) fn store_missing_identities(&self) -> Result<()> {
        let missing = self.catalog.read(|catalog| catalog.volumes_without_file())?;
        let mut stored = Vec::new();
        for (row, name) in missing {
            let Some(_lock) = self.layout.try_lock(&name)? else { continue };
            // TOCTOU: the volume of that name may have been removed, and made again, before the lock was taken.
            let current = self.catalog.read(|catalog| catalog.volume(&name))?;
            if let Some(volume) = current.filter(|volume| volume.id == row) {
                self.layout.write_identity(&name, volume.identity)?;
                stored.push(row);
            }
        }
        if stored.is_empty() {
            return Ok(());
        }
        // Crash safety: one flush for all files comes before the catalog says that they are there.
        self.layout.put_file_system_on_disk(&self.layout.ids)?;
        self.catalog.write(|catalog| stored.iter().try_for_each(|row| catalog.mark_identity_stored(*row)))
    }
}
