//! The catalogs of earlier and newer versions.

use super::{id_of, ids, plain, stored_ids};
use crate::support::home::{Home, name};
use rusqlite::Connection;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use std::fs;

/// A home whose catalog an earlier version wrote.
fn home_of_version(version: u32, volumes: &[&str]) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for dir in ["db", "volumes"] {
        fs::create_dir(home.path().join(dir)).unwrap();
    }
    volumes.iter().for_each(|volume| fs::create_dir(home.path().join("volumes").join(volume)).unwrap());
    let catalog = format!("{}/tests/catalogs/version-{version}.db", env!("CARGO_MANIFEST_DIR"));
    fs::copy(catalog, home.path().join("db/volumes.db")).unwrap();
    home
}

#[test]
fn the_volumes_of_every_earlier_catalog_get_ids_and_keep_them() {
    for version in [1, 2, 3] {
        let home = home_of_version(version, &["limited", "plain"]);
        let first = ids(&Store::open(home.path(), Durability::Full).unwrap());
        assert!(first.contains_key("limited") && first.contains_key("plain"), "version {version}");
        assert_eq!(stored_ids(home.path()), first, "version {version}");
        assert_eq!(ids(&Store::open(home.path(), Durability::Full).unwrap()), first);
    }
    let home = home_of_version(4, &["limited", "plain"]);
    let ids = ids(&Store::open(home.path(), Durability::Full).unwrap());
    let text = |volume: &str| ids[volume].to_string();
    assert_eq!(
        [text("limited"), text("plain")],
        ["837d87efd7d9d28badd666e4ea2ea5af", "3f8df8e63f7a08db1987a28e46b2898e"]
    );
}

#[test]
fn a_program_of_version_3_goes_on_with_the_catalog_and_its_volumes_get_ids() {
    let home = home_of_version(3, &["limited", "plain"]);
    let store = Store::open(home.path(), Durability::Full).unwrap();
    let earlier = Connection::open(home.path().join("db/volumes.db")).unwrap();
    let version: i64 = earlier.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 3, "a program of version 3 refuses a higher one");
    // What that program writes to create a volume, and to remove one and make it again.
    let insert = "INSERT INTO volume
        (name, kind, quota_mib, capacity_bytes, disk_format, disk_fstype, labels, created_at_ms)
        VALUES (?1, 'dir', NULL, NULL, NULL, NULL, '{}', 1) ON CONFLICT (name) DO NOTHING";
    let before = id_of(&store, "plain");
    fs::create_dir(home.path().join("volumes/theirs")).unwrap();
    earlier.execute(insert, ["theirs"]).unwrap();
    assert_eq!(earlier.last_insert_rowid(), 3);
    earlier.execute("DELETE FROM lease", ()).unwrap();
    earlier.execute("DELETE FROM volume WHERE name = 'plain'", ()).unwrap();
    earlier.execute(insert, ["plain"]).unwrap();
    let seen = ids(&store);
    assert_eq!(seen.len(), 3);
    assert_ne!(seen["plain"], before);
    assert_ne!(stored_ids(home.path()), seen);
    let opened = Store::open(home.path(), Durability::Full).unwrap();
    assert_eq!(ids(&opened), seen);
    assert_eq!(stored_ids(home.path()), seen);
}

#[test]
fn what_a_newer_version_added_to_the_catalog_is_no_hindrance_unless_it_says_so() {
    let home = Home::new();
    home.create("data");
    let newer = Connection::open(home.path("db/volumes.db")).unwrap();
    newer
        .execute_batch(
            "ALTER TABLE volume ADD COLUMN later TEXT; CREATE TABLE later (id INTEGER);
             UPDATE schema_version SET version = 1000000",
        )
        .unwrap();
    let store = Store::open(&home.path(""), Durability::Full).unwrap();
    store.create(&name("more"), &plain(), &CancelToken::default()).unwrap();
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
    let version: i64 = newer.query_row("SELECT version FROM schema_version", (), |row| row.get(0)).unwrap();
    assert_eq!(version, 1_000_000);
    newer.pragma_update(None, "user_version", 1_000_000).unwrap();
    let refused = Store::open(&home.path(""), Durability::Full).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Catalog);
}
