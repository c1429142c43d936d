//! Disk volumes and disk images: what is made, what is attached, and who may hold it.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

#[path = "support/child.rs"]
mod child;
#[path = "disks/full.rs"]
mod full;
#[path = "disks/image.rs"]
mod image;
#[path = "support/immutable.rs"]
mod immutable;
#[path = "disks/lease.rs"]
mod lease;
#[path = "support/opens.rs"]
mod opens;
#[path = "support/report.rs"]
mod report;
#[path = "support/skip.rs"]
mod skip;
mod support;
#[path = "disks/volume.rs"]
mod volume;

use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{DiskFormat, Labels, OptionValue, VolumeSpec};
use sandbox_volumes::mount::{MountConfig, ResolvedMount, ResolvedSource, validate_and_order};
use sandbox_volumes::store::Attachment;
use sandbox_volumes::sync::CancelToken;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use support::{Home, name};

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

impl Home {
    fn create_disk(&self, volume: &str, options: Value) -> Result<PathBuf, Error> {
        let spec = VolumeSpec::from_options(&[json!({ "kind": "disk" }).into(), options.into()])?;
        self.store.create(&name(volume), &spec, &CancelToken::default()).map(|created| created.path)
    }

    /// Attaches to a sandbox that belongs to this process, at `/0`, `/1` and so on.
    fn attach(&self, sandbox: &str, mounts: &[MountConfig]) -> Result<Attachment, Error> {
        let entries = mounts.iter().enumerate().map(|(at, mount)| (format!("/{at}"), mount.clone()));
        self.store.attach(
            sandbox,
            &validate_and_order(entries.collect()).unwrap(),
            None,
            &CancelToken::default(),
        )
    }

    fn volumes(&self) -> Vec<String> {
        let listed = self.store.list(&Labels::default(), &CancelToken::default()).unwrap();
        listed.into_iter().map(|volume| volume.record.name.to_string()).collect()
    }
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
