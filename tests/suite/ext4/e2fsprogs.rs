//! The tools that come with ext4.

use super::image::{CREATED_AT_S, HASH_SEED, Image, LABEL, UUID};
use crate::support::skip::skip;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

/// What our file systems can do, in the words of `mke2fs`.
const FEATURES: &str = "none,has_journal,ext_attr,dir_index,filetype,meta_bg,extent,64bit,flex_bg,sparse_super,\
                        large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// Whether the tools are there; says that a test is skipped where they are not.
pub fn are_there() -> bool {
    let missing = ["e2fsck", "dumpe2fs", "resize2fs", "mkfs.ext4"].into_iter().find(|tool| {
        let run = Command::new(tool).arg("-V").output();
        run.is_err()
    });
    if let Some(tool) = missing {
        skip(format_args!("{tool} is missing"));
    }
    missing.is_none()
}

fn run(command: &mut Command) -> Output {
    // Where they write the time, it is the same for everybody.
    command.env("LC_ALL", "C").env("TZ", "UTC").output().unwrap()
}

/// Runs a command that must succeed and gives what it printed.
pub fn output_of(command: &mut Command) -> String {
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}\n{errors}", output.status);
    text
}

/// A full check must find nothing at all to say.
pub fn assert_clean(image: &Path, what: &str) {
    let output = run(Command::new("e2fsck").arg("-fn").arg(image));
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let quiet = text.lines().all(|line| line.starts_with("Pass ") || line.starts_with("my-data: "));
    let passes = text.lines().filter(|line| line.starts_with("Pass ")).count();
    // On the other channel there is its version only.
    let silent = errors.lines().count() == 1 && errors.starts_with("e2fsck ");
    assert!(
        output.status.success() && quiet && silent && passes == 5,
        "{what}: {}\n{text}\n{errors}",
        output.status
    );
}

/// Repairs from a copy of the superblock.
pub fn repair_from(image: &Path, superblock: u64) {
    let mut command = Command::new("e2fsck");
    command.args(["-fy", "-B", "4096", "-b"]).arg(superblock.to_string()).arg(image);
    let output = run(&mut command);
    let text = String::from_utf8_lossy(&output.stdout);
    // 1: errors were corrected.
    assert_eq!(output.status.code(), Some(1), "from {superblock}:\n{text}");
}

/// What the superblock says, by the names that `dumpe2fs` has for it.
pub fn facts(image: &Path) -> BTreeMap<String, String> {
    let text = output_of(Command::new("dumpe2fs").arg("-h").arg(image));
    let facts = text.lines().filter_map(|line| line.split_once(':'));
    facts.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

/// The number among [`facts`].
pub fn number(facts: &BTreeMap<String, String>, name: &str) -> u64 {
    let value = facts.get(name).unwrap_or_else(|| panic!("no {name:?} in {facts:?}"));
    value.parse().unwrap_or_else(|_| panic!("{name:?} is {value:?}"))
}

/// How many groups there are.
pub fn groups(image: &Path) -> u64 {
    let text = output_of(Command::new("dumpe2fs").arg(image));
    text.lines().filter(|line| line.contains(": (Blocks ")).count() as u64
}

/// An image of the same kind, made by `mkfs.ext4`, with a journal of its choice or of that size.
pub fn mkfs(mib: u32, journal_mib: Option<u64>) -> Image {
    let image = Image::empty(mib);
    let mut command = Command::new("mkfs.ext4");
    command.args(["-q", "-F", "-b", "4096", "-m", "0", "-O", FEATURES, "-L", LABEL, "-U", UUID]);
    command.arg("-E").arg(format!("nodiscard,lazy_itable_init=1,lazy_journal_init=1,hash_seed={HASH_SEED}"));
    if let Some(mib) = journal_mib {
        command.arg("-J").arg(format!("size={mib}"));
    }
    output_of(command.arg(&image.path).env("E2FSPROGS_FAKE_TIME", CREATED_AT_S.to_string()));
    image
}

/// Makes the file system as large as the image has become.
pub fn grow(image: &Path) {
    output_of(Command::new("e2fsck").arg("-fp").arg(image));
    output_of(Command::new("resize2fs").arg(image));
}
