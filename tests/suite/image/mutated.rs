//! Thousands of damaged images: each is accepted or refused at once, in bounded memory, and nothing panics. QEMU
//! opens what is accepted, and sees the same disk.

use super::{inspect, qemu_img, run};
use crate::support::child::in_child;
use crate::support::cpu_time::cpu_time;
use crate::support::report::report;
use crate::support::watchdog::watched;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::image::Inspected;
use sandbox_volumes::model::DiskFormat;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Images of each format.
const COUNT: usize = 20_000;
/// The images among which one that hangs is found out.
const WATCHED: usize = 1000;
/// The most time of the processor that one image takes.
const MAX_CPU_TIME: Duration = Duration::from_secs(1);
const MOST_MEMORY: u64 = 256 << 20;

/// Set to a number, or to "new" for one that was not used before, it damages images otherwise than every run does.
/// What mkfs and qemu-img make at random differs all the same, so an image that failed is kept.
const SEED: &str = "SANDBOX_VOLUMES_SEED";
const USUAL_SEED: u64 = 0x5eed_0034;

/// One in so many of the accepted images is shown to QEMU.
const SHOWN: usize = 50;

/// Numbers that only look random (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// An image whole, and the file of it that is damaged.
struct Victim {
    image: PathBuf,
    damaged: PathBuf,
    file: File,
    whole: Vec<u8>,
    /// Where its header and its tables are.
    telling: Vec<usize>,
}

/// Keeps a damaged image where the test fails.
struct Kept<'v>(&'v Victim);

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = std::env::temp_dir().join(format!("sandbox-volumes-damaged-{}", std::process::id()));
            // Some are terabytes long.
            let copied = Command::new("cp").arg("--sparse=always").arg(&self.0.damaged).arg(&kept).status();
            report(format_args!("{} is kept as {}: {copied:?}", self.0.damaged.display(), kept.display()));
        }
    }
}

impl Victim {
    /// The file to damage is the image itself, or an extent of it.
    fn new(image: PathBuf, damaged: &Path) -> Self {
        let whole = fs::read(damaged).unwrap();
        // Tables and headers are sparse; what is not zero in the first 512 KiB tells.
        let telling = (0..whole.len().min(512 << 10)).filter(|at| *at < 120 || whole[*at] != 0);
        Victim {
            image,
            damaged: damaged.to_owned(),
            file: File::options().write(true).open(damaged).unwrap(),
            telling: telling.collect(),
            whole,
        }
    }

    /// Damages the file, and gives what restores it.
    fn damage(&self, random: &mut Random) -> Vec<(u64, Vec<u8>)> {
        let mut changes = Vec::new();
        for _ in 0..=random.below(6) {
            let at = match random.below(4) {
                0 => random.below(self.whole.len()),
                1 => random.below(self.whole.len().min(120)),
                _ => self.telling[random.below(self.telling.len())],
            };
            let length = [1, 1, 2, 4, 8][random.below(5)].min(self.whole.len() - at);
            let old = self.whole[at..at + length].to_vec();
            let new = match random.below(5) {
                0 => vec![0; length],
                1 => vec![0xff; length],
                2 => (0..length).map(|_| random.next() as u8).collect(),
                3 => old.iter().map(|byte| byte ^ (1 << random.below(8))).collect(),
                _ => old.iter().map(|byte| byte.wrapping_add(1)).collect::<Vec<_>>(),
            };
            self.file.write_all_at(&new, at as u64).unwrap();
            changes.push((at as u64, old));
        }
        match random.below(16) {
            0 => self.file.set_len(random.below(self.whole.len()) as u64).unwrap(),
            1 => self.file.set_len(1 << 43).unwrap(),
            _ => {}
        }
        changes
    }

    fn restore(&self, changes: Vec<(u64, Vec<u8>)>, random: &mut Random) {
        let length = self.file.metadata().unwrap().len() as usize;
        if length != self.whole.len() {
            self.file.set_len(self.whole.len() as u64).unwrap();
            self.file.write_all_at(self.whole.get(length..).unwrap_or_default(), length as u64).unwrap();
        }
        for (at, old) in changes.into_iter().rev() {
            self.file.write_all_at(&old, at).unwrap();
        }
        if random.below(1000) == 0 {
            inspect(&self.image, None).unwrap();
        }
    }
}

/// A small ext4 in the given formats of qemu-img. Returns `None` if a tool is missing.
fn images(dir: &Path, format: &str, options: &[&[&str]]) -> Option<Vec<PathBuf>> {
    File::create(dir.join("disk.raw")).unwrap().set_len(1 << 20).unwrap();
    if !run(dir, "mkfs.ext4", &["-q", "-O", "^has_journal", "disk.raw"]) {
        return None;
    }
    let mut paths = Vec::new();
    for (number, option) in options.iter().enumerate() {
        let name = format!("disk-{number}.{format}");
        let args = [&["convert", "-f", "raw", "-O", format], *option, &["disk.raw", &name]].concat();
        if !qemu_img(dir, &args) {
            return None;
        }
        paths.push(dir.join(name));
    }
    Some(paths)
}

