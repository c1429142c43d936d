//! Removing what a running sandbox has mounted.

use super::{Msb, volume};
use crate::support::{Home, name};
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{Cancel, Input};
use sandbox_volumes::mount::{MountConfig, plan};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

fn in_use(home: &Home, volume: &str) -> Error {
    let error = home.remove(volume).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VolumeInUse, "{error}");
    assert_eq!(error.context().volume.as_deref(), Some(volume));
    assert!(home.path("volumes").join(volume).is_dir());
    error
}

fn mounts(mount: serde_json::Value) -> String {
    json!({ "name": "box", "mounts": [{ "type": "Tmpfs", "guest": "/t" }, mount] }).to_string()
}

#[test]
fn case_65_a_volume_that_a_running_sandbox_mounts_is_not_removed() {
    let home = Home::new();
    let data = home.create("data");
    fs::create_dir(data.join("part")).unwrap();
    let link = home.path("link");
    symlink(&data, &link).unwrap();
    let open = fs::File::open(data.join("part")).unwrap();
    let descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
    let msb = Msb::older(&home);
    let ways = [
        json!({ "type": "Named", "name": "data" }),
        json!({ "type": "Bind", "host": data }),
        json!({ "type": "Bind", "host": data.join("part") }),
        json!({ "type": "Bind", "host": data.join("gone/before") }),
        json!({ "type": "Bind", "host": link }),
        json!({ "type": "Bind", "host": home.path("volumes/../volumes/data") }),
        json!({ "type": "Bind", "host": descriptor }),
        json!({ "type": "DiskImage", "host": data.join("disk.raw") }),
    ];
    for (at, way) in ways.into_iter().enumerate() {
        let status = ["Starting", "Running", "Draining", "Paused"][at % 4];
        let other = mounts(json!({ "type": "Named", "name": "other" }));
        for (config, active) in [(mounts(way.clone()), None), (other, Some(mounts(way.clone())))] {
            msb.has_sandbox("box", status, &config, active.as_deref());
            let error = in_use(&home, "data");
            assert_eq!(error.context().sandboxes, ["box"], "{way}");
            assert!(
                error.to_string().contains("\"box\"") && error.to_string().contains("msb stop"),
                "{error}"
            );
            msb.run("DELETE FROM sandbox");
        }
    }
    let root = json!({ "image": { "Bind": { "path": data } }, "mounts": [] }).to_string();
    msb.has_sandbox("rooted", "Running", &root, None);
    assert_eq!(in_use(&home, "data").context().sandboxes, ["rooted"]);
    msb.run("UPDATE sandbox SET status = 'Stopped'");
    home.remove("data").unwrap();
}

#[test]
fn a_configuration_that_cannot_be_read_counts_as_in_use() {
    for config in ["", "{", "[]", r#"{"mounts":{"a":1}}"#, r#"{"mounts":[{"type":"New"}]}"#] {
        let home = Home::new();
        home.create("data");
        let msb = Msb::newer(&home);
        msb.has_sandbox("box", "Running", config, None);
        assert_eq!(in_use(&home, "data").context().sandboxes, ["box"], "{config}");
        msb.run("UPDATE sandbox SET config = '{}', active_config = x'ff'");
        in_use(&home, "data");
        msb.run("UPDATE sandbox SET active_config = NULL");
        home.remove("data").unwrap();
    }
}

#[test]
fn a_volume_that_no_running_sandbox_mounts_is_removed() {
    let home = Home::new();
    home.create("data");
    home.create("data-2");
    let msb = Msb::older(&home);
    for status in ["Created", "Stopped", "Crashed"] {
        msb.has_sandbox(status, status, &mounts(json!({ "type": "Named", "name": "data" })), None);
    }
    msb.has_sandbox("named", "Running", &mounts(json!({ "type": "Named", "name": "data-2" })), None);
    let beside = mounts(json!({ "type": "Bind", "host": home.path("volumes/data-2") }));
    msb.has_sandbox("bound", "Running", &beside, None);
    home.remove("data").unwrap();
    assert_eq!(in_use(&home, "data-2").context().sandboxes, ["bound", "named"]);
}

#[test]
fn the_same_name_in_another_directory_of_volumes_is_another_volume() {
    let home = Home::new();
    home.create("data");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(home.path("config.json"), json!({ "paths": { "volumes": elsewhere.path() } }).to_string())
        .unwrap();
    let msb = Msb::older(&home);
    msb.has_sandbox("box", "Running", &mounts(json!({ "type": "Named", "name": "data" })), None);
    home.remove("data").unwrap();
}

#[test]
fn a_volume_that_a_sandbox_is_being_created_with_is_not_removed() {
    let home = Home::new();
    home.create("data");
    let msb = Msb::newer(&home);
    msb.has_directory("data");
    msb.has_sandbox("box", "Created", "{}", None);
    msb.run("UPDATE volume SET pending_creation_sandbox_id = 1, creation_state = 'creating'");
    assert_eq!(in_use(&home, "data").context().sandboxes, ["box"]);
    // One that is being created alone may be removed.
    msb.run("UPDATE volume SET pending_creation_sandbox_id = NULL");
    home.remove("data").unwrap();
}

#[test]
fn a_catalog_without_sandboxes_is_in_nobodys_way() {
    let home = Home::new();
    home.create("data");
    let msb = Msb::older(&home);
    msb.run("DROP TABLE sandbox");
    home.remove("data").unwrap();
    home.create("data");
    msb.run("CREATE TABLE sandbox (name text, config text)");
    assert_eq!(home.remove("data").unwrap_err().kind(), ErrorKind::Catalog);
}

#[test]
fn nothing_is_removed_amid_a_downgrade() {
    let home = Home::new();
    home.create("data");
    let _msb = Msb::older(&home);
    let folder = home.path("db/self-downgrade/one");
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(home.path("db/self-downgrade/.hidden")).unwrap();
    fs::write(home.path("db/self-downgrade/file"), "").unwrap();
    for journal in [None, Some("{"), Some("{}"), Some(r#"{"phase":"database_reverted"}"#)] {
        if let Some(journal) = journal {
            fs::write(folder.join("journal.json"), journal).unwrap();
        }
        assert_eq!(home.remove("data").unwrap_err().kind(), ErrorKind::Catalog, "{journal:?}");
        assert!(home.path("volumes/data").is_dir());
    }
    fs::write(folder.join("journal.json"), r#"{"phase":"complete"}"#).unwrap();
    home.remove("data").unwrap();
}

#[test]
fn an_attach_that_fails_takes_its_own_volume_back_whatever_the_catalog_is() {
    let home = Home::new();
    let msb = Msb::older(&home);
    msb.run("DROP TABLE volume");
    let create = MountConfig::named_with(
        &Input::Text("new".to_owned()),
        &Input::Absent,
        &json!({ "mode": "create" }).into(),
    );
    let entries = vec![("/a".to_owned(), create.unwrap()), ("/b".to_owned(), volume("missing", json!({})))];
    let attached = home.store.attach("worker", &plan(entries).unwrap(), None, &Cancel::default());
    assert_eq!(attached.unwrap_err().kind(), ErrorKind::VolumeNotFound);
    assert!(!home.path("volumes/new").exists());
    assert!(home.store.get(&name("new"), &Cancel::default()).is_err());
}
