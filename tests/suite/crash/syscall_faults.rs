//! Kills a process before each system call with which an operation changes files.
//!
//! An operation is watched once by strace. Then it runs again for each such call of its own, and is killed before that
//! call. After each kill, this process looks over what is left. Then once more, with each call refused instead, as a
//! full or a broken disk refuses it.

use crate::crash::audit::{Audit, Ending};
use crate::crash::traced::{ACKNOWLEDGED, REFUSED, may_attach, run};
use crate::crash::work;
use crate::crash::work::Work;
use crate::support::btrfs::Btrfs;
use crate::support::mount_namespace::enter_namespace;
use crate::support::private::Private;
use crate::support::report::report;
use crate::support::skip::skip;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use sandbox_volumes::model::Labels;
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// Every system call that changes a file, a directory, what is on disk of them, or a mount. Of those that open files
/// only the ones that may make one are killed.
const CHANGING: &str = "mkdir,mkdirat,mknod,mknodat,open,openat,openat2,creat,write,writev,pwrite64,pwritev,pwritev2,\
                        ftruncate,truncate,fallocate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,\
                        unlinkat,rmdir,chmod,fchmod,fchmodat,chown,fchown,fchownat,setxattr,fsetxattr,copy_file_range,\
                        sendfile,fsync,fdatasync,sync_file_range,ioctl,open_tree,mount_setattr,move_mount,fsopen,\
                        fsconfig,fsmount,umount2";

/// What makes or removes the volume, and nothing else.
const CHANGING_VOLUMES: [Work; 7] = [
    Work::CreateDirectory,
    Work::CreateRawDisk,
    Work::CreateQcow2Disk,
    Work::RemoveDirectory,
    Work::RemoveDisk,
    Work::RemoveInPlace,
    Work::RemoveWithoutIdFile,
];

/// A call that meets its fate: the n-th of that name in its thread, for strace counts each by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    call: String,
    nth: usize,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Killed,
    /// Killed, and then microsandbox creates a volume of that name if it can.
    Replaced,
    Refused,
}

fn fail_each_call(work: Work) {
    fail_each_call_in(&std::env::temp_dir(), work);
}

/// The same with its homes in a directory.
fn fail_each_call_in(dir: &Path, work: Work) {
    if !may_attach() {
        return skip("strace is missing, or may not attach to another process here");
    }
    let points = points(dir, work);
    for fate in [Fate::Killed, Fate::Replaced, Fate::Refused] {
        if fate == Fate::Replaced && !work.removes() {
            continue;
        }
        let mut missed = 0;
        for (at, point) in points.iter().enumerate() {
            // As a broken disk and as a full one, in turns.
            let error = ["EIO", "ENOSPC"][at % 2];
            missed += usize::from(!meets(dir, work, point, fate, error));
        }
        let hit = points.len() - missed;
        report(format_args!("{fate:?} at {hit} points, 0 damaged"));
        assert!(hit > missed && hit > 20, "hardly any call was hit: {hit}, and {missed} missed");
    }
}

/// Does the work with one call meeting its fate, and looks over what is left; false where the call was not made.
fn meets(dir: &Path, work: Work, Point { call, nth }: &Point, fate: Fate, error: &str) -> bool {
    let audit = Audit::prepare(dir, work);
    // Another process that has the home open, and does not open it again.
    let observer = observer_of(&audit, work);
    let inject = match fate {
        Fate::Killed | Fate::Replaced => format!("inject={call}:signal=SIGKILL:when={nth}"),
        Fate::Refused => format!("inject={call}:error={error}:when={nth}"),
    };
    let said = run(
        work,
        Durability::Full,
        &audit.home,
        &["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject],
    );
    let acknowledged = said.as_deref() == Some(ACKNOWLEDGED);
    let about = format!("{fate:?} at {call} {nth} ({error}), and it said {said:?}");
    // Where several threads share the work, a thread may make fewer calls this time.
    let is_killed = fate != Fate::Refused;
    let survived = is_killed && said.is_some();
    let is_shared = matches!(work, Work::Copy | Work::CopyIn | Work::CopyOut);
    assert!(!survived || is_shared, "{about}");
    assert!(is_killed || acknowledged || said.is_some_and(|it| it.starts_with(REFUSED)), "{about}");
    if let Some(observer) = observer.filter(|_| is_killed) {
        if fate == Fate::Replaced {
            assert_keeps_next_volume(&audit.home, &observer, &about);
        }
        assert_settles(&audit.home, &observer, *nth, &about);
    }
    let refused = !acknowledged && fate == Fate::Refused;
    audit.look_over(work, Ending { acknowledged, refused, power_cut: false }, &about);
    !survived
}

/// Holds that what microsandbox creates, where it finds no directory of that name, is not taken for what was being
/// removed.
fn assert_keeps_next_volume(home: &Path, store: &Store, about: &str) {
    let root = home.join("volumes").join(work::VOLUME);
    if fs::create_dir(&root).is_err() {
        return;
    }
    fs::write(root.join("file"), "theirs").unwrap();
    store.list(&Labels::default(), &CancelToken::default()).unwrap();
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "theirs", "{about}");
    fs::remove_dir_all(&root).unwrap();
}

