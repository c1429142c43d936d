//! Formats that the caller names, and formats that are detected.

use super::{inspect, patch, qemu_img, refused};
use sandbox_volumes::model::DiskFormat;
use std::fs::{self, File};
use std::path::Path;

const CAPACITY: u64 = 8 << 20;

fn raw(dir: &Path, name: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    File::create(&path).unwrap().set_len(CAPACITY).unwrap();
    path
}

#[test]
fn case_36_a_raw_image_in_which_a_guest_wrote_a_header_is_still_raw_where_the_caller_says_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    if !qemu_img(
        dir.path(),
        &["create", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b", "secret", "guest", "1M"],
    ) {
        return;
    }
    let header = fs::read(dir.path().join("guest")).unwrap();
    for name in ["disk.raw", "disk.img", "disk.RAW", "disk.Img"] {
        let path = raw(dir.path(), name);
        patch(&path, 0, &header);
        let found = inspect(&path, Some(DiskFormat::Raw)).unwrap();
        assert_eq!((found.format, found.capacity_bytes, found.fstype), (DiskFormat::Raw, CAPACITY, None));
        refused(&path, "is named as a raw image but looks like a qcow2 image. State its \"format\"");
    }
    let path = raw(dir.path(), "stated.qcow2");
    patch(&path, 0, &header);
    assert_eq!(inspect(&path, Some(DiskFormat::Raw)).unwrap().format, DiskFormat::Raw);
}

#[test]
fn every_format_is_told_by_its_name_or_by_its_content() {
    let dir = tempfile::tempdir().unwrap();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2, DiskFormat::Vmdk] {
        let extension = format.as_str();
        for name in
            [&format!("disk.{extension}"), &format!("{extension}-disk"), &format!("disk.x{extension}")]
        {
            if !qemu_img(dir.path(), &["create", "-q", "-f", extension, name, "8M"]) {
                return;
            }
            for stated in [None, Some(format)] {
                let found = inspect(&dir.path().join(name), stated).unwrap();
                assert_eq!((found.format, found.capacity_bytes), (format, CAPACITY), "{name}");
                assert!(found.parts.is_none());
            }
        }
    }
}

#[test]
fn a_name_or_a_statement_that_the_content_contradicts_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["disk.qcow2", "disk.QCOW2", "disk.vmdk"] {
        refused(&raw(dir.path(), name), "but has no header of a known format");
    }
    let path = raw(dir.path(), "disk");
    for format in [DiskFormat::Qcow2, DiskFormat::Vmdk] {
        let error = inspect(&path, Some(format)).unwrap_err().to_string();
        assert!(error.contains("that \"format\" says"), "{error}");
    }
}

#[test]
fn the_formats_of_other_programs_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for (format, name) in
        [("vdi", "a VirtualBox VDI"), ("vhdx", "a VHDX"), ("vpc", "a VHD"), ("qed", "a QED")]
    {
        let file = format!("disk.{format}");
        if !qemu_img(dir.path(), &["create", "-q", "-f", format, &file, "8M"]) {
            return;
        }
        refused(&dir.path().join(&file), &format!("looks like {name} image, which cannot be attached"));
        for other in ["disk.raw", "disk.img"] {
            fs::copy(dir.path().join(&file), dir.path().join(other)).unwrap();
            refused(&dir.path().join(other), &format!("is named as a raw image but looks like {name} image"));
        }
        for other in ["disk", "disk.bin"] {
            fs::copy(dir.path().join(&file), dir.path().join(other)).unwrap();
            refused(&dir.path().join(other), &format!("looks like {name} image, which cannot be attached"));
        }
        assert_eq!(inspect(&dir.path().join(&file), Some(DiskFormat::Raw)).unwrap().format, DiskFormat::Raw);
    }
}
