//! The operations that the crash suites interrupt.

use sandbox_volumes::error::Error;
use sandbox_volumes::model::{OptionValue, VolumeName, VolumeSpec};
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::store::{Attachment, Durability, Store, TransferOptions};
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::{AppendOptions, WriteFrom, WriteOptions};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const OLD: &str = "the old content";
pub const NEW: &str = "the new content, which is longer than the old one";

/// What is mounted into, beside the home.
pub const ROOTFS: &str = "rootfs";

/// A disk volume that is mounted.
pub const DISK: &str = "disk";

/// The volume that is worked on.
pub const VOLUME: &str = "worked-on";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    CreateDirectory,
    CreateRawDisk,
    CreateQcow2Disk,
    CreateInNewHome,
    RemoveDirectory,
    RemoveDisk,
    /// A volume of a lower layer of an overlay, which cannot be renamed.
    RemoveInPlace,
    /// A volume whose id file cannot be written.
    RemoveWithoutIdFile,
    Overwrite,
    WriteNew,
    WriteDeep,
    WriteAtomically,
    ReplaceLimited,
    Append,
    Stream,
    StreamAtomically,
    StreamAppending,
    Rename,
    Copy,
    CopyIn,
    CopyOut,
    Attach,
    Detach,
    MountInto,
    Recover,
}

const ALL: [Work; 25] = [
    Work::CreateDirectory,
    Work::CreateRawDisk,
    Work::CreateQcow2Disk,
    Work::CreateInNewHome,
    Work::RemoveDirectory,
    Work::RemoveDisk,
    Work::RemoveInPlace,
    Work::RemoveWithoutIdFile,
    Work::Overwrite,
    Work::WriteNew,
    Work::WriteDeep,
    Work::WriteAtomically,
    Work::ReplaceLimited,
    Work::Append,
    Work::Stream,
    Work::StreamAtomically,
    Work::StreamAppending,
    Work::Rename,
    Work::Copy,
    Work::CopyIn,
    Work::CopyOut,
    Work::Attach,
    Work::Detach,
    Work::MountInto,
    Work::Recover,
];

pub fn open(home: &Path) -> Result<Arc<Store>, Error> {
    Store::open(home, Durability::Full).map(Arc::new)
}

pub fn name(text: &str) -> VolumeName {
    VolumeName::parse(text).unwrap()
}

pub fn create(store: &Store, volume: &str, options: Value) -> Result<(), Error> {
    let spec = VolumeSpec::from_options(&[options.into()])?;
    store.create(&name(volume), &spec, &CancelToken::default()).map(drop)
}

/// Attaches the volume, which is made where it is missing.
pub fn attach(store: &Store) -> Result<Attachment, Error> {
    let options: OptionValue = json!({ "mode": "ensure-exists" }).into();
    let mount =
        MountConfig::named_with(&OptionValue::Text(VOLUME.to_owned()), &OptionValue::Absent, &options)
            .unwrap();
    let mounts = validate_and_order(vec![("/data".to_owned(), mount)]).unwrap();
    store.attach("worker", &mounts, None, &CancelToken::default())
}

/// A home beside the other one, with what is above it.
pub fn new_home(home: &Path) -> PathBuf {
    home.with_file_name("above").join("new")
}

/// A path of more directories than are synced one by one.
pub fn deep() -> String {
    ["d"; 40].join("/")
}

/// Where a tree is copied out to.
pub fn copied_out(home: &Path) -> PathBuf {
    home.with_file_name("out")
}

impl Work {
    /// Whether it removes the volume, and nothing else.
    pub fn removes(self) -> bool {
        matches!(
            self,
            Work::RemoveDirectory | Work::RemoveDisk | Work::RemoveInPlace | Work::RemoveWithoutIdFile
        )
    }

    pub fn of(name: &str) -> Self {
        ALL.into_iter().find(|work| format!("{work:?}") == name).unwrap()
    }

