//! Converts a mount to and from the plain object that callers store and pass back.

use super::config::{self, MountConfig};
use super::host_path;
use super::option_names;
use super::options::{HostPermissions, StatVirtualization};
use super::provision::Provision;
use super::source::{MountKind, MountSource};
use super::subpath::Subpath;
use crate::error::{Error, Result};
use crate::model::{DiskFormat, DiskSpec, Labels, OptionReader, OptionValue, VolumeRef, VolumeSpec};
use std::path::Path;

/// All fields, in the object's order.
const FIELDS: [&str; 20] = [
    option_names::KIND,
    option_names::BIND,
    option_names::NAMED,
    option_names::VOLUME_ID,
    option_names::SUBPATH,
    option_names::NAMED_MODE,
    option_names::NAMED_KIND,
    option_names::QUOTA_MIB,
    option_names::LABELS,
    option_names::TMPFS,
    option_names::DISK,
    option_names::FORMAT,
    option_names::FSTYPE,
    option_names::READONLY,
    option_names::NOEXEC,
    option_names::NOSUID,
    option_names::NODEV,
    option_names::SIZE_MIB,
    option_names::STAT_VIRTUALIZATION,
    option_names::HOST_PERMISSIONS,
];

impl MountConfig {
    /// Reads the plain object. It may be hand-written or parsed from JSON, so every rule is checked again.
    pub fn from_input(input: &OptionValue) -> Result<Self> {
        let fields = OptionReader::of("MountConfig", input, &FIELDS)?;
        let kind = fields.choice(option_names::KIND, &MountKind::NAMES)?.ok_or_else(|| {
            Error::invalid_config(
                option_names::KIND,
                "missing; build the mount with Mount.bind, Mount.named, Mount.tmpfs or Mount.disk",
            )
        })?;
        reject_unexpected_fields(input, &fields, kind)?;
        let source = match kind {
            MountKind::Bind => {
                let path = config::required_text(&fields, option_names::BIND)?;
                MountSource::Bind { host: host_path::absolute(option_names::BIND, path, "Mount.bind")? }
            }
            MountKind::Named => {
                let name = config::required_text(&fields, option_names::NAMED)?;
                MountSource::named(
                    VolumeRef::parse(name, fields.text(option_names::VOLUME_ID)?)?,
                    Provision::read(&fields, option_names::NAMED_MODE, option_names::NAMED_KIND)?,
                    fields.text(option_names::SUBPATH)?.map(Subpath::parse).transpose()?,
                )?
            }
            MountKind::Tmpfs => MountSource::tmpfs(&fields)?,
            MountKind::Disk => {
                let path = config::required_text(&fields, option_names::DISK)?;
                MountSource::disk(host_path::absolute(option_names::DISK, path, "Mount.disk")?, &fields)?
            }
        };
        Self::checked(source, &fields)
    }
}

/// Fails if a field is set that mounts of this kind do not have.
fn reject_unexpected_fields(input: &OptionValue, fields: &OptionReader, kind: MountKind) -> Result<()> {
    let OptionValue::Object(entries) = input else { return Ok(()) };
    let is_tmpfs = kind == MountKind::Tmpfs;
    let contradiction =
        fields.flag(option_names::TMPFS)?.filter(|given| *given != is_tmpfs).map(|_| option_names::TMPFS);
    let stray = entries.iter().find(|(name, value)| *value != OptionValue::Absent && !belongs(name, kind));
    match contradiction.or(stray.map(|(name, _)| name.as_str())) {
        Some(name) => {
            let kind = kind.as_str();
            Err(Error::invalid_config(name, format!("does not go with \"kind\": {kind:?}; leave it unset")))
        }
        None => Ok(()),
    }
}

fn belongs(name: &str, kind: MountKind) -> bool {
    match name {
        option_names::BIND => kind == MountKind::Bind,
        option_names::NAMED
        | option_names::VOLUME_ID
        | option_names::SUBPATH
        | option_names::NAMED_MODE
        | option_names::NAMED_KIND
        | option_names::QUOTA_MIB
        | option_names::LABELS => kind == MountKind::Named,
        option_names::DISK | option_names::FSTYPE => kind == MountKind::Disk,
        option_names::FORMAT => matches!(kind, MountKind::Named | MountKind::Disk),
        option_names::SIZE_MIB => matches!(kind, MountKind::Named | MountKind::Tmpfs),
        _ => true,
    }
}

