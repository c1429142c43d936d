//! Permissions of files that the host makes: those of the directory or of the old file, never more than the original's.

mod replacing;

use crate::support::acl::{ACCESS, DEFAULT, acl, rights, set};
use crate::support::btrfs::{Btrfs, run};
use crate::support::child::in_child;
use crate::support::ordinary_user::{NOBODY, while_ordinary_user};
use crate::support::skip::skip;
use crate::support::volume::Volume;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{getegid, geteuid};
use sandbox_volumes::model::VolumePath;
use sandbox_volumes::store::TransferOptions;
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::{WriteFrom, WriteOptions};
use serde_json::json;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;

const PLAIN: WriteOptions = WriteOptions { atomic: false, durable: false, mode: None };
const ATOMIC: WriteOptions = WriteOptions { atomic: true, ..PLAIN };

const NAMED: u32 = 1000;

/// Longer than what is copied with its final mode from the beginning.
const LONG: usize = 100_000;

const OVERRIDE: &str = "user.msb.override_stat";

/// A way to make the file `new` of a directory, with a mode, in the volume; on the host the source has that mode.
type Maker = (&'static str, fn(&Volume, &str, u32));

fn stream(volume: &Volume, path: &str, options: WriteOptions) {
    let cancel = CancelToken::default();
    let prepared = volume.files.prepare_write().unwrap();
    let mut writer = prepared
        .open_writer_once(&VolumePath::parse(path).unwrap(), options, WriteFrom::Empty, &cancel)
        .unwrap();
    writer.write(b"new", &cancel).unwrap();
    writer.finish(&cancel).unwrap();
}

fn source(at: &Path, length: usize, mode: u32) {
    let _old = fs::remove_file(at);
    fs::write(at, vec![7; length]).unwrap();
    fs::set_permissions(at, Permissions::from_mode(mode)).unwrap();
}

fn copy_in(volume: &Volume, name: &str, to: &str) {
    let host = volume.outside.join(name);
    volume.files.copy_in(&host, to, TransferOptions::default(), &CancelToken::default()).unwrap();
}

/// Ways in which the umask counts.
const WRITERS: [Maker; 4] = [
    ("write", |volume, path, mode| {
        volume
            .files
            .write(path, b"new", WriteOptions { mode: Some(mode), ..PLAIN }, &CancelToken::default())
            .unwrap();
    }),
    ("atomic write", |volume, path, mode| {
        volume
            .files
            .write(path, b"new", WriteOptions { mode: Some(mode), ..ATOMIC }, &CancelToken::default())
            .unwrap();
    }),
    ("stream", |volume, path, mode| stream(volume, path, WriteOptions { mode: Some(mode), ..PLAIN })),
    ("atomic stream", |volume, path, mode| stream(volume, path, WriteOptions { mode: Some(mode), ..ATOMIC })),
];

/// Ways in which it does not: a copy has its original's mode.
const COPIES: [Maker; 5] = [
    ("copyIn", |volume, path, mode| {
        source(&volume.outside.join("f"), 3, mode);
        copy_in(volume, "f", path);
    }),
    ("copyIn, long", |volume, path, mode| {
        source(&volume.outside.join("f"), LONG, mode);
        copy_in(volume, "f", path);
    }),
    ("copyIn in place of a link", |volume, path, mode| {
        source(&volume.outside.join("f"), 3, mode);
        let dir = volume.outside.join("tree");
        let _old = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        fs::rename(volume.outside.join("f"), dir.join("new")).unwrap();
        symlink("nowhere", volume.files.root().join(path)).unwrap();
        copy_in(volume, "tree", Path::new(path).parent().unwrap().to_str().unwrap());
    }),
    ("copy", |volume, path, mode| {
        source(&volume.files.root().join("f"), 3, mode);
        volume.files.copy("f", path, &CancelToken::default()).unwrap();
    }),
    ("copy, long", |volume, path, mode| {
        source(&volume.files.root().join("f"), LONG, mode);
        volume.files.copy("f", path, &CancelToken::default()).unwrap();
    }),
];

/// Directories that give what is made in them something.
fn directories(volume: &Volume) -> Vec<&'static str> {
    let group = if geteuid().is_root() { 2345 } else { getegid().as_raw() };
    let named = Some((NAMED, 7));
    let kinds = [
        ("plain", false, None),
        ("set-gid", true, None),
        ("wide acl", false, Some(acl(7, named, 5, 7, 5))),
        ("narrow acl", false, Some(acl(6, named, 0, 6, 0))),
        ("acl of bits", false, Some(acl(7, None, 5, 0, 0))),
        ("both", true, Some(acl(7, named, 7, 7, 0))),
    ];
    kinds
        .map(|(name, is_set_gid, default)| {
            let dir = volume.files.root().join(name);
            fs::create_dir(&dir).unwrap();
            if is_set_gid {
                chown(&dir, None, Some(group)).unwrap();
                fs::set_permissions(&dir, Permissions::from_mode(0o2777)).unwrap();
            }
            if let Some(default) = default {
                set(&dir, DEFAULT, &default);
            }
            name
        })
        .to_vec()
}

