//! Invalid catalogs: an open refuses them at once, and `check` repairs them without loss.

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rusqlite::Connection;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{Labels, VolumeName, VolumeSpec};
use sandbox_volumes::store::{Durability, HomeProblem, ProblemKind, Store, check};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A closed home with the volume `data`, which has a quota, a label and a file.
fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), Durability::Full).unwrap();
    let spec =
        VolumeSpec::from_options(&[json!({ "quotaMib": 4, "labels": { "env": "prod" } }).into()]).unwrap();
    store.create(&VolumeName::parse("data").unwrap(), &spec, &CancelToken::default()).unwrap();
    fs::write(home.path().join("volumes/data/file"), "kept").unwrap();
    drop(store);
    // So that no test depends on what is in the log.
    change(home.path(), "PRAGMA wal_checkpoint(TRUNCATE)");
    home
}

fn database(home: &Path, entry: &str) -> PathBuf {
    home.join("db").join(entry)
}

fn found(home: &Path, repair: bool) -> Vec<HomeProblem> {
    check(home, repair, &CancelToken::default()).unwrap()
}

fn refused(home: &Path) -> Error {
    let error = Store::open(home, Durability::Full).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Catalog, "{error}");
    error
}

/// The quota of `data`, which must be there with its file.
fn quota(home: &Path) -> Option<u32> {
    let store = Store::open(home, Durability::Full).unwrap();
    let volumes = store.list(&Labels::default(), &CancelToken::default()).unwrap();
    let [volume] = &volumes[..] else { panic!("{volumes:?}") };
    assert_eq!(volume.record.name.as_str(), "data");
    assert_eq!(fs::read_to_string(home.join("volumes/data/file")).unwrap(), "kept");
    volume.record.storage.quota_mib()
}

fn kept(home: &Path) -> Vec<String> {
    let names =
        fs::read_dir(home.join("db")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".damaged-")).collect()
}

/// Changes a home's catalog by SQL.
fn change(home: &Path, sql: &str) {
    Connection::open(database(home, "volumes.db")).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn what_is_no_file_in_place_of_a_catalogs_file_is_refused_at_once_and_moved_aside() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target.db");
    let make = |kind: &str, path: &Path| match kind {
        "a FIFO" => mkfifo(path, Mode::S_IRWXU).unwrap(),
        "a directory" => fs::create_dir(path).unwrap(),
        "a socket" => drop(UnixListener::bind(path).unwrap()),
        _ => symlink(&target, path).unwrap(),
    };
    for kind in ["a FIFO", "a directory", "a socket", "a symbolic link"] {
        let files = ["", "-wal", "-shm", "-journal", ".lock", ".copies", ".spare"];
        for entry in files.map(|suffix| format!("volumes.db{suffix}")) {
            let home = home();
            let path = database(home.path(), &entry);
            fs::remove_file(&path).ok();
            make(kind, &path);
            let error = refused(home.path());
            assert!(error.to_string().contains(&format!("{path:?} is {kind}")), "{error}");
            let problems = found(home.path(), false);
            let [problem] = &problems[..] else { panic!("{entry}: {problems:?}") };
            assert_eq!(
                (problem.kind, &problem.path, problem.repaired),
                (ProblemKind::CatalogDamaged, &path, false)
            );
            assert!(found(home.path(), true).iter().all(|problem| problem.repaired), "{kind} as {entry}");
            assert_eq!(found(home.path(), false).len(), 0, "{kind} as {entry}");
            let [kept] = &kept(home.path())[..] else { panic!("{kind} as {entry}") };
            assert!(kept.starts_with(&format!("{entry}.damaged-")));
            assert!(!fs::symlink_metadata(database(home.path(), kept)).unwrap().is_file());
            // The row is lost with the catalog alone.
            assert_eq!(quota(home.path()).is_none(), entry == "volumes.db", "{kind} as {entry}");
            assert!(!target.exists(), "a link was followed");
        }
    }
}

#[test]
fn a_device_in_place_of_the_catalog_is_refused() {
    let home = home();
    fs::remove_file(database(home.path(), "volumes.db")).unwrap();
    symlink("/dev/zero", database(home.path(), "volumes.db")).unwrap();
    refused(home.path());
    assert!(found(home.path(), true)[0].repaired);
    assert!(fs::metadata(database(home.path(), &kept(home.path())[0])).unwrap().file_type().is_char_device());
}

