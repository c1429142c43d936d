//! The rollback of a copy removes what the copy made, and nothing else.

use crate::support::ordinary_user::as_ordinary_user;
use crate::support::volume::Volume;
use sandbox_volumes::store::{CopyRequest, TransferOptions};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Directories that their owner may not write.
const CLOSED: [&str; 2] = ["closed/in", "closed"];

/// The copies of `tree` to `made`, which is not there, and where that is.
fn requests(volume: &Volume) -> [(CopyRequest, PathBuf); 3] {
    let (outside, inside) = (&volume.outside, volume.files.root());
    [
        (CopyRequest::within("tree", "made").unwrap(), inside.join("made")),
        (CopyRequest::from_host(outside.join("tree"), "made").unwrap(), inside.join("made")),
        (CopyRequest::to_host("tree", outside.join("made")).unwrap(), outside.join("made")),
    ]
}

/// Plants the tree on both sides.
fn plant(volume: &Volume, plant: impl Fn(&Path)) {
    for top in [volume.files.root(), &volume.outside] {
        fs::create_dir(top.join("tree")).unwrap();
        plant(&top.join("tree"));
    }
}

/// What is below `top`: files with their content, and directories.
fn entries(top: &Path) -> BTreeMap<PathBuf, Option<String>> {
    let mut found = BTreeMap::new();
    let mut left = vec![top.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let is_dir = fs::symlink_metadata(&path).unwrap().is_dir();
            let content = (!is_dir).then(|| fs::read_to_string(&path).unwrap());
            found.insert(path.strip_prefix(top).unwrap().to_owned(), content);
            if is_dir {
                left.push(path);
            }
        }
    }
    found
}

#[test]
fn what_others_put_into_a_directory_stays_when_the_copy_of_it_is_undone() {
    let volume = Volume::new(json!({}));
    plant(&volume, |tree| {
        for dir in ["added", "replaced", "made-again", "written", "linked", "moved", "with-dirs", "gone/deep"]
        {
            fs::create_dir_all(tree.join(dir)).unwrap();
            for file in ["f", "g"] {
                fs::write(tree.join(dir).join(file), "copied").unwrap();
            }
            symlink("f", tree.join(dir).join("link")).unwrap();
        }
    });
    for (request, made) in requests(&volume) {
        let cancel = CancelToken::default();
        let mut copy = volume.files.prepare_copy(request.clone(), TransferOptions::default(), &cancel);
        assert!(copy.advance(&[]).unwrap().is_none());

        fs::write(made.join("added/theirs"), "theirs").unwrap();
        fs::write(made.join("theirs"), "theirs").unwrap();
        fs::rename(made.join("theirs"), made.join("replaced/f")).unwrap();
        for file in ["f", "link"] {
            fs::remove_file(made.join("made-again").join(file)).unwrap();
            fs::write(made.join("made-again").join(file), "theirs").unwrap();
        }
        fs::hard_link(made.join("linked/f"), made.join("linked/theirs")).unwrap();
        fs::rename(made.join("moved/f"), made.join("moved/h")).unwrap();
        fs::create_dir_all(made.join("with-dirs/theirs/empty")).unwrap();
        let mut expected: BTreeMap<PathBuf, Option<String>> = BTreeMap::new();
        if made.starts_with(volume.files.root()) {
            volume.files.append("made/written/f", b" theirs", Default::default(), &cancel).unwrap();
            expected.insert("written".into(), None);
            expected.insert("written/f".into(), Some("copied theirs".into()));
        }
        drop(copy);

        for dir in ["added", "replaced", "made-again", "linked", "with-dirs"] {
            expected.insert(dir.into(), None);
        }
        for dir in ["with-dirs/theirs", "with-dirs/theirs/empty"] {
            expected.insert(dir.into(), None);
        }
        for file in ["added/theirs", "replaced/f", "made-again/f", "made-again/link"] {
            expected.insert(file.into(), Some("theirs".into()));
        }
        for file in ["linked/f", "linked/theirs"] {
            expected.insert(file.into(), Some("copied".into()));
        }
        assert_eq!(entries(&made), expected, "{request:?}");
        fs::remove_dir_all(made).unwrap();
    }
}

