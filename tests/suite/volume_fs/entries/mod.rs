//! Listing, stat and rename, of any tree.

mod automount;
mod long_paths;
mod overlay;

use crate::support::child::in_child;
use crate::support::listing::{kind, listed, paths};
use crate::support::memory::memory_dir;
use crate::support::openat2;
use crate::support::report::report;
use crate::support::skip::skip;
use crate::support::volume::Volume;
use crate::support::watchdog::watched;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::mkfifo;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::VolumePath;
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::{ListOptions, Quota, VolumeRoot};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const WHOLE: ListOptions = ListOptions { recursive: true, whole: true };
const STREAMED: ListOptions = ListOptions { recursive: true, whole: false };

fn names(volume: &Volume, path: &str, recursive: bool) -> Vec<String> {
    paths(&listed(&volume.files, path, recursive).unwrap())
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn what_is_told_is_what_the_system_tells() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    fs::create_dir(root.join("dir")).unwrap();
    fs::set_permissions(root.join("dir"), fs::Permissions::from_mode(0o2751)).unwrap();
    let file = File::create(root.join("dir/file")).unwrap();
    file.set_len(5 << 40).unwrap();
    file.write_all_at(b"x", 1 << 20).unwrap();
    fs::hard_link(root.join("dir/file"), root.join("again")).unwrap();
    let past = std::time::UNIX_EPOCH - Duration::from_millis(1500);
    file.set_modified(past).unwrap();
    symlink("dir/file", root.join("link")).unwrap();
    mkfifo(&root.join("fifo"), Mode::S_IRUSR).unwrap();

    let entries = listed(&volume.files, "", true).unwrap();
    assert_eq!(paths(&entries), ["again", "dir", "fifo", "link", "dir/file"]);
    for (path, facts) in &entries {
        let seen = fs::symlink_metadata(root.join(path)).unwrap();
        let stat = volume.files.stat(path, false).unwrap();
        assert_eq!((facts.mode, facts.size), (seen.mode(), seen.len()), "{path:?}");
        assert_eq!(facts.modified, seen.modified().ok(), "{path:?}");
        assert_eq!((stat.mode, stat.size, stat.nlink), (seen.mode(), seen.len(), seen.nlink()), "{path:?}");
        assert_eq!((stat.uid, stat.gid, stat.allocated_bytes), (seen.uid(), seen.gid(), seen.blocks() * 512));
        let times = (stat.modified, stat.accessed, stat.created);
        assert_eq!(times, (seen.modified().ok(), seen.accessed().ok(), seen.created().ok()), "{path:?}");
    }
    let stat = volume.files.stat("link", true).unwrap();
    assert_eq!((kind(stat.mode), stat.size, stat.nlink, stat.modified), ("file", 5 << 40, 2, Some(past)));
}

#[test]
fn a_streamed_listing_tells_the_same_as_a_whole_one() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    for dir in 0..40 {
        fs::create_dir_all(root.join(format!("{dir}/{dir}"))).unwrap();
        for file in 0..dir {
            fs::write(root.join(format!("{dir}/{dir}/{file}")), "").unwrap();
        }
    }
    let all = |options, most| {
        let mut listing = volume.files.list("", options).unwrap();
        let (mut entries, mut is_last) = (Vec::new(), false);
        while !is_last {
            let batch = listing.next(most, &CancelToken::default()).unwrap();
            assert!(batch.metadata.len() <= most);
            is_last = batch.is_last;
            entries.extend(batch.entries());
        }
        assert!(listing.next(most, &CancelToken::default()).unwrap().is_last);
        entries
    };
    let whole = all(WHOLE, 10_000);
    assert_eq!(whole.len(), 80 + (0..40).sum::<usize>());
    for most in [1, 7, 10_000] {
        assert_eq!(all(WHOLE, most), whole);
        let mut streamed = all(STREAMED, most);
        let sorted: BTreeSet<_> = whole.iter().map(|(path, _)| path.clone()).collect();
        streamed.sort_by(|one, other| one.0.cmp(&other.0));
        assert!(streamed.iter().map(|(path, _)| path).eq(sorted.iter()));
    }
}

