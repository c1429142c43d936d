//! What happens while another process deletes what other users own in a volume.

use crate::support::child::in_child;
use crate::support::mount_namespace::enter_namespace;
use crate::support::ordinary_user::{NOBODY, become_ordinary_user, while_ordinary_user};
use crate::support::skip::skip;
use crate::support::volume::Volume;
use crate::support::watchdog::watched;
use crate::support::worker;
use crate::support::worker::Worker;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use sandbox_volumes::error::Error;
use sandbox_volumes::model::VolumeName;
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

/// One of the ids that the user is granted.
const SUBORDINATE: u32 = 100_005;
const GRANT: &str = "65534:100000:65536\n";

const NOTHING: Option<&str> = None;

/// A directory for a test, in a mount namespace of its own with an `rm` that waits.
struct Environment {
    dir: PathBuf,
    /// Has something to read once `rm` runs, and ends once no process of `rm` is left.
    running: File,
    /// Has `rm` go on when it is written to.
    go: File,
}

impl Environment {
    /// Puts files and programs in place of the host's. The shell code `rm` runs in place of the program, which is
    /// `$real`.
    fn new(dir: &Path, rm: &str) -> Self {
        let path = |name: &str| dir.join(name);
        let make = |name: &str, content: &str| {
            fs::write(path(name), content).unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(0o755)).unwrap();
        };
        let put = |name: &str, place: &str| {
            mount(Some(&path(name)), place, NOTHING, MsFlags::MS_BIND, NOTHING).unwrap();
        };
        for name in ["running", "go"] {
            mkfifo(&path(name), Mode::empty()).unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(0o666)).unwrap();
        }
        fs::copy("/usr/bin/rm", path("real-rm")).unwrap();
        make("grants", GRANT);
        let shown = dir.display();
        make(
            "rm",
            &format!(
                "#!/bin/sh\nreal='{shown}/real-rm'\n[ \"$1\" = --version ] && exec \"$real\" --version\n\
                 exec 3<> '{shown}/go' 4> '{shown}/running'\n{rm}\n"
            ),
        );
        put("grants", "/etc/subuid");
        put("grants", "/etc/subgid");
        put("rm", "/usr/bin/rm");
        // Opened for both, so that this waits for no other process.
        let both = |name: &str| OpenOptions::new().read(true).write(true).open(path(name)).unwrap();
        let (go, kept) = (both("go"), both("running"));
        let running = File::open(path("running")).unwrap();
        drop(kept);
        Environment { dir: dir.to_owned(), running, go }
    }

    /// Waits until `rm` runs.
    fn wait_for_rm(&mut self) {
        // Opened to write and to read, a FIFO does not end before a writer came.
        let name = self.dir.join("running");
        let kept = OpenOptions::new().read(true).write(true).open(name).unwrap();
        self.running.read_exact(&mut [0]).unwrap();
        drop(kept);
    }

    /// Waits until no process of `rm` is left.
    fn wait_for_end(&mut self) {
        watched("rm", || self.running.read_to_end(&mut Vec::new())).unwrap();
    }
}

fn with_environment(rm: &str, body: impl FnOnce(Environment)) {
    in_child(|| {
        if !geteuid().is_root() {
            return skip("giving files away needs root");
        }
        if !["/etc/subuid", "/etc/subgid", "/usr/bin/rm"].iter().all(|path| Path::new(path).exists()) {
            return skip("no /etc/subuid, no /etc/subgid or no /usr/bin/rm");
        }
        if !enter_namespace() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        tempfile::env::override_temp_dir(dir.path()).unwrap();
        let environment = Environment::new(dir.path(), rm);
        let unshare = ["--user", "--map-root-user", "--map-auto", "--mount", "--", "true"];
        let mapped = || Command::new("unshare").args(unshare).output();
        if !while_ordinary_user(|| mapped().is_ok_and(|output| output.status.success())) {
            return skip("an ordinary user cannot have a user name space with newuidmap and util-linux 2.38");
        }
        body(environment);
    });
}

