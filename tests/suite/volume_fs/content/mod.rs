//! Reading and writing whole files: options, limits, quotas, cancellation.

mod concurrent;
mod reading;

use crate::support::child::in_child;
use crate::support::openat2;
use crate::support::read_only::in_read_only_namespace;
use crate::support::skip::skip;
use crate::support::volume::Volume;
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, geteuid, setresuid};
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::MIB;
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::WriteOptions;
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PLAIN: WriteOptions = WriteOptions { atomic: false, durable: false, mode: None };
const ATOMIC: WriteOptions = WriteOptions { atomic: true, ..PLAIN };
const BOTH: [WriteOptions; 2] = [PLAIN, ATOMIC];

impl Volume {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let read = self.files.open(path).and_then(|file| file.read(&CancelToken::default()));
        read.map_err(|error| error.code())
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.files.root().join(path)).unwrap().mode() & 0o7777
    }

    fn assert_nothing_staged(&self) {
        let staging = self.files.root().with_file_name(".staging");
        assert_eq!(fs::read_dir(staging).unwrap().count(), 0, "something is left in staging");
    }
}

fn refused(code: &str) -> Result<(), String> {
    Err(code.to_owned())
}

#[test]
fn new_files_and_directories_have_their_mode_less_the_umask() {
    in_child(|| {
        for (mask, file, dir, open) in [(0o000, 0o644, 0o755, 0o666), (0o077, 0o600, 0o700, 0o600)] {
            // Other users must not be able to write the home.
            umask(Mode::from_bits_truncate(0o077));
            let volume = Volume::new(json!({}));
            umask(Mode::from_bits_truncate(mask));
            volume.files.mkdir("a/b", &CancelToken::default()).unwrap();
            assert_eq!((volume.mode("a"), volume.mode("a/b")), (dir, dir));
            for (name, options) in [("plain", PLAIN), ("atomic", ATOMIC)] {
                volume.write(name, b"x", options).unwrap();
                assert_eq!(volume.mode(name), file, "{name}");
                let wide = format!("{name}-open");
                volume.write(&wide, b"x", WriteOptions { mode: Some(0o666), ..options }).unwrap();
                assert_eq!(volume.mode(&wide), open, "{name}");
                volume.write(name, b"y", WriteOptions { mode: Some(0o666), ..options }).unwrap();
                assert_eq!(volume.mode(name), file, "{name}: a file that is there keeps its mode");
            }
        }
    });
}

#[test]
fn a_write_leaves_exactly_its_content_whatever_was_there() {
    let volume = Volume::new(json!({}));
    for options in BOTH {
        for length in [5, 100_000, 3, 0, 0, 4096, 1 << 20, 1] {
            let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            volume.write("f", &content, options).unwrap();
            assert!(volume.read("f").unwrap() == content, "{length} bytes, {options:?}");
        }
    }
    volume.assert_nothing_staged();
}

#[test]
fn a_durable_write_leaves_its_content_as_well() {
    let volume = Volume::new(json!({}));
    fs::create_dir(volume.files.root().join("dir")).unwrap();
    for (name, options) in [("f", PLAIN), ("g", ATOMIC), ("dir/f", PLAIN), ("dir/g", ATOMIC)] {
        for content in [&b"first"[..], b"2nd"] {
            volume.write(name, content, WriteOptions { durable: true, ..options }).unwrap();
            assert_eq!(volume.read(name).unwrap(), content, "{name}");
        }
    }
}

#[test]
fn a_durable_write_into_a_directory_that_may_not_be_read_is_acknowledged() {
    in_child(|| {
        if geteuid().is_root() {
            setresuid(Uid::from_raw(65_534), Uid::from_raw(65_534), Uid::from_raw(65_534)).unwrap();
        }
        let volume = Volume::new(json!({}));
        let dir = volume.files.root().join("dir");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o300)).unwrap();
        for options in BOTH {
            let durable = WriteOptions { durable: true, ..options };
            assert_eq!(volume.write("dir/f", b"x", durable), Ok(()), "{options:?}");
        }
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
    });
}

/// Alternates two contents until `enough` and gives how many reads saw one of them, and how many a mix.
fn read_while_writing(options: WriteOptions, enough: impl Fn(u32, u32) -> bool + Sync) -> (u32, u32) {
    let volume = Volume::new(json!({}));
    let contents = [vec![b'a'; 700_000], vec![b'b'; 1_000_000]];
    volume.write("f", &contents[0], options).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut whole, mut mixed) = (0, 0);
            while !enough(whole, mixed) {
                match contents.contains(&volume.read("f").unwrap()) {
                    true => whole += 1,
                    false => mixed += 1,
                }
            }
            done.store(true, Ordering::Relaxed);
            (whole, mixed)
        });
        for content in contents.iter().cycle() {
            volume.write("f", content, options).unwrap();
            if done.load(Ordering::Relaxed) || reader.is_finished() {
                break;
            }
        }
        reader.join().unwrap()
    })
}