#[test]
fn case_10_special_files_are_listed_looked_at_and_renamed() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    mkfifo(&root.join("fifo"), Mode::S_IRWXU).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    symlink("fifo", root.join("link")).unwrap();
    let mut expected = vec!["fifo", "link", "socket"];
    let made = nix::sys::stat::mknod(
        &root.join("device"),
        nix::sys::stat::SFlag::S_IFCHR,
        Mode::S_IRWXU,
        nix::sys::stat::makedev(5, 0),
    );
    match made {
        Ok(()) => expected.insert(0, "device"),
        Err(errno) => skip(format_args!("device nodes need root and CAP_MKNOD: {errno}")),
    }
    // A FIFO that is opened waits for its other end without a limit.
    watched("an operation on a special file", || {
        assert_eq!(names(&volume, "", true), expected);
        for name in &expected {
            assert_eq!(kind(volume.files.stat(name, true).unwrap().mode), "other", "{name}");
        }
        for name in &expected {
            volume.files.rename(name, format!("{name}-renamed"), &CancelToken::default()).unwrap();
            let error = volume.files.list(format!("{name}-renamed"), STREAMED).map(drop).unwrap_err();
            assert!(["ENOTDIR", "ENOENT"].contains(&error.code().as_str()), "{name}: {error}");
            assert!(!volume.files.exists(name).unwrap());
        }
    });
}

/// Makes `levels` directories, each in the one before it, with a file at the end.
fn deepen(root: &Path, levels: usize, name: &str) {
    let mut dir = OwnedFd::from(File::open(root).unwrap());
    for _ in 0..levels {
        mkdirat(&dir, name, Mode::S_IRWXU).unwrap();
        mkdirat(&dir, "sibling", Mode::S_IRWXU).unwrap();
        dir = openat(&dir, name, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
    }
    openat(&dir, "f", OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::S_IRWXU).unwrap();
}

/// Lists a deep tree, with few descriptors and little stack.
fn check_deep(levels: usize, options: ListOptions) {
    setrlimit(Resource::RLIMIT_NOFILE, 256, 256).unwrap();
    let volume = Volume::new_in(&memory_dir(), json!({}));
    deepen(volume.files.root(), levels, "d");
    let work = || {
        let start = Instant::now();
        // The store holds the root of a volume that was used.
        assert!(volume.files.exists("").unwrap());
        let before = open_descriptors();
        let mut listing = volume.files.list("", options).unwrap();
        let (mut entries, mut longest, mut held) = (0, 0, 0);
        loop {
            let batch = listing.next(4096, &CancelToken::default()).unwrap();
            entries += batch.metadata.len();
            held = held.max(open_descriptors() - before);
            longest = batch.entries().map(|(path, _)| path.as_os_str().len()).fold(longest, usize::max);
            if batch.is_last {
                break;
            }
        }
        report(format_args!("{levels} levels in {:?} with {held} descriptors", start.elapsed()));
        // The longest path is that of the innermost sibling.
        assert_eq!((entries, longest), (2 * levels + 1, 2 * (levels - 1) + "sibling".len()));
        assert!(held < 50, "{held} descriptors");
        drop(listing);
        assert_eq!(open_descriptors(), before);
    };
    let done = thread::scope(|scope| {
        thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, work).unwrap().join()
    });
    // Too deep for what deletes the home.
    volume.store.remove(&volume.name, &CancelToken::default()).unwrap();
    done.unwrap();
}

#[test]
fn case_22_a_tree_of_12_000_levels_is_listed() {
    in_child(|| check_deep(12_000, STREAMED));
}

#[test]
fn case_22_a_tree_of_5_000_levels_is_listed_as_a_whole() {
    in_child(|| check_deep(5_000, WHOLE));
}

