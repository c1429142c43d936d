//! Leases: who holds a volume, and until when.

use super::{bind, create, existing, existing_with, invalid_field, named};
use crate::support::child::in_child;
use crate::support::home::{Home, name};
use crate::support::idle_process::IdleProcess;
use crate::support::skip::skip;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use rusqlite::Connection;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::mount::MountConfig;
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs::File;
use std::io;
use std::sync::mpsc;

/// The sandboxes that keep a volume from being removed.
fn holders(home: &Home, volume: &str) -> Vec<String> {
    let error = home.store.remove(&name(volume), &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VolumeInUse, "{error}");
    assert!(error.context().sandboxes.iter().all(|sandbox| error.to_string().contains(sandbox)));
    error.context().sandboxes.clone()
}

#[test]
fn an_attached_volume_cannot_be_removed_and_every_holder_is_named_once() {
    let home = Home::new();
    home.create("data");
    let attached = ["b", "a", "b"].map(|sandbox| home.attach(sandbox, &[existing("data")]).unwrap().id);
    assert_eq!(holders(&home, "data"), ["a", "b"]);
    assert!(home.path("volumes/data").is_dir());
    home.store.detach(attached[0]).unwrap();
    assert_eq!(holders(&home, "data"), ["a", "b"]);
    home.store.detach(attached[1]).unwrap();
    home.store.detach(attached[2]).unwrap();
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
}

#[test]
fn a_volume_is_held_for_other_stores_and_after_this_one_is_closed() {
    let home = Home::new();
    home.create("data");
    let other = Store::open(&home.path(""), Durability::Full).unwrap();
    let attached = home.attach("worker", &[existing("data")]).unwrap();
    let path = home.path("");
    assert_eq!(
        other.remove(&name("data"), &CancelToken::default()).unwrap_err().kind(),
        ErrorKind::VolumeInUse
    );
    drop(other);
    let reopened = Store::open(&path, Durability::Full).unwrap();
    assert_eq!(
        reopened.remove(&name("data"), &CancelToken::default()).unwrap_err().kind(),
        ErrorKind::VolumeInUse
    );
    reopened.detach(attached.id).unwrap();
    reopened.remove(&name("data"), &CancelToken::default()).unwrap();
}

#[test]
fn an_attachment_holds_only_its_own_volumes() {
    let home = Home::new();
    home.create("free");
    home.attach("worker", &[create("held")]).unwrap();
    home.store.remove(&name("free"), &CancelToken::default()).unwrap();
    assert_eq!(holders(&home, "held"), ["worker"]);
}

#[test]
fn detaching_twice_is_fine_and_frees_nothing_else() {
    let home = Home::new();
    home.create("data");
    let first = home.attach("one", &[existing("data")]).unwrap();
    home.store.detach(first.id).unwrap();
    home.attach("two", &[existing("data")]).unwrap();
    home.store.detach(first.id).unwrap();
    assert_eq!(holders(&home, "data"), ["two"]);
}

#[test]
fn the_end_of_its_process_frees_a_volume_at_once() {
    let home = Home::new();
    home.create("data");
    let mut process = IdleProcess::start();
    let attached = home.attach_for("worker", &[existing("data")], Some(process.pid())).unwrap();
    assert_eq!(attached.pid, process.pid());
    assert_eq!(holders(&home, "data"), ["worker"]);
    process.end();
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
}

#[test]
fn the_end_of_one_process_leaves_the_volume_to_the_other() {
    let home = Home::new();
    home.create("data");
    let mut processes = [IdleProcess::start(), IdleProcess::start()];
    for (process, sandbox) in processes.iter().zip(["gone", "alive"]) {
        home.attach_for(sandbox, &[existing("data")], Some(process.pid())).unwrap();
    }
    processes[0].end();
    assert_eq!(holders(&home, "data"), ["alive"]);
    processes[1].end();
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
}

#[test]
fn a_later_process_of_the_same_number_holds_nothing() {
    for change in ["start_time = start_time - 1", "boot_id = 'another'"] {
        let home = Home::new();
        home.attach("worker", &[create("data")]).unwrap();
        let catalog = Connection::open(home.path("db/volumes.db")).unwrap();
        catalog.execute(&format!("UPDATE attachment SET {change}"), ()).unwrap();
        home.store.remove(&name("data"), &CancelToken::default()).unwrap();
    }
}

#[test]
fn a_process_that_does_not_live_cannot_hold_anything() {
    let home = Home::new();
    let mut process = IdleProcess::start();
    process.end();
    for pid in [process.pid(), 0, u32::MAX] {
        let error = home.attach_for("worker", &[create("data")], Some(pid)).unwrap_err();
        assert_eq!(invalid_field(&error), "pid");
        assert!(error.to_string().contains(&pid.to_string()), "{error}");
    }
    assert_eq!(home.volumes(), [""; 0]);
}