fn most_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

fn seed() -> u64 {
    match std::env::var(SEED).as_deref() {
        Ok("new") => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1,
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => USUAL_SEED,
    }
}

/// Inspects an image and tells how much this thread computed for that.
fn timed(image: &Path, stated: Option<DiskFormat>) -> (Result<Inspected, Error>, Duration) {
    let computed = cpu_time();
    let result = inspect(image, stated);
    (result, cpu_time() - computed)
}

/// Holds an accepted image against what QEMU makes of it; false where QEMU refuses it, which does no harm.
fn show_to_qemu(image: &Path, found: &Inspected, about: &str) -> bool {
    let arguments = ["info", "--backing-chain", "--output=json", "-f", found.format.as_str()];
    let output = Command::new("qemu-img").args(arguments).arg(image).output().unwrap();
    if !output.status.success() {
        return false;
    }
    let chain: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(chain.as_array().unwrap().len(), 1, "{about}: {chain}");
    assert_eq!(chain[0]["virtual-size"], found.capacity_bytes, "{about}: {chain}");
    true
}

fn torment(format: DiskFormat, victims: &[Victim]) {
    let seed = seed();
    report(format_args!("seed {seed}; repeat with {SEED}={seed}"));
    // Also those that are caught.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        hook(panic);
    }));
    let mut random = Random(seed);
    let before = most_memory();
    let (mut accepted, mut opened, mut longest) = (0, 0, Duration::ZERO);
    let mut torment_one = |number: usize| {
        let about = format!("seed {seed}, image {number}");
        let victim = &victims[number % victims.len()];
        let changes = victim.damage(&mut random);
        let kept = Kept(victim);
        let (result, took) = timed(&victim.image, number.is_multiple_of(2).then_some(format));
        assert!(took < MAX_CPU_TIME, "{about}: {took:?}");
        longest = longest.max(took);
        match result {
            Ok(found) => {
                accepted += 1;
                if accepted % SHOWN == 0 {
                    opened += usize::from(show_to_qemu(&victim.image, &found, &about));
                }
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::DiskImage, "{about}: {error}"),
        }
        drop(kept);
        victim.restore(changes, &mut random);
    };
    for first in (0..COUNT).step_by(WATCHED) {
        let about = format!("seed {seed}, one of the {WATCHED} images from {first}");
        watched(&about, || (first..first + WATCHED).for_each(&mut torment_one));
    }
    let grown = most_memory() - before;
    let panics = PANICS.load(Ordering::Relaxed);
    report(format_args!(
        "{COUNT} images: {accepted} accepted, {} of them shown to QEMU, which opened {opened}, {} refused, {panics} panics, longest {longest:?}, {} KiB more at most",
        accepted / SHOWN,
        COUNT - accepted,
        grown / 1024
    ));
    assert!(opened * 2 > accepted / SHOWN, "seed {seed}: QEMU opened {opened} only");
    assert_eq!(panics, 0, "seed {seed}");
    assert!(grown < MOST_MEMORY, "seed {seed}: {grown} bytes");
}

#[test]
fn case_34_20000_mutated_qcow2_images_do_no_harm() {
    in_child(|| {
        let dir = tempfile::tempdir().unwrap();
        let options: [&[&str]; 6] = [
            &[],
            &["-c"],
            &["-o", "cluster_size=512"],
            &["-o", "compat=0.10,cluster_size=4k"],
            &["-o", "cluster_size=2M"],
            &["-o", "extended_l2=on"],
        ];
        let Some(images) = images(dir.path(), "qcow2", &options) else { return };
        let victims: Vec<_> = images.into_iter().map(|image| Victim::new(image.clone(), &image)).collect();
        torment(DiskFormat::Qcow2, &victims);
    });
}

#[test]
fn case_35_20000_mutated_vmdk_images_do_no_harm() {
    in_child(|| {
        let dir = tempfile::tempdir().unwrap();
        let subformats = [
            "subformat=monolithicSparse",
            "subformat=streamOptimized",
            "subformat=monolithicFlat",
            "subformat=twoGbMaxExtentSparse",
        ];
        let options = subformats.map(|subformat| ["-o", subformat]);
        let options: Vec<_> = options.iter().map(|option| &option[..]).collect();
        let Some(images) = images(dir.path(), "vmdk", &options) else { return };
        let extent = dir.path().join("disk-3-s001.vmdk");
        let mut victims: Vec<_> = images.iter().map(|image| Victim::new(image.clone(), image)).collect();
        victims.push(Victim::new(images[3].clone(), &extent));
        torment(DiskFormat::Vmdk, &victims);
    });
}
