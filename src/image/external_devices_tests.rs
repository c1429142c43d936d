use super::*;
use crate::sys::ext::FileExt;

fn image(pieces: &[(u64, &[u8])]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(128 << 10).unwrap();
    for (at, bytes) in pieces {
        file.write_all_at(bytes, *at).unwrap();
    }
    file
}

fn names(fstype: &str, pieces: &[(u64, &[u8])]) -> bool {
    names_other_devices(&image(pieces), fstype).unwrap()
}

#[test]
fn a_journal_of_ext_is_in_one_of_its_files_or_refused() {
    for fstype in ["ext2", "ext3", "ext4"] {
        assert!(!names(fstype, &[]));
        assert!(!names(fstype, &[(1024 + 92, &[4]), (1024 + 224, &[8])]));
        assert!(names(fstype, &[(1024 + 92, &[4])]));
        assert!(names(fstype, &[(1024 + 92, &[4]), (1024 + 224, &[8]), (1024 + 229, &[8])]));
    }
}

#[test]
fn a_btrfs_has_one_member_or_is_refused() {
    assert!(!names("btrfs", &[(65536 + 136, &[1])]));
    assert!(names("btrfs", &[(65536 + 136, &[2])]));
    assert!(names("btrfs", &[(65536 + 136, &[1, 0, 0, 0, 1])]));
}

#[test]
fn an_erofs_has_no_device_table_or_is_refused() {
    assert!(!names("erofs", &[(1024 + 80, &[4])]));
    assert!(names("erofs", &[(1024 + 80, &[8])]));
    assert!(names("erofs", &[(1024 + 86, &[0, 1])]));
}

#[test]
fn an_f2fs_names_no_path_in_either_superblock_or_is_refused() {
    assert!(!names("f2fs", &[(1024, &[0x10])]));
    for superblock in [1024, 5120] {
        assert!(names("f2fs", &[(superblock + 2201, b"/dev/a")]));
    }
}

#[test]
fn what_is_too_short_for_its_superblock_is_refused_where_it_would_have_to_say_no() {
    let short = tempfile::tempfile().unwrap();
    for fstype in ["btrfs", "erofs", "f2fs"] {
        assert!(names_other_devices(&short, fstype).unwrap(), "{fstype}");
    }
}
