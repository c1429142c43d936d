//! A copy that is whole, but not committed, can still be undone.

use crate::support::snapshot::Snapshot;
use crate::support::volume::Volume;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::store::{CopyRequest, TransferOptions, VolumeCopy};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A volume and directories outside it with a file, a tree, and a file that a copy is to replace.
fn planted(options: serde_json::Value) -> Volume {
    let volume = Volume::new(options);
    for top in [volume.files.root(), &volume.outside] {
        fs::create_dir_all(top.join("tree/a")).unwrap();
        fs::write(top.join("tree/a/f"), "f").unwrap();
        fs::write(top.join("file"), "new").unwrap();
        fs::write(top.join("old"), "old").unwrap();
    }
    volume
}

/// All kinds of copies, to places that are free or, of a file, taken.
fn requests(volume: &Volume) -> Vec<CopyRequest> {
    let outside = &volume.outside;
    let pairs = [("tree", "made"), ("file", "made"), ("file", "old")];
    pairs
        .iter()
        .flat_map(|(from, to)| {
            [
                CopyRequest::within(from, to).unwrap(),
                CopyRequest::from_host(outside.join(from), to).unwrap(),
                CopyRequest::to_host(from, outside.join(to)).unwrap(),
            ]
        })
        .collect()
}

/// Modes and contents, without the times, which also an undone copy changes.
fn contents(top: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    Snapshot::of(top).0.into_iter().map(|(path, entry)| (path, (entry.mode, entry.content))).collect()
}

/// Copies up to the commit point.
fn whole(volume: &Volume, request: &CopyRequest, cancel: &CancelToken) -> VolumeCopy {
    let mut copy = volume.files.prepare_copy(request.clone(), TransferOptions::default(), cancel);
    assert!(copy.advance(&[]).unwrap().is_none());
    copy
}

#[test]
fn case_61_a_copy_that_is_cancelled_or_dropped_when_it_is_whole_leaves_nothing() {
    for options in [json!({}), json!({ "quotaMib": 8 })] {
        let volume = planted(options);
        let seen = || [volume.files.root(), &volume.outside].map(|top| contents(top));
        let before = seen();
        for request in requests(&volume) {
            let cancel = CancelToken::default();
            let mut copy = whole(&volume, &request, &cancel);
            assert!(cancel.cancel(), "{request:?}");
            assert_eq!(copy.commit().unwrap_err().kind(), ErrorKind::Aborted, "{request:?}");
            assert_eq!(seen(), before, "{request:?}");
            drop(whole(&volume, &request, &CancelToken::default()));
            assert_eq!(seen(), before, "{request:?}");
        }
        assert!(fs::read_dir(volume.store.home().join("volumes/.staging")).unwrap().next().is_none());
    }
}

#[test]
fn a_copy_that_is_committed_stays() {
    let kinds = requests(&planted(json!({}))).len();
    for nth in 0..kinds {
        let volume = planted(json!({}));
        let request = requests(&volume).swap_remove(nth);
        let cancel = CancelToken::default();
        let mut copy = whole(&volume, &request, &cancel);
        copy.commit().unwrap();
        assert!(!cancel.cancel(), "{request:?}");
        drop(copy);
        let to = match &request {
            CopyRequest::Within { to, .. } | CopyRequest::In { to, .. } => {
                volume.files.root().join(to.as_str())
            }
            CopyRequest::Out { host, .. } => host.clone(),
        };
        match to.is_dir() {
            true => assert_eq!(fs::read_to_string(to.join("a/f")).unwrap(), "f", "{request:?}"),
            false => assert_eq!(fs::read_to_string(to).unwrap(), "new", "{request:?}"),
        }
    }
}

#[test]
fn undoing_a_copy_leaves_what_took_its_place_meanwhile() {
    let volume = planted(json!({}));
    let made = volume.files.root().join("made");
    for (from, replaced) in [("file", "theirs"), ("tree", "theirs")] {
        let request = CopyRequest::from_host(volume.outside.join(from), "made").unwrap();
        let copy = whole(&volume, &request, &CancelToken::default());
        fs::rename(&made, volume.files.root().join("moved")).unwrap();
        fs::write(&made, replaced).unwrap();
        drop(copy);
        assert_eq!(fs::read_to_string(&made).unwrap(), replaced);
        fs::remove_file(&made).unwrap();
        volume.files.remove_all("moved", &CancelToken::default()).unwrap();
    }
}
