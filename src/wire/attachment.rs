//! Attachments of a home.

use crate::store::{AttachedImage, AttachedVolume, AttachmentInfo};
use serde::Serialize;

/// An attachment, of any process.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentJson<'a> {
    /// The time of the attachment in milliseconds since 1970.
    pub created_at_ms: i64,
    /// The mounted disk images of the host.
    pub disks: Vec<AttachedDiskJson<'a>>,
    /// The id.
    pub id: String,
    /// Whether the owner runs; see [`owner_name`].
    pub owner: &'static str,
    /// The process that owns the attachment.
    pub pid: u32,
    /// The name of the sandbox.
    pub sandbox: &'a str,
    /// The mounted volumes.
    pub volumes: Vec<AttachedVolumeJson<'a>>,
}

impl<'a> From<&'a AttachmentInfo> for AttachmentJson<'a> {
    fn from(info: &'a AttachmentInfo) -> Self {
        let record = &info.record;
        AttachmentJson {
            created_at_ms: record.created_at_ms,
            disks: record.images.iter().map(AttachedDiskJson::from).collect(),
            id: record.id.to_string(),
            owner: owner_name(info.running),
            pid: record.owner.pid,
            sandbox: &record.sandbox,
            volumes: record.volumes.iter().map(AttachedVolumeJson::from).collect(),
        }
    }
}

/// One mount of a volume.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachedVolumeJson<'a> {
    /// The path at which the guest sees it.
    pub guest_path: Option<&'a str>,
    /// The name of the volume.
    pub name: &'a str,
    /// True if the mount is read-only.
    pub readonly: bool,
    /// The mounted part of the volume.
    pub subpath: Option<&'a str>,
}

impl<'a> From<&'a AttachedVolume> for AttachedVolumeJson<'a> {
    fn from(volume: &'a AttachedVolume) -> Self {
        AttachedVolumeJson {
            guest_path: volume.guest_path.as_deref(),
            name: &volume.name,
            readonly: volume.readonly,
            subpath: volume.subpath.as_deref(),
        }
    }
}

/// One mount of a disk image of the host.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachedDiskJson<'a> {
    /// The path at which the guest sees it.
    pub guest_path: Option<&'a str>,
    /// The path on the host.
    pub host_path: &'a str,
    /// True if the mount is read-only.
    pub readonly: bool,
}

impl<'a> From<&'a AttachedImage> for AttachedDiskJson<'a> {
    fn from(image: &'a AttachedImage) -> Self {
        AttachedDiskJson {
            guest_path: image.guest_path.as_deref(),
            host_path: &image.path,
            readonly: image.readonly,
        }
    }
}

/// Returns the value of `owner`: `"running"`, or `"unknown"` if the state of the process is unknown.
pub fn owner_name(running: bool) -> &'static str {
    match running {
        true => "running",
        false => "unknown",
    }
}
