//! Volumes of a Kubernetes pod, beyond the shared cases: claims, disks, options.

use super::{assert_invalid, input};
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{DiskFormat, VolumeName};
use sandbox_volumes::mount::runtime::kubernetes;
use sandbox_volumes::mount::runtime::kubernetes_options::KubernetesOptions;
use sandbox_volumes::mount::{GuestPath, ResolvedMount, ResolvedSource};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn options(options: Value) -> Result<KubernetesOptions, Error> {
    KubernetesOptions::from_input(&input(&options))
}

fn mount(guest_path: &str, origin: ResolvedSource) -> ResolvedMount {
    ResolvedMount { guest_path: GuestPath::parse(guest_path).unwrap(), ..super::mount(origin) }
}

fn named(guest_path: &str, name: &str, quota_mib: Option<u32>) -> ResolvedMount {
    let host = Path::new("/vols").join(name);
    mount(
        guest_path,
        ResolvedSource::Named {
            volume: VolumeName::parse(name).unwrap(),
            open: host.clone(),
            host,
            part: None,
            quota_mib,
        },
    )
}

fn render(mounts: &[ResolvedMount], options: &KubernetesOptions) -> Result<Value, Error> {
    kubernetes::render(mounts, options).map(Value::from)
}

/// The volumes of a pod, with claims.
fn claimed(mounts: &[ResolvedMount], more: Value) -> Result<Value, Error> {
    let mut given = json!({ "claims": true });
    given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    render(mounts, &options(given).unwrap())
}

#[test]
fn a_claim_and_the_directory_it_stands_for_name_each_other() {
    let rendered = claimed(&[named("/data", "my-data", Some(64))], json!({})).unwrap();
    let labels = json!({ "app.kubernetes.io/managed-by": "sandbox-volumes" });
    let expected = json!({
        "volumes": [{ "name": "sv-mount-0", "persistentVolumeClaim": { "claimName": "my-data" } }],
        "volumeMounts": [{ "name": "sv-mount-0", "mountPath": "/data" }],
        "persistentVolumes": [{
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": { "name": "my-data", "labels": labels },
            "spec": {
                "capacity": { "storage": "64Mi" },
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
                "claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "name": "my-data", "namespace": "default",
                },
                "hostPath": { "path": "/vols/my-data", "type": "Directory" },
            },
        }],
        "persistentVolumeClaims": [{
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": { "name": "my-data", "namespace": "default", "labels": labels },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": "64Mi" } },
                "storageClassName": "",
                "volumeName": "my-data",
            },
        }],
    });
    assert_eq!(rendered, expected);
}

#[test]
fn a_node_that_is_named_is_where_the_pods_go() {
    let given = json!({ "node": "Worker-1.example", "namespace": "sandboxes" });
    let rendered = claimed(&[named("/data", "my-data", Some(64))], given).unwrap();
    let spec = &rendered["persistentVolumes"][0]["spec"];
    assert_eq!(spec["local"], json!({ "path": "/vols/my-data" }));
    assert_eq!(spec.get("hostPath"), None);
    let on_node =
        json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": ["Worker-1.example"] });
    assert_eq!(
        spec["nodeAffinity"],
        json!({ "required": { "nodeSelectorTerms": [{ "matchExpressions": [on_node] }] } })
    );
    assert_eq!(spec["claimRef"]["namespace"], "sandboxes");
    assert_eq!(rendered["persistentVolumeClaims"][0]["metadata"]["namespace"], "sandboxes");
}

#[test]
fn storage_of_a_class_is_the_clusters_own() {
    let mut mount = named("/data", "my-data", Some(64));
    mount.flags.readonly = true;
    let mounts = [mount];
    let rendered = claimed(&mounts, json!({ "storageClass": "fast.ssd" })).unwrap();
    assert_eq!(rendered["persistentVolumes"], json!([]));
    let spec = &rendered["persistentVolumeClaims"][0]["spec"];
    assert_eq!((&spec["storageClassName"], spec.get("volumeName")), (&json!("fast.ssd"), None));
    let expected = json!([{ "name": "sv-mount-0", "mountPath": "/data", "readOnly": true }]);
    assert_eq!(rendered["volumeMounts"], expected);
    let rendered = claimed(&mounts, json!({})).unwrap();
    assert_eq!(rendered["volumeMounts"][0]["recursiveReadOnly"], "Enabled");
}

