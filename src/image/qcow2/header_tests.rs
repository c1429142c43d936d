use super::*;

/// The length of the file that `good` begins.
const LENGTH: u64 = 0x40000;

/// The header of an image of 1 GiB as qemu-img makes it: reference counts in clusters 1 and 2, the L1 table in 3.
fn good() -> Vec<u8> {
    let mut head = vec![0; 0x1000];
    head[..4].copy_from_slice(&MAGIC);
    for (at, value) in [(4, 3), (20, 16), (36, 2), (56, 1), (96, 4), (100, 112)] {
        set32(&mut head, at, value);
    }
    for (at, value) in [(24, 1 << 30), (40, 0x30000), (48, 0x10000)] {
        set64(&mut head, at, value);
    }
    head
}

fn set32(head: &mut [u8], at: usize, value: u32) {
    head[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn set64(head: &mut [u8], at: usize, value: u64) {
    head[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

fn with32(at: usize, value: u32) -> Result<Header, ImageProblem> {
    let mut head = good();
    set32(&mut head, at, value);
    Header::parse(&head, LENGTH)
}

fn with64(at: usize, value: u64) -> Result<Header, ImageProblem> {
    let mut head = good();
    set64(&mut head, at, value);
    Header::parse(&head, LENGTH)
}

#[track_caller]
fn rejected(parsed: Result<Header, ImageProblem>, because: &str) {
    let problem = parsed.unwrap_err();
    assert!(problem.contains(because), "{problem}");
}

#[test]
fn a_good_header_gives_its_facts() {
    let facts = Header {
        capacity_bytes: 1 << 30,
        cluster_bits: 16,
        l1_offset: 0x30000,
        l1_entries: 2,
        refcount_offset: 0x10000,
        refcount_entries: 0x2000,
        is_extended: false,
        is_plain: true,
    };
    assert_eq!(Header::parse(&good(), LENGTH), Ok(facts.clone()));
    let mut old = good();
    set32(&mut old, 4, 2);
    // What version 3 added means nothing in version 2, whose header ends before it with the extensions' end.
    set64(&mut old, 72, 0);
    assert_eq!(Header::parse(&old, LENGTH), Ok(facts));
}

#[test]
fn rejects_a_backing_file_wherever_its_name_is() {
    for offset in [112, 0x200, 1, u64::MAX] {
        rejected(with64(8, offset), "backing file");
    }
}

#[test]
fn rejects_an_external_data_file_by_its_feature_and_by_its_name() {
    rejected(with64(72, 4), "another file");
    rejected(with32(112, extension::EXTERNAL_DATA), "another file");
}

#[test]
fn rejects_other_versions() {
    for version in [0, 1, 4, u32::MAX] {
        rejected(with32(4, version), "only 2 and 3 are known");
    }
}

#[test]
fn rejects_unknown_features_and_a_dirty_or_corrupt_image() {
    rejected(with64(72, 1 << 5), "bits 0x20");
    rejected(with64(72, 1 << 63), "not known here");
    rejected(with64(72, 1), "qemu-img check -r all");
    rejected(with64(72, 2), "marked as corrupt");
}

#[test]
fn rejects_encryption_by_its_method_and_by_its_extension() {
    rejected(with32(32, 1), "encrypted");
    rejected(with32(32, 2), "encrypted");
    rejected(with32(112, extension::ENCRYPTION), "encrypted");
}

#[test]
fn rejects_impossible_clusters_and_reference_counts() {
    for bits in [0, 8, 22, 64, u32::MAX] {
        rejected(with32(20, bits), "clusters of an impossible size");
    }
    rejected(with32(96, 7), "reference counts of an impossible size");
}

#[test]
fn rejects_a_compression_that_contradicts_its_feature() {
    rejected(with32(104, 1 << 24), "type 1");
    rejected(with64(72, 8), "type 0");
    let mut zstd = good();
    set64(&mut zstd, 72, 8);
    zstd[104] = 1;
    assert!(!Header::parse(&zstd, LENGTH).unwrap().is_plain);
    zstd[104] = 2;
    rejected(Header::parse(&zstd, LENGTH), "type 2");
}

#[test]
fn extended_l2_entries_need_clusters_of_16_kib() {
    rejected(with64(72, 16), "too short");
    let mut extended = good();
    set64(&mut extended, 72, 16);
    set32(&mut extended, 36, 4);
    assert!(!Header::parse(&extended, LENGTH).unwrap().is_plain);
    set32(&mut extended, 20, 13);
    rejected(Header::parse(&extended, LENGTH), "clusters of an impossible size");
}

#[test]
fn rejects_an_absurd_capacity_and_an_l1_table_that_does_not_match() {
    rejected(with64(24, 0), "no bytes");
    rejected(with64(24, MAX_CAPACITY_BYTES + 512), "16 TiB");
    rejected(with64(24, u64::MAX - 511), "16 TiB");
    rejected(with64(24, (1 << 30) + 512), "too short");
    rejected(with64(24, (1 << 30) - 1), "no whole sectors");
    rejected(with32(36, 0), "too short");
    rejected(with32(36, u32::MAX), "impossible size");
}

#[test]
fn rejects_tables_outside_the_image_between_clusters_or_over_each_other() {
    for at in [40, 48] {
        for offset in [0, 0x10200, 0x40000, u64::MAX, u64::MAX - 0xffff] {
            rejected(with64(at, offset), "lies outside it or between clusters");
        }
    }
    rejected(with64(40, 0x10000), "overlap");
    rejected(with64(48, 0x30000), "overlap");
    rejected(with32(56, 4), "lies outside it");
    rejected(with32(56, 0), "reference count table of an impossible size");
    rejected(with32(56, u32::MAX), "reference count table of an impossible size");
}

#[test]
fn rejects_snapshots_outside_the_image_and_too_many() {
    rejected(with32(60, 1), "snapshot table");
    rejected(with64(64, 0x100), "snapshot table");
    rejected(with64(64, 1 << 63), "snapshot table");
    rejected(with32(60, 65537), "impossible size");
    let mut head = good();
    set32(&mut head, 60, 1);
    set64(&mut head, 64, 0x20000);
    Header::parse(&head, LENGTH).unwrap();
    set64(&mut head, 64, 0x30000);
    rejected(Header::parse(&head, LENGTH), "overlap");
}

#[test]
fn rejects_a_header_that_is_cut_short_or_of_an_impossible_length() {
    for length in 4..120 {
        rejected(Header::parse(&good()[..length], LENGTH), "ends within");
    }
    for length in [0, 72, 103, 105, 65544, u32::MAX] {
        rejected(with32(100, length), "impossible length");
    }
}

#[test]
fn rejects_extensions_that_leave_the_first_cluster() {
    with32(112, 0x1234).unwrap();
    let mut head = good();
    set32(&mut head, 112, 0x1234);
    set32(&mut head, 116, u32::MAX);
    rejected(Header::parse(&head, LENGTH), "longer than its first cluster");
    set32(&mut head, 112, extension::END);
    rejected(Header::parse(&head, LENGTH), "longer than its first cluster");
    set32(&mut head, 112, 0x1234);
    set32(&mut head, 116, 0x2000);
    rejected(Header::parse(&head, LENGTH), "ends within");
}

#[test]
fn rejects_a_part_of_a_feature_name() {
    let mut head = good();
    set32(&mut head, 112, extension::FEATURE_NAMES);
    for (length, is_whole) in [(0, true), (48, true), (96, true), (1, false), (47, false), (49, false)] {
        set32(&mut head, 116, length);
        assert_eq!(Header::parse(&head, LENGTH).is_ok(), is_whole, "{length}");
    }
}
