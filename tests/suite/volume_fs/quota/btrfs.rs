//! Quotas that the kernel keeps.

use super::{ATOMIC, PLAIN};
use crate::support::btrfs::{Btrfs, run};
use crate::support::child::current_test;
use crate::support::mount_namespace::enter_namespace;
use crate::support::skip::skip;
use crate::support::unmount::unmount;
use crate::support::volume::Volume;
use rusqlite::Connection;
use sandbox_volumes::model::{Labels, MIB};
use sandbox_volumes::store::{Durability, QuotaEnforcement, Store, WriteOptions};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

impl Btrfs {
    fn volume(&self, quota_mib: u32) -> Volume {
        Volume::new_in(self.path(), json!({ "quotaMib": quota_mib }))
    }

    fn subvolumes(&self) -> usize {
        run("btrfs", &["subvolume", "list"], self.path()).lines().count()
    }

    /// The qgroups of subvolumes, once what was deleted is gone.
    fn qgroups(&self) -> usize {
        // Newer kernels forget a qgroup by themselves, some time after its subvolume.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
        loop {
            run("btrfs", &["subvolume", "sync"], self.path());
            let all = run("btrfs", &["qgroup", "show"], self.path());
            let left = all.lines().filter(|line| line.starts_with("0/") && !line.starts_with("0/5 ")).count();
            if left <= self.subvolumes() || std::time::Instant::now() >= deadline {
                return left;
            }
            run("btrfs", &["filesystem", "sync"], self.path());
        }
    }
}

impl Volume {
    fn enforcement(&self) -> Option<QuotaEnforcement> {
        self.store.get(&self.name, &CancelToken::default()).unwrap().quota_enforcement
    }

    fn root_is_subvolume(&self) -> bool {
        fs::metadata(self.files.root()).unwrap().ino() == 256
    }
}

/// Writes until the kernel refuses, as a guest would, and gives how many bytes fitted.
fn write_as_guest(path: &Path, most: usize) -> (usize, Option<ErrorKind>) {
    let mut file = File::create(path).unwrap();
    for written in (0..most).step_by(1 << 16) {
        if let Err(error) = file.write_all(&[1; 1 << 16]).and_then(|()| file.sync_data()) {
            return (written, Some(error.kind()));
        }
    }
    (most, None)
}

#[test]
fn the_kernel_stops_a_guest_at_the_quota() {
    let Some(btrfs) = Btrfs::with_quotas() else { return };
    let volume = btrfs.volume(8);
    assert_eq!(volume.enforcement(), Some(QuotaEnforcement::Kernel));
    assert_eq!(fs::metadata(volume.files.root()).unwrap().permissions().mode() & 0o7777, 0o755);
    let (written, refused) = write_as_guest(&volume.files.root().join("guest"), 16 << 20);
    assert_eq!(refused, Some(ErrorKind::QuotaExceeded));
    assert!(written > 6 << 20 && written as u64 <= 8 * MIB, "{written}");
    assert!((6 << 20..=8 * MIB).contains(&volume.used_bytes()), "{}", volume.used_bytes());

    let refused = Err("ERR_QUOTA_EXCEEDED".to_owned());
    for options in [PLAIN, ATOMIC] {
        assert_eq!(volume.write("host", &vec![1; 4 << 20], options), refused);
        assert!(!volume.files.exists("host").unwrap());
        assert_eq!(volume.write("guest", &vec![1; 12 << 20], options), refused);
        assert_eq!(
            fs::metadata(volume.files.root().join("guest")).unwrap().len() as usize / (1 << 16),
            written >> 16
        );
    }
    volume.files.remove("guest", &CancelToken::default()).unwrap();
    for options in [PLAIN, ATOMIC] {
        volume.write("host", &vec![1; 3 << 20], options).unwrap();
    }
}

#[test]
fn a_host_write_into_a_subvolume_is_whole_or_refused() {
    let Some(btrfs) = Btrfs::with_quotas() else { return };
    let volume = btrfs.volume(8);
    for options in [PLAIN, ATOMIC, WriteOptions { durable: true, ..ATOMIC }] {
        for content in [vec![1; 100], vec![2; 1 << 20], vec![3; 5000]] {
            volume.write("f", &content, options).unwrap();
            assert_eq!(fs::read(volume.files.root().join("f")).unwrap(), content);
        }
    }
    fs::set_permissions(volume.files.root().join("f"), fs::Permissions::from_mode(0o640)).unwrap();
    volume.write("f", b"new", ATOMIC).unwrap();
    assert_eq!(fs::metadata(volume.files.root().join("f")).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_dir(volume.files.root()).unwrap().count(), 1, "a temporary was left in the volume");
    assert_eq!(fs::read_dir(volume.files.root().with_file_name(".staging")).unwrap().count(), 0);

    let mut largest = 0;
    for at in 0..200 {
        match volume.write(&format!("g{at}"), &[5; 100_000], PLAIN) {
            Ok(()) => largest = at,
            Err(code) => {
                assert_eq!(code, "ERR_QUOTA_EXCEEDED");
                assert!(!volume.files.exists(format!("g{at}")).unwrap());
                break;
            }
        }
    }
    assert!((70..=83).contains(&largest), "{largest} files of 100,000 bytes fitted into 8 MiB");
    let old = vec![6; 90_000];
    volume.files.remove("g1", &CancelToken::default()).unwrap();
    volume.write("g0", &old, PLAIN).unwrap();
    for options in [PLAIN, ATOMIC] {
        assert!(volume.write("g0", &vec![7; 1 << 20], options).is_err());
        assert_eq!(fs::read(volume.files.root().join("g0")).unwrap(), old, "the old content is intact");
    }
}

