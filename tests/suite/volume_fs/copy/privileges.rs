//! Whose the copies are, and what a process that is not root can copy.

use crate::support::child::in_child;
use crate::support::skip::skip;
use crate::support::volume::Volume;
use nix::unistd::{Gid, Uid, chown, geteuid, setresgid, setresuid};
use sandbox_volumes::store::TransferOptions;
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const GUEST: u32 = 65_534;

#[test]
fn within_a_volume_the_owner_is_kept_and_elsewhere_it_is_ours() {
    if !geteuid().is_root() {
        return skip("giving files away needs root");
    }
    let volume = Volume::new(json!({}));
    let (root, outside) = (volume.files.root(), &volume.outside);
    fs::create_dir(root.join("tree")).unwrap();
    fs::write(root.join("tree/f"), "f").unwrap();
    symlink("f", root.join("tree/link")).unwrap();
    for path in ["tree", "tree/f"] {
        chown(&root.join(path), Some(Uid::from_raw(GUEST)), Some(Gid::from_raw(GUEST))).unwrap();
    }
    std::os::unix::fs::lchown(root.join("tree/link"), Some(GUEST), Some(GUEST)).unwrap();
    let (options, cancel) = (TransferOptions::default(), CancelToken::default());
    volume.files.copy("tree", "within", &cancel).unwrap();
    volume.files.copy_out("tree", &outside.join("out"), options, &cancel).unwrap();
    volume.files.copy_in(&root.with_file_name("../outside/out"), "in", options, &cancel).unwrap();
    for (top, owner) in [(root.join("within"), GUEST), (outside.join("out"), 0), (root.join("in"), 0)] {
        for path in ["", "f", "link"] {
            let metadata = fs::symlink_metadata(top.join(path).components().collect::<std::path::PathBuf>());
            assert_eq!(metadata.unwrap().uid(), owner, "{top:?} {path:?}");
        }
    }
}

#[test]
fn without_root_a_directory_that_its_owner_may_not_write_is_filled() {
    in_child(|| {
        if geteuid().is_root() {
            let (group, user) = (Gid::from_raw(GUEST), Uid::from_raw(GUEST));
            setresgid(group, group, group).unwrap();
            setresuid(user, user, user).unwrap();
        }
        let volume = Volume::new(json!({}));
        let root = volume.files.root();
        fs::create_dir_all(root.join("tree/closed/sub")).unwrap();
        for path in ["tree/closed/f", "tree/closed/sub/f"] {
            fs::write(root.join(path), "f").unwrap();
        }
        for path in ["tree/closed/sub", "tree/closed", "tree"] {
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o500)).unwrap();
        }
        volume.files.copy("tree", "copy", &CancelToken::default()).unwrap();
        for path in ["copy/closed/sub", "copy/closed", "copy"] {
            assert_eq!(fs::metadata(root.join(path)).unwrap().mode() & 0o7777, 0o500, "{path}");
        }
        assert_eq!(fs::read_to_string(root.join("copy/closed/sub/f")).unwrap(), "f");
        fs::write(root.join("unreadable"), "").unwrap();
        fs::set_permissions(root.join("unreadable"), fs::Permissions::from_mode(0o000)).unwrap();
        let error = volume.files.copy("unreadable", "x", &CancelToken::default()).unwrap_err();
        assert_eq!((error.code().as_str(), root.join("x").exists()), ("EACCES", false));
        for path in ["tree", "copy"] {
            volume.files.remove_all(path, &CancelToken::default()).unwrap();
        }
    });
}
