//! Removing what a running sandbox has mounted.

use super::{Msb, volume};
use crate::support::home::{Home, name};
use rusqlite::Connection;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{OptionValue, VolumeSpec};
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
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
        &OptionValue::Text("new".to_owned()),
        &OptionValue::Absent,
        &json!({ "mode": "create" }).into(),
    );
    let entries = vec![("/a".to_owned(), create.unwrap()), ("/b".to_owned(), volume("missing", json!({})))];
    let attached =
        home.store.attach("worker", &validate_and_order(entries).unwrap(), None, &CancelToken::default());
    assert_eq!(attached.unwrap_err().kind(), ErrorKind::VolumeNotFound);
    assert!(!home.path("volumes/new").exists());
    assert!(home.store.get(&name("new"), &CancelToken::default()).is_err());
}

impl Home {
    /// Leaves the removal of a volume begun, as a process that died before it moved anything.
    fn leave_removal(&self, volume: &str, in_place: bool) {
        let catalog = Connection::open(self.path("db/volumes.db")).unwrap();
        let sql = "INSERT INTO intent (volume_id, action, entry, in_place)
                   SELECT id, 'remove', name || '~1a-2b-3c', ?2 FROM volume WHERE name = ?1";
        assert_eq!(catalog.execute(sql, (volume, in_place)).unwrap(), 1);
    }

    fn has(&self, volume: &str) -> bool {
        self.store.get(&name(volume), &CancelToken::default()).is_ok()
    }
}

/// The operations that settle a removal which another process left: one that reads, one that writes, and an opening.
const MEETS: [fn(&Home); 3] = [
    |home| {
        home.has("data");
    },
    |home| {
        drop(home.store.create(
            &name("data"),
            &VolumeSpec::from_options(&[]).unwrap(),
            &CancelToken::default(),
        ))
    },
    |home| drop(Store::open(&home.path(""), Durability::Full).unwrap()),
];

#[test]
fn a_removal_that_had_moved_nothing_is_dropped_if_a_sandbox_mounts_the_volume_by_now() {
    for meet in MEETS {
        let home = Home::new();
        fs::write(home.create("data").join("file"), "kept").unwrap();
        let msb = Msb::older(&home);
        msb.has_sandbox("box", "Running", &mounts(json!({ "type": "Named", "name": "data" })), None);
        home.leave_removal("data", false);
        meet(&home);
        assert_eq!((home.intents(), home.has("data")), (0, true));
        assert_eq!(fs::read_to_string(home.path("volumes/data/file")).unwrap(), "kept");
        assert_eq!(in_use(&home, "data").context().sandboxes, ["box"]);
        msb.run("UPDATE sandbox SET status = 'Stopped'");
        home.leave_removal("data", false);
        meet(&home);
        assert_eq!((home.intents(), fs::exists(home.path("volumes/data/file")).unwrap()), (0, false));
    }
}

#[test]
fn a_removal_that_had_moved_nothing_is_dropped_if_a_program_locks_the_image_by_now() {
    for meet in MEETS {
        let home = Home::new();
        home.create_disk("data", json!({ "sizeMib": 8 })).unwrap();
        let image = home.path("volumes/data/disk.raw");
        let theirs = fs::File::open(&image).unwrap();
        theirs.try_lock().unwrap();
        home.leave_removal("data", false);
        meet(&home);
        assert_eq!((home.intents(), home.has("data"), image.exists()), (0, true, true));
        theirs.unlock().unwrap();
        home.leave_removal("data", false);
        meet(&home);
        assert_eq!((home.intents(), image.exists()), (0, false));
    }
}

#[test]
fn a_removal_is_dropped_if_what_sandboxes_mount_cannot_be_read() {
    let home = Home::new();
    home.create("data");
    let msb = Msb::older(&home);
    msb.run("ALTER TABLE volume DROP COLUMN kind");
    home.leave_removal("data", false);
    Store::open(&home.path(""), Durability::Full).unwrap();
    assert_eq!((home.intents(), home.has("data")), (0, true));
    assert_eq!(home.remove("data").unwrap_err().kind(), ErrorKind::Catalog);
}

#[test]
fn a_removal_that_had_begun_is_finished_whatever_mounts_the_volume() {
    for in_place in [false, true] {
        let home = Home::new();
        home.create("data");
        let msb = Msb::older(&home);
        msb.has_sandbox("box", "Running", &mounts(json!({ "type": "Named", "name": "data" })), None);
        home.leave_removal("data", in_place);
        if !in_place {
            fs::rename(home.path("volumes/data"), home.path("volumes/.trash/data~1a-2b-3c")).unwrap();
        }
        assert!(!home.has("data"));
        assert_eq!((home.intents(), home.path("volumes/data").exists()), (0, false), "{in_place}");
        assert_eq!(fs::read_dir(home.path("volumes/.trash")).unwrap().count(), 0);
    }
}

#[test]
fn a_volume_that_is_not_there_is_not_found_whatever_the_catalog_is() {
    let home = Home::new();
    home.create("data");
    let msb = Msb::older(&home);
    for change in ["CREATE TABLE other (id integer)", "DROP TABLE sandbox", "DROP TABLE volume"] {
        msb.run(change);
        let error = home.remove("missing").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::VolumeNotFound, "{change}: {error}");
    }
    // The volume is there, and may be in a sandbox.
    assert_eq!(home.remove("data").unwrap_err().kind(), ErrorKind::Catalog);
    let journal = home.path("db/self-downgrade/one");
    fs::create_dir_all(&journal).unwrap();
    assert_eq!(home.remove("missing").unwrap_err().kind(), ErrorKind::VolumeNotFound);
}
