//! Races operations with another process that swaps their directory, their file or the volume's root for a link
//! to outside, or moves their directory out of the volume, as fast as it can. An operation meets what is inside or
//! fails in an allowed way, and never gets out.
//!
//! `RACE_SECONDS` says how long each operation is raced, 2 s by default, and `RACE_WIDTH` how many of them at once,
//! 10 by default. `RACE_SECONDS=20 RACE_WIDTH=1` gives each the other process for itself.

mod fixture;
mod operation;
mod oracle;

use crate::faulty::{Check, FaultyVolume};
use crate::support::methods::Backend;
use crate::support::openat2;
use crate::support::read_only::in_read_only_namespace;
use crate::support::report::report;
use crate::support::snapshot::Snapshot;
use crate::support::swapper::{MAX_FILLED, Swapper};
use crate::support::volume::Volume;
use crate::support::watchdog::watched;
use nix::errno::Errno;
use operation::{Kind, LIMITED, OPERATIONS, Operation};
use oracle::{ALLOWED, MET_INSIDE, Who, race};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a faulty operation may take to get out. It is stopped once it has.
const LONG_ENOUGH: Duration = Duration::from_secs(180);

/// How much longer a race goes on that has not met what it must meet.
const UNTIL_MET: Duration = Duration::from_secs(120);

/// How long a harmless one is watched.
const A_MOMENT: Duration = Duration::from_millis(300);

fn setting(name: &str, default: f64) -> f64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn of_kind(kind: Kind) -> impl Iterator<Item = Operation> {
    OPERATIONS.iter().copied().filter(move |operation| operation.kind == kind)
}

fn race_seconds() -> Duration {
    Duration::from_secs_f64(setting("RACE_SECONDS", 2.0))
}

/// Races operations, of which none may get out or fail in another way than allowed, and each meets what is inside.
fn race_each(operations: impl Iterator<Item = Operation>, who: Who) {
    let operations: Vec<_> = operations.collect();
    for heat in operations.chunks(setting("RACE_WIDTH", 10.0) as usize) {
        for outcome in race(heat, race_seconds(), who) {
            let Operation { kind, method, path, .. } = outcome.operation;
            assert_eq!(outcome.ended_by, None, "{kind:?} {method}({path:?})");
            let has_met = outcome.seen.contains_key(MET_INSIDE);
            assert!(has_met, "{kind:?} {method}({path:?}) never met what is inside: {:?}", outcome.seen);
        }
    }
}

fn race_all(kind: Kind) {
    race_each(of_kind(kind), Who::Real);
}

/// The same in a volume with a quota, which is measured before something is written.
fn race_limited(kind: Kind) {
    race_each(of_kind(kind).filter(|operation| LIMITED.contains(&operation.method)), Who::Limited);
}

#[test]
fn case_15_a_directory_on_the_way_becomes_a_link() {
    race_all(Kind::MiddleBecomesLink);
}

#[test]
fn case_15_directories_of_a_tree_that_is_walked_become_links() {
    race_all(Kind::TreeGetsLinks);
}

#[test]
fn case_16_the_entry_itself_becomes_a_link() {
    race_all(Kind::LeafBecomesLink);
}

#[test]
fn case_17_a_directory_on_the_way_moves_out_of_the_volume() {
    race_all(Kind::MiddleMovesOut);
}

#[test]
fn case_17_directories_of_a_tree_that_is_walked_move_out_of_the_volume() {
    race_all(Kind::TreeMovesOut);
}

#[test]
fn case_21_the_root_becomes_a_link() {
    race_all(Kind::RootBecomesLink);
}

#[test]
fn case_15_a_directory_on_the_way_becomes_a_link_in_a_volume_with_a_quota() {
    race_limited(Kind::MiddleBecomesLink);
}

#[test]
fn case_16_the_entry_itself_becomes_a_link_in_a_volume_with_a_quota() {
    race_limited(Kind::LeafBecomesLink);
}

#[test]
fn case_21_the_root_becomes_a_link_in_a_volume_with_a_quota() {
    race_limited(Kind::RootBecomesLink);
}

