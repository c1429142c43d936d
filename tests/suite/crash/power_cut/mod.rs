//! Cuts the power at any instant: what was acknowledged is there, and what was not does no harm.
//!
//! An operation runs in a process of its own, and strace writes down all that it does to files. A model of a forgetful
//! file system (`disk.rs`) then says what may be on disk after each of these steps. Each such state is made in a
//! directory of its own, opened as a home, and checked. `POWER_CUT_STATES` is how many states are drawn at random for
//! each step, and `POWER_CUT_SEED` draws the same ones again.

mod calls;
mod cut;
mod disk;
mod record;
mod states;

use crate::crash::audit::{Audit, Ending, assert_usable};
use crate::crash::traced::{ACKNOWLEDGED, may_attach};
use crate::crash::work;
use crate::crash::work::Work;
use crate::support::report::report;
use crate::support::skip::skip;
use cut::{Findings, record};
use sandbox_volumes::store::{Durability, HomeProblem, ProblemKind, check};
use sandbox_volumes::sync::CancelToken;

fn cut_power(work: Work) {
    cut_power_with(work, &[]);
}

/// The same with faults that the work copes with.
fn cut_power_with(work: Work, faults: &[&str]) {
    if !may_attach() {
        return skip("strace is missing, or may not attach to another process here");
    }
    let (recording, said) = record(work, Durability::Full, faults, false);
    assert_eq!(said.as_deref(), Some(ACKNOWLEDGED));
    let look_over = |audit: Audit, ending, about: &str| audit.look_over(work, ending, about);
    let Findings { points, states, damaged } = recording.cut(true, look_over);
    report(format_args!("{work:?}: {points} points, {states} states, {} damaged", damaged.len()));
    assert!(damaged.is_empty(), "{damaged:#?}");
}

/// The same where syncs do nothing, which has to be noticed.
fn notices_missing_syncs(work: Work) {
    if !may_attach() {
        return skip("strace is missing, or may not attach to another process here");
    }
    let (recording, _) = record(work, Durability::Full, &[], false);
    let look_over = |audit: Audit, ending, about: &str| audit.look_over(work, ending, about);
    let Findings { points, states, damaged } = recording.cut(false, look_over);
    report(format_args!(
        "{work:?} without syncs: {points} points, {states} states, {} damaged",
        damaged.len()
    ));
    assert!(!damaged.is_empty(), "nobody noticed that nothing was synced");
}

/// With `Durability::Fast`, a power cut leaves only what the documentation says, and all of it can be repaired.
fn cut_fast(work: Work) {
    if !may_attach() {
        return skip("strace is missing, or may not attach to another process here");
    }
    let (recording, _) = record(work, Durability::Fast, &[], false);
    let mut mended = 0;
    let found = recording.cut(true, |audit, _, about| {
        let store = work::open(&audit.home).unwrap();
        let problems = || check(&audit.home, true, &CancelToken::default()).unwrap();
        // An image's content is not waited for either.
        let is_told = |problem: &HomeProblem| {
            use ProblemKind::{BadImage, MissingDirectory, UnknownDirectory};
            matches!(problem.kind, BadImage | MissingDirectory | UnknownDirectory)
        };
        let found = problems();
        assert!(found.iter().all(is_told), "{about}: {found:?}");
        mended += found.iter().filter(|problem| problem.repaired).count();
        let is_there = audit.look_at_home(&store, about);
        assert_usable(&store, is_there, about);
    });
    let Findings { points, states, damaged } = found;
    let found = format!("{points} points, {states} states, {mended} mended, {} damaged", damaged.len());
    report(format_args!("{work:?}, fast: {found}"));
    assert!(damaged.is_empty(), "{damaged:#?}");
}

/// The first rename of a volume fails as that of a directory of a lower overlay layer does.
const NOT_RENAMED: [&str; 2] = ["-e", "inject=renameat2:error=EXDEV:when=1"];

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Killed,
    Refused,
}

/// The process dies before each of these calls, and the power fails while the next one recovers; or the call is
/// refused, and the power fails thereafter.
fn cut_after(work: Work, fate: Fate) {
    let calls = match fate {
        Fate::Killed => ["renameat2", "unlinkat", "fsync"],
        Fate::Refused => ["renameat2", "pwrite64", "fsync"],
    };
    cut_after_with(work, fate, &calls, &[]);
}

