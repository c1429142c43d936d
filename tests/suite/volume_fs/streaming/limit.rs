//! Streams into a volume with a quota.

use super::{ATOMIC, PLAIN, finish, write};
use crate::support::volume::Volume;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::MIB;
use sandbox_volumes::volume_fs::WriteFrom;
use serde_json::json;

/// A volume of 1 MiB of which this many bytes are left.
fn nearly_full(left: u64) -> Volume {
    let volume = Volume::new(json!({ "quotaMib": 1 }));
    let free = MIB - volume.used_bytes();
    volume.put("ballast", vec![1; (free - left) as usize]);
    assert_eq!(volume.used_bytes() + left, MIB);
    volume
}

#[test]
fn case_45_a_plain_writer_may_fill_the_quota_and_not_a_byte_more() {
    for from in [WriteFrom::Empty, WriteFrom::End, WriteFrom::Position(0)] {
        let volume = nearly_full(8192);
        let mut writer = volume.writer("f", PLAIN, from);
        for _ in 0..8192 / 512 {
            write(&mut writer, [7; 512]).unwrap();
        }
        let error = write(&mut writer, "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
        drop(writer);
        assert_eq!(volume.content("f").len(), 8192, "{from:?}");
        assert_eq!(volume.used_bytes(), MIB);
    }
}

#[test]
fn case_45_appending_and_overwriting_count_only_blocks_that_are_added() {
    let volume = nearly_full(8192);
    volume.put("f", [1; 5000]);
    assert_eq!(volume.used_bytes(), MIB);
    let mut writer = volume.writer("f", PLAIN, WriteFrom::End);
    write(&mut writer, [2; 3192]).unwrap();
    assert_eq!(write(&mut writer, "x").unwrap_err().kind(), ErrorKind::QuotaExceeded);
    let mut writer = volume.writer("f", PLAIN, WriteFrom::Position(10));
    write(&mut writer, [3; 8182]).unwrap();
    assert_eq!(write(&mut writer, "x").unwrap_err().kind(), ErrorKind::QuotaExceeded);
    assert_eq!(volume.content("f").len(), 8192);
}

#[test]
fn case_45_filling_a_hole_is_counted() {
    let volume = nearly_full(4096);
    volume.sparse("f", 1 << 20);
    let mut writer = volume.writer("f", PLAIN, WriteFrom::Position(0));
    write(&mut writer, [1; 4096]).unwrap();
    assert_eq!(write(&mut writer, [1; 4096]).unwrap_err().kind(), ErrorKind::QuotaExceeded);
}

#[test]
fn case_45_an_atomic_writer_over_the_quota_changes_nothing_and_may_use_what_the_old_file_gives_back() {
    let volume = nearly_full(8192);
    volume.put("f", [1; 4096]);
    let mut writer = volume.writer("f", ATOMIC, WriteFrom::Empty);
    write(&mut writer, [2; 4096]).unwrap();
    write(&mut writer, [2; 4096]).unwrap();
    assert_eq!(write(&mut writer, "x").unwrap_err().kind(), ErrorKind::QuotaExceeded);
    drop(writer);
    assert_eq!((volume.content("f").len(), volume.staged()), (4096, 0));

    let mut writer = volume.writer("f", ATOMIC, WriteFrom::Empty);
    write(&mut writer, [2; 8192]).unwrap();
    finish(writer).unwrap();
    assert_eq!((volume.content("f").len(), volume.used_bytes()), (8192, MIB));
}

#[test]
fn case_45_what_others_wrote_meanwhile_counts_when_an_atomic_writer_finishes() {
    let volume = nearly_full(8192);
    let mut writer = volume.writer("f", ATOMIC, WriteFrom::Empty);
    write(&mut writer, [2; 8192]).unwrap();
    volume.put("guest", "x");
    assert_eq!(finish(writer).unwrap_err().kind(), ErrorKind::QuotaExceeded);
    assert!(!volume.files.exists("f").unwrap());
    assert_eq!(volume.staged(), 0);
}
