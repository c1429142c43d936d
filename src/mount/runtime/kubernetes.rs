//! The `volumes` and `volumeMounts` of a Kubernetes pod, and persistent volumes for its claims.
//!
//! Volumes are named by their mount's place in the list, which is the same each time.

use super::kubernetes_options::{Claims, KubernetesOptions};
use super::{disk_refused, host_text, object, refuse_virtiofs_policies, unsupported};
use crate::error::Result;
use crate::model::VolumeName;
use crate::mount::field::{NODEV, NOEXEC, NOSUID};
use crate::mount::{Origin, ResolvedMount};
use serde_json::{Value, json};
use std::collections::HashMap;

const RUNTIME: &str = "Kubernetes";

/// The longest name of an object, in bytes.
const MAX_NAME_BYTES: usize = 253;

/// A volume that a pod claims.
struct Claimed {
    persistent_volume: Option<Value>,
    claim: Value,
}

/// A pod's part, and with claims the objects that it refers to.
pub fn render(mounts: &[ResolvedMount], options: &KubernetesOptions) -> Result<Value> {
    let (mut volumes, mut volume_mounts) = (Vec::new(), Vec::new());
    let mut claimed = Vec::new();
    // The pod's own names of its claims.
    let mut by_name: HashMap<String, String> = HashMap::new();
    for (at, mount) in mounts.iter().enumerate() {
        let mut on_node = on_node(mount)?;
        check(mount)?;
        let mut name = format!("sv-mount-{at}");
        match (&options.claims, &mount.origin) {
            (Some(claims), Origin::Named { volume, host, part, quota_mib, .. }) => {
                let claim_name = object_name(mount, volume)?;
                if let Some(first) = by_name.get(&claim_name) {
                    // A pod that has one claim under two names may wait for ever.
                    name.clone_from(first);
                } else {
                    let mib = quota_mib.or(claims.storage_mib);
                    let mib = mib.ok_or_else(|| Claims::size_missing(volume.as_str()))?;
                    let root = part.as_ref().map_or(host, |part| &part.root);
                    let host = host_text(RUNTIME, mount, root)?;
                    let (persistent_volume, claim) = manifests(claims, &claim_name, host, mib);
                    volumes
                        .push(json!({ "name": name, "persistentVolumeClaim": { "claimName": claim_name } }));
                    by_name.insert(claim_name, name.clone());
                    claimed.push(Claimed { persistent_volume, claim });
                }
            }
            _ => {
                on_node["name"] = json!(name);
                volumes.push(on_node);
            }
        }
        volume_mounts.push(volume_mount(mount, &name, options));
    }
    let mut pod = object([("volumes", volumes.into()), ("volumeMounts", volume_mounts.into())]);
    if options.claims.is_some() {
        pod["persistentVolumes"] =
            claimed.iter().filter_map(|claimed| claimed.persistent_volume.clone()).collect();
        pod["persistentVolumeClaims"] = claimed.into_iter().map(|claimed| claimed.claim).collect();
    }
    Ok(pod)
}

fn check(mount: &ResolvedMount) -> Result<()> {
    refuse_virtiofs_policies(RUNTIME, mount)?;
    let flags = [(mount.flags.nosuid, NOSUID), (mount.flags.nodev, NODEV), (mount.flags.noexec, NOEXEC)];
    match flags.into_iter().find(|(set, _)| *set) {
        Some((_, name)) => {
            let problem = format!("it has no {name:?}; leave it unset, or use another runtime");
            Err(unsupported(RUNTIME, mount, problem))
        }
        None => Ok(()),
    }
}

/// A pod's volume whose content is on the node itself.
fn on_node(mount: &ResolvedMount) -> Result<Value> {
    Ok(match &mount.origin {
        Origin::Bind { host, file } => {
            let kind = if *file { "File" } else { "Directory" };
            json!({ "hostPath": { "path": host_text(RUNTIME, mount, host)?, "type": kind } })
        }
        Origin::Named { host, part, .. } => {
            // Kubernetes finds the part itself, safely, where the pod runs.
            let root = part.as_ref().map_or(host, |part| &part.root);
            json!({ "hostPath": { "path": host_text(RUNTIME, mount, root)?, "type": "Directory" } })
        }
        Origin::Tmpfs { size_mib: None } => json!({ "emptyDir": { "medium": "Memory" } }),
        Origin::Tmpfs { size_mib: Some(mib) } => {
            json!({ "emptyDir": { "medium": "Memory", "sizeLimit": quantity(*mib) } })
        }
        Origin::Disk { .. } => return Err(disk_refused(RUNTIME, mount)),
    })
}

fn volume_mount(mount: &ResolvedMount, name: &str, options: &KubernetesOptions) -> Value {
    let mut volume_mount = json!({ "name": name, "mountPath": mount.guest_path.as_str() });
    if let Some(part) = mount.part() {
        volume_mount["subPath"] = json!(part.subpath.as_str());
    }
    if mount.flags.readonly {
        volume_mount["readOnly"] = json!(true);
        let in_cluster = matches!(mount.origin, Origin::Named { .. })
            && options.claims.as_ref().is_some_and(|claims| claims.storage_class.is_some());
        if mount.host().is_some() && !in_cluster {
            // What is mounted below the directory comes along, and would stay writable.
            volume_mount["recursiveReadOnly"] = json!("Enabled");
        }
    }
    volume_mount
}

/// A volume's persistent volume, where there is to be one, and its claim.
fn manifests(claims: &Claims, name: &str, host: &str, mib: u32) -> (Option<Value>, Value) {
    let storage = json!({ "storage": quantity(mib) });
    let labels = json!({ "app.kubernetes.io/managed-by": "sandbox-volumes" });
    let mut claim = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": name, "namespace": claims.namespace, "labels": labels },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": storage } },
    });
    if let Some(class) = &claims.storage_class {
        claim["spec"]["storageClassName"] = json!(class);
        return (None, claim);
    }
    // No class, and each names the other: nothing else is bound to either.
    claim["spec"]["storageClassName"] = json!("");
    claim["spec"]["volumeName"] = json!(name);
    let mut persistent = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "capacity": storage,
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": name, "namespace": claims.namespace,
            },
        },
    });
    match &claims.node {
        None => persistent["spec"]["hostPath"] = json!({ "path": host, "type": "Directory" }),
        Some(node) => {
            let on_node = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] });
            persistent["spec"]["local"] = json!({ "path": host });
            persistent["spec"]["nodeAffinity"] =
                json!({ "required": { "nodeSelectorTerms": [{ "matchExpressions": [on_node] }] } });
        }
    }
    (Some(persistent), claim)
}

fn quantity(mib: u32) -> String {
    format!("{mib}Mi")
}

/// A volume's name where Kubernetes takes it. Another one is written in hexadecimal where it has to be, and marked
/// by a dot, which the first kind has not: no two volumes have one name.
fn object_name(mount: &ResolvedMount, volume: &VolumeName) -> Result<String> {
    let name = volume.as_str();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.bytes().all(|byte| plain(byte) || byte == b'-') && !name.ends_with('-') {
        return Ok(name.to_owned());
    }
    let escaped = name.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("-{byte:02x}"),
    });
    let escaped = format!("v{}.sv", escaped.collect::<String>());
    if escaped.len() > MAX_NAME_BYTES {
        let problem = format!(
            "the name of volume {name:?} would have {} bytes there, and has at most {MAX_NAME_BYTES}; use lower-case \
             letters and digits",
            escaped.len()
        );
        return Err(unsupported(RUNTIME, mount, problem));
    }
    Ok(escaped)
}
