//! Building mounts, beyond the shared cases.

use super::{CWD, assert_invalid, field_names, input, plain};
use sandbox_volumes::model::{DiskFormat, OptionValue, VolumeKind};
use sandbox_volumes::mount::{
    HostPermissions, MountConfig, MountFlags, MountKind, MountSource, Provision, ProvisionMode,
    StatVirtualization,
};
use sandbox_volumes::wire::{MountConfigJson, to_json};
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn case_45_rejects_sizes_and_quotas_that_are_no_32_bit_integers() {
    let too_large = f64::from(u32::MAX) + 1.0;
    for number in [f64::NAN, -1.0, 1.5, too_large, too_large + 512.0, f64::INFINITY] {
        let object = |entries: &[(&str, OptionValue)]| {
            OptionValue::Object(entries.iter().map(|(k, v)| ((*k).into(), v.clone())).collect())
        };
        let text = |text: &str| OptionValue::Text(text.to_owned());
        let name = text("my-data");
        for (kind, field) in [("disk", "sizeMib"), ("dir", "quotaMib")] {
            let bad = OptionValue::Number(number);
            let options = object(&[("mode", text("create")), ("kind", text(kind)), (field, bad.clone())]);
            let built = MountConfig::named_with(&name, &OptionValue::Absent, &options);
            assert_invalid(&built.unwrap_err(), field, "below 2^32");
            let plain = object(&[("kind", text("named")), ("named", name.clone()), (field, bad)]);
            assert_invalid(&MountConfig::from_input(&plain).unwrap_err(), field, "below 2^32");
        }
        let built = MountConfig::tmpfs(&object(&[("sizeMib", OptionValue::Number(number))]));
        assert_invalid(&built.unwrap_err(), "sizeMib", "below 2^32");
    }
}

#[test]
fn rejects_every_option_of_a_wrong_type_by_its_name() {
    let wrong = |name: &str| OptionValue::Object(vec![(name.to_owned(), OptionValue::Other("a function"))]);
    let (cwd, name) = (Path::new(CWD), OptionValue::Text("x".to_owned()));
    let flags = ["readonly", "noexec", "nosuid", "nodev", "statVirtualization", "hostPermissions"];
    for option in flags {
        for built in [
            MountConfig::bind(&name, &wrong(option), cwd),
            MountConfig::named(&name, &wrong(option)),
            MountConfig::tmpfs(&wrong(option)),
            MountConfig::disk(&name, &wrong(option), cwd),
        ] {
            assert_invalid(&built.unwrap_err(), option, "got a function");
        }
    }
    for option in ["mode", "kind", "sizeMib", "quotaMib", "labels"] {
        let built = MountConfig::named_with(&name, &OptionValue::Absent, &wrong(option));
        assert_invalid(&built.unwrap_err(), option, "got a function");
    }
    assert_invalid(&MountConfig::tmpfs(&wrong("sizeMib")).unwrap_err(), "sizeMib", "got a function");
    for option in ["format", "fstype"] {
        let built = MountConfig::disk(&name, &wrong(option), cwd);
        assert_invalid(&built.unwrap_err(), option, "got a function");
    }
}

#[test]
fn rejects_a_field_that_belongs_to_another_kind() {
    let fields = [
        ("bind", json!("/srv"), &["bind"][..]),
        ("named", json!("x"), &["named"]),
        ("namedMode", json!("create"), &["named"]),
        ("namedKind", json!("dir"), &["named"]),
        ("quotaMib", json!(1), &["named"]),
        ("labels", json!({}), &["named"]),
        ("disk", json!("/srv/d"), &["disk"]),
        ("format", json!("raw"), &["named", "disk"]),
        ("fstype", json!("ext4"), &["disk"]),
        ("sizeMib", json!(1), &["named", "tmpfs"]),
    ];
    for kind in ["bind", "named", "tmpfs", "disk"] {
        for (field, value, owners) in &fields {
            if owners.contains(&kind) {
                continue;
            }
            let built = MountConfig::from_input(&input(&json!({ "kind": kind, *field: value })));
            assert_invalid(&built.unwrap_err(), field, &format!("does not go with \"kind\": \"{kind}\""));
        }
    }
}

