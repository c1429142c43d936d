//! Volumes told by their directories alone, where the catalog does not know them.

use crate::catalog::FoundVolume;
use crate::error::Result;
use crate::image;
use crate::model::{DiskFormat, DiskSpec, VolumeName};
use crate::store::layout::{HomeDirs, image_entry};
use crate::sys::Dir;
use nix::errno::Errno;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::UNIX_EPOCH;

/// What stands in the volumes directory under a name that a volume may have.
pub enum FoundEntry {
    /// A directory: a volume's.
    Volume(FoundVolume),
    /// Something else: a file, a link, or a directory of a name that no volume has.
    Unrecognized(String),
}

impl HomeDirs {
    /// What stands in the volumes directory besides the store's own.
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
                // It was removed since it was listed.
                Some((Err(error), _)) if error.is_refusal(&[Errno::ENOENT]) => continue,
                _ => FoundEntry::Unrecognized(shown.into_owned()),
            });
        }
        Ok(entries)
    }

    /// A directory that holds an image of ours and nothing else is a disk volume's. A guest could make its directory
    /// look like one, which gains it nothing: the volume is then refused as a directory, and its image checked as a
    /// disk.
    fn found(&self, dir: &Dir, name: VolumeName) -> Result<FoundVolume> {
        let entries = dir.names()?;
        let disk = DiskSpec::FORMATS.into_iter().map(|(_, format)| format).find_map(|format| {
            let entry = image_entry(format);
            match &entries[..] {
                [only] if only == entry => {
                    let file = File::from(dir.open_existing_file(entry).ok()??);
                    file.metadata().ok()?.is_file().then(|| (format, capacity(&file, dir, format)))
                }
                _ => None,
            }
        });
        let born = File::from(dir.try_clone()?).metadata().and_then(|metadata| metadata.created()).ok();
        let since = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let created_at_ms = since.map(|since| since.as_millis() as i64);
        let identity = self.stored_identity(&name);
        Ok(FoundVolume { name, identity, created_at_ms, disk })
    }

    /// The volumes among them, by name.
    pub fn found_volumes(&self) -> Result<Vec<FoundVolume>> {
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
