//! An error names the whole path from the volume's root, also where a step on a temp file failed.

use crate::support::immutable::Immutable;
use crate::support::volume::Volume;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::store::{AppendOptions, TransferOptions, VolumeFs};
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::{WriteFrom, WriteOptions};
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const FILE: &str = "deep/er/dir/file";
const MISSING: &str = "deep/er/dir/missing";

/// A directory in which nothing can be made, replaced or removed, until dropped.
enum Frozen {
    /// For root, who may do anything that only permissions forbid.
    Immutable {
        _until_dropped: Immutable,
    },
    ReadOnly(PathBuf),
}

impl Frozen {
    fn new(dir: &Path) -> Option<Self> {
        if nix::unistd::geteuid().is_root() {
            return Immutable::new(dir).map(|immutable| Frozen::Immutable { _until_dropped: immutable });
        }
        fs::set_permissions(dir, Permissions::from_mode(0o555)).unwrap();
        Some(Frozen::ReadOnly(dir.to_owned()))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Frozen::ReadOnly(dir) = self {
            fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
        }
    }
}

/// A volume with a file deep inside, and on the host a file and a tree that holds another of that path.
fn volume() -> Volume {
    let volume = Volume::new(json!({}));
    let (files, cancel) = (&volume.files, CancelToken::default());
    files.mkdir("deep/er/dir", &cancel).unwrap();
    for path in [FILE, "plain"] {
        files.write(path, b"old", WriteOptions::default(), &cancel).unwrap();
    }
    fs::create_dir_all(volume.outside.join("tree/deep/er/dir")).unwrap();
    for path in ["seed", "tree/deep/er/dir/file"] {
        fs::write(volume.outside.join(path), "new").unwrap();
    }
    volume
}

fn atomic() -> WriteOptions {
    WriteOptions { atomic: true, ..WriteOptions::default() }
}

fn stream(files: &VolumeFs, path: &str, options: WriteOptions) -> Result<(), Error> {
    let cancel = CancelToken::default();
    let mut writer = files.open_writer(path, options, WriteFrom::Empty, &cancel)?;
    writer.write(b"new", &cancel)?;
    writer.finish(&cancel)
}

/// Every way of replacing the file at `path`, the way by a temp file first.
type Method = (&'static str, fn(&Volume, &str) -> Result<(), Error>);

const REPLACING: [Method; 5] = [
    ("write atomic", |volume, path| volume.files.write(path, b"new", atomic(), &CancelToken::default())),
    ("stream atomic", |volume, path| stream(&volume.files, path, atomic())),
    ("copy", |volume, path| volume.files.copy("plain", path, &CancelToken::default()).map(drop)),
    ("copyIn", |volume, path| copy_in(volume, "seed", path)),
    ("copyIn into a directory", |volume, _| copy_in(volume, "tree/deep", "deep")),
];

const MAKING: [Method; 8] = [
    ("write", |volume, path| {
        volume.files.write(path, b"new", WriteOptions::default(), &CancelToken::default())
    }),
    ("append", |volume, path| {
        volume.files.append(path, b"new", AppendOptions::default(), &CancelToken::default())
    }),
    ("stream", |volume, path| stream(&volume.files, path, WriteOptions::default())),
    ("mkdir", |volume, path| volume.files.mkdir(path, &CancelToken::default())),
    REPLACING[0],
    REPLACING[1],
    REPLACING[2],
    REPLACING[3],
];

const REMOVING: [Method; 2] = [
    ("remove", |volume, path| volume.files.remove(path, &CancelToken::default())),
    ("removeAll", |volume, path| volume.files.remove_all(path, &CancelToken::default())),
];

fn copy_in(volume: &Volume, from: &str, to: &str) -> Result<(), Error> {
    let from = volume.outside.join(from);
    volume.files.copy_in(&from, to, TransferOptions::default(), &CancelToken::default()).map(drop)
}

/// Each method is refused, in words that name `path` and nothing of the store's own.
fn check(volume: &Volume, methods: &[Method], path: &str) {
    for (name, method) in methods {
        let error = method(volume, path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileSystem, "{name}: {error}");
        assert!(["EACCES", "EPERM"].contains(&&*error.code()), "{name}: {error}");
        assert_eq!(error.context().path.as_deref(), Some(path), "{name}: {error}");
        assert_eq!(error.context().volume.as_deref(), Some("v"), "{name}");
        assert!(error.to_string().contains(&format!("{path:?}")), "{name}: {error}");
    }
}

#[test]
fn what_a_directory_refuses_is_named_by_the_whole_path() {
    let volume = volume();
    let Some(_frozen) = Frozen::new(&volume.files.root().join("deep/er/dir")) else { return };
    check(&volume, &REPLACING, FILE);
    check(&volume, &REMOVING, FILE);
    check(&volume, &MAKING, MISSING);
}

#[test]
fn a_temp_file_that_cannot_be_made_is_named_by_what_it_was_to_replace() {
    let volume = volume();
    let Some(_frozen) = Frozen::new(&volume.files.root().with_file_name(".staging")) else { return };
    check(&volume, &REPLACING, FILE);
    check(&volume, &REPLACING[..2], MISSING);
}
