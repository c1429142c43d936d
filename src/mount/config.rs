//! One mount as a caller requested it, validated when it is built.

use super::host_path;
use super::option_names;
use super::options::{self, HostPermissions, MountFlags, StatVirtualization};
use super::provision::Provision;
use super::source::MountSource;
use super::subpath::Subpath;
use crate::error::{Error, Result};
use crate::model::{OptionReader, OptionValue, VolumeId, VolumeName, VolumeRef};
use std::path::Path;

const MOUNT_OPTIONS: [&str; 6] = [
    option_names::READONLY,
    option_names::NOEXEC,
    option_names::NOSUID,
    option_names::NODEV,
    option_names::STAT_VIRTUALIZATION,
    option_names::HOST_PERMISSIONS,
];
const NAMED_VOLUME_OPTIONS: [&str; 6] = [
    option_names::MODE,
    option_names::KIND,
    option_names::SIZE_MIB,
    option_names::FORMAT,
    option_names::QUOTA_MIB,
    option_names::LABELS,
];
const NAMED_OPTIONS: [&str; 1] = [option_names::SUBPATH];
const TMPFS_OPTIONS: [&str; 1] = [option_names::SIZE_MIB];
const DISK_OPTIONS: [&str; 2] = [option_names::FORMAT, option_names::FSTYPE];

/// A mount with a valid combination of options. [`MountConfig::from_input`] reads it from a plain object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountConfig {
    source: MountSource,
    flags: MountFlags,
    stat_virtualization: Option<StatVirtualization>,
    host_permissions: Option<HostPermissions>,
}

impl MountConfig {
    /// Builds `Mount.bind(hostPath, MountOptions?)`: a file or directory of the host. A relative path is resolved against
    /// `cwd` now.
    pub fn bind(host_path: &OptionValue, options: &OptionValue, cwd: &Path) -> Result<Self> {
        let host = host_path::resolve(
            option_names::HOST_PATH,
            host_path.required_text(option_names::HOST_PATH)?,
            cwd,
        )?;
        let fields = OptionReader::of("MountOptions", options, &MOUNT_OPTIONS)?;
        Self::checked(MountSource::Bind { host }, &fields)
    }

    /// Builds `Mount.named(name, MountOptions?)`: an existing volume.
    pub fn named(name: &OptionValue, options: &OptionValue) -> Result<Self> {
        Self::named_with(name, options, &OptionValue::Absent)
    }

    /// Builds `Mount.namedWith(name, MountOptions, NamedVolumeOptions)`: a volume that the mount may create.
    pub fn named_with(
        name: &OptionValue,
        options: &OptionValue,
        named_options: &OptionValue,
    ) -> Result<Self> {
        let name = VolumeName::parse(name.required_text(option_names::NAME)?)?;
        let fields =
            OptionReader::of("MountOptions", options, &[&NAMED_OPTIONS[..], &MOUNT_OPTIONS].concat())?;
        let named_fields = OptionReader::of("NamedVolumeOptions", named_options, &NAMED_VOLUME_OPTIONS)?;
        let provision = Provision::read(&named_fields, option_names::MODE, option_names::KIND)?;
        let subpath = fields.text(option_names::SUBPATH)?.map(Subpath::parse).transpose()?;
        Self::checked(MountSource::named(VolumeRef::from(&name), provision, subpath)?, &fields)
    }

    /// Restricts the mount to the volume of its name with that ID. Fails if the mount may create a volume.
    pub fn of_volume(mut self, id: VolumeId) -> Result<Self> {
        if let MountSource::Named { volume, provision, subpath } = self.source {
            self.source = MountSource::named(VolumeRef::exactly(&volume.name, id), provision, subpath)?;
        }
        Ok(self)
    }

    /// Builds `Mount.tmpfs(TmpfsOptions?)`: memory.
    pub fn tmpfs(options: &OptionValue) -> Result<Self> {
        let fields =
            OptionReader::of("TmpfsOptions", options, &[&TMPFS_OPTIONS[..], &MOUNT_OPTIONS].concat())?;
        Self::checked(MountSource::tmpfs(&fields)?, &fields)
    }

