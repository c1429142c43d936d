//! Filters of copies: many directories in one request, and trees of any shape.

use crate::support::snapshot::Snapshot;
use crate::support::volume::Volume;
use sandbox_volumes::store::{CopyRequest, TransferOptions};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Copies what `is_wanted` into the volume, and gives how many questions came together each time.
fn copy_in(volume: &Volume, from: &str, to: &str, is_wanted: impl Fn(&Path) -> bool) -> Vec<usize> {
    let request = CopyRequest::from_host(volume.outside.join(from), to).unwrap();
    let options = TransferOptions { asks: true, ..TransferOptions::default() };
    let mut copy = volume.files.prepare_copy(request, options, &CancelToken::default());
    let (mut answers, mut together) = (Vec::new(), Vec::new());
    while let Some(questions) = copy.advance(&answers).unwrap() {
        assert!(!questions.is_empty() && questions.len() <= 1024, "{}", questions.len());
        answers = questions.iter().map(|question| is_wanted(&question.path)).collect();
        together.push(questions.len());
    }
    copy.commit().unwrap();
    together
}

fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let seen = Snapshot::of(root).0;
    seen.into_iter().map(|(path, entry)| (path, entry.content)).collect()
}

/// Three directories in each, with names so long that the way to the inner ones has several bases.
fn branch(at: &Path, levels: usize) {
    fs::create_dir(at).unwrap();
    fs::write(at.join("f"), at.file_name().unwrap().as_encoded_bytes()).unwrap();
    for name in ["a", "b", "c"].map(|name| name.repeat(180)).iter().take(if levels == 0 { 0 } else { 3 }) {
        branch(&at.join(name), levels - 1);
    }
}

#[test]
fn what_is_all_wanted_is_copied_as_if_nobody_had_asked() {
    let volume = Volume::new(json!({}));
    branch(&volume.outside.join("tree"), 5);
    copy_in(&volume, "tree", "made", |_| true);
    assert_eq!(contents(&volume.files.root().join("made")), contents(&volume.outside.join("tree")));
    let no_c = |path: &Path| !path.ends_with("c".repeat(180));
    copy_in(&volume, "tree", "some", no_c);
    let expected = contents(&volume.outside.join("tree"));
    let is_below_c =
        |path: &Path| path.components().any(|part| part.as_os_str().len() == 180 && !no_c(Path::new(&part)));
    let expected: BTreeMap<_, _> = expected.into_iter().filter(|(path, _)| !is_below_c(path)).collect();
    assert_eq!(contents(&volume.files.root().join("some")), expected);
}

#[test]
fn small_directories_are_asked_for_together_and_large_ones_in_parts() {
    let volume = Volume::new(json!({}));
    for directory in 0..100 {
        let at = volume.outside.join(format!("small/{directory}"));
        fs::create_dir_all(&at).unwrap();
        for file in 0..3 {
            fs::write(at.join(file.to_string()), "f").unwrap();
        }
    }
    let together = copy_in(&volume, "small", "small", |_| true);
    assert_eq!(together.iter().sum::<usize>(), 400);
    assert!(together.len() < 10, "{together:?}");

    fs::create_dir(volume.outside.join("large")).unwrap();
    for file in 0..2500 {
        fs::write(volume.outside.join(format!("large/{file}")), "").unwrap();
    }
    assert_eq!(copy_in(&volume, "large", "large", |_| true), [1024, 1024, 452]);
    assert_eq!(contents(&volume.files.root().join("large")).len(), 2501);
}