#[test]
fn a_mount_is_listed_and_not_entered_and_renaming_into_it_is_refused() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    for dir in ["mount", "dir"] {
        fs::create_dir(root.join(dir)).unwrap();
        fs::write(root.join(dir).join("file"), "").unwrap();
    }
    let bound = root.join("mount");
    let none: Option<&str> = None;
    if let Err(errno) = mount(Some(&volume.outside), &bound, none, MsFlags::MS_BIND, none) {
        return skip(format_args!("mounting needs root: {errno}"));
    }
    fs::write(bound.join("not-ours"), "").unwrap();
    let listed = listed(&volume.files, "", true).map(|entries| paths(&entries));
    let renamed = volume.files.rename("dir/file", "mount/file", &CancelToken::default());
    let moved = volume.files.rename("mount", "moved", &CancelToken::default());
    umount2(&bound, MntFlags::MNT_DETACH).unwrap();
    assert_eq!(listed.unwrap(), ["dir", "mount", "dir/file"]);
    assert_eq!(renamed.unwrap_err().code(), "EXDEV");
    assert_eq!(moved.unwrap_err().code(), "EBUSY");
    assert_eq!(names(&volume, "mount", false), ["mount/file"]);
}

#[test]
fn what_vanishes_while_it_is_listed_is_left_out() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    for name in ["a", "b", "c", "d"] {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("file"), "").unwrap();
    }
    let mut listing = volume.files.list("", WHOLE).unwrap();
    let mut told = Vec::new();
    let mut next = |listing: &mut sandbox_volumes::store::DirListing, most| {
        let batch = listing.next(most, &CancelToken::default()).unwrap();
        told.extend(batch.entries().map(|(path, _)| path.to_str().unwrap().to_owned()));
    };
    next(&mut listing, 1);
    fs::remove_dir_all(root.join("b")).unwrap();
    next(&mut listing, 2);
    fs::remove_dir_all(root.join("c")).unwrap();
    fs::remove_dir_all(root.join("d")).unwrap();
    symlink(&volume.outside, root.join("c")).unwrap();
    fs::write(root.join("d"), "a file by now").unwrap();
    fs::write(volume.outside.join("secret"), "").unwrap();
    next(&mut listing, 100);
    assert_eq!(told, ["a", "c", "d", "a/file"]);
}

#[test]
fn case_20_a_listing_whose_volume_is_removed_ends_and_tells_nothing_of_the_next_one() {
    let volume = Volume::new(json!({}));
    volume.files.mkdir("a/b", &CancelToken::default()).unwrap();
    let mut listing = volume.files.list("", WHOLE).unwrap();
    assert_eq!(listing.next(1, &CancelToken::default()).unwrap().metadata.len(), 1);
    volume.store.remove(&volume.name, &CancelToken::default()).unwrap();
    let spec = sandbox_volumes::model::VolumeSpec::from_options(&[]).unwrap();
    volume.store.create(&volume.name, &spec, &CancelToken::default()).unwrap();
    volume.files.mkdir("a/c", &CancelToken::default()).unwrap();
    let batch = listing.next(10, &CancelToken::default()).unwrap();
    assert!(batch.is_last && batch.metadata.is_empty());
}

#[test]
fn case_18_the_same_holds_where_openat2_is_missing() {
    let slow = ["--skip", "case_22", "--skip", "long_paths", "--skip", "case_18"];
    openat2::run_where_it_fails(nix::errno::Errno::ENOSYS, &slow);
}

#[test]
fn a_listing_is_cancelled_between_entries() {
    let volume = Volume::new(json!({}));
    fs::write(volume.files.root().join("file"), "").unwrap();
    let mut listing = volume.files.list("", WHOLE).unwrap();
    let cancel = CancelToken::default();
    cancel.cancel();
    assert_eq!(listing.next(10, &cancel).unwrap_err().kind(), ErrorKind::Aborted);
}

