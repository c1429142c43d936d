//! Streams: what they are charged, and where they are refused.

use super::{ATOMIC, PLAIN};
use crate::support::private::Private;
use crate::support::volume::Volume;
use nix::fcntl::{FallocateFlags, fallocate};
use sandbox_volumes::model::MIB;
use sandbox_volumes::store::StreamWriter;
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::WriteFrom;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;

const PIECE: usize = 64 << 10;

fn add(writer: &mut StreamWriter, length: usize) -> Result<(), String> {
    writer.write(&vec![7; length], &CancelToken::default()).map_err(|error| error.code())
}

fn finish(mut writer: StreamWriter) -> Result<(), String> {
    writer.finish(&CancelToken::default()).map_err(|error| error.code())
}

fn refused() -> Result<(), String> {
    Err("ERR_QUOTA_EXCEEDED".to_owned())
}

/// A volume that is not measured for each write, of 8 MiB, on a file system of its own.
fn large(private: &Private) -> Volume {
    let volume = Volume::new_in(private.path(), json!({ "quotaMib": 8 }));
    volume.fill_with_many();
    volume
}

#[test]
fn a_stream_that_fits_measures_the_volume_as_often_as_a_write_does() {
    let Some(private) = Private::new() else { return };
    for options in [PLAIN, ATOMIC] {
        let volume = large(&private);
        let mut writer = volume.writer("f", options, WriteFrom::Empty);
        let mut measured = BTreeSet::new();
        for _ in 0..100 {
            add(&mut writer, PIECE).unwrap();
            measured.insert(volume.kept().measured_at);
        }
        finish(writer).unwrap();
        measured.insert(volume.kept().measured_at);
        assert_eq!(measured.len(), 1, "{options:?}");
        let kept = volume.kept();
        let (known, truth) = (kept.used + kept.charged, volume.used_bytes());
        assert!(known >= truth && known < truth + (64 << 10), "{options:?}: {known} known, {truth} used");
    }
}

#[test]
fn a_stream_up_to_the_limit_measures_the_volume_a_few_times_more() {
    let Some(private) = Private::new() else { return };
    for options in [PLAIN, ATOMIC] {
        let volume = large(&private);
        volume.write("f", &[1; PIECE], options).unwrap();
        volume.write("g", &[1; PIECE], options).unwrap();
        let mut writer = volume.writer("f", options, WriteFrom::Empty);
        let room = 8 * MIB - volume.used_bytes() + u64::from(options.atomic) * PIECE as u64;
        let mut measured = BTreeSet::new();
        for at in (0..room as usize).step_by(4096) {
            add(&mut writer, 4096).unwrap_or_else(|code| panic!("{code} at {at} of {room}"));
            measured.insert(volume.kept().measured_at);
        }
        assert_eq!(add(&mut writer, 1), refused());
        assert!(measured.len() < 15, "{options:?}: measured {} times", measured.len());
        if options.atomic {
            assert_eq!(fs::read(volume.files.root().join("f")).unwrap(), [1; PIECE]);
        }
        finish(writer).unwrap();
        assert_eq!((volume.used_bytes(), volume.staged()), (8 * MIB, 0), "{options:?}");
        assert_eq!(volume.write("h", b"x", options), refused());
    }
}

#[test]
fn what_is_staged_is_charged_again_where_the_volume_was_measured_for_somebody_else() {
    let Some(private) = Private::new() else { return };
    let volume = large(&private);
    let mut writer = volume.writer("f", ATOMIC, WriteFrom::Empty);
    for _ in 0..40 {
        add(&mut writer, PIECE).unwrap();
    }
    let before = volume.kept().measured_at;
    // The account is lost, and so the volume is measured for the next write.
    fs::write(volume.account_path(), "").unwrap();
    volume.write("other", b"x", PLAIN).unwrap();
    assert!(volume.kept().measured_at > before && volume.kept().charged < MIB);
    add(&mut writer, PIECE).unwrap();
    assert!(volume.kept().charged > 40 * PIECE as u64);
    finish(writer).unwrap();
    assert!(volume.kept().used + volume.kept().charged >= volume.used_bytes());
}

