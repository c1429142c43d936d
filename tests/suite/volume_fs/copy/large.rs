//! Trees that are deep, wide or long: constant descriptors, no recursion, nothing left out.

use crate::support::child::in_child;
use crate::support::volume::Volume;
use nix::fcntl::{OFlag, openat};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, mkdirat};
use sandbox_volumes::store::TransferOptions;
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

const LEVELS: usize = 12_000;

fn open_dir(parent: &OwnedFd, name: &str) -> Result<OwnedFd, nix::Error> {
    openat(parent, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())
}

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

/// A chain of directories, with a file in the innermost one.
fn plant_deep(top: &Path) {
    fs::create_dir(top).unwrap();
    let mut here = open(top);
    for _ in 0..LEVELS {
        mkdirat(&here, "d", Mode::S_IRWXU).unwrap();
        here = open_dir(&here, "d").unwrap();
    }
    fs::write(format!("/proc/self/fd/{}/f", std::os::fd::AsRawFd::as_raw_fd(&here)), "deep").unwrap();
}

fn depth(top: &Path) -> usize {
    let (mut here, mut levels) = (open(top), 0);
    while let Ok(below) = open_dir(&here, "d") {
        (here, levels) = (below, levels + 1);
    }
    let file = format!("/proc/self/fd/{}/f", std::os::fd::AsRawFd::as_raw_fd(&here));
    assert_eq!(fs::read_to_string(file).unwrap(), "deep");
    levels
}

#[test]
fn case_22_a_deep_tree_is_copied_with_few_descriptors() {
    in_child(|| {
        let volume = Volume::new(json!({}));
        let (root, outside) = (volume.files.root(), &volume.outside);
        setrlimit(Resource::RLIMIT_NOFILE, 160, 160).unwrap();
        plant_deep(&root.join("deep"));
        let (options, cancel) = (TransferOptions::default(), CancelToken::default());
        volume.files.copy("deep", "within", &cancel).unwrap();
        volume.files.copy_out("deep", &outside.join("out"), options, &cancel).unwrap();
        for top in [root.join("within"), outside.join("out")] {
            assert_eq!(depth(&top), LEVELS);
        }
        // What the test's own clean-up could not remove.
        fs::rename(outside.join("out"), root.join("out")).unwrap();
        for top in ["deep", "within", "out"] {
            volume.files.remove_all(top, &cancel).unwrap();
        }
    });
}

#[test]
fn case_22_a_wide_tree_is_copied_whole_with_few_descriptors() {
    in_child(|| {
        let volume = Volume::new(json!({}));
        for dir in 0..200 {
            let dir = volume.files.root().join(format!("wide/{dir}"));
            fs::create_dir_all(&dir).unwrap();
            (0..10).for_each(|file| fs::write(dir.join(file.to_string()), file.to_string()).unwrap());
        }
        let many = volume.files.root().join("wide/many");
        fs::create_dir(&many).unwrap();
        (0..3000).for_each(|file| fs::write(many.join(file.to_string()), "").unwrap());
        setrlimit(Resource::RLIMIT_NOFILE, 128, 128).unwrap();
        let tally = volume.files.copy("wide", "copy", &CancelToken::default()).unwrap();
        assert_eq!(tally.files, 5000);
        for dir in ["0", "199", "many"] {
            let count = |top: &str| fs::read_dir(volume.files.root().join(top).join(dir)).unwrap().count();
            assert_eq!(count("wide"), count("copy"));
        }
    });
}

#[test]
fn a_large_file_is_copied_byte_by_byte_alike() {
    let volume = Volume::new(json!({}));
    let content: Vec<u8> = (0..(20 << 20) + 77).map(|at: u32| (at % 251) as u8).collect();
    fs::write(volume.files.root().join("large"), &content).unwrap();
    let tally = volume.files.copy("large", "copy", &CancelToken::default()).unwrap();
    assert_eq!((tally.files, tally.bytes), (1, content.len() as u64));
    assert!(fs::read(volume.files.root().join("copy")).unwrap() == content);
}
