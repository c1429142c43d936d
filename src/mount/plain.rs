//! A mount as the plain object that callers see, store and hand back.

use super::config::{self, MountConfig};
use super::field;
use super::host_path;
use super::options::{HostPermissions, StatVirtualization};
use super::provision::Provision;
use super::source::{MountKind, MountSource};
use super::subpath::Subpath;
use crate::error::{Error, Result};
use crate::model::{DiskFormat, DiskSpec, Fields, Input, Labels, VolumeRef, VolumeSpec};
use std::path::Path;

/// Every field, in the object's order.
const FIELDS: [&str; 20] = [
    field::KIND,
    field::BIND,
    field::NAMED,
    field::VOLUME_ID,
    field::SUBPATH,
    field::NAMED_MODE,
    field::NAMED_KIND,
    field::QUOTA_MIB,
    field::LABELS,
    field::TMPFS,
    field::DISK,
    field::FORMAT,
    field::FSTYPE,
    field::READONLY,
    field::NOEXEC,
    field::NOSUID,
    field::NODEV,
    field::SIZE_MIB,
    field::STAT_VIRTUALIZATION,
    field::HOST_PERMISSIONS,
];

impl MountConfig {
    /// Reads the plain object, which may be hand-written or come from JSON: every rule is checked again.
    pub fn from_input(input: &Input) -> Result<Self> {
        let fields = Fields::of("MountConfig", input, &FIELDS)?;
        let kind = fields.choice(field::KIND, &MountKind::NAMES)?.ok_or_else(|| {
            Error::invalid_config(
                field::KIND,
                "missing; build the mount with Mount.bind, Mount.named, Mount.tmpfs or Mount.disk",
            )
        })?;
        refuse_strays(input, &fields, kind)?;
        let source = match kind {
            MountKind::Bind => {
                let path = config::required_text(&fields, field::BIND)?;
                MountSource::Bind { host: host_path::absolute(field::BIND, path, "Mount.bind")? }
            }
            MountKind::Named => {
                let name = config::required_text(&fields, field::NAMED)?;
                MountSource::named(
                    VolumeRef::parse(name, fields.text(field::VOLUME_ID)?)?,
                    Provision::read(&fields, field::NAMED_MODE, field::NAMED_KIND)?,
                    fields.text(field::SUBPATH)?.map(Subpath::parse).transpose()?,
                )?
            }
            MountKind::Tmpfs => MountSource::tmpfs(&fields)?,
            MountKind::Disk => {
                let path = config::required_text(&fields, field::DISK)?;
                MountSource::disk(host_path::absolute(field::DISK, path, "Mount.disk")?, &fields)?
            }
        };
        Self::checked(source, &fields)
    }
}

/// Refuses a field that is set but that mounts of this kind do not have.
fn refuse_strays(input: &Input, fields: &Fields, kind: MountKind) -> Result<()> {
    let Input::Object(entries) = input else { return Ok(()) };
    let is_tmpfs = kind == MountKind::Tmpfs;
    let contradiction = fields.flag(field::TMPFS)?.filter(|given| *given != is_tmpfs).map(|_| field::TMPFS);
    let stray = entries.iter().find(|(name, value)| *value != Input::Absent && !belongs(name, kind));
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
        field::BIND => kind == MountKind::Bind,
        field::NAMED
        | field::VOLUME_ID
        | field::SUBPATH
        | field::NAMED_MODE
        | field::NAMED_KIND
        | field::QUOTA_MIB
        | field::LABELS => kind == MountKind::Named,
        field::DISK | field::FSTYPE => kind == MountKind::Disk,
        field::FORMAT => matches!(kind, MountKind::Named | MountKind::Disk),
        field::SIZE_MIB => matches!(kind, MountKind::Named | MountKind::Tmpfs),
        _ => true,
    }
}

impl From<&MountConfig> for Input {
    /// The plain object, with every field; what is unset is absent.
    fn from(config: &MountConfig) -> Self {
        Input::Object(FIELDS.iter().map(|name| ((*name).to_owned(), value(config, name))).collect())
    }
}

fn value(config: &MountConfig, name: &str) -> Input {
    let flags = config.flags();
    match (name, config.source()) {
        (field::KIND, source) => text(Some(source.kind().as_str())),
        (field::BIND, MountSource::Bind { host }) | (field::DISK, MountSource::Disk { host, .. }) => {
            path(host)
        }
        (field::NAMED, MountSource::Named { volume, .. }) => text(Some(volume.name.as_str())),
        (field::VOLUME_ID, source) => text(source.volume_id().map(|id| id.to_string()).as_deref()),
        (field::SUBPATH, MountSource::Named { subpath, .. }) => text(subpath.as_ref().map(Subpath::as_str)),
        (field::NAMED_MODE, MountSource::Named { provision, .. }) => text(Some(provision.mode().as_str())),
        (field::NAMED_KIND, MountSource::Named { provision, .. }) => {
            text(provision.spec().map(|spec| spec.kind().as_str()))
        }
        (field::QUOTA_MIB, MountSource::Named { provision, .. }) => {
            number(provision.spec().and_then(VolumeSpec::quota_mib))
        }
        (field::LABELS, MountSource::Named { provision, .. }) => {
            provision.spec().map_or(Input::Absent, |spec| labels(spec.labels()))
        }
        (field::TMPFS, source) => Input::Bool(source.kind() == MountKind::Tmpfs),
        (field::FORMAT, MountSource::Named { provision, .. }) => {
            text(disk(provision).and_then(|disk| disk.stated_format).map(DiskFormat::as_str))
        }
        (field::FORMAT, MountSource::Disk { format, .. }) => text(format.map(DiskFormat::as_str)),
        (field::FSTYPE, MountSource::Disk { fstype, .. }) => text(fstype.as_deref()),
        (field::READONLY, _) => Input::Bool(flags.readonly),
        (field::NOEXEC, _) => Input::Bool(flags.noexec),
        (field::NOSUID, _) => Input::Bool(flags.nosuid),
        (field::NODEV, _) => Input::Bool(flags.nodev),
        (field::SIZE_MIB, MountSource::Named { provision, .. }) => {
            number(disk(provision).map(|disk| disk.size_mib))
        }
        (field::SIZE_MIB, MountSource::Tmpfs { size_mib }) => number(*size_mib),
        (field::STAT_VIRTUALIZATION, _) => text(config.stat_virtualization().map(StatVirtualization::as_str)),
        (field::HOST_PERMISSIONS, _) => text(config.host_permissions().map(HostPermissions::as_str)),
        _ => Input::Absent,
    }
}

fn disk(provision: &Provision) -> Option<DiskSpec> {
    provision.spec().and_then(VolumeSpec::disk)
}

fn labels(labels: &Labels) -> Input {
    Input::Object(labels.iter().map(|(key, value)| (key.to_owned(), text(Some(value)))).collect())
}

/// A host path as text; a character that is not UTF-8 shows as U+FFFD.
pub(super) fn path(host: &Path) -> Input {
    Input::Text(host.to_string_lossy().into_owned())
}

pub(super) fn text(text: Option<&str>) -> Input {
    text.map_or(Input::Absent, |text| Input::Text(text.to_owned()))
}

pub(super) fn number(number: Option<u32>) -> Input {
    number.map_or(Input::Absent, |number| Input::Number(number.into()))
}