#[test]
fn a_file_that_a_copy_put_in_place_of_anothers_stays_when_it_is_undone() {
    let volume = Volume::new(json!({}));
    plant(&volume, |tree| {
        fs::write(tree.join("f"), "copied").unwrap();
        fs::write(tree.join("g"), "copied").unwrap();
        symlink("f", tree.join("link")).unwrap();
    });
    let request = CopyRequest::from_host(volume.outside.join("tree"), "made").unwrap();
    let options = TransferOptions { asks: true, ..TransferOptions::default() };
    let mut copy = volume.files.prepare_copy(request, options, &CancelToken::default());
    let questions = copy.advance(&[]).unwrap().unwrap();
    let made = volume.files.root().join("made");
    for name in ["f", "link"] {
        fs::write(made.join(name), "theirs").unwrap();
    }
    assert!(copy.advance(&vec![true; questions.len()]).unwrap().is_none());
    drop(copy);
    let expected = [("f", "copied"), ("link", "copied")];
    let expected = expected.map(|(name, content)| (PathBuf::from(name), Some(content.to_owned())));
    assert_eq!(entries(&made), expected.into());
}

#[test]
fn a_copy_of_any_shape_is_undone_whole() {
    as_ordinary_user(|| {
        let volume = Volume::new(json!({}));
        plant(&volume, |tree| {
            let mut deep = tree.to_owned();
            for _ in 0..30 {
                deep.push("d".repeat(100));
                fs::create_dir(&deep).unwrap();
                fs::write(deep.join("f"), "f").unwrap();
            }
            for file in 0..300 {
                fs::create_dir(tree.join(file.to_string())).unwrap();
                fs::write(tree.join(format!("{file}/f")), "f").unwrap();
            }
            fs::create_dir_all(tree.join("closed/in")).unwrap();
            fs::write(tree.join("closed/in/f"), "f").unwrap();
            for dir in CLOSED {
                fs::set_permissions(tree.join(dir), Permissions::from_mode(0o500)).unwrap();
            }
        });
        for (request, made) in requests(&volume) {
            let cancel = CancelToken::default();
            let mut copy = volume.files.prepare_copy(request.clone(), TransferOptions::default(), &cancel);
            assert!(copy.advance(&[]).unwrap().is_none());
            assert!(made.join("closed/in/f").exists());
            drop(copy);
            assert!(!made.exists(), "{request:?}: {:?}", entries(&made));
        }
        for top in [volume.files.root(), &volume.outside] {
            for dir in CLOSED {
                fs::set_permissions(top.join("tree").join(dir), Permissions::from_mode(0o700)).unwrap();
            }
        }
    });
}

#[test]
fn a_directory_that_another_call_asked_for_stays_when_the_copy_that_made_it_is_undone() {
    let volume = Volume::new(json!({}));
    plant(&volume, |tree| {
        fs::create_dir_all(tree.join("asked-for/deep")).unwrap();
        fs::write(tree.join("asked-for/deep/f"), "copied").unwrap();
    });
    for asked_for in ["made", "made/asked-for", "made/asked-for/deep"] {
        let request = CopyRequest::within("tree", "made").unwrap();
        let mut copy =
            volume.files.prepare_copy(request, TransferOptions::default(), &CancelToken::default());
        assert!(copy.advance(&[]).unwrap().is_none());
        volume.files.mkdir(asked_for, &CancelToken::default()).unwrap();
        drop(copy);
        let expected: BTreeMap<_, _> =
            Path::new(asked_for).ancestors().map(|dir| (dir.to_owned(), None)).collect();
        let mut left = entries(volume.files.root());
        left.retain(|path, _| path.starts_with("made"));
        left.insert(PathBuf::new(), None);
        assert_eq!(left, expected);
        fs::remove_dir_all(volume.files.root().join("made")).unwrap();
    }
}
