//! Disks: which are mounted, how, and that no other process works with them at the same time.

use super::listed::mounts_below;
use super::{Home, Rootfs, disk_volume, loop_devices};
use crate::support::mount_namespace::enter_namespace;
use crate::support::skip::skip;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::OptionValue;
use sandbox_volumes::mount::MountConfig;
use sandbox_volumes::sync::CancelToken;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn image(path: &Path, options: Value) -> MountConfig {
    MountConfig::disk(&OptionValue::Text(path.to_str().unwrap().to_owned()), &options.into(), Path::new("/"))
        .unwrap()
}

fn assert_clean(image: &Path) {
    match Command::new("e2fsck").arg("-fn").arg(image).output() {
        Ok(checked) => assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout)),
        Err(error) => skip(format_args!("e2fsck is missing: {error}")),
    }
}

#[test]
fn a_disk_volume_keeps_what_was_written_and_is_clean_when_it_is_unmounted() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let attached = home.mounted(&[("/db", disk_volume("db", json!({})))], &rootfs);
    let path = home.path("volumes/db/disk.raw");
    assert_eq!(loop_devices::showing(&path), 1);
    fs::write(rootfs.path("db/file"), "kept").unwrap();
    home.store.detach(attached.id).unwrap();
    loop_devices::assert_none_soon(&path);
    assert_clean(&path);
    home.mounted(&[("/db", disk_volume("db", json!({ "readonly": true })))], &rootfs);
    assert_eq!(fs::read_to_string(rootfs.path("db/file")).unwrap(), "kept");
}

#[test]
fn an_error_in_a_guests_ext4_never_takes_the_host_down() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let attached = home.attach_at(&[("/db", disk_volume("db", json!({})))]).unwrap();
    let path = home.path("volumes/db/disk.raw");
    home.store.detach(attached.id).unwrap();
    // A guest's superblock that says so: panic on errors.
    match Command::new("tune2fs").args(["-e", "panic"]).arg(&path).output() {
        Ok(tuned) => assert!(tuned.status.success()),
        Err(error) => return skip(format_args!("tune2fs is missing: {error}")),
    }
    for (options, wanted) in [(json!({}), "rw"), (json!({ "readonly": true }), "ro")] {
        let attached = home.mounted(&[("/db", disk_volume("db", options))], &rootfs);
        let mounts = mounts_below(rootfs.0.path());
        let [mount] = &mounts[..] else { panic!("{mounts:?}") };
        // What the superblock says is left out of the list; what overrules it stands there.
        assert!(mount.options.iter().any(|option| option == "errors=remount-ro"), "{mount:?}");
        assert_eq!((mount.kind.as_str(), mount.options[0].as_str()), ("ext4", wanted));
        home.store.detach(attached.id).unwrap();
        loop_devices::assert_none_soon(&path);
    }
}

#[test]
fn a_disk_that_names_a_device_of_the_host_is_not_mounted() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let attached = home.attach_at(&[("/db", disk_volume("db", json!({})))]).unwrap();
    let path = home.path("volumes/db/disk.raw");
    // A guest's superblock that says where its journal is: on the device of number 7:0.
    let disk = File::options().write(true).open(&path).unwrap();
    disk.write_all_at(&0x0700_u32.to_le_bytes(), 1024 + 228).unwrap();
    let error = home.store.mount_into(&attached, rootfs.0.path(), &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedMount, "{error}");
    assert!(
        error.to_string().contains("\"/db\"") && error.to_string().contains("names other devices"),
        "{error}"
    );
    loop_devices::assert_none_soon(&path);
    assert_eq!(fs::read_dir(rootfs.0.path()).unwrap().count(), 0);
}