#[test]
fn an_atomic_write_reaches_another_mount_of_the_same_file_system_within_the_volume() {
    if !enter_namespace() {
        return;
    }
    let Some(btrfs) = Btrfs::new() else { return };
    let volume = Volume::new_in(btrfs.path(), json!({}));
    let place = volume.files.root().join("mounted");
    fs::create_dir(&place).unwrap();
    run("mount", &["--bind", volume.outside.to_str().unwrap()], &place);
    fs::write(place.join("f"), "old").unwrap();
    fs::write(volume.files.root().join("source"), "copied").unwrap();
    let write = |content: &[u8]| {
        let written = volume.write("mounted/f", content, ATOMIC);
        (written, fs::read(place.join("f")).unwrap())
    };
    let written = [write(b"new"), write(b"newer")];
    let copied =
        volume.files.copy("source", "mounted/f", &CancelToken::default()).map_err(|error| error.code());
    let copied =
        (copied.map(drop), fs::read(place.join("f")).unwrap(), fs::read_dir(&place).unwrap().count());
    unmount(&place).unwrap();
    assert_eq!(written, [(Ok(()), b"new".to_vec()), (Ok(()), b"newer".to_vec())]);
    assert_eq!(copied, (Ok(()), b"copied".to_vec(), 1));
}

/// Set within a process that strace looks at.
const TRACED: &str = "SANDBOX_VOLUMES_TRACED_CLONE";

/// Runs one of these tests in a process of its own that strace looks at, and gives its record.
fn traced(arguments: &[&str]) -> Option<String> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let may_trace = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    if !may_trace.is_ok_and(|status| status.success()) {
        skip("strace is missing, or may not trace here");
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-o"]).arg(log.path()).args(arguments);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", &current_test(), "--nocapture"]);
    let output = command.env(TRACED, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(fs::read_to_string(log.path()).unwrap())
}

#[test]
fn an_atomic_write_into_a_subvolume_that_cannot_end_says_why() {
    if std::env::var_os(TRACED).is_none() {
        traced(&["-e", "trace=linkat", "-e", "inject=linkat:error=ENOSPC"]);
        return;
    }
    let Some(btrfs) = Btrfs::with_quotas() else { return };
    let volume = btrfs.volume(8);
    volume.write("f", b"old", PLAIN).unwrap();
    assert_eq!(volume.write("f", b"new", ATOMIC), Err("ENOSPC".to_owned()));
    assert_eq!(fs::read(volume.files.root().join("f")).unwrap(), b"old");
    assert_eq!(fs::read_dir(volume.files.root().with_file_name(".staging")).unwrap().count(), 0);
}

#[test]
fn the_record_of_a_clone_is_on_disk_before_the_clone_has_a_name() {
    if std::env::var_os(TRACED).is_some() {
        let Some(btrfs) = Btrfs::with_quotas() else { return };
        return btrfs.volume(8).write("f", b"x", ATOMIC).unwrap();
    }
    let Some(log) = traced(&["-e", "trace=fsync,linkat,renameat,renameat2"]) else { return };
    let Some(linked) = log.lines().position(|line| line.contains(" linkat(")) else {
        return skip("there can be no btrfs");
    };
    let before: Vec<_> = log.lines().take(linked).collect();
    let recorded = before.iter().rposition(|line| line.contains("rename")).unwrap();
    assert_eq!(before[recorded].matches("/.staging>").count(), 2, "{}", before[recorded]);
    let synced =
        before[recorded..].iter().any(|line| line.contains(" fsync(") && line.contains("/.staging>)"));
    assert!(synced, "{log}");
}

#[test]
fn removal_leaves_neither_subvolume_nor_qgroup() {
    let Some(btrfs) = Btrfs::with_quotas() else { return };
    let volume = btrfs.volume(8);
    assert_eq!((btrfs.subvolumes(), btrfs.qgroups()), (1, 1));
    fs::create_dir_all(volume.files.root().join("a/b/c")).unwrap();
    write_as_guest(&volume.files.root().join("guest"), 16 << 20);
    volume.store.remove(&volume.name, &CancelToken::default()).unwrap();
    assert!(!volume.files.root().exists());
    assert_eq!((btrfs.subvolumes(), btrfs.qgroups()), (0, 0));
    volume.create(json!({ "quotaMib": 8 }));
    assert_eq!(volume.enforcement(), Some(QuotaEnforcement::Kernel));
}

