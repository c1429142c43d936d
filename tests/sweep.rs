//! A process that dies before any one of the system calls with which an operation changes files.
//!
//! An operation is watched once by strace. Then it runs again for each such call of its own, and is killed before that
//! call. After each kill, this process looks over what is left. Then once more, with each call refused instead, as a full or
//! a broken disk refuses it.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

#[path = "sweep/audit.rs"]
mod audit;
#[path = "support/loop_devices.rs"]
mod loop_devices;
#[path = "support/mount_list.rs"]
mod mount_list;
#[path = "support/mount_namespace.rs"]
mod mount_namespace;
#[path = "support/report.rs"]
mod report;
#[path = "support/skip.rs"]
mod skip;
#[path = "support/snapshot.rs"]
mod snapshot;
#[path = "sweep/work.rs"]
mod work;
#[path = "support/worker.rs"]
mod worker;

use audit::Audit;
use mount_namespace::enter_namespace;
use report::report;
use skip::skip;
use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use work::Work;
use worker::Worker;

/// Every system call that changes a file, a directory, what is on disk of them, or a mount. Of those that open files only the
/// ones that may make one are killed.
const CHANGING: &str = "mkdir,mkdirat,mknod,mknodat,open,openat,openat2,creat,write,writev,pwrite64,pwritev,pwritev2,\
                        ftruncate,truncate,fallocate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,\
                        unlinkat,rmdir,chmod,fchmod,fchmodat,chown,fchown,fchownat,setxattr,fsetxattr,copy_file_range,\
                        sendfile,fsync,fdatasync,sync_file_range,ioctl,open_tree,mount_setattr,move_mount,fsopen,\
                        fsconfig,fsmount,umount2";

/// What the process that does the work says when it was acknowledged, and when it gave an error.
const ACKNOWLEDGED: &str = "acknowledged";
const REFUSED: &str = "refused";

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
    Refused,
}

/// Runs the work in a process of its own, under strace with these arguments, and gives what the process said in the
/// end; nothing where it was killed. Strace comes when the process is ready, so that nothing but the work is counted.
fn run(work: Work, home: &Path, strace: &[&str]) -> Option<String> {
    let mut worker = Worker::start("worker_that_is_swept", home);
    let ready = worker.answer().unwrap();
    let mut tracer = attach(&ready, strace).unwrap();
    worker.order(&format!("{work:?}"));
    let said = worker.answer();
    worker.process.wait().unwrap();
    tracer.wait().unwrap();
    said
}

/// Strace, attached to a process; none where it may not.
fn attach(process: &str, arguments: &[&str]) -> Option<Child> {
    let mut command = Command::new("strace");
    let mut tracer =
        command.args(["-f", "-p", process]).args(arguments).stderr(Stdio::piped()).spawn().ok()?;
    let said = BufReader::new(tracer.stderr.as_mut()?).lines().next()?.ok()?;
    said.contains("attached").then_some(tracer)
}

fn may_attach() -> bool {
    let mut sleeper = Command::new("sleep").arg("600").spawn().unwrap();
    let tracer = attach(&sleeper.id().to_string(), &["-o", "/dev/null"]);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    tracer.is_some_and(|mut tracer| tracer.wait().is_ok())
}

fn sweep(work: Work) {
    if !may_attach() {
        return skip("strace is missing, or may not attach to another process here");
    }
    let points = points(work);
    for fate in [Fate::Killed, Fate::Refused] {
        let mut missed = 0;
        for (at, point) in points.iter().enumerate() {
            // As a broken disk and as a full one, in turns.
            let error = ["EIO", "ENOSPC"][at % 2];
            missed += usize::from(!meets(work, point, fate, error));
        }
        let swept = points.len() - missed;
        report(format_args!("{fate:?} at {swept} points, 0 damaged"));
        assert!(swept > missed && swept > 20, "hardly anything was swept: {swept}, and {missed} missed");
    }
}

/// Does the work with one call meeting its fate, and looks over what is left; false where the call was not made.
fn meets(work: Work, Point { call, nth }: &Point, fate: Fate, error: &str) -> bool {
    let audit = Audit::prepare(work);
    let inject = match fate {
        Fate::Killed => format!("inject={call}:signal=SIGKILL:when={nth}"),
        Fate::Refused => format!("inject={call}:error={error}:when={nth}"),
    };
    let said = run(work, audit.home(), &["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
    let acknowledged = said.as_deref() == Some(ACKNOWLEDGED);
    let about = format!("{fate:?} at {call} {nth} ({error}), and it said {said:?}");
    // Where several threads share the work, a thread may make fewer calls this time.
    let survived = fate == Fate::Killed && said.is_some();
    assert!(!survived || work == Work::CopyIn, "{about}");
    assert!(
        fate == Fate::Killed || acknowledged || said.is_some_and(|it| it.starts_with(REFUSED)),
        "{about}"
    );
    audit.look_over(work, acknowledged, fate == Fate::Refused, &about);
    !survived
}

/// The calls of the work.
fn points(work: Work) -> BTreeSet<Point> {
    let audit = Audit::prepare(work);
    let log = audit.beside("trace.log");
    let trace = format!("trace={CHANGING}");
    let said = run(work, audit.home(), &["-y", "-e", &trace, "-o", log.to_str().unwrap()]);
    assert_eq!(said.as_deref(), Some(ACKNOWLEDGED));
    audit.look_over(work, true, false, "nothing happened");
    let log = std::fs::read_to_string(log).unwrap();
    let (mut counts, mut points) = (HashMap::new(), BTreeSet::new());
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
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
#[ignore = "a worker that the sweeps start as a second process"]
fn worker_that_is_swept() {
    let Some(home) = worker::home() else { return };
    worker::say(std::process::id().to_string());
    let Some(work) = worker::orders().next() else { return };
    worker::say(match Work::of(&work).do_it(&home) {
        Ok(()) => ACKNOWLEDGED.to_owned(),
        Err(error) => format!("{REFUSED}: {} {error}", error.code()),
    });
}

#[test]
fn case_24_making_a_directory_volume() {
    sweep(Work::CreateDirectory);
}

#[test]
fn case_24_making_a_raw_disk_volume() {
    sweep(Work::CreateRawDisk);
}

#[test]
fn case_24_making_a_qcow2_disk_volume() {
    sweep(Work::CreateQcow2Disk);
}

#[test]
fn case_25_removing_a_directory_volume() {
    sweep(Work::RemoveDirectory);
}

#[test]
fn case_25_removing_a_disk_volume() {
    sweep(Work::RemoveDisk);
}

#[test]
fn case_26_writing_a_file_atomically() {
    sweep(Work::WriteAtomically);
}

#[test]
fn copying_a_tree_into_a_volume() {
    sweep(Work::CopyIn);
}

#[test]
fn attaching_with_a_volume_that_is_made_for_it() {
    sweep(Work::Attach);
}

#[test]
fn detaching() {
    sweep(Work::Detach);
}

#[test]
fn mounting_on_the_host_and_unmounting() {
    if enter_namespace() {
        sweep(Work::MountInto);
    }
}

#[test]
fn opening_a_home_in_which_others_died() {
    sweep(Work::Recover);
}
