//! vmdk images that are refused, and what of them is opened.

use super::{Opens, inspect, patch, qemu_img, refused, run};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sandbox_volumes::model::DiskFormat;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const SUBFORMATS: [&str; 5] =
    ["monolithicSparse", "streamOptimized", "monolithicFlat", "twoGbMaxExtentFlat", "twoGbMaxExtentSparse"];

fn image(subformat: &str, size: &str) -> Option<(TempDir, PathBuf)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.vmdk");
    let option = format!("subformat={subformat}");
    qemu_img(dir.path(), &["create", "-q", "-f", "vmdk", "-o", &option, "disk.vmdk", size])
        .then_some((dir, path))
}

fn descriptor(create_type: &str, extents: &str) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=11111111\nparentCID=ffffffff\ncreateType=\"{create_type}\"\n{extents}\n"
    )
}

/// Writes a descriptor beside a file of 1 MiB called "data".
fn written(create_type: &str, extents: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.vmdk");
    fs::write(&path, descriptor(create_type, extents)).unwrap();
    File::create(dir.path().join("data")).unwrap().set_len(1 << 20).unwrap();
    (dir, path)
}

#[test]
fn every_subformat_that_qemu_img_makes_is_accepted_and_its_extents_opened() {
    for (subformat, extents) in SUBFORMATS.iter().zip([0, 0, 1, 3, 3]) {
        let Some((dir, path)) = image(subformat, "5G") else { return };
        for stated in [None, Some(DiskFormat::Vmdk)] {
            let found = inspect(&path, stated).unwrap();
            assert_eq!((found.format, found.capacity_bytes), (DiskFormat::Vmdk, 5 << 30), "{subformat}");
            let files = found.parts.map_or_else(Vec::new, |parts| parts.files);
            assert_eq!(files.len(), extents, "{subformat}");
            for extent in files {
                let mut file = extent.file;
                file.read_exact(&mut [0; 4]).unwrap();
                assert!(dir.path().join(&extent.name).is_file());
            }
        }
    }
}

#[test]
fn case_35_an_extent_outside_the_directory_is_refused_and_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    File::create(&secret).unwrap().set_len(1 << 20).unwrap();
    fs::create_dir_all(dir.path().join("images/below")).unwrap();
    fs::copy(&secret, dir.path().join("images/below/data")).unwrap();
    let path = dir.path().join("images/disk.vmdk");
    let opens = Opens::watch(&secret);
    for name in
        [secret.to_str().unwrap(), "../secret", "../images/../secret", "below/data", "..\\secret", ".."]
    {
        for (create_type, kind, end) in
            [("monolithicFlat", "FLAT", " 0"), ("vmfs", "VMFS", ""), ("twoGbMaxExtentSparse", "SPARSE", "")]
        {
            let text = descriptor(create_type, &format!("RW 2048 {kind} \"{name}\"{end}"));
            fs::write(&path, text).unwrap();
            refused(&path, "without a path");
        }
    }
    symlink("../secret", dir.path().join("images/link")).unwrap();
    fs::write(&path, descriptor("monolithicFlat", "RW 2048 FLAT \"link\" 0")).unwrap();
    refused(&path, "which is a symbolic link");
    assert!(!opens.any());
}

#[test]
fn case_35_an_extent_that_is_no_regular_file_is_refused_and_not_opened() {
    let (dir, path) = written("monolithicFlat", "RW 2048 FLAT \"special\" 0");
    let special = dir.path().join("special");
    refused(&path, "cannot be opened beside it");
    fs::create_dir(&special).unwrap();
    refused(&path, "which is a directory");
    fs::remove_dir(&special).unwrap();
    mkfifo(&special, Mode::S_IRWXU).unwrap();
    let opens = Opens::watch(&special);
    refused(&path, "which is a FIFO");
    assert!(!opens.any());
}

#[test]
fn case_35_an_extent_smaller_than_stated_is_refused() {
    let (_dir, path) = written("monolithicFlat", "RW 2048 FLAT \"data\" 0");
    assert_eq!(inspect(&path, None).unwrap().capacity_bytes, 1 << 20);
    for extent in
        ["RW 2049 FLAT \"data\" 0", "RW 2048 FLAT \"data\" 1", "RW 1 FLAT \"data\" 18446744073709551615"]
    {
        fs::write(&path, descriptor("monolithicFlat", extent)).unwrap();
        refused(&path, "smaller than the image says");
    }
    let Some((_dir, path)) = image("twoGbMaxExtentSparse", "1G") else { return };
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("RW 2097152", "RW 2097153")).unwrap();
    refused(&path, "another size");
}

