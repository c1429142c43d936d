//! Directories whose permissions a guest took away from the host's own user.

use crate::support::ordinary_user::as_ordinary_user;
use crate::support::volume::Volume;
use sandbox_volumes::model::Labels;
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A tree in which every directory lacks another right, from the inside out.
fn locked_tree(volume: &Volume) {
    let root = volume.files.root();
    for (path, mode) in [("a/b/unreadable", 0o300), ("a/b/unwritable", 0o500), ("a/b/closed", 0o000)] {
        fs::create_dir_all(root.join(path)).unwrap();
        fs::write(root.join(path).join("file"), "x").unwrap();
        set_mode(&root.join(path), mode);
    }
    set_mode(&root.join("a/b"), 0o100);
    set_mode(&root.join("a"), 0o500);
}

#[test]
fn a_tree_without_rights_for_its_owner_can_be_removed() {
    as_ordinary_user(|| {
        let volume = Volume::new(json!({}));
        locked_tree(&volume);
        volume.files.remove_all("a", &CancelToken::default()).unwrap();
        assert_eq!(fs::read_dir(volume.files.root()).unwrap().count(), 0);
    });
}

#[test]
fn a_volume_whose_root_and_tree_are_closed_is_listed_and_can_be_removed() {
    as_ordinary_user(|| {
        let volume = Volume::new(json!({}));
        locked_tree(&volume);
        set_mode(volume.files.root(), 0o000);
        let listed = || volume.store.list(&Labels::default(), &CancelToken::default()).unwrap().len();
        assert_eq!(listed(), 1);
        volume.store.remove(&volume.name, &CancelToken::default()).unwrap();
        assert_eq!(listed(), 0);
        assert!(!volume.files.root().exists());
    });
}

#[test]
fn a_link_in_place_of_a_closed_directory_leads_to_no_change_outside() {
    as_ordinary_user(|| {
        let volume = Volume::new(json!({}));
        set_mode(&volume.outside, 0o500);
        std::os::unix::fs::symlink(&volume.outside, volume.files.root().join("link")).unwrap();
        volume.files.remove_all("link", &CancelToken::default()).unwrap();
        assert_eq!(fs::metadata(&volume.outside).unwrap().permissions().mode() & 0o777, 0o500);
    });
}