/// Removes a volume whose root is swapped for a link to outside, again and again, until that fails as it must not.
fn remove_while_the_root_is_swapped(
    volume: &Volume,
    time: Duration,
    remove: impl Fn() -> Result<(), String>,
) -> Result<(), String> {
    let (root, stray) = (volume.files.root(), fixture::stray(volume));
    fs::create_dir(volume.outside.join("dir")).unwrap();
    fs::write(volume.outside.join("dir/kept"), "kept").unwrap();
    let outside = Snapshot::of(&volume.outside);
    let is_listed = || volume.store.get(&volume.name, &CancelToken::default()).is_ok();
    let swapper = Swapper::start(&[json!(["exchange", root, stray])]);
    let mut results = BTreeMap::new();
    let mut result = Ok(());
    let deadline = Instant::now() + time;
    let has_removed = |results: &BTreeMap<_, _>| results.contains_key("removed");
    while Instant::now() < deadline || (!has_removed(&results) && Instant::now() < deadline + UNTIL_MET) {
        let removed = remove().map_or_else(|code| code, |()| "removed".to_owned());
        if Snapshot::of(&volume.outside) != outside {
            result = Err("the outside changed".to_owned());
        } else if removed != "removed" && !ALLOWED.contains(&removed.as_str()) {
            result = Err(removed.clone());
        }
        *results.entry(removed).or_insert(0) += 1;
        if result.is_err() {
            break;
        }
        // Nothing can be swapped in what is gone, so it is made again undisturbed.
        while [root, &stray].into_iter().any(|place| fs::symlink_metadata(place).is_ok()) {
            [root, &stray].into_iter().for_each(|place| fixture::discard(place));
        }
        if is_listed() {
            fs::create_dir(root).unwrap();
        } else {
            volume.create(json!({}));
        }
        fs::create_dir(root.join("dir")).unwrap();
        fs::write(root.join("dir/kept"), "inside").unwrap();
        std::os::unix::fs::symlink(&volume.outside, &stray).unwrap();
    }
    report(format_args!("{} swaps: {results:?}: {result:?}", swapper.stop()));
    assert!(result.is_err() || has_removed(&results), "{results:?}");
    result
}

#[test]
fn case_21_a_volume_whose_root_becomes_a_link_is_removed() {
    let volume = fixture::volume(json!({}));
    let remove = || volume.store.remove(&volume.name, &CancelToken::default()).map_err(|error| error.code());
    remove_while_the_root_is_swapped(&volume, race_seconds(), remove).unwrap();
}

#[test]
fn faulty_removal_of_a_volume_whose_root_becomes_a_link_is_caught() {
    in_read_only_namespace(|| {
        let volume = fixture::volume(json!({}));
        let faulty = FaultyVolume::in_volume(&volume, Check::Target);
        let remove = || {
            let removed = faulty.call("removeAll", OsStr::new(""));
            // What else becomes of it shows nothing.
            removed.map(drop).map_err(|_| ALLOWED[0].to_owned())
        };
        remove_while_the_root_is_swapped(&volume, LONG_ENOUGH, remove).unwrap_err();
    });
}

/// Removes a directory that others keep filling, again and again. Each call must end before they give up.
fn remove_while_filled(volume: &Volume, time: Duration, backend: &dyn Backend) -> Result<(), String> {
    let dir = volume.files.root().join("dir");
    let outside = Snapshot::of(&volume.outside);
    let (mut results, mut all_made) = (BTreeMap::new(), 0);
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        let fillers = ["a", "b"].map(|name| Swapper::start(&[json!(["fill", dir, name])]));
        let result = watched("removeAll", || backend.call("removeAll", OsStr::new("dir")));
        let made = fillers.map(Swapper::stop);
        assert!(made.iter().all(|made| *made < MAX_FILLED), "it went on until the others gave up: {made:?}");
        all_made += made.iter().sum::<u64>();
        let code = result.map_or_else(|refusal| refusal.code, |_| "removed".to_owned());
        if !["removed", "EBUSY"].contains(&code.as_str()) {
            return Err(code);
        }
        *results.entry(code).or_insert(0) += 1;
    }
    assert_eq!(Snapshot::of(&volume.outside), outside);
    report(format_args!("{all_made} made during it: {results:?}"));
    Ok(())
}

#[test]
fn case_19_remove_all_ends_although_others_keep_filling_the_directory() {
    let volume = fixture::volume(json!({}));
    remove_while_filled(&volume, race_seconds(), &volume).unwrap();
    volume.files.remove_all("dir", &CancelToken::default()).unwrap();
    assert_eq!(fs::read_dir(volume.files.root()).unwrap().count(), 0);
}

/// Measures a volume in which others make, fill and remove entries, for that long or until it fails.
fn measure_while_changing(
    volume: &Volume,
    time: Duration,
    measure: impl Fn() -> Result<(), String>,
) -> Result<(), String> {
    let dir = volume.files.root().join("dir");
    fs::create_dir(&dir).unwrap();
    let other = Swapper::start(&[json!(["come and go", dir, "a"])]);
    let deadline = Instant::now() + time;
    let (mut count, mut result) = (0, Ok(()));
    while result.is_ok() && Instant::now() < deadline {
        result = measure();
        count += 1;
    }
    report(format_args!("{} came and went, measured {count} times: {result:?}", other.stop()));
    result
}