#[test]
fn a_catalog_with_another_version_gets_its_own_back_and_keeps_all() {
    for version in [0, 1, 2, -1, -2_147_483_648, 2_147_483_647, 1_000_000] {
        let home = home();
        change(home.path(), &format!("PRAGMA user_version = {version}"));
        // A higher one may be a newer program's. A lower one is only what older programs look at.
        let reported = check(home.path(), false, &CancelToken::default());
        match version > 1000 {
            true => {
                refused(home.path());
                assert_eq!(reported.unwrap_err().kind(), ErrorKind::Catalog);
            }
            false => assert_eq!(reported.unwrap()[0].kind, ProblemKind::CatalogDamaged),
        }
        let problems = found(home.path(), true);
        let [problem] = &problems[..] else { panic!("{version}: {problems:?}") };
        assert_eq!((problem.kind, problem.repaired), (ProblemKind::CatalogDamaged, true), "{version}");
        assert_eq!(quota(home.path()), Some(4), "{version}");
        assert!(kept(home.path()).is_empty() && found(home.path(), false).is_empty());
    }
}

#[test]
fn a_catalog_whose_own_version_is_wrong_gets_it_back_and_keeps_all() {
    for damage in [
        "UPDATE schema_version SET version = 2",
        "UPDATE schema_version SET version = -7",
        "UPDATE schema_version SET version = 0; PRAGMA user_version = 0",
        "DELETE FROM schema_version",
    ] {
        let home = home();
        change(home.path(), damage);
        refused(home.path());
        assert_eq!(found(home.path(), false)[0].kind, ProblemKind::CatalogDamaged, "{damage}");
        assert!(found(home.path(), true)[0].repaired, "{damage}");
        assert_eq!(quota(home.path()), Some(4), "{damage}");
        assert!(kept(home.path()).is_empty() && found(home.path(), false).is_empty(), "{damage}");
    }
}

#[test]
fn a_newer_catalog_is_refused_by_check_too_and_not_touched() {
    let home = home();
    change(home.path(), "CREATE TABLE of_tomorrow (x); PRAGMA user_version = 1000000");
    for repair in [false, true] {
        let error = check(home.path(), repair, &CancelToken::default()).unwrap_err();
        assert!(error.to_string().contains("schema version 1000000"), "{error}");
    }
    let version = |pragma| {
        let catalog = Connection::open(database(home.path(), "volumes.db")).unwrap();
        catalog.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(version("user_version"), 1_000_000);
    assert!(kept(home.path()).is_empty());
}

#[test]
fn a_newer_catalog_with_the_same_tables_keeps_its_versions() {
    for lowest in [1_000_000, 1_000_001, 1_000_002] {
        let home = home();
        change(
            home.path(),
            &format!("UPDATE schema_version SET version = 1000002; PRAGMA user_version = {lowest}"),
        );
        for repair in [false, true] {
            let error = check(home.path(), repair, &CancelToken::default()).unwrap_err();
            assert!(error.to_string().contains(&format!("schema version {lowest}")), "{error}");
        }
        let catalog = Connection::open(database(home.path(), "volumes.db")).unwrap();
        let sql = "SELECT version FROM schema_version";
        assert_eq!(catalog.query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap(), 1_000_002);
        let kept_lowest = catalog.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
        assert_eq!(kept_lowest.unwrap(), lowest);
        assert!(kept(home.path()).is_empty());
    }
}

#[test]
fn a_journal_is_kept_aside_with_its_catalog_and_is_its_owners_alone() {
    let home = home();
    let journal = database(home.path(), "volumes.db-journal");
    // SQLite leaves a journal that begins with a zero as it is.
    fs::write(&journal, [0; 64]).unwrap();
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o666)).unwrap();
    drop(Store::open(home.path(), Durability::Full).unwrap());
    assert_eq!(fs::metadata(&journal).unwrap().mode() & 0o777, 0o600);
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(database(home.path(), &format!("volumes.db{suffix}"))).ok();
    }
    fs::write(database(home.path(), "volumes.db"), "no database").unwrap();
    assert!(found(home.path(), true).iter().all(|problem| problem.repaired));
    assert!(kept(home.path()).iter().any(|kept| kept.ends_with("-journal")), "{:?}", kept(home.path()));
    assert!(!journal.exists());
}

