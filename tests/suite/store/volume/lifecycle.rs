//! Volumes: creating, looking up, listing and removing them.
//!
//! `cases/names.json` is shared with the JS suite; there, `{a*129}` stands for 129 letters `a`.

use crate::support::home::{Home, name};
use crate::support::report::report;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{Labels, OptionValue, VolumeKind, VolumeName, VolumeSpec, VolumeStorage};
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::WriteOptions;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

fn spec(options: &[Value]) -> Result<VolumeSpec, Error> {
    let inputs: Vec<OptionValue> = options.iter().cloned().map(OptionValue::from).collect();
    VolumeSpec::from_options(&inputs)
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()).unwrap()
}

/// The names of a table of `cases/names.json`.
fn names(table: &str) -> Vec<String> {
    let tables: Value = serde_json::from_str(include_str!("../../../cases/names.json")).unwrap();
    let names = tables[table].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    let expanded = names.map(|name| match name.strip_prefix("{a*").and_then(|rest| rest.strip_suffix('}')) {
        Some(count) => "a".repeat(count.parse().unwrap()),
        None => name.to_owned(),
    });
    expanded.collect()
}

fn listed(home: &Home, filter: &[(&str, &str)]) -> Vec<String> {
    let volumes = home.store.list(&labels(filter), &CancelToken::default()).unwrap();
    volumes.into_iter().map(|volume| volume.record.name.to_string()).collect()
}

