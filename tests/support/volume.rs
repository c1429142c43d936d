//! A volume in a home of its own, and a directory outside it that nothing may touch.

use sandbox_volumes::model::{OptionValue, VolumeName, VolumeSpec};
use sandbox_volumes::store::{Durability, Store, VolumeFs};
use sandbox_volumes::sync::CancelToken;
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

    /// Creates it again, where it was removed.
    pub fn create(&self, options: Value) {
        let spec = VolumeSpec::from_options(&[OptionValue::from(options)]).unwrap();
        self.store.create(&self.name, &spec, &CancelToken::default()).unwrap();
    }
}
