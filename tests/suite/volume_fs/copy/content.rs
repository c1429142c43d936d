//! What a copy holds, where it goes, and what stands there already.

use crate::support::child::in_child;
use crate::support::snapshot::Snapshot;
use crate::support::volume::Volume;
use nix::unistd::mkfifo;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::store::{TransferOptions, VolumeFs};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// Names, kinds, modes, contents; times are a copy's own.
fn shape(root: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let seen = Snapshot::of(root).0;
    seen.into_iter()
        .map(|(path, entry)| (path.to_string_lossy().into_owned(), entry.mode, entry.content))
        .collect()
}

fn plant(root: &Path) {
    fs::create_dir_all(root.join("a/b/empty")).unwrap();
    fs::create_dir(root.join("closed")).unwrap();
    for at in 0..100 {
        fs::write(root.join(format!("a/{at}")), vec![at as u8; at * 977]).unwrap();
    }
    fs::write(root.join("closed/secret"), "secret").unwrap();
    fs::write(root.join("run.sh"), "#!/bin/sh").unwrap();
    symlink("a/b", root.join("link")).unwrap();
    symlink("../run.sh", root.join("a/up")).unwrap();
    symlink("missing", root.join("dangling")).unwrap();
    for (path, mode) in [("run.sh", 0o755), ("a/1", 0o600), ("a/2", 0o444), ("a/b", 0o711), ("closed", 0o500)]
    {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// A copy from one place to another: within a volume, into it, or out of it.
type Way = fn(&Volume, &str, &str) -> Result<(), sandbox_volumes::error::Error>;

fn within(volume: &Volume, from: &str, to: &str) -> Result<(), sandbox_volumes::error::Error> {
    volume.files.copy(from, to, &CancelToken::default()).map(drop)
}

fn inwards(volume: &Volume, from: &str, to: &str) -> Result<(), sandbox_volumes::error::Error> {
    let options = TransferOptions::default();
    volume.files.copy_in(&volume.outside.join(from), to, options, &CancelToken::default()).map(drop)
}

fn outwards(volume: &Volume, from: &str, to: &str) -> Result<(), sandbox_volumes::error::Error> {
    let options = TransferOptions::default();
    volume.files.copy_out(from, &volume.outside.join(to), options, &CancelToken::default()).map(drop)
}

/// Each way with its name, and where its two sides are.
fn ways(volume: &Volume) -> [(&'static str, Way, &Path, &Path); 3] {
    let (inside, outside): (&Path, &Path) = (volume.files.root(), &volume.outside);
    [
        ("copy", within, inside, inside),
        ("copyIn", inwards, outside, inside),
        ("copyOut", outwards, inside, outside),
    ]
}

#[test]
fn a_tree_is_copied_with_its_modes_and_its_links_as_links() {
    for at in 0..3 {
        let volume = Volume::new(json!({}));
        let (name, copy, from, to) = ways(&volume)[at];
        fs::create_dir(from.join("tree")).unwrap();
        plant(&from.join("tree"));
        copy(&volume, "tree", "made").unwrap();
        assert_eq!(shape(&from.join("tree")), shape(&to.join("made")), "{name}");
        if !nix::unistd::geteuid().is_root() {
            // An ordinary user cannot replace a file in a directory that is not writable.
            for closed in [from.join("tree/closed"), to.join("made/closed")] {
                fs::set_permissions(closed, fs::Permissions::from_mode(0o700)).unwrap();
            }
        }
        copy(&volume, "tree", "made").unwrap();
        assert_eq!(shape(&from.join("tree")), shape(&to.join("made")), "{name} again");
    }
}

#[test]
fn a_file_is_copied_to_the_exact_path_and_replaces_what_is_there_whole() {
    for at in 0..3 {
        let volume = Volume::new(json!({}));
        let (name, copy, from, to) = ways(&volume)[at];
        fs::write(from.join("f"), "content").unwrap();
        fs::write(to.join("old"), "much older content").unwrap();
        fs::hard_link(to.join("old"), to.join("other name")).unwrap();
        fs::set_permissions(from.join("f"), fs::Permissions::from_mode(0o640)).unwrap();
        copy(&volume, "f", "old").unwrap();
        assert_eq!(fs::read_to_string(to.join("old")).unwrap(), "content", "{name}");
        assert_eq!(fs::read_to_string(to.join("other name")).unwrap(), "much older content", "{name}");
        assert_eq!(fs::metadata(to.join("old")).unwrap().mode() & 0o7777, 0o640, "{name}");
        let missing = copy(&volume, "missing", "x").unwrap_err();
        assert_eq!(missing.code(), "ENOENT", "{name}");
        assert_eq!(copy(&volume, "f", "missing/x").unwrap_err().code(), "ENOENT", "{name}");
        let names: Vec<_> = fs::read_dir(to).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(
            !names.iter().any(|name| name == "x" || name.to_string_lossy().starts_with('.')),
            "{names:?}"
        );
    }
}

#[test]
fn kinds_do_not_replace_each_other_and_what_is_merged_into_stays() {
    for at in 0..3 {
        let volume = Volume::new(json!({}));
        let (name, copy, from, to) = ways(&volume)[at];
        fs::create_dir_all(from.join("tree/sub")).unwrap();
        fs::write(from.join("tree/file"), "new").unwrap();
        fs::write(from.join("tree/sub/file"), "new").unwrap();
        fs::create_dir_all(to.join("there/file")).unwrap();
        fs::write(to.join("there/kept"), "kept").unwrap();
        assert_eq!(copy(&volume, "tree", "there").unwrap_err().code(), "EISDIR", "{name}");
        assert_eq!(fs::read_to_string(to.join("there/kept")).unwrap(), "kept");

        fs::remove_dir(to.join("there/file")).unwrap();
        symlink("kept", to.join("there/file")).unwrap();
        copy(&volume, "tree", "there").unwrap();
        assert_eq!(fs::read_to_string(to.join("there/kept")).unwrap(), "kept", "{name}: through no link");
        assert_eq!(fs::read_to_string(to.join("there/file")).unwrap(), "new", "{name}");
        assert!(fs::symlink_metadata(to.join("there/file")).unwrap().is_file(), "{name}");

        fs::remove_dir_all(to.join("there/sub")).unwrap();
        for plant in [|at: &Path| fs::write(at, "file"), |at: &Path| symlink("..", at)] {
            plant(&to.join("there/sub")).unwrap();
            assert_eq!(copy(&volume, "tree", "there").unwrap_err().code(), "ENOTDIR", "{name}");
            fs::remove_file(to.join("there/sub")).unwrap();
        }
        fs::write(to.join("a file"), "").unwrap();
        assert_eq!(copy(&volume, "tree", "a file").unwrap_err().code(), "ENOTDIR", "{name}");
        assert_eq!(copy(&volume, "tree/file", "there").unwrap_err().code(), "EISDIR", "{name}");
    }
}

#[test]
fn a_tree_is_copied_into_the_root_and_from_it() {
    let volume = Volume::new(json!({}));
    fs::create_dir(volume.outside.join("tree")).unwrap();
    plant(&volume.outside.join("tree"));
    inwards(&volume, "tree", "").unwrap();
    outwards(&volume, "", "back").unwrap();
    let mode_of_top = |shape: Vec<(String, u32, Vec<u8>)>| shape.into_iter().skip(1).collect::<Vec<_>>();
    assert_eq!(
        mode_of_top(shape(&volume.outside.join("tree"))),
        mode_of_top(shape(&volume.outside.join("back")))
    );
    inwards(&volume, "tree", "new/").unwrap();
    assert_eq!(shape(&volume.outside.join("tree")), shape(&volume.files.root().join("new")));
}

#[test]
fn a_directory_is_not_copied_into_itself_and_a_file_not_onto_itself() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/f"), "f").unwrap();
    symlink("a/b", root.join("link")).unwrap();
    fs::hard_link(root.join("a/f"), root.join("same")).unwrap();
    let before = Snapshot::of(root);
    for (from, to) in [
        ("a", "a"),
        ("a", "a/x"),
        ("a", "a/b/x"),
        ("a", "link/x"),
        ("", "x"),
        (".", "a/x"),
        ("a/f", "same"),
        ("a/f", "a/f"),
    ] {
        let error = within(&volume, from, to).unwrap_err();
        assert_eq!(error.code(), "EINVAL", "{from:?} to {to:?}: {error}");
        assert_eq!(error.context().path.as_deref(), Some(to));
        assert_eq!(Snapshot::of(root), before, "{from:?} to {to:?}");
    }
    within(&volume, "a/b", "a/c").unwrap();
}

#[test]
fn case_10_what_is_no_file_is_refused_by_name_and_what_was_made_is_removed() {
    for at in 0..3 {
        let volume = Volume::new(json!({}));
        let (name, copy, from, to) = ways(&volume)[at];
        fs::create_dir_all(from.join("tree/sub")).unwrap();
        fs::write(from.join("tree/f"), "f").unwrap();
        mkfifo(&from.join("tree/sub/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (what, at) in [("tree", "tree/sub/fifo"), ("tree/sub/fifo", "tree/sub/fifo")] {
            let error = copy(&volume, what, "made").unwrap_err();
            assert_eq!(error.code(), "ENOTSUP", "{name}: {error}");
            assert!(error.context().path.as_deref().unwrap().ends_with(at), "{name}: {error}");
            assert!(!to.join("made").exists(), "{name}");
        }
        mkfifo(&to.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(copy(&volume, "tree/f", "fifo").unwrap_err().code(), "ENOTSUP", "{name}");
    }
}

/// The bytes that this process has read so far, in all its threads.
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn case_12_a_sparse_file_stays_sparse_and_costs_what_it_holds() {
    // Other tests read as well.
    in_child(copy_sparse_files);
}

fn copy_sparse_files() {
    for at in 0..3 {
        let volume = Volume::new(json!({}));
        let (name, copy, from, to) = ways(&volume)[at];
        let mut sparse = File::create(from.join("sparse")).unwrap();
        for megabyte in [0, 3, 4, 70_000] {
            sparse.seek(SeekFrom::Start(megabyte << 20)).unwrap();
            sparse.write_all(format!("at {megabyte}").as_bytes()).unwrap();
        }
        sparse.set_len(96 << 30).unwrap();
        File::create(from.join("hole")).unwrap().set_len(64 << 30).unwrap();
        for file in ["sparse", "hole"] {
            let before = bytes_read();
            copy(&volume, file, "made").unwrap();
            // The data is a few KiB; the holes are 64 GiB and more.
            let read = bytes_read() - before;
            assert!(read < 1 << 20, "{name} read {read} bytes");
            let [one, other] = [from.join(file), to.join("made")].map(|path| fs::metadata(path).unwrap());
            assert_eq!(one.len(), other.len(), "{name}");
            assert!(other.blocks() <= one.blocks(), "{name}: {} blocks", other.blocks());
            fs::remove_file(to.join("made")).unwrap();
        }
        copy(&volume, "sparse", "made").unwrap();
        let copied = File::open(to.join("made")).unwrap();
        let mut content = [0; 8];
        std::os::unix::fs::FileExt::read_exact_at(&copied, &mut content, 70_000 << 20).unwrap();
        assert_eq!(&content, b"at 70000");
    }
}

#[test]
fn set_id_bits_are_dropped_and_no_more_is_kept_of_a_guests_directory() {
    for at in 0..3 {
        let volume = Volume::new(json!({}));
        let (name, copy, from, to) = ways(&volume)[at];
        fs::create_dir(from.join("tree")).unwrap();
        fs::write(from.join("tree/su"), "").unwrap();
        for (path, mode) in [("tree/su", 0o6755), ("tree", 0o7777)] {
            fs::set_permissions(from.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        copy(&volume, "tree", "made").unwrap();
        let mode = |path: &str| fs::metadata(to.join(path)).unwrap().mode() & 0o7777;
        assert_eq!(mode("made/su"), 0o755, "{name}");
        assert_eq!(mode("made"), if name == "copyOut" { 0o777 } else { 0o1777 }, "{name}");
    }
}

#[test]
fn the_stores_own_directories_are_neither_copied_nor_copied_to() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    fs::write(root.join("f"), "f").unwrap();
    fs::create_dir(root.join("dir")).unwrap();
    let volumes = root.parent().unwrap();
    let home = volumes.parent().unwrap();
    symlink(volumes, volume.outside.join("link")).unwrap();
    let (options, cancel) = (TransferOptions::default(), CancelToken::default());
    let refused = |files: &VolumeFs, path: &Path| {
        for error in [
            files.copy_in(path, "x", options, &cancel).unwrap_err(),
            files.copy_out("dir", path, options, &cancel).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{path:?}: {error}");
            assert_eq!(error.context().field.as_deref(), Some("hostPath"));
        }
    };
    for path in [home, volumes, &volumes.join("v"), &home.join("db"), &volume.outside.join("link/v")] {
        refused(&volume.files, path);
    }
    for path in
        [volumes.join("v/x"), home.join("db/x"), volume.outside.join("link/x"), volumes.join(".staging/x")]
    {
        let error = volume.files.copy_out("f", &path, options, &cancel).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{path:?}: {error}");
    }
    volume.files.copy_out("f", &home.join("beside"), options, &cancel).unwrap();
}
