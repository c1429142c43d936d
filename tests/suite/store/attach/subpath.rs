//! Subpaths of volumes: what is found, what is made, and that a guest cannot change it afterwards.

use super::{create, existing, invalid_field, named};
use crate::support::child::in_child;
use crate::support::home::{Home, name};
use crate::support::skip::skip;
use nix::fcntl::{RenameFlags, renameat2};
use nix::unistd::geteuid;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::OptionValue;
use sandbox_volumes::mount::{MountConfig, MountedPart, ResolvedSource, validate_and_order};
use sandbox_volumes::store::Attachment;
use sandbox_volumes::sync::CancelToken;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A part of an existing volume.
fn part(volume: &str, subpath: &str) -> MountConfig {
    MountConfig::named(&OptionValue::Text(volume.to_owned()), &json!({ "subpath": subpath }).into()).unwrap()
}

/// A part of a volume with `NamedVolumeOptions`.
fn part_with(volume: &str, subpath: &str, options: Value) -> MountConfig {
    let volume = OptionValue::Text(volume.to_owned());
    MountConfig::named_with(&volume, &json!({ "subpath": subpath }).into(), &options.into()).unwrap()
}

/// The path for a runtime, and what is known of the subpath.
fn opened(attached: &Attachment, at: usize) -> (&Path, &MountedPart) {
    let ResolvedSource::Named { open, part: Some(part), .. } = &attached.mounts[at].origin else { panic!() };
    (open, part)
}

fn inode(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// A volume `data` with the directory `tenant`, which holds a file.
fn home_with_tenant() -> (Home, PathBuf) {
    let home = Home::new();
    let root = home.create("data");
    fs::create_dir(root.join("tenant")).unwrap();
    fs::write(root.join("tenant/file"), "its own").unwrap();
    (home, root)
}

#[test]
fn a_part_is_the_directory_or_file_below_the_volumes_root() {
    let (home, root) = home_with_tenant();
    let attached = home.attach("worker", &[part("data", "tenant"), part("data", "./tenant//file")]).unwrap();
    let (open, found) = opened(&attached, 0);
    assert_eq!(inode(open), inode(root.join("tenant")));
    assert_eq!(attached.mounts[0].host(), Some(&*root.join("tenant")));
    assert!(!found.is_file);
    let (open, found) = opened(&attached, 1);
    assert_eq!(inode(open), inode(root.join("tenant/file")));
    assert!(found.is_file && attached.mounts[1].is_file());
    let descriptors = [0, 1].map(|at| opened(&attached, at).1.descriptor);
    assert_eq!(attached.descriptors().unwrap(), descriptors);
    for (at, descriptor) in descriptors.iter().enumerate() {
        let path = format!("/proc/{}/fd/{descriptor}", std::process::id());
        assert_eq!(opened(&attached, at).0, Path::new(&path));
    }
    assert_eq!(
        home.store.remove(&name("data"), &CancelToken::default()).unwrap_err().kind(),
        ErrorKind::VolumeInUse
    );
    let listed = home.store.attachments(None, None, &CancelToken::default()).unwrap();
    let subpaths: Vec<_> = listed[0].record.volumes.iter().map(|it| it.subpath.as_deref()).collect();
    assert_eq!(subpaths, [Some("tenant"), Some("tenant/file")]);
}

#[test]
fn what_stands_there_later_changes_nothing() {
    let (home, root) = home_with_tenant();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "secret").unwrap();
    let attached = home.attach("worker", &[part("data", "tenant")]).unwrap();
    let (open, _) = opened(&attached, 0);
    fs::rename(root.join("tenant"), root.join("moved")).unwrap();
    symlink(outside.path(), root.join("tenant")).unwrap();
    assert_eq!(fs::read_to_string(open.join("file")).unwrap(), "its own");
    fs::remove_dir_all(root.join("moved")).unwrap();
    assert_eq!(fs::read_dir(open).unwrap().count(), 0);
}

