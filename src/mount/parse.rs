//! Reads a mount from the plain object that callers store and pass back. `wire` writes that object.

use super::config::{self, MountConfig};
use super::host_path;
use super::option_names;
use super::provision::Provision;
use super::source::{MountKind, MountSource};
use super::subpath::Subpath;
use crate::error::{Error, Result};
use crate::model::{OptionReader, OptionValue, VolumeRef};

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
