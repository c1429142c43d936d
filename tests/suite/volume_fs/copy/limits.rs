//! Quotas and cancellation: what a copy that does not come to its end leaves.

use crate::support::snapshot::Snapshot;
use crate::support::volume::Volume;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::store::{CopyRequest, TransferOptions};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const MIB: usize = 1 << 20;

fn used(path: &Path) -> usize {
    fs::metadata(path).unwrap().blocks() as usize * 512
}

fn copy_in(volume: &Volume, from: &str, to: &str) -> Result<(), ErrorKind> {
    let options = TransferOptions::default();
    let copied = volume.files.copy_in(&volume.outside.join(from), to, options, &CancelToken::default());
    copied.map(drop).map_err(|error| error.kind())
}

#[test]
fn case_45_a_file_that_fills_the_limit_exactly_is_copied_and_one_byte_more_leaves_nothing() {
    let volume = Volume::new(json!({ "quotaMib": 3 }));
    let root = volume.files.root();
    let free = 3 * MIB - used(root);
    fs::write(volume.outside.join("fits"), vec![1; free]).unwrap();
    fs::write(volume.outside.join("too much"), vec![1; free + 1]).unwrap();
    assert_eq!(copy_in(&volume, "too much", "f"), Err(ErrorKind::QuotaExceeded));
    assert!(!root.join("f").exists());
    copy_in(&volume, "fits", "f").unwrap();
    // It takes the place of what it is as large as.
    copy_in(&volume, "fits", "f").unwrap();
    assert_eq!(copy_in(&volume, "too much", "f"), Err(ErrorKind::QuotaExceeded));
    assert_eq!(copy_in(&volume, "fits", "g"), Err(ErrorKind::QuotaExceeded));
    assert_eq!(
        volume.files.copy("f", "g", &CancelToken::default()).unwrap_err().kind(),
        ErrorKind::QuotaExceeded
    );
    assert!(fs::read(root.join("f")).unwrap() == vec![1; free]);
    assert_eq!(Snapshot::of(root).0.len(), 2, "the root and the file");
}

#[test]
fn case_45_a_tree_over_the_limit_leaves_nothing_or_what_was_merged_so_far() {
    let volume = Volume::new(json!({ "quotaMib": 1 }));
    let root = volume.files.root();
    fs::create_dir_all(volume.outside.join("tree/sub")).unwrap();
    for at in 0..40 {
        fs::write(volume.outside.join(format!("tree/sub/{at}")), vec![1; 50_000]).unwrap();
    }
    let before = Snapshot::of(root).0.len();
    assert_eq!(copy_in(&volume, "tree", "made"), Err(ErrorKind::QuotaExceeded));
    assert_eq!(Snapshot::of(root).0.len(), before);
    fs::create_dir_all(root.join("made/sub")).unwrap();
    fs::write(root.join("made/sub/0"), "guest").unwrap();
    assert_eq!(copy_in(&volume, "tree", "made"), Err(ErrorKind::QuotaExceeded));
    let merged = fs::read_dir(root.join("made/sub")).unwrap().map(|entry| entry.unwrap());
    let lengths: Vec<_> = merged.map(|entry| entry.metadata().unwrap().len()).collect();
    assert!(lengths.len() > 1 && lengths.iter().all(|length| [5, 50_000].contains(length)), "{lengths:?}");
    assert!(fs::read_dir(root.parent().unwrap().join(".staging")).unwrap().next().is_none());
}

#[test]
fn case_45_a_hole_takes_nothing_of_the_limit() {
    let volume = Volume::new(json!({ "quotaMib": 1 }));
    fs::File::create(volume.outside.join("hole")).unwrap().set_len(64 << 30).unwrap();
    copy_in(&volume, "hole", "hole").unwrap();
    assert_eq!(fs::metadata(volume.files.root().join("hole")).unwrap().len(), 64 << 30);
}

