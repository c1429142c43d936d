//! A disk that is full to its last byte, with the catalog on it: case 33.

use crate::support::btrfs::Btrfs;
use crate::support::child::in_child;
use crate::support::skip::skip;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sandbox_volumes::error::Error;
use sandbox_volumes::model::{Labels, VolumeName, VolumeSpec};
use sandbox_volumes::store::{Durability, Store, TransferOptions, VolumeFs, check};
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::{AppendOptions, WriteFrom, WriteOptions};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const OLD: &str = "the old content";

/// More than is left of the disk.
static MUCH: [u8; 256 << 10] = [7; 256 << 10];

/// A mount that ends when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

fn tmpfs(at: &Path) -> Option<Mounted> {
    match mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some("size=8m")) {
        Ok(()) => Some(Mounted(at.to_owned())),
        Err(errno) => {
            skip(format_args!("mounting needs root: {errno}"));
            None
        }
    }
}

/// Without blocks that only root may take.
fn ext4(at: &Path) -> Option<Mounted> {
    let image = at.with_extension("img");
    File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let mkfs = Command::new("mkfs.ext4").args(["-q", "-m", "0", "-b", "4096"]).arg(&image).status();
    if !mkfs.is_ok_and(|status| status.success()) {
        skip("mkfs.ext4 is not installed");
        return None;
    }
    let mounted = Command::new("mount").args(["-o", "loop"]).arg(&image).arg(at).output().unwrap();
    if !mounted.status.success() {
        skip(format_args!("mounting needs root: {}", String::from_utf8_lossy(&mounted.stderr)));
        return None;
    }
    Some(Mounted(at.to_owned()))
}

/// A store whose disk is full, with a volume that holds a small file `file` and a large one.
struct Full {
    store: Arc<Store>,
    home: PathBuf,
    ballast: PathBuf,
    files: VolumeFs,
}

impl Full {
    fn on(disk: &Path) -> Self {
        let home = disk.join("home");
        let store = Arc::new(Store::open(&home, Durability::Full).unwrap());
        create(&store, "v", json!({})).unwrap();
        let files = store.files(&name("v"));
        fs::write(files.root().join("file"), OLD).unwrap();
        fs::write(files.root().join("large"), MUCH).unwrap();
        let full = Full { store, home, ballast: disk.join("ballast"), files };
        full.fill();
        full
    }

    fn fill(&self) {
        let mut ballast = File::options().create(true).append(true).open(&self.ballast).unwrap();
        for piece in [&MUCH[..], &MUCH[..4096], &MUCH[..1]] {
            while ballast.write_all(piece).is_ok() {}
        }
        ballast.sync_all().unwrap();
    }

    /// Holds that nothing is left of what was refused.
    fn assert_as_before(&self, about: &str) {
        let root = self.files.root();
        let mut entries: Vec<_> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        entries.sort_unstable();
        assert_eq!(entries, ["file", "large"], "{about}");
        assert_eq!(fs::read_to_string(root.join("file")).unwrap(), OLD, "{about}");
        assert_eq!(self.listed(), ["v"], "{about}");
        for room in ["volumes/.staging", "volumes/.trash"] {
            assert_eq!(fs::read_dir(self.home.join(room)).unwrap().count(), 0, "{about}: {room}");
        }
    }

    fn listed(&self) -> Vec<String> {
        let listed = self.store.list(&Labels::default(), &CancelToken::default()).unwrap();
        listed.iter().map(|volume| volume.record.name.to_string()).collect()
    }
}

fn name(text: &str) -> VolumeName {
    VolumeName::parse(text).unwrap()
}

fn create(store: &Store, volume: &str, options: Value) -> Result<(), Error> {
    let spec = VolumeSpec::from_options(&[options.into()]).unwrap();
    store.create(&name(volume), &spec, &CancelToken::default()).map(drop)
}

/// What writes into a volume and needs more than there is.
type Writing = fn(&Full, &Path) -> Result<(), Error>;

const WRITINGS: [(&str, Writing); 7] = [
    ("a new file", |full, _| {
        full.files.write("new", &MUCH, WriteOptions::default(), &CancelToken::default())
    }),
    ("a file written over atomically", |full, _| {
        let options = WriteOptions { atomic: true, ..WriteOptions::default() };
        full.files.write("file", &MUCH, options, &CancelToken::default())
    }),
    ("a new file that something is added to", |full, _| {
        full.files.append("new", &MUCH, AppendOptions::default(), &CancelToken::default())
    }),
    ("an atomic stream", |full, _| {
        let options = WriteOptions { atomic: true, ..WriteOptions::default() };
        let mut writer =
            full.files.open_writer("file", options, WriteFrom::Empty, &CancelToken::default())?;
        writer.write(&MUCH, &CancelToken::default())?;
        writer.finish(&CancelToken::default())
    }),
    ("a copy", |full, _| full.files.copy("large", "new", &CancelToken::default()).map(drop)),
    ("a copy in place of a file", |full, _| {
        full.files.copy("large", "file", &CancelToken::default()).map(drop)
    }),
    ("a tree copied in", |full, beside| {
        full.files.copy_in(beside, "new", TransferOptions::default(), &CancelToken::default()).map(drop)
    }),
];