#[test]
fn case_45_what_is_taken_between_two_pieces_counts_for_the_next_and_for_the_end() {
    let Some(private) = Private::new() else { return };
    for options in [PLAIN, ATOMIC] {
        let volume = large(&private);
        let mut writer = volume.writer("f", options, WriteFrom::Empty);
        add(&mut writer, 2 << 20).unwrap();
        volume.write("other", &vec![1; 5 << 20], PLAIN).unwrap();
        assert_eq!(add(&mut writer, 2 << 20), refused());
        add(&mut writer, PIECE).unwrap();
        // Only an atomic writer still reserves what it wrote.
        volume.write("more", &vec![1; 1 << 19], PLAIN).unwrap();
        match options.atomic {
            true => {
                fs::write(volume.files.root().join("guest"), vec![1; 1 << 20]).unwrap();
                assert_eq!(finish(writer), refused());
                assert!(!volume.files.exists("f").unwrap());
            }
            false => finish(writer).unwrap(),
        }
        assert!(volume.used_bytes() <= 8 * MIB);
        assert_eq!(volume.staged(), 0);
    }
}

#[test]
fn a_stream_that_was_given_up_leaves_the_room_that_it_had_claimed() {
    let Some(private) = Private::new() else { return };
    let volume = large(&private);
    let mut writer = volume.writer("f", ATOMIC, WriteFrom::Empty);
    add(&mut writer, 7 << 20).unwrap();
    drop(writer);
    volume.write("g", &vec![1; 7 << 20], ATOMIC).unwrap();
}

#[test]
fn a_stream_is_charged_for_what_was_cut_off_since_its_last_piece() {
    let Some(private) = Private::new() else { return };
    for piece in [PIECE, 5000] {
        let volume = large(&private);
        volume.write("f", &vec![1; 4 << 20], PLAIN).unwrap();
        let from = WriteFrom::Position(0);
        let mut writer = volume.files.open_writer("f", PLAIN, from, &CancelToken::default()).unwrap();
        add(&mut writer, piece).unwrap();
        volume.write("f", b"", PLAIN).unwrap();
        volume.write("g", &vec![1; 7 << 20], PLAIN).unwrap();
        let refused_at = (0..4 << 20).step_by(piece).find(|_| add(&mut writer, piece) == refused());
        assert!(refused_at.is_some(), "{piece}: {} of {}", volume.used_bytes(), 8 * MIB);
        assert!(volume.used_bytes() <= 8 * MIB);
    }
}

#[test]
fn a_stream_is_charged_for_the_holes_that_a_guest_made_in_its_file() {
    let Some(private) = Private::new() else { return };
    let volume = large(&private);
    volume.write("f", &vec![1; 4 << 20], PLAIN).unwrap();
    let from = WriteFrom::Position(0);
    let mut writer = volume.files.open_writer("f", PLAIN, from, &CancelToken::default()).unwrap();
    let file = fs::File::options().write(true).open(volume.files.root().join("f")).unwrap();
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&file, punch, 0, 4 << 20).unwrap();
    volume.write("g", &vec![1; 7 << 20], PLAIN).unwrap();
    let refused_at = (0..4 << 20).step_by(PIECE).find(|_| add(&mut writer, PIECE) == refused());
    assert!(refused_at.is_some(), "{} of {}", volume.used_bytes(), 8 * MIB);
    assert!(volume.used_bytes() <= 8 * MIB);
}

#[test]
fn a_stream_of_which_a_piece_was_cut_off_is_not_completed() {
    let Some(private) = Private::new() else { return };
    for options in [PLAIN, ATOMIC] {
        let volume = Volume::new_in(private.path(), json!({}));
        volume.write("f", b"old", options).unwrap();
        let mut writer = volume.writer("f", options, WriteFrom::Empty);
        add(&mut writer, PIECE).unwrap();
        assert_eq!(add(&mut writer, 70 << 20), Err("ENOSPC".to_owned()));
        assert_eq!(add(&mut writer, 1), Err("EIO".to_owned()));
        assert_eq!(finish(writer), Err("EIO".to_owned()));
        if options.atomic {
            assert_eq!(fs::read(volume.files.root().join("f")).unwrap(), b"old");
        }
        assert_eq!(volume.staged(), 0);
    }
}

#[test]
fn a_volume_over_its_limit_has_what_is_there_overwritten_piece_by_piece() {
    let Some(private) = Private::new() else { return };
    let volume = large(&private);
    volume.write("f", &[1; PIECE], PLAIN).unwrap();
    fs::write(volume.files.root().join("guest"), vec![1; 9 << 20]).unwrap();
    let from = WriteFrom::Position(0);
    let mut writer = volume.files.open_writer("f", PLAIN, from, &CancelToken::default()).unwrap();
    add(&mut writer, PIECE).unwrap();
    assert_eq!(add(&mut writer, 1), refused());
    let mut writer = volume.writer("f", ATOMIC, WriteFrom::Empty);
    add(&mut writer, PIECE).unwrap();
    assert_eq!(add(&mut writer, 1), refused());
    finish(writer).unwrap();
    assert_eq!(fs::read(volume.files.root().join("f")).unwrap(), [7; PIECE]);
}
