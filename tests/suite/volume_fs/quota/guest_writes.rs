//! Bytes that a guest wrote after the last measurement.

use super::PLAIN;
use crate::support::private::Private;
use crate::support::volume::Volume;
use sandbox_volumes::model::OptionValue;
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn case_45_what_a_guest_wrote_into_a_large_volume_counts_at_once() {
    let Some(private) = Private::new() else { return };
    let volume = Volume::new_in(private.path(), json!({ "quotaMib": 4 }));
    volume.fill_with_many();
    volume.write("first", b"x", PLAIN).unwrap();
    let before = volume.kept();
    volume.write("second", b"x", PLAIN).unwrap();
    assert_eq!(volume.kept().measured_at, before.measured_at, "the account was not in use");
    fs::write(volume.files.root().join("guest"), vec![1; 4 << 20]).unwrap();
    assert_eq!(volume.write("third", b"x", PLAIN), Err("ERR_QUOTA_EXCEEDED".to_owned()));
    fs::remove_file(volume.files.root().join("guest")).unwrap();
    volume.write("third", b"x", PLAIN).unwrap();
}

#[test]
fn a_volume_that_a_sandbox_may_write_is_soon_measured_again() {
    let volume = Volume::new(json!({ "quotaMib": 64 }));
    volume.fill_with_many();
    let named = MountConfig::named(&OptionValue::Text("v".to_owned()), &OptionValue::Absent).unwrap();
    let mounts = validate_and_order(vec![("/v".to_owned(), named)]).unwrap();
    volume.store.attach("worker", &mounts, None, &CancelToken::default()).unwrap();
    volume.write("f", b"x", PLAIN).unwrap();
    let mut last = volume.kept().measured_at;
    let deadline = Instant::now() + Duration::from_secs(180);
    for at in 0.. {
        let next = volume.kept().measured_at;
        // Without the sandbox there would be a minute between two measurements.
        if next != last && Duration::from_nanos(next - last) < Duration::from_secs(60) {
            break;
        }
        last = next;
        assert!(Instant::now() < deadline, "it was not measured again within a minute");
        volume.write(&format!("g{}", at % 50), &[1; 1], PLAIN).unwrap();
        volume.files.remove(format!("g{}", at % 50), &CancelToken::default()).unwrap();
    }
}
