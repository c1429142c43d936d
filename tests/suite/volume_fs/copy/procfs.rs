//! Files that yield more bytes than their length in `stat`, as those of procfs do.

use crate::support::child::in_child;
use crate::support::mount_namespace::enter_namespace;
use crate::support::unmount::unmount;
use crate::support::volume::Volume;
use nix::mount::{MsFlags, mount};
use nix::unistd::geteuid;
use sandbox_volumes::store::TransferOptions;
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::ReadRange;
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A line, and some megabytes; both have a stat length of 0.
const FILES: [&str; 2] = ["/proc/version", "/proc/kallsyms"];

fn copy_in(volume: &Volume, host: &str, to: &str) -> Result<u64, String> {
    let copied =
        volume.files.copy_in(Path::new(host), to, TransferOptions::default(), &CancelToken::default());
    copied.map(|tally| tally.bytes).map_err(|error| error.code())
}

#[test]
fn case_51_what_comes_behind_the_stat_length_is_copied_in() {
    let volume = Volume::new(json!({}));
    for host in FILES {
        let content = fs::read(host).unwrap();
        assert_eq!(fs::metadata(host).unwrap().len(), 0, "{host}");
        for to in ["new", "new", "old"] {
            let old = volume.files.root().join("old");
            // The copy of an earlier round is read-only, as its source is.
            let _missing = fs::remove_file(&old);
            fs::write(&old, "much older").unwrap();
            assert_eq!(copy_in(&volume, host, to), Ok(content.len() as u64), "{host} to {to}");
            assert!(fs::read(volume.files.root().join(to)).unwrap() == content, "{host} to {to}");
        }
    }
}

#[test]
fn case_51_it_counts_to_the_quota() {
    let volume = Volume::new(json!({ "quotaMib": 1 }));
    let root = volume.files.root().to_owned();
    assert!(fs::read(FILES[1]).unwrap().len() > 1 << 20);
    fs::write(root.join("old"), "kept").unwrap();
    for to in ["new", "old"] {
        assert_eq!(copy_in(&volume, FILES[1], to), Err("ERR_QUOTA_EXCEEDED".to_owned()), "{to}");
    }
    assert!(!root.join("new").exists());
    assert_eq!(fs::read(root.join("old")).unwrap(), b"kept");
    copy_in(&volume, FILES[0], "new").unwrap();
    let blocks: u64 =
        ["", "new", "old"].map(|name| fs::metadata(root.join(name)).unwrap().blocks()).iter().sum();
    let free = (1 << 20) - blocks * 512;
    let write = |length: u64| {
        volume.files.write("more", &vec![7; length as usize], Default::default(), &CancelToken::default())
    };
    assert_eq!(write(free + 1).unwrap_err().code(), "ERR_QUOTA_EXCEEDED");
    write(free).unwrap();
}

#[test]
fn case_51_a_volumes_file_is_read_streamed_and_copied_to_its_end() {
    in_child(|| {
        if !geteuid().is_root() {
            return crate::support::skip::skip("binding a file needs root");
        }
        if !enter_namespace() {
            return;
        }
        let volume = Volume::new(json!({}));
        let root = volume.files.root().to_owned();
        let cancel = CancelToken::default();
        for host in FILES {
            let (bound, nothing) = (root.join("bound"), None::<&str>);
            fs::write(&bound, "").unwrap();
            mount(Some(host), &bound, nothing, MsFlags::MS_BIND, nothing).unwrap();
            let content = fs::read(host).unwrap();
            assert!(volume.files.open("bound").unwrap().read(&cancel).unwrap() == content, "{host}");
            let text = volume.files.open("bound").unwrap().read_string(&cancel).unwrap();
            assert!(text.as_bytes() == content, "{host}");
            for (start, end) in [(0, None), (7, None), (7, Some(29)), (0, Some(1 << 40))] {
                let reader = volume.files.open_reader("bound", ReadRange { start, end }).unwrap();
                let (mut read, mut buffer) = (Vec::new(), vec![0; 100_000]);
                loop {
                    let got = reader.read_next(&mut buffer, &cancel).unwrap();
                    read.extend_from_slice(&buffer[..got]);
                    if got < buffer.len() {
                        break;
                    }
                }
                let end = end.map_or(content.len(), |end| content.len().min(end as usize + 1));
                assert!(read == content[start as usize..end], "{host} from {start} to {end}");
            }
            volume.files.copy("bound", "copy", &cancel).unwrap();
            assert!(fs::read(root.join("copy")).unwrap() == content, "{host}");
            let out = volume.outside.join("out");
            volume.files.copy_out("bound", &out, TransferOptions::default(), &cancel).unwrap();
            assert!(fs::read(out).unwrap() == content, "{host}");
            unmount(&bound).unwrap();
        }
    });
}
