//! Quotas: exact at the limit, also with other writers, and without measuring the volume for each write.

mod btrfs;
mod copy;
mod estimate;
mod guest_writes;
mod limit;
mod processes;
mod stream;

use crate::support::volume::Volume;
use sandbox_volumes::volume_fs::WriteOptions;
use std::fs;

const PLAIN: WriteOptions = WriteOptions { atomic: false, durable: false, mode: None };
const ATOMIC: WriteOptions = WriteOptions { atomic: true, ..PLAIN };

/// More entries than a volume may have to be measured each time.
const MANY: usize = 100;

/// What a volume's account says, read from where the store keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    measured_at: u64,
    used: u64,
    charged: u64,
}

impl Volume {
    /// Makes it one that is not measured each time.
    fn fill_with_many(&self) {
        let dir = self.files.root().join("many");
        fs::create_dir(&dir).unwrap();
        (0..MANY).for_each(|at| fs::write(dir.join(at.to_string()), "x").unwrap());
    }

    fn account_path(&self) -> std::path::PathBuf {
        self.files.root().with_file_name(".locks").join("v~quota.lock")
    }

    fn kept(&self) -> Kept {
        Kept { measured_at: self.kept_word(6), used: self.kept_word(9), charged: self.kept_word(10) }
    }

    /// How much its account says was free.
    fn kept_free(&self) -> u64 {
        self.kept_word(11)
    }

    fn kept_word(&self, at: usize) -> u64 {
        let bytes = fs::read(self.account_path()).unwrap();
        u64::from_le_bytes(bytes[at * 8..][..8].try_into().unwrap())
    }
}