#[test]
fn a_volume_is_claimed_once_and_no_two_by_one_name() {
    let names = ["my-data", "My-Data", "my_data", "my.data", "v-2d.sv", "x-"];
    let mut mounts: Vec<_> = names.iter().map(|name| named(&format!("/{name}"), name, Some(1))).collect();
    mounts.push(named("/again", "my-data", Some(1)));
    let rendered = claimed(&mounts, json!({})).unwrap();
    let claims = rendered["persistentVolumeClaims"].as_array().unwrap().iter();
    let mut found: Vec<&str> = claims.map(|claim| claim["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(found[..3], ["my-data", "v-4dy-2d-44ata.sv", "vmy-5fdata.sv"]);
    for name in &found {
        let label = |part: &str| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        assert!(name.split('.').all(label), "{name}");
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!((found.len(), rendered["volumes"].as_array().unwrap().len()), (names.len(), names.len()));
    assert_eq!(rendered["volumeMounts"][6], json!({ "name": "sv-mount-0", "mountPath": "/again" }));
}

#[test]
fn a_name_that_kubernetes_has_no_room_for_is_refused() {
    let long = "X".repeat(128);
    let error = claimed(&[named("/data", &long, Some(1))], json!({})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
    assert!(error.to_string().contains("would have 388 bytes there, and has at most 253"), "{error}");
    let plain = "x".repeat(128);
    assert!(claimed(&[named("/data", &plain, Some(1))], json!({})).is_ok());
}

#[test]
fn a_volume_without_a_quota_asks_for_what_is_said() {
    let mounts = [named("/a", "a", None), named("/b", "b", Some(3))];
    assert_invalid(&claimed(&mounts, json!({})).unwrap_err(), "storageMib", "volume \"a\" has no quota");
    let rendered = claimed(&mounts, json!({ "storageMib": 4_294_967_295_u32 })).unwrap();
    let asked = |at: usize| {
        rendered["persistentVolumeClaims"][at]["spec"]["resources"]["requests"]["storage"].clone()
    };
    assert_eq!((asked(0), asked(1)), (json!("4294967295Mi"), json!("3Mi")));
}

#[test]
fn a_file_of_the_host_is_told_apart_and_a_disk_is_refused() {
    let file = mount("/etc/hosts", ResolvedSource::Bind { host: PathBuf::from("/etc/hosts"), file: true });
    let rendered = render(&[file], &KubernetesOptions::default()).unwrap();
    assert_eq!(rendered["volumes"][0]["hostPath"], json!({ "path": "/etc/hosts", "type": "File" }));
    let path = PathBuf::from("/x.raw");
    let disk = ResolvedSource::Disk {
        volume: None,
        host: path.clone(),
        open: path,
        format: DiskFormat::Raw,
        fstype: None,
    };
    let error = render(&[mount("/data", disk)], &KubernetesOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
    assert!(error.to_string().contains("needs a virtual machine"), "{error}");
}

#[test]
fn options_are_refused_by_name() {
    for (given, field, says) in [
        (json!({ "claim": true }), "claim", "KubernetesOptions has no such option"),
        (json!({ "claims": "yes" }), "claims", "expected a boolean, got a string"),
        (json!({ "storageMib": 64 }), "storageMib", "only used when \"claims\" is true"),
        (json!({ "claims": false, "namespace": "x" }), "namespace", "only used when \"claims\" is true"),
        (json!({ "claims": true, "storageMib": 0 }), "storageMib", "at least 1 MiB"),
        (json!({ "claims": true, "storageMib": 1.5 }), "storageMib", "got 1.5"),
        (json!({ "claims": true, "namespace": "Sandboxes" }), "namespace", "\"Sandboxes\" is no name"),
        (json!({ "claims": true, "namespace": "a.b" }), "namespace", "\"a.b\" is no name"),
        (json!({ "claims": true, "namespace": "" }), "namespace", "\"\" is no name"),
        (json!({ "claims": true, "node": "-x" }), "node", "\"-x\" is no name"),
        (json!({ "claims": true, "node": "x".repeat(64) }), "node", "is no name"),
        (json!({ "claims": true, "storageClass": "x_y" }), "storageClass", "\"x_y\" is no name"),
        (
            json!({ "claims": true, "node": "n", "storageClass": "c" }),
            "node",
            "does not go with \"storageClass\"",
        ),
    ] {
        assert_invalid(&options(given).unwrap_err(), field, says);
    }
}
