//! Lost and damaged catalogs, and what `check` finds and repairs.

mod ids;
mod other_kinds;

use crate::support::home::{Home, name};
use crate::support::immutable::Immutable;
use rusqlite::Connection;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::{DiskFormat, Labels, VolumeDisk, VolumeSpec, VolumeStorage};
use sandbox_volumes::store::{Durability, HomeProblem, ProblemKind, Store, VolumeInfo, check};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

fn found(home: &Path, repair: bool) -> Vec<HomeProblem> {
    check(home, repair, &CancelToken::default()).unwrap()
}

fn kinds(problems: &[HomeProblem]) -> Vec<(ProblemKind, Option<&str>, bool)> {
    problems.iter().map(|problem| (problem.kind, problem.volume.as_deref(), problem.repaired)).collect()
}

fn listed(home: &Path) -> Vec<VolumeInfo> {
    let store = Store::open(home, Durability::Full).unwrap();
    let mut volumes = store.list(&Labels::default(), &CancelToken::default()).unwrap();
    volumes.sort_by(|one, other| one.record.name.cmp(&other.record.name));
    volumes
}

fn names(home: &Path) -> Vec<String> {
    listed(home).into_iter().map(|volume| volume.record.name.to_string()).collect()
}

fn catalog(home: &Home) -> Connection {
    Connection::open(home.path("db/volumes.db")).unwrap()
}

fn delete_catalog(home: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(home.join(format!("db/volumes.db{suffix}"))).ok();
    }
}

/// A closed home with the volumes `data` (a file in it), `raw` and `qcow2`.
fn home_with_volumes() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), Durability::Full).unwrap();
    for (volume, options) in [
        ("data", json!({ "quotaMib": 4, "labels": { "env": "prod" } })),
        ("raw", json!({ "kind": "disk", "sizeMib": 8 })),
        ("qcow2", json!({ "kind": "disk", "sizeMib": 16, "format": "qcow2" })),
    ] {
        let spec = VolumeSpec::from_options(&[options.into()]).unwrap();
        store.create(&name(volume), &spec, &CancelToken::default()).unwrap();
    }
    fs::write(home.path().join("volumes/data/file"), "kept").unwrap();
    home
}

fn assert_all_found(home: &Path) {
    let volumes = listed(home);
    let found: Vec<_> =
        volumes.iter().map(|volume| (volume.record.name.as_str(), volume.record.storage.clone())).collect();
    let disk =
        |format, bytes| VolumeStorage::Disk(VolumeDisk { format, capacity_bytes: Some(bytes), fstype: None });
    assert_eq!(
        found,
        [
            ("data", VolumeStorage::Directory { quota_mib: None }),
            ("qcow2", disk(DiskFormat::Qcow2, 16 << 20)),
            ("raw", disk(DiskFormat::Raw, 8 << 20)),
        ]
    );
    assert!(volumes.iter().all(|volume| volume.record.created_at_ms.is_some()));
    assert_eq!(fs::read_to_string(home.join("volumes/data/file")).unwrap(), "kept");
    let store = Store::open(home, Durability::Full).unwrap();
    for volume in ["data", "raw", "qcow2"] {
        store.remove(&name(volume), &CancelToken::default()).unwrap();
    }
}

#[test]
fn case_46_volumes_are_found_again_when_the_catalog_was_deleted() {
    let home = home_with_volumes();
    // Neither of these is a volume.
    fs::create_dir(home.path().join("volumes/-x")).unwrap();
    fs::write(home.path().join("volumes/file"), "").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("file"), "theirs").unwrap();
    symlink(elsewhere.path(), home.path().join("volumes/link")).unwrap();
    delete_catalog(home.path());
    assert_all_found(home.path());
    assert_eq!(fs::read_to_string(elsewhere.path().join("file")).unwrap(), "theirs");
}

#[test]
fn case_46_a_running_store_notices_that_its_catalog_was_deleted() {
    let home = Home::new();
    home.create("data");
    delete_catalog(&home.path(""));
    let volumes = home.store.list(&Labels::default(), &CancelToken::default()).unwrap();
    assert_eq!(volumes.len(), 1);
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
}

