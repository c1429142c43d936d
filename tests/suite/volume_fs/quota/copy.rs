//! What copies into a volume are charged.

use super::{Kept, PLAIN};
use crate::support::private::Private;
use crate::support::volume::Volume;
use nix::sys::statvfs::statvfs;
use sandbox_volumes::model::MIB;
use sandbox_volumes::store::TransferOptions;
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;

impl Volume {
    fn copy_file_in(&self, length: usize, to: &str) {
        // Elsewhere, so that it takes no space that the volume's file system tells of.
        let host = tempfile::NamedTempFile::new().unwrap();
        fs::write(host.path(), vec![1; length]).unwrap();
        self.files.copy_in(host.path(), to, TransferOptions::default(), &CancelToken::default()).unwrap();
    }
}

/// The bytes of a file that is there before.
const OLD: u64 = 4096;

/// A volume that is not measured for each write, of 16 MiB, on a file system of its own.
fn large(private: &Private) -> Volume {
    let volume = Volume::new_in(private.path(), json!({ "quotaMib": 16 }));
    volume.fill_with_many();
    volume.write("old", &[1; OLD as usize], PLAIN).unwrap();
    volume
}

#[test]
fn a_large_file_is_charged_once() {
    let Some(private) = Private::new() else { return };
    for to in ["new", "old"] {
        let volume = large(&private);
        let before = volume.kept();
        volume.copy_file_in(12 << 20, to);
        let Kept { measured_at, used, charged } = volume.kept();
        assert_eq!(measured_at, before.measured_at, "{to}");
        let truth = volume.used_bytes();
        assert!(
            (truth..truth + (128 << 10)).contains(&(used + charged)),
            "{to}: {used} + {charged}, {truth}"
        );
    }
}

#[test]
fn what_a_copy_put_in_place_hides_nothing_that_a_guest_writes() {
    let Some(private) = Private::new() else { return };
    let volume = large(&private);
    volume.copy_file_in(10 << 20, "old");
    fs::write(volume.files.root().join("guest"), vec![1; 5 << 20]).unwrap();
    assert_eq!(volume.write("host", &vec![1; 5 << 20], PLAIN), Err("ERR_QUOTA_EXCEEDED".to_owned()));
    assert!(volume.used_bytes() <= 16 * MIB);
}

#[test]
fn what_a_copy_has_ready_counts_as_free_where_the_volume_is_measured_for_its_end() {
    let Some(private) = Private::new() else { return };
    let volume = large(&private);
    let first = volume.kept();
    // It fits exactly, which an account does not know.
    volume.copy_file_in((16 * MIB - volume.used_bytes() + OLD) as usize, "old");
    assert_eq!(volume.used_bytes(), 16 * MIB);
    let Kept { measured_at, used, .. } = volume.kept();
    assert!(measured_at > first.measured_at);
    let found = statvfs(private.path()).unwrap();
    let free_now = found.blocks_free() * found.fragment_size();
    assert_eq!(volume.kept_free(), free_now + (16 * MIB - used));
}
