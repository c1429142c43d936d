//! Arguments for microsandbox and its SDK, beyond the shared cases: disks, files, volumes by their names.

use super::{assert_invalid, input, mount, values};
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{DiskFormat, VolumeKind, VolumeName};
use sandbox_volumes::mount::runtime::microsandbox::{ByName, KnownVolume, MicrosandboxOptions, render};
use sandbox_volumes::mount::runtime::microsandbox_sdk;
use sandbox_volumes::mount::{MountFlags, ResolvedMount, ResolvedSource};
use serde_json::{Value, json};
use std::path::PathBuf;

fn disk(volume: Option<&str>, open: &str, format: DiskFormat, fstype: Option<&str>) -> ResolvedMount {
    mount(ResolvedSource::Disk {
        volume: volume.map(|name| VolumeName::parse(name).unwrap()),
        host: PathBuf::from("/shown/elsewhere"),
        open: PathBuf::from(open),
        format,
        fstype: fstype.map(str::to_owned),
    })
}

fn options(options: Value) -> Result<MicrosandboxOptions, Error> {
    MicrosandboxOptions::from_input(&input(&options))
}

/// A catalog of microsandbox that knows a directory `my-data` and a disk `my-disk`.
pub fn look_up(name: &VolumeName) -> Result<ByName, Error> {
    Ok(match name.as_str() {
        "my-data" => ByName::Known(KnownVolume { kind: VolumeKind::Dir, capacity_bytes: None }),
        "my-disk" => ByName::Known(KnownVolume { kind: VolumeKind::Disk, capacity_bytes: Some(512 << 20) }),
        _ => ByName::Unknown("nothing is known of it".to_owned()),
    })
}

/// The arguments, and the calls of the SDK.
fn told(mount: &ResolvedMount, given: Value) -> (Vec<String>, Value) {
    let (mounts, given) = (std::slice::from_ref(mount), options(given).unwrap());
    let mut entries = values(microsandbox_sdk::render(mounts, &given, &look_up).unwrap());
    assert_eq!((entries.len(), &entries[0]["guestPath"]), (1, &json!("/data")));
    (render(mounts, &given, &look_up).unwrap(), entries.remove(0)["calls"].take())
}

#[test]
fn a_disk_is_opened_where_it_was_checked_and_its_format_named() {
    let (argv, calls) = told(&disk(None, "/proc/7/fd/9", DiskFormat::Qcow2, Some("ext4")), json!({}));
    assert_eq!(argv, ["--mount-disk", "/proc/7/fd/9:/data:format=qcow2,fstype=ext4"]);
    assert_eq!(calls, json!([["disk", "/proc/7/fd/9"], ["format", "qcow2"], ["fstype", "ext4"]]));

    let mut readonly = disk(Some("my-disk"), "/vols/my-disk/disk.raw", DiskFormat::Raw, None);
    readonly.flags.readonly = true;
    let (argv, calls) = told(&readonly, json!({ "byName": false }));
    assert_eq!(argv, ["--mount-disk", "/vols/my-disk/disk.raw:/data:format=raw,ro"]);
    assert_eq!(calls, json!([["disk", "/vols/my-disk/disk.raw"], ["format", "raw"], ["readonly"]]));
}

#[test]
fn a_vmdk_is_mounted_read_only_or_not_at_all() {
    let mut vmdk = disk(None, "/x.vmdk", DiskFormat::Vmdk, None);
    let given = MicrosandboxOptions::default();
    let mounts = std::slice::from_ref(&vmdk);
    for error in [
        render(mounts, &given, &look_up).unwrap_err(),
        microsandbox_sdk::render(mounts, &given, &look_up).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
        assert!(error.to_string().contains("does not write one; mount it \"readonly\""), "{error}");
    }
    vmdk.flags.readonly = true;
    assert_eq!(told(&vmdk, json!({})).0, ["--mount-disk", "/x.vmdk:/data:format=vmdk,ro"]);
}

