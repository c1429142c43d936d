//! A volume in a home of its own, and a directory outside it that nothing may touch.

use sandbox_volumes::model::{OptionValue, VolumeName, VolumeSpec};
use sandbox_volumes::store::{Durability, Store, StreamWriter, VolumeFs};
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::{WriteFrom, WriteOptions};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Deleted with its home when dropped.
pub struct Volume {
    pub store: Arc<Store>,
    pub name: VolumeName,
    pub files: VolumeFs,
    /// A directory of the same file system, two levels above the volume's root and one down.
    pub outside: PathBuf,
    _home: TempDir,
}

impl Volume {
    /// Creates a volume with these options.
    pub fn new(options: Value) -> Self {
        // Which a test may have moved.
        Volume::new_in(&tempfile::env::temp_dir(), options)
    }

    /// The same, below a directory.
    pub fn new_in(dir: &Path, options: Value) -> Self {
        let home = tempfile::tempdir_in(dir).unwrap();
        let store = Arc::new(Store::open(home.path(), Durability::Fast).unwrap());
        let name = VolumeName::parse("v").unwrap();
        let outside = home.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let volume = Volume { files: store.files(&name), store, name, outside, _home: home };
        volume.create(options);
        volume
    }

    /// Writes a file. A failure is the error's code.
    pub fn write(&self, path: &str, content: &[u8], options: WriteOptions) -> Result<(), String> {
        let written = self.files.write(path, content, options, &CancelToken::default());
        written.map_err(|error| error.code())
    }

    /// Opens a stream that writes a file.
    pub fn writer(&self, path: &str, options: WriteOptions, from: WriteFrom) -> StreamWriter {
        self.files.open_writer(path, options, from, &CancelToken::default()).unwrap()
    }

    /// How many bytes the volume takes.
    pub fn used_bytes(&self) -> u64 {
        self.store.get(&self.name, &CancelToken::default()).unwrap().used_bytes
    }

    /// How many entries the staging directory has.
    pub fn staged(&self) -> usize {
        std::fs::read_dir(self.files.root().with_file_name(".staging")).unwrap().count()
    }

    /// Creates it again, where it was removed.
    pub fn create(&self, options: Value) {
        let spec = VolumeSpec::from_options(&[OptionValue::from(options)]).unwrap();
        self.store.create(&self.name, &spec, &CancelToken::default()).unwrap();
    }
}
