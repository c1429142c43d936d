//! Discovers volumes by their directories if the catalog does not have them.

use crate::catalog::FoundVolume;
use crate::error::{Errno, Result};
use crate::image;
use crate::model::{DiskFormat, DiskSpec, VolumeDisk, VolumeName, VolumeStorage};
use crate::store::home_dirs::HomeDirs;
use crate::store::paths::image_entry;
use crate::sys::fd::AsFd;
use crate::sys::{Dir, FileStat};
use std::fs::File;
use std::time::UNIX_EPOCH;

/// An entry of the volumes directory.
pub enum FoundEntry {
    /// The directory of a volume.
    Volume(FoundVolume),
    /// A file, a symbolic link, or a directory whose name is no volume name.
    Unrecognized(String),
}

impl HomeDirs {
    /// Returns the entries of the volumes directory, without the store's own directories.
    pub fn entries(&self) -> Result<Vec<FoundEntry>> {
        let mut entries = Vec::new();
        for entry in self.volumes.names()? {
            let shown = entry.to_string_lossy();
            if shown.starts_with('.') {
                continue;
            }
            let name = entry.to_str().and_then(|name| VolumeName::parse(name).ok());
            let dir = name.map(|name| (self.volumes.open_child(name.as_str()), name));
            entries.push(match dir {
                Some((Ok(dir), name)) => FoundEntry::Volume(self.found(&dir, name)?),
                // The entry was removed after the listing.
                Some((Err(error), _)) if error.is_refusal(&[Errno::ENOENT]) => continue,
                _ => FoundEntry::Unrecognized(shown.into_owned()),
            });
        }
        Ok(entries)
    }

    /// Describes a directory. It is a disk volume if it contains only an image with the store's name.
    ///
    /// A guest can make its directory look like that, which gains nothing. The volume is then rejected as a
    /// directory, and its image is checked as a disk.
    fn found(&self, dir: &Dir, name: VolumeName) -> Result<FoundVolume> {
        let entries = dir.names()?;
        let image = DiskSpec::FORMATS.into_iter().map(|(_, format)| format).find_map(|format| {
            let entry = image_entry(format);
            match &entries[..] {
                [only] if only == entry => {
                    let file = File::from(dir.open_existing_file(entry).ok()??);
                    file.metadata().ok()?.is_file().then_some((format, file))
                }
                _ => None,
            }
        });
        let born = FileStat::of(dir.as_fd()).ok().and_then(|stat| stat.created());
        let since = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let created_at_ms = since.map(|since| since.as_millis() as i64);
        let identity = self.stored_identity(&name);
        let storage = match image {
            None => VolumeStorage::Directory { quota_mib: None },
            Some((format, file)) => {
                let capacity_bytes = capacity(&file, dir, format);
                VolumeStorage::Disk(VolumeDisk { format, capacity_bytes, fstype: None })
            }
        };
        Ok(FoundVolume { name, identity, created_at_ms, storage })
    }

    /// Returns the discovered volumes, ordered by name.
    pub fn discovered_volumes(&self) -> Result<Vec<FoundVolume>> {
        let volumes = self.entries()?.into_iter().filter_map(|entry| match entry {
            FoundEntry::Volume(volume) => Some(volume),
            FoundEntry::Unrecognized(_) => None,
        });
        let mut volumes: Vec<_> = volumes.collect();
        volumes.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
        Ok(volumes)
    }
}

fn capacity(file: &File, dir: &Dir, format: DiskFormat) -> Option<u64> {
    let path = dir.path_of(image_entry(format));
    image::inspect(file, &path, dir.as_fd(), Some(format)).ok().map(|inspected| inspected.capacity_bytes)
}