#[test]
fn case_46_a_damaged_catalog_is_refused_untouched_and_kept_aside_when_it_is_mended() {
    type Damage = fn(&Path);
    let garbage: Damage = |path| fs::write(path, "no catalog at all ".repeat(1000)).unwrap();
    let truncated: Damage = |path| {
        let length = fs::metadata(path).unwrap().len();
        File::options().write(true).open(path).unwrap().set_len(length / 2 + 7).unwrap();
    };
    let overwritten: Damage = |path| {
        let mut file = File::options().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(4096)).unwrap();
        file.write_all(&[0xA5; 8192]).unwrap();
    };
    for (what, damage) in [("garbage", garbage), ("truncated", truncated), ("overwritten", overwritten)] {
        let home = home_with_volumes();
        let path = home.path().join("db/volumes.db");
        // As a clean end leaves it: everything in the one file.
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        Connection::open(&path).unwrap().query_row(checkpoint, (), |_| Ok(())).unwrap();
        fs::remove_file(path.with_extension("db-wal")).ok();
        fs::remove_file(path.with_extension("db-shm")).ok();
        damage(&path);
        let before = fs::read(&path).unwrap();
        let opened = Store::open(home.path(), Durability::Full)
            .and_then(|store| store.list(&Labels::default(), &CancelToken::default()));
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Catalog, "{what}: {error}");
        assert!(error.to_string().contains("VolumeStore.check({ repair: true })"), "{what}: {error}");
        assert_eq!(kinds(&found(home.path(), false)), [(ProblemKind::CatalogDamaged, None, false)], "{what}");
        assert!(fs::read(&path).unwrap() == before, "{what}: it was touched");

        let problems = found(home.path(), true);
        assert_eq!(kinds(&problems), [(ProblemKind::CatalogDamaged, None, true)], "{what}");
        let kept = fs::read_dir(home.path().join("db")).unwrap().map(|entry| entry.unwrap().path());
        let kept: Vec<_> = kept
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("volumes.db.damaged-"))
            .filter(|path| fs::read(path).unwrap() == before)
            .collect();
        assert_eq!(kept.len(), 1, "{what}");
        assert!(problems[0].message.contains(kept[0].to_str().unwrap()), "{}", problems[0].message);
        assert_all_found(home.path());
        assert_eq!(kinds(&found(home.path(), false)), []);
    }
}

#[test]
fn a_sound_home_and_one_that_is_not_there_have_no_problems() {
    let home = home_with_volumes();
    assert_eq!(kinds(&found(home.path(), false)), []);
    let missing = home.path().join("missing");
    assert_eq!(kinds(&found(&missing, true)), []);
    assert!(!missing.exists());
}

#[test]
fn case_47_a_bad_row_is_left_out_with_a_warning_and_hides_no_other() {
    let home = Home::new();
    home.create("data");
    fs::create_dir(home.path("outside")).unwrap();
    for (row, kind, labels) in
        [("../../outside", "dir", "{}"), ("strange-kind", "block", "{}"), ("bad-labels", "dir", "[1]")]
    {
        let sql = "INSERT INTO volume (name, kind, labels) VALUES (?1, ?2, ?3)";
        catalog(&home).execute(sql, (row, kind, labels)).unwrap();
    }
    for _ in 0..2 {
        let volumes = home.store.list(&Labels::default(), &CancelToken::default()).unwrap();
        assert_eq!(volumes.len(), 1);
    }
    let warnings = home.store.take_warnings().unwrap();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("\"../../outside\"")), "{warnings:?}");
    assert_eq!(home.store.take_warnings().unwrap(), [""; 0]);

    let problems = found(&home.path(""), false);
    assert_eq!(problems.len(), 3);
    assert!(problems.iter().all(|problem| problem.kind == ProblemKind::InvalidRow && !problem.repaired));
    assert!(found(&home.path(""), true).iter().all(|problem| problem.repaired));
    assert_eq!(kinds(&found(&home.path(""), false)), []);
    // The names can be used again, and nothing outside was touched.
    home.create("strange-kind");
    assert!(home.path("outside").is_dir());
}

