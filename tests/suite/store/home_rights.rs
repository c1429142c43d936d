//! Who besides its user may use a home: what is refused, reported, and made private.

use crate::support::child::current_test;
use crate::support::home::Home;
use crate::support::skip::skip;
use nix::unistd::geteuid;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::store::{CheckOptions, Durability, OpenOptions, ProblemKind, Store, check};
use sandbox_volumes::sync::CancelToken;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

const SHARED: OpenOptions = OpenOptions { durability: Durability::Full, shared: true };
const NOBODY: u32 = 65534;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Whether a home is refused for the rights on `dir`, and neither a warning nor a problem without that.
fn is_refused(home: &Home, dir: &Path) -> bool {
    let root = home.path("").components().collect::<PathBuf>();
    let opened = Store::open(&root, Durability::Full);
    Store::open(&root, SHARED).unwrap();
    let shared = CheckOptions { repair: true, shared: true };
    assert!(check(&root, shared, &CancelToken::default()).unwrap().is_empty());
    match opened {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            let text = error.to_string();
            assert!(text.contains(&format!("{dir:?}")) && text.contains("shared: true"), "{text}");
            let problems = check(&root, false, &CancelToken::default()).unwrap();
            assert!(problems.iter().any(|it| it.kind == ProblemKind::OpenToOthers && it.path == dir));
            true
        }
    }
}

#[test]
fn a_directory_is_refused_or_reported_by_its_mode() {
    for (dir, modes) in [
        (
            "volumes",
            [(0o700, false), (0o755, false), (0o775, false), (0o2770, false), (0o702, true), (0o1777, true)],
        ),
        (
            "db",
            [(0o500, false), (0o711, false), (0o770, false), (0o750, false), (0o777, true), (0o1777, true)],
        ),
        ("", [(0o700, false), (0o755, false), (0o775, false), (0o1777, false), (0o777, true), (0o703, true)]),
    ] {
        let home = Home::new();
        home.create("v");
        // Without a slash at its end, as it is opened.
        let path = home.path(dir).components().collect::<PathBuf>();
        for (mode, refused) in modes {
            set_mode(&path, mode);
            assert_eq!(is_refused(&home, &path), refused, "{dir} {mode:o}");
            let is_open = !dir.is_empty() && mode & 0o077 != 0 || refused;
            let problems = check(&home.path(""), true, &CancelToken::default()).unwrap();
            assert_eq!(problems.len(), usize::from(is_open), "{dir} {mode:o}: {problems:?}");
            assert!(problems.iter().all(|it| it.kind == ProblemKind::OpenToOthers && it.repaired));
            if is_open {
                assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700, "{dir} {mode:o}");
            }
            Store::open(&home.path(""), Durability::Full).unwrap();
        }
    }
}

#[test]
fn a_directory_of_another_user_is_refused_and_stays_as_it_is() {
    if !geteuid().is_root() {
        return skip("only root can give a directory away");
    }
    for (dir, mode) in [("volumes", 0o700), ("db", 0o700), ("", 0o700), ("", 0o1777)] {
        let home = Home::new();
        let path = home.path(dir).components().collect::<PathBuf>();
        chown(&path, Some(NOBODY), None).unwrap();
        set_mode(&path, mode);
        assert!(is_refused(&home, &path));
        let problems = check(&home.path(""), true, &CancelToken::default()).unwrap();
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert!(!problem.repaired && problem.message.contains("65534"), "{problem:?}");
        let found = fs::metadata(path).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (NOBODY, mode));
    }
}

#[test]
fn nothing_is_moved_in_a_home_that_is_refused() {
    if !geteuid().is_root() {
        return skip("only root can give a directory away");
    }
    for dir in ["volumes", "db", ""] {
        let home = Home::new();
        let staging = home.path("volumes/.staging");
        fs::remove_dir(&staging).unwrap();
        fs::write(&staging, "theirs").unwrap();
        let path = home.path(dir).components().collect::<PathBuf>();
        chown(&path, Some(NOBODY), None).unwrap();
        for repair in [false, true] {
            let problems = check(&home.path(""), repair, &CancelToken::default()).unwrap();
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            assert_eq!((problem.kind, problem.repaired), (ProblemKind::OpenToOthers, false));
        }
        assert_eq!(fs::read_to_string(&staging).unwrap(), "theirs");
        chown(&path, Some(0), None).unwrap();
        let problems = check(&home.path(""), true, &CancelToken::default()).unwrap();
        assert!(problems.len() == 1 && problems[0].repaired && staging.is_dir(), "{problems:?}");
    }
}

/// The home that a process in a user namespace opens.
const UNMAPPED: &str = "SANDBOX_VOLUMES_TEST_UNMAPPED_HOME";

#[test]
fn an_owner_without_an_id_in_the_user_namespace_is_called_that() {
    if let Some(home) = std::env::var_os(UNMAPPED) {
        let text = Store::open(Path::new(&home), Durability::Full).unwrap_err().to_string();
        for part in ["user namespace", "65534", "shared: true"] {
            assert!(text.contains(part), "{text}");
        }
        return assert!(!text.contains("chown"), "{text}");
    }
    let in_namespace = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--"]);
        command
    };
    let may = in_namespace().arg("true").status().is_ok_and(|status| status.success());
    if !geteuid().is_root() || !may {
        return skip("this process may not make a user namespace, or give a directory away");
    }
    let home = Home::new();
    for dir in ["db", "volumes", ""] {
        let path = home.path(dir).components().collect::<PathBuf>();
        set_mode(&path, 0o755);
        chown(&path, Some(12345), None).unwrap();
    }
    let mut child = in_namespace();
    child.arg(std::env::current_exe().unwrap()).args(["--exact", &current_test(), "--nocapture"]);
    let status = child.env(UNMAPPED, home.path("")).status();
    assert!(status.unwrap().success());
}

#[test]
fn an_access_control_list_counts() {
    for (entry, is_open, refused) in [
        ("u:1:rwx", true, true),
        ("u:1:-w-", true, true),
        ("u:1:r-x", true, false),
        ("g:1:rwx", true, false),
        ("u:0:rwx", true, false),
        // It has no effect as the mask is.
        ("u:1:rwx,m::---", false, false),
        ("d:u:1:rwx", false, false),
    ] {
        let home = Home::new();
        let volumes = home.path("volumes");
        let set = Command::new("setfacl").args(["-m", entry]).arg(&volumes).status();
        if !set.is_ok_and(|status| status.success()) {
            return skip("setfacl, or a file system with access control lists, is missing");
        }
        assert_eq!(is_refused(&home, &volumes), refused, "{entry}");
        let problems = check(&home.path(""), true, &CancelToken::default()).unwrap();
        assert_eq!(problems.len(), usize::from(is_open), "{entry}: {problems:?}");
        if is_open {
            let left = Command::new("getfacl").args(["-ncsp"]).arg(&volumes).output().unwrap();
            assert_eq!(String::from_utf8(left.stdout).unwrap(), "", "{entry}");
        }
    }
}

#[test]
fn a_directory_that_is_open_to_others_is_warned_of_once() {
    let home = Home::new();
    for dir in ["volumes", "db"] {
        set_mode(&home.path(dir), 0o755);
    }
    assert!(Store::open(&home.path(""), SHARED).unwrap().take_home_warnings().is_empty());
    let store = Store::open(&home.path(""), Durability::Full).unwrap();
    let warnings = store.take_home_warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().all(|warning| warning.contains("check({ repair: true })")));
    assert!(store.take_home_warnings().is_empty());
    assert!(Store::open(&home.path(""), Durability::Full).unwrap().take_home_warnings().is_empty());
}