    /// Builds `Mount.disk(hostPath, DiskOptions?)`: a disk image of the host. A relative path is resolved against `cwd` now.
    pub fn disk(host_path: &OptionValue, options: &OptionValue, cwd: &Path) -> Result<Self> {
        let host = host_path::resolve(
            option_names::HOST_PATH,
            host_path.required_text(option_names::HOST_PATH)?,
            cwd,
        )?;
        let fields = OptionReader::of("DiskOptions", options, &[&DISK_OPTIONS[..], &MOUNT_OPTIONS].concat())?;
        Self::checked(MountSource::disk(host, &fields)?, &fields)
    }

    /// Combines a source with the flags and policies of `fields`. Fails if they contradict each other.
    pub(super) fn checked(source: MountSource, fields: &OptionReader) -> Result<Self> {
        let flags = MountFlags::read(fields)?;
        let stat_virtualization =
            fields.choice(option_names::STAT_VIRTUALIZATION, &StatVirtualization::NAMES)?;
        let host_permissions = fields.choice(option_names::HOST_PERMISSIONS, &HostPermissions::NAMES)?;
        let config = MountConfig { source, flags, stat_virtualization, host_permissions };
        if !config.source.may_be_directory() {
            config.refuse_virtiofs_policies()?;
            config.refuse_subpath()?;
        }
        if stat_virtualization == Some(StatVirtualization::Off)
            && host_permissions == Some(HostPermissions::Mirror)
        {
            return Err(Error::invalid_config(
                option_names::HOST_PERMISSIONS,
                "\"mirror\" does not go with \"statVirtualization\": \"off\"; choose \"strict\" or \"relaxed\" \
                 there, or leave this unset",
            ));
        }
        Ok(config)
    }

    /// Fails if a policy of virtiofs is set, for a mount that is not a directory.
    pub fn refuse_virtiofs_policies(&self) -> Result<()> {
        match options::virtiofs_policy(self.stat_virtualization, self.host_permissions) {
            Some(policy) => Err(Error::invalid_config(
                policy,
                "virtiofs-only: it goes with bind mounts and directory volumes, not with tmpfs or disks; \
                 leave it unset",
            )),
            None => Ok(()),
        }
    }

    /// Fails if a subpath is set, for a volume that is not a directory.
    pub fn refuse_subpath(&self) -> Result<()> {
        match &self.source {
            MountSource::Named { subpath: Some(_), .. } => Err(Error::invalid_config(
                option_names::SUBPATH,
                "goes with directory volumes only, for what is on a disk is reached in its guest; leave it unset",
            )),
            _ => Ok(()),
        }
    }

    /// Returns the source.
    pub fn source(&self) -> &MountSource {
        &self.source
    }

    /// Returns the volume that the mount may create, or `None`.
    pub fn may_create(&self) -> Option<&VolumeName> {
        match &self.source {
            MountSource::Named { volume, provision, .. } => provision.spec().map(|_| &volume.name),
            _ => None,
        }
    }

    /// Returns the flags.
    pub fn flags(&self) -> MountFlags {
        self.flags
    }

    /// Returns how virtiofs shows owners and modes. `None` means the runtime's default.
    pub fn stat_virtualization(&self) -> Option<StatVirtualization> {
        self.stat_virtualization
    }

    /// Returns whether the guest's permission changes reach the host. `None` means the runtime's default.
    pub fn host_permissions(&self) -> Option<HostPermissions> {
        self.host_permissions
    }
}

/// Reads a string. Fails if it is missing.
pub(super) fn required_text<'a>(fields: &OptionReader<'a>, name: &str) -> Result<&'a str> {
    fields.text(name)?.ok_or_else(|| Error::invalid_config(name, "expected a string, got nothing"))
}
