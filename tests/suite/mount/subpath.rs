//! Subpaths of a volume, in the notation of each runtime.

use super::microsandbox::look_up;
use super::values;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::VolumeName;
use sandbox_volumes::mount::runtime::bubblewrap::{self, BubblewrapOptions};
use sandbox_volumes::mount::runtime::docker::{self, DockerOptions, Engine};
use sandbox_volumes::mount::runtime::kubernetes;
use sandbox_volumes::mount::runtime::kubernetes_options::KubernetesOptions;
use sandbox_volumes::mount::runtime::microsandbox::{self, MicrosandboxOptions};
use sandbox_volumes::mount::runtime::microsandbox_sdk;
use sandbox_volumes::mount::runtime::oci::{self, OciOptions};
use sandbox_volumes::mount::runtime::qemu::{self, QemuOptions};
use sandbox_volumes::mount::{GuestPath, MountFlags, MountedPart, ResolvedMount, ResolvedSource, Subpath};
use sandbox_volumes::wire::ResolvedMountJson;
use serde_json::{Value, json};
use std::path::PathBuf;

fn part(guest_path: &str, subpath: &str, is_file: bool, descriptor: i32, readonly: bool) -> ResolvedMount {
    let root = PathBuf::from("/vols/v");
    ResolvedMount {
        guest_path: GuestPath::parse(guest_path).unwrap(),
        origin: ResolvedSource::Named {
            volume: VolumeName::parse("v").unwrap(),
            host: root.join(subpath),
            open: format!("/proc/7/fd/{descriptor}").into(),
            part: Some(MountedPart { subpath: Subpath::parse(subpath).unwrap(), root, is_file, descriptor }),
            quota_mib: None,
        },
        flags: MountFlags { readonly, ..MountFlags::default() },
        stat_virtualization: None,
        host_permissions: None,
    }
}

fn two_parts() -> [ResolvedMount; 2] {
    [part("/a", "tenants/a", false, 21, false), part("/b", "b", false, 22, true)]
}

fn in_kubernetes(options: Value) -> Value {
    let options = KubernetesOptions::from_input(&options.into()).unwrap();
    kubernetes::render(&two_parts(), &options).unwrap().into()
}

fn in_bubblewrap(mounts: &[ResolvedMount], options: Value) -> Result<Vec<String>, Error> {
    bubblewrap::render(mounts, &BubblewrapOptions::from_input(&options.into())?)
}

#[test]
fn a_part_is_shown_by_the_path_of_what_was_found() {
    let shown = serde_json::to_value(ResolvedMountJson::from(&two_parts()[0])).unwrap();
    assert_eq!(shown["hostPath"], "/vols/v/tenants/a");
    assert_eq!(shown["subpath"], "tenants/a");
}

#[test]
fn bubblewrap_is_handed_descriptors_that_are_numbered_from_the_first() {
    let argv = in_bubblewrap(&two_parts(), json!({ "firstFd": 5 })).unwrap().join(" ");
    assert_eq!(argv, "--cap-drop CAP_SYS_ADMIN --bind-fd 5 /a --ro-bind-fd 6 /b");
}

#[test]
fn bubblewrap_needs_the_first_descriptors_number_where_there_is_one() {
    for options in [json!(null), json!({}), json!({ "firstFd": 2 }), json!({ "firstFd": u32::MAX })] {
        let error = in_bubblewrap(&two_parts(), options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert_eq!(error.context().field.as_deref(), Some("firstFd"));
    }
    assert_eq!(in_bubblewrap(&[], json!({})).unwrap(), [""; 0]);
}

/// Each runtime that looks for a part by itself, with or without leave to.
fn by_themselves(mounts: &[ResolvedMount], by_path: bool) -> [Result<Value, Error>; 4] {
    let options = json!({ "byPath": by_path, "socketDir": "/run/vm" });
    let qemu_options = QemuOptions::from_input(&options.into()).unwrap();
    let oci_options = OciOptions::from_input(&json!({ "byPath": by_path }).into()).unwrap();
    let docker = |engine| {
        docker::render(mounts, DockerOptions { engine, by_path }).map(|argv| json!(argv[1].split(',').nth(1)))
    };
    [
        oci::render(mounts, &oci_options)
            .map(|entries| json!(format!("source={}", values(entries)[0]["source"]))),
        docker(Engine::Docker),
        docker(Engine::Podman),
        qemu::render(mounts, &qemu_options)
            .map(Value::from)
            .map(|it| json!(format!("source={}", it["virtiofs"][0]["source"]))),
    ]
}

#[test]
fn runtimes_that_look_for_a_part_themselves_are_told_its_path_where_that_is_allowed() {
    for told in by_themselves(&two_parts(), true) {
        let told = told.unwrap().as_str().unwrap().replace('"', "");
        assert_eq!(told, "source=/vols/v/tenants/a");
    }
    for refused in by_themselves(&two_parts(), false) {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
        assert_eq!(error.context().path.as_deref(), Some("/a"));
        assert!(error.to_string().contains("set \"byPath\" if none does"), "{error}");
    }
}

#[test]
fn microsandbox_is_told_the_path_of_the_descriptor() {
    let mounts = two_parts();
    let by_path = MicrosandboxOptions::default();
    let argv = microsandbox::render(&mounts, &by_path, &look_up).unwrap();
    assert_eq!(argv, ["--mount-dir", "/proc/7/fd/21:/a", "--mount-dir", "/proc/7/fd/22:/b:ro"]);
    let calls = values(microsandbox_sdk::render(&mounts, &by_path, &look_up).unwrap());
    assert_eq!(calls[0]["calls"], json!([["bind", "/proc/7/fd/21"]]));
}

#[test]
fn a_part_that_is_a_file_is_mounted_as_one_or_refused() {
    let mounts = [part("/etc/conf", "conf", true, 21, false)];
    let argv = microsandbox::render(&mounts, &MicrosandboxOptions::default(), &look_up).unwrap();
    assert_eq!(argv, ["--mount-file", "/proc/7/fd/21:/etc/conf"]);
    let options = QemuOptions::from_input(&json!({ "socketDir": "/run/vm", "byPath": true }).into()).unwrap();
    let error = qemu::render(&mounts, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedMount, "{error}");
    assert!(error.to_string().contains("this is a file"), "{error}");
}

#[test]
fn microsandbox_mounts_no_part_by_name() {
    let by_name = MicrosandboxOptions::from_input(&json!({ "byName": true }).into()).unwrap();
    for error in [
        microsandbox::render(&two_parts(), &by_name, &look_up).map(drop).unwrap_err(),
        microsandbox_sdk::render(&two_parts(), &by_name, &look_up).map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
        assert_eq!(error.context().path.as_deref(), Some("/a"));
        assert!(error.to_string().contains("\"byName\""), "{error}");
    }
}

#[test]
fn kubernetes_finds_a_part_itself() {
    let rendered = in_kubernetes(Value::Null);
    assert_eq!(rendered["volumes"][0]["hostPath"], json!({ "path": "/vols/v", "type": "Directory" }));
    let mounts = &rendered["volumeMounts"];
    assert_eq!((&mounts[0]["subPath"], &mounts[1]["subPath"]), (&json!("tenants/a"), &json!("b")));
    let claimed = in_kubernetes(json!({ "claims": true, "storageMib": 8 }));
    assert_eq!(claimed["persistentVolumes"][0]["spec"]["hostPath"]["path"], "/vols/v");
    assert_eq!(claimed["volumes"].as_array().unwrap().len(), 1);
    assert_eq!(claimed["volumeMounts"][1]["subPath"], "b");
}
