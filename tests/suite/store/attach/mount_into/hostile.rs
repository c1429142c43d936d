//! A guest that writes to the root directory, or to a volume in it, while mounts are made there.

use super::listed::mounts_below;
use super::{Home, Rootfs, bind, named, tmpfs};
use crate::support::mount_namespace::enter_namespace;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_planted_link_at_or_above_a_mount_point_leads_nowhere() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs, outside) = (Home::new(), Rootfs::new(), Rootfs::new());
    let data = home.create("data");
    fs::create_dir(outside.path("target")).unwrap();
    fs::write(outside.path("file"), "outside").unwrap();
    for (at, target) in [
        ("absolute", outside.path("target")),
        ("relative", Path::new("..").join(outside.0.path().file_name().unwrap()).join("target")),
        ("inside", Path::new("there").to_owned()),
        ("dangling", outside.path("missing")),
        ("file", outside.path("file")),
        ("magic", Path::new("/proc/self/root").join(outside.path("target").strip_prefix("/").unwrap())),
    ] {
        symlink(&target, rootfs.path(at)).unwrap();
        symlink(&target, data.join(at)).unwrap();
    }
    fs::create_dir(rootfs.path("there")).unwrap();
    // Mounts of other programs may vanish: the kernel unmounts in every mount namespace where their place is deleted.
    let places = || mounts_below(Path::new("/")).into_iter().map(|mount| mount.place);
    let before: Vec<_> = places().collect();
    let refused = |place: &str, mount| {
        let attached = home.attach_at(&[(place, mount)]).unwrap();
        let error = home.mount(&attached, &rootfs).unwrap_err();
        home.store.detach(attached.id).unwrap();
        assert_eq!(error.kind(), ErrorKind::PathEscape, "{place}: {error}");
        assert_eq!(error.context().path.as_deref(), Some(place));
        let made: Vec<_> = places().filter(|place| !before.contains(place)).collect();
        assert!(made.is_empty(), "{made:?}");
    };
    for at in ["absolute", "relative", "inside", "dangling", "file", "magic"] {
        refused(&format!("/{at}"), tmpfs(json!({})));
        refused(&format!("/{at}/below/it"), tmpfs(json!({})));
        refused(&format!("/{at}"), bind(&outside.path("file"), json!({})));
    }
    assert_eq!(outside.entries().len(), 2);
    assert_eq!(fs::read_dir(outside.path("target")).unwrap().count(), 0);
}

#[test]
fn a_part_of_a_volume_is_mounted_as_it_was_when_attached() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs, outside) = (Home::new(), Rootfs::new(), Rootfs::new());
    let data = home.create("data");
    fs::create_dir(data.join("tenant")).unwrap();
    fs::write(data.join("tenant/file"), "its own").unwrap();
    fs::write(data.join("file"), "of the whole volume").unwrap();
    fs::write(outside.path("file"), "outside").unwrap();
    let attached = home.attach_at(&[("/data", named("data", json!({ "subpath": "tenant" })))]).unwrap();
    fs::rename(data.join("tenant"), data.join("moved")).unwrap();
    symlink(outside.path(""), data.join("tenant")).unwrap();
    home.mount(&attached, &rootfs).unwrap();
    assert_eq!(fs::read_to_string(rootfs.path("data/file")).unwrap(), "its own");
    // The end of the attachment takes the mount away.
    home.store.end_attachment(attached.id, true, &CancelToken::default()).unwrap();
    assert_eq!(rootfs.mounts(), [""; 0]);
    assert_eq!(fs::read_to_string(outside.path("file")).unwrap(), "outside");
}

#[test]
fn what_cannot_be_mounted_on_is_refused_and_left_alone() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    fs::write(rootfs.path("file"), "a file").unwrap();
    fs::create_dir(rootfs.path("dir")).unwrap();
    nix::unistd::mkfifo(&rootfs.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let into = |place: &str, mount| {
        let attached = home.attach_at(&[(place, mount)]).unwrap();
        home.mount(&attached, &rootfs).unwrap_err()
    };
    let of_file = || bind(&rootfs.path("file"), json!({}));
    for (place, mount, code) in [
        ("/file", tmpfs(json!({})), "ENOTDIR"),
        ("/file/below", tmpfs(json!({})), "ENOTDIR"),
        ("/fifo", tmpfs(json!({})), "ENOTDIR"),
        ("/dir", of_file(), "EISDIR"),
        ("/fifo", of_file(), "EISDIR"),
    ] {
        let error = into(place, mount);
        assert_eq!((error.code().as_str(), error.context().path.as_deref()), (code, Some(place)));
    }
    assert_eq!((rootfs.mounts().len(), home.written_down()), (0, 0));
    assert_eq!(fs::read_to_string(rootfs.path("file")).unwrap(), "a file");
}

/// How long a race takes unless both of its ends were seen often, and how long if one of them was never seen.
const RACE_TIME: Duration = Duration::from_secs(3);
const RACE_TIMEOUT: Duration = Duration::from_secs(120);

/// Ends the swapping also if the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Mounts again and again while another thread swaps a directory for a link to outside.
fn race(home: &Home, rootfs: &Rootfs, place: &str, swapped: &Path, mounts: &[(&str, super::MountConfig)]) {
    let outside = Rootfs::new();
    fs::create_dir_all(outside.path("point")).unwrap();
    fs::create_dir_all(swapped.join("point")).unwrap();
    let link = swapped.with_file_name("swapped-with");
    symlink(outside.0.path(), &link).unwrap();
    let is_over = AtomicBool::new(false);
    let (mut made, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let _ = renameat2(AT_FDCWD, swapped, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE);
            }
        });
        let _over = Over(&is_over);
        let began = Instant::now();
        let has_raced = |made: u32, refused: u32| {
            let min = if began.elapsed() < RACE_TIME { 200 } else { 1 };
            (made >= min && refused >= min) || began.elapsed() > RACE_TIMEOUT
        };
        while !has_raced(made, refused) {
            let attached = match home.attach_at(mounts) {
                Ok(attached) => attached,
                Err(error) => {
                    // The link was seen when the mounts were attached already.
                    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
                    continue;
                }
            };
            let mounted = home.mount(&attached, rootfs);
            assert_eq!(mounts_below(outside.0.path()).len(), 0, "a mount was made outside");
            match mounted {
                Ok(()) => made += 1,
                Err(error) => {
                    let allowed = |error: &Error| {
                        error.kind() == ErrorKind::PathEscape
                            || ["ENOENT", "ENOTDIR", "EBUSY"].contains(&error.code().as_str())
                    };
                    assert!(allowed(&error), "{error}");
                    refused += 1;
                }
            }
            home.store.detach(attached.id).unwrap();
        }
    });
    assert_eq!(outside.entries(), ["point"]);
    assert_eq!((mounts_below(rootfs.0.path()).len(), home.written_down()), (0, 0));
    assert!(made > 0 && refused > 0, "{made} made, {refused} refused: nobody raced");
    crate::support::report::report(format_args!("{place}: {made} made, {refused} refused, none outside"));
}

#[test]
fn nothing_is_mounted_outside_while_a_directory_above_is_swapped_for_a_link() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    race(&home, &rootfs, "above", &rootfs.path("a"), &[("/a/point", tmpfs(json!({})))]);
}

#[test]
fn nothing_is_mounted_outside_while_a_directory_in_a_volume_is_swapped_for_a_link() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let data = home.create("data");
    let mounts = [("/data", named("data", json!({}))), ("/data/a/point", tmpfs(json!({})))];
    race(&home, &rootfs, "in a volume", &data.join("a"), &mounts);
}
