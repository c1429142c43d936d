//! Files on which another process, as a guest, holds a lease.

use crate::support::skip;
use crate::support::volume::Volume;
use sandbox_volumes::error::{ErrorKind, Result};
use sandbox_volumes::model::VolumePath;
use sandbox_volumes::store::{AppendOptions, ReadRange, TransferOptions, WriteFrom, WriteOptions};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

/// Takes a lease and says so, says when the kernel asks to release it, and releases it on request.
const HOLDER: &str = "
import fcntl, os, signal, sys, threading
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
def say_when_asked():
    signal.sigwait([signal.SIGIO])
    os.write(1, b'asked\\n')
threading.Thread(target=say_when_asked, daemon=True).start()
write = sys.argv[2] == 'write'
fd = os.open(sys.argv[1], os.O_RDWR if write else os.O_RDONLY)
try:
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK if write else fcntl.F_RDLCK)
except OSError as error:
    os.write(1, ('refused: %s\\n' % error).encode())
    sys.exit()
os.write(1, b'held\\n')
sys.stdin.readline()
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
sys.stdin.readline()
";

/// A process that holds a lease.
struct Holder {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Holder {
    /// Returns `None` if this file system knows no leases.
    fn of(file: &Path, kind: &str) -> Option<Self> {
        let mut child = Command::new("python3")
            .args(["-c", HOLDER])
            .arg(file)
            .arg(kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut holder = Holder { child, input, output };
        (holder.line() == "held\n").then_some(holder)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// Waits until the kernel asks for the lease.
    fn until_asked(&mut self) {
        assert_eq!(self.line(), "asked\n");
    }

    fn give_up(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Every operation that opens a file `f`, whether it only reads it, and what is in the file thereafter.
type Operation = (&'static str, bool, fn(&Volume, &CancelToken) -> Result<()>);

const OPERATIONS: [Operation; 9] = [
    ("read", true, |volume, cancel| {
        volume.files.open_with("f", cancel)?.read(cancel).map(|read| assert_eq!(read, b"old"))
    }),
    ("open_reader", true, |volume, cancel| {
        volume.files.open_reader_with("f", ReadRange::default(), cancel).map(drop)
    }),
    ("copy", true, |volume, cancel| volume.files.copy("f", "copied", cancel).map(drop)),
    ("copy of a tree", true, |volume, cancel| volume.files.copy("dir", "copies", cancel).map(drop)),
    ("copy_in", true, |volume, cancel| {
        let host = volume.files.root().join("../../outside/f");
        volume.files.copy_in(&host, "copied in", TransferOptions::default(), cancel).map(drop)
    }),
    ("copy_out", true, |volume, cancel| {
        let host = volume.outside.join("out");
        volume.files.copy_out("f", &host, TransferOptions::default(), cancel).map(drop)
    }),
    ("write", false, |volume, cancel| volume.files.write("f", b"new", WriteOptions::default(), cancel)),
    ("append", false, |volume, cancel| volume.files.append("f", b"new", AppendOptions::default(), cancel)),
    ("open_writer", false, |volume, cancel| {
        let (options, from) = (WriteOptions::default(), WriteFrom::Empty);
        volume.files.open_writer("f", options, from, cancel).map(drop)
    }),
];

/// The file that an operation opens.
fn file_of(volume: &Volume, operation: &str) -> std::path::PathBuf {
    match operation {
        "copy of a tree" => volume.files.root().join("dir/f"),
        "copy_in" => volume.outside.join("f"),
        _ => volume.files.root().join("f"),
    }
}

fn planted(options: serde_json::Value) -> Volume {
    let volume = Volume::new(options);
    fs::create_dir(volume.files.root().join("dir")).unwrap();
    for file in [volume.files.root().join("f"), volume.files.root().join("dir/f"), volume.outside.join("f")] {
        fs::write(file, "old").unwrap();
    }
    volume
}

/// Runs `check` for each operation and each kind of lease that it has to wait for.
fn for_each_lease(check: impl Fn(&Volume, &mut Holder, &Operation)) {
    for options in [json!({}), json!({ "quotaMib": 8 })] {
        for operation in &OPERATIONS {
            let (name, only_reads, _) = operation;
            for kind in ["write", "read"] {
                if kind == "read" && *only_reads {
                    continue;
                }
                let volume = planted(options.clone());
                let Some(mut holder) = Holder::of(&file_of(&volume, name), kind) else {
                    return skip::skip("this file system knows no leases");
                };
                check(&volume, &mut holder, operation);
            }
        }
    }
}

#[test]
fn case_70_an_operation_waits_until_a_lease_is_given_up() {
    for_each_lease(|volume, holder, (name, _, operation)| {
        thread::scope(|scope| {
            let running = scope.spawn(|| operation(volume, &CancelToken::default()));
            holder.until_asked();
            holder.give_up();
            running.join().unwrap().unwrap_or_else(|error| panic!("{name}: {error}"));
        });
    });
}

#[test]
fn case_70_an_operation_that_waits_for_a_lease_can_be_cancelled() {
    for_each_lease(|volume, holder, (name, _, operation)| {
        let cancel = CancelToken::default();
        thread::scope(|scope| {
            let running = scope.spawn(|| operation(volume, &cancel));
            holder.until_asked();
            assert!(cancel.cancel(), "{name}");
            assert_eq!(running.join().unwrap().unwrap_err().kind(), ErrorKind::Aborted, "{name}");
        });
        holder.give_up();
        let root = volume.files.root();
        assert_eq!(fs::read_to_string(root.join("f")).unwrap(), "old", "{name}");
        for made in ["copied", "copies", "copied in"] {
            assert!(!root.join(made).exists(), "{name}");
        }
    });
}

#[test]
fn case_70_a_write_that_begins_again_waits_for_a_lease_without_its_turn() {
    let volume = planted(json!({}));
    let (at, cancel) = (volume.files.root().join("f"), CancelToken::default());
    let begin = || {
        let prepared = volume.files.prepare_write().unwrap();
        prepared.begin_write(&VolumePath::parse("f").unwrap(), 3, WriteOptions::default(), &cancel).unwrap()
    };
    let mut writes = [begin(), begin()];
    fs::remove_file(&at).unwrap();
    fs::write(&at, "another").unwrap();
    let Some(mut holder) = Holder::of(&at, "write") else {
        return skip::skip("this file system knows no leases");
    };
    for write in &mut writes {
        let refused = write.try_take_turn().unwrap_err();
        assert_eq!(refused.code(), "EAGAIN");
        write.pause_after(refused).unwrap();
    }
    holder.give_up();
    for mut write in writes {
        while let Err(refused) = write.try_take_turn() {
            thread::sleep(write.pause_after(refused).unwrap());
        }
        write.write(b"new").unwrap();
        write.finish().unwrap();
    }
    assert_eq!(fs::read_to_string(&at).unwrap(), "new");
}