#[test]
fn case_35_a_parent_is_refused_and_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let create = |args: &[&str]| qemu_img(dir.path(), &[&["create", "-q", "-f", "vmdk"], args].concat());
    if !create(&["parent.vmdk", "8M"]) {
        return;
    }
    create(&["-F", "vmdk", "-b", "parent.vmdk", "child.vmdk"]);
    let opens = Opens::watch(&dir.path().join("parent.vmdk"));
    refused(&dir.path().join("child.vmdk"), "needs its parent");
    // Where QEMU looks, whatever the header says of a descriptor.
    fs::copy(dir.path().join("child.vmdk"), dir.path().join("hidden.vmdk")).unwrap();
    patch(&dir.path().join("hidden.vmdk"), 28, &[0; 16]);
    refused(&dir.path().join("hidden.vmdk"), "needs its parent");
    assert!(!opens.any());
    let (_dir, path) =
        written("monolithicFlat", "RW 2048 FLAT \"data\" 0\n# parentFileNameHint=\"/etc/passwd\"");
    refused(&path, "needs its parent");
}

#[test]
fn case_35_a_raw_device_is_refused_and_not_opened() {
    for create_type in ["fullDevice", "partitionedDevice", "vmfsRaw", "vmfsRDM", "vmfsRawDeviceMap"] {
        let (_dir, path) = written(create_type, "RW 2048 FLAT \"data\" 0");
        refused(&path, "raw devices cannot be attached");
    }
}

#[test]
fn case_35_a_long_descriptor_is_refused() {
    let (_dir, path) = written("monolithicFlat", "RW 2048 FLAT \"data\" 0");
    let mut text = fs::read(&path).unwrap();
    text.resize(2 << 20, b'\n');
    fs::write(&path, text).unwrap();
    refused(&path, "descriptor of more than 1 MiB");
}

#[test]
fn case_35_a_sparse_file_that_stands_for_others_is_refused_also_as_an_extent() {
    let Some((_dir, path)) = image("monolithicSparse", "8M") else { return };
    patch(&path, 12, &[0; 8]);
    refused(&path, "refers to other files");
    let Some((dir, path)) = image("twoGbMaxExtentSparse", "8M") else { return };
    patch(&dir.path().join("disk-s001.vmdk"), 12, &[0; 8]);
    refused(&path, "refers to other files");
}

#[test]
fn a_sparse_image_with_broken_tables_is_refused() {
    for subformat in ["monolithicSparse", "streamOptimized"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("disk.raw"), vec![1; 1 << 20]).unwrap();
        let option = format!("subformat={subformat}");
        if !qemu_img(dir.path(), &["convert", "-O", "vmdk", "-o", &option, "disk.raw", "disk.vmdk"]) {
            return;
        }
        let path = dir.path().join("disk.vmdk");
        inspect(&path, None).unwrap();
        let directory_at = u64::from_le_bytes(read_at(&path, 56)) * 512;
        patch(&path, directory_at, &[0xff, 0xff, 0xff, 0x7f]);
        refused(&path, "tables point outside it");
    }
}

#[test]
fn the_footer_of_an_image_that_was_written_in_one_go_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.vmdk");
    File::create(dir.path().join("disk.raw")).unwrap().set_len(1 << 20).unwrap();
    let convert = ["convert", "-O", "vmdk", "-o", "subformat=streamOptimized", "disk.raw", "disk.vmdk"];
    if !run(dir.path(), "mkfs.ext4", &["-q", "disk.raw"]) || !qemu_img(dir.path(), &convert) {
        return;
    }
    let mut image = fs::read(&path).unwrap();
    image.resize(image.len().next_multiple_of(512), 0);
    let footer = image[..512].to_vec();
    image[56..64].fill(0xff);
    // A marker for a footer of one sector, the footer, and a marker that ends the stream.
    let mut marker = [0; 512];
    marker[0] = 1;
    marker[12] = 3;
    image.extend([&marker[..], &footer, &[0; 512]].concat());
    fs::write(&path, &image).unwrap();
    qemu_img(dir.path(), &["compare", "-q", "-f", "raw", "-F", "vmdk", "disk.raw", "disk.vmdk"]);
    let found = inspect(&path, None).unwrap();
    assert_eq!((found.capacity_bytes, found.fstype), (1 << 20, Some("ext4")));
    let length = image.len();
    image[length - 1024 + 12] ^= 1;
    fs::write(&path, &image).unwrap();
    refused(&path, "contradict each other");
}

fn read_at<const N: usize>(path: &Path, at: usize) -> [u8; N] {
    fs::read(path).unwrap()[at..at + N].try_into().unwrap()
}

