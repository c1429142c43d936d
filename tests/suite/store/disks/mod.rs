//! Disk volumes and disk images: what is made, what is attached, and who may hold it.

mod full;
mod image;
mod lease;
mod volume;

use crate::support::home::Home;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{DiskFormat, OptionValue};
use sandbox_volumes::mount::{MountConfig, ResolvedMount, ResolvedSource};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;

fn text(text: &str) -> OptionValue {
    OptionValue::Text(text.to_owned())
}

/// A disk image of the host with `DiskOptions`.
fn image(path: &Path, options: Value) -> MountConfig {
    MountConfig::disk(&text(path.to_str().unwrap()), &options.into(), Path::new("/")).unwrap()
}

/// An existing volume with `MountOptions`.
fn volume(volume: &str, options: Value) -> MountConfig {
    MountConfig::named(&text(volume), &options.into()).unwrap()
}

fn readonly() -> Value {
    json!({ "readonly": true })
}

/// What a disk among the mounts of an attachment is: its path, the path to open, its format and file system.
fn disk(mount: &ResolvedMount) -> (&Path, &Path, DiskFormat, Option<&str>) {
    let ResolvedSource::Disk { host, open, format, fstype, .. } = &mount.origin else { panic!("{mount:?}") };
    (host, open, *format, fstype.as_deref())
}

/// A raw image with an empty file system of `mib`, made by ourselves.
fn ext4_image(path: &Path, mib: u32) -> PathBuf {
    let home = Home::new();
    home.create_disk("made", json!({ "sizeMib": mib })).unwrap();
    std::fs::copy(home.path("volumes/made/disk.raw"), path).unwrap();
    path.to_owned()
}

fn in_use(error: &Error) -> &[String] {
    assert_eq!(error.kind(), ErrorKind::VolumeInUse, "{error}");
    &error.context().sandboxes
}
