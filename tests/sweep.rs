//! A process that dies before any one of the system calls with which an operation changes files.
//!
//! An operation is watched once by strace. Then it runs again for each such call of its own, and is killed before that
//! call. After each kill, this process looks over what is left.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

#[path = "sweep/audit.rs"]
mod audit;
#[path = "support/report.rs"]
mod report;
#[path = "support/skip.rs"]
mod skip;
#[path = "support/snapshot.rs"]
mod snapshot;
#[path = "sweep/work.rs"]
mod work;

use audit::Audit;
use report::report;
use skip::skip;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use work::Work;

/// Every system call that changes a file, a directory, or what is on disk of them. Of those that open files only the
/// ones that may make one are killed.
const CHANGING: &str = "mkdir,mkdirat,mknod,mknodat,open,openat,openat2,creat,write,writev,pwrite64,pwritev,pwritev2,\
                        ftruncate,truncate,fallocate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,\
                        unlinkat,rmdir,chmod,fchmod,fchmodat,chown,fchown,fchownat,setxattr,fsetxattr,copy_file_range,\
                        sendfile,fsync,fdatasync,sync_file_range";

/// Set within a process that does the work.
const HOME: &str = "SANDBOX_VOLUMES_SWEEP_HOME";

/// What such a process says when its operation was acknowledged.
const ACKNOWLEDGED: &str = "acknowledged";

/// A call to be killed before: the n-th of that name in its thread, for strace counts each by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    call: String,
    nth: usize,
}

/// Runs the work in a process of its own, under strace with these arguments.
fn run(work: Work, home: &Path, strace: &[&str]) -> Output {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).args(strace).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(HOME, home).env(Work::NAME, format!("{work:?}"));
    command.stdin(Stdio::null()).output().unwrap()
}

fn sweep(work: Work) {
    let probe = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        return skip("strace is missing, or may not trace here");
    }
    let points = points(work);
    let mut missed = 0;
    for Point { call, nth } in &points {
        let audit = Audit::prepare(work);
        let inject = format!("inject={call}:signal=SIGKILL:when={nth}");
        let output =
            run(work, audit.home(), &["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
        // Where several threads share the work, a thread may make fewer calls this time.
        let survived = output.status.success();
        assert!(!survived || work == Work::CopyIn, "{call} {nth}: it was not killed");
        missed += usize::from(survived);
        let said = String::from_utf8_lossy(&output.stderr).contains(ACKNOWLEDGED);
        audit.look_over(work, said, &format!("{call} {nth}"));
    }
    let swept = points.len() - missed;
    report(format_args!("killed at {swept} points, 0 damaged"));
    assert!(swept > missed && swept > 20, "hardly anything was swept: {swept}, and {missed} missed");
}

/// The calls of the work, from the first that names the home on: before it, nothing can break.
fn points(work: Work) -> BTreeSet<Point> {
    let audit = Audit::prepare(work);
    let log = audit.beside("trace.log");
    let trace = format!("trace={CHANGING}");
    let output = run(work, audit.home(), &["-y", "-e", &trace, "-o", log.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    audit.look_over(work, true, "nothing");
    let log = std::fs::read_to_string(log).unwrap();
    let home = audit.home().to_str().unwrap();
    let (mut counts, mut points, mut begun) = (HashMap::new(), BTreeSet::new(), false);
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        let nth = counts.entry((thread, call)).or_insert(0);
        *nth += 1;
        begun |= arguments.contains(home);
        let opens = call.starts_with("open");
        let speaks =
            arguments.contains(ACKNOWLEDGED) || arguments.starts_with("2<") || arguments.starts_with("1<");
        if begun && !speaks && (!opens || arguments.contains("O_CREAT")) {
            points.insert(Point { call: call.to_owned(), nth: *nth });
        }
    }
    points
}

#[test]
#[ignore = "a worker that the sweeps start as a second process"]
fn worker() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let work = Work::of(&std::env::var(Work::NAME).unwrap());
    work.do_it(Path::new(&home));
    eprintln!("{ACKNOWLEDGED}");
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
fn opening_a_home_in_which_others_died() {
    sweep(Work::Recover);
}