fn with_umask<T>(mask: u32, work: impl FnOnce() -> T) -> T {
    let old = umask(Mode::from_bits_truncate(mask));
    let result = work();
    umask(old);
    result
}

#[test]
fn case_50_a_new_file_has_what_the_kernel_gives_one_that_is_made_there() {
    in_child(|| {
        let volume = Volume::new(json!({}));
        for dir in directories(&volume) {
            for (mask, makers) in [(0o022, &WRITERS[..]), (0o077, &WRITERS), (0, &WRITERS), (0, &COPIES)] {
                for mode in [0o644, 0o600, 0o666, 0o777, 0o750, 0o440, 0o604] {
                    let root = volume.files.root().join(dir);
                    let expected = with_umask(mask, || {
                        OpenOptions::new()
                            .write(true)
                            .create_new(true)
                            .mode(mode)
                            .open(root.join("k"))
                            .unwrap();
                        rights(&root.join("k"))
                    });
                    for (name, make) in makers {
                        // A copy is made with whatever umask there is.
                        let mask = if makers.len() == COPIES.len() { 0o027 } else { mask };
                        with_umask(mask, || make(&volume, &format!("{dir}/new"), mode));
                        let made = root.join("new");
                        assert_eq!(rights(&made), expected, "{name} in {dir}, mode {mode:o}, umask {mask:o}");
                        fs::remove_file(made).unwrap();
                    }
                    fs::remove_file(root.join("k")).unwrap();
                }
            }
        }
    });
}

#[test]
fn case_50_a_new_directory_has_what_the_kernel_gives_one_that_is_made_there() {
    in_child(|| {
        let volume = Volume::new(json!({}));
        let (root, outside, cancel) = (volume.files.root(), &volume.outside, CancelToken::default());
        for dir in directories(&volume) {
            if dir == "narrow acl" && !geteuid().is_root() {
                skip("a directory that its owner may not enter needs root");
                continue;
            }
            let makes = |mode, name: &str| {
                let path = root.join(dir).join(name);
                DirBuilder::new().mode(mode).create(&path).unwrap();
                rights(&path)
            };
            let expected = with_umask(0o022, || makes(0o755, "k"));
            for path in ["one", "two/three"] {
                with_umask(0o022, || volume.files.mkdir(format!("{dir}/{path}"), &cancel).unwrap());
            }
            assert_eq!(rights(&root.join(dir).join("one")), expected, "mkdir in {dir}");
            assert_eq!(rights(&root.join(dir).join("two")), expected, "mkdir of two in {dir}");
            for mode in [0o755, 0o700, 0o750, 0o775, 0o777, 0o1777] {
                let expected = with_umask(0, || makes(mode, &format!("k{mode:o}")));
                let tree = outside.join("tree");
                let _old = fs::remove_dir_all(&tree);
                fs::create_dir_all(tree.join("sub")).unwrap();
                for path in [&tree, &tree.join("sub")] {
                    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
                }
                let (made, to) = (root.join(dir).join("made"), format!("{dir}/made"));
                with_umask(0o027, || copy_in(&volume, "tree", &to));
                assert_eq!(rights(&made), expected, "copyIn to {dir}, {mode:o}");
                fs::remove_dir_all(&made).unwrap();
                fs::create_dir(&made).unwrap();
                let below = with_umask(0, || {
                    DirBuilder::new().mode(mode).create(made.join("k")).unwrap();
                    rights(&made.join("k"))
                });
                with_umask(0o027, || copy_in(&volume, "tree", &to));
                assert_eq!(rights(&made.join("sub")), below, "copyIn below {dir}, {mode:o}");
                fs::remove_dir_all(&made).unwrap();
            }
        }
    });
}

