//! Volumes of an ordinary user in which other users own what is in them, as rootless containers leave them.

use crate::support::child::in_child;
use crate::support::mount_namespace::enter_namespace;
use crate::support::ordinary_user::{NOBODY, while_ordinary_user};
use crate::support::private::Private;
use crate::support::skip::skip;
use crate::support::unmount::unmount;
use crate::support::volume::Volume;
use nix::mount::{MsFlags, mount};
use nix::unistd::geteuid;
use sandbox_volumes::error::Error;
use sandbox_volumes::model::Labels;
use sandbox_volumes::store::{Durability, ProblemKind, Store, check};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// One of the ids that the user is granted.
const SUBORDINATE: u32 = 100_005;
const GRANT: &str = "65534:100000:65536\n";

const NOTHING: Option<&str> = None;

/// Puts a file that says who is granted which ids in place of the host's, in this mount namespace only.
fn grant(dir: &Path, content: &str) {
    let file = dir.join("grants");
    fs::write(&file, content).unwrap();
    for place in ["/etc/subuid", "/etc/subgid"] {
        mount(Some(&file), place, NOTHING, MsFlags::MS_BIND, NOTHING).unwrap();
    }
}

/// Whether this machine lets an ordinary user have the ids that it is granted.
fn can_map() -> bool {
    let unshare = ["--user", "--map-root-user", "--map-auto", "--", "true"];
    while_ordinary_user(|| {
        Command::new("unshare").args(unshare).output().is_ok_and(|output| output.status.success())
    })
}

/// A volume of the user's, with directories that belong to another.
fn volume_of_user(owner: u32) -> Volume {
    volume_of_user_in(&tempfile::env::temp_dir(), owner)
}

/// The same, with its home below a directory.
fn volume_of_user_in(dir: &Path, owner: u32) -> Volume {
    let volume = while_ordinary_user(|| Volume::new_in(dir, json!({})));
    let root = volume.files.root();
    fs::create_dir_all(root.join("open/closed")).unwrap();
    for path in ["open/f", "open/closed/f", "f"] {
        fs::write(root.join(path), "theirs").unwrap();
    }
    fs::set_permissions(root.join("open/closed"), fs::Permissions::from_mode(0o700)).unwrap();
    for path in ["open", "open/f", "open/closed", "open/closed/f", "f"] {
        chown(root.join(path), Some(owner), Some(owner)).unwrap();
    }
    volume
}

fn remove(volume: &Volume) -> Result<(), Error> {
    while_ordinary_user(|| volume.store.remove(&volume.name, &CancelToken::default()))
}

fn is_listed(volume: &Volume) -> bool {
    while_ordinary_user(|| volume.store.list(&Labels::default(), &CancelToken::default()).unwrap().len() == 1)
}

