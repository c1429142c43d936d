//! Mounts made on the host, below a root directory. Each test has a mount namespace of its own, so that nothing of it
//! is seen elsewhere and all of it ends with its thread.

mod disk;
mod flags;
mod hostile;
mod leftovers;
mod listed;
mod old_kernel;
mod privileges;
mod rollback;

use crate::support::home;
use crate::support::home::Home;
use crate::support::loop_devices;
use crate::support::mount_namespace::enter_namespace;
use listed::mounts_below;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::OptionValue;
use sandbox_volumes::mount::MountConfig;
use sandbox_volumes::store::Attachment;
use sandbox_volumes::sync::CancelToken;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn bind(host: &Path, options: Value) -> MountConfig {
    let host = OptionValue::Text(host.to_str().unwrap().to_owned());
    MountConfig::bind(&host, &options.into(), Path::new("/")).unwrap()
}

fn named(volume: &str, options: Value) -> MountConfig {
    MountConfig::named(&OptionValue::Text(volume.to_owned()), &options.into()).unwrap()
}

fn disk_volume(volume: &str, options: Value) -> MountConfig {
    let named = json!({ "mode": "ensure-exists", "kind": "disk", "sizeMib": 8 }).into();
    MountConfig::named_with(&OptionValue::Text(volume.to_owned()), &options.into(), &named).unwrap()
}

fn tmpfs(options: Value) -> MountConfig {
    MountConfig::tmpfs(&options.into()).unwrap()
}

/// A root directory as a sandbox engine prepares it. It is deleted when nothing is mounted in it any more: a test that
/// failed would else delete what its mounts show.
struct Rootfs(TempDir);

impl Drop for Rootfs {
    fn drop(&mut self) {
        for mount in mounts_below(self.0.path()).iter().rev() {
            let place = format!("{}{}", self.0.path().canonicalize().unwrap().display(), mount.place);
            let _covered = nix::mount::umount2(place.as_str(), nix::mount::MntFlags::MNT_DETACH);
        }
        if !mounts_below(self.0.path()).is_empty() {
            self.0.disable_cleanup(true);
        }
    }
}

impl Rootfs {
    fn new() -> Self {
        Rootfs(tempfile::tempdir().unwrap())
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    /// The paths of the mounts in it, from it, in the order in which they were made.
    fn mounts(&self) -> Vec<String> {
        mounts_below(self.0.path()).into_iter().map(|mount| mount.place).collect()
    }

    fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// How many mounts are written down in a home.
fn written_down(home: &Path) -> i64 {
    let catalog = rusqlite::Connection::open(home.join("db/volumes.db")).unwrap();
    catalog.query_row("SELECT count(*) FROM host_mount", (), |row| row.get(0)).unwrap()
}

impl Home {
    fn mount(&self, attachment: &Attachment, rootfs: &Rootfs) -> Result<(), Error> {
        self.store.mount_into(attachment, rootfs.0.path(), &CancelToken::default())
    }

    fn unmount(&self, attachment: &Attachment) -> Result<(), Error> {
        self.store.unmount(attachment.id, &CancelToken::default())
    }

    /// Attaches and mounts.
    fn mounted(&self, mounts: &[(&str, MountConfig)], rootfs: &Rootfs) -> Attachment {
        let attached = self.attach_at(mounts).unwrap();
        self.mount(&attached, rootfs).unwrap();
        attached
    }

    fn written_down(&self) -> i64 {
        written_down(&self.path(""))
    }
}

fn invalid_field(error: &Error) -> &str {
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    error.context().field.as_deref().unwrap()
}

#[test]
fn every_kind_of_mount_is_made_where_the_guest_will_look_and_taken_away_again() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs, host) = (Home::new(), Rootfs::new(), tempfile::tempdir().unwrap());
    fs::write(home.create("data").join("seed"), "hello").unwrap();
    fs::write(host.path().join("file"), "of the host").unwrap();
    let mounts = [
        ("/data", named("data", json!({}))),
        ("/etc/conf", bind(&host.path().join("file"), json!({}))),
        ("/host dir", bind(host.path(), json!({}))),
        ("/scratch", tmpfs(json!({}))),
        ("/var/lib/db", disk_volume("db", json!({}))),
    ];
    let attached = home.mounted(&mounts, &rootfs);
    assert_eq!(rootfs.mounts(), ["/data", "/etc/conf", "/host dir", "/scratch", "/var/lib/db"]);
    assert_eq!(fs::read_to_string(rootfs.path("data/seed")).unwrap(), "hello");
    assert_eq!(fs::read_to_string(rootfs.path("etc/conf")).unwrap(), "of the host");
    assert_eq!(fs::read_to_string(rootfs.path("host dir/file")).unwrap(), "of the host");
    for place in ["data", "host dir", "scratch", "var/lib/db"] {
        fs::write(rootfs.path(place).join("written"), place).unwrap();
    }
    assert_eq!(fs::read_to_string(home.path("volumes/data/written")).unwrap(), "data");
    assert_eq!(fs::read_to_string(host.path().join("written")).unwrap(), "host dir");
    assert_eq!(fs::metadata(rootfs.path("scratch")).unwrap().mode() & 0o7777, 0o1777);
    home.unmount(&attached).unwrap();
    assert_eq!((rootfs.mounts(), home.written_down()), (vec![], 0));
    for place in ["data/seed", "scratch/written", "var/lib/db/written"] {
        assert!(!rootfs.path(place).exists(), "{place}");
    }
    home.unmount(&attached).unwrap();
    home.mount(&attached, &rootfs).unwrap();
    assert_eq!(fs::read_to_string(rootfs.path("var/lib/db/written")).unwrap(), "var/lib/db");
    home.store.detach(attached.id).unwrap();
    assert_eq!((rootfs.mounts(), home.written_down()), (vec![], 0));
}

