//! A process that swaps entries.

use super::worker::{Worker, home, orders, say};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A running swapper, ended when dropped.
pub struct Swapper(Worker);

impl Swapper {
    /// Starts it, and waits until it has swapped something. Each swap is a word and two paths.
    pub fn start(swaps: &[Value]) -> Self {
        let mut worker = Worker::start(swap_as_fast_as_it_goes, Path::new("."));
        worker.order(&Value::from(swaps).to_string());
        while worker.answer().unwrap() != SWAPPING {}
        Swapper(worker)
    }

    /// Ends it, and gives how many swaps it made.
    pub fn stop(mut self) -> u64 {
        self.0.order("stop");
        self.0.answer().unwrap().parse().unwrap()
    }
}

const SWAPPING: &str = "swapping";

/// How many entries one that fills a directory makes before it gives up.
pub const MAX_FILLED: u64 = 1_000_000;

#[test]
#[ignore = "the other process of a race; nothing to do otherwise"]
fn swap_as_fast_as_it_goes() {
    if home().is_none() {
        return;
    }
    let swaps: Vec<[String; 3]> = serde_json::from_str(&orders().next().unwrap()).unwrap();
    let stopped = AtomicBool::new(false);
    let count = thread::scope(|scope| {
        // The orders end as well when the test is gone.
        scope.spawn(|| {
            orders().next();
            stopped.store(true, Ordering::Relaxed);
        });
        let (mut count, mut turns) = (0u64, 0u64);
        while !stopped.load(Ordering::Relaxed) {
            let before = count;
            for [word, one, other] in &swaps {
                count += u64::from(swap(word, one, other, turns));
                turns += 1;
            }
            if before == 0 && count > 0 {
                say(SWAPPING.to_owned());
            }
        }
        count
    });
    say(count.to_string());
}

fn swap(word: &str, one: &str, other: &str, count: u64) -> bool {
    match word {
        "exchange" => renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE).is_ok(),
        "fill" if count < MAX_FILLED => {
            // Files in it, and directories that grow beside and below those that are there already.
            if count.is_multiple_of(10) {
                let _may_be_gone =
                    fs::create_dir_all(format!("{one}/dir-{}/{other}-{count}/sub", count / 10 % 50));
            }
            fs::write(format!("{one}/{other}-{count}"), "").is_ok()
        }
        "fill" => false,
        "come and go" => {
            let entry = format!("{one}/{other}-{}", count % 500);
            match count % 3 {
                0 => fs::remove_file(&entry).or_else(|_| fs::remove_dir(&entry)).is_ok(),
                1 => fs::create_dir(&entry).is_ok(),
                _ => fs::OpenOptions::new().create(true).append(true).open(&entry).is_ok_and(grow),
            }
        }
        "out or back" => {
            fs::rename(other, one).is_ok() || fs::rename(one, other).is_ok() || {
                // Both are there, since the tree was planted again.
                let _stays = fs::rename(other, format!("{other}-{count}"));
                false
            }
        }
        _ => panic!("no swap {word}"),
    }
}

fn grow(mut file: fs::File) -> bool {
    file.write_all(&[1; 1000]).is_ok()
}
