//! Mounts: as a caller requested them, and as an attachment resolved them.

use super::LabelsJson;
use crate::model::{DiskFormat, VolumeSpec};
use crate::mount::{
    HostPermissions, MountConfig, MountKind, MountSource, ResolvedMount, ResolvedSource, StatVirtualization,
};
use serde::Serialize;
use std::borrow::Cow;

/// A requested mount. [`MountConfig::from_input`] reads it back.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MountConfigJson<'m> {
    /// `"bind"`, `"named"`, `"tmpfs"` or `"disk"`.
    pub kind: &'static str,
    /// The host path of a bind mount.
    pub bind: Option<Cow<'m, str>>,
    /// The volume's name.
    pub named: Option<&'m str>,
    /// The volume's id, if only the volume with that id is meant.
    pub volume_id: Option<String>,
    /// The mounted part of the volume.
    pub subpath: Option<&'m str>,
    /// Whether the mount may create the volume.
    pub named_mode: Option<&'static str>,
    /// The kind of a created volume.
    pub named_kind: Option<&'static str>,
    /// The quota of a created volume.
    pub quota_mib: Option<u32>,
    /// The labels of a created volume.
    pub labels: Option<LabelsJson<'m>>,
    /// True for memory.
    pub tmpfs: bool,
    /// The host path of a disk image.
    pub disk: Option<Cow<'m, str>>,
    /// The format of a disk image, or of a created disk volume.
    pub format: Option<&'static str>,
    /// The file system in a disk image.
    pub fstype: Option<&'m str>,
    /// See [`MountFlags`](crate::mount::MountFlags).
    pub readonly: bool,
    /// See [`MountFlags`](crate::mount::MountFlags).
    pub noexec: bool,
    /// See [`MountFlags`](crate::mount::MountFlags).
    pub nosuid: bool,
    /// See [`MountFlags`](crate::mount::MountFlags).
    pub nodev: bool,
    /// The limit of memory, or the size of a created disk volume.
    pub size_mib: Option<u32>,
    /// How virtiofs shows owners and modes.
    pub stat_virtualization: Option<&'static str>,
    /// Whether permissions set in the guest reach the host.
    pub host_permissions: Option<&'static str>,
}

impl<'m> From<&'m MountConfig> for MountConfigJson<'m> {
    fn from(config: &'m MountConfig) -> Self {
        let (kind, flags) = (config.source().kind(), config.flags());
        let common = MountConfigJson {
            kind: kind.as_str(),
            tmpfs: kind == MountKind::Tmpfs,
            readonly: flags.readonly,
            noexec: flags.noexec,
            nosuid: flags.nosuid,
            nodev: flags.nodev,
            stat_virtualization: config.stat_virtualization().map(StatVirtualization::as_str),
            host_permissions: config.host_permissions().map(HostPermissions::as_str),
            ..MountConfigJson::default()
        };
        match config.source() {
            MountSource::Bind { host } => MountConfigJson { bind: Some(host.to_string_lossy()), ..common },
            MountSource::Named { volume, provision, subpath } => {
                let spec = provision.spec();
                let disk = spec.and_then(VolumeSpec::disk);
                MountConfigJson {
                    named: Some(volume.name.as_str()),
                    volume_id: volume.id.map(|id| id.to_string()),
                    subpath: subpath.as_ref().map(|subpath| subpath.as_str()),
                    named_mode: Some(provision.mode().as_str()),
                    named_kind: spec.map(|spec| spec.kind().as_str()),
                    quota_mib: spec.and_then(VolumeSpec::quota_mib),
                    labels: spec.map(|spec| LabelsJson(spec.labels())),
                    format: disk.and_then(|disk| disk.stated_format).map(DiskFormat::as_str),
                    size_mib: disk.map(|disk| disk.size_mib),
                    ..common
                }
            }
            MountSource::Tmpfs { size_mib } => MountConfigJson { size_mib: *size_mib, ..common },
            MountSource::Disk { host, format, fstype } => MountConfigJson {
                disk: Some(host.to_string_lossy()),
                format: format.map(DiskFormat::as_str),
                fstype: fstype.as_deref(),
                ..common
            },
        }
    }
}

/// A mount of an attachment: an entry of `attachment.mounts` in JavaScript.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedMountJson<'m> {
    /// The path in the guest.
    pub guest_path: &'m str,
    /// The kind that the caller requested.
    pub kind: &'static str,
    /// The host path that the guest sees.
    pub host_path: Option<Cow<'m, str>>,
    /// The name of the volume.
    pub volume: Option<&'m str>,
    /// The mounted part of the volume.
    pub subpath: Option<&'m str>,
    /// The format of a disk.
    pub format: Option<&'static str>,
    /// The file system in a disk.
    pub fstype: Option<&'m str>,
    /// See [`MountFlags`](crate::mount::MountFlags).
    pub readonly: bool,
    /// See [`MountFlags`](crate::mount::MountFlags).
    pub noexec: bool,
    /// See [`MountFlags`](crate::mount::MountFlags).
    pub nosuid: bool,
    /// See [`MountFlags`](crate::mount::MountFlags).
    pub nodev: bool,
    /// The limit of memory.
    pub size_mib: Option<u32>,
    /// How virtiofs shows owners and modes.
    pub stat_virtualization: Option<&'static str>,
    /// Whether permissions set in the guest reach the host.
    pub host_permissions: Option<&'static str>,
}

impl<'m> From<&'m ResolvedMount> for ResolvedMountJson<'m> {
    fn from(mount: &'m ResolvedMount) -> Self {
        let (volume, disk, size_mib) = match &mount.origin {
            ResolvedSource::Bind { .. } => (None, None, None),
            ResolvedSource::Named { volume, .. } => (Some(volume), None, None),
            ResolvedSource::Tmpfs { size_mib } => (None, None, *size_mib),
            ResolvedSource::Disk { volume, format, fstype, .. } => {
                (volume.as_ref(), Some((format, fstype)), None)
            }
        };
        ResolvedMountJson {
            guest_path: mount.guest_path.as_str(),
            kind: mount.kind().as_str(),
            host_path: mount.host().map(|host| host.to_string_lossy()),
            volume: volume.map(|volume| volume.as_str()),
            subpath: mount.part().map(|part| part.subpath.as_str()),
            format: disk.map(|(format, _)| format.as_str()),
            fstype: disk.and_then(|(_, fstype)| fstype.as_deref()),
            readonly: mount.flags.readonly,
            noexec: mount.flags.noexec,
            nosuid: mount.flags.nosuid,
            nodev: mount.flags.nodev,
            size_mib,
            stat_virtualization: mount.stat_virtualization.map(StatVirtualization::as_str),
            host_permissions: mount.host_permissions.map(HostPermissions::as_str),
        }
    }
}
