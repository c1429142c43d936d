//! The `volumes` and `volumeMounts` of a Kubernetes pod, and persistent volumes for its claims.
//!
//! A volume's name is its mount's index in the list, so it does not change between renderings.

use super::kubernetes_options::{Claims, KubernetesOptions};
use super::rendered::Rendered::{self, Flag, Object, Word};
use super::rendered::{Put, list, lists, object, text};
use super::{disk_refused, host_text, refuse_virtiofs_policies, unsupported};
use crate::error::Result;
use crate::model::VolumeName;
use crate::mount::option_names::{NODEV, NOEXEC, NOSUID};
use crate::mount::{ResolvedMount, ResolvedSource};
use std::collections::HashMap;

const RUNTIME: &str = "Kubernetes";

/// The lists of a rendering: two of the pod, and with claims the manifests.
const VOLUMES: &str = "volumes";
const VOLUME_MOUNTS: &str = "volumeMounts";
const PERSISTENT_VOLUMES: &str = "persistentVolumes";
const CLAIMS: &str = "persistentVolumeClaims";

/// The type of a path on the node, and the kind of a claim's manifest.
const DIRECTORY: &str = "Directory";
const CLAIM: &str = "PersistentVolumeClaim";

/// The longest name of an object, in bytes.
const MAX_NAME_BYTES: usize = 253;

/// A field of a rendering.
type Field<'m> = (&'static str, Rendered<'m>);

/// Renders the fields of a pod and, with claims, the objects that it refers to.
pub fn render<'m>(mounts: &'m [ResolvedMount], options: &'m KubernetesOptions) -> Result<Rendered<'m>> {
    lists(lists_for(options), |put| render_into(put, mounts, options))
}

/// Returns the names of the lists.
pub fn lists_for(options: &KubernetesOptions) -> &'static [&'static str] {
    match options.claims {
        Some(_) => &[VOLUMES, VOLUME_MOUNTS, PERSISTENT_VOLUMES, CLAIMS],
        None => &[VOLUMES, VOLUME_MOUNTS],
    }
}

/// Passes the values of the lists to `put`, one after the other.
pub fn render_into<'m>(
    put: &mut Put<'_, 'm>,
    mounts: &'m [ResolvedMount],
    options: &'m KubernetesOptions,
) -> Result<()> {
    // The pod's names of its claims.
    let mut by_name: HashMap<String, String> = HashMap::new();
    for (at, mount) in mounts.iter().enumerate() {
        let on_node = on_node(mount)?;
        check(mount)?;
        let mut name = format!("sv-mount-{at}");
        match (&options.claims, &mount.origin) {
            (Some(claims), ResolvedSource::Named { volume, host, part, quota_mib, .. }) => {
                let claim_name = object_name(mount, volume)?;
                if let Some(first) = by_name.get(&claim_name) {
                    // A pod that has one claim under two names may stay pending.
                    name.clone_from(first);
                } else {
                    let mib = quota_mib.or(claims.storage_mib);
                    let mib = mib.ok_or_else(|| Claims::size_missing(volume.as_str()))?;
                    let root = part.as_ref().map_or(host, |part| &part.root);
                    let host = host_text(RUNTIME, mount, root)?;
                    if claims.storage_class.is_none() {
                        put(PERSISTENT_VOLUMES, persistent_volume(claims, &claim_name, host, mib));
                    }
                    put(CLAIMS, persistent_volume_claim(claims, &claim_name, mib));
                    let claim = object([("claimName", text(claim_name.clone()))]);
                    put(VOLUMES, object([("name", text(name.clone())), ("persistentVolumeClaim", claim)]));
                    by_name.insert(claim_name, name.clone());
                }
            }
            _ => put(VOLUMES, object([("name", text(name.clone())), on_node])),
        }
        put(VOLUME_MOUNTS, volume_mount(mount, name, options));
    }
    Ok(())
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

/// Returns the field of a volume whose content is on the node.
fn on_node(mount: &ResolvedMount) -> Result<(&'static str, Rendered<'_>)> {
    let host_path = |host, kind| {
        let path = text(host_text(RUNTIME, mount, host)?);
        Ok(("hostPath", object([("path", path), ("type", Word(kind))])))
    };
    match &mount.origin {
        ResolvedSource::Bind { host, file } => host_path(host, if *file { "File" } else { DIRECTORY }),
        // Kubernetes resolves the subpath itself, safely, on the pod's node.
        ResolvedSource::Named { host, part, .. } => {
            host_path(part.as_ref().map_or(host, |part| &part.root), DIRECTORY)
        }
        ResolvedSource::Tmpfs { size_mib } => {
            let size = size_mib.map(|mib| ("sizeLimit", text(quantity(mib))));
            Ok(("emptyDir", Object([("medium", Word("Memory"))].into_iter().chain(size).collect())))
        }
        ResolvedSource::Disk { .. } => Err(disk_refused(RUNTIME, mount)),
    }
}

fn volume_mount<'m>(mount: &'m ResolvedMount, name: String, options: &KubernetesOptions) -> Rendered<'m> {
    let mut volume_mount = vec![("name", text(name)), ("mountPath", text(mount.guest_path.as_str()))];
    if let Some(part) = mount.part() {
        volume_mount.push(("subPath", text(part.subpath.as_str())));
    }
    if mount.flags.readonly {
        volume_mount.push(("readOnly", Flag(true)));
        let in_cluster = matches!(mount.origin, ResolvedSource::Named { .. })
            && options.claims.as_ref().is_some_and(|claims| claims.storage_class.is_some());
        if mount.host().is_some() && !in_cluster {
            // The mounts below the directory are included, and would stay writable.
            volume_mount.push(("recursiveReadOnly", Word("Enabled")));
        }
    }
    Object(volume_mount)
}