/// Everything in the volumes directory but the locks, which stay.
fn entries(home: &Home) -> Vec<String> {
    let mut entries = Vec::new();
    for below in ["volumes", "volumes/.staging", "volumes/.trash"] {
        for entry in fs::read_dir(home.path(below)).unwrap() {
            let entry = entry.unwrap().file_name().into_string().unwrap();
            if ![".staging", ".trash", ".locks", ".ids"].contains(&entry.as_str()) {
                entries.push(format!("{below}/{entry}"));
            }
        }
    }
    entries
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn set_created_at(home: &Home, volume: &str, at_ms: Option<i64>) {
    let catalog = rusqlite::Connection::open(home.path("db/volumes.db")).unwrap();
    let sql = "UPDATE volume SET created_at_ms = ?2 WHERE name = ?1";
    assert_eq!(catalog.execute(sql, (volume, at_ms)).unwrap(), 1);
}

#[test]
fn a_created_volume_is_an_empty_directory_at_its_path() {
    let home = Home::new();
    let path = home.create("my-data");
    assert_eq!(path, home.path("volumes/my-data"));
    assert_eq!(fs::read_dir(path).unwrap().count(), 0);
    assert_eq!(entries(&home), ["volumes/my-data"]);
}

#[test]
fn a_volume_tells_all_that_it_was_created_with() {
    let home = Home::new();
    let before = now_ms();
    let wanted = spec(&[json!({ "quotaMib": 64, "labels": { "env": "prod" } })]).unwrap();
    home.store.create(&name("data"), &wanted, &CancelToken::default()).unwrap();
    fs::write(home.path("volumes/data/file"), vec![1; 100_000]).unwrap();

    let info = home.store.get(&name("data"), &CancelToken::default()).unwrap();
    assert_eq!(info.path, home.path("volumes/data"));
    assert!((100_000..200_000).contains(&info.used_bytes), "{}", info.used_bytes);
    let record = info.record;
    assert_eq!(record.name.as_str(), "data");
    assert_eq!(record.storage, VolumeStorage::Directory { quota_mib: Some(64) });
    assert_eq!(record.labels, labels(&[("env", "prod")]));
    assert!((before..=now_ms()).contains(&record.created_at_ms.unwrap()));
}

#[test]
fn listing_tells_the_same_as_getting() {
    let home = Home::new();
    home.create("data");
    let got = home.store.get(&name("data"), &CancelToken::default()).unwrap();
    let listed = home.store.list(&Labels::default(), &CancelToken::default()).unwrap();
    let [listed] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((&listed.record, &listed.path, listed.used_bytes), (&got.record, &got.path, got.used_bytes));
}

#[test]
fn options_merge_left_to_right_and_labels_key_by_key() {
    let merged = spec(&[
        json!({ "quotaMib": 1, "labels": { "a": "1", "b": "1" } }),
        json!({ "kind": "dir" }),
        json!({ "quotaMib": 2, "labels": { "b": "2", "c": "2" } }),
        json!(null),
    ]);
    let merged = merged.unwrap();
    assert_eq!(merged.kind(), VolumeKind::Dir);
    assert_eq!(merged.quota_mib(), Some(2));
    assert_eq!(merged.labels(), &labels(&[("a", "1"), ("b", "2"), ("c", "2")]));
}

#[test]
fn a_quota_of_zero_is_unlimited_and_overrides_an_earlier_one() {
    for options in [&[json!({ "quotaMib": 0 })][..], &[json!({ "quotaMib": 5 }), json!({ "quotaMib": 0 })]] {
        assert_eq!(spec(options).unwrap().quota_mib(), None);
    }
    let home = Home::new();
    let unlimited = spec(&[json!({ "quotaMib": 0 })]).unwrap();
    home.store.create(&name("data"), &unlimited, &CancelToken::default()).unwrap();
    assert_eq!(
        home.store.get(&name("data"), &CancelToken::default()).unwrap().record.storage.quota_mib(),
        None
    );
}

#[test]
fn options_that_do_not_fit_are_refused_by_name() {
    for (options, field) in [
        (json!({ "sizeMib": 1 }), "sizeMib"),
        (json!({ "kind": "disk" }), "sizeMib"),
        (json!({ "kind": "disk", "sizeMib": 0 }), "sizeMib"),
        (json!({ "kind": "disk", "sizeMib": 1, "quotaMib": 1 }), "quotaMib"),
        (json!({ "kind": "block" }), "kind"),
        (json!({ "quotaMib": -1 }), "quotaMib"),
        (json!({ "quotaMib": 1.5 }), "quotaMib"),
        (json!({ "quotaMib": 4_294_967_808_u64 }), "quotaMib"),
        (json!({ "quotaMib": "1" }), "quotaMib"),
        (json!({ "quota": 1 }), "quota"),
        (json!({ "labels": { "": "x" } }), "labels"),
        (json!({ "labels": { "x": 1 } }), "labels.x"),
        (json!({ "labels": ["x"] }), "labels"),
        (json!({ "labels": { "x": "y".repeat(64 * 1024) } }), "labels"),
        (json!("dir"), "VolumeConfig"),
    ] {
        let error = spec(&[options]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        assert_eq!(error.context().field.as_deref(), Some(field), "{error}");
    }
}

#[test]
fn labels_that_only_together_are_too_large_are_refused() {
    let half = "y".repeat(40 * 1024);
    let error = spec(&[json!({ "labels": { "a": half } }), json!({ "labels": { "b": half } })]).unwrap_err();
    assert_eq!(error.context().field.as_deref(), Some("labels"), "{error}");
}

#[test]
fn volumes_are_listed_newest_first_with_the_name_as_tie_break() {
    let home = Home::new();
    for (volume, at_ms) in
        [("b", Some(2)), ("newest", Some(9)), ("unknown", None), ("a", Some(2)), ("oldest", Some(1))]
    {
        home.create(volume);
        set_created_at(&home, volume, at_ms);
    }
    assert_eq!(listed(&home, &[]), ["newest", "a", "b", "oldest", "unknown"]);
}

#[test]
fn a_filter_lists_the_volumes_that_carry_all_its_labels() {
    let home = Home::new();
    for (volume, given) in
        [("one", json!({ "a": "1", "b": "2" })), ("two", json!({ "a": "1" })), ("three", json!({ "a": "2" }))]
    {
        let spec = spec(&[json!({ "labels": given })]).unwrap();
        home.store.create(&name(volume), &spec, &CancelToken::default()).unwrap();
        set_created_at(&home, volume, Some(0));
    }
    assert_eq!(listed(&home, &[("a", "1")]), ["one", "two"]);
    assert_eq!(listed(&home, &[("a", "1"), ("b", "2")]), ["one"]);
    assert_eq!(listed(&home, &[("b", "")]), [""; 0]);
    assert_eq!(listed(&home, &[]), ["one", "three", "two"]);
}

#[test]
fn every_valid_name_can_be_created_listed_and_removed() {
    let home = Home::new();
    let mut names = names("valid");
    for volume in &names {
        home.create(volume);
        set_created_at(&home, volume, Some(0));
    }
    names.sort();
    assert_eq!(listed(&home, &[]), names);
    for volume in &names {
        home.store.remove(&name(volume), &CancelToken::default()).unwrap();
    }
    assert!(entries(&home).is_empty());
}

#[test]
fn every_invalid_name_is_refused_and_leaves_nothing() {
    for volume in names("invalid") {
        let error = VolumeName::parse(&volume).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{volume:?}");
        assert_eq!(error.context().field.as_deref(), Some("name"));
        assert!(error.to_string().len() < 1000, "a message as long as the name");
    }
}

#[test]
fn names_that_differ_in_case_are_two_volumes() {
    let home = Home::new();
    home.create("x");
    home.create("X");
    home.store.remove(&name("x"), &CancelToken::default()).unwrap();
    assert_eq!(listed(&home, &[]), ["X"]);
}

#[test]
fn a_name_is_taken_only_once() {
    let home = Home::new();
    fs::write(home.create("data").join("file"), "kept").unwrap();
    let again = home.store.create(&name("data"), &spec(&[]).unwrap(), &CancelToken::default()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::VolumeAlreadyExists);
    assert_eq!(again.context().volume.as_deref(), Some("data"));
    assert_eq!(fs::read_to_string(home.path("volumes/data/file")).unwrap(), "kept");
}

#[test]
fn a_directory_that_the_catalog_does_not_know_is_left_alone() {
    let home = Home::new();
    fs::create_dir(home.path("volumes/data")).unwrap();
    fs::write(home.path("volumes/data/file"), "theirs").unwrap();
    let error = home.store.create(&name("data"), &spec(&[]).unwrap(), &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VolumeAlreadyExists);
    assert!(error.to_string().contains("the catalog does not list it"), "{error}");
    let error = home.store.remove(&name("data"), &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VolumeNotFound);
    assert_eq!(fs::read_to_string(home.path("volumes/data/file")).unwrap(), "theirs");
    assert_eq!(entries(&home), ["volumes/data"]);
    fs::remove_dir_all(home.path("volumes/data")).unwrap();
    home.create("data");
}

#[test]
fn a_removed_volume_is_gone_with_all_its_files_and_its_name_is_free() {
    let home = Home::new();
    let path = home.create("data");
    fs::create_dir_all(path.join("a/b/c")).unwrap();
    fs::write(path.join("a/b/c/file"), "x").unwrap();
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
    assert!(entries(&home).is_empty());
    for missing in [
        home.store.get(&name("data"), &CancelToken::default()).map(drop),
        home.store.remove(&name("data"), &CancelToken::default()),
    ] {
        let error = missing.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::VolumeNotFound);
        assert_eq!(error.context().volume.as_deref(), Some("data"));
    }
    home.create("data");
}

#[test]
fn the_files_of_a_removed_volume_are_not_found_and_no_write_brings_it_back() {
    let home = Home::new();
    home.create("data");
    let files = home.store.files(&name("data"));
    let cancel = CancelToken::default;
    files.write("file", b"x", WriteOptions::default(), &cancel()).unwrap();
    home.store.remove(&name("data"), &cancel()).unwrap();
    let atomic = WriteOptions { atomic: true, ..WriteOptions::default() };
    for (what, result) in [
        ("open", files.open("file").map(drop)),
        ("write", files.write("file", b"x", WriteOptions::default(), &cancel())),
        ("atomic write", files.write("file", b"x", atomic, &cancel())),
        ("mkdir", files.mkdir("dir", &cancel())),
        ("remove", files.remove("file", &cancel())),
        ("remove_all", files.remove_all("file", &cancel())),
        ("exists", files.exists("file").map(drop)),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::VolumeNotFound, "{what}");
    }
    assert!(entries(&home).is_empty());
}

