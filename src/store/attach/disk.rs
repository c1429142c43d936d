//! Disks among the mounts of an attachment, and the locks that give exclusive access to them.

use super::fd_registry::{FlockHolder, HeldDisk};
use super::host_path::{check_writable, open_image};
use super::liveness::live_holders;
use crate::catalog::{AttachedImage, CatalogWriter, HeldResource, ImageLease};
use crate::error::{Error, Result};
use crate::image::{self, Inspected};
use crate::model::{DiskFormat, VolumeDisk, VolumeName};
use crate::mount::{GuestPath, ResolvedSource};
use crate::store::home_dirs::HomeDirs;
use crate::sys::fd::AsFd;
use crate::sys::{FileId, HeldFile, file_in_memory, path_to_open};
use std::path::{Path, PathBuf};

/// A disk of an attachment that is not recorded yet.
#[derive(Debug)]
pub struct PendingDisk {
    guest_path: GuestPath,
    volume: Option<VolumeName>,
    path: PathBuf,
    /// The image, followed by its extents if it consists of several files.
    files: Vec<HeldFile>,
    /// File that a runtime opens instead of an image that names other files.
    stand_in: Option<HeldFile>,
    readonly: bool,
}

impl PendingDisk {
    /// Returns the checked files, which stay open while the disk is attached.
    pub fn into_held(self) -> HeldDisk {
        HeldDisk {
            guest_path: self.guest_path,
            files: self.files,
            stand_in: self.stand_in,
            readonly: self.readonly,
            flock: FlockHolder::default(),
        }
    }

    /// Locks a file of the disk. Fails if it is in use.
    ///
    /// Other attachments of this home have leases on the file. Other programs, and the attachments of other homes,
    /// have locks on it.
    fn lock_file(&self, catalog: &CatalogWriter<'_>, file: &HeldFile, lease: ImageLease) -> Result<()> {
        let in_use = |holders| {
            let volume = self.volume.as_ref().map(VolumeName::as_str);
            Err(Error::disk_in_use(volume, &self.path, holders))
        };
        // This closes the descriptors that this process still has for ended attachments, before the lock is tried.
        let holders = live_holders(catalog, HeldResource::Against(lease), None)?;
        let failed = |error| Error::file_system("flock", &self.path, error);
        if holders.iter().any(|holder| holder.running) || !file.lock(self.readonly).map_err(failed)? {
            return in_use(holders);
        }
        let holders = match holders.is_empty() {
            true => holders,
            false => {
                let proof = file.sees_all_locks().map_err(failed)?.then_some(lease);
                live_holders(catalog, HeldResource::Against(lease), proof)?
            }
        };
        match holders.is_empty() {
            true => Ok(()),
            false => in_use(holders),
        }
    }
}

/// A mount of a disk.
#[derive(Clone, Copy, Debug)]
pub struct DiskMount<'a> {
    pub dirs: &'a HomeDirs,
    pub guest_path: &'a GuestPath,
    pub readonly: bool,
}

impl DiskMount<'_> {
    /// Resolves a mount of a disk volume.
    pub fn resolve_volume(
        &self,
        volume: &VolumeName,
        disk: &VolumeDisk,
    ) -> Result<(ResolvedSource, PendingDisk)> {
        let (file, path, inspected) = self.dirs.inspect_volume(volume, disk)?;
        if !self.readonly {
            check_writable(&file, &path).map_err(|error| error.in_volume(volume.as_str()))?;
        }
        let origin = ResolvedSource::Disk {
            volume: Some(volume.clone()),
            host: path.clone(),
            // No guest can change the directory, so the path still leads to the checked file.
            open: path.clone(),
            format: inspected.format,
            fstype: inspected.fstype.map(str::to_owned),
        };
        let files = vec![HeldFile::new(file)];
        Ok((origin, self.pending(Some(volume.clone()), path, files, None)))
    }

    /// Resolves a mount of a disk image of the host.
    ///
    /// TOCTOU: another file may replace the image or an extent later. A runtime opens the files that were checked.
    pub fn resolve_image(
        &self,
        source: &Path,
        format: Option<DiskFormat>,
        fstype: Option<&str>,
    ) -> Result<(ResolvedSource, PendingDisk)> {
        let image::OpenedImage { file, path, directory } = open_image(self.dirs, source, self.readonly)?;
        let inspected = image::inspect(&file, source, directory.as_fd(), format)?;
        inspected.check_mountable(source, self.readonly, fstype.is_some())?;
        let Inspected { format, fstype: found, parts, .. } = inspected;
        let mut files = vec![HeldFile::new(file)];
        let mut stand_in = None;
        if let Some(parts) = parts {
            let paths = parts.files.iter().map(|extent| path_to_open(extent.file.as_fd()));
            let descriptor = file_in_memory(parts.descriptor.at_paths(paths).as_bytes());
            let failed = |error| Error::file_system("memfd_create", source, error);
            stand_in = Some(HeldFile::new(descriptor.map_err(failed)?));
            for extent in parts.files {
                if !self.readonly {
                    check_writable(&extent.file, source)?;
                }
                files.push(HeldFile::new(extent.file));
            }
        }
        let open = path_to_open(stand_in.as_ref().unwrap_or(&files[0]).as_fd());
        let fstype = fstype.or(found).map(str::to_owned);
        let origin = ResolvedSource::Disk { volume: None, host: path.clone(), open, format, fstype };
        Ok((origin, self.pending(None, path, files, stand_in)))
    }

    fn pending(
        &self,
        volume: Option<VolumeName>,
        path: PathBuf,
        files: Vec<HeldFile>,
        stand_in: Option<HeldFile>,
    ) -> PendingDisk {
        let (guest_path, readonly) = (self.guest_path.clone(), self.readonly);
        PendingDisk { guest_path, volume, path, files, stand_in, readonly }
    }
}

/// Locks the disks of an attachment that is being recorded, and returns the leases on them: one writer or many
/// readers of each image. The first lease on an image of the host carries its path.
pub fn lease_disks(
    catalog: &CatalogWriter<'_>,
    disks: &[PendingDisk],
) -> Result<Vec<(ImageLease, Option<AttachedImage>)>> {
    let mut leases: Vec<(ImageLease, Option<AttachedImage>)> = Vec::new();
    for disk in disks {
        let mut image = disk.volume.is_none().then(|| AttachedImage {
            path: disk.path.to_string_lossy().into_owned(),
            guest_path: Some(disk.guest_path.to_string()),
            readonly: disk.readonly,
        });
        for file in &disk.files {
            let id = FileId::of_open(file.as_fd())
                .map_err(|error| Error::file_system("stat", &disk.path, error))?;
            let lease = ImageLease { device: id.device(), inode: id.inode(), readonly: disk.readonly };
            let clashes = |(other, _): &(ImageLease, Option<AttachedImage>)| {
                (other.device, other.inode) == (lease.device, lease.inode)
                    && !(other.readonly && lease.readonly)
            };
            if leases.iter().any(clashes) {
                return Err(Error::invalid_guest_path(
                    disk.guest_path.as_str(),
                    "mounts a disk that another mount has as well, and a disk has one writer or any number \
                     of readers; make both read-only, or mount it once",
                ));
            }
            disk.lock_file(catalog, file, lease)?;
            leases.push((lease, image.take()));
        }
    }
    Ok(leases)
}
