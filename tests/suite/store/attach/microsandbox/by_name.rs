//! Mounting by name: only what microsandbox's catalog has, for it deletes the directory of another.

use super::{Msb, volume};
use crate::support::home::Home;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::store::Attachment;
use serde_json::json;
use std::fs;

fn attached(home: &Home, name: &str) -> Attachment {
    home.attach_at(&[("/data", volume(name, json!({})))]).unwrap()
}

fn refused(home: &Home, attachment: &Attachment, says: &str) {
    let error = home.by_name(attachment).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedMount, "{error}");
    assert_eq!(error.context().path.as_deref(), Some("/data"));
    assert!(error.to_string().contains(says), "{error}");
    assert!(error.to_string().contains("leave \"byName\" unset"), "{error}");
}

#[test]
fn a_volume_that_its_catalog_has_is_mounted_by_name() {
    for catalog in [Msb::older, Msb::newer] {
        let home = Home::new();
        home.create("data");
        let msb = catalog(&home);
        msb.has_directory("data");
        let attachment = home.attach_at(&[("/data", volume("data", json!({ "readonly": true })))]).unwrap();
        assert_eq!(home.by_name(&attachment).unwrap(), ["--mount-named", "data:/data:ro"]);
    }
}

#[test]
fn case_65_a_volume_that_its_catalog_lacks_is_refused() {
    let home = Home::new();
    home.create("data");
    let attachment = attached(&home, "data");
    refused(&home, &attachment, "its catalog has no volume \"data\"");
    let msb = Msb::older(&home);
    refused(&home, &attachment, "its catalog has no volume \"data\"");
    msb.has_directory("Data");
    refused(&home, &attachment, "its catalog has no volume \"data\"");
    msb.has_directory("data");
    home.by_name(&attachment).unwrap();
    msb.run("DELETE FROM volume WHERE name = 'data'");
    refused(&home, &attachment, "its catalog has no volume \"data\"");
}

#[test]
fn a_volume_that_it_removed_and_made_again_is_another_one() {
    let home = Home::new();
    home.create("data");
    let msb = Msb::older(&home);
    msb.has_directory("data");
    let attachment = attached(&home, "data");
    msb.run("DELETE FROM volume WHERE name = 'data'");
    msb.has_directory("data");
    refused(&home, &attachment, "another one than when it was attached");
    home.by_name(&attached(&home, "data")).unwrap();
}

#[test]
fn a_volume_that_it_is_still_creating_is_refused() {
    for sql in ["creation_state = 'creating'", "pending_creation_sandbox_id = 1"] {
        let home = Home::new();
        home.create("data");
        let msb = Msb::newer(&home);
        msb.has_directory("data");
        msb.has_sandbox("box", "Created", "{}", None);
        msb.run(&format!("UPDATE volume SET {sql}"));
        refused(&home, &attached(&home, "data"), "it is still creating the volume");
    }
}

#[test]
fn a_disk_is_named_with_its_kind_and_size() {
    let home = Home::new();
    home.create_disk("data", json!({ "sizeMib": 64 })).unwrap();
    let msb = Msb::newer(&home);
    msb.has_disk("data", 64 << 20);
    let attachment = attached(&home, "data");
    assert_eq!(home.by_name(&attachment).unwrap(), ["--mount-named", "data:/data:kind=disk,size=64M"]);
    msb.run("UPDATE volume SET capacity_bytes = NULL");
    refused(&home, &attachment, "no size in MiB");
    msb.run("UPDATE volume SET capacity_bytes = 67108865");
    refused(&home, &attachment, "no size in MiB");
    msb.run("UPDATE volume SET kind = 'dir'");
    refused(&home, &attachment, "its kind is \"dir\" in its catalog, and \"disk\" here");
    // An unknown kind is a directory to microsandbox.
    msb.run("UPDATE volume SET kind = 'new'");
    refused(&home, &attachment, "its kind is \"dir\" in its catalog");
}

#[test]
fn a_microsandbox_with_its_volumes_elsewhere_finds_none_of_these_by_name() {
    let home = Home::new();
    home.create("data");
    let msb = Msb::older(&home);
    msb.has_directory("data");
    let elsewhere = tempfile::tempdir().unwrap();
    for (config, says) in [
        (json!({ "paths": { "volumes": elsewhere.path() } }).to_string(), "has its volumes in"),
        (json!({ "paths": { "volumes": "volumes" } }).to_string(), "has its volumes in \"volumes\""),
        (json!({ "paths": { "volumes": "/no/such/place" } }).to_string(), "has its volumes in"),
        (json!({ "paths": { "volumes": 1 } }).to_string(), "does not say where"),
        ("{".to_owned(), "does not say where"),
    ] {
        fs::write(home.path("config.json"), config).unwrap();
        refused(&home, &attached(&home, "data"), says);
    }
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(home.path("volumes"), &link).unwrap();
    for config in [
        json!({}),
        json!({ "paths": {} }),
        json!({ "paths": { "volumes": null } }),
        json!({ "paths": { "volumes": home.path("volumes") } }),
        json!({ "paths": { "volumes": link } }),
    ] {
        fs::write(home.path("config.json"), config.to_string()).unwrap();
        home.by_name(&attached(&home, "data")).unwrap();
    }
}