#[test]
fn a_creation_cancelled_before_its_commit_is_undone() {
    let home = Home::new();
    let cancel = CancelToken::default();
    assert!(cancel.cancel());
    let error = home.store.create(&name("data"), &spec(&[]).unwrap(), &cancel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Aborted);
    assert!(entries(&home).is_empty());
    assert_eq!(listed(&home, &[]), [""; 0]);
    home.create("data");
}

#[test]
fn a_cancellation_at_any_moment_leaves_a_whole_volume_or_none() {
    let home = Home::new();
    let (mut undone, mut completed) = (0, 0);
    for round in 0..200u32 {
        let cancel = CancelToken::default();
        let canceller = cancel.clone();
        let thread = std::thread::spawn(move || {
            (0..round * 2000).for_each(|_| std::hint::spin_loop());
            canceller.cancel()
        });
        let created = home.store.create(&name("data"), &spec(&[]).unwrap(), &cancel);
        let accepted = thread.join().unwrap();
        match created {
            Ok(created) => {
                assert!(created.path.is_dir());
                assert!(!accepted, "a cancellation was accepted and did nothing");
                home.store.remove(&name("data"), &CancelToken::default()).unwrap();
                completed += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Aborted);
                undone += 1;
            }
        }
        assert!(entries(&home).is_empty());
    }
    report(format_args!("{undone} creations were undone, {completed} completed"));
}

