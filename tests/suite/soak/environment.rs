//! The directories in which a soak runs, and what must not change there.

use crate::support::snapshot::Snapshot;
use sandbox_volumes::model::{VolumeName, VolumeSpec};
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Volumes that stay, in which files are written: two that a guest has as well, and one with a quota.
pub const KEPT: [&str; 3] = ["keep-0", "keep-1", "keep-quota"];
pub const SHARED_WITH_GUEST: [&str; 2] = ["keep-0", "keep-1"];
pub const WITH_QUOTA: &str = "keep-quota";
const QUOTA_MIB: u64 = 8;

/// Files that all workers replace, in the volumes that a guest has.
pub const SHARED_FILES: [&str; 3] = ["shared/0", "shared/1", "shared/2"];

/// Names that all workers create and remove, and what they make of them.
pub const POOL: [(&str, &str); 6] = [
    ("pool-0", "dir"),
    ("pool-1", "dir"),
    ("pool-2", "dir"),
    ("pool-quota", "quota"),
    ("pool-raw", "raw"),
    ("pool-qcow2", "qcow2"),
];

/// How many volumes each worker has for itself, and of which kinds they are.
pub const OWN: [&str; 3] = ["dir", "quota", "raw"];

/// No worker touches it.
const BYSTANDER: &str = "bystander";

/// What no volume's file holds.
pub const SECRET: &str = "this stands outside of every volume";

/// A directory with a home, and what is beside it.
pub struct Environment {
    dir: PathBuf,
    bystander: Snapshot,
    outside: Snapshot,
}

impl Environment {
    /// Makes the home and all that stays.
    pub fn prepare(dir: &Path) -> Self {
        for below in ["outside/sub", "host"] {
            fs::create_dir_all(dir.join(below)).unwrap();
        }
        for file in ["outside/f", "outside/sub/f", "outside/secret"] {
            fs::write(dir.join(file), SECRET).unwrap();
        }
        let store = Arc::new(Store::open(&home(dir), Durability::Full).unwrap());
        for volume in KEPT.into_iter().chain([BYSTANDER]) {
            let options = if volume == WITH_QUOTA { json!({ "quotaMib": QUOTA_MIB }) } else { json!({}) };
            store.create(&name(volume), &spec(options), &CancelToken::default()).unwrap();
        }
        for volume in SHARED_WITH_GUEST {
            let root = home(dir).join("volumes").join(volume);
            for below in ["shared", "g/dir/sub", "g/busy"] {
                fs::create_dir_all(root.join(below)).unwrap();
            }
            for file in ["g/file", "g/dir/f", "g/dir/sub/f"] {
                fs::write(root.join(file), "inside").unwrap();
            }
            std::os::unix::fs::symlink(dir.join("outside"), root.join("g/link")).unwrap();
            std::os::unix::fs::symlink(dir.join("outside/secret"), root.join("g/file-link")).unwrap();
        }
        let bystander = home(dir).join("volumes").join(BYSTANDER);
        fs::create_dir(bystander.join("sub")).unwrap();
        fs::write(bystander.join("sub/file"), "untouched").unwrap();
        Environment {
            dir: dir.to_owned(),
            bystander: Snapshot::of(&bystander),
            outside: Snapshot::of(&dir.join("outside")),
        }
    }

    pub fn home(&self) -> PathBuf {
        home(&self.dir)
    }

    pub fn volume(&self, volume: &str) -> PathBuf {
        self.home().join("volumes").join(volume)
    }

    /// What a guest of the kept volumes swaps, as fast as it can.
    pub fn swaps(&self) -> Vec<Value> {
        let swaps_in = |volume: &str| {
            let at = |below: &str| self.volume(volume).join(below).to_str().unwrap().to_owned();
            [
                json!(["exchange", at("g/dir"), at("g/link")]),
                json!(["exchange", at("g/file"), at("g/file-link")]),
                json!(["come and go", at("g/busy"), "entry"]),
            ]
        };
        SHARED_WITH_GUEST.into_iter().flat_map(swaps_in).collect()
    }

    /// What changed although no worker may touch it.
    pub fn touched(&self) -> Vec<String> {
        let mut touched = Vec::new();
        if Snapshot::of(&self.dir.join("outside")) != self.outside {
            touched.push("something outside of the volumes was changed".to_owned());
        }
        if Snapshot::of(&self.volume(BYSTANDER)) != self.bystander {
            touched.push("a volume that nobody touched was changed".to_owned());
        }
        touched
    }
}

/// The home in the directory that a worker is started with.
pub fn home(dir: &Path) -> PathBuf {
    dir.join("home")
}

pub fn name(text: &str) -> VolumeName {
    VolumeName::parse(text).unwrap()
}

pub fn spec(options: Value) -> VolumeSpec {
    VolumeSpec::from_options(&[options.into()]).unwrap()
}

/// The options of a kind of volume.
pub fn spec_of(kind: &str) -> VolumeSpec {
    spec(match kind {
        "dir" => json!({}),
        "quota" => json!({ "quotaMib": 4 }),
        format => json!({ "kind": "disk", "sizeMib": 8, "format": format }),
    })
}

/// The kind of a volume of the pool, or of a worker's own.
pub fn kind_of(volume: &str) -> &'static str {
    match volume.strip_prefix("own-") {
        Some(own) => OWN[own.rsplit_once('-').unwrap().1.parse::<usize>().unwrap()],
        None => POOL.iter().find(|(name, _)| *name == volume).unwrap().1,
    }
}

pub fn own_volume(slot: usize, at: usize) -> String {
    format!("own-{slot}-{at}")
}
