//! The operations that are swept.

use sandbox_volumes::content::WriteOptions;
use sandbox_volumes::error::Error;
use sandbox_volumes::model::{Cancel, Input, VolumeName, VolumeSpec};
use sandbox_volumes::mount::{MountConfig, plan};
use sandbox_volumes::store::{Attachment, Durability, Store, TransferOptions};
use serde_json::{Value, json};
use std::path::Path;
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
    RemoveDirectory,
    RemoveDisk,
    WriteAtomically,
    CopyIn,
    Attach,
    Detach,
    MountInto,
    Recover,
}

const ALL: [Work; 11] = [
    Work::CreateDirectory,
    Work::CreateRawDisk,
    Work::CreateQcow2Disk,
    Work::RemoveDirectory,
    Work::RemoveDisk,
    Work::WriteAtomically,
    Work::CopyIn,
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
    store.create(&name(volume), &spec, &Cancel::default()).map(drop)
}

/// Attaches the volume, which is made where it is missing.
pub fn attach(store: &Store) -> Result<Attachment, Error> {
    let options: Input = json!({ "mode": "ensure-exists" }).into();
    let mount = MountConfig::named_with(&Input::Text(VOLUME.to_owned()), &Input::Absent, &options).unwrap();
    let mounts = plan(vec![("/data".to_owned(), mount)]).unwrap();
    store.attach("worker", &mounts, None, &Cancel::default())
}

impl Work {
    pub fn of(name: &str) -> Self {
        ALL.into_iter().find(|work| format!("{work:?}") == name).unwrap()
    }

    /// What there is before.
    pub fn prepare(self, store: &Arc<Store>) {
        let files = store.files(&name(VOLUME));
        let write = |path| files.write(path, OLD.as_bytes(), WriteOptions::default(), &Cancel::default());
        match self {
            Work::CreateDirectory | Work::CreateRawDisk | Work::CreateQcow2Disk | Work::Attach => {}
            Work::RemoveDisk => create(store, VOLUME, json!({ "kind": "disk", "sizeMib": 8 })).unwrap(),
            Work::MountInto => {
                create(store, VOLUME, json!({})).unwrap();
                create(store, DISK, json!({ "kind": "disk", "sizeMib": 8 })).unwrap();
                write("file").unwrap();
            }
            Work::RemoveDirectory | Work::WriteAtomically | Work::CopyIn | Work::Detach | Work::Recover => {
                create(store, VOLUME, json!({})).unwrap();
                files.mkdir("dir/below", &Cancel::default()).unwrap();
                write("file").unwrap();
                write("dir/below/file").unwrap();
            }
        }
    }

    pub fn do_it(self, home: &Path) -> Result<(), Error> {
        let store = open(home)?;
        let cancel = Cancel::default();
        match self {
            Work::CreateDirectory => create(&store, VOLUME, json!({ "quotaMib": 4, "labels": { "a": "b" } })),
            Work::CreateRawDisk => create(&store, VOLUME, json!({ "kind": "disk", "sizeMib": 8 })),
            Work::CreateQcow2Disk => {
                create(&store, VOLUME, json!({ "kind": "disk", "sizeMib": 8, "format": "qcow2" }))
            }
            Work::RemoveDirectory | Work::RemoveDisk => store.remove(&name(VOLUME), &cancel),
            Work::WriteAtomically => {
                let options = WriteOptions { atomic: true, durable: true, mode: None };
                store.files(&name(VOLUME)).write("file", NEW.as_bytes(), options, &cancel)
            }
            Work::CopyIn => {
                let source = home.parent().unwrap().join("source");
                let files = store.files(&name(VOLUME));
                files.copy_in(&source, "copied", TransferOptions::default(), &cancel).map(drop)
            }
            Work::Attach => attach(&store).map(drop),
            Work::Detach => {
                let attached = attach(&store)?;
                store.detach(attached.id)
            }
            Work::MountInto => {
                let named =
                    |volume: &str| MountConfig::named(&Input::Text(volume.to_owned()), &Input::Absent);
                let mounts = vec![
                    ("/data".to_owned(), named(VOLUME)?),
                    ("/data/disk".to_owned(), named(DISK)?),
                    ("/tmp".to_owned(), MountConfig::tmpfs(&json!({ "readonly": true }).into())?),
                    ("/tmp/below".to_owned(), MountConfig::tmpfs(&Input::Absent)?),
                ];
                let attached = store.attach("worker", &plan(mounts)?, None, &cancel)?;
                store.mount_into(&attached, &home.with_file_name(ROOTFS), &Cancel::default())?;
                store.unmount(attached.id, &Cancel::default())
            }
            Work::Recover => Ok(()),
        }
    }
}