#[test]
fn a_mount_below_another_is_made_in_it_and_both_are_taken_away() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    home.create("data");
    let mounts = [
        ("/a", named("data", json!({}))),
        ("/a/b/c", tmpfs(json!({}))),
        ("/a/b/c/d", disk_volume("db", json!({}))),
        ("/a/b/c/d/e", tmpfs(json!({}))),
    ];
    let attached = home.mounted(&mounts, &rootfs);
    assert_eq!(rootfs.mounts(), ["/a", "/a/b/c", "/a/b/c/d", "/a/b/c/d/e"]);
    fs::write(rootfs.path("a/b/c/d/kept"), "on the disk").unwrap();
    home.unmount(&attached).unwrap();
    assert_eq!(rootfs.mounts(), [""; 0]);
    assert!(home.path("volumes/data/b/c").is_dir(), "a mount point is left behind, as runtimes leave it");
    home.mount(&attached, &rootfs).unwrap();
    assert_eq!(fs::read_to_string(rootfs.path("a/b/c/d/kept")).unwrap(), "on the disk");
    home.unmount(&attached).unwrap();
}

#[test]
fn an_attachment_is_mounted_into_one_root_directory_at_a_time() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs, other) = (Home::new(), Rootfs::new(), Rootfs::new());
    let attached = home.mounted(&[("/a", tmpfs(json!({})))], &rootfs);
    let error = home.mount(&attached, &other).unwrap_err();
    assert_eq!(invalid_field(&error), "attachment");
    assert_eq!((rootfs.mounts().len(), other.mounts().len(), other.entries().len()), (1, 0, 0));
    home.unmount(&attached).unwrap();
    home.mount(&attached, &other).unwrap();
    home.store.detach(attached.id).unwrap();
    assert_eq!(invalid_field(&home.mount(&attached, &other).unwrap_err()), "attachment");
    assert_eq!(other.mounts(), [""; 0]);
}

#[test]
fn two_attachments_share_a_root_directory_and_a_volume_and_are_unmounted_apart() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    home.create("data");
    let one = home.mounted(&[("/one", named("data", json!({})))], &rootfs);
    let two = home.mounted(&[("/two", named("data", json!({})))], &rootfs);
    fs::write(rootfs.path("one/file"), "shared").unwrap();
    assert_eq!(fs::read_to_string(rootfs.path("two/file")).unwrap(), "shared");
    home.unmount(&one).unwrap();
    assert_eq!(rootfs.mounts(), ["/two"]);
    home.unmount(&two).unwrap();
}

#[test]
fn a_volume_is_not_removed_while_it_is_mounted() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    home.create("data");
    let attached = home.mounted(&[("/data", named("data", json!({})))], &rootfs);
    let remove = || home.store.remove(&home::name("data"), &CancelToken::default());
    assert_eq!(remove().unwrap_err().kind(), ErrorKind::VolumeInUse);
    home.store.detach(attached.id).unwrap();
    remove().unwrap();
}

#[test]
fn the_mounts_are_found_where_the_root_directory_was_renamed_to() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    fs::create_dir(rootfs.path("before")).unwrap();
    let attached = home.attach_at(&[("/a b\\", tmpfs(json!({})))]).unwrap();
    home.store.mount_into(&attached, &rootfs.path("before"), &CancelToken::default()).unwrap();
    fs::rename(rootfs.path("before"), rootfs.path("after\n")).unwrap();
    assert_eq!(rootfs.mounts().len(), 1);
    home.unmount(&attached).unwrap();
    assert_eq!(rootfs.mounts(), [""; 0]);
}

#[test]
fn what_is_still_used_is_out_of_sight_at_once_and_ends_with_its_user() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let attached = home.mounted(&[("/db", disk_volume("db", json!({})))], &rootfs);
    let image = home.path("volumes/db/disk.raw");
    let mut user =
        std::process::Command::new("sleep").arg("600").current_dir(rootfs.path("db")).spawn().unwrap();
    let unmounted = home.store.detach(attached.id);
    let (mounts, devices) = (rootfs.mounts(), loop_devices::showing(&image));
    let elsewhere = home.attach_at(&[("/db", disk_volume("db", json!({})))]);
    user.kill().unwrap();
    user.wait().unwrap();
    unmounted.unwrap();
    assert_eq!((mounts, devices), (vec![], 1));
    // Two file systems on one image would destroy it.
    assert_eq!(elsewhere.unwrap_err().kind(), ErrorKind::VolumeInUse);
    loop_devices::assert_none_soon(&image);
    home.attach_at(&[("/db", disk_volume("db", json!({})))]).unwrap();
}

#[test]
fn a_root_directory_must_be_a_directory_that_has_no_part_in_the_home() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let data = home.create("data");
    let attached = home.attach_at(&[("/a", tmpfs(json!({})))]).unwrap();
    let into = |root: &Path| home.store.mount_into(&attached, root, &CancelToken::default()).unwrap_err();
    for root in [data, home.path("volumes"), home.path("db"), home.path(""), PathBuf::from("/")] {
        assert_eq!(invalid_field(&into(&root)), "rootfs", "{root:?}");
    }
    assert_eq!(into(&rootfs.path("missing")).code(), "ENOENT");
    fs::write(rootfs.path("file"), "").unwrap();
    assert_eq!(into(&rootfs.path("file")).code(), "ENOTDIR");
    assert_eq!(home.written_down(), 0);
}