#[test]
fn a_mounted_image_is_in_use_for_every_other_program_and_home() {
    if !enter_namespace() {
        return;
    }
    let (home, other, rootfs) = (Home::new(), Home::new(), Rootfs::new());
    home.attach_at(&[("/db", disk_volume("db", json!({})))]).unwrap();
    let path = other.path("image.raw");
    fs::copy(home.path("volumes/db/disk.raw"), &path).unwrap();
    let attached = home.mounted(&[("/db", image(&path, json!({})))], &rootfs);
    let error = other.attach_at(&[("/db", image(&path, json!({})))]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VolumeInUse);
    assert!(File::open(&path).unwrap().try_lock_shared().is_err());
    if let Ok(asked) = Command::new("qemu-io").args(["-f", "raw", "-c", "read 0 512"]).arg(&path).output() {
        assert!(String::from_utf8_lossy(&asked.stderr).contains("lock"), "{asked:?}");
    }
    home.store.detach(attached.id).unwrap();
    loop_devices::assert_none_soon(&path);
    File::open(&path).unwrap().try_lock().unwrap();

    let readers = ["/one", "/two"].map(|at| (at, image(&path, json!({ "readonly": true }))));
    home.mounted(&readers, &rootfs);
    other.attach_at(&[("/db", image(&path, json!({ "readonly": true })))]).unwrap();
}

#[test]
fn an_image_that_another_program_locked_since_it_was_attached_is_not_mounted() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let attached = home.attach_at(&[("/db", disk_volume("db", json!({})))]).unwrap();
    let lock = File::open(home.path("volumes/db/disk.raw")).unwrap();
    assert!(lock.try_lock().is_err());
    attached.give_flock_away().unwrap();
    lock.try_lock().unwrap();
    assert_eq!(home.mount(&attached, &rootfs).unwrap_err().kind(), ErrorKind::VolumeInUse);
    assert_eq!((rootfs.mounts().len(), home.written_down()), (0, 0));
    lock.unlock().unwrap();
    home.mount(&attached, &rootfs).unwrap();
}

#[test]
fn case_60_the_flock_on_an_attached_disk_is_taken_again_when_it_is_unmounted() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let attached = home.attach_at(&[("/db", disk_volume("db", json!({})))]).unwrap();
    let path = home.path("volumes/db/disk.raw");
    let is_locked = || File::open(&path).unwrap().try_lock_shared().is_err();
    assert!(is_locked());
    for _ in 0..2 {
        home.mount(&attached, &rootfs).unwrap();
        assert!(is_locked());
        home.store.unmount(attached.id, &CancelToken::default()).unwrap();
        loop_devices::assert_none_soon(&path);
        assert!(is_locked());
    }
    // One that fails takes it again as well.
    let missing = Rootfs::new();
    let nowhere = missing.0.path().join("missing");
    home.store.mount_into(&attached, &nowhere, &CancelToken::default()).unwrap_err();
    assert!(is_locked());
    home.store.detach(attached.id).unwrap();
    loop_devices::assert_none_soon(&path);
    assert!(!is_locked());
}

/// Waits for what the kernel, or another thread, does when it likes.
fn soon<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        match look() {
            Some(found) => return found,
            None => assert!(Instant::now() < deadline, "{what}"),
        }
        std::thread::yield_now();
    }
}

/// Whether a process has the image open for writing, as QEMU would see it. A loop device counts, an attachment does
/// not.
fn is_written(image: &Path) -> bool {
    let mut asked = libc::flock {
        l_type: libc::F_WRLCK as _,
        l_whence: libc::SEEK_SET as _,
        l_start: 101,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(File::open(image).unwrap(), FcntlArg::F_OFD_GETLK(&mut asked)).unwrap();
    asked.l_type != libc::F_UNLCK as libc::c_short
}

#[test]
fn case_60_the_flock_is_taken_again_when_what_used_an_unmounted_disk_ends() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    home.attach_at(&[("/db", disk_volume("db", json!({})))])
        .map(|it| home.store.detach(it.id).unwrap())
        .unwrap();
    let path = home.path("volumes/db/disk.raw");
    let is_locked = || File::open(&path).unwrap().try_lock_shared().is_err();
    let unmounted_in_use = || {
        let attach = || home.attach_at(&[("/db", disk_volume("db", json!({})))]).ok();
        let attached = soon("attached", attach);
        home.mount(&attached, &rootfs).unwrap();
        let used = File::create(rootfs.path("db/used")).unwrap();
        home.store.unmount(attached.id, &CancelToken::default()).unwrap();
        assert!(is_locked());
        assert_eq!(home.mount(&attached, &rootfs).unwrap_err().kind(), ErrorKind::VolumeInUse);
        (attached, used)
    };
    let end = |used: File| {
        assert!(is_written(&path));
        drop(used);
        soon("the loop device ends", || (!is_written(&path)).then_some(()));
    };
    // A query for attachments takes away what was not taken away in the background.
    let attachments = || home.store.attachments(None, None, &CancelToken::default()).unwrap().len();

    let (attached, used) = unmounted_in_use();
    end(used);
    soon("the attachment locks the disk", || is_locked().then_some(()));
    home.store.detach(attached.id).unwrap();
    soon("the disk is free", || (!is_locked()).then_some(()));

    // Not once a runtime has it.
    let (attached, used) = unmounted_in_use();
    attached.give_flock_away().unwrap();
    end(used);
    assert_eq!(attachments(), 1);
    soon("the runtime may lock the disk", || (!is_locked()).then_some(()));
    home.store.detach(attached.id).unwrap();

    // Nor when the attachment has ended.
    let (attached, used) = unmounted_in_use();
    home.store.detach(attached.id).unwrap();
    end(used);
    assert_eq!(attachments(), 0);
    soon("the disk is free", || (!is_locked()).then_some(()));
}