/// Holds that the first call on the name in a home that is open settles what was left, whichever call it is.
fn assert_settles(home: &Path, store: &Arc<Store>, first: usize, about: &str) {
    let cancel = CancelToken::default;
    let is_listed = || {
        let listed = store.list(&Labels::default(), &cancel()).unwrap();
        listed.iter().any(|volume| volume.record.name.as_str() == work::VOLUME)
    };
    match first % 4 {
        0 => drop(store.get(&work::name(work::VOLUME), &cancel())),
        1 => drop(is_listed()),
        2 => drop(store.files(&work::name(work::VOLUME)).exists("file")),
        _ => drop(store.files(&work::name(work::VOLUME)).prepare_write()),
    }
    let catalog = Connection::open(home.join("db/volumes.db")).unwrap();
    let intents: i64 = catalog.query_row("SELECT count(*) FROM intent", (), |row| row.get(0)).unwrap();
    assert_eq!(intents, 0, "{about}");
    let is_there = store.get(&work::name(work::VOLUME), &cancel()).is_ok();
    assert_eq!(is_listed(), is_there, "{about}");
    let created = work::create(store, work::VOLUME, json!({}));
    assert_eq!(created.is_err(), is_there, "{about}: {created:?}");
    if !is_there {
        store.remove(&work::name(work::VOLUME), &cancel()).unwrap();
    }
}

/// A store that has the home open all the while, if the work makes or removes a volume and nothing else.
fn observer_of(audit: &Audit, work: Work) -> Option<Arc<Store>> {
    CHANGING_VOLUMES.contains(&work).then(|| work::open(&audit.home).unwrap())
}

/// The calls of the work.
fn points(dir: &Path, work: Work) -> BTreeSet<Point> {
    let audit = Audit::prepare(dir, work);
    // While another process has the home open, SQLite makes fewer calls.
    let _observer = observer_of(&audit, work);
    let log = audit.dir.path().join("trace.log");
    let trace = format!("trace={CHANGING}");
    let said = run(work, Durability::Full, &audit.home, &["-y", "-e", &trace, "-o", log.to_str().unwrap()]);
    assert_eq!(said.as_deref(), Some(ACKNOWLEDGED));
    let ending = Ending { acknowledged: true, refused: false, power_cut: false };
    audit.look_over(work, ending, "nothing happened");
    let log = fs::read_to_string(log).unwrap();
    let (mut counts, mut points) = (HashMap::new(), BTreeSet::new());
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        if call.starts_with('<') {
            // The rest of a call during which another thread made one.
            continue;
        }
        let nth = counts.entry((thread, call)).or_insert(0);
        *nth += 1;
        let speaks = arguments.starts_with("2<") || arguments.starts_with("1<");
        if !speaks && (!call.starts_with("open") || arguments.contains("O_CREAT")) {
            points.insert(Point { call: call.to_owned(), nth: *nth });
        }
    }
    points
}

#[test]
fn case_24_making_a_directory_volume() {
    fail_each_call(Work::CreateDirectory);
}

#[test]
fn case_24_making_a_volume_in_a_home_that_is_made_for_it() {
    fail_each_call(Work::CreateInNewHome);
}

#[test]
fn case_24_making_a_raw_disk_volume() {
    fail_each_call(Work::CreateRawDisk);
}

#[test]
fn case_24_making_a_qcow2_disk_volume() {
    fail_each_call(Work::CreateQcow2Disk);
}

#[test]
fn case_25_removing_a_directory_volume() {
    fail_each_call(Work::RemoveDirectory);
}

