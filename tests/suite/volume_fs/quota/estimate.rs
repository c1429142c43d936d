//! The estimate of usage between two measurements.

use super::{ATOMIC, Kept, PLAIN};
use crate::support::volume::Volume;
use proptest::prelude::*;
use sandbox_volumes::model::MIB;
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::{AppendOptions, WriteFrom, WriteRequest};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn writes_that_fit_do_not_measure_the_volume_again() {
    let volume = Volume::new(json!({ "quotaMib": 64 }));
    volume.fill_with_many();
    volume.write("first", b"x", PLAIN).unwrap();
    let first = volume.kept();
    for at in 0..20 {
        volume.write(&format!("plain{at}"), &[1; 5000], PLAIN).unwrap();
        volume.write(&format!("atomic{at}"), &[1; 5000], ATOMIC).unwrap();
        volume.files.mkdir(format!("a{at}/b"), &CancelToken::default()).unwrap();
    }
    let last = volume.kept();
    assert_eq!((last.measured_at, last.used), (first.measured_at, first.used));
    assert!(last.used + last.charged >= volume.used_bytes());
    volume.write("plain0", &[2; 8192], PLAIN).unwrap();
    assert_eq!(volume.kept(), last, "what allocates nothing new is not charged");
}

#[test]
fn a_write_that_may_not_wait_is_made_unless_the_volume_has_to_be_measured_or_somebody_writes() {
    let volume = Volume::new(json!({ "quotaMib": 4 }));
    volume.fill_with_many();
    let try_write = |path: &str, length: usize| {
        let prepared = volume.files.prepare_write().unwrap();
        let request = WriteRequest::whole(path, PLAIN).unwrap();
        prepared.try_write(&request, &vec![1; length], &CancelToken::default()).unwrap()
    };
    assert_eq!(try_write("f", 4096), None, "it has not been measured yet");
    assert!(!volume.files.exists("f").unwrap());
    // On a busy machine what was measured may be too old by the time of the next write. Then it is measured again.
    let is_made_once_measured = |path: &str| {
        (0..100).any(|_| {
            volume.write("f", &[1; 4096], PLAIN).unwrap();
            try_write(path, 4096).is_some()
        })
    };
    assert!(is_made_once_measured("f"));
    assert!(is_made_once_measured("g"));
    assert_eq!(try_write("large", 4 << 20), None, "whether it fits has to be measured");
    assert!(!volume.files.exists("large").unwrap());
    let lock = fs::File::open(volume.account_path()).unwrap();
    lock.lock().unwrap();
    assert_eq!(try_write("f", 4096), None);
    drop(lock);
    assert!(is_made_once_measured("f"));
}

#[test]
fn a_volume_of_few_entries_is_measured_each_time() {
    let volume = Volume::new(json!({ "quotaMib": 64 }));
    let mut before = 0;
    for at in 0..5 {
        volume.write(&at.to_string(), b"x", PLAIN).unwrap();
        let now = volume.kept().measured_at;
        assert!(now > before);
        before = now;
    }
}

#[test]
fn case_45_a_large_volume_may_be_filled_and_not_a_block_more() {
    for options in [PLAIN, ATOMIC] {
        let volume = Volume::new(json!({ "quotaMib": 4 }));
        volume.fill_with_many();
        volume.write("first", b"x", options).unwrap();
        let room = (4 * MIB - volume.used_bytes()) as usize;
        let refused = Err("ERR_QUOTA_EXCEEDED".to_owned());
        assert_eq!(volume.write("f", &vec![1; room + 1], options), refused);
        assert!(!volume.files.exists("f").unwrap());
        volume.write("f", &vec![1; room - 4096], options).unwrap();
        volume.write("g", b"the last block", options).unwrap();
        assert_eq!(volume.used_bytes(), 4 * MIB);
        assert_eq!(volume.write("h", b"x", options), refused);
        volume.write("h", b"", options).unwrap();
        let mkdir = volume.files.mkdir("a/b", &CancelToken::default()).map_err(|error| error.code());
        assert_eq!(mkdir, refused);
        assert!(!volume.files.exists("a").unwrap());
        volume.files.mkdir("many", &CancelToken::default()).unwrap();
        volume.files.remove("g", &CancelToken::default()).unwrap();
        volume.files.mkdir("a", &CancelToken::default()).unwrap();
    }
}

#[test]
fn a_volume_over_its_limit_takes_nothing_new_and_may_be_made_less() {
    let volume = Volume::new(json!({ "quotaMib": 1 }));
    volume.write("f", &[1; 8192], PLAIN).unwrap();
    fs::write(volume.files.root().join("guest"), vec![1; 2 << 20]).unwrap();
    let refused = Err("ERR_QUOTA_EXCEEDED".to_owned());
    for options in [PLAIN, ATOMIC] {
        assert_eq!(volume.write("empty", b"", options), refused);
        volume.write("f", &[2; 8000], options).unwrap();
    }
    let append = |data: &[u8]| {
        let appended = volume.files.append("f", data, AppendOptions::default(), &CancelToken::default());
        appended.map_err(|error| error.code())
    };
    // It fits into the last block.
    append(&[3; 192]).unwrap();
    assert_eq!(append(b"x"), refused);
    volume.files.remove("guest", &CancelToken::default()).unwrap();
    volume.write("empty", b"", PLAIN).unwrap();
}

