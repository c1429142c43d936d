//! Resolved mounts and the renderers, beyond the shared cases.

use super::{field_names, mount};
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::VolumeName;
use sandbox_volumes::mount::runtime::bubblewrap::{self, BubblewrapOptions};
use sandbox_volumes::mount::runtime::oci::{self, OciOptions};
use sandbox_volumes::mount::{
    HostPermissions, MountFlags, MountKind, ResolvedMount, ResolvedSource, StatVirtualization,
};
use sandbox_volumes::wire::{ResolvedMountJson, to_json};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[test]
fn a_resolved_volume_lists_its_name_its_host_path_and_its_options() {
    let host = PathBuf::from("/vols/my-data");
    let volume = VolumeName::parse("my-data").unwrap();
    let mount = ResolvedMount {
        flags: MountFlags { noexec: true, ..MountFlags::default() },
        stat_virtualization: Some(StatVirtualization::Strict),
        host_permissions: Some(HostPermissions::Mirror),
        ..mount(ResolvedSource::Named {
            volume,
            host: host.clone(),
            open: host.clone(),
            part: None,
            quota_mib: Some(64),
        })
    };
    assert_eq!((mount.kind(), mount.host()), (MountKind::Named, Some(host.as_path())));
    let expected = json!({
        "guestPath": "/data", "kind": "named", "hostPath": "/vols/my-data", "volume": "my-data", "subpath": null,
        "format": null, "fstype": null, "readonly": false, "noexec": true, "nosuid": false, "nodev": false,
        "sizeMib": null, "statVirtualization": "strict", "hostPermissions": "mirror",
    });
    assert_eq!(serde_json::to_value(ResolvedMountJson::from(&mount)).unwrap(), expected);
}

#[test]
fn a_resolved_bind_lists_its_host_path() {
    let mount = ResolvedMount {
        flags: MountFlags { readonly: true, nosuid: true, nodev: true, noexec: false },
        ..mount(ResolvedSource::Bind { host: PathBuf::from("/srv/data"), file: false })
    };
    assert_eq!((mount.kind(), mount.host()), (MountKind::Bind, Some(Path::new("/srv/data"))));
    let expected = json!({
        "guestPath": "/data", "kind": "bind", "hostPath": "/srv/data", "volume": null, "subpath": null,
        "format": null, "fstype": null, "readonly": true, "noexec": false, "nosuid": true, "nodev": true,
        "sizeMib": null, "statVirtualization": null, "hostPermissions": null,
    });
    assert_eq!(serde_json::to_value(ResolvedMountJson::from(&mount)).unwrap(), expected);
}

#[test]
fn a_resolved_tmpfs_lists_its_size_in_the_documented_order() {
    let mount = mount(ResolvedSource::Tmpfs { size_mib: Some(16) });
    assert_eq!((mount.kind(), mount.host()), (MountKind::Tmpfs, None));
    let json = to_json(&ResolvedMountJson::from(&mount)).unwrap();
    let documented = "guestPath kind hostPath volume subpath format fstype readonly noexec nosuid nodev sizeMib \
                      statVirtualization hostPermissions";
    assert_eq!(field_names(&json).join(" "), documented);
    let Value::Object(mut fields) = serde_json::from_str(&json).unwrap() else { panic!() };
    fields.retain(|_, value| value.is_number());
    assert_eq!(Value::Object(fields), json!({ "sizeMib": 16 }));
}

#[cfg(unix)]
#[test]
fn renderers_reject_a_host_path_that_is_not_utf_8() {
    use std::os::unix::ffi::OsStringExt;
    let host = PathBuf::from(std::ffi::OsString::from_vec(b"/srv/caf\xe9".to_vec()));
    let volume = VolumeName::parse("my-data").unwrap();
    for origin in [
        ResolvedSource::Bind { host: host.clone(), file: false },
        ResolvedSource::Named { volume, open: host.clone(), host, part: None, quota_mib: None },
    ] {
        let mounts = [mount(origin)];
        for error in [
            bubblewrap::render(&mounts, &BubblewrapOptions::default()).unwrap_err(),
            oci::render(&mounts, &OciOptions::default()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
            assert_eq!(error.context().path.as_deref(), Some("/data"));
            assert!(error.to_string().contains("its host path \"/srv/caf\\xE9\" is not UTF-8"), "{error}");
        }
    }
}
