//! Attaching mounts to a sandbox: what is resolved, what is refused, what a failure undoes.

mod bind;
mod hand_over;
mod lease;
mod listing;
mod microsandbox;
mod mount_into;
mod nested;
mod provision;
mod rollback;
mod subpath;

use crate::support::home::Home;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::OptionValue;
use sandbox_volumes::mount::{MountConfig, ResolvedSource, validate_and_order};
use sandbox_volumes::sync::CancelToken;
use serde_json::{Value, json};
use std::path::Path;

fn bind(host: &Path) -> MountConfig {
    let host = OptionValue::Text(host.to_str().unwrap().to_owned());
    MountConfig::bind(&host, &OptionValue::Absent, Path::new("/")).unwrap()
}

fn existing(volume: &str) -> MountConfig {
    MountConfig::named(&OptionValue::Text(volume.to_owned()), &OptionValue::Absent).unwrap()
}

/// The same with `MountOptions`.
fn existing_with(volume: &str, options: Value) -> MountConfig {
    MountConfig::named(&OptionValue::Text(volume.to_owned()), &options.into()).unwrap()
}

/// A named mount with `NamedVolumeOptions`.
fn named(volume: &str, options: Value) -> MountConfig {
    MountConfig::named_with(&OptionValue::Text(volume.to_owned()), &OptionValue::Absent, &options.into())
        .unwrap()
}

fn create(volume: &str) -> MountConfig {
    named(volume, json!({ "mode": "create" }))
}

fn ensure_exists(volume: &str) -> MountConfig {
    named(volume, json!({ "mode": "ensure-exists" }))
}

/// The option or argument that an `InvalidConfig` error is about.
fn invalid_field(error: &Error) -> &str {
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    error.context().field.as_deref().unwrap()
}

#[test]
fn an_attachment_tells_its_sandbox_its_process_and_its_mounts() {
    let home = Home::new();
    home.create("data");
    let attached = home.attach("worker", &[existing("data")]).unwrap();
    assert_eq!((attached.sandbox.as_str(), attached.pid), ("worker", std::process::id()));
    let [mount] = &attached.mounts[..] else { panic!("{:?}", attached.mounts) };
    assert_eq!(mount.guest_path.as_str(), "/0");
    let ResolvedSource::Named { volume, host, .. } = &mount.origin else { panic!("{mount:?}") };
    assert_eq!((volume.as_str(), host), ("data", &home.path("volumes/data")));
}

#[test]
fn mounts_are_resolved_parents_before_children() {
    let home = Home::new();
    home.create("data");
    let entries = ["/a/b/c", "/a.b", "/a", "/a/b"].map(|at| (at.to_owned(), existing("data")));
    let planned = validate_and_order(entries.into()).unwrap();
    let attached = home.store.attach("worker", &planned, None, &CancelToken::default()).unwrap();
    let order: Vec<_> = attached.mounts.iter().map(|mount| mount.guest_path.as_str()).collect();
    assert_eq!(order, ["/a", "/a/b", "/a/b/c", "/a.b"]);
}

#[test]
fn flags_and_policies_stay_with_their_mount() {
    let home = Home::new();
    home.create("data");
    let options = json!({ "readonly": true, "nosuid": true, "statVirtualization": "relaxed" }).into();
    let mount = MountConfig::named(&OptionValue::Text("data".to_owned()), &options).unwrap();
    let attached = home.attach("worker", std::slice::from_ref(&mount)).unwrap();
    assert_eq!(attached.mounts[0].flags, mount.flags());
    assert!(attached.mounts[0].flags.readonly && attached.mounts[0].flags.nosuid);
    assert_eq!(attached.mounts[0].stat_virtualization, mount.stat_virtualization());
}

#[test]
fn nothing_to_mount_is_an_attachment_too() {
    let home = Home::new();
    let attached = home.attach("worker", &[]).unwrap();
    assert!(attached.mounts.is_empty());
    home.store.detach(attached.id).unwrap();
}

#[test]
fn a_tmpfs_needs_nothing_of_the_host() {
    let home = Home::new();
    for (options, size_mib) in [(json!({ "sizeMib": 16 }), Some(16)), (json!(null), None)] {
        let tmpfs = MountConfig::tmpfs(&options.into()).unwrap();
        let attached = home.attach("worker", &[tmpfs]).unwrap();
        assert_eq!(attached.mounts[0].origin, ResolvedSource::Tmpfs { size_mib });
        assert_eq!(attached.mounts[0].host(), None);
    }
}

#[test]
fn a_sandbox_needs_a_name_that_can_be_shown() {
    let home = Home::new();
    for sandbox in ["", "a\nb", "a\0b", &"a".repeat(256)] {
        assert_eq!(invalid_field(&home.attach(sandbox, &[]).unwrap_err()), "sandbox", "{sandbox:?}");
    }
    for sandbox in ["worker", "Ein Sandkasten", "📦", &"a".repeat(255)] {
        home.attach(sandbox, &[]).unwrap();
    }
}