/// SQL that never ends.
const ENDLESS: &str =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

#[test]
fn a_catalog_with_other_tables_is_kept_aside_and_its_volumes_are_found_again() {
    let version = {
        let home = home();
        let catalog = Connection::open(database(home.path(), "volumes.db")).unwrap();
        catalog.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap()
    };
    let drop_all = "PRAGMA foreign_keys = 0; PRAGMA writable_schema = 1; DELETE FROM sqlite_schema; PRAGMA writable_schema = 0;";
    let view = "ALTER TABLE volume RENAME TO hidden; CREATE VIEW volume AS SELECT * FROM hidden;";
    let endless_view = format!(
        "ALTER TABLE volume RENAME TO hidden;
         CREATE VIEW volume AS SELECT * FROM hidden WHERE id = ({ENDLESS});"
    );
    let trigger = format!("CREATE TRIGGER t AFTER INSERT ON intent BEGIN SELECT ({ENDLESS}); END;");
    let recursive = "PRAGMA recursive_triggers = 1;
         CREATE TRIGGER t AFTER UPDATE ON volume BEGIN UPDATE volume SET name = name || 'x'; END;";
    for (damage, refuses_open) in [
        ("DROP TABLE lease", false),
        ("DROP TABLE intent", true),
        ("ALTER TABLE volume DROP COLUMN labels", false),
        (view, true),
        (&endless_view, true),
        (&trigger, false),
        (recursive, false),
        (&format!("{drop_all} PRAGMA user_version = {version}"), true),
        (&format!("{drop_all} PRAGMA user_version = 0"), false),
    ] {
        let home = home();
        change(home.path(), damage);
        if refuses_open {
            let outcome = Store::open(home.path(), Durability::Full)
                .and_then(|store| store.list(&Labels::default(), &CancelToken::default()));
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Catalog, "{damage}");
        }
        let problems = found(home.path(), false);
        assert_eq!(
            (problems[0].kind, problems[0].repaired),
            (ProblemKind::CatalogDamaged, false),
            "{damage}"
        );
        let problems = found(home.path(), true);
        assert_eq!((problems[0].kind, problems[0].repaired), (ProblemKind::CatalogDamaged, true), "{damage}");
        let kept = kept(home.path());
        let whole = kept.iter().find(|kept| !kept.ends_with("-wal") && !kept.ends_with("-shm"));
        assert!(problems[0].message.contains(whole.unwrap().as_str()), "{damage}: {problems:?}");
        assert_eq!(quota(home.path()), None, "{damage}");
        assert!(found(home.path(), false).is_empty(), "{damage}");
    }
}

#[test]
fn an_empty_catalog_is_one_that_is_missing() {
    let home = home();
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(database(home.path(), &format!("volumes.db{suffix}"))).ok();
    }
    fs::write(database(home.path(), "volumes.db"), "").unwrap();
    for (repair, repaired) in [(false, false), (true, true)] {
        let problems = found(home.path(), repair);
        assert_eq!((problems[0].kind, problems[0].repaired), (ProblemKind::CatalogMissing, repaired));
    }
    assert_eq!(quota(home.path()), None);
}

#[test]
fn the_catalogs_files_are_their_owners_alone() {
    let home = home();
    let modes = || {
        let entries = fs::read_dir(home.path().join("db")).unwrap().map(Result::unwrap);
        entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().mode() & 0o777)).collect::<Vec<_>>()
    };
    let store = Store::open(home.path(), Durability::Full).unwrap();
    assert!(modes().len() >= 6 && modes().iter().all(|(_, mode)| *mode == 0o600), "{:?}", modes());
    drop(store);
    for (entry, _) in modes() {
        fs::set_permissions(home.path().join("db").join(entry), fs::Permissions::from_mode(0o666)).unwrap();
    }
    let _store = Store::open(home.path(), Durability::Full).unwrap();
    assert!(modes().iter().all(|(_, mode)| *mode == 0o600), "{:?}", modes());
}
