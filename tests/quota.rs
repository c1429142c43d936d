//! Quotas: exact at the limit, whoever wrote meanwhile, without measuring the volume for each write.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

#[path = "quota/account.rs"]
mod account;
#[path = "quota/btrfs.rs"]
mod btrfs;
#[path = "quota/copy.rs"]
mod copy;
#[path = "quota/limit.rs"]
mod limit;
#[path = "support/btrfs.rs"]
mod limited;
#[path = "quota/meanwhile.rs"]
mod meanwhile;
#[path = "support/mount_namespace.rs"]
mod mount_namespace;
#[path = "support/private.rs"]
mod private;
#[path = "quota/processes.rs"]
mod processes;
#[path = "support/report.rs"]
mod report;
#[path = "support/skip.rs"]
mod skip;
#[path = "quota/stream.rs"]
mod stream;
#[path = "support/unmount.rs"]
mod unmount;
#[path = "support/volume.rs"]
mod volume;
#[path = "support/worker.rs"]
mod worker;

use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::WriteOptions;
use std::fs;
use volume::Volume;

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
    fn write(&self, path: &str, content: &[u8], options: WriteOptions) -> Result<(), String> {
        let written = self.files.write(path, content, options, &CancelToken::default());
        written.map_err(|error| error.code())
    }

    fn used_bytes(&self) -> u64 {
        self.store.get(&self.name, &CancelToken::default()).unwrap().used_bytes
    }

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
