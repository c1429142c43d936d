//! Disks among the mounts of an attachment: what they are, and that nobody else is in the way.

use super::host_path::open_image;
use super::{Opened, living};
use crate::catalog::{Held, ImageLease, Writer};
use crate::error::{Error, Result};
use crate::image::{self, Inspected};
use crate::model::{DiskFormat, VolumeName, VolumeRecord};
use crate::mount::{GuestPath, Origin};
use crate::sys::{FileId, is_locked_by_others, path_to_open};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// A disk that an attachment is about to hold.
#[derive(Debug)]
pub struct TakenDisk {
    guest_path: GuestPath,
    volume: Option<VolumeName>,
    path: PathBuf,
    /// The image, and the extents of one that consists of several files.
    files: Vec<File>,
    readonly: bool,
}

impl TakenDisk {
    /// The files that were checked, to be kept open as long as the disk is held.
    pub fn into_files(self) -> Vec<File> {
        self.files
    }

    fn leases(&self) -> impl Iterator<Item = Result<(ImageLease, BorrowedFd<'_>)>> {
        self.files.iter().map(|file| {
            let id = FileId::of_open(file.as_fd())
                .map_err(|error| Error::file_system("stat", &self.path, error))?;
            let lease = ImageLease { device: id.device(), inode: id.inode(), readonly: self.readonly };
            Ok((lease, file.as_fd()))
        })
    }

    fn in_use(&self, sandboxes: Vec<String>) -> Error {
        Error::disk_in_use(self.volume.as_ref().map(VolumeName::as_str), &self.path, sandboxes)
    }
}

impl Opened {
    /// The image of a disk volume as a mount shows it.
    pub(super) fn resolve_disk_volume(
        &self,
        guest_path: &GuestPath,
        volume: &VolumeRecord,
        readonly: bool,
    ) -> Result<(Origin, TakenDisk)> {
        let (file, path, inspected) = self.inspect_volume(volume)?;
        let origin = Origin::Disk {
            volume: Some(volume.name.clone()),
            host: path.clone(),
            // No guest can reach the directory, so what stands at this path is what was checked.
            open: path.clone(),
            format: inspected.format,
            fstype: inspected.fstype.map(str::to_owned),
        };
        let (guest_path, volume) = (guest_path.clone(), Some(volume.name.clone()));
        Ok((origin, TakenDisk { guest_path, volume, path, files: vec![file], readonly }))
    }

    /// A disk image of the host as a mount shows it.
    pub(super) fn resolve_disk_image(
        &self,
        guest_path: &GuestPath,
        source: &Path,
        format: Option<DiskFormat>,
        fstype: Option<&str>,
        readonly: bool,
    ) -> Result<(Origin, TakenDisk)> {
        let image::Opened { file, path, directory } = open_image(&self.layout, source, readonly)?;
        let Inspected { format, fstype: found, extents, .. } =
            image::inspect(&file, source, directory.as_fd(), format)?;
        let open = match extents.is_empty() {
            // Whatever takes the image's place later: a runtime opens the file that was checked.
            true => path_to_open(file.as_fd()),
            // The extents are found beside the image, by its path.
            false => path.clone(),
        };
        let fstype = fstype.or(found).map(str::to_owned);
        let files = std::iter::once(file).chain(extents.into_iter().map(|extent| extent.file)).collect();
        let origin = Origin::Disk { volume: None, host: path.clone(), open, format, fstype };
        Ok((origin, TakenDisk { guest_path: guest_path.clone(), volume: None, path, files, readonly }))
    }

    /// The leases on the disks of an attachment that is being recorded: one writer or many readers of each image,
    /// be they attachments of ours or other programs that lock it.
    pub(super) fn lease_disks(&self, catalog: &Writer<'_>, disks: &[TakenDisk]) -> Result<Vec<ImageLease>> {
        let mut leases: Vec<ImageLease> = Vec::new();
        for disk in disks {
            for found in disk.leases() {
                let (lease, file) = found?;
                let clashes = |other: &ImageLease| {
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
                let sandboxes = living(catalog, Held::Against(lease))?;
                let locked = || {
                    let locked = is_locked_by_others(file, disk.readonly);
                    locked.map_err(|error| Error::file_system("flock", &disk.path, error))
                };
                if !sandboxes.is_empty() || locked()? {
                    return Err(disk.in_use(sandboxes));
                }
                leases.push(lease);
            }
        }
        Ok(leases)
    }

    /// Keeps the images of an attachment open until it is detached.
    pub(super) fn keep_open(&self, attachment: i64, disks: Vec<TakenDisk>) {
        let files: Vec<File> = disks.into_iter().flat_map(TakenDisk::into_files).collect();
        if !files.is_empty() {
            self.images.lock().unwrap_or_else(PoisonError::into_inner).insert(attachment, files);
        }
    }

    /// Closes the images of an attachment that has ended.
    pub(super) fn close(&self, attachment: i64) {
        self.images.lock().unwrap_or_else(PoisonError::into_inner).remove(&attachment);
    }
}