#[test]
fn a_catalog_of_an_unknown_version_is_refused_and_left_as_it_is() {
    for change in [
        "ALTER TABLE volume DROP COLUMN kind",
        "ALTER TABLE volume DROP COLUMN disk_fstype",
        "DROP TABLE volume",
        "DROP TABLE volume; CREATE VIEW volume AS SELECT * FROM sandbox",
        "ALTER TABLE volume ADD COLUMN creation_state text",
        "DROP TABLE volume; CREATE TABLE volume (id integer PRIMARY KEY, name text, quota_mib, size_bytes, labels,
         created_at, updated_at, kind, capacity_bytes, disk_format, disk_fstype, new text NOT NULL)",
        "CREATE TRIGGER new AFTER INSERT ON volume BEGIN SELECT 1; END",
    ] {
        let home = Home::new();
        home.create("data");
        let msb = Msb::older(&home);
        msb.run(change);
        let attachment = attached(&home, "data");
        let error = home.by_name(&attachment).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Catalog, "{change}: {error}");
        assert!(error.to_string().contains("m20260824_000001_mount_owner_config"), "{change}: {error}");
        home.store.detach(attachment.id).unwrap();
        let error = home.remove("data").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Catalog, "{change}: {error}");
        assert!(home.path("volumes/data").is_dir());
    }
    // A default that microsandbox sets itself does not matter.
    let home = Home::new();
    home.create("data");
    let msb = Msb::older(&home);
    msb.run(
        "ALTER TABLE volume ADD COLUMN new text; ALTER TABLE volume ADD COLUMN more text NOT NULL DEFAULT ''",
    );
    msb.has_directory("data");
    home.by_name(&attached(&home, "data")).unwrap();
}

#[test]
fn something_else_in_the_place_of_its_catalog_is_refused() {
    let home = Home::new();
    home.create("data");
    let place = home.path("db/msb.db");
    let is_refused = || {
        let error = home.by_name(&attached(&home, "data")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Catalog, "{error}");
        assert!(error.to_string().contains("msb.db"), "{error}");
    };
    fs::write(&place, "no database at all").unwrap();
    is_refused();
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    is_refused();
    fs::remove_dir(&place).unwrap();
    nix::unistd::mkfifo(&place, nix::sys::stat::Mode::S_IRWXU).unwrap();
    is_refused();
    fs::remove_file(&place).unwrap();
    fs::write(home.path("elsewhere"), "").unwrap();
    std::os::unix::fs::symlink(home.path("elsewhere"), &place).unwrap();
    is_refused();
}

#[test]
fn a_writer_of_its_catalog_is_in_no_readers_way_and_one_that_keeps_readers_out_is_an_error() {
    let home = Home::new();
    home.create("data");
    let msb = Msb::older(&home);
    msb.has_directory("data");
    let attachment = attached(&home, "data");
    msb.run("BEGIN IMMEDIATE; INSERT INTO volume (name) VALUES ('other')");
    home.by_name(&attachment).unwrap();
    msb.run("ROLLBACK");
    drop(msb);

    let home = Home::new();
    home.create("data");
    let msb = Msb::older(&home);
    msb.has_directory("data");
    // Without a write-ahead log.
    msb.run("PRAGMA journal_mode = delete; BEGIN EXCLUSIVE");
    let attachment = attached(&home, "data");
    let error = home.by_name(&attachment).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Catalog, "{error}");
    assert!(error.to_string().contains("is locked by another program"), "{error}");
    msb.run("ROLLBACK");
    home.by_name(&attachment).unwrap();
}

#[test]
fn a_catalog_that_took_the_place_of_the_first_is_the_one_that_counts() {
    let home = Home::new();
    home.create("data");
    let msb = Msb::older(&home);
    msb.has_directory("data");
    let attachment = attached(&home, "data");
    home.by_name(&attachment).unwrap();
    drop(msb);
    for file in ["msb.db", "msb.db-wal", "msb.db-shm"] {
        let _may_be_gone = fs::remove_file(home.path("db").join(file));
    }
    let _anew = Msb::older(&home);
    refused(&home, &attachment, "its catalog has no volume \"data\"");
}