#[test]
fn a_directory_with_a_column_of_disks_and_a_disk_with_a_quota_are_invalid_rows() {
    for (column, row) in [
        ("disk_format", "kind = 'dir', disk_format = 'raw'"),
        ("disk_fstype", "kind = 'dir', disk_fstype = 'ext4'"),
        ("capacity_bytes", "kind = 'dir', capacity_bytes = 1048576"),
        ("quota_mib", "kind = 'disk', disk_format = 'raw', quota_mib = 1"),
        ("disk_format", "kind = 'disk'"),
    ] {
        let home = Home::new();
        let file = home.create("data").join("file");
        fs::write(&file, "kept").unwrap();
        catalog(&home).execute(&format!("UPDATE volume SET {row}"), ()).unwrap();
        let result = home.store.get(&name("data"), &CancelToken::default());
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Catalog, "{row}");
        let problems = found(&home.path(""), false);
        assert_eq!(kinds(&problems), [(ProblemKind::InvalidRow, Some("data"), false)], "{row}");
        assert!(problems[0].message.contains(column), "{row}: {}", problems[0].message);
        assert!(found(&home.path(""), true).iter().all(|problem| problem.repaired), "{row}");
        let record = home.store.get(&name("data"), &CancelToken::default()).unwrap().record;
        assert_eq!(record.storage, VolumeStorage::Directory { quota_mib: None }, "{row}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept", "{row}");
    }
}

#[test]
fn a_directory_without_a_row_and_a_row_without_a_directory_are_told_and_mended() {
    let home = Home::new();
    let deleted = home.create("deleted");
    let held = home.create("held");
    fs::remove_dir(&deleted).unwrap();
    let mount = sandbox_volumes::mount::MountConfig::named(
        &sandbox_volumes::model::OptionValue::Text("held".to_owned()),
        &sandbox_volumes::model::OptionValue::Absent,
    );
    let mounts =
        sandbox_volumes::mount::validate_and_order(vec![("/data".to_owned(), mount.unwrap())]).unwrap();
    let attached = home.store.attach("worker", &mounts, None, &CancelToken::default()).unwrap();
    fs::remove_dir(&held).unwrap();
    fs::create_dir(home.path("volumes/unknown")).unwrap();
    fs::write(home.path("volumes/unknown/file"), "kept").unwrap();

    let expected = |repaired: bool| {
        [
            (ProblemKind::MissingDirectory, Some("held"), false),
            (ProblemKind::MissingDirectory, Some("deleted"), repaired),
            (ProblemKind::UnknownDirectory, Some("unknown"), repaired),
        ]
    };
    for repair in [false, true] {
        let problems = found(&home.path(""), repair);
        let mut told = kinds(&problems);
        told.sort_by_key(|(kind, volume, _)| (*kind as u8, std::cmp::Reverse(*volume)));
        let mut wanted = expected(repair).to_vec();
        wanted.sort_by_key(|(kind, volume, _)| (*kind as u8, std::cmp::Reverse(*volume)));
        assert_eq!(told, wanted);
    }
    assert_eq!(names(&home.path("")), ["held", "unknown"]);
    assert_eq!(fs::read_to_string(home.path("volumes/unknown/file")).unwrap(), "kept");
    home.store.detach(attached.id).unwrap();
    assert_eq!(kinds(&found(&home.path(""), true)), [(ProblemKind::MissingDirectory, Some("held"), true)]);
    assert_eq!(kinds(&found(&home.path(""), false)), []);
}

#[test]
fn what_an_operation_left_is_told_and_finished() {
    let home = Home::new();
    home.create("data");
    let sql = "INSERT INTO intent (volume_id, action, entry) SELECT id, 'remove', 'data~1-2-3' FROM volume";
    catalog(&home).execute(sql, ()).unwrap();
    fs::create_dir(home.path("volumes/.trash/gone~1-2-3")).unwrap();
    fs::write(home.path("volumes/.staging/4-5-6"), "half a file").unwrap();
    // A file of the user's own, which stays.
    fs::write(home.path("volumes/.trash/notes"), "").unwrap();
    for (repair, count) in [(false, 3), (true, 3), (false, 0)] {
        let problems = found(&home.path(""), repair);
        assert_eq!(problems.len(), count, "{problems:?}");
        assert!(
            problems.iter().all(|it| it.kind == ProblemKind::IncompleteOperation && it.repaired == repair)
        );
    }
    assert_eq!(names(&home.path("")), [""; 0]);
    assert!(home.path("volumes/.trash/notes").exists());
    assert!(!home.path("volumes/data").exists());
}