#[test]
fn case_26_a_reader_of_an_atomic_write_sees_the_old_or_the_new_content() {
    let (whole, mixed) = read_while_writing(ATOMIC, |whole, mixed| whole + mixed == 500);
    println!("{whole} reads saw one content, {mixed} a mix");
    assert_eq!(mixed, 0);
}

#[test]
fn the_same_reader_catches_a_plain_write() {
    let deadline = Instant::now() + Duration::from_secs(120);
    let (_, mixed) = read_while_writing(PLAIN, |_, mixed| mixed > 0 || Instant::now() > deadline);
    assert!(mixed > 0);
}

#[test]
fn an_atomic_write_keeps_the_mode_and_as_root_the_owner_of_the_old_file() {
    let volume = Volume::new(json!({}));
    let file = volume.files.root().join("f");
    fs::write(&file, "old").unwrap();
    let as_root = geteuid().is_root();
    if as_root {
        chown(&file, Some(12345), Some(23456)).unwrap();
    } else {
        skip("keeping an owner needs root");
    }
    fs::set_permissions(&file, Permissions::from_mode(0o4751)).unwrap();
    let before = fs::metadata(&file).unwrap();
    volume.write("f", b"new", ATOMIC).unwrap();
    let after = fs::metadata(&file).unwrap();
    assert_ne!(before.ino(), after.ino());
    assert_eq!((before.mode(), before.uid(), before.gid()), (after.mode(), after.uid(), after.gid()));
    assert_eq!(after.uid() == 12345, as_root);
    assert_eq!(volume.read("f").unwrap(), b"new");
}

#[test]
fn a_refused_write_leaves_nothing_behind() {
    let volume = Volume::new(json!({ "quotaMib": 1 }));
    fs::create_dir(volume.files.root().join("dir")).unwrap();
    let cancelled = CancelToken::default();
    cancelled.cancel();
    for options in BOTH {
        assert_eq!(volume.write("dir", b"x", options), refused("EISDIR"));
        assert_eq!(volume.write("missing/f", b"x", options), refused("ENOENT"));
        assert_eq!(volume.write("big", &vec![0; 2 << 20], options), refused("ERR_QUOTA_EXCEEDED"));
        let error = volume.files.write("f", b"x", options, &cancelled).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Aborted);
        assert_eq!(fs::read_dir(volume.files.root()).unwrap().count(), 1, "{options:?}");
        volume.assert_nothing_staged();
        assert_eq!(fs::read_dir(&volume.outside).unwrap().count(), 0);
    }
}

/// A write that fills the quota is made, and one of a byte more changes nothing.
fn check_quota(write: impl Fn(&Volume, &str, &[u8]) -> Result<(), String>) -> Result<(), String> {
    let volume = Volume::new(json!({ "quotaMib": 1 }));
    let room = (MIB - volume.used_bytes()) as usize;
    let over = |path: &str, content: &[u8]| match write(&volume, path, content) {
        Err(code) if code == "ERR_QUOTA_EXCEEDED" => Ok(()),
        result => Err(format!("{path} over the quota: {result:?}")),
    };
    over("f", &vec![1; room + 1])?;
    if volume.files.exists("f").unwrap() {
        return Err("a refused file is there".to_owned());
    }
    write(&volume, "f", &vec![1; room])?;
    over("g", b"x")?;
    if volume.files.exists("g").unwrap() {
        return Err("a refused file is there".to_owned());
    }
    write(&volume, "f", &vec![2; room])?;
    over("f", &vec![3; room + 1])?;
    if volume.read("f").unwrap() != vec![2; room] {
        return Err("the old content is gone".to_owned());
    }
    write(&volume, "g", b"")?;
    write(&volume, "f", &vec![4; room / 2])?;
    write(&volume, "g", &vec![5; room / 4])
}

#[test]
fn case_45_a_write_may_fill_the_quota_and_not_a_block_more() {
    for options in BOTH {
        check_quota(|volume, path, content| volume.write(path, content, options)).unwrap();
    }
}