#[test]
fn subvolumes_that_a_guest_made_count_and_are_removed() {
    let Some(btrfs) = Btrfs::with_quotas() else { return };
    let volume = btrfs.volume(8);
    run("btrfs", &["subvolume", "create"], &volume.files.root().join("nested"));
    fs::write(volume.files.root().join("nested/file"), vec![1; 9 << 20]).unwrap();
    assert!(volume.used_bytes() > 8 * MIB);
    assert_eq!(volume.write("f", b"x", PLAIN), Err("ERR_QUOTA_EXCEEDED".to_owned()));
    volume.store.remove(&volume.name, &CancelToken::default()).unwrap();
    assert_eq!(btrfs.subvolumes(), 0);
}

#[test]
fn subvolumes_in_subvolumes_and_deep_trees_in_them_are_removed() {
    let Some(btrfs) = Btrfs::with_quotas() else { return };
    let volume = btrfs.volume(64);
    let mut path = volume.files.root().clone();
    for level in 0..150 {
        path.push("d");
        // Some stand just where the purge holds as many directories as it may.
        match level % 10 == 0 || (60..70).contains(&level) {
            true => drop(run("btrfs", &["subvolume", "create"], &path)),
            false => fs::create_dir(&path).unwrap(),
        }
        fs::write(path.join("file"), "x").unwrap();
    }
    volume.store.remove(&volume.name, &CancelToken::default()).unwrap();
    assert!(!volume.files.root().exists());
    assert_eq!(btrfs.subvolumes(), 0);
}

#[test]
fn without_quotas_of_the_file_system_the_volume_is_a_directory_that_the_host_holds_to_its_own() {
    let Some(btrfs) = Btrfs::new() else { return };
    let volume = btrfs.volume(1);
    assert_eq!(volume.enforcement(), Some(QuotaEnforcement::Host));
    assert!(!volume.root_is_subvolume());
    assert_eq!(volume.write("f", &vec![1; 2 << 20], PLAIN), Err("ERR_QUOTA_EXCEEDED".to_owned()));
    run("btrfs", &["quota", "enable"], btrfs.path());
    assert_eq!(volume.enforcement(), Some(QuotaEnforcement::Host), "it was made before");
    volume.store.remove(&volume.name, &CancelToken::default()).unwrap();

    let unlimited = Volume::new_in(btrfs.path(), json!({}));
    assert_eq!(unlimited.enforcement(), None);
    assert!(!unlimited.root_is_subvolume());
}

#[test]
fn enforcement_is_what_the_file_system_says_now() {
    let Some(btrfs) = Btrfs::with_quotas() else { return };
    let volume = btrfs.volume(8);
    let root = volume.files.root();
    run("btrfs", &["qgroup", "limit", "64M"], root);
    assert_eq!(volume.enforcement(), Some(QuotaEnforcement::Host), "a limit above the quota");
    run("btrfs", &["qgroup", "limit", "4M"], root);
    assert_eq!(volume.enforcement(), Some(QuotaEnforcement::Kernel));
    run("btrfs", &["qgroup", "limit", "none"], root);
    assert_eq!(volume.enforcement(), Some(QuotaEnforcement::Host));
    run("btrfs", &["quota", "disable"], btrfs.path());
    assert_eq!(volume.enforcement(), Some(QuotaEnforcement::Host));
    volume.write("f", b"x", ATOMIC).unwrap();
}

/// A catalog that says a process died while it did this to `w`.
fn leave_intent(home: &Path, action: &str) {
    let catalog = Connection::open(home.join("db/volumes.db")).unwrap();
    catalog
        .execute("INSERT INTO volume (name, kind, quota_mib, labels) VALUES ('w', 'dir', 8, '{}')", ())
        .unwrap();
    let sql =
        "INSERT INTO intent (volume_id, action, entry) SELECT id, ?1, 'w~1-2-3' FROM volume WHERE name = 'w'";
    catalog.execute(sql, [action]).unwrap();
}

#[test]
fn whatever_a_crash_left_of_a_subvolume_is_undone_or_finished() {
    for (action, place, is_there) in [
        ("create", "volumes/.staging/w~1-2-3", false),
        ("create", "volumes/w", true),
        ("remove", "volumes/w", false),
        ("remove", "volumes/.trash/w~1-2-3", false),
    ] {
        let Some(btrfs) = Btrfs::with_quotas() else { return };
        let volume = Volume::new_in(btrfs.path(), json!({}));
        let home = volume.outside.parent().unwrap();
        run("btrfs", &["subvolume", "create"], &home.join(place));
        run("btrfs", &["qgroup", "limit", "8M"], &home.join(place));
        leave_intent(home, action);
        let store = Store::open(home, Durability::Full).unwrap();
        let listed = store.list(&Labels::default(), &CancelToken::default()).unwrap();
        let found = listed.iter().find(|info| info.record.name.as_str() == "w");
        let expected = is_there.then_some(Some(QuotaEnforcement::Kernel));
        assert_eq!(found.map(|info| info.quota_enforcement), expected, "{action} {place}");
        let left = usize::from(is_there);
        assert_eq!((btrfs.subvolumes(), btrfs.qgroups()), (left, left), "{action} {place}");
    }
}
