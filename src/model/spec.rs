//! The specification of a new volume.

use super::{
    DiskFormat, Labels, MAX_DISK_MIB, MIB, MIN_DISK_MIB, OptionReader, OptionValue, VolumeDisk, VolumeKind,
    VolumeStorage, option_names,
};
use crate::error::{Error, Result};

const OPTIONS: [&str; 5] = [
    option_names::KIND,
    option_names::SIZE_MIB,
    option_names::FORMAT,
    option_names::QUOTA_MIB,
    option_names::LABELS,
];

/// The specification of a new disk volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// The virtual size in MiB.
    pub size_mib: u32,
    /// The image's format, if the caller stated one.
    pub stated_format: Option<DiskFormat>,
}

impl DiskSpec {
    /// The formats that this library creates.
    pub const FORMATS: [(&'static str, DiskFormat); 2] = {
        let [raw, qcow2, _vmdk] = DiskFormat::NAMES;
        [raw, qcow2]
    };

    /// Returns the image's format: raw unless the caller stated another one.
    pub fn format(self) -> DiskFormat {
        self.stated_format.unwrap_or(DiskFormat::Raw)
    }

    /// Returns the virtual size in bytes.
    pub fn capacity_bytes(self) -> u64 {
        u64::from(self.size_mib) * MIB
    }
}

/// A valid combination of kind, sizes and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    storage: VolumeStorage<DiskSpec>,
    labels: Labels,
}

/// The options of a new volume. Each may be missing.
#[derive(Clone, Debug, Default)]
pub struct VolumeOptions {
    kind: Option<VolumeKind>,
    size_mib: Option<u32>,
    format: Option<DiskFormat>,
    quota_mib: Option<u32>,
    labels: Option<Labels>,
}

impl VolumeOptions {
    /// Reads the fields of an options object. The name of the kind's field differs between objects.
    pub fn read(fields: &OptionReader, kind_name: &str) -> Result<Self> {
        Ok(VolumeOptions {
            kind: fields.choice(kind_name, &VolumeKind::NAMES)?,
            size_mib: fields.u32(option_names::SIZE_MIB)?,
            format: fields.choice(option_names::FORMAT, &DiskSpec::FORMATS)?,
            quota_mib: fields.u32(option_names::QUOTA_MIB)?,
            labels: fields.labels(option_names::LABELS)?,
        })
    }

    /// Returns the name of an option that is present, or `None`.
    pub fn any_given<'n>(&self, kind_name: &'n str) -> Option<&'n str> {
        let given = [
            (kind_name, self.kind.is_some()),
            (option_names::SIZE_MIB, self.size_mib.is_some()),
            (option_names::FORMAT, self.format.is_some()),
            (option_names::QUOTA_MIB, self.quota_mib.is_some()),
            (option_names::LABELS, self.labels.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    /// Merges two sets of options: values of `later` win, labels merge key by key.
    fn merged_with(self, later: VolumeOptions) -> Result<Self> {
        let labels = match (self.labels, later.labels) {
            (Some(labels), Some(later)) => Some(labels.merged_with(later)?),
            (labels, later) => later.or(labels),
        };
        Ok(VolumeOptions {
            kind: later.kind.or(self.kind),
            size_mib: later.size_mib.or(self.size_mib),
            format: later.format.or(self.format),
            quota_mib: later.quota_mib.or(self.quota_mib),
            labels,
        })
    }
}

impl VolumeSpec {
    /// Validates the combination of options: `sizeMib` and `format` belong to disks, `quotaMib` to directories. A quota of 0
    /// means unlimited. The kind defaults to `dir`, the format to `raw`.
    pub fn new(options: VolumeOptions) -> Result<Self> {
        let VolumeOptions { kind, size_mib, format, quota_mib, labels } = options;
        let storage = match kind.unwrap_or(VolumeKind::Dir) {
            VolumeKind::Dir if size_mib.is_some() => {
                return Err(Error::invalid_config(
                    option_names::SIZE_MIB,
                    "only a volume of kind \"disk\" has a size; limit a directory with \"quotaMib\"",
                ));
            }
            VolumeKind::Dir if format.is_some() => {
                return Err(Error::invalid_config(
                    option_names::FORMAT,
                    "only a volume of kind \"disk\" has an image format; leave it unset for a directory",
                ));
            }
            VolumeKind::Dir => VolumeStorage::Directory { quota_mib: quota_mib.filter(|mib| *mib > 0) },
            VolumeKind::Disk if quota_mib.is_some() => {
                return Err(Error::invalid_config(
                    option_names::QUOTA_MIB,
                    "only a volume of kind \"dir\" has a quota; a disk is limited by \"sizeMib\"",
                ));
            }
            VolumeKind::Disk => {
                VolumeStorage::Disk(DiskSpec { size_mib: disk_size(size_mib)?, stated_format: format })
            }
        };
        Ok(VolumeSpec { storage, labels: labels.unwrap_or_default() })
    }

    /// Merges options left to right, and validates the result.
    pub fn from_options(options: &[OptionValue]) -> Result<Self> {
        let merged = options.iter().try_fold(VolumeOptions::default(), |merged, option| {
            let fields = OptionReader::of("VolumeConfig", option, &OPTIONS)?;
            merged.merged_with(VolumeOptions::read(&fields, option_names::KIND)?)
        });
        VolumeSpec::new(merged?)
    }

    /// Returns the kind: directory or disk.
    pub fn kind(&self) -> VolumeKind {
        self.storage.kind()
    }

    /// Returns the disk's specification, or `None` for a directory.
    pub fn disk(&self) -> Option<DiskSpec> {
        self.storage.disk().copied()
    }

    /// Returns a directory's quota in MiB, or `None` if it is unlimited.
    pub fn quota_mib(&self) -> Option<u32> {
        self.storage.quota_mib()
    }

    /// Returns the storage of the volume that is created.
    pub fn storage(&self) -> VolumeStorage {
        match self.storage {
            VolumeStorage::Directory { quota_mib } => VolumeStorage::Directory { quota_mib },
            VolumeStorage::Disk(disk) => VolumeStorage::Disk(VolumeDisk::from(disk)),
        }
    }

    /// Returns the labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }
}

fn disk_size(size_mib: Option<u32>) -> Result<u32> {
    let limits = format!("an integer from {MIN_DISK_MIB} to {MAX_DISK_MIB}");
    match size_mib {
        Some(mib) if (MIN_DISK_MIB..=MAX_DISK_MIB).contains(&mib) => Ok(mib),
        Some(mib) => Err(Error::invalid_config(
            option_names::SIZE_MIB,
            format!("a volume of kind \"disk\" has a size in MiB, {limits}; got {mib}"),
        )),
        None => Err(Error::invalid_config(
            option_names::SIZE_MIB,
            format!("a volume of kind \"disk\" needs its size in MiB, {limits}"),
        )),
    }
}
