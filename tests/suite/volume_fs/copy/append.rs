//! Adding to the end of files.

use crate::support::volume::Volume;
use nix::unistd::mkfifo;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::store::AppendOptions;
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::thread;

fn append(volume: &Volume, path: &str, data: &[u8]) -> Result<(), String> {
    let options = AppendOptions { durable: true, ..AppendOptions::default() };
    volume.files.append(path, data, options, &CancelToken::default()).map_err(|error| error.code())
}

#[test]
fn a_file_is_made_and_grows_at_its_end_also_through_a_link() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    symlink("log", root.join("link")).unwrap();
    append(&volume, "link", b"one ").unwrap();
    append(&volume, "log", b"two ").unwrap();
    append(&volume, "link", b"").unwrap();
    fs::hard_link(root.join("log"), root.join("other")).unwrap();
    append(&volume, "other", b"three").unwrap();
    assert_eq!(fs::read_to_string(root.join("log")).unwrap(), "one two three");
    let options = AppendOptions { mode: Some(0o600), ..AppendOptions::default() };
    volume.files.append("private", b"", options, &CancelToken::default()).unwrap();
    volume.files.append("log", b"", options, &CancelToken::default()).unwrap();
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("private"), mode("log")), (0o600, 0o644));
}

#[test]
fn what_is_no_file_is_refused() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(root.join("dir")).unwrap();
    for (path, code) in
        [("fifo", "ENOTSUP"), ("dir", "EISDIR"), ("", "EISDIR"), ("new/", "EISDIR"), ("missing/x", "ENOENT")]
    {
        assert_eq!(append(&volume, path, b"x").unwrap_err(), code, "{path:?}");
    }
}

#[test]
fn appends_of_many_threads_all_stay() {
    let volume = Volume::new(json!({}));
    thread::scope(|scope| {
        for writer in 0..4u8 {
            let volume = &volume;
            scope.spawn(move || (0..200).for_each(|_| append(volume, "log", &[b'a' + writer; 100]).unwrap()));
        }
    });
    let content = fs::read(volume.files.root().join("log")).unwrap();
    assert_eq!(content.len(), 4 * 200 * 100);
    assert!(content.chunks(100).all(|chunk| chunk.iter().all(|byte| *byte == chunk[0])), "a torn append");
}

#[test]
fn case_45_what_an_append_takes_is_exact_at_the_limit() {
    let volume = Volume::new(json!({ "quotaMib": 1 }));
    let root = volume.files.root();
    let used = fs::metadata(root).unwrap().blocks() * 512;
    let free = (1 << 20) - used as usize;
    append(&volume, "f", &vec![1; free - 10]).unwrap();
    append(&volume, "f", &[2; 10]).unwrap();
    for path in ["f", "new"] {
        assert_eq!(append(&volume, path, b"x").unwrap_err(), "ERR_QUOTA_EXCEEDED", "{path}");
    }
    assert_eq!(fs::metadata(root.join("f")).unwrap().len() as usize, free);
    assert!(!root.join("new").exists());
    append(&volume, "f", b"").unwrap();
}

#[test]
fn case_45_the_last_block_of_a_sparse_file_may_still_have_to_be_allocated() {
    let volume = Volume::new(json!({ "quotaMib": 1 }));
    let root = volume.files.root();
    File::create(root.join("sparse")).unwrap().set_len(100).unwrap();
    let used = fs::metadata(root).unwrap().blocks() * 512;
    fs::write(root.join("filler"), vec![1; (1 << 20) - used as usize]).unwrap();
    assert_eq!(append(&volume, "sparse", b"x").unwrap_err(), "ERR_QUOTA_EXCEEDED");
    assert_eq!(fs::metadata(root.join("sparse")).unwrap().len(), 100);
}

#[test]
fn a_cancelled_append_adds_nothing() {
    let volume = Volume::new(json!({}));
    let cancel = CancelToken::default();
    cancel.cancel();
    for path in ["new", "new"] {
        let error = volume.files.append(path, b"x", AppendOptions::default(), &cancel).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Aborted);
    }
    assert!(!volume.files.root().join("new").exists());
}
