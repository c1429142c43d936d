//! Symbolic links that would lead outside what is copied.

use crate::support::volume::Volume;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::store::{CopyStats, SymlinkPolicy, TransferOptions};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// SymlinkPolicy that lead, or may lead, out of the tree whose directory `a/b` they stand in.
const LEADING_OUT: [&str; 8] = [
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "../../../outside",
    "../../..",
    "x/../../../y",
    "up/..",
    "/proc/self/root/etc/passwd",
];

fn transfer(volume: &Volume, inwards: bool, links: SymlinkPolicy) -> Result<CopyStats, Error> {
    let options = TransferOptions { links, ..TransferOptions::default() };
    match inwards {
        true => volume.files.copy_in(&volume.outside.join("tree"), "made", options, &CancelToken::default()),
        false => {
            volume.files.copy_out("tree", &volume.outside.join("made"), options, &CancelToken::default())
        }
    }
}

fn sides(volume: &Volume, inwards: bool) -> (&Path, &Path) {
    match inwards {
        true => (&volume.outside, volume.files.root()),
        false => (volume.files.root(), &volume.outside),
    }
}

#[test]
fn a_link_that_leads_out_is_refused_by_name_and_nothing_is_left_or_it_is_skipped() {
    for inwards in [true, false] {
        for target in LEADING_OUT {
            let volume = Volume::new(json!({}));
            let (from, to) = sides(&volume, inwards);
            fs::create_dir_all(from.join("tree/a/b")).unwrap();
            fs::write(from.join("tree/a/b/f"), "f").unwrap();
            symlink("../..", from.join("tree/a/b/up")).unwrap();
            symlink(target, from.join("tree/a/b/out")).unwrap();
            let error = transfer(&volume, inwards, SymlinkPolicy::Refuse).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PathEscape, "{target}: {error}");
            assert!(error.context().path.as_deref().unwrap().ends_with("tree/a/b/out"), "{error}");
            assert!(!to.join("made").exists(), "{target}");

            let tally = transfer(&volume, inwards, SymlinkPolicy::Skip).unwrap();
            assert_eq!((tally.skipped_links, tally.files), (1, 2), "{target}");
            assert!(fs::symlink_metadata(to.join("made/a/b/out")).is_err(), "{target}");
            assert_eq!(fs::read_to_string(to.join("made/a/b/up/a/b/f")).unwrap(), "f");
        }
    }
}

#[test]
fn a_tree_full_of_links_to_outside_brings_nothing_of_it_along() {
    let volume = Volume::new(json!({}));
    fs::write(volume.outside.join("secret"), "secret").unwrap();
    let mut dir = volume.files.root().join("tree");
    for level in 0..20 {
        fs::create_dir(&dir).unwrap();
        for (name, target) in [("passwd", Path::new("/etc/passwd")), ("outside", &volume.outside)] {
            symlink(target, dir.join(name)).unwrap();
        }
        symlink("../".repeat(level + 3) + "outside/secret", dir.join("relative")).unwrap();
        fs::write(dir.join("f"), "inside").unwrap();
        dir = dir.join("d");
    }
    assert_eq!(transfer(&volume, false, SymlinkPolicy::Refuse).unwrap_err().kind(), ErrorKind::PathEscape);
    let tally = transfer(&volume, false, SymlinkPolicy::Skip).unwrap();
    assert_eq!((tally.files, tally.bytes, tally.skipped_links), (20, 120, 60));
}

#[test]
fn within_a_volume_links_are_copied_as_they_are() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    fs::create_dir(root.join("tree")).unwrap();
    for (at, target) in LEADING_OUT.into_iter().enumerate() {
        symlink(target, root.join(format!("tree/{at}"))).unwrap();
    }
    symlink("x".repeat(300), root.join("tree/long")).unwrap();
    volume.files.copy("tree", "made", &CancelToken::default()).unwrap();
    for (at, target) in LEADING_OUT.into_iter().enumerate() {
        assert_eq!(fs::read_link(root.join(format!("made/{at}"))).unwrap(), Path::new(target));
    }
    assert_eq!(fs::read_link(root.join("made/long")).unwrap().as_os_str().len(), 300);
}

#[test]
fn a_directory_is_made_where_a_link_leads_that_ends_in_a_slash() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    fs::create_dir(root.join("tree")).unwrap();
    fs::write(root.join("tree/f"), "f").unwrap();
    symlink("made/", root.join("link")).unwrap();
    volume.files.copy("tree", "link/", &CancelToken::default()).unwrap();
    assert_eq!(fs::read_to_string(root.join("made/f")).unwrap(), "f");
    assert_eq!(fs::read_link(root.join("link")).unwrap(), Path::new("made/"));
    fs::remove_dir_all(root.join("made")).unwrap();
    let error = volume.files.copy("tree/f", "link", &CancelToken::default()).unwrap_err();
    assert_eq!(error.code(), "EISDIR");
    assert!(!root.join("made").exists());
}

#[test]
fn a_link_of_the_hosts_gives_way_to_a_file_wherever_it_leads() {
    let volume = Volume::new(json!({}));
    let outside = &volume.outside;
    fs::write(volume.files.root().join("f"), "f").unwrap();
    fs::write(outside.join("kept"), "kept").unwrap();
    for target in [Path::new("loop"), Path::new("kept"), Path::new("missing"), volume.files.root()] {
        let link = outside.join("loop");
        symlink(target, &link).unwrap();
        volume.files.copy_out("f", &link, TransferOptions::default(), &CancelToken::default()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_file(), "{target:?}");
        assert_eq!(fs::read_to_string(&link).unwrap(), "f");
        fs::remove_file(&link).unwrap();
    }
    assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "kept");
}