#[test]
fn a_copy_that_was_cancelled_before_it_began_makes_nothing() {
    let volume = Volume::new(json!({}));
    let (root, outside) = (volume.files.root(), &volume.outside);
    for place in [root, outside] {
        fs::create_dir(place.join("tree")).unwrap();
        fs::write(place.join("tree/f"), "f").unwrap();
    }
    let before = (Snapshot::of(root), Snapshot::of(outside));
    let cancel = CancelToken::default();
    cancel.cancel();
    for what in ["tree", "tree/f"] {
        let options = TransferOptions::default();
        for result in [
            volume.files.copy(what, "made", &cancel),
            volume.files.copy_in(&outside.join(what), "made", options, &cancel),
            volume.files.copy_out(what, &outside.join("made"), options, &cancel),
        ] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Aborted);
        }
    }
    assert_eq!((Snapshot::of(root), Snapshot::of(outside)), before);
}

#[test]
fn a_copy_that_is_cancelled_on_the_way_is_undone_and_one_that_is_done_stays() {
    let volume = Volume::new(json!({}));
    let (root, outside) = (volume.files.root(), &volume.outside);
    fs::create_dir_all(outside.join("tree/a/b")).unwrap();
    fs::write(outside.join("tree/f"), "f").unwrap();
    fs::write(outside.join("tree/a/b/f"), "f").unwrap();
    let before = Snapshot::of(root).0.len();
    // It asks for each directory's entries before it copies them: a place to stop at.
    for steps in 0..4 {
        let cancel = CancelToken::default();
        let request = CopyRequest::from_host(outside.join("tree"), "made").unwrap();
        let options = TransferOptions { asks: true, ..TransferOptions::default() };
        let mut copy = volume.files.prepare_copy(request, options, &cancel);
        let mut asked = copy.advance(&[]).unwrap().unwrap().len();
        for _ in 0..steps {
            asked = copy.advance(&vec![true; asked]).unwrap().map_or(0, |questions| questions.len());
        }
        assert!(root.join("made").exists());
        match asked {
            0 => {
                copy.commit().unwrap();
                assert!(!cancel.cancel(), "it is done");
            }
            _ => {
                assert!(cancel.cancel());
                assert_eq!(copy.advance(&vec![true; asked]).unwrap_err().kind(), ErrorKind::Aborted);
                assert_eq!(Snapshot::of(root).0.len(), before, "after {steps} steps");
            }
        }
        assert!(copy.advance(&[]).unwrap().is_none());
    }
    assert_eq!(fs::read_to_string(root.join("made/a/b/f")).unwrap(), "f");
}

#[test]
fn what_is_answered_no_is_left_out_with_all_below() {
    let volume = Volume::new(json!({}));
    fs::create_dir_all(volume.outside.join("tree/no/a")).unwrap();
    fs::create_dir_all(volume.outside.join("tree/yes/a")).unwrap();
    for path in ["tree/no/a/f", "tree/yes/a/f", "tree/yes/no"] {
        fs::write(volume.outside.join(path), "f").unwrap();
    }
    let request = CopyRequest::from_host(volume.outside.join("tree"), "made").unwrap();
    let options = TransferOptions { asks: true, ..TransferOptions::default() };
    let mut copy = volume.files.prepare_copy(request, options, &CancelToken::default());
    let (mut answers, mut seen) = (Vec::new(), Vec::new());
    while let Some(questions) = copy.advance(&answers).unwrap() {
        answers = questions.iter().map(|question| !question.path.ends_with("no")).collect();
        seen.extend(questions.into_iter().map(|question| question.path.to_str().unwrap().to_owned()));
    }
    copy.commit().unwrap();
    seen.sort();
    assert_eq!(seen, ["no", "yes", "yes/a", "yes/a/f", "yes/no"]);
    let made: Vec<_> = Snapshot::of(&volume.files.root().join("made")).0.into_keys().collect();
    assert_eq!(made, ["", "yes", "yes/a", "yes/a/f"].map(|path| Path::new(path).to_owned()));
}
