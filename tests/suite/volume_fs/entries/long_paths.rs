//! Directories that are made at the end of long paths.

use crate::support::child::in_child;
use crate::support::memory::memory_dir;
use crate::support::openat2;
use crate::support::report::report;
use crate::support::volume::Volume;
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::os::unix::fs::symlink;
use std::time::Duration;

/// How long this thread has worked, whatever else the machine is doing.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[test]
fn a_path_of_many_thousand_components_is_made_in_as_many_steps() {
    in_child(make_long_paths);
}

fn make_long_paths() {
    let volume = Volume::new_in(&memory_dir(), json!({}));
    symlink(".", volume.files.root().join("link")).unwrap();
    let time = |components: usize| {
        let path = format!("link/{}", vec![format!("d{components}"); components].join("/"));
        let start = worked();
        volume.files.mkdir(&path, &CancelToken::default()).unwrap();
        let took = worked() - start;
        assert!(volume.files.stat(&path, true).is_ok());
        volume.files.remove_all(format!("d{components}"), &CancelToken::default()).unwrap();
        took
    };
    time(1000);
    let best = |components| (0..3).map(|_| time(components)).min().unwrap();
    let (short, long) = (best(2_000), best(16_000));
    report(format_args!("2,000 components: {short:?}, 16,000: {long:?}"));
    // Eight times as many; were each to take as long as all before it, 64 times as long.
    assert!(long < short * 24, "{short:?} and {long:?}");
}

#[test]
fn a_path_that_climbs_many_hundred_times_is_made_in_as_many_steps() {
    in_child(make_climbing_paths);
}

fn make_climbing_paths() {
    let volume = Volume::new_in(&memory_dir(), json!({}));
    let time = |path: &str| {
        let start = worked();
        volume.files.mkdir(path, &CancelToken::default()).unwrap();
        let took = worked() - start;
        assert!(volume.files.exists("d/end").unwrap(), "{path}");
        volume.files.remove_all("d", &CancelToken::default()).unwrap();
        took
    };
    let to_and_fro = |count: usize| format!("{}d/end", "d/../".repeat(count));
    let down_and_up = |count: usize| format!("{}{}d/end", "d/".repeat(count), "../".repeat(count));
    for shape in [&to_and_fro as &dyn Fn(usize) -> String, &down_and_up] {
        let best = |count| (0..3).map(|_| time(&shape(count))).min().unwrap();
        let (short, long) = (best(100), best(800));
        report(format_args!("100 times: {short:?}, 800 times: {long:?}"));
        // Eight times as many; were each to take as long as all before it, 64 times as long.
        assert!(long < short * 24, "{short:?} and {long:?}");
    }
}

#[test]
fn case_18_a_climbing_path_is_made_so_where_openat2_is_missing() {
    openat2::run_where_it_fails(Errno::ENOSYS, &["that_climbs"]);
}