fn with_home(body: impl FnOnce(&Path)) {
    in_child(|| {
        if !geteuid().is_root() {
            return skip("giving files away needs root");
        }
        if !Path::new("/etc/subuid").exists() || !Path::new("/etc/subgid").exists() {
            return skip("no /etc/subuid or no /etc/subgid; the package uidmap is not installed");
        }
        if !enter_namespace() {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        tempfile::env::override_temp_dir(home.path()).unwrap();
        body(home.path());
    });
}

#[test]
fn case_71_what_belongs_to_a_granted_id_is_removed_and_a_mount_in_it_left_alone() {
    with_home(|home| {
        grant(home, GRANT);
        if !can_map() {
            return skip("an ordinary user cannot have a user name space with newuidmap and util-linux 2.38");
        }
        let volume = volume_of_user(SUBORDINATE);
        let bound = volume.files.root().join("open/f");
        let elsewhere = volume.outside.join("elsewhere");
        fs::write(&elsewhere, "not the volume's").unwrap();
        mount(Some(&elsewhere), &bound, NOTHING, MsFlags::MS_BIND, NOTHING).unwrap();
        remove(&volume).unwrap_err();
        assert!(is_listed(&volume));
        assert_eq!(fs::read_to_string(volume.files.root().join("open/closed/f")).unwrap(), "theirs");
        unmount(&bound).unwrap();

        remove(&volume).unwrap();
        assert!(!is_listed(&volume));
        assert!(!volume.files.root().exists());
        assert_eq!(fs::read_dir(volume.files.root().with_file_name(".trash")).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(elsewhere).unwrap(), "not the volume's");
    });
}

/// How many directories of another owner the volume has: more than are listed at once for the helper processes.
const MORE_THAN_ONE_LISTING: usize = 4200;

#[test]
fn case_71_what_belongs_to_a_granted_id_is_removed_from_a_volume_that_cannot_be_moved() {
    with_home(|home| {
        grant(home, GRANT);
        if !can_map() {
            return skip("an ordinary user cannot have a user name space with newuidmap and util-linux 2.38");
        }
        let Some(private) = Private::new() else { return };
        let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|layer| {
            let dir = private.path().join(layer);
            fs::create_dir(&dir).unwrap();
            chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
            dir
        });
        let below = volume_of_user_in(&lower, SUBORDINATE);
        for number in 0..MORE_THAN_ONE_LISTING {
            let dir = below.files.root().join(format!("-{number}"));
            fs::create_dir(&dir).unwrap();
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
            chown(&dir, Some(SUBORDINATE), Some(SUBORDINATE)).unwrap();
        }
        let layers = [("lowerdir", &lower), ("upperdir", &upper), ("workdir", &work)];
        let layers = layers.map(|(option, dir)| format!("{option}={}", dir.display())).join(",");
        let layers = format!("{layers},redirect_dir=off");
        if let Err(errno) =
            mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(layers.as_str()))
        {
            return skip(format!("an overlay cannot be mounted: {errno}"));
        }
        let home = merged.join(below.store.home().file_name().unwrap());
        let root = home.join("volumes").join(below.name.as_str());
        let store = while_ordinary_user(|| Store::open(&home, Durability::Fast).unwrap());
        let remove = || while_ordinary_user(|| store.remove(&below.name, &CancelToken::default()));
        let listed =
            || while_ordinary_user(|| store.list(&Labels::default(), &CancelToken::default()).unwrap().len());
        let bound = root.join("open/f");
        let elsewhere = private.path().join("elsewhere");
        fs::write(&elsewhere, "not the volume's").unwrap();
        mount(Some(&elsewhere), &bound, NOTHING, MsFlags::MS_BIND, NOTHING).unwrap();
        remove().unwrap_err();
        assert_eq!(listed(), 1);
        assert_eq!(fs::read_to_string(root.join("open/closed/f")).unwrap(), "theirs");
        unmount(&bound).unwrap();

        let begun = while_ordinary_user(|| store.begin_remove(&below.name, &CancelToken::default())).unwrap();
        assert!(root.join("open/closed/f").exists(), "the content is deleted in its place");
        while_ordinary_user(|| begun.finish()).unwrap();
        assert_eq!((listed(), root.exists()), (0, false));
        assert_eq!(fs::read_dir(root.with_file_name(".trash")).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(elsewhere).unwrap(), "not the volume's");
        assert_eq!(fs::read_to_string(below.files.root().join("open/closed/f")).unwrap(), "theirs");
        drop(store);
        unmount(&merged).unwrap();
    });
}

#[test]
fn case_71_remove_all_deletes_what_belongs_to_a_granted_id() {
    with_home(|home| {
        grant(home, GRANT);
        if !can_map() {
            return skip("an ordinary user cannot have a user name space with newuidmap and util-linux 2.38");
        }
        let volume = volume_of_user(SUBORDINATE);
        let root = volume.files.root();
        let remove_all =
            |path: &str| while_ordinary_user(|| volume.files.remove_all(path, &CancelToken::default()));
        let bound = root.join("open/f");
        mount(Some(&root.join("f")), &bound, NOTHING, MsFlags::MS_BIND, NOTHING).unwrap();
        remove_all("open").unwrap_err();
        assert_eq!(fs::read_to_string(root.join("open/closed/f")).unwrap(), "theirs");
        unmount(&bound).unwrap();

        // What takes long is not done in the first slice.
        let in_a_moment = Instant::now() + Duration::from_secs(60);
        let is_gone = while_ordinary_user(|| {
            let mut removal = volume.files.prepare_remove_all("open", &CancelToken::default()).unwrap();
            assert!(!removal.go_on(Some(in_a_moment)).unwrap());
            assert!(root.join("open").is_dir());
            removal.go_on(None).unwrap()
        });
        assert!(is_gone && !root.join("open").exists());

        while_ordinary_user(|| fs::create_dir_all(root.join("ours/deep")).unwrap());
        fs::create_dir_all(root.join("ours/deep/theirs/dir")).unwrap();
        for path in ["ours/deep/theirs/dir", "ours/deep/theirs"] {
            chown(root.join(path), Some(SUBORDINATE), Some(SUBORDINATE)).unwrap();
        }
        symlink(home, root.join("ours/deep/link")).unwrap();
        remove_all("ours").unwrap();
        assert_eq!(fs::read_dir(root).unwrap().count(), 1, "only \"f\" is left");
        assert!(home.join("grants").exists());
    });
}

