//! Attachments as anybody sees them, and ending them by their ids.

use super::{bind, create, existing, invalid_field};
use crate::support::home::{Home, name};
use crate::support::idle_process::IdleProcess;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::OptionValue;
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::store::{AttachmentInfo, Durability, Store};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::path::Path;

fn listed(home: &Home, sandbox: Option<&str>, volume: Option<&str>) -> Vec<AttachmentInfo> {
    home.store.attachments(sandbox, volume.map(name).as_ref(), &CancelToken::default()).unwrap()
}

fn sandboxes(home: &Home, sandbox: Option<&str>, volume: Option<&str>) -> Vec<String> {
    listed(home, sandbox, volume).into_iter().map(|info| info.record.sandbox).collect()
}

fn catalog(home: &Home) -> rusqlite::Connection {
    rusqlite::Connection::open(home.path("db/volumes.db")).unwrap()
}

fn end(home: &Home, id: i64, force: bool) -> Result<(), Error> {
    home.store.end_attachment(id, force, &CancelToken::default())
}

#[test]
fn an_attachment_is_listed_with_all_that_it_holds() {
    let home = Home::new();
    home.create("data");
    let readonly = json!({ "readonly": true }).into();
    let reading = MountConfig::named(&OptionValue::Text("data".to_owned()), &readonly).unwrap();
    let disk = json!({ "mode": "create", "kind": "disk", "sizeMib": 8 });
    let image = home.path("image.raw");
    std::fs::write(&image, [0; 4096]).unwrap();
    let host = OptionValue::Text(image.to_str().unwrap().to_owned());
    let image = MountConfig::disk(&host, &readonly, Path::new("/")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let mounts = [existing("data"), reading, super::named("vm", disk), image, bind(elsewhere.path())];
    let attached = home.attach("worker", &mounts).unwrap();
    let [info] = &listed(&home, None, None)[..] else { panic!() };
    let record = &info.record;
    assert!(info.running);
    assert_eq!((record.id, record.sandbox.as_str()), (attached.id, "worker"));
    assert_eq!(record.owner.pid, std::process::id());
    let volumes: Vec<_> = record
        .volumes
        .iter()
        .map(|volume| (volume.name.as_str(), volume.guest_path.as_deref().unwrap(), volume.readonly))
        .collect();
    assert_eq!(volumes, [("data", "/0", false), ("data", "/1", true), ("vm", "/2", false)]);
    let [image] = &record.images[..] else { panic!("{:?}", record.images) };
    assert_eq!(Path::new(&image.path), home.path("image.raw").canonicalize().unwrap());
    assert_eq!((image.guest_path.as_deref(), image.readonly), (Some("/3"), true));
}

#[test]
fn attachments_come_newest_first_and_by_sandbox_and_volume() {
    let home = Home::new();
    for volume in ["one", "two"] {
        home.create(volume);
    }
    for (sandbox, volume, at) in [("b", "one", 1), ("a", "one", 2), ("c", "two", 2), ("a", "two", 3)] {
        let id = home.attach(sandbox, &[existing(volume)]).unwrap().id;
        catalog(&home).execute("UPDATE attachment SET created_at_ms = ?1 WHERE id = ?2", (at, id)).unwrap();
    }
    assert_eq!(sandboxes(&home, None, None), ["a", "a", "c", "b"]);
    assert_eq!(sandboxes(&home, None, Some("one")), ["a", "b"]);
    assert_eq!(sandboxes(&home, Some("a"), None), ["a", "a"]);
    assert_eq!(sandboxes(&home, Some("a"), Some("two")), ["a"]);
    assert_eq!(sandboxes(&home, Some("d"), None), [""; 0]);
    let unknown = home.store.attachments(None, Some(&name("none")), &CancelToken::default()).unwrap_err();
    assert_eq!(
        (unknown.kind(), unknown.context().volume.as_deref()),
        (ErrorKind::VolumeNotFound, Some("none"))
    );
    assert_eq!(
        invalid_field(&home.store.attachments(Some("a\n"), None, &CancelToken::default()).unwrap_err()),
        "sandbox"
    );
}

#[test]
fn an_attachment_whose_process_ended_is_not_listed_and_goes_when_somebody_attaches() {
    let home = Home::new();
    home.create("data");
    let mut process = IdleProcess::start();
    home.attach_for("gone", &[existing("data")], Some(process.pid())).unwrap();
    assert_eq!(sandboxes(&home, None, None), ["gone"]);
    process.end();
    assert_eq!(sandboxes(&home, None, Some("data")), [""; 0]);
    let count = || -> i64 {
        catalog(&home).query_row("SELECT count(*) FROM attachment", (), |row| row.get(0)).unwrap()
    };
    assert_eq!(count(), 1, "a read wrote");
    home.attach("next", &[]).unwrap();
    assert_eq!(count(), 1);
    assert_eq!(sandboxes(&home, None, None), ["next"]);
}

#[test]
fn a_list_does_not_wait_for_whoever_writes_the_catalog() {
    let home = Home::new();
    home.attach("worker", &[create("data")]).unwrap();
    let writer = catalog(&home);
    writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM attachment").unwrap();
    assert_eq!(sandboxes(&home, None, Some("data")), ["worker"]);
}

#[test]
fn an_attachment_of_a_running_process_is_ended_by_force_only() {
    let home = Home::new();
    let process = IdleProcess::start();
    let attached = home.attach_for("worker", &[create("data")], Some(process.pid())).unwrap();
    let error = end(&home, attached.id, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VolumeInUse);
    assert_eq!(error.context().sandboxes, ["worker"]);
    assert_eq!(error.context().holders[0].pid, process.pid());
    assert_eq!(
        error.to_string(),
        format!(
            "Attachment \"{}\" belongs to \"worker\" (process {}, read-write), and that process is running. End it, \
             or detach with {{ force: true }}.",
            attached.id,
            process.pid()
        )
    );
    assert_eq!(sandboxes(&home, None, None), ["worker"]);
    end(&home, attached.id, true).unwrap();
    assert_eq!(end(&home, attached.id, true).unwrap_err().kind(), ErrorKind::AttachmentNotFound);
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
}

#[test]
fn an_attachment_of_another_name_space_is_listed_as_such_and_ended_without_force() {
    let home = Home::new();
    let attached = home.attach("container", &[create("data")]).unwrap();
    catalog(&home).execute("UPDATE attachment SET pid_namespace = 1, pid = 7", ()).unwrap();
    let [info] = &listed(&home, None, None)[..] else { panic!() };
    assert!(!info.running);
    let refused = home.store.remove(&name("data"), &CancelToken::default()).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!(
            "Volume \"data\" is attached to \"container\" (process 7 of another PID namespace, read-write). Detach \
             it, or end the process. If a process's namespace is gone, detach(\"{}\").",
            attached.id
        )
    );
    end(&home, attached.id, false).unwrap();
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
}

