//! Images as a store would make them: a sparse file and the extents that belong in it.

use sandbox_volumes::ext4::{Ext4Options, format};
use sandbox_volumes::model::MIB;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The label of every image.
pub const LABEL: &str = "my-data";
/// The UUID of every image, as the tools write it.
pub const UUID: &str = "0f1e2d3c-4b5a-4697-8879-6a5b4c3d2e1f";
/// The seed for hashing directories, likewise.
pub const HASH_SEED: &str = "13579bdf-0246-48ac-9ce0-fdb975310eca";
/// When every image was made.
pub const CREATED_AT_S: u64 = 1_700_000_000;

/// Deleted with its directory when dropped.
pub struct Image {
    pub path: PathBuf,
    _dir: TempDir,
}

impl Image {
    pub fn of_mib(mib: u32) -> Self {
        Image::of(&options(mib))
    }

    pub fn of(options: &Ext4Options) -> Self {
        Image::at(&std::env::temp_dir(), options)
    }

    /// An image in a new directory below that one.
    pub fn at(parent: &Path, options: &Ext4Options) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        let path = dir.path().join("disk.raw");
        let file = File::create(&path).unwrap();
        file.set_len(options.size_bytes).unwrap();
        for extent in format(options).unwrap() {
            file.write_all_at(&extent.bytes, extent.offset).unwrap();
        }
        Image { path, _dir: dir }
    }

    /// An image with nothing in it.
    pub fn empty(mib: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        File::create(&path).unwrap().set_len(u64::from(mib) * MIB).unwrap();
        Image { path, _dir: dir }
    }

    pub fn set_mib(&self, mib: u64) {
        File::options().write(true).open(&self.path).unwrap().set_len(mib * MIB).unwrap();
    }

    /// What the image takes on the host.
    pub fn allocated_bytes(&self) -> u64 {
        self.path.metadata().unwrap().blocks() * 512
    }
}

pub fn options(mib: u32) -> Ext4Options {
    Ext4Options {
        size_bytes: u64::from(mib) * MIB,
        label: LABEL.to_owned(),
        uuid: bytes_of(UUID),
        hash_seed: bytes_of(HASH_SEED),
        created_at_s: CREATED_AT_S,
    }
}

fn bytes_of(uuid: &str) -> [u8; 16] {
    u128::from_str_radix(&uuid.replace('-', ""), 16).unwrap().to_be_bytes()
}
