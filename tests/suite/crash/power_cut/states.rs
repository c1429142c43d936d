//! What may be left when the power fails after so many steps.

use super::disk::{Disk, Kept, Step};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

/// A disk writes as much at once.
const SECTOR: usize = 512;

/// What is left of each step, and how that was chosen.
pub struct State {
    pub kept: Vec<Kept>,
    pub chosen: &'static str,
}

/// A simple generator, so that a seed tells all it gives.
pub struct Random(u64);

impl Random {
    /// From the seed in `POWER_CUT_SEED`, else from any.
    pub fn seeded() -> (Self, u64) {
        let given = std::env::var("POWER_CUT_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(())) | 1;
        (Random(seed), seed)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }
}

/// The states after `done` steps. `after` lists the steps that are on disk. Of all others there are the states in which
/// all are lost, all kept, only names kept, only bytes kept, and some drawn at random.
pub fn states(disk: &Disk, after: &[usize], done: usize, draws: usize, random: &mut Random) -> Vec<State> {
    let places: Vec<_> = disk.steps.iter().map(Step::place).collect();
    let is_loose = |step: usize| after[step] > done;
    let state = |chosen: &'static str, choose: &mut dyn FnMut(usize, bool) -> Kept| {
        let mut keep = |step: usize| match places[step] {
            Some(_) if step < done && !is_loose(step) => Kept::All,
            Some((is_name, _)) if step < done => choose(step, is_name),
            _ => Kept::Nothing,
        };
        State { kept: (0..disk.steps.len()).map(&mut keep).collect(), chosen }
    };
    let when = |keep: bool| if keep { Kept::All } else { Kept::Nothing };
    let zeros = |step: usize, is_name: bool| match disk.steps[step] {
        Step::Write { .. } if !is_name => Kept::Zeros,
        _ => Kept::All,
    };
    let mut states = vec![
        state("all lost", &mut |_, _| Kept::Nothing),
        state("all kept", &mut |_, _| Kept::All),
        state("names without bytes", &mut |_, is_name| when(is_name)),
        state("bytes without names", &mut |_, is_name| when(!is_name)),
        state("names and zeros", &mut |step, is_name| zeros(step, is_name)),
    ];
    let mut by_place: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for step in (0..done).filter(|step| is_loose(*step)) {
        by_place.entry(places[step]).or_default().push(step);
    }
    by_place.remove(&None);
    for _ in 0..draws {
        let mut drawn = BTreeMap::new();
        for steps in by_place.values() {
            draw(disk, steps, random, &mut drawn);
        }
        states.push(state("drawn at random", &mut |step, _| drawn[&step]));
    }
    states
}

/// Draws what is left of the steps of one place: the first of them, the last of those torn, or any.
fn draw(disk: &Disk, steps: &[usize], random: &mut Random, drawn: &mut BTreeMap<usize, Kept>) {
    let (in_order, end) = (random.below(2) == 0, random.below(steps.len() + 1));
    for (nth, step) in steps.iter().enumerate() {
        let whole = if in_order { nth < end } else { random.below(2) == 0 };
        let kept = match (&disk.steps[*step], whole) {
            (Step::Write { .. }, true) if random.below(4) == 0 => Kept::Zeros,
            (_, true) => Kept::All,
            (Step::Write { bytes, .. }, false) if nth == end || !in_order => {
                let sectors = random.below(bytes.len().div_ceil(SECTOR).max(1));
                if sectors == 0 { Kept::Nothing } else { Kept::Bytes(sectors * SECTOR) }
            }
            _ => Kept::Nothing,
        };
        drawn.insert(*step, kept);
    }
}