#[test]
fn a_link_that_stays_inside_is_followed_and_one_that_leads_outside_is_an_escape() {
    let (home, root) = home_with_tenant();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("below")).unwrap();
    symlink("tenant", root.join("inside")).unwrap();
    let attached = home.attach("worker", &[part("data", "inside")]).unwrap();
    assert_eq!(inode(opened(&attached, 0).0), inode(root.join("tenant")));
    symlink(outside.path(), root.join("absolute")).unwrap();
    symlink("../../..", root.join("climbing")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    symlink(outside.path().join("nothing"), root.join("dangling")).unwrap();
    for subpath in ["absolute", "absolute/below", "climbing", "climbing/db", "magic", "dangling"] {
        for mount in [part("data", subpath), part_with("data", subpath, json!({ "mode": "ensure-exists" }))] {
            let error = home.attach("worker", &[mount]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PathEscape, "{subpath}: {error}");
            assert_eq!(error.context().volume.as_deref(), Some("data"));
        }
    }
    assert!(!outside.path().join("nothing").exists());
}

#[test]
fn a_part_that_is_missing_is_an_error_unless_the_volume_may_be_created() {
    let (home, root) = home_with_tenant();
    for (subpath, code) in [("nope", "ENOENT"), ("tenant/nope", "ENOENT"), ("tenant/file/below", "ENOTDIR")] {
        let error = home.attach("worker", &[part("data", subpath)]).unwrap_err();
        assert_eq!((error.kind(), error.code().as_str()), (ErrorKind::FileSystem, code));
        assert_eq!(error.context().path.as_deref(), Some(subpath));
        assert!(error.to_string().contains("(mount at \"/0\")"), "{error}");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
    }
    let ensured = part_with("data", "tenants/b", json!({ "mode": "ensure-exists" }));
    let attached = home.attach("worker", &[ensured.clone(), ensured]).unwrap();
    assert_eq!(inode(opened(&attached, 0).0), inode(root.join("tenants/b")));
    assert_eq!(fs::metadata(root.join("tenants/b")).unwrap().permissions().mode() & 0o777, 0o755);
    home.attach("worker", &[part_with("new", "a/b", json!({ "mode": "create", "quotaMib": 1 }))]).unwrap();
    assert!(home.path("volumes/new/a/b").is_dir());
}

#[test]
fn case_50_what_is_made_for_a_tenant_belongs_to_whoever_owns_the_directory() {
    if !geteuid().is_root() {
        return skip("giving directories away needs root");
    }
    let (home, root) = home_with_tenant();
    fs::create_dir(root.join("tenant/ours")).unwrap();
    chown(root.join("tenant"), Some(1000), Some(2000)).unwrap();
    let parts = ["tenant/a/b", "tenant/c", "tenant/ours/d", "top"]
        .map(|subpath| part_with("data", subpath, json!({ "mode": "ensure-exists" })));
    home.attach("worker", &parts).unwrap();
    let owner = |path: &str| {
        let found = fs::metadata(root.join(path)).unwrap();
        (found.uid(), found.gid())
    };
    for path in ["tenant/a", "tenant/a/b", "tenant/c"] {
        assert_eq!(owner(path), (1000, 2000), "{path}");
    }
    for path in ["tenant/ours", "tenant/ours/d", "top"] {
        assert_eq!(owner(path), owner(""), "{path}");
    }
}

#[test]
fn what_is_neither_a_file_nor_a_directory_is_refused_untouched() {
    let (home, root) = home_with_tenant();
    nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    for subpath in ["fifo", "socket"] {
        let error = home.attach("worker", &[part("data", subpath)]).unwrap_err();
        assert_eq!(error.code(), "ENOTSUP", "{error}");
    }
}

#[test]
fn a_disk_volume_has_no_parts() {
    let home = Home::new();
    let disk = json!({ "mode": "create", "kind": "disk", "sizeMib": 8 });
    let made = home.attach("worker", &[named("disk", disk)]).unwrap();
    home.store.detach(made.id).unwrap();
    assert_eq!(invalid_field(&home.attach("worker", &[part("disk", "a")]).unwrap_err()), "subpath");
}