/// A process whose main thread ends while another one sleeps: what `pthread_exit` does in it.
fn process_without_its_main_thread() -> Option<std::process::Child> {
    let program = "import ctypes, platform, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).syscall({'x86_64': 60}.get(platform.machine(), 93), 0)";
    let process = match std::process::Command::new("python3").args(["-c", program]).spawn() {
        Ok(process) => process,
        Err(error) => {
            skip(format!("python3 is missing: {error}"));
            return None;
        }
    };
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    while state() != 'Z' {
        std::thread::yield_now();
    }
    Some(process)
}

#[test]
fn case_58_a_process_whose_main_thread_has_ended_holds_until_its_last_thread_ends() {
    let Some(mut process) = process_without_its_main_thread() else { return };
    let home = Home::new();
    home.create("data");
    let attached = home.attach_for("worker", &[existing("data")], Some(process.id()));
    let opened = Store::open(&home.path(""), Durability::Full);
    let removed = home.store.remove(&name("data"), &CancelToken::default());
    process.kill().unwrap();
    let sandboxes = removed.unwrap_err().context().sandboxes.clone();
    process.wait().unwrap();
    assert_eq!((attached.unwrap().pid, opened.is_ok()), (process.id(), true));
    assert_eq!(sandboxes, ["worker"]);
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
}

#[test]
fn case_58_a_thread_is_no_process() {
    let home = Home::new();
    let (started, thread) = mpsc::channel();
    let (ends_at_drop, end) = mpsc::channel::<()>();
    let running = std::thread::spawn(move || {
        started.send(nix::unistd::gettid().as_raw() as u32).unwrap();
        end.recv().unwrap_err();
    });
    let thread = thread.recv().unwrap();
    let error = home.attach_for("worker", &[create("data")], Some(thread)).unwrap_err();
    assert_eq!(invalid_field(&error), "pid");
    let process = std::process::id();
    assert!(error.to_string().contains(&format!("{thread} is a thread of process {process}")), "{error}");
    assert_eq!(home.volumes(), [""; 0]);
    let attached = home.attach("worker", &[create("data")]).unwrap();
    let error = home.store.hand_over(attached.id, thread, &CancelToken::default()).unwrap_err();
    assert_eq!(invalid_field(&error), "pid");
    assert_eq!(holders(&home, "data"), ["worker"]);
    drop(ends_at_drop);
    running.join().unwrap();
}

#[test]
fn case_58_the_first_process_holds_as_any_other() {
    let home = Home::new();
    let attached = home.attach_for("init", &[create("data")], Some(1)).unwrap();
    assert_eq!((attached.pid, holders(&home, "data")), (1, vec!["init".to_owned()]));
    home.store.detach(attached.id).unwrap();
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
}

#[test]
fn opening_a_store_forgets_the_attachments_of_dead_processes_and_no_others() {
    let home = Home::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut process = IdleProcess::start();
    home.attach_for("gone", &[bind(elsewhere.path())], Some(process.pid())).unwrap();
    home.attach("alive", &[create("data")]).unwrap();
    process.end();
    Store::open(&home.path(""), Durability::Full).unwrap();
    let catalog = Connection::open(home.path("db/volumes.db")).unwrap();
    let known: Vec<String> = catalog
        .prepare("SELECT sandbox FROM attachment")
        .unwrap()
        .query_map((), |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(known, ["alive"]);
}

#[test]
fn an_attachment_means_nothing_in_a_home_that_took_the_place_of_its_own() {
    let home = Home::new();
    let outlived = home.attach("before", &[create("data")]).unwrap();
    std::fs::remove_dir_all(home.path("db")).unwrap();
    std::fs::remove_dir_all(home.path("volumes")).unwrap();
    home.attach("after", &[create("data")]).unwrap();
    home.store.detach(outlived.id).unwrap();
    assert_eq!(holders(&home, "data"), ["after"]);
}

#[test]
fn a_process_of_another_name_space_holds_until_it_is_detached() {
    let home = Home::new();
    let attached = home.attach("container", &[create("data")]).unwrap();
    let catalog = Connection::open(home.path("db/volumes.db")).unwrap();
    catalog.execute("UPDATE attachment SET pid_namespace = 1, start_time = 1", ()).unwrap();
    Store::open(&home.path(""), Durability::Full).unwrap();
    assert_eq!(holders(&home, "data"), ["container"]);
    home.store.detach(attached.id).unwrap();
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
}

fn create_disk(volume: &str) -> MountConfig {
    named(volume, json!({ "mode": "create", "kind": "disk", "sizeMib": 8 }))
}

/// Takes a shared record lock on one byte of a file, as an attachment does and QEMU.
fn lock_byte(file: &File, byte: i64) {
    let lock = libc::flock {
        l_type: libc::F_RDLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).map_err(io::Error::from).unwrap();
}

/// A disk volume whose attachment belongs to a container that was killed: with its number in the catalog, as this
/// process's end leaves it, and no locks.
fn killed_in_a_container(change: &str) -> (Home, Connection) {
    let home = Home::new();
    let attached = home.attach("container", &[create_disk("data")]).unwrap();
    let catalog = Connection::open(home.path("db/volumes.db")).unwrap();
    catalog.execute("CREATE TEMP TABLE kept AS SELECT * FROM attachment", ()).unwrap();
    catalog.execute("CREATE TEMP TABLE kept_lease AS SELECT * FROM lease", ()).unwrap();
    catalog.execute("CREATE TEMP TABLE kept_image AS SELECT * FROM image_lease", ()).unwrap();
    home.store.detach(attached.id).unwrap();
    catalog.execute("UPDATE kept SET pid_namespace = 1, start_time = 1", ()).unwrap();
    for (table, kept) in [("attachment", "kept"), ("lease", "kept_lease"), ("image_lease", "kept_image")] {
        catalog.execute(&format!("INSERT INTO {table} SELECT * FROM {kept}"), ()).unwrap();
    }
    catalog.execute_batch(change).unwrap();
    (home, catalog)
}

fn is_free(home: &Home, takes: Takes) -> bool {
    match takes(home) {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::VolumeInUse, "{error}");
            assert_eq!(error.context().sandboxes, ["container"], "{error}");
            false
        }
    }
}

