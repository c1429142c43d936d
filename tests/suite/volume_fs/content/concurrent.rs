//! Writes that run at the same time.

use super::{ATOMIC, BOTH, PLAIN};
use crate::support::volume::Volume;
use sandbox_volumes::model::{MIB, VolumePath};
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::AppendOptions;
use serde_json::json;
use std::fs;
use std::thread;

#[test]
fn case_45_writers_at_once_cannot_take_more_than_the_quota_together() {
    let volume = Volume::new(json!({ "quotaMib": 1 }));
    let results: Vec<_> = thread::scope(|scope| {
        let write = |at: usize| volume.write(&format!("f{at}"), &[1; 200 * 1024], BOTH[at % 2]);
        let writers: Vec<_> = (0..16).map(|at| scope.spawn(move || write(at))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let accepted = results.iter().filter(|result| result.is_ok()).count();
    assert!(
        results.iter().filter_map(|result| result.as_ref().err()).all(|code| code == "ERR_QUOTA_EXCEEDED"),
        "{results:?}"
    );
    assert!(volume.used_bytes() <= MIB, "{accepted} writes took {} bytes", volume.used_bytes());
    assert_eq!(accepted, 5);
}

#[test]
fn a_write_that_fails_takes_nothing_away_that_another_wrote() {
    let volume = Volume::new(json!({}));
    let (at, cancel) = (volume.files.root().join("f"), CancelToken::default());
    let begin = || {
        let prepared = volume.files.prepare_write().unwrap();
        prepared.begin_write(&VolumePath::parse("f").unwrap(), 12, PLAIN, &cancel).unwrap()
    };
    let rename = || {
        volume.write("other", b"acknowledged", PLAIN).unwrap();
        volume.files.rename("other", "f", &cancel).unwrap();
    };
    let append = || volume.files.append("f", b"acknowledged", AppendOptions::default(), &cancel).unwrap();
    let meanwhile: [(&dyn Fn(), Option<&str>); 4] = [
        (&|| (), None),
        (&|| volume.write("f", b"acknowledged", ATOMIC).unwrap(), Some("acknowledged")),
        (&rename, Some("acknowledged")),
        (&append, Some("acknowledged")),
    ];
    for (meanwhile, left) in meanwhile {
        let mut failing = begin();
        assert!(failing.try_take_turn().unwrap());
        meanwhile();
        drop(failing);
        assert_eq!(fs::read_to_string(&at).ok().as_deref(), left);
        let _removed = fs::remove_file(&at);
    }
}

#[test]
fn a_write_that_waited_for_one_that_fails_or_is_removed_is_not_lost() {
    let volume = Volume::new(json!({}));
    let (at, cancel) = (volume.files.root().join("f"), CancelToken::default());
    for is_removed in [false, true] {
        let begin = || {
            let prepared = volume.files.prepare_write().unwrap();
            prepared.begin_write(&VolumePath::parse("f").unwrap(), 12, PLAIN, &cancel).unwrap()
        };
        let (mut failing, mut waiting) = (begin(), begin());
        assert!(failing.try_take_turn().unwrap());
        assert!(!waiting.try_take_turn().unwrap());
        if is_removed {
            fs::remove_file(&at).unwrap();
        }
        drop(failing);
        assert!(waiting.try_take_turn().unwrap());
        waiting.write(b"acknowledged").unwrap();
        waiting.finish().unwrap();
        assert_eq!(fs::read_to_string(&at).unwrap(), "acknowledged");
        fs::remove_file(&at).unwrap();
    }
}

#[test]
fn the_maker_of_a_file_that_waited_for_another_write_leaves_it() {
    let volume = Volume::new(json!({}));
    let cancel = CancelToken::default();
    let begin = || {
        let prepared = volume.files.prepare_write().unwrap();
        prepared.begin_write(&VolumePath::parse("f").unwrap(), 0, PLAIN, &cancel).unwrap()
    };
    let (mut maker, mut first) = (begin(), begin());
    assert!(first.try_take_turn().unwrap());
    assert!(!maker.try_take_turn().unwrap());
    first.finish().unwrap();
    drop(maker);
    assert_eq!(volume.read("f"), Ok(Vec::new()));
}