#[test]
fn a_single_file_has_a_flag_of_its_own() {
    let file = mount(ResolvedSource::Bind { host: PathBuf::from("/etc/hosts"), file: true });
    let (argv, calls) = told(&file, json!({ "byName": true }));
    assert_eq!(argv, ["--mount-file", "/etc/hosts:/data"]);
    assert_eq!(calls, json!([["bind", "/etc/hosts"]]));
}

#[test]
fn volumes_are_named_where_that_is_asked_for() {
    let host = PathBuf::from("/vols/my-data");
    let volume = VolumeName::parse("my-data").unwrap();
    let mut directory =
        mount(ResolvedSource::Named { volume, open: host.clone(), host, part: None, quota_mib: None });
    directory.flags = MountFlags { readonly: true, noexec: true, nosuid: true, nodev: true };
    let by_name = json!({ "byName": true });
    let (argv, calls) = told(&directory, by_name.clone());
    assert_eq!(argv, ["--mount-named", "my-data:/data:ro,noexec,nosuid,nodev"]);
    let flags = [json!(["readonly"]), json!(["noexec"]), json!(["nosuid"]), json!(["nodev"])];
    let named = [&[json!(["namedWith", "my-data", "existing"])], &flags[..]].concat();
    assert_eq!(calls, json!(named));

    let volume = disk(Some("my-disk"), "/vols/my-disk/disk.raw", DiskFormat::Raw, Some("ext4"));
    let (argv, calls) = told(&volume, by_name.clone());
    assert_eq!(argv, ["--mount-named", "my-disk:/data:kind=disk,size=512M"]);
    assert_eq!(calls, json!([["namedWith", "my-disk", "existing"]]));

    for (name, says) in [("other", "nothing is known of it"), ("my-data", "its kind is \"dir\"")] {
        let mounts = [disk(Some(name), "/vols/disk.raw", DiskFormat::Raw, None)];
        let given = options(by_name.clone()).unwrap();
        for error in [
            render(&mounts, &given, &look_up).unwrap_err(),
            microsandbox_sdk::render(&mounts, &given, &look_up).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let image = disk(None, "/proc/7/fd/9", format, None);
        assert_eq!(told(&image, by_name.clone()).0[0], "--mount-disk");
    }
}

#[test]
fn a_qcow2_volume_is_mounted_by_its_path_only() {
    let volume = disk(Some("my-disk"), "/vols/my-disk/disk.qcow2", DiskFormat::Qcow2, None);
    let (argv, _) = told(&volume, json!({}));
    assert_eq!(argv, ["--mount-disk", "/vols/my-disk/disk.qcow2:/data:format=qcow2"]);
    let given = options(json!({ "byName": true })).unwrap();
    let mounts = [volume];
    for error in [
        render(&mounts, &given, &look_up).unwrap_err(),
        microsandbox_sdk::render(&mounts, &given, &look_up).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
        assert!(error.to_string().contains("leave \"byName\" unset, which mounts it by its path"), "{error}");
    }
}

#[test]
fn a_host_path_that_microsandbox_takes_apart_is_refused() {
    for host in ["/srv/a,b", "/srv/a:b", "/srv/a;b"] {
        let mounts = [mount(ResolvedSource::Bind { host: PathBuf::from(host), file: false })];
        let given = MicrosandboxOptions::default();
        for error in [
            render(&mounts, &given, &look_up).unwrap_err(),
            microsandbox_sdk::render(&mounts, &given, &look_up).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
            assert!(error.to_string().contains(&format!("as {host:?} has")), "{error}");
        }
    }
}

#[test]
fn options_are_refused_by_name() {
    for (given, field, says) in [
        (json!({ "byName": "yes" }), "byName", "expected a boolean, got a string"),
        (json!({ "handOver": 1 }), "handOver", "expected a boolean, got a number"),
        (json!({ "home": "/" }), "home", "MicrosandboxOptions has no such option"),
    ] {
        assert_invalid(&options(given).unwrap_err(), field, says);
    }
    assert!(MicrosandboxOptions::default().hands_over());
    assert!(options(json!({ "handOver": null })).unwrap().hands_over());
    assert!(!options(json!({ "handOver": false })).unwrap().hands_over());
}
