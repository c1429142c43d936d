//! Volumes.

use crate::model::Labels;
use crate::store::{CreatedVolume, QuotaEnforcement, VolumeInfo};
use serde::{Serialize, Serializer};
use std::borrow::Cow;

/// A volume with its usage: a `VolumeHandle` in JavaScript.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeJson<'v> {
    /// The permanent id.
    pub id: String,
    /// The name.
    pub name: &'v str,
    /// The data directory on the host.
    pub path: Cow<'v, str>,
    /// `"dir"` or `"disk"`.
    pub kind: &'static str,
    /// A directory's quota.
    pub quota_mib: Option<u32>,
    /// What enforces the quota: `"kernel"` or `"host"`.
    pub quota_enforcement: Option<&'static str>,
    /// Bytes allocated on the host.
    pub used_bytes: u64,
    /// A disk's virtual size.
    pub capacity_bytes: Option<u64>,
    /// A disk's image format.
    pub disk_format: Option<&'static str>,
    /// The file system that a disk was created with.
    pub disk_fstype: Option<&'v str>,
    /// The labels.
    pub labels: LabelsJson<'v>,
    /// The creation time in milliseconds since 1970.
    pub created_at_ms: Option<i64>,
}

impl<'v> From<&'v VolumeInfo> for VolumeJson<'v> {
    fn from(info: &'v VolumeInfo) -> Self {
        let record = &info.record;
        let disk = record.storage.disk();
        VolumeJson {
            id: record.identity.to_string(),
            name: record.name.as_str(),
            path: info.path.to_string_lossy(),
            kind: record.storage.kind().as_str(),
            quota_mib: record.storage.quota_mib(),
            quota_enforcement: info.quota_enforcement.map(QuotaEnforcement::as_str),
            used_bytes: info.used_bytes,
            capacity_bytes: disk.and_then(|disk| disk.capacity_bytes),
            disk_format: disk.map(|disk| disk.format.as_str()),
            disk_fstype: disk.and_then(|disk| disk.fstype.as_deref()),
            labels: LabelsJson(&record.labels),
            created_at_ms: record.created_at_ms,
        }
    }
}

/// A volume that was just created.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreatedVolumeJson<'v> {
    /// The permanent id.
    pub id: String,
    /// The data directory on the host.
    pub path: Cow<'v, str>,
}

impl<'v> From<&'v CreatedVolume> for CreatedVolumeJson<'v> {
    fn from(created: &'v CreatedVolume) -> Self {
        CreatedVolumeJson { id: created.id.to_string(), path: created.path.to_string_lossy() }
    }
}

/// Labels as an object.
#[derive(Clone, Copy, Debug)]
pub struct LabelsJson<'v>(pub &'v Labels);

impl Serialize for LabelsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DiskFormat, VolumeDisk, VolumeId, VolumeName, VolumeRecord, VolumeStorage};
    use crate::wire::to_json;
    use std::path::PathBuf;

    fn info(storage: VolumeStorage, labels: &[(&str, &str)]) -> VolumeInfo {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        VolumeInfo {
            record: VolumeRecord {
                id: 1,
                identity: VolumeId::parse(&"0".repeat(32)).unwrap(),
                name: VolumeName::parse("v").unwrap(),
                storage,
                labels: Labels::new(labels).unwrap(),
                created_at_ms: None,
            },
            path: PathBuf::from("/h/volumes/v"),
            used_bytes: 4096,
            quota_enforcement: None,
        }
    }

    #[test]
    fn a_volume_has_every_field_in_the_order_of_a_handle() {
        let directory = VolumeStorage::Directory { quota_mib: Some(64) };
        let info = VolumeInfo {
            quota_enforcement: Some(QuotaEnforcement::Host),
            ..info(directory, &[("__proto__", "\0"), ("env", "\"")])
        };
        assert_eq!(
            to_json(&VolumeJson::from(&info)).unwrap(),
            "{\"id\":\"00000000000000000000000000000000\",\"name\":\"v\",\"path\":\"/h/volumes/v\",\"kind\":\"dir\",\
             \"quotaMib\":64,\"quotaEnforcement\":\"host\",\"usedBytes\":4096,\"capacityBytes\":null,\"diskFormat\":null,\
             \"diskFstype\":null,\"labels\":{\"__proto__\":\"\\u0000\",\"env\":\"\\\"\"},\"createdAtMs\":null}"
        );
    }

    #[test]
    fn a_disk_has_no_quota() {
        let disk = VolumeDisk { format: DiskFormat::Qcow2, capacity_bytes: None, fstype: None };
        let json = serde_json::to_value(VolumeJson::from(&info(VolumeStorage::Disk(disk), &[]))).unwrap();
        assert_eq!((&json["kind"], &json["diskFormat"]), (&"disk".into(), &"qcow2".into()));
        assert!(
            json["quotaMib"].is_null() && json["capacityBytes"].is_null() && json["diskFstype"].is_null()
        );
    }
}
