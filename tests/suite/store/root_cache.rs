//! A volume's root that the store holds is used only as long as it is what stands at the volume's path.

use crate::support::home::{Home, name};
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::store::{Durability, Store, VolumeFs};
use sandbox_volumes::sync::CancelToken;
use std::fs;
use std::path::Path;
use std::sync::Arc;

const CONTENT: &str = "f";

fn read(files: &VolumeFs) -> Result<String, ErrorKind> {
    let opened = files.open(CONTENT).map_err(|error| error.kind())?;
    opened.read_string(&CancelToken::default()).map_err(|error| error.kind())
}

/// A volume with a file that was read, so that its root is held.
fn used(home: &Home) -> (VolumeFs, std::path::PathBuf) {
    let path = home.create("data");
    fs::write(path.join(CONTENT), "old").unwrap();
    let files = home.store.files(&name("data"));
    assert_eq!(read(&files).unwrap(), "old");
    (files, path)
}

/// How many of this process's descriptors lead to directories below `dir`.
fn held_below(dir: &Path) -> usize {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    targets.filter(|target| target.parent() == Some(dir)).count()
}

#[test]
fn a_volume_that_another_store_removes_and_makes_again_is_the_new_one() {
    let home = Home::new();
    let (files, path) = used(&home);
    let other = Arc::new(Store::open(&home.path(""), Durability::Fast).unwrap());
    for round in 0..3 {
        other.remove(&name("data"), &CancelToken::default()).unwrap();
        assert_eq!(read(&files).unwrap_err(), ErrorKind::VolumeNotFound, "round {round}");
        let written = files.write(CONTENT, b"lost", Default::default(), &CancelToken::default());
        assert_eq!(written.unwrap_err().kind(), ErrorKind::VolumeNotFound);
        let spec = sandbox_volumes::model::VolumeSpec::from_options(&[]).unwrap();
        other.create(&name("data"), &spec, &CancelToken::default()).unwrap();
        assert!(!files.exists(CONTENT).unwrap());
        fs::write(path.join(CONTENT), "new").unwrap();
        assert_eq!(read(&files).unwrap(), "new");
    }
}

#[test]
fn a_disk_volume_under_the_name_of_a_directory_volume_is_refused() {
    let home = Home::new();
    let (files, _) = used(&home);
    let other = Store::open(&home.path(""), Durability::Fast).unwrap();
    other.remove(&name("data"), &CancelToken::default()).unwrap();
    let options = [serde_json::json!({ "kind": "disk", "sizeMib": 8 }).into()];
    let disk = sandbox_volumes::model::VolumeSpec::from_options(&options).unwrap();
    other.create(&name("data"), &disk, &CancelToken::default()).unwrap();
    assert_eq!(read(&files).unwrap_err(), ErrorKind::InvalidConfig);
    assert_eq!(files.exists("disk.raw").unwrap_err().kind(), ErrorKind::InvalidConfig);
}

#[test]
fn a_directory_that_took_the_place_of_a_root_is_what_is_read_and_the_old_one_is_not() {
    let home = Home::new();
    let (files, path) = used(&home);
    fs::rename(&path, home.path("aside")).unwrap();
    assert_eq!(read(&files).unwrap_err(), ErrorKind::VolumeNotFound);
    fs::create_dir(&path).unwrap();
    fs::write(path.join(CONTENT), "theirs").unwrap();
    assert_eq!(read(&files).unwrap(), "theirs");
    files.write(CONTENT, b"ours", Default::default(), &CancelToken::default()).unwrap();
    assert_eq!(fs::read_to_string(home.path("aside").join(CONTENT)).unwrap(), "old");
}

#[test]
fn a_home_that_took_the_place_of_another_is_what_is_read() {
    let (home, other) = (Home::new(), Home::new());
    let (files, _) = used(&home);
    fs::write(other.create("data").join(CONTENT), "there").unwrap();
    fs::rename(home.path(""), other.path("volumes/data").join("aside")).unwrap();
    assert_eq!(read(&files).unwrap_err(), ErrorKind::VolumeNotFound);
    fs::remove_dir_all(home.path("")).unwrap();
    fs::rename(other.path(""), home.path("")).unwrap();
    assert_eq!(read(&files).unwrap(), "there");
}

#[test]
fn a_bounded_number_of_roots_is_held_and_none_of_a_removed_volume() {
    let home = Home::new();
    let (files, _) = used(&home);
    let volumes = fs::canonicalize(home.path("volumes")).unwrap();
    let own = held_below(&volumes) - 1;
    for number in 0..100 {
        home.create(&format!("v{number}"));
        assert!(!home.store.files(&name(&format!("v{number}"))).exists("x").unwrap());
        assert!(held_below(&volumes) <= own + 64);
    }
    assert!(files.exists(CONTENT).unwrap());
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
    assert_eq!(held_below(&volumes.join(".trash")), 0);
}