#[test]
fn case_44_a_volume_in_which_others_make_and_remove_entries_is_measured() {
    let volume = fixture::volume(json!({}));
    let time = race_seconds();
    let measure = || volume.call("usedBytes", OsStr::new("")).map(drop).map_err(|refusal| refusal.message);
    measure_while_changing(&volume, time, measure).unwrap();
}

/// Takes it for granted that what was listed is there.
fn faulty_measure(place: &Path) -> io::Result<u64> {
    let mut used = fs::symlink_metadata(place)?.blocks() * 512;
    if fs::symlink_metadata(place)?.is_dir() {
        for entry in fs::read_dir(place)? {
            used += faulty_measure(&entry?.path())?;
        }
    }
    Ok(used)
}

#[test]
fn faulty_measuring_fails_where_others_remove_entries() {
    in_read_only_namespace(|| {
        let volume = fixture::volume(json!({}));
        let measure = || faulty_measure(volume.files.root()).map(drop).map_err(|error| error.to_string());
        measure_while_changing(&volume, LONG_ENOUGH, measure).unwrap_err();
    });
}

#[test]
fn faulty_removal_of_a_directory_that_others_keep_filling_is_caught() {
    in_read_only_namespace(|| {
        let volume = fixture::volume(json!({}));
        let faulty = FaultyVolume::in_volume(&volume, Check::Target);
        remove_while_filled(&volume, LONG_ENOUGH, &faulty).unwrap_err();
    });
}

/// Every faulty operation gets out, but for those that cannot. Each has a swapper of its own.
fn catch_all_faulty(kind: Kind, check: Check) {
    for operation in of_kind(kind).filter(|operation| operation.escapes_if_faulty) {
        for outcome in race(&[operation], LONG_ENOUGH, Who::Faulty(check)) {
            let Operation { method, path, .. } = outcome.operation;
            assert!(outcome.ended_by.is_some(), "{kind:?} {method}({path:?}) was not caught");
        }
    }
}

#[test]
fn faulty_operations_are_caught_when_a_directory_on_the_way_becomes_a_link() {
    in_read_only_namespace(|| {
        catch_all_faulty(Kind::MiddleBecomesLink, Check::Target);
    });
}

#[test]
fn faulty_operations_are_caught_when_directories_of_a_tree_become_links() {
    in_read_only_namespace(|| {
        catch_all_faulty(Kind::TreeGetsLinks, Check::Target);
    });
}

#[test]
fn faulty_operations_are_caught_when_the_entry_itself_becomes_a_link() {
    in_read_only_namespace(|| {
        catch_all_faulty(Kind::LeafBecomesLink, Check::Target);
    });
}

#[test]
fn faulty_operations_are_caught_when_a_directory_on_the_way_moves_out() {
    in_read_only_namespace(|| {
        catch_all_faulty(Kind::MiddleMovesOut, Check::Steps);
    });
}

#[test]
fn faulty_operations_are_caught_when_directories_of_a_tree_move_out() {
    in_read_only_namespace(|| {
        catch_all_faulty(Kind::TreeMovesOut, Check::Steps);
    });
}

#[test]
fn faulty_operations_are_caught_when_the_root_becomes_a_link() {
    in_read_only_namespace(|| {
        // Who opens directories one by one makes none that are missing.
        for check in Check::ALL.into_iter().filter(|check| *check != Check::Steps) {
            catch_all_faulty(Kind::RootBecomesLink, check);
        }
    });
}

/// Races the operations that stay inside even if faulty for a moment, to show that they are harmless.
#[test]
fn harmless_operations_stay_inside_where_they_are_faulty() {
    in_read_only_namespace(|| {
        let harmless: Vec<_> =
            OPERATIONS.iter().copied().filter(|operation| !operation.escapes_if_faulty).collect();
        for operation in harmless {
            let check = match operation.kind {
                Kind::MiddleMovesOut | Kind::TreeMovesOut => Check::Steps,
                _ => Check::Target,
            };
            for outcome in race(&[operation], A_MOMENT, Who::Faulty(check)) {
                let Operation { kind, method, path, .. } = outcome.operation;
                assert_eq!(outcome.ended_by, None, "{kind:?} {method}({path:?})");
            }
        }
    });
}

#[test]
fn case_18_the_same_races_are_won_where_openat2_is_missing() {
    openat2::run_where_it_fails(Errno::ENOSYS, &["case_", "--skip", "case_18"]);
}