#[test]
fn a_directory_that_is_made_counts_against_the_quota() {
    let home = Home::new();
    home.attach("worker", &[named("data", json!({ "mode": "create", "quotaMib": 1 }))]).unwrap();
    fs::write(home.path("volumes/data/full"), vec![1; 1 << 20]).unwrap();
    let ensured = part_with("data", "a", json!({ "mode": "ensure-exists", "quotaMib": 1 }));
    assert_eq!(home.attach("worker", &[ensured]).unwrap_err().kind(), ErrorKind::QuotaExceeded);
    assert!(!home.path("volumes/data/a").exists());
}

#[test]
fn a_detached_part_is_not_told_to_anybody_any_more() {
    let (home, _) = home_with_tenant();
    let attached = home.attach("worker", &[part("data", "tenant")]).unwrap();
    attached.check_held().unwrap();
    home.store.detach(attached.id).unwrap();
    assert_eq!(invalid_field(&attached.check_held().unwrap_err()), "attachment");
    assert_eq!(invalid_field(&attached.descriptors().unwrap_err()), "attachment");
    // A whole volume has a path of its own, but another attachment or removal may have it by now.
    let whole = home.attach("worker", &[existing("data")]).unwrap();
    whole.check_held().unwrap();
    home.store.detach(whole.id).unwrap();
    assert_eq!(invalid_field(&whole.check_held().unwrap_err()), "attachment");
}

#[test]
fn a_mount_below_a_part_is_looked_for_in_the_part() {
    let (home, root) = home_with_tenant();
    fs::create_dir(root.join("tenant/inner")).unwrap();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), root.join("tenant/link")).unwrap();
    fs::create_dir(root.join("link")).unwrap();
    let attach = |below: &str, mount: MountConfig| {
        let entries = vec![("/t".to_owned(), part("data", "tenant")), (format!("/t/{below}"), mount)];
        home.store.attach("worker", &validate_and_order(entries).unwrap(), None, &CancelToken::default())
    };
    home.create("other");
    attach("inner", existing("other")).unwrap();
    assert_eq!(invalid_field(&attach("link", existing("other")).unwrap_err()), "guestPath");
    attach("file", part("data", "tenant/file")).unwrap();
    assert_eq!(invalid_field(&attach("inner", part("data", "tenant/file")).unwrap_err()), "guestPath");
}

#[test]
fn a_failed_attach_with_a_part_holds_nothing() {
    // In a process of its own, for other tests open files as well.
    in_child(|| {
        let (home, _) = home_with_tenant();
        let mounts = [create("created"), part("data", "tenant"), existing("missing")];
        let fail = || home.attach("worker", &mounts).unwrap_err();
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        fail();
        let before = open();
        fail();
        assert_eq!(open(), before);
        assert_eq!(home.volumes(), ["data"]);
    });
}

#[test]
fn a_directory_that_is_swapped_for_a_link_meanwhile_never_leads_outside() {
    let (home, root) = home_with_tenant();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("below")).unwrap();
    fs::create_dir(root.join("tenant/below")).unwrap();
    symlink(outside.path(), root.join("link")).unwrap();
    let inside = [inode(root.join("tenant")), inode(root.join("tenant/below"))];
    let done = AtomicBool::new(false);
    let (mut found, mut refused) = (0, 0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let root = fs::File::open(&root).unwrap();
            while !done.load(Ordering::Relaxed) {
                renameat2(&root, "tenant", &root, "link", RenameFlags::RENAME_EXCHANGE).unwrap();
            }
        });
        let stop = StopOnDrop(&done);
        for round in 0..300 {
            let subpath = ["tenant", "tenant/below"][round % 2];
            match home.attach("worker", &[part("data", subpath)]) {
                Ok(attached) => {
                    assert_eq!(inode(opened(&attached, 0).0), inside[round % 2], "it is outside");
                    home.store.detach(attached.id).unwrap();
                    found += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::PathEscape, "{error}");
                    refused += 1;
                }
            }
        }
        drop(stop);
    });
    assert!(found > 0 && refused > 0, "{found} were found and {refused} refused, so nothing was raced");
}

/// Ends a thread's work, also where a test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
