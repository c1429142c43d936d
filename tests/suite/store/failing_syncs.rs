//! A disk that fails to take something: what was refused is not there, and nothing stands in its way later.

use crate::support::child::current_test;
use crate::support::report::report;
use crate::support::skip::skip;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::{VolumeName, VolumeSpec};
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::process::{Command, Stdio};

/// Set within a process for which a sync fails.
const FAILING: &str = "SANDBOX_VOLUMES_SYNC_FAILS";

/// More syncs than opening a store and creating a volume take.
const MOST_SYNCS: usize = 40;

/// A process of this test alone, for which the `nth` sync of the disk fails.
fn run_where_one_sync_fails(nth: usize) -> std::io::Result<std::process::Output> {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"]);
    command.args(["-e", &format!("inject=fsync,fdatasync:error=EIO:when={nth}")]);
    command.arg(std::env::current_exe()?).args(["--exact", &current_test(), "--nocapture"]);
    command.env(FAILING, "1").stdin(Stdio::null()).output()
}

#[test]
fn a_creation_that_is_refused_leaves_nothing_and_can_be_tried_again() {
    if std::env::var_os(FAILING).is_some() {
        return create_once_and_again();
    }
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    if !traced.is_ok_and(|status| status.success()) {
        return skip("strace is missing, or may not trace here");
    }
    let mut refused = 0;
    for nth in 1..=MOST_SYNCS {
        let output = run_where_one_sync_fails(nth).unwrap();
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "sync {nth}: {said}");
        refused += usize::from(said.contains("creation refused"));
    }
    report(format_args!("{refused} of {MOST_SYNCS} syncs that failed had a creation refused"));
    assert!(refused >= 7, "a creation syncs an image, the directory, its place and the catalog");
}

/// Creates a directory and a disk where one sync fails, and where that is refused, looks at what is left.
fn create_once_and_again() {
    let home = tempfile::tempdir().unwrap();
    let Ok(store) = Store::open(home.path(), Durability::Full) else { return };
    create_and_look(&store, "dir", json!({}));
    create_and_look(&store, "disk", json!({ "kind": "disk", "sizeMib": 8 }));
}

fn create_and_look(store: &Store, name: &str, options: serde_json::Value) {
    let (name, spec) =
        (VolumeName::parse(name).unwrap(), VolumeSpec::from_options(&[options.into()]).unwrap());
    let create = || store.create(&name, &spec, &CancelToken::default());
    let get = || store.get(&name, &CancelToken::default());
    if create().is_err() {
        eprintln!("creation refused");
        assert_eq!(get().unwrap_err().kind(), ErrorKind::VolumeNotFound);
        create().unwrap();
    }
    get().unwrap();
}