/// A group that only root is a member of.
const FOREIGN_GROUP: u32 = 2345;

/// Directories of root's that give what is made in them a foreign group, in a volume of an ordinary user's.
fn directories_of_a_foreign_group(volume: &Volume, below: &str) -> [String; 2] {
    [("set-gid", None), ("both", Some(acl(7, Some((NAMED, 7)), 7, 7, 0)))].map(|(name, default)| {
        let path = format!("{below}{name}");
        let dir = volume.files.root().join(&path);
        fs::create_dir(&dir).unwrap();
        chown(&dir, None, Some(FOREIGN_GROUP)).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o2777)).unwrap();
        if let Some(default) = default {
            set(&dir, DEFAULT, &default);
        }
        path
    })
}

fn gives_files_to_the_foreign_group(volume: &Volume, below: &str) {
    for dir in directories_of_a_foreign_group(volume, below) {
        let root = volume.files.root().join(&dir);
        for (mask, makers) in [(0o022, &WRITERS[..]), (0o777, &WRITERS), (0, &COPIES)] {
            for mode in [0o664, 0o600, 0o444] {
                let make_here = || {
                    let mut new = OpenOptions::new();
                    new.write(true).create_new(true).mode(mode).open(root.join("k")).unwrap();
                    rights(&root.join("k"))
                };
                let expected = with_umask(mask, || while_ordinary_user(make_here));
                for (name, make) in makers {
                    let path = format!("{dir}/new");
                    with_umask(mask, || while_ordinary_user(|| make(volume, &path, mode)));
                    let made = root.join("new");
                    assert_eq!(rights(&made).2, FOREIGN_GROUP, "{name} in {dir}");
                    assert_eq!(rights(&made), expected, "{name} in {dir}, mode {mode:o}, umask {mask:o}");
                    // What replaces it is the group's too, though not all of it is its owner's to give.
                    chown(&made, Some(0), None).unwrap();
                    set(&made, ACCESS, &acl(6, Some((NAMED, 6)), 6, 6, 0));
                    with_umask(mask, || while_ordinary_user(|| stream(volume, &path, ATOMIC)));
                    let (shown, user, group, access, _) = rights(&made);
                    assert_eq!((shown.as_str(), user, group), ("660", NOBODY, FOREIGN_GROUP), "{name}");
                    assert_eq!(access, Some(acl(6, Some((NAMED, 6)), 6, 6, 0)));
                    fs::remove_file(made).unwrap();
                }
                fs::remove_file(root.join("k")).unwrap();
            }
        }
        assert_eq!(fs::read_dir(root).unwrap().count(), 0, "nothing is left in {dir}");
    }
    let staging = volume.files.root().with_file_name(".staging");
    assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
}

#[test]
fn case_50_a_new_file_has_its_directorys_group_which_this_process_is_no_member_of() {
    in_child(|| {
        if !geteuid().is_root() {
            return skip("a directory of a foreign group needs root");
        }
        let home = tempfile::tempdir().unwrap();
        chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        let volume = while_ordinary_user(|| Volume::new_in(home.path(), json!({})));
        gives_files_to_the_foreign_group(&volume, "");
        if let Some(btrfs) = Btrfs::new() {
            chown(btrfs.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            let volume = while_ordinary_user(|| Volume::new_in(btrfs.path(), json!({})));
            gives_files_to_the_foreign_group(&volume, "");
            run("btrfs", &["subvolume", "create"], &volume.files.root().join("sub"));
            gives_files_to_the_foreign_group(&volume, "sub/");
        }
    });
}