#[test]
fn case_45_faulty_writes_leave_something_or_refuse_what_fits() {
    in_read_only_namespace(|| {
        let put = |volume: &Volume, path: &str, content: &[u8]| {
            fs::write(volume.files.root().join(path), content).unwrap();
        };
        let measured_afterwards = |volume: &Volume, path: &str, content: &[u8]| {
            put(volume, path, content);
            if volume.used_bytes() > MIB { refused("ERR_QUOTA_EXCEEDED") } else { Ok(()) }
        };
        assert_eq!(check_quota(measured_afterwards), Err("a refused file is there".to_owned()));
        let emptied_first = |volume: &Volume, path: &str, content: &[u8]| {
            let was_there = volume.files.exists(path).unwrap();
            put(volume, path, b"");
            if volume.used_bytes() + content.len() as u64 > MIB {
                if !was_there {
                    fs::remove_file(volume.files.root().join(path)).unwrap();
                }
                return refused("ERR_QUOTA_EXCEEDED");
            }
            put(volume, path, content);
            Ok(())
        };
        assert_eq!(check_quota(emptied_first), Err("the old content is gone".to_owned()));
        let counted_twice = |volume: &Volume, path: &str, content: &[u8]| {
            if volume.used_bytes() + content.len() as u64 > MIB {
                return refused("ERR_QUOTA_EXCEEDED");
            }
            put(volume, path, content);
            Ok(())
        };
        assert_eq!(check_quota(counted_twice), refused("ERR_QUOTA_EXCEEDED"));
    });
}

#[test]
fn case_45_what_the_guest_wrote_counts_and_may_be_made_less() {
    for options in BOTH {
        let volume = Volume::new(json!({ "quotaMib": 1 }));
        fs::write(volume.files.root().join("guest"), vec![1; 600 << 10]).unwrap();
        assert_eq!(volume.write("f", &vec![2; 600 << 10], options), refused("ERR_QUOTA_EXCEEDED"));
        volume.write("f", &vec![2; 300 << 10], options).unwrap();
        fs::write(volume.files.root().join("guest"), vec![1; 3 << 20]).unwrap();
        assert_eq!(volume.write("g", b"x", options), refused("ERR_QUOTA_EXCEEDED"));
        volume.write("guest", &vec![3; 400 << 10], options).unwrap();
        volume.write("g", b"x", options).unwrap();
    }
}

#[test]
fn case_45_an_old_file_that_has_another_name_gives_nothing_back_when_it_is_replaced() {
    let volume = Volume::new(json!({ "quotaMib": 1 }));
    let root = volume.files.root();
    volume.write("f", &vec![1; 600 << 10], PLAIN).unwrap();
    fs::hard_link(root.join("f"), root.join("guest")).unwrap();
    assert_eq!(volume.write("f", &vec![2; 600 << 10], ATOMIC), refused("ERR_QUOTA_EXCEEDED"));
    volume.write("f", &vec![2; 600 << 10], PLAIN).unwrap();
    assert!(volume.used_bytes() <= MIB);
}

#[test]
fn invalid_utf_8_is_an_error_that_says_where() {
    let volume = Volume::new(json!({}));
    volume.write("f", b"good \xff", PLAIN).unwrap();
    let error = volume.files.open("f").unwrap().read_string(&CancelToken::default()).unwrap_err();
    assert_eq!(error.code(), "EILSEQ");
    assert!(error.to_string().contains("at byte 5"), "{error}");
}

#[test]
fn directories_made_at_once_by_many_are_all_there() {
    let volume = Volume::new(json!({}));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..20 {
                    volume.files.mkdir(format!("{round}/a/b/c"), &CancelToken::default()).unwrap();
                }
            });
        }
    });
    assert_eq!(fs::read_dir(volume.files.root()).unwrap().count(), 20);
}

#[test]
fn what_is_cancelled_in_time_changes_nothing_and_says_so() {
    let volume = Volume::new(json!({}));
    volume.write("f", b"old", PLAIN).unwrap();
    volume.files.mkdir("dir/sub", &CancelToken::default()).unwrap();
    let cancel = CancelToken::default();
    let opened = volume.files.open("f").unwrap();
    assert!(cancel.cancel());
    let results = [
        opened.read(&cancel).map(drop),
        volume.files.open("f").unwrap().read_string(&cancel).map(drop),
        volume.files.write("f", b"new", PLAIN, &cancel),
        volume.files.write("f", b"new", ATOMIC, &cancel),
        volume.files.write("g", b"new", PLAIN, &cancel),
        volume.files.mkdir("new", &cancel),
        volume.files.remove("f", &cancel),
        volume.files.remove_all("dir", &cancel),
    ];
    for (at, result) in results.into_iter().enumerate() {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Aborted, "operation {at}");
    }
    assert_eq!(volume.read("f").unwrap(), b"old");
    assert!(volume.files.exists("dir/sub").unwrap());
    assert_eq!(fs::read_dir(volume.files.root()).unwrap().count(), 2);
    volume.assert_nothing_staged();
}

#[test]
fn a_cancellation_after_the_write_comes_too_late() {
    let volume = Volume::new(json!({}));
    for options in BOTH {
        let cancel = CancelToken::default();
        volume.files.write("f", b"new", options, &cancel).unwrap();
        assert!(!cancel.cancel());
    }
}

#[test]
fn case_18_whole_files_are_read_and_written_the_same_where_openat2_is_missing() {
    let tests = ["--skip", "case_18", "--skip", "faulty", "--skip", "the_same_reader_catches"];
    openat2::run_where_it_fails(Errno::ENOSYS, &tests);
}