#[test]
fn a_damaged_account_is_none_and_only_its_owner_may_read_it() {
    let volume = Volume::new(json!({ "quotaMib": 1 }));
    volume.fill_with_many();
    volume.write("first", b"x", PLAIN).unwrap();
    for garbage in [&b""[..], b"garbage", &[0; 104], &[0xff; 104], &[0xff; 10_000]] {
        fs::write(volume.account_path(), garbage).unwrap();
        volume.write("f", &[1; 4096], PLAIN).unwrap();
        volume.files.remove("f", &CancelToken::default()).unwrap();
        let Kept { used, charged, .. } = volume.kept();
        assert!(used < MIB && charged < MIB, "{garbage:?}");
    }
    assert_eq!(fs::metadata(volume.account_path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_later_volume_of_the_name_does_not_inherit_the_account() {
    let volume = Volume::new(json!({ "quotaMib": 4 }));
    volume.fill_with_many();
    volume.write("f", &vec![1; 3 << 20], PLAIN).unwrap();
    volume.write("g", b"x", PLAIN).unwrap();
    let before = volume.kept();
    volume.store.remove(&volume.name, &CancelToken::default()).unwrap();
    volume.create(json!({ "quotaMib": 4 }));
    volume.fill_with_many();
    assert!(!volume.account_path().exists(), "it goes with its volume");
    volume.write("f", &vec![1; 3 << 20], PLAIN).unwrap();
    let after = volume.kept();
    assert!(after.measured_at > before.measured_at && after.used < MIB, "{after:?}");
}

#[derive(Clone, Debug)]
enum Own {
    Write { name: usize, length: usize, atomic: bool },
    Mkdir { name: usize, depth: usize },
    Remove { name: usize },
    ManySmall { name: usize, count: usize },
    Stream { name: usize, pieces: Vec<usize>, atomic: bool, whole: bool },
}

fn own() -> impl Strategy<Value = Own> {
    let name = 0..6usize;
    prop_oneof![
        (name.clone(), 0..300_000usize, any::<bool>()).prop_map(|(name, length, atomic)| Own::Write {
            name,
            length,
            atomic
        }),
        (name.clone(), 1..4usize).prop_map(|(name, depth)| Own::Mkdir { name, depth }),
        name.clone().prop_map(|name| Own::Remove { name }),
        (name.clone(), 1..120usize).prop_map(|(name, count)| Own::ManySmall { name, count }),
        (name, prop::collection::vec(1..200_000usize, 0..6), any::<bool>(), any::<bool>())
            .prop_map(|(name, pieces, atomic, whole)| Own::Stream { name, pieces, atomic, whole }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_account_is_never_below_the_truth_by_our_own_doing(operations in prop::collection::vec(own(), 1..25)) {
        let volume = Volume::new(json!({ "quotaMib": 256 }));
        volume.fill_with_many();
        volume.write("start", b"x", PLAIN).unwrap();
        for operation in operations {
            match operation {
                Own::Write { name, length, atomic } => {
                    let options = if atomic { ATOMIC } else { PLAIN };
                    volume.write(&format!("f{name}"), &vec![7; length], options).unwrap();
                }
                Own::Mkdir { name, depth } => {
                    let path = format!("d{name}{}", "/sub".repeat(depth));
                    volume.files.mkdir(path, &CancelToken::default()).unwrap();
                }
                Own::Remove { name } => {
                    volume.files.remove_all(format!("f{name}"), &CancelToken::default()).unwrap();
                }
                Own::Stream { name, pieces, atomic, whole } => {
                    let options = if atomic { ATOMIC } else { PLAIN };
                    let (path, cancel) = (format!("f{name}"), CancelToken::default());
                    let mut writer = volume.files.open_writer(path, options, WriteFrom::Empty, &cancel).unwrap();
                    pieces.iter().for_each(|length| writer.write(&vec![7; *length], &cancel).unwrap());
                    if whole {
                        writer.finish(&cancel).unwrap();
                    }
                }
                Own::ManySmall { name, count } => {
                    volume.files.mkdir(format!("m{name}"), &CancelToken::default()).unwrap();
                    for at in 0..count {
                        let long = "n".repeat(150);
                        volume.write(&format!("m{name}/{long}{at}"), b"x", PLAIN).unwrap();
                    }
                }
            }
            let Kept { used, charged, .. } = volume.kept();
            let truth = volume.used_bytes();
            prop_assert!(used + charged >= truth, "{used} + {charged} < {truth}");
        }
    }
}