#[test]
fn what_could_not_be_mended_is_not_told_as_mended() {
    let home = Home::new();
    for left in ["gone~1-2-3", "held~4-5-6"] {
        fs::create_dir(home.path("volumes/.trash").join(left)).unwrap();
    }
    let held = home.path("volumes/.trash/held~4-5-6/file");
    fs::write(&held, "").unwrap();
    let Some(immutable) = Immutable::new(&held) else { return };
    let told = |repair: bool| {
        let mut told: Vec<_> =
            found(&home.path(""), repair).into_iter().map(|it| (it.path, it.repaired)).collect();
        told.sort_unstable();
        told
    };
    let [gone, held] = ["gone~1-2-3", "held~4-5-6"].map(|left| home.path("volumes/.trash").join(left));
    assert_eq!(told(true), [(gone, true), (held.clone(), false)]);
    let left = found(&home.path(""), true);
    assert!(left[0].message.contains("cannot be deleted") && left[0].message.contains("EPERM"), "{left:?}");
    drop(immutable);
    assert_eq!(told(true), [(held, true)]);
    assert_eq!(told(true), []);
}

#[test]
fn a_bad_image_and_a_stranger_are_told_and_left_alone() {
    let home = home_with_volumes();
    File::create(home.path().join("volumes/qcow2/disk.qcow2")).unwrap().write_all(&[1; 4096]).unwrap();
    fs::remove_file(home.path().join("volumes/raw/disk.raw")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), home.path().join("volumes/link")).unwrap();
    for repair in [false, true] {
        let problems = found(home.path(), repair);
        let mut told = kinds(&problems);
        told.sort_by_key(|(kind, volume, _)| (*kind as u8, *volume));
        assert_eq!(
            told,
            [
                (ProblemKind::BadImage, Some("qcow2"), false),
                (ProblemKind::BadImage, Some("raw"), false),
                (ProblemKind::UnrecognizedEntry, None, false),
            ]
        );
    }
    assert!(fs::symlink_metadata(home.path().join("volumes/link")).unwrap().is_symlink());
}

#[test]
fn what_stands_in_place_of_the_stores_own_directories_is_told_and_moved_away() {
    let ids = |home: &Path| listed(home).into_iter().map(|volume| volume.record.identity).collect::<Vec<_>>();
    for entry in [".ids", ".staging", ".trash", ".locks"] {
        for kind in ["a regular file", "a symbolic link", "a socket"] {
            let home = home_with_volumes();
            let before = ids(home.path());
            let place = home.path().join("volumes").join(entry);
            fs::remove_dir_all(&place).unwrap();
            let elsewhere = home.path().join("elsewhere");
            fs::create_dir(&elsewhere).unwrap();
            fs::write(elsewhere.join("data~1-2-3"), "not ours").unwrap();
            match kind {
                "a regular file" => fs::write(&place, "theirs").unwrap(),
                "a symbolic link" => symlink(&elsewhere, &place).unwrap(),
                _ => drop(std::os::unix::net::UnixListener::bind(&place).unwrap()),
            }
            let problems = found(home.path(), false);
            assert_eq!(kinds(&problems), [(ProblemKind::UnrecognizedEntry, None, false)], "{entry}");
            assert!(problems[0].path == place && problems[0].message.contains(kind), "{problems:?}");
            Store::open(home.path(), Durability::Full).unwrap_err();
            assert!(!place.is_dir() || place.is_symlink());
            let problems = found(home.path(), true);
            assert_eq!(kinds(&problems), [(ProblemKind::UnrecognizedEntry, None, true)], "{entry}");
            assert!(problems[0].message.contains(&format!("{entry}.damaged-")), "{problems:?}");
            assert_eq!(ids(home.path()), before, "{entry}");
            assert_eq!(fs::read_dir(home.path().join("volumes/.ids")).unwrap().count(), 3);
            assert_eq!(fs::read_to_string(elsewhere.join("data~1-2-3")).unwrap(), "not ours");
            assert!(found(home.path(), false).is_empty());
        }
    }
}