#[test]
fn it_is_the_image_that_was_checked_whatever_stands_in_its_place_by_now() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    home.attach_at(&[("/db", disk_volume("db", json!({})))]).unwrap();
    let path = home.path("image.raw");
    fs::copy(home.path("volumes/db/disk.raw"), &path).unwrap();
    let attached = home.attach_at(&[("/db", image(&path, json!({})))]).unwrap();
    fs::rename(&path, home.path("moved.raw")).unwrap();
    fs::write(&path, "another one").unwrap();
    home.mount(&attached, &rootfs).unwrap();
    assert_eq!(loop_devices::showing(&home.path("moved.raw")), 1);
    assert!(rootfs.path("db/lost+found").is_dir());
}

#[test]
fn an_image_that_the_kernel_cannot_mount_is_refused_and_let_go_of() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let path = home.path("image.raw");
    File::create(&path).unwrap().set_len(8 << 20).unwrap();
    let refused = |options| {
        let attached =
            home.attach_at(&[("/a", super::tmpfs(json!({}))), ("/db", image(&path, options))]).unwrap();
        let error = home.mount(&attached, &rootfs).unwrap_err();
        assert_eq!((rootfs.mounts().len(), rootfs.entries().len(), home.written_down()), (0, 0, 0));
        loop_devices::assert_none_soon(&path);
        home.store.detach(attached.id).unwrap();
        (error.kind(), error.to_string())
    };
    let (kind, message) = refused(json!({}));
    assert_eq!(kind, ErrorKind::UnsupportedMount);
    assert!(message.contains("\"fstype\""), "{message}");
    assert_eq!(refused(json!({ "fstype": "ext4" })).0, ErrorKind::DiskImage);
    assert_eq!(refused(json!({ "fstype": "nosuchfs" })).0, ErrorKind::UnsupportedMount);
    // A superblock and nothing behind it.
    let volume = home.attach_at(&[("/db", disk_volume("db", json!({})))]).unwrap();
    let mut head = vec![0; 4096];
    File::open(home.path("volumes/db/disk.raw")).unwrap().read_exact_at(&mut head, 0).unwrap();
    home.store.detach(volume.id).unwrap();
    File::options().write(true).open(&path).unwrap().write_all_at(&head, 0).unwrap();
    assert_eq!(refused(json!({})).0, ErrorKind::DiskImage);
}

#[test]
fn an_image_that_is_not_raw_is_left_to_qemu() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let named = json!({ "mode": "create", "kind": "disk", "sizeMib": 8, "format": "qcow2" }).into();
    let mount =
        MountConfig::named_with(&OptionValue::Text("db".to_owned()), &OptionValue::Absent, &named).unwrap();
    let attached = home.attach_at(&[("/db", mount)]).unwrap();
    let error = home.store.mount_into(&attached, rootfs.0.path(), &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
    assert!(error.to_string().contains("qcow2"), "{error}");
}
