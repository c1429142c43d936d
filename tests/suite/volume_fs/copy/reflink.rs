//! On a file system that can, a copy shares its content with what was copied.

use crate::support::skip::skip;
use crate::support::unmount::unmount;
use nix::mount::{MntFlags, umount2};
use sandbox_volumes::model::{VolumeName, VolumeSpec};
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A btrfs of its own, unmounted when dropped.
struct Btrfs {
    at: PathBuf,
    _dir: tempfile::TempDir,
}

fn succeeds(command: &str, arguments: &[&std::ffi::OsStr]) -> bool {
    let mut command = Command::new(command);
    let status = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

impl Btrfs {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("mounted"));
        fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        fs::create_dir(&at).unwrap();
        let made = succeeds("mkfs.btrfs", &["-q".as_ref(), image.as_ref()])
            && succeeds("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), at.as_ref()]);
        made.then_some(Btrfs { at, _dir: dir })
    }
}

impl Drop for Btrfs {
    fn drop(&mut self) {
        match std::thread::panicking() {
            true => umount2(&self.at, MntFlags::MNT_DETACH).unwrap(),
            false => unmount(&self.at).unwrap(),
        }
    }
}

fn free(at: &Path) -> u64 {
    let output = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(at).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().map(|number| number.parse::<u64>().unwrap()).product()
}

#[test]
fn copies_on_btrfs_take_no_space_of_their_own() {
    let Some(btrfs) = Btrfs::mount() else { return skip("btrfs cannot be mounted here") };
    {
        let store = Arc::new(Store::open(&btrfs.at.join("home"), Durability::Fast).unwrap());
        let name = VolumeName::parse("v").unwrap();
        store.create(&name, &VolumeSpec::from_options(&[]).unwrap(), &CancelToken::default()).unwrap();
        let files = store.files(&name);
        fs::create_dir(files.root().join("tree")).unwrap();
        let content: Vec<u8> =
            (0..40u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(files.root().join("tree/large"), &content).unwrap();
        nix::unistd::syncfs(fs::File::open(&btrfs.at).unwrap()).unwrap();
        let before = free(&btrfs.at);
        for to in ["one", "two", "three", "three"] {
            files.copy("tree", to, &CancelToken::default()).unwrap();
        }
        nix::unistd::syncfs(fs::File::open(&btrfs.at).unwrap()).unwrap();
        let taken = before.saturating_sub(free(&btrfs.at));
        assert!(taken < 20 << 20, "three copies of 40 MiB took {taken} bytes");
        assert!(fs::read(files.root().join("three/large")).unwrap() == content);
    }
}