/// The same for some calls, with faults that the work copes with.
fn cut_after_with(work: Work, fate: Fate, calls: &[&str], faults_before: &[&str]) {
    if !may_attach() {
        return skip("strace is missing, or may not attach to another process here");
    }
    let fault = match fate {
        Fate::Killed => "signal=SIGKILL",
        Fate::Refused => "error=EIO",
    };
    let (mut all, mut met) = (Findings::default(), 0);
    for call in calls {
        for nth in 1.. {
            let fault = format!("inject={call}:{fault}:when={nth}");
            let recovers = fate == Fate::Killed;
            let faults = [faults_before, &["-e", &fault]].concat();
            let (recording, said) = record(work, Durability::Full, &faults, recovers);
            if said.as_deref() == Some(ACKNOWLEDGED) {
                break;
            }
            met += 1;
            let look_over = |audit: Audit, ending: Ending, about: &str| {
                // What is refused after content was deleted in its place leaves a part, also before that is said.
                let refused = ending.refused || (fate == Fate::Refused && !faults_before.is_empty());
                audit.look_over(work, Ending { refused, ..ending }, &format!("{fault}, {about}"));
            };
            let found = recording.cut(true, look_over);
            all.points += found.points;
            all.states += found.states;
            all.damaged.extend(found.damaged.into_iter().map(|about| format!("{fault}: {about}")));
        }
    }
    let Findings { points, states, damaged } = all;
    let found = format!("{points} points, {states} states, {} damaged", damaged.len());
    report(format_args!("{work:?}, {fate:?} {met} times: {found}"));
    assert!(met > 5, "hardly any call met its fate");
    assert!(damaged.is_empty(), "{damaged:#?}");
}

#[test]
fn making_a_directory_volume() {
    cut_power(Work::CreateDirectory);
}

#[test]
fn making_a_raw_disk_volume() {
    cut_power(Work::CreateRawDisk);
}

#[test]
fn making_a_qcow2_disk_volume() {
    cut_power(Work::CreateQcow2Disk);
}

#[test]
fn making_a_volume_in_a_home_that_is_made_for_it() {
    cut_power(Work::CreateInNewHome);
}

#[test]
fn removing_a_directory_volume() {
    cut_power(Work::RemoveDirectory);
}

#[test]
fn removing_a_disk_volume() {
    cut_power(Work::RemoveDisk);
}

#[test]
fn removing_a_volume_that_cannot_be_renamed() {
    cut_power_with(Work::RemoveDirectory, &NOT_RENAMED);
}

#[test]
fn recovering_from_a_removal_of_a_volume_that_cannot_be_renamed() {
    let calls = ["renameat", "unlinkat", "fsync"];
    cut_after_with(Work::RemoveDirectory, Fate::Killed, &calls, &NOT_RENAMED);
}

#[test]
fn a_removal_of_a_volume_that_cannot_be_renamed_that_was_refused() {
    let calls = ["renameat", "pwrite64", "fsync"];
    cut_after_with(Work::RemoveDirectory, Fate::Refused, &calls, &NOT_RENAMED);
}

#[test]
fn writing_a_file_over() {
    cut_power(Work::Overwrite);
}

#[test]
fn writing_a_file_in_directories_that_were_just_made() {
    cut_power(Work::WriteNew);
}

#[test]
fn writing_a_file_in_many_directories_that_were_just_made() {
    cut_power(Work::WriteDeep);
}

#[test]
fn writing_a_file_atomically() {
    cut_power(Work::WriteAtomically);
}

#[test]
fn adding_to_a_file() {
    cut_power(Work::Append);
}

#[test]
fn streaming_into_a_new_file() {
    cut_power(Work::Stream);
}

#[test]
fn streaming_into_a_file_atomically() {
    cut_power(Work::StreamAtomically);
}

#[test]
fn streaming_behind_what_is_there() {
    cut_power(Work::StreamAppending);
}

#[test]
fn renaming_a_file() {
    cut_power(Work::Rename);
}

#[test]
fn copying_a_tree_within_a_volume() {
    cut_power(Work::Copy);
}

#[test]
fn copying_a_tree_into_a_volume() {
    cut_power(Work::CopyIn);
}

#[test]
fn copying_a_tree_out_of_a_volume() {
    cut_power(Work::CopyOut);
}

#[test]
fn attaching_with_a_volume_that_is_made_for_it() {
    cut_power(Work::Attach);
}

#[test]
fn detaching() {
    cut_power(Work::Detach);
}

#[test]
fn opening_a_home_in_which_others_died() {
    cut_power(Work::Recover);
}

#[test]
fn recovering_from_a_creation_that_was_killed() {
    cut_after(Work::CreateDirectory, Fate::Killed);
}

#[test]
fn recovering_from_a_removal_that_was_killed() {
    cut_after(Work::RemoveDirectory, Fate::Killed);
}

#[test]
fn a_creation_that_was_refused() {
    cut_after(Work::CreateDirectory, Fate::Refused);
}

#[test]
fn a_removal_that_was_refused() {
    cut_after(Work::RemoveDirectory, Fate::Refused);
}

#[test]
fn making_a_directory_volume_fast() {
    cut_fast(Work::CreateDirectory);
}

#[test]
fn making_a_disk_volume_fast() {
    cut_fast(Work::CreateRawDisk);
}

#[test]
fn removing_a_directory_volume_fast() {
    cut_fast(Work::RemoveDirectory);
}

#[test]
fn a_creation_that_syncs_nothing_is_noticed() {
    notices_missing_syncs(Work::CreateRawDisk);
}

#[test]
fn a_removal_that_syncs_nothing_is_noticed() {
    notices_missing_syncs(Work::RemoveDirectory);
}

#[test]
fn an_atomic_write_that_syncs_nothing_is_noticed() {
    notices_missing_syncs(Work::WriteAtomically);
}

#[test]
fn an_appending_stream_that_syncs_nothing_is_noticed() {
    notices_missing_syncs(Work::StreamAppending);
}
