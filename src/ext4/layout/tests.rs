//! Properties of the layout for every size, above all near the limits of groups.

use super::*;
use crate::ext4::{Ext4Options, Extent, bitmap, format};
use crate::model::{MAX_DISK_MIB, MIB, MIN_DISK_MIB};
use proptest::prelude::*;

const MIN_BLOCKS: u64 = MIN_DISK_MIB as u64 * MIB / BLOCK_SIZE as u64;
const MAX_BLOCKS: u64 = MAX_DISK_MIB as u64 * MIB / BLOCK_SIZE as u64;

/// Generates sizes of images in blocks, up to 2^`log`.
fn blocks(log: u32) -> impl Strategy<Value = u64> {
    let anywhere =
        (0..log - 10, 0.0..1.0).prop_map(|(log, within)| ((1024 << log) as f64 * (1.0 + within)) as u64);
    let near = |of: u64| {
        let borders = 1..=((1 << log) / of).min(600);
        (borders, -5000..5000i64).prop_map(move |(times, off)| (times * of).saturating_add_signed(off))
    };
    let power = (15..=log).prop_map(|log| 1 << log);
    let one_group = MIN_BLOCKS..=BLOCKS_PER_GROUP;
    prop_oneof![
        anywhere,
        one_group,
        power,
        near(BLOCKS_PER_GROUP),
        near(BLOCKS_PER_GROUP * u64::from(GROUPS_PER_FLEX)),
        near(BLOCKS_PER_GROUP * u64::from(DESCRIPTORS_PER_BLOCK)),
    ]
    .prop_map(|blocks: u64| blocks.clamp(MIN_BLOCKS, MAX_BLOCKS))
}

fn layout_of(blocks: u64) -> Ext4Layout {
    Ext4Layout::new(blocks * BLOCK_SIZE as u64)
}

/// Returns all ranges that are in use, each by itself.
fn pieces(layout: &Ext4Layout) -> Vec<Range<u64>> {
    let of_groups = (0..layout.groups).flat_map(|group| {
        let one = |block| block..block + 1;
        let inode_table = layout.inode_table(group);
        [
            layout.own_metadata(group),
            one(layout.block_bitmap(group)),
            one(layout.inode_bitmap(group)),
            inode_table..inode_table + layout.inode_table_blocks(),
        ]
    });
    let files = [&layout.root, &layout.lost_and_found, &layout.journal].map(Clone::clone);
    let mut pieces: Vec<_> = of_groups.chain(files).filter(|range| !range.is_empty()).collect();
    pieces.sort_by_key(|range| range.start);
    pieces
}