#[test]
fn a_directory_that_may_not_be_read_is_an_error_that_names_it() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root().clone();
    for dir in ["closed", "names-only"] {
        fs::create_dir_all(root.join("dir").join(dir)).unwrap();
        fs::write(root.join("dir").join(dir).join("file"), "").unwrap();
    }
    if !nix::unistd::geteuid().is_root() {
        return skip("becoming another user needs root");
    }
    // The volume belongs to that user; these two directories are root's.
    for path in [".", "dir"] {
        std::os::unix::fs::chown(root.join(path), Some(65534), None).unwrap();
    }
    let code_of = |mode: u32, dir: &str| {
        for other in ["closed", "names-only"] {
            let mode = if other == dir { mode } else { 0o755 };
            fs::set_permissions(root.join("dir").join(other), fs::Permissions::from_mode(mode)).unwrap();
        }
        let opened = volume.files.list("dir", STREAMED).unwrap();
        let user = |uid| nix::unistd::seteuid(nix::unistd::Uid::from_raw(uid)).unwrap();
        let mut listing = opened;
        user(65534);
        let result = listing.next(100, &CancelToken::default());
        user(0);
        let error = result.unwrap_err();
        (error.code(), error.context().path.clone().unwrap())
    };
    in_child(|| {
        assert_eq!(code_of(0o700, "closed"), ("EACCES".into(), "dir/closed".into()));
        assert_eq!(code_of(0o744, "names-only").0, "EACCES");
    });
}

#[test]
fn directories_are_made_below_one_that_may_not_be_read() {
    if !nix::unistd::geteuid().is_root() {
        return skip("becoming another user needs root");
    }
    in_child(|| {
        let root = tempfile::tempdir().unwrap();
        let closed = root.path().join("closed");
        fs::create_dir(&closed).unwrap();
        std::os::unix::fs::chown(&closed, Some(65534), None).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o300)).unwrap();
        let name = sandbox_volumes::model::VolumeName::parse("v").unwrap();
        let tree = VolumeRoot::new(name, File::open(root.path()).unwrap().into());
        let user = |uid| nix::unistd::seteuid(nix::unistd::Uid::from_raw(uid)).unwrap();
        user(65534);
        let made = tree.mkdir(
            &VolumePath::parse("closed/a/b/c").unwrap(),
            Quota::mib(None),
            &CancelToken::default(),
        );
        user(0);
        made.unwrap();
        assert!(closed.join("a/b/c").is_dir());
    });
}

#[test]
fn a_directory_is_not_renamed_into_itself() {
    let volume = Volume::new(json!({}));
    volume.files.mkdir("a/b", &CancelToken::default()).unwrap();
    for to in ["a/c", "a/b/c", "a/b/../c"] {
        let error = volume.files.rename("a", to, &CancelToken::default()).unwrap_err();
        assert_eq!(error.code(), "EINVAL", "{to}: {error}");
        let context = error.context();
        assert_eq!((context.path.as_deref(), context.dest.as_deref()), (Some("a"), Some(to)));
        assert!(error.to_string().contains(&format!("rename \"a\" -> {to:?}")), "{error}");
    }
    volume.files.mkdir("full/x", &CancelToken::default()).unwrap();
    volume.files.mkdir("empty", &CancelToken::default()).unwrap();
    assert_eq!(volume.files.rename("a", "full", &CancelToken::default()).unwrap_err().code(), "ENOTEMPTY");
    volume.files.rename("a", "empty", &CancelToken::default()).unwrap();
    assert_eq!(names(&volume, "empty", true), ["empty/b"]);
}

#[test]
fn renaming_is_cancelled_before_it_is_done() {
    let volume = Volume::new(json!({}));
    fs::write(volume.files.root().join("f"), "").unwrap();
    let cancel = CancelToken::default();
    cancel.cancel();
    assert_eq!(volume.files.rename("f", "g", &cancel).unwrap_err().kind(), ErrorKind::Aborted);
    assert!(volume.files.exists("f").unwrap());
}
