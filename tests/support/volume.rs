//! A volume in a home of its own, and a directory outside it that nothing may touch.

use sandbox_volumes::model::{Cancel, Input, VolumeName, VolumeSpec};
use sandbox_volumes::store::{Durability, Store, VolumeFiles};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// Deleted with its home when dropped.
pub struct Volume {
    pub store: Arc<Store>,
    pub name: VolumeName,
    pub files: VolumeFiles,
    /// A directory of the same file system, two levels above the volume's root and one down.
    pub outside: PathBuf,
    _home: TempDir,
}

impl Volume {
    /// Creates a volume with these options.
    pub fn new(options: Value) -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(home.path(), Durability::Fast).unwrap());
        let name = VolumeName::parse("v").unwrap();
        let spec = VolumeSpec::from_options(&[Input::from(options)]).unwrap();
        store.create(&name, &spec, &Cancel::default()).unwrap();
        let outside = home.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        Volume { files: store.files(&name), store, name, outside, _home: home }
    }
}