fn check_every_block_is_taken_once_or_free(layout: &Ext4Layout) -> Result<(), TestCaseError> {
    let pieces = pieces(layout);
    for pair in pieces.windows(2) {
        prop_assert!(pair[0].end <= pair[1].start, "{:?} overlaps {:?}", pair[0], pair[1]);
    }
    prop_assert!(pieces.last().is_some_and(|last| last.end <= layout.blocks));
    prop_assert_eq!(pieces.iter().map(length).sum::<u64>() + layout.free(), layout.blocks);
    let mut taken = vec![0; layout.groups as usize];
    for piece in &pieces {
        for group in layout.group_of(piece.start)..=layout.group_of(piece.end - 1) {
            let start = layout.first_block(group);
            let end = start + layout.blocks_in(group);
            taken[group as usize] += piece.end.min(end) - piece.start.max(start);
        }
    }
    for (group, taken) in (0..layout.groups).zip(taken) {
        prop_assert_eq!(layout.free_in(group), layout.blocks_in(group) - taken, "group {}", group);
        let begins_with_only = taken == length(&layout.own_metadata(group));
        prop_assert_eq!(layout.has_written_bitmap(group), !begins_with_only || group + 1 == layout.groups);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn every_block_is_taken_once_or_free(blocks in blocks(26)) {
        check_every_block_is_taken_once_or_free(&layout_of(blocks))?;
    }

    #[test]
    fn a_last_group_is_kept_if_it_has_room_besides_its_metadata(blocks in blocks(32)) {
        let layout = layout_of(blocks);
        let last = layout.groups - 1;
        prop_assert!(layout.blocks <= blocks);
        prop_assert!(blocks - layout.blocks < 2 + 2 + layout.inode_table_blocks() + MIN_LAST_GROUP_BLOCKS);
        prop_assert!(layout.blocks == blocks || layout.blocks.is_multiple_of(BLOCKS_PER_GROUP));
        prop_assert!(layout.free_in(last) >= MIN_LAST_GROUP_BLOCKS);
    }

    #[test]
    fn inodes_fill_their_blocks_and_are_about_as_many_as_mke2fs_makes(blocks in blocks(32)) {
        let layout = layout_of(blocks);
        prop_assert_eq!(layout.inodes_per_group % INODES_PER_BLOCK, 0);
        prop_assert!(u64::from(layout.inodes_per_group) <= MAX_INODES_PER_GROUP);
        let wanted = layout.blocks * BLOCK_SIZE as u64 / bytes_per_inode(layout.blocks);
        let inodes = u64::from(layout.groups) * u64::from(layout.inodes_per_group);
        prop_assert_eq!(inodes, u64::from(layout.inodes()));
        let more = u64::from(layout.groups) * u64::from(INODES_PER_BLOCK);
        prop_assert!((wanted..=wanted + more).contains(&inodes), "{} of {}", inodes, wanted);
    }

    #[test]
    fn the_journal_is_one_extent_within_two_groups(blocks in blocks(32)) {
        let layout = layout_of(blocks);
        prop_assert!((1024..=32768).contains(&length(&layout.journal)));
        prop_assert!(layout.group_of(layout.journal.end - 1) - layout.group_of(layout.journal.start) < 2);
    }

    #[test]
    fn what_is_written_is_sorted_and_stays_in_the_image(blocks in blocks(26), rest in 0..BLOCK_SIZE as u64) {
        let layout = layout_of(blocks);
        let extents = format(&options(blocks * BLOCK_SIZE as u64 + rest)).unwrap();
        let end = |extent: &Extent| extent.offset + extent.bytes.len() as u64;
        for pair in extents.windows(2) {
            prop_assert!(end(&pair[0]) < pair[1].offset);
        }
        let written: u64 = extents.iter().map(|extent| extent.bytes.len() as u64).sum();
        prop_assert_eq!(written, layout.written() * BLOCK_SIZE as u64);
        prop_assert!(end(&extents[extents.len() - 1]) <= layout.blocks * BLOCK_SIZE as u64);
    }

    #[test]
    fn a_block_bitmap_has_the_bits_of_what_is_taken_and_of_what_is_beyond_the_end(blocks in blocks(24)) {
        let layout = layout_of(blocks);
        for group in [0, 1, 2, layout.groups - 1].into_iter().filter(|group| *group < layout.groups) {
            let set: u64 = bitmap::of_blocks(&layout, group).iter().map(|byte| u64::from(byte.count_ones())).sum();
            prop_assert_eq!(BLOCKS_PER_GROUP - set, layout.free_in(group), "group {}", group);
        }
    }
}

fn options(size_bytes: u64) -> Ext4Options {
    Ext4Options { size_bytes, label: String::new(), uuid: [1; 16], hash_seed: [2; 16], created_at_s: 0 }
}

#[test]
fn every_block_of_the_largest_disk_is_taken_once_or_free() {
    let layout = layout_of(MAX_BLOCKS);
    assert_eq!((layout.blocks, layout.groups, layout.inodes()), (1 << 32, 131_072, 1 << 30));
    check_every_block_is_taken_once_or_free(&layout).unwrap();
}

#[test]
fn every_size_up_to_a_gib_has_room_for_its_metadata() {
    for mib in MIN_DISK_MIB..=1024 {
        let layout = layout_of(u64::from(mib) * 256);
        check_every_block_is_taken_once_or_free(&layout).unwrap();
        assert!(layout.free() >= 100, "{mib} MiB");
    }
}

#[test]
fn a_last_group_that_is_too_small_is_left_out() {
    let group_mib = BLOCKS_PER_GROUP / 256;
    // At 129 MiB the inodes of the second group would take more than it has.
    let cases = [(128, 1, 0), (129, 1, 1), (132, 1, 4), (133, 2, 0), (256, 2, 0), (511, 4, 0), (513, 4, 1)];
    for (mib, groups, left_out) in cases {
        let layout = layout_of(mib * 256);
        assert_eq!((layout.groups, layout.blocks), (groups, (mib - left_out) * 256), "{mib} MiB");
        assert_eq!(layout.blocks.div_ceil(group_mib * 256), u64::from(groups));
    }
}

#[test]
fn superblocks_are_in_the_first_groups_and_the_powers_of_3_5_and_7() {
    let layout = layout_of(1 << 24);
    let is_there = |group: &u32| layout.superblock(*group) != Superblocks::None;
    let groups: Vec<_> = (0..layout.groups).filter(is_there).collect();
    assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343]);
}

#[test]
fn descriptors_are_in_the_first_second_and_last_group_of_those_that_they_describe() {
    let layout = layout_of(130 * BLOCKS_PER_GROUP);
    let groups: Vec<_> = (0..layout.groups).filter(|group| layout.has_descriptors(*group)).collect();
    assert_eq!(groups, [0, 1, 63, 64, 65, 127, 128, 129]);
    assert_eq!(length(&layout.own_metadata(1)), 2);
    assert_eq!(length(&layout.own_metadata(64)), 1);
    assert_eq!(length(&layout.own_metadata(2)), 0);
}