/// A volume of the user's with a directory `a/theirs` of another user.
fn volume_of_user() -> Volume {
    let volume = while_ordinary_user(|| {
        let volume = Volume::new(json!({}));
        fs::create_dir_all(volume.files.root().join("a")).unwrap();
        fs::create_dir_all(volume.files.root().join("b/x")).unwrap();
        fs::write(volume.outside.join("kept"), "kept").unwrap();
        volume
    });
    let theirs = volume.files.root().join("a/theirs");
    fs::create_dir_all(theirs.join("dir")).unwrap();
    for path in [theirs.join("dir"), theirs] {
        chown(path, Some(SUBORDINATE), Some(SUBORDINATE)).unwrap();
    }
    volume
}

fn bind_outside(volume: &Volume, place: &Path) {
    mount(Some(&volume.outside), place, NOTHING, MsFlags::MS_BIND, NOTHING).unwrap();
}

fn remove_all(volume: &Volume) -> Result<(), Error> {
    while_ordinary_user(|| volume.files.remove_all("a", &CancelToken::default()))
}

#[test]
fn case_71_a_mount_anywhere_in_the_volume_keeps_rm_from_running() {
    with_environment("exec \"$real\" \"$@\"", |_environment| {
        let volume = volume_of_user();
        bind_outside(&volume, &volume.files.root().join("b/x"));
        assert_eq!(remove_all(&volume).unwrap_err().code(), "EBUSY");
        assert!(volume.files.root().join("a/theirs/dir").exists());
        assert!(volume.outside.join("kept").exists());
    });
}

#[test]
fn case_71_a_mount_that_a_guest_moves_to_where_rm_works_is_left_alone() {
    let rm = "echo >&4; read line <&3; exec \"$real\" \"$@\"";
    with_environment(rm, |mut environment| {
        let volume = volume_of_user();
        let root = volume.files.root();
        // Ids are those of a whole process, so another process waits for `rm`, mounts and moves.
        let script = format!(
            "read line < '{dir}/running'; mount --bind '{outside}' '{root}/b/x' && mv -T '{root}/b' '{root}/a/b' && \
             echo > '{dir}/go'",
            dir = environment.dir.display(),
            outside = volume.outside.display(),
            root = root.display(),
        );
        let mut guest = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        watched("rm", || remove_all(&volume)).unwrap();
        assert!(guest.wait().unwrap().success());
        assert!(!root.join("a").exists());
        assert_eq!(fs::read_to_string(volume.outside.join("kept")).unwrap(), "kept");
        environment.wait_for_end();
    });
}

/// A worker that removes as an ordinary user.
#[test]
#[ignore = "a worker of other tests"]
fn removing_worker() {
    let Some(home) = worker::home() else { return };
    become_ordinary_user();
    let store = Arc::new(Store::open(&home, Durability::Fast).unwrap());
    let name = VolumeName::parse("v").unwrap();
    for order in worker::orders() {
        let _killed_before = match order.as_str() {
            "remove" => store.remove(&name, &CancelToken::default()),
            _ => store.files(&name).remove_all("a", &CancelToken::default()),
        };
    }
}

fn kill_while_removing(order: &str, environment: &mut Environment, volume: &Volume) {
    let mut worker = Worker::start(removing_worker, volume.store.home());
    worker.order(order);
    watched("rm", || environment.wait_for_rm());
    drop(worker);
}

#[test]
fn case_71_rm_ends_with_the_process_that_started_it() {
    with_environment("echo >&4; read line <&3; exec \"$real\" \"$@\"", |mut environment| {
        let volume = volume_of_user();
        for order in ["remove all", "remove"] {
            kill_while_removing(order, &mut environment, &volume);
            environment.wait_for_end();
        }
    });
}

#[test]
fn case_71_a_process_that_outlives_the_removal_of_a_volume_keeps_its_lock() {
    // The process in the background is not killed with the others.
    let rm = "{ echo >&4; read line <&3; } &\nwait";
    with_environment(rm, |mut environment| {
        let volume = volume_of_user();
        kill_while_removing("remove", &mut environment, &volume);
        let lock = || {
            let file = File::open(volume.store.home().join("volumes/.locks/v~work.lock")).unwrap();
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map(drop).map_err(|(_, errno)| errno)
        };
        assert_eq!(lock(), Err(Errno::EWOULDBLOCK));
        environment.go.write_all(b"\n").unwrap();
        environment.wait_for_end();
        while lock().is_err() {
            thread::yield_now();
        }
    });
}