/// Each way to take a disk that has no holder.
type Takes = fn(&Home) -> Result<(), Error>;

const TAKES: [Takes; 3] = [
    |home| home.attach("next", &[existing("data")]).map(drop),
    |home| home.attach("next", &[existing_with("data", json!({ "readonly": true }))]).map(drop),
    |home| home.store.remove(&name("data"), &CancelToken::default()),
];

#[test]
fn a_disk_whose_holder_was_killed_in_a_container_can_be_had_again() {
    for takes in TAKES {
        let (home, catalog) = killed_in_a_container("");
        assert!(is_free(&home, takes));
        let left = "SELECT count(*) FROM attachment WHERE sandbox = 'container'";
        assert_eq!(catalog.query_row(left, (), |row| row.get::<_, i64>(0)).unwrap(), 0);
    }
}

#[test]
fn a_disk_whose_holder_may_be_without_its_locks_is_held() {
    let given_on = "UPDATE attachment SET pid = pid + 1";
    let of_an_earlier_release = "UPDATE attachment SET keeps_locks = 0";
    let of_another_image = "UPDATE image_lease SET inode = inode + 1";
    for takes in TAKES {
        for change in [given_on, of_an_earlier_release] {
            let (home, _) = killed_in_a_container(change);
            assert!(!is_free(&home, takes), "{change}");
        }
    }
    // The file that the holder has locked was replaced.
    let (home, _) = killed_in_a_container(of_another_image);
    assert!(!is_free(&home, TAKES[2]));
}

#[test]
fn a_disk_that_a_holder_in_a_container_has_locked_is_held() {
    for takes in TAKES {
        for byte in [None, Some(301)] {
            let (home, _) = killed_in_a_container("");
            let image =
                File::options().read(true).write(true).open(home.path("volumes/data/disk.raw")).unwrap();
            match byte {
                None => image.try_lock().unwrap(),
                Some(byte) => lock_byte(&image, byte),
            }
            assert!(!is_free(&home, takes), "{byte:?}");
            drop(image);
            assert!(is_free(&home, takes), "{byte:?}");
        }
    }
}

#[test]
fn only_an_attachment_of_the_process_that_has_the_locks_says_so() {
    let home = Home::new();
    let catalog = Connection::open(home.path("db/volumes.db")).unwrap();
    let keeps = || catalog.query_row("SELECT keeps_locks FROM attachment", (), |row| row.get::<_, bool>(0));
    let sleeper = IdleProcess::start();
    let attached = home.attach("worker", &[create_disk("data")]).unwrap();
    assert_eq!(keeps(), Ok(true));
    home.store.hand_over(attached.id, sleeper.pid(), &CancelToken::default()).unwrap();
    assert_eq!(keeps(), Ok(false));
    home.store.detach(attached.id).unwrap();
    home.attach_for("worker", &[existing("data")], Some(sleeper.pid())).unwrap();
    assert_eq!(keeps(), Ok(false));
}

#[test]
fn a_disk_that_this_process_attached_for_one_that_ended_can_be_had_again() {
    let home = Home::new();
    let mut sleeper = IdleProcess::start();
    home.attach_for("worker", &[create_disk("data")], Some(sleeper.pid())).unwrap();
    sleeper.end();
    home.attach("next", &[existing("data")]).unwrap();
}

#[test]
fn a_holder_that_cannot_be_looked_at_for_want_of_descriptors_still_holds() {
    in_child(|| {
        let home = Home::new();
        home.attach("worker", &[create("data")]).unwrap();
        let remove = || home.store.remove(&name("data"), &CancelToken::default()).unwrap_err();
        setrlimit(Resource::RLIMIT_NOFILE, 256, 256).unwrap();
        let mut taken = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        // With ever more descriptors to spare, removal gets as far as looking for the holder, and then past it.
        for _ in 0..16 {
            taken.pop();
            remove();
        }
        drop(taken);
        assert_eq!(holders(&home, "data"), ["worker"]);
    });
}
