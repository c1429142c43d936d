//! The image of a disk volume.

use crate::error::{Errno, Error, Result};
use crate::ext4::{self, Ext4Options};
use crate::image::{self, Inspected};
use crate::model::{DiskFormat, DiskSpec, VolumeDisk, VolumeName, VolumeRecord};
use crate::store::StoreHandle;
use crate::store::home_dirs::HomeDirs;
use crate::store::paths::image_entry;
use crate::sys::fd::AsFd;
use crate::sys::{Dir, ImageLock, lock_image, random_bytes, random_uuid};
use std::fs::File;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Mode of a new image. A virtual machine runs as the user who starts it.
const IMAGE_MODE: u32 = 0o600;

impl HomeDirs {
    /// Creates the image of a new disk volume with a complete file system. Only content that is not zero is written.
    pub fn create_image(&self, dir: &Dir, name: &VolumeName, disk: DiskSpec) -> Result<()> {
        let failed = |error| Error::file_system("getrandom", dir.path(), error);
        let content = ext4::format(&Ext4Options {
            size_bytes: disk.capacity_bytes(),
            label: name.to_string(),
            uuid: random_uuid().map_err(failed)?,
            hash_seed: random_bytes().map_err(failed)?,
            created_at_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        })?;
        let entry = image_entry(disk.format());
        let file = File::from(dir.create_file(entry, IMAGE_MODE)?);
        let path = self.volumes.path_of(name.as_str()).join(entry);
        match disk.format() {
            DiskFormat::Qcow2 => image::create_qcow2(&file, &path, disk.capacity_bytes(), &content)?,
            _ => image::create_raw(&file, &path, disk.capacity_bytes(), &content)?,
        }
        self.sync.file(&file, &path)
    }

    /// Returns the open image of a disk volume and its path. Returns `None` if the image was deleted manually.
    pub fn image_of(&self, name: &VolumeName, disk: &VolumeDisk) -> Result<Option<(File, PathBuf)>> {
        let dir = self.volumes.open_child(name.as_str())?;
        let entry = image_entry(disk.format);
        Ok(dir.open_existing_file(entry)?.map(|file| (File::from(file), dir.path_of(entry))))
    }

    /// Inspects the image of a disk volume. Fails if it is damaged or missing.
    pub fn inspect_volume(&self, name: &VolumeName, disk: &VolumeDisk) -> Result<(File, PathBuf, Inspected)> {
        let inspect = || {
            let Some((file, path)) = self.image_of(name, disk)? else {
                let problem = "is missing: it was deleted manually. Remove the volume, or put the image back";
                return Err(Error::disk_image(self.volumes.path_of(name.as_str()), problem));
            };
            let directory = self.volumes.open_child(name.as_str())?;
            let inspected = image::inspect(&file, &path, directory.as_fd(), Some(disk.format))?;
            match disk.capacity_bytes.is_some_and(|bytes| inspected.capacity_bytes < bytes) {
                true => Err(Error::disk_image(
                    &path,
                    "is shorter than the disk was made: a part of it is missing",
                )),
                false => Ok((file, path, inspected)),
            }
        };
        inspect().map_err(|error| error.in_volume(name.as_str()))
    }
}

impl StoreHandle {
    /// Locks the image of a volume that is to be removed. Returns `None` if the volume has no image. Fails if another
    /// program holds a lock on the image.
    pub(crate) fn lock_image_of(&self, volume: &VolumeRecord) -> Result<Option<ImageLock>> {
        let Some(disk) = volume.storage.disk() else { return Ok(None) };
        let name = volume.name.as_str();
        let (file, path) = match self.dirs.image_of(&volume.name, disk) {
            Ok(Some(image)) => image,
            Ok(None) => return Ok(None),
            // The directory was deleted or replaced manually.
            Err(error) if error.is_refusal(&[Errno::ENOENT, Errno::ENOTDIR, Errno::ELOOP]) => {
                return Ok(None);
            }
            Err(error) => return Err(error.in_volume(name)),
        };
        match lock_image(file.as_fd(), false) {
            Ok(Some(lock)) => Ok(Some(lock)),
            Ok(None) => Err(Error::disk_in_use(Some(name), &path, Vec::new())),
            Err(error) => Err(Error::file_system("flock", &path, error).in_volume(name)),
        }
    }
}
