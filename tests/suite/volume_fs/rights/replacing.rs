//! ACLs and attributes of files that are replaced or copied.

use super::{LONG, NAMED, OVERRIDE, WRITERS, copy_in, source};
use crate::support::acl::{ACCESS, DEFAULT, acl, get, rights, set};
use crate::support::skip::skip;
use crate::support::volume::Volume;
use nix::unistd::geteuid;
use sandbox_volumes::store::TransferOptions;
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Gives a file an ACL for another user, attributes and a capability.
fn adorn(file: &Path) -> Vec<u8> {
    fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    let access = acl(6, Some((NAMED, 6)), 0, 6, 0);
    set(file, ACCESS, &access);
    set(file, OVERRIDE, b"twenty bytes of facts");
    set(file, "user.empty", b"");
    set(file, "user.overlay.origin", b"elsewhere");
    access
}

/// `cap_net_raw=ep`.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn case_49_a_replaced_file_keeps_acl_and_attributes_and_no_capability() {
    let volume = Volume::new(json!({}));
    let (root, file) = (volume.files.root(), volume.files.root().join("f"));
    for (name, replace) in &WRITERS {
        if !name.starts_with("atomic") {
            continue;
        }
        let _old = fs::remove_file(&file);
        fs::write(&file, "old").unwrap();
        let access = adorn(&file);
        if geteuid().is_root() {
            set(&file, "security.capability", &CAPABILITY);
        } else {
            skip("giving a capability needs root");
        }
        replace(&volume, "f", 0o666);
        assert_eq!(fs::read(&file).unwrap(), b"new", "{name}");
        assert_eq!(rights(&file).0, "660", "{name}: the mask");
        assert_eq!(get(&file, ACCESS), Some(access), "{name}");
        assert_eq!(get(&file, OVERRIDE).as_deref(), Some(&b"twenty bytes of facts"[..]), "{name}");
        assert_eq!(get(&file, "user.empty").as_deref(), Some(&b""[..]), "{name}");
        assert_eq!(get(&file, "security.capability"), None, "{name}");
        assert_eq!(get(&file, "user.overlay.origin"), None, "{name}");
    }
    // What temp files may have from their directory is not the file's.
    set(&root.with_file_name(".staging"), DEFAULT, &acl(7, Some((NAMED, 7)), 7, 7, 7));
    for (name, replace) in &WRITERS {
        fs::write(root.join("bare"), "old").unwrap();
        fs::set_permissions(root.join("bare"), Permissions::from_mode(0o640)).unwrap();
        for path in ["bare", "new"] {
            replace(&volume, path, 0o640);
            let (mode, _, _, access, _) = rights(&root.join(path));
            assert_eq!((mode.as_str(), access), ("640", None), "{name} of {path}");
        }
        fs::remove_file(root.join("new")).unwrap();
    }
}

#[test]
fn case_49_a_copy_gives_nobody_more_than_its_original() {
    let volume = Volume::new(json!({}));
    let (inside, outside, cancel) = (volume.files.root(), &volume.outside, CancelToken::default());
    // The modes are what the ACLs leave without the entry that is not copied.
    let cases = [
        (acl(7, Some((NAMED, 6)), 0, 6, 0), "700"),
        (acl(7, Some((NAMED, 7)), 4, 7, 4), "744"),
        (acl(7, Some((NAMED, 7)), 7, 5, 1), "751"),
        (acl(7, Some((NAMED, 0)), 4, 4, 4), "700"),
        (acl(7, Some((NAMED, 4)), 5, 5, 5), "744"),
    ];
    for (access, expected) in cases {
        for length in [3, LONG] {
            for from in [inside, outside.as_path()] {
                fs::create_dir(from.join("tree")).unwrap();
                for (path, is_file) in [("tree/f", true), ("tree/d", false)] {
                    let path = from.join(path);
                    match is_file {
                        true => fs::write(&path, vec![7; length]).unwrap(),
                        false => fs::create_dir(&path).unwrap(),
                    }
                    set(&path, ACCESS, &access);
                    set(&path, OVERRIDE, b"facts");
                    set(&path, "user.overlay.opaque", b"y");
                }
            }
            let options = TransferOptions::default();
            for to in ["copy", "in", "out"] {
                let made = match to {
                    "copy" => volume.files.copy("tree", to, &cancel).map(|_| inside.join(to)),
                    "in" => volume
                        .files
                        .copy_in(&outside.join("tree"), to, options, &cancel)
                        .map(|_| inside.join(to)),
                    _ => volume
                        .files
                        .copy_out("tree", &outside.join(to), options, &cancel)
                        .map(|_| outside.join(to)),
                };
                let made = made.unwrap();
                for path in [made.join("f"), made.join("d")] {
                    let (mode, _, _, acl, _) = rights(&path);
                    assert_eq!((mode.as_str(), acl), (expected, None), "{path:?}, {length} bytes");
                    assert_eq!(get(&path, OVERRIDE).as_deref(), Some(&b"facts"[..]), "{path:?}");
                    assert_eq!(get(&path, "user.overlay.opaque"), None, "{path:?}");
                }
                fs::remove_dir_all(made).unwrap();
            }
            fs::remove_dir_all(inside.join("tree")).unwrap();
            fs::remove_dir_all(outside.join("tree")).unwrap();
        }
    }
}

#[test]
fn case_49_what_a_copy_replaces_leaves_its_acl_and_attributes() {
    let volume = Volume::new(json!({}));
    let (inside, outside, cancel) = (volume.files.root(), &volume.outside, CancelToken::default());
    let options = TransferOptions::default();
    for (mode, expected, mask) in [(0o664, "664", 6), (0o644, "644", 4), (0o400, "400", 0)] {
        for from in [inside, outside.as_path()] {
            source(&from.join("f"), 3, mode);
            let to = from.join("old");
            fs::write(&to, "old").unwrap();
            set(&to, ACCESS, &acl(6, Some((NAMED, 6)), 4, 6, 4));
            set(&to, OVERRIDE, b"kept");
        }
        volume.files.copy_out("f", &outside.join("old"), options, &cancel).unwrap();
        volume.files.copy("f", "old", &cancel).unwrap();
        for path in [inside.join("old"), outside.join("old")] {
            let others = if mode & 4 == 0 { 0 } else { 4 };
            let owner = if mode & 0o200 == 0 { 4 } else { 6 };
            let (shown, _, _, access, _) = rights(&path);
            assert_eq!(shown, expected, "{path:?}");
            assert_eq!(access, Some(acl(owner, Some((NAMED, 6)), 4, mask, others)), "{path:?}, {mode:o}");
            assert_eq!(get(&path, OVERRIDE).as_deref(), Some(&b"kept"[..]), "{path:?}");
            assert_eq!(fs::read(&path).unwrap().len(), 3);
            fs::remove_file(path).unwrap();
        }
    }
    // An original's own attributes win.
    source(&outside.join("f"), 3, 0o600);
    set(&outside.join("f"), OVERRIDE, b"newer");
    fs::write(inside.join("old"), "old").unwrap();
    set(&inside.join("old"), OVERRIDE, b"kept");
    copy_in(&volume, "f", "old");
    assert_eq!(get(&inside.join("old"), OVERRIDE).as_deref(), Some(&b"newer"[..]));
}