/// Returns a manifest of that kind.
fn manifest<'m>(kind: &'static str, metadata: Vec<Field<'m>>, spec: Vec<Field<'m>>) -> Rendered<'m> {
    let labels = object([("app.kubernetes.io/managed-by", Word("sandbox-volumes"))]);
    let metadata = metadata.into_iter().chain([("labels", labels)]).collect();
    object([
        ("apiVersion", Word("v1")),
        ("kind", Word(kind)),
        ("metadata", Object(metadata)),
        ("spec", Object(spec)),
    ])
}

fn access_modes() -> (&'static str, Rendered<'static>) {
    ("accessModes", list([Word("ReadWriteOnce")]))
}

fn storage(mib: u32) -> Rendered<'static> {
    object([("storage", text(quantity(mib)))])
}

fn persistent_volume_claim<'m>(claims: &'m Claims, name: &str, mib: u32) -> Rendered<'m> {
    let mut spec = vec![access_modes(), ("resources", object([("requests", storage(mib))]))];
    match &claims.storage_class {
        Some(class) => spec.push(("storageClassName", text(class))),
        // No class, and each refers to the other, so that neither binds to another object.
        None => spec.extend([("storageClassName", Word("")), ("volumeName", text(name.to_owned()))]),
    }
    let metadata = vec![("name", text(name.to_owned())), ("namespace", text(&claims.namespace))];
    manifest(CLAIM, metadata, spec)
}

fn persistent_volume<'m>(claims: &'m Claims, name: &str, host: &'m str, mib: u32) -> Rendered<'m> {
    let claim = object([
        ("apiVersion", Word("v1")),
        ("kind", Word(CLAIM)),
        ("name", text(name.to_owned())),
        ("namespace", text(&claims.namespace)),
    ]);
    let mut spec = vec![
        ("capacity", storage(mib)),
        access_modes(),
        ("persistentVolumeReclaimPolicy", Word("Retain")),
        ("storageClassName", Word("")),
        ("claimRef", claim),
    ];
    match &claims.node {
        None => spec.push(("hostPath", object([("path", text(host)), ("type", Word(DIRECTORY))]))),
        Some(node) => {
            let on_node = object([
                ("key", Word("kubernetes.io/hostname")),
                ("operator", Word("In")),
                ("values", list([text(node)])),
            ]);
            let terms = list([object([("matchExpressions", list([on_node]))])]);
            spec.push(("local", object([("path", text(host))])));
            spec.push(("nodeAffinity", object([("required", object([("nodeSelectorTerms", terms)]))])));
        }
    }
    manifest("PersistentVolume", vec![("name", text(name.to_owned()))], spec)
}

fn quantity(mib: u32) -> String {
    format!("{mib}Mi")
}

/// Returns an object's name for a volume: the volume's name if Kubernetes accepts it.
///
/// If not, other characters are written in hexadecimal and a dot marks the result. The first form contains no dot, so
/// two volumes never get the same name.
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