    /// What there is before.
    pub fn prepare(self, store: &Arc<Store>) {
        let files = store.files(&name(VOLUME));
        let write =
            |path| files.write(path, OLD.as_bytes(), WriteOptions::default(), &CancelToken::default());
        match self {
            Work::CreateDirectory
            | Work::CreateRawDisk
            | Work::CreateQcow2Disk
            | Work::CreateInNewHome
            | Work::Attach => {}
            Work::RemoveDisk => create(store, VOLUME, json!({ "kind": "disk", "sizeMib": 8 })).unwrap(),
            Work::MountInto => {
                create(store, VOLUME, json!({})).unwrap();
                create(store, DISK, json!({ "kind": "disk", "sizeMib": 8 })).unwrap();
                write("file").unwrap();
            }
            _ => {
                let options = if self == Work::ReplaceLimited { json!({ "quotaMib": 8 }) } else { json!({}) };
                create(store, VOLUME, options).unwrap();
                files.mkdir("dir/below", &CancelToken::default()).unwrap();
                write("file").unwrap();
                write("dir/below/file").unwrap();
            }
        }
    }

    /// What writes files does so durably.
    pub fn do_it(self, home: &Path, durability: Durability) -> Result<(), Error> {
        let open = |home: &Path| Store::open(home, durability).map(Arc::new);
        if self == Work::CreateInNewHome {
            return create(&*open(&new_home(home))?, VOLUME, json!({}));
        }
        let store = open(home)?;
        let (files, cancel) = (store.files(&name(VOLUME)), CancelToken::default());
        let write = |path: &str, atomic| {
            let options = WriteOptions { atomic, durable: true, mode: None };
            files.write(path, NEW.as_bytes(), options, &cancel)
        };
        let stream = |path, atomic, from| {
            let options = WriteOptions { atomic, durable: true, mode: None };
            let mut writer = files.open_writer(path, options, from, &cancel)?;
            let (begin, end) = NEW.as_bytes().split_at(7);
            writer.write(begin, &cancel)?;
            writer.write(end, &cancel)?;
            writer.finish(&cancel)
        };
        match self {
            Work::CreateDirectory => create(&store, VOLUME, json!({ "quotaMib": 4, "labels": { "a": "b" } })),
            Work::CreateRawDisk => create(&store, VOLUME, json!({ "kind": "disk", "sizeMib": 8 })),
            Work::CreateQcow2Disk => {
                create(&store, VOLUME, json!({ "kind": "disk", "sizeMib": 8, "format": "qcow2" }))
            }
            Work::RemoveDirectory | Work::RemoveDisk | Work::RemoveInPlace | Work::RemoveWithoutIdFile => {
                store.remove(&name(VOLUME), &cancel)
            }
            Work::Overwrite => write("file", false),
            Work::WriteNew => {
                files.mkdir("made/below", &cancel)?;
                write("made/below/new", false)
            }
            Work::WriteDeep => {
                files.mkdir(deep(), &cancel)?;
                write(&format!("{}/new", deep()), false)
            }
            Work::WriteAtomically | Work::ReplaceLimited => write("file", true),
            Work::Append => {
                let options = AppendOptions { durable: true, mode: None };
                files.append("file", NEW.as_bytes(), options, &cancel)
            }
            Work::Stream => stream("streamed", false, WriteFrom::Empty),
            Work::StreamAtomically => stream("file", true, WriteFrom::Empty),
            Work::StreamAppending => stream("file", false, WriteFrom::End),
            Work::Rename => files.rename("file", "renamed", &cancel),
            Work::Copy => files.copy("dir", "copied", &cancel).map(drop),
            Work::CopyIn => {
                let source = home.with_file_name("source");
                files.copy_in(&source, "copied", TransferOptions::default(), &cancel).map(drop)
            }
            Work::CopyOut => {
                files.copy_out("dir", &copied_out(home), TransferOptions::default(), &cancel).map(drop)
            }
            Work::Attach => attach(&store).map(drop),
            Work::Detach => {
                let attached = attach(&store)?;
                store.detach(attached.id)
            }
            Work::MountInto => {
                let named = |volume: &str| {
                    MountConfig::named(&OptionValue::Text(volume.to_owned()), &OptionValue::Absent)
                };
                let mounts = vec![
                    ("/data".to_owned(), named(VOLUME)?),
                    ("/data/disk".to_owned(), named(DISK)?),
                    ("/tmp".to_owned(), MountConfig::tmpfs(&json!({ "readonly": true }).into())?),
                    ("/tmp/below".to_owned(), MountConfig::tmpfs(&OptionValue::Absent)?),
                ];
                let attached = store.attach("worker", &validate_and_order(mounts)?, None, &cancel)?;
                store.mount_into(&attached, &home.with_file_name(ROOTFS), &CancelToken::default())?;
                store.unmount(attached.id, &CancelToken::default())
            }
            Work::CreateInNewHome | Work::Recover => Ok(()),
        }
    }
}