#[test]
fn an_attachment_that_ended_is_not_found() {
    let home = Home::new();
    let mut process = IdleProcess::start();
    let ended = home.attach_for("worker", &[create("data")], Some(process.pid())).unwrap();
    process.end();
    for id in [ended.id, 1] {
        for force in [false, true] {
            let error = end(&home, id, force).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AttachmentNotFound);
            assert!(error.to_string().contains(&format!("\"{id}\"")), "{error}");
        }
    }
}

#[test]
fn a_cancelled_end_leaves_the_attachment() {
    let home = Home::new();
    let attached = home.attach("worker", &[create("data")]).unwrap();
    let cancel = CancelToken::default();
    cancel.cancel();
    let error = home.store.end_attachment(attached.id, true, &cancel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Aborted);
    assert_eq!(sandboxes(&home, None, None), ["worker"]);
}

#[test]
fn a_volume_tells_each_holder_with_its_process_and_what_it_does() {
    let home = Home::new();
    home.create("data");
    let process = IdleProcess::start();
    let readonly = json!({ "readonly": true }).into();
    let reading = MountConfig::named(&OptionValue::Text("data".to_owned()), &readonly).unwrap();
    let reader = home.attach_for("reader", std::slice::from_ref(&reading), Some(process.pid())).unwrap();
    let writer = home.attach("writer", &[reading.clone(), existing("data")]).unwrap();
    let refused = home.store.remove(&name("data"), &CancelToken::default()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "Volume \"data\" is attached to \"reader\" (process {}, read-only), \"writer\" (process {}, read-write). \
             Detach it from each, or end the processes.",
            process.pid(),
            std::process::id()
        )
    );
    let holders = &refused.context().holders;
    let told: Vec<_> = holders.iter().map(|it| (it.id, it.sandbox.as_str(), it.pid, it.readonly)).collect();
    assert_eq!(
        told,
        [(reader.id, "reader", process.pid(), true), (writer.id, "writer", std::process::id(), false)]
    );
    for _ in 0..8 {
        home.attach("many", std::slice::from_ref(&reading)).unwrap();
    }
    let refused = home.store.remove(&name("data"), &CancelToken::default()).unwrap_err();
    assert!(refused.to_string().contains("read-only) and 2 more. Detach it"), "{refused}");
    assert_eq!((refused.context().holders.len(), refused.context().sandboxes.len()), (10, 3));
}

#[test]
fn attachments_are_seen_from_another_store() {
    let home = Home::new();
    home.create("data");
    let other = Store::open(&home.path(""), Durability::Full).unwrap();
    let mounts = validate_and_order(vec![("/data".to_owned(), existing("data"))]).unwrap();
    let attached = other.attach("worker", &mounts, None, &CancelToken::default()).unwrap();
    assert_eq!(listed(&home, None, None)[0].record.id, attached.id);
    end(&home, attached.id, true).unwrap();
    assert!(other.attachments(None, None, &CancelToken::default()).unwrap().is_empty());
}