fn hold(disk: &Path) {
    let full = Full::on(disk);
    let beside = tempfile::tempdir().unwrap();
    fs::create_dir(beside.path().join("sub")).unwrap();
    fs::write(beside.path().join("sub/file"), MUCH).unwrap();
    for (what, write) in WRITINGS {
        let error = write(&full, beside.path()).unwrap_err();
        assert_eq!(error.code(), "ENOSPC", "{what}: {error}");
        full.assert_as_before(what);
        full.fill();
    }
    for options in [
        json!({}),
        json!({ "kind": "disk", "sizeMib": 64 }),
        json!({ "kind": "disk", "sizeMib": 64, "format": "qcow2" }),
    ] {
        let result = create(&full.store, "another", options.clone());
        match result {
            // Where the disk is full, a directory may still fit in.
            Ok(()) => full.store.remove(&name("another"), &CancelToken::default()).unwrap(),
            Err(error) => {
                assert!(["ENOSPC", "ERR_CATALOG"].contains(&error.code().as_str()), "{options}: {error}")
            }
        }
        full.assert_as_before(&options.to_string());
        full.fill();
    }
    remove_and_use(&full);
}

/// Nothing was written since the disk became full that may have left room for this.
fn hold_removal(disk: &Path) {
    remove_and_use(&Full::on(disk));
}

/// Detaching needs no space, however often, also if another process takes the space that it frees.
fn hold_letting_go(disk: &Path) {
    let store = Store::open(&disk.join("home"), Durability::Full).unwrap();
    let attach = |_| store.attach("s", &[], None, &CancelToken::default()).unwrap().id;
    let attachments: Vec<_> = (0..20).map(attach).collect();
    let full = Full::on(disk);
    for id in attachments {
        full.store.detach(id).unwrap();
        full.fill();
    }
    full.store.remove(&name("v"), &CancelToken::default()).unwrap();
    assert!(full.listed().is_empty());
}

/// Whatever room there is left to begin with, a volume that there is too little for leaves nothing.
fn hold_undoing(disk: &Path) {
    let full = Full::on(disk);
    for pages in 0..24 {
        let ballast = File::options().write(true).open(&full.ballast).unwrap();
        ballast.set_len(ballast.metadata().unwrap().len() - pages * 4096).unwrap();
        match create(&full.store, "another", json!({ "kind": "disk", "sizeMib": 64 })) {
            Ok(()) => full.store.remove(&name("another"), &CancelToken::default()).unwrap(),
            Err(_) => full.assert_as_before(&format!("{pages} pages")),
        }
        assert!(check(&full.home, false, &CancelToken::default()).unwrap().is_empty(), "{pages} pages");
        full.fill();
    }
}

fn remove_and_use(full: &Full) {
    full.store.remove(&name("v"), &CancelToken::default()).unwrap();
    assert!(full.listed().is_empty());
    assert!(!full.files.root().exists());
    create(&full.store, "v", json!({})).unwrap();
    full.files.write("new", &MUCH[..128 << 10], WriteOptions::default(), &CancelToken::default()).unwrap();
    assert!(check(&full.home, false, &CancelToken::default()).unwrap().is_empty());
}

/// Runs a body on a new file system, in a process of its own: the children that other tests start have all files open
/// for a moment, deleted ones too.
fn on(make: fn(&Path) -> Option<Mounted>, body: fn(&Path)) {
    in_child(|| {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("disk");
        fs::create_dir(&at).unwrap();
        if let Some(_mounted) = make(&at) {
            body(&at);
        }
    });
}

#[test]
fn case_33_what_is_refused_on_a_full_tmpfs_leaves_nothing() {
    on(tmpfs, hold);
}

#[test]
fn case_33_what_is_refused_on_a_full_ext4_leaves_nothing() {
    on(ext4, hold);
}

#[test]
fn case_33_a_volume_can_be_removed_from_a_full_tmpfs() {
    on(tmpfs, hold_removal);
}

#[test]
fn case_33_a_volume_can_be_removed_from_a_full_ext4() {
    on(ext4, hold_removal);
}

#[test]
fn case_33_letting_go_takes_no_room_of_a_full_tmpfs() {
    on(tmpfs, hold_letting_go);
}

#[test]
fn case_33_letting_go_takes_no_room_of_a_full_ext4() {
    on(ext4, hold_letting_go);
}

#[test]
fn case_33_what_a_nearly_full_tmpfs_has_no_room_for_is_undone() {
    on(tmpfs, hold_undoing);
}

#[test]
fn case_33_what_a_nearly_full_ext4_has_no_room_for_is_undone() {
    on(ext4, hold_undoing);
}

/// SQLite has its index of the log in memory, and a page of it that cannot be written is a signal.
#[test]
fn case_33_the_catalog_of_a_full_btrfs_answers_as_any_other() {
    in_child(|| {
        for make in [Btrfs::new, Btrfs::with_quotas] {
            let Some(btrfs) = make() else { return };
            let store = Store::open(&btrfs.path().join("home"), Durability::Full).unwrap();
            let attach = |_| store.attach("s", &[], None, &CancelToken::default()).unwrap();
            let attachments: Vec<_> = (0..40).map(attach).collect();
            let full = Full::on(btrfs.path());
            for attachment in attachments {
                full.fill();
                let detached = full.store.detach(attachment.id);
                detached.unwrap_or_else(|error| assert_eq!(error.code(), "ERR_CATALOG", "{error}"));
                full.store.get(&name("v"), &CancelToken::default()).unwrap();
            }
            fs::remove_file(&full.ballast).unwrap();
            remove_and_use(&full);
        }
    });
}