#[test]
fn case_25_removing_a_disk_volume() {
    fail_each_call(Work::RemoveDisk);
}

#[test]
fn case_52_removing_a_volume_of_a_lower_overlay_layer() {
    if !enter_namespace() {
        return;
    }
    let Some(private) = Private::new() else { return };
    fail_each_call_in(private.path(), Work::RemoveInPlace);
}

#[test]
fn case_52_an_emptied_root_that_is_written_into_is_emptied_again() {
    if !may_attach() {
        return skip("strace is missing, or may not attach to another process here");
    }
    if !enter_namespace() {
        return;
    }
    let Some(private) = Private::new() else { return };
    let audit = Audit::prepare(private.path(), Work::RemoveInPlace);
    let log = audit.dir.path().join("trace.log");
    // Six calls are made for the directories of the home, and then one for the directory that replaces the root.
    let inject = "inject=mkdirat:signal=SIGSTOP:when=7";
    let strace = ["-o", log.to_str().unwrap(), "-e", "trace=mkdirat,renameat", "-e", inject];
    let said = thread::scope(|scope| {
        scope.spawn(|| {
            let stopped = stopped_process(&log);
            fs::write(audit.home.join("volumes").join(work::VOLUME).join("refill"), "late").unwrap();
            kill_process(stopped, Signal::CONT).unwrap();
        });
        run(Work::RemoveInPlace, Durability::Full, &audit.home, &strace)
    });
    assert!(fs::read_to_string(&log).unwrap().contains("ENOTEMPTY"), "it was not written into in time");
    assert_eq!(said.as_deref(), Some(ACKNOWLEDGED));
    let ending = Ending { acknowledged: true, refused: false, power_cut: false };
    audit.look_over(Work::RemoveInPlace, ending, "written into");
}

/// Waits until strace reports that a process is stopped, and returns its ID.
fn stopped_process(log: &Path) -> Pid {
    loop {
        let lines = fs::read_to_string(log).unwrap_or_default();
        let stopped = lines.lines().find(|line| line.contains("--- stopped by SIGSTOP ---"));
        let process = stopped.and_then(|line| line.split_whitespace().next()?.parse().ok());
        if let Some(process) = process.and_then(Pid::from_raw) {
            return process;
        }
        thread::yield_now();
    }
}

#[test]
fn case_25_removing_a_volume_without_an_id_file() {
    fail_each_call(Work::RemoveWithoutIdFile);
}

#[test]
fn case_26_writing_a_file_atomically() {
    fail_each_call(Work::WriteAtomically);
}

#[test]
fn case_26_writing_a_file_over() {
    fail_each_call(Work::Overwrite);
}

#[test]
fn case_28_replacing_a_file_in_a_volume_that_the_kernel_limits() {
    let Some(btrfs) = Btrfs::with_quotas() else { return };
    fail_each_call_in(btrfs.path(), Work::ReplaceLimited);
}

#[test]
fn making_directories_and_a_file_in_them() {
    fail_each_call(Work::WriteNew);
}

#[test]
fn making_many_directories_and_a_file_in_them() {
    fail_each_call(Work::WriteDeep);
}

#[test]
fn adding_to_a_file() {
    fail_each_call(Work::Append);
}

#[test]
fn streaming_into_a_new_file() {
    fail_each_call(Work::Stream);
}

#[test]
fn case_26_streaming_into_a_file_atomically() {
    fail_each_call(Work::StreamAtomically);
}

#[test]
fn streaming_behind_what_is_there() {
    fail_each_call(Work::StreamAppending);
}

#[test]
fn renaming_a_file() {
    fail_each_call(Work::Rename);
}

#[test]
fn copying_a_tree_within_a_volume() {
    fail_each_call(Work::Copy);
}

#[test]
fn copying_a_tree_into_a_volume() {
    fail_each_call(Work::CopyIn);
}

#[test]
fn copying_a_tree_out_of_a_volume() {
    fail_each_call(Work::CopyOut);
}

#[test]
fn attaching_with_a_volume_that_is_made_for_it() {
    fail_each_call(Work::Attach);
}

#[test]
fn detaching() {
    fail_each_call(Work::Detach);
}

#[test]
fn mounting_on_the_host_and_unmounting() {
    if enter_namespace() {
        fail_each_call(Work::MountInto);
    }
}

#[test]
fn opening_a_home_in_which_others_died() {
    fail_each_call(Work::Recover);
}