#[test]
fn a_descriptor_as_vmware_writes_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    if !run(dir.path(), "truncate", &["-s", "1M", "esx-flat.vmdk"]) {
        return;
    }
    let text = "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=fffffffe\nparentCID=ffffffff\n\
                isNativeSnapshot=\"no\"\ncreateType=\"vmfs\"\n\n# Extent description\nRW 2048 VMFS \"esx-flat.vmdk\"\n\n\
                # Change Tracking File\nchangeTrackPath=\"esx-ctk.vmdk\"\n\n# The Disk Data Base \n#DDB\n\n\
                ddb.adapterType = \"lsilogic\"\nddb.uuid = \"60 00 C2 9f\"\n";
    fs::write(dir.path().join("esx.vmdk"), text).unwrap();
    let found = inspect(&dir.path().join("esx.vmdk"), None).unwrap();
    assert_eq!((found.capacity_bytes, found.parts.unwrap().files.len()), (1 << 20, 1));
}

/// How a descriptor that differs from the usual one is read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reading {
    /// As qemu-img reads it: the same size, or refused.
    Same,
    /// Refused here although qemu-img reads it: two readers might read two disks, or a part of it is missing.
    Stricter,
}

/// The lines of a descriptor, and others in the place of one of them.
const LINES: [&str; 6] = [
    "# Disk DescriptorFile",
    "version=1",
    "CID=11111111",
    "parentCID=ffffffff",
    "createType=\"monolithicFlat\"",
    "RW 2048 FLAT \"data\" 0",
];

const SPELLINGS: [(usize, &str, Reading); 78] = {
    use Reading::{Same, Stricter};
    [
        (0, "# Disk DescriptorFile", Same),
        (0, "# disk descriptorfile", Same),
        (0, "# DISK DESCRIPTORFILE", Same),
        (0, "#Disk DescriptorFile", Same),
        (0, "#\tDisk  DescriptorFile", Same),
        (0, "# anything else", Same),
        (0, "#", Same),
        (0, "  \n# Disk DescriptorFile", Same),
        (0, "\n# Disk DescriptorFile", Same),
        (0, "\r\n# Disk DescriptorFile", Same),
        (0, "# Disk DescriptorFile\n  ", Same),
        (0, "# Disk DescriptorFile\n", Same),
        (0, "\u{feff}# Disk DescriptorFile", Same),
        (1, "version=2", Same),
        (1, "version=3", Same),
        (1, "VERSION=1", Same),
        (1, "version = 1", Same),
        (1, "version=\"1\"", Same),
        (1, "encoding=\"UTF-8\"\nversion=1", Same),
        (1, "version=4", Stricter),
        (1, "", Stricter),
        (2, "cid=11111111", Same),
        (2, "CID=0x1111", Same),
        (2, "CID=ABCDEF01", Same),
        (2, "CID= 1", Same),
        (2, "CID=x", Same),
        (2, "CID = 11111111", Same),
        (2, "", Same),
        (3, "parentCID=FFFFFFFF", Same),
        (3, "parentcid=ffffffff", Same),
        (3, "parentCID = ffffffff", Same),
        (3, "", Same),
        (3, "parentCID=0", Stricter),
        (4, "createtype=\"monolithicFlat\"", Same),
        (4, "createType = \"monolithicFlat\"", Same),
        (4, "createType=monolithicFlat", Same),
        (4, "createType='monolithicFlat'", Same),
        (4, "createType=\"monolithicflat\"", Same),
        (4, "createType=\"MONOLITHICFLAT\"", Same),
        (4, "createType=\" monolithicFlat \"", Same),
        (4, "  createType=\"monolithicFlat\"", Same),
        (4, "createType=\"monolithicFlat\" # comment", Same),
        (4, "#createType=\"monolithicFlat\"", Same),
        (4, "createType=\"vmfs\"", Same),
        (4, "createType=\"twoGbMaxExtentFlat\"", Same),
        (4, "", Same),
        (4, "createType=\"monolithicFlat\"\ncreateType=\"vmfs\"", Stricter),
        (5, "rw 2048 flat \"data\" 0", Same),
        (5, "Rw 2048 FLAT \"data\" 0", Same),
        (5, "RW 2048 flat \"data\" 0", Same),
        (5, "RW\t2048\tFLAT\t\"data\"\t0", Same),
        (5, "  RW   2048   FLAT   \"data\"   0  ", Same),
        (5, "RW 2048 FLAT\"data\" 0", Same),
        (5, "RW 2048 FLAT \"data\"0", Same),
        (5, "RW 2048 FLAT \"data\" 0\r", Same),
        (5, "RW 2048 FLAT \"data\" 0 # comment", Same),
        (5, "RW 2048 FLAT \"data\" 0 7", Same),
        (5, "RW 2048 FLAT \"data\"", Same),
        (5, "RW +2048 FLAT \"data\" +0", Same),
        (5, "RW 2048 FLAT \"data\" -1", Same),
        (5, "RW 0 FLAT \"data\" 0", Same),
        (5, "RW 01000 FLAT \"data\" 0", Same),
        (5, "RW 0x100 FLAT \"data\" 0", Same),
        (5, "RW 2048 FLAT 'data' 0", Same),
        (5, "RW 2048 VMFS \"data\"", Same),
        (5, "RW 2048 VMFS \"data\" 0", Same),
        (5, "RW 2048 ZERO", Same),
        (5, "RW 1024 FLAT \"data\" 0\nRW 2048 ZERO", Same),
        (5, "RW 2048 ZERO\nRW 1024 FLAT \"data\" 0", Same),
        (5, "RW 1024 FLAT \"data\" 0\nRDONLY 2048 ZERO", Same),
        (5, "RW 1024 FLAT \"data\" 0\nNOACCESS 2048 ZERO", Same),
        (5, "RW 1024 FLAT \"data\" 0\nRW 2048 zero", Same),
        (5, "RW 1024 FLAT \"data\" 0\nRW 2048 ZERO \"x\"", Same),
        (5, "RW 1024 FLAT \"data\" 0\nRW 2048 ZERO \"x\" 0", Same),
        (5, "RW 1024 FLAT \"data\" 0\nRDONLY 1024 FLAT \"more\" 0", Stricter),
        (5, "RW 1024 FLAT \"data\" 0\nRW 8 VMFSRDM \"more\"", Stricter),
        (5, "RW 1024 FLAT \"data\" 0\nRW", Stricter),
        (5, "\nRW 1024 FLAT \"data\" 0", Stricter),
    ]
};

