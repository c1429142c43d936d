//! What a caller wants a new volume to be.

use super::{Fields, Input, Labels, field, name_of};
use crate::error::{Error, Result};

const OPTIONS: [&str; 4] = [field::KIND, field::SIZE_MIB, field::QUOTA_MIB, field::LABELS];

/// How a volume stores its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeKind {
    /// A directory on the host.
    Dir,
    /// A disk image that a guest mounts.
    Disk,
}

impl VolumeKind {
    /// The names that callers, the catalog and JavaScript use.
    pub const NAMES: [(&'static str, VolumeKind); 2] = [("dir", VolumeKind::Dir), ("disk", VolumeKind::Disk)];

    /// This kind's name.
    pub fn as_str(self) -> &'static str {
        name_of(&Self::NAMES, self)
    }

    /// The kind of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

/// Kind, sizes and labels that have been checked against each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    kind: VolumeKind,
    size_mib: Option<u32>,
    quota_mib: Option<u32>,
    labels: Labels,
}

impl VolumeSpec {
    /// The kind and sizes as options, checked: `sizeMib` belongs to disks, `quotaMib` to directories (where
    /// 0 means unlimited).
    pub fn new(
        kind: VolumeKind,
        size_mib: Option<u32>,
        quota_mib: Option<u32>,
        labels: Labels,
    ) -> Result<Self> {
        match kind {
            VolumeKind::Dir if size_mib.is_some() => Err(Error::invalid_config(
                field::SIZE_MIB,
                "only a volume of kind \"disk\" has a size; limit a directory with \"quotaMib\"",
            )),
            VolumeKind::Disk if quota_mib.is_some() => Err(Error::invalid_config(
                field::QUOTA_MIB,
                "only a volume of kind \"dir\" has a quota; a disk is limited by \"sizeMib\"",
            )),
            VolumeKind::Disk if size_mib.unwrap_or(0) == 0 => Err(Error::invalid_config(
                field::SIZE_MIB,
                "a volume of kind \"disk\" needs its size in MiB, at least 1",
            )),
            _ => Ok(VolumeSpec { kind, size_mib, quota_mib: quota_mib.filter(|mib| *mib > 0), labels }),
        }
    }

    /// Merges options left to right: later values win, labels merge key by key. The kind defaults to `dir`.
    pub fn from_options(options: &[Input]) -> Result<Self> {
        let (mut kind, mut size_mib, mut quota_mib) = (None, None, None);
        let mut labels = Labels::default();
        for option in options {
            let fields = Fields::of("VolumeConfig", option, &OPTIONS)?;
            kind = fields.choice(field::KIND, &VolumeKind::NAMES)?.or(kind);
            size_mib = fields.u32(field::SIZE_MIB)?.or(size_mib);
            quota_mib = fields.u32(field::QUOTA_MIB)?.or(quota_mib);
            if let Some(later) = fields.labels(field::LABELS)? {
                labels = labels.merged_with(later)?;
            }
        }
        VolumeSpec::new(kind.unwrap_or(VolumeKind::Dir), size_mib, quota_mib, labels)
    }

    /// Directory or disk.
    pub fn kind(&self) -> VolumeKind {
        self.kind
    }

    /// A disk's size in MiB; always there for a disk.
    pub fn size_mib(&self) -> Option<u32> {
        self.size_mib
    }

    /// A directory's quota in MiB; none is unlimited.
    pub fn quota_mib(&self) -> Option<u32> {
        self.quota_mib
    }

    /// The labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }
}