/// Puts a program in place of `unshare`, in this mount namespace only, that counts its calls and deletes nothing.
fn count_calls_of_unshare(home: &Path) -> impl Fn() -> usize {
    let (calls, program) = (home.join("calls"), home.join("unshare"));
    fs::write(&calls, "").unwrap();
    fs::write(&program, format!("#!/bin/sh\necho >> '{}'\nexit 1\n", calls.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&calls, fs::Permissions::from_mode(0o666)).unwrap();
    mount(Some(&program), "/usr/bin/unshare", NOTHING, MsFlags::MS_BIND, NOTHING).unwrap();
    move || fs::read_to_string(&calls).unwrap().len()
}

#[test]
fn case_71_no_opening_starts_a_process_again_for_a_leftover_that_stays() {
    with_home(|home| {
        grant(home, GRANT);
        if !Path::new("/usr/bin/unshare").exists() {
            return skip("util-linux is not installed in /usr/bin");
        }
        let calls = count_calls_of_unshare(home);
        let volume = while_ordinary_user(|| Volume::new(json!({})));
        let (home, trash) = (volume.store.home(), volume.files.root().with_file_name(".trash"));
        let open = || {
            while_ordinary_user(|| {
                let store = Store::open(home, Durability::Fast).unwrap();
                assert_eq!(store.list(&Labels::default(), &CancelToken::default()).unwrap().len(), 1);
            });
        };
        let leave = |name: &str, owner: u32| {
            fs::create_dir_all(trash.join(name).join("dir")).unwrap();
            for path in [trash.join(name).join("dir"), trash.join(name)] {
                chown(path, Some(owner), Some(owner)).unwrap();
            }
        };
        let reported = |repair: bool| {
            let problems = while_ordinary_user(|| check(home, repair, &CancelToken::default()).unwrap());
            let left = problems.iter().filter(|problem| problem.kind == ProblemKind::IncompleteOperation);
            left.filter(|problem| !problem.repaired).count()
        };
        leave("gone~1-1-1", 0);
        leave("gone~1-1-2", 1000);
        open();
        assert_eq!((calls(), reported(false)), (0, 2), "ids that are not granted");
        for (name, started) in [("gone~1-1-3", 1), ("gone~1-1-4", 2)] {
            leave(name, SUBORDINATE);
            for _ in 0..3 {
                open();
                assert_eq!(calls(), started);
            }
        }
        assert_eq!(reported(false), 4);
        assert_eq!((reported(true), calls()), (4, 4), "a repair tries again, once for each");
        open();
        assert_eq!(calls(), 4);
    });
}

#[test]
fn case_71_what_belongs_to_others_is_refused_with_who_owns_it_and_what_removes_it() {
    with_home(|home| {
        for (grants, owner) in [("", SUBORDINATE), (GRANT, 0), (GRANT, 1000)] {
            grant(home, grants);
            let volume = volume_of_user(owner);
            let error = remove(&volume).unwrap_err();
            let message = error.to_string();
            assert_eq!(error.code(), "EACCES", "{message}");
            let path = volume.files.root().join("open").to_string_lossy().into_owned();
            for said in [&format!("user {owner},"), "podman unshare rm -rf", "sudo rm -rf", &path] {
                assert!(message.contains(said), "{said}: {message}");
            }
            assert!(is_listed(&volume));
            let error =
                while_ordinary_user(|| volume.files.remove_all("open", &CancelToken::default())).unwrap_err();
            assert!(error.to_string().contains(&format!("user {owner},")), "{error}");
        }
    });
}