#[test]
fn case_64_a_descriptor_is_read_as_qemu_img_reads_it_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    if !qemu_img(dir.path(), &["--version"]) {
        return;
    }
    for name in ["data", "more"] {
        File::create(dir.path().join(name)).unwrap().set_len(1 << 20).unwrap();
    }
    let path = dir.path().join("disk.vmdk");
    let judged = || {
        let mut asked = std::process::Command::new("qemu-img");
        let asked = asked.args(["info", "--output=json", "-f", "vmdk"]).arg(&path);
        // Of a disk without any part some versions end with a failed assertion.
        let output = asked.output().unwrap();
        let info = output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap());
        info.map(|info: serde_json::Value| info["virtual-size"].as_u64().unwrap())
    };
    for (line, spelling, reading) in SPELLINGS {
        let mut lines = LINES;
        lines[line] = spelling;
        let lines: Vec<_> = lines.into_iter().filter(|line| !line.is_empty()).collect();
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        let found = inspect(&path, None).ok().map(|found| found.capacity_bytes);
        let stated = inspect(&path, Some(DiskFormat::Vmdk)).ok().map(|found| found.capacity_bytes);
        assert_eq!(found, stated, "{spelling:?}");
        match reading {
            Reading::Same => assert_eq!(found, judged(), "{spelling:?}"),
            Reading::Stricter => assert_eq!((found, judged().is_some()), (None, true), "{spelling:?}"),
        }
    }
}

#[test]
fn a_descriptor_by_another_name_is_no_raw_image() {
    for first in ["# Disk DescriptorFile", "#Disk DescriptorFile", "# anything"] {
        let (dir, path) = written("monolithicFlat", "RW 2048 FLAT \"data\" 0");
        let text = fs::read_to_string(&path).unwrap().replace("# Disk DescriptorFile", first);
        for name in ["disk", "disk.bin"] {
            fs::write(dir.path().join(name), &text).unwrap();
            assert_eq!(inspect(&dir.path().join(name), None).unwrap().format, DiskFormat::Vmdk);
        }
        for name in ["disk.raw", "disk.img"] {
            fs::write(dir.path().join(name), &text).unwrap();
            refused(&dir.path().join(name), "State its \"format\"");
        }
    }
}

#[test]
fn a_file_that_holds_two_parts_of_a_disk_is_refused() {
    for (first, second) in [("data", "data"), ("data", "link"), ("disk.vmdk", "data")] {
        let extents = format!("RW 1 FLAT \"{first}\" 0\nRW 1 FLAT \"{second}\" 1");
        let (dir, path) = written("twoGbMaxExtentFlat", &extents);
        File::create(dir.path().join("data")).unwrap().set_len(4096).unwrap();
        fs::hard_link(dir.path().join("data"), dir.path().join("link")).unwrap();
        refused(&path, "twice, or is that file itself");
    }
}
