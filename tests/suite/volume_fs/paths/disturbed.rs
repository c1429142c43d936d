//! Lookups that are disturbed for ever: `openat2` always fails with `EAGAIN`.

use super::call;
use super::table::{prepared, table};
use crate::support::openat2;
use crate::support::read_only::in_read_only_namespace;
use crate::support::snapshot::Snapshot;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OpenHow};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Far longer than any bounded number of retries takes on a busy machine.
const LONG_ENOUGH: Duration = Duration::from_secs(120);

/// How often a faulty call tries before the test takes it to hang.
const TOO_OFTEN: u32 = 100_000;

/// A call that is disturbed for ever ends with `EBUSY`.
fn check(call: impl FnOnce() -> Result<Value, String> + Send + 'static) -> Result<(), String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(call()));
    match receiver.recv_timeout(LONG_ENOUGH) {
        Err(_) => Err("it hangs".to_owned()),
        Ok(Err(code)) if code == "EBUSY" => Ok(()),
        Ok(result) => Err(format!("{result:?}")),
    }
}

#[test]
fn case_18_within_a_lookup_that_is_disturbed_for_ever_all_is_told_or_busy() {
    if !openat2::fails() {
        return;
    }
    let volume = Arc::new(prepared(&table()));
    let run = |method: &str, path: &str| call(&volume.files, method, path).map_err(|error| error.code());
    let outside = Snapshot::of(&volume.outside);
    assert_eq!(run("read", "a/../f"), Ok(json!("file")));
    assert_eq!(run("read", "out-dir/inner.txt"), Err("ERR_PATH_ESCAPE".to_owned()));
    assert_eq!(run("writeAtomic", "out-file"), Err("ERR_PATH_ESCAPE".to_owned()));
    for method in ["removeAll", "copyFrom"] {
        let volume = volume.clone();
        check(move || call(&volume.files, method, "full").map_err(|error| error.code())).unwrap();
    }
    assert_eq!(Snapshot::of(&volume.outside), outside);
}

/// Asks until it is answered, or so often at most.
fn faulty(most: u32) -> Result<Value, String> {
    for asked in 1.. {
        match nix::fcntl::openat2(AT_FDCWD, "/", OpenHow::new()) {
            Err(Errno::EAGAIN) if asked < most => {}
            Err(errno) => return Err(format!("{errno:?}, asked {asked} times")),
            Ok(_) => break,
        }
    }
    Ok(Value::Null)
}

#[test]
fn case_18_within_a_lookup_that_is_disturbed_for_ever_faulty_ones_hang_or_give_up() {
    if !openat2::fails() {
        return;
    }
    in_read_only_namespace(|| {
        for most in [1, TOO_OFTEN] {
            let asked = check(move || faulty(most));
            assert_eq!(asked, Err(format!("Err(\"EAGAIN, asked {most} times\")")));
        }
    });
}
