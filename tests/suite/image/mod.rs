//! Disk images: their detected formats, which are refused, and new ones. qemu-img and `mkfs` of each file system judge.

mod corpus;
mod create;
mod file_systems;
mod format;
mod mutated;
mod qcow2;
mod special;
mod vmdk;

use crate::support::opens::Opens;
use crate::support::skip;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::image::{self, Inspected};
use sandbox_volumes::model::DiskFormat;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// Opens and inspects an image as a store does.
fn inspect(path: &Path, stated: Option<DiskFormat>) -> Result<Inspected, Error> {
    let opened = image::open(path, |_, _| Ok(()))?;
    image::inspect(&opened.file, path, opened.directory.as_fd(), stated)
}

/// Holds that an image is refused, in these words among others.
#[track_caller]
fn refused(path: &Path, because: &str) {
    let error = inspect(path, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskImage, "{error}");
    assert_eq!(error.context().path.as_deref(), path.to_str());
    assert!(error.to_string().contains(because), "{error}");
}

/// Runs a tool in a directory; false, and a note, where it is not there. It must succeed.
fn run(dir: &Path, tool: &str, args: &[&str]) -> bool {
    let output = match Command::new(tool).args(args).current_dir(dir).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skip::skip(format_args!("{tool} is missing"));
            return false;
        }
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{tool} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    true
}

fn qemu_img(dir: &Path, args: &[&str]) -> bool {
    run(dir, "qemu-img", args)
}

/// Writes into an existing file.
fn patch(path: &Path, at: u64, bytes: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}