/// Every kind of source under every combination of flags and policies that goes with it.
fn every_config() -> Vec<MountConfig> {
    let sources = [
        json!({ "kind": "bind", "bind": "/srv/data" }),
        json!({ "kind": "named", "named": "x" }),
        json!({ "kind": "named", "named": "x", "namedMode": "create", "labels": { "a": "1", "b": "" } }),
        json!({ "kind": "named", "named": "x", "namedMode": "ensure-exists", "quotaMib": 7 }),
        json!({ "kind": "named", "named": "x", "namedMode": "create", "namedKind": "disk", "sizeMib": 16 << 20 }),
        json!({ "kind": "tmpfs" }),
        json!({ "kind": "tmpfs", "sizeMib": 1 }),
        json!({ "kind": "disk", "disk": "/srv/disk" }),
        json!({ "kind": "disk", "disk": "/srv/disk", "format": "raw" }),
        json!({ "kind": "disk", "disk": "/srv/disk", "format": "vmdk", "fstype": "ext4" }),
    ];
    let mut configs = Vec::new();
    for source in sources {
        for bits in 0..16 {
            for stat_virtualization in [None, Some("strict"), Some("relaxed"), Some("off")] {
                for host_permissions in [None, Some("private"), Some("mirror")] {
                    let mut object = source.clone();
                    for (bit, flag) in ["readonly", "noexec", "nosuid", "nodev"].iter().enumerate() {
                        object[flag] = json!(bits >> bit & 1 == 1);
                    }
                    object["statVirtualization"] = json!(stat_virtualization);
                    object["hostPermissions"] = json!(host_permissions);
                    configs.extend(MountConfig::from_input(&input(&object)));
                }
            }
        }
    }
    configs
}

#[test]
fn every_mount_comes_back_from_its_plain_object_and_from_json() {
    let configs = every_config();
    // Four sources go with 11 pairs of policies, six with none but the unset one.
    assert_eq!(configs.len(), 16 * (4 * 11 + 6));
    for config in configs {
        assert_eq!(MountConfig::from_input(&plain(&config).into()).unwrap(), config);
        let json = to_json(&MountConfigJson::from(&config)).unwrap();
        let parsed: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(MountConfig::from_input(&parsed.into()).unwrap(), config);
    }
}

#[test]
fn the_plain_object_has_every_field_in_the_documented_order() {
    let config = MountConfig::tmpfs(&OptionValue::Absent).unwrap();
    let json = to_json(&MountConfigJson::from(&config)).unwrap();
    let documented = "kind bind named volumeId subpath namedMode namedKind quotaMib labels tmpfs disk format fstype \
                      readonly noexec nosuid nodev sizeMib statVirtualization hostPermissions";
    assert_eq!(field_names(&json).join(" "), documented);
}

#[test]
fn a_built_mount_holds_what_was_asked_for() {
    let options =
        input(&json!({ "noexec": true, "statVirtualization": "relaxed", "hostPermissions": "mirror" }));
    let named = input(&json!({ "mode": "ensure-exists", "quotaMib": 64, "labels": { "env": "prod" } }));
    let config = MountConfig::named_with(&OptionValue::Text("my-data".to_owned()), &options, &named).unwrap();
    let MountSource::Named { volume, provision, .. } = config.source() else { panic!() };
    assert_eq!((volume.name.as_str(), volume.id), ("my-data", None));
    assert_eq!(provision.mode(), ProvisionMode::EnsureExists);
    let Provision::EnsureExists(spec) = provision else { panic!() };
    assert_eq!((spec.kind(), spec.quota_mib()), (VolumeKind::Dir, Some(64)));
    assert_eq!(spec.labels().iter().collect::<Vec<_>>(), [("env", "prod")]);
    assert_eq!(config.flags(), MountFlags { noexec: true, ..MountFlags::default() });
    assert_eq!(config.stat_virtualization(), Some(StatVirtualization::Relaxed));
    assert_eq!(config.host_permissions(), Some(HostPermissions::Mirror));
}

#[test]
fn every_named_value_has_its_own_name() {
    assert!(MountKind::NAMES.iter().all(|(name, kind)| kind.as_str() == *name));
    assert!(ProvisionMode::NAMES.iter().all(|(name, mode)| mode.as_str() == *name));
    assert!(StatVirtualization::NAMES.iter().all(|(name, policy)| policy.as_str() == *name));
    assert!(HostPermissions::NAMES.iter().all(|(name, policy)| policy.as_str() == *name));
    assert!(DiskFormat::NAMES.iter().all(|(name, format)| format.as_str() == *name));
}

#[cfg(unix)]
#[test]
fn rejects_a_relative_path_below_a_working_directory_that_is_not_utf_8() {
    use std::os::unix::ffi::OsStrExt;
    let cwd = Path::new(std::ffi::OsStr::from_bytes(b"/caf\xe9"));
    let bind = |path: &str| MountConfig::bind(&OptionValue::Text(path.to_owned()), &OptionValue::Absent, cwd);
    assert_invalid(&bind("data").unwrap_err(), "hostPath", "\"data\" is relative to a working directory");
    assert!(bind("/srv/data").is_ok());
}
