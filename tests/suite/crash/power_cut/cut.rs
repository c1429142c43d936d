//! Recording an operation, and cutting the power at every step of the record.

use super::calls;
use super::disk::{Disk, Kept, Step};
use super::record::Record;
use super::states::{Random, states};
use crate::crash::audit::{Audit, Ending};
use crate::crash::traced::{ACKNOWLEDGED, REFUSED, run};
use crate::crash::work::Work;
use crate::support::memory::memory_dir;
use crate::support::snapshot::Snapshot;
use sandbox_volumes::store::Durability;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// How many states are drawn at random for each step.
const DRAWS: usize = 2;

/// What was recorded of an operation, beside what there was before.
pub struct Recording {
    audit: Audit,
    disk: Disk,
    /// The steps from which on the power may fail.
    begin: usize,
    /// Whether what recovers from the work is the last to say something.
    recovers: bool,
}

/// Runs the work, and thereafter what recovers from it where `recovers`, with these faults, and gives what was done and
/// what the work said.
pub fn record(
    work: Work,
    durability: Durability,
    faults: &[&str],
    recovers: bool,
) -> (Recording, Option<String>) {
    let audit = Audit::prepare(&memory_dir(), work);
    let mut record = Record::of(audit.dir.path());
    let beside = tempfile::tempdir_in(memory_dir()).unwrap();
    let log = beside.path().join("log");
    let run = |work, faults: &[&str]| {
        let arguments = [&calls::ARGUMENTS[..], &["-o", log.to_str().unwrap()], faults].concat();
        run(work, durability, &audit.home, &arguments)
    };
    let said = run(work, faults);
    record.follow(&fs::read_to_string(&log).unwrap());
    let begin = record.disk.steps.len();
    if recovers {
        assert_eq!(run(Work::Recover, &[]).as_deref(), Some(ACKNOWLEDGED));
        record.follow(&fs::read_to_string(&log).unwrap());
    }
    let disk = record.disk;
    let modelled = tempfile::tempdir_in(memory_dir()).unwrap();
    disk.make(modelled.path(), &vec![Kept::All; disk.steps.len()]);
    assert_eq!(visible(modelled.path()), visible(audit.dir.path()), "the model is not exact");
    (Recording { audit, disk, begin: if recovers { begin } else { 0 }, recovers }, said)
}

/// Modes and contents of what stands below a directory. SQLite's index of its log does not outlive a process.
fn visible(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut entries = Snapshot::of(root).0;
    entries.remove(Path::new(""));
    let is_index = |path: &Path| path.to_string_lossy().ends_with("-shm");
    entries.retain(|path, _| !is_index(path));
    entries.into_iter().map(|(path, entry)| (path, (entry.mode, entry.content))).collect()
}

/// What was found.
#[derive(Default)]
pub struct Findings {
    pub points: usize,
    pub states: usize,
    /// How each state came about that did not stand up to being looked over.
    pub damaged: Vec<String>,
}

impl Recording {
    /// Cuts the power after each step, makes each state that may be left, and has it looked over. Where `syncs` says
    /// no, it is as if the disk had never been synced.
    pub fn cut(&self, syncs: bool, mut look_over: impl FnMut(Audit, Ending, &str)) -> Findings {
        let after = self.disk.on_disk_after(syncs);
        let draws = std::env::var("POWER_CUT_STATES").map_or(DRAWS, |draws| draws.parse().unwrap());
        let (mut random, seed) = Random::seeded();
        let (mut findings, mut seen) = (Findings::default(), HashSet::new());
        for done in self.begin..=self.disk.steps.len() {
            findings.points += 1;
            let said = |word| {
                let is_said = |step: &Step| matches!(step, Step::Said(line) if line.starts_with(word));
                self.disk.steps[..done].iter().any(is_said)
            };
            let (acknowledged, refused) = (!self.recovers && said(ACKNOWLEDGED), said(REFUSED));
            let ending = Ending { acknowledged, refused, power_cut: true };
            for state in states(&self.disk, &after, done, draws, &mut random) {
                if !seen.insert((state.kept.clone(), acknowledged, refused)) {
                    continue;
                }
                findings.states += 1;
                let about = format!("after step {done}, {}, POWER_CUT_SEED={seed}", state.chosen);
                let dir = tempfile::tempdir_in(memory_dir()).unwrap();
                self.disk.make(dir.path(), &state.kept);
                let audit = self.at(dir);
                let looked = catch_unwind(AssertUnwindSafe(|| look_over(audit, ending, &about)));
                findings.damaged.extend(looked.err().map(|_| about));
            }
        }
        findings
    }

    fn at(&self, dir: TempDir) -> Audit {
        Audit { overlay: None, home: dir.path().join("home"), dir, bystander: self.audit.bystander.clone() }
    }
}