impl From<&MountConfig> for OptionValue {
    /// Converts to the plain object with every field. An unset field is absent.
    fn from(config: &MountConfig) -> Self {
        OptionValue::Object(FIELDS.iter().map(|name| ((*name).to_owned(), value(config, name))).collect())
    }
}

fn value(config: &MountConfig, name: &str) -> OptionValue {
    let flags = config.flags();
    match (name, config.source()) {
        (option_names::KIND, source) => text(Some(source.kind().as_str())),
        (option_names::BIND, MountSource::Bind { host })
        | (option_names::DISK, MountSource::Disk { host, .. }) => path(host),
        (option_names::NAMED, MountSource::Named { volume, .. }) => text(Some(volume.name.as_str())),
        (option_names::VOLUME_ID, source) => text(source.volume_id().map(|id| id.to_string()).as_deref()),
        (option_names::SUBPATH, MountSource::Named { subpath, .. }) => {
            text(subpath.as_ref().map(Subpath::as_str))
        }
        (option_names::NAMED_MODE, MountSource::Named { provision, .. }) => {
            text(Some(provision.mode().as_str()))
        }
        (option_names::NAMED_KIND, MountSource::Named { provision, .. }) => {
            text(provision.spec().map(|spec| spec.kind().as_str()))
        }
        (option_names::QUOTA_MIB, MountSource::Named { provision, .. }) => {
            number(provision.spec().and_then(VolumeSpec::quota_mib))
        }
        (option_names::LABELS, MountSource::Named { provision, .. }) => {
            provision.spec().map_or(OptionValue::Absent, |spec| labels(spec.labels()))
        }
        (option_names::TMPFS, source) => OptionValue::Bool(source.kind() == MountKind::Tmpfs),
        (option_names::FORMAT, MountSource::Named { provision, .. }) => {
            text(disk(provision).and_then(|disk| disk.stated_format).map(DiskFormat::as_str))
        }
        (option_names::FORMAT, MountSource::Disk { format, .. }) => text(format.map(DiskFormat::as_str)),
        (option_names::FSTYPE, MountSource::Disk { fstype, .. }) => text(fstype.as_deref()),
        (option_names::READONLY, _) => OptionValue::Bool(flags.readonly),
        (option_names::NOEXEC, _) => OptionValue::Bool(flags.noexec),
        (option_names::NOSUID, _) => OptionValue::Bool(flags.nosuid),
        (option_names::NODEV, _) => OptionValue::Bool(flags.nodev),
        (option_names::SIZE_MIB, MountSource::Named { provision, .. }) => {
            number(disk(provision).map(|disk| disk.size_mib))
        }
        (option_names::SIZE_MIB, MountSource::Tmpfs { size_mib }) => number(*size_mib),
        (option_names::STAT_VIRTUALIZATION, _) => {
            text(config.stat_virtualization().map(StatVirtualization::as_str))
        }
        (option_names::HOST_PERMISSIONS, _) => text(config.host_permissions().map(HostPermissions::as_str)),
        _ => OptionValue::Absent,
    }
}

fn disk(provision: &Provision) -> Option<DiskSpec> {
    provision.spec().and_then(VolumeSpec::disk)
}

fn labels(labels: &Labels) -> OptionValue {
    OptionValue::Object(labels.iter().map(|(key, value)| (key.to_owned(), text(Some(value)))).collect())
}

/// Converts a host path to text. Invalid UTF-8 becomes U+FFFD.
pub(super) fn path(host: &Path) -> OptionValue {
    OptionValue::Text(host.to_string_lossy().into_owned())
}

pub(super) fn text(text: Option<&str>) -> OptionValue {
    text.map_or(OptionValue::Absent, |text| OptionValue::Text(text.to_owned()))
}

pub(super) fn number(number: Option<u32>) -> OptionValue {
    number.map_or(OptionValue::Absent, |number| OptionValue::Number(number.into()))
}