#[test]
fn a_removal_cancelled_before_its_commit_removes_nothing() {
    let home = Home::new();
    let path = home.create("data");
    let cancel = CancelToken::default();
    cancel.cancel();
    assert_eq!(home.store.remove(&name("data"), &cancel).unwrap_err().kind(), ErrorKind::Aborted);
    assert!(Path::is_dir(&path));
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
}

/// A size that was read, or the code and the field of a refusal.
type Size = Result<u32, (String, String)>;

/// Sizes that are no 32-bit integers are refused by the name of their field, and never wrapped or rounded.
fn check_sizes(read: impl Fn(&str, f64) -> Size) -> Result<(), String> {
    for field in ["quotaMib", "sizeMib"] {
        for number in [4_294_967_296.0 + 512.0, 4_294_967_296.0, -1.0, -0.5, 1.5, f64::NAN, f64::INFINITY] {
            match read(field, number) {
                Err((code, named)) if code == "ERR_INVALID_CONFIG" && named == field => {}
                result => return Err(format!("{field} {number}: {result:?}")),
            }
        }
        assert_eq!(read(field, 512.0), Ok(512), "{field}");
    }
    Ok(())
}

#[test]
fn case_45_rejects_a_quota_or_size_that_is_no_32_bit_integer() {
    let read = |field: &str, number: f64| {
        let kind = if field == "sizeMib" { "disk" } else { "dir" };
        let options = vec![
            ("kind".into(), OptionValue::Text(kind.to_owned())),
            (field.to_owned(), OptionValue::Number(number)),
        ];
        let spec = VolumeSpec::from_options(&[OptionValue::Object(options)])
            .map_err(|error| (error.code(), error.context().field.clone().unwrap_or_default()))?;
        Ok(spec.quota_mib().or(spec.disk().map(|disk| disk.size_mib)).unwrap())
    };
    check_sizes(read).unwrap();
}

#[test]
fn case_45_faulty_sizes_are_wrapped_or_cut_off() {
    let wrapped = |_: &str, number: f64| Ok(number as u64 as u32);
    assert_eq!(check_sizes(wrapped), Err("quotaMib 4294967808: Ok(512)".to_owned()));
    let cut_off = |field: &str, number: f64| {
        u32::try_from(number as i64).map_err(|_| ("ERR_INVALID_CONFIG".to_owned(), field.to_owned()))
    };
    assert_eq!(check_sizes(cut_off), Err("quotaMib -0.5: Ok(0)".to_owned()));
}
