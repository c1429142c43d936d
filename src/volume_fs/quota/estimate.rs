//! Estimates a volume's use of space since it was last measured, and how long the estimate is valid.
//!
//! This process's own writes never make an estimate too low. Each write is charged before it is made, with the most
//! that it can allocate. Freed space is not subtracted. Writes of other processes are found in two ways. The host file
//! system's free space then falls by at least as much, unless space was freed elsewhere. And an estimate expires soon.

use std::time::Duration;

/// The block size of file systems, in bytes. Content is rounded up to it, and a new directory counts as one block.
pub(crate) const BLOCK: u64 = 4096;

/// The most entries of a volume that is measured for each write, which costs about as much as the write. A continued
/// write measures again as soon as that is cheap compared to what was written since.
const SMALL_VOLUME_ENTRIES: u64 = 64;

/// How many times the duration of a measurement its result is valid. Measuring thus takes at most a twentieth of the
/// time.
const MAX_AGE_FACTOR: u32 = 20;

/// The longest time that a result is valid if no guest is known to write and free space is known.
const MAX_IDLE_AGE: Duration = Duration::from_secs(60);

/// The most bytes that a new entry adds to its directory: a leaf block, and the growth of the tree above it. A file's
/// own extent tree is no deeper.
const MAX_OVERHEAD_BYTES: u64 = 3 * BLOCK;

/// The fewest bytes of content that a file system describes by one byte of metadata.
const MIN_CONTENT_PER_METADATA_BYTE: u64 = 256;

/// The number of fields of an estimate on disk, of eight bytes each: a magic number, the values, and a checksum.
const WORDS: usize = 13;
const MAGIC: u64 = u64::from_le_bytes(*b"svquota1");

/// The size of an estimate on disk, in bytes.
pub(crate) const ENCODED_BYTES: usize = WORDS * 8;

/// Identifies a volume's directory, and the boot during which it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirIdentity {
    pub device: u64,
    pub inode: u64,
    pub born_ns: u64,
    pub boot: u128,
}

/// The result of a measurement, and what was charged since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsageEstimate {
    pub identity: DirIdentity,
    /// When the measurement began, since boot.
    pub measured_at: Duration,
    pub measuring_took: Duration,
    pub entries: u64,
    /// The bytes that were found allocated.
    pub used: u64,
    /// The bytes that this host's writes since then may have allocated.
    pub charged: u64,
    /// The bytes free on the host file system when the measurement began; `None` if unknown.
    pub free: Option<u64>,
}

/// The state of the system at the moment of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation {
    pub now: Duration,
    pub free: Option<u64>,
    /// Whether a sandbox that may write has the volume.
    pub shared: bool,
    /// Whether the writer continues a write that this same estimate admitted.
    pub is_continued: bool,
}

/// Returns the most bytes that a write with `needed` bytes of content can allocate.
pub(crate) fn max_allocated(needed: u64) -> u64 {
    needed
        .saturating_add(MAX_OVERHEAD_BYTES)
        .saturating_add((needed / MIN_CONTENT_PER_METADATA_BYTE).next_multiple_of(BLOCK))
}

impl UsageEstimate {
    /// Returns the most bytes that the volume can use now; `None` if the estimate is not valid.
    pub fn max_used(&self, identity: DirIdentity, observation: Observation) -> Option<u64> {
        let age = observation.now.checked_sub(self.measured_at)?;
        let known = (self.free, observation.free);
        let is_small = self.entries <= SMALL_VOLUME_ENTRIES;
        let max_age = match known {
            (Some(_), Some(_)) if !observation.shared && !is_small => {
                (self.measuring_took * MAX_AGE_FACTOR).max(MAX_IDLE_AGE)
            }
            _ => self.measuring_took * MAX_AGE_FACTOR,
        };
        if self.identity != identity || age > max_age || (is_small && !observation.is_continued) {
            return None;
        }
        let fallen = match known {
            (Some(then), Some(now)) => then.saturating_sub(now),
            _ => 0,
        };
        // The host's own writes are part of the fall in free space.
        Some(self.used.saturating_add(self.charged.max(fallen)))
    }

    /// Returns the estimate with the charge of a write.
    pub fn plus(mut self, max_allocated: u64) -> Self {
        self.charged = self.charged.saturating_add(max_allocated);
        self
    }

    /// Returns the estimate without the charge of a write that was not made.
    pub fn minus(mut self, charged: u64) -> Self {
        self.charged = self.charged.saturating_sub(charged);
        self
    }

    /// Returns the estimate with `allocated` bytes of a temp file, which is to replace `freed` bytes of the volume. The
    /// temp file existed before the measurement, which did not count it. All of it is added to the free space, so that
    /// it hides no allocation of other processes.
    pub fn plus_staged(mut self, allocated: u64, replaced: u64) -> Self {
        self.free = self.free.map(|free| free.saturating_add(allocated));
        self.plus(allocated.saturating_sub(replaced))
    }

    pub fn encode(&self) -> [u8; ENCODED_BYTES] {
        let DirIdentity { device, inode, born_ns, boot } = self.identity;
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let fields = [
            MAGIC,
            device,
            inode,
            born_ns,
            (boot >> 64) as u64,
            boot as u64,
            nanos(self.measured_at),
            nanos(self.measuring_took),
            self.entries,
            self.used,
            self.charged,
            self.free.unwrap_or(u64::MAX),
        ];
        let mut bytes = [0; ENCODED_BYTES];
        let (content, checksum) = bytes.split_at_mut(ENCODED_BYTES - 8);
        for (slot, field) in content.chunks_exact_mut(8).zip(fields) {
            slot.copy_from_slice(&field.to_le_bytes());
        }
        checksum.copy_from_slice(&u64::from(crc32c::crc32c(content)).to_le_bytes());
        bytes
    }

    /// Decodes an estimate. Returns `None` for any other bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ENCODED_BYTES] = bytes.try_into().ok()?;
        let mut words = [0; WORDS];
        for (word, slot) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*slot);
        }
        let [magic, device, inode, born_ns, boot_high, boot_low, at, took, entries, used, charged, free, sum] =
            words;
        if magic != MAGIC || sum != u64::from(crc32c::crc32c(&bytes[..ENCODED_BYTES - 8])) {
            return None;
        }
        let boot = u128::from(boot_high) << 64 | u128::from(boot_low);
        Some(UsageEstimate {
            identity: DirIdentity { device, inode, born_ns, boot },
            measured_at: Duration::from_nanos(at),
            measuring_took: Duration::from_nanos(took),
            entries,
            used,
            charged,
            free: (free != u64::MAX).then_some(free),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: DirIdentity = DirIdentity { device: 1, inode: 2, born_ns: 3, boot: 5 << 64 | 4 };
    const ESTIMATE: UsageEstimate = UsageEstimate {
        identity: IDENTITY,
        measured_at: Duration::from_secs(1000),
        measuring_took: Duration::from_millis(100),
        entries: 100_000,
        used: 1 << 30,
        charged: 5 * BLOCK,
        free: Some(1 << 40),
    };

    fn after(millis: u64) -> Observation {
        Observation {
            now: ESTIMATE.measured_at + Duration::from_millis(millis),
            free: Some((1 << 40) - 5 * BLOCK),
            shared: false,
            is_continued: false,
        }
    }

    #[test]
    fn an_estimate_is_what_was_measured_and_charged() {
        assert_eq!(ESTIMATE.max_used(IDENTITY, after(1)), Some((1 << 30) + 5 * BLOCK));
        assert_eq!(ESTIMATE.plus(BLOCK).max_used(IDENTITY, after(1)), Some((1 << 30) + 6 * BLOCK));
    }

    #[test]
    fn what_free_space_fell_by_beyond_our_own_writes_counts_as_the_volumes() {
        let fallen = |bytes: u64| Observation { free: Some((1 << 40) - bytes), ..after(1) };
        assert_eq!(ESTIMATE.max_used(IDENTITY, fallen(0)), Some((1 << 30) + 5 * BLOCK));
        assert_eq!(ESTIMATE.max_used(IDENTITY, fallen(4 * BLOCK)), Some((1 << 30) + 5 * BLOCK));
        assert_eq!(ESTIMATE.max_used(IDENTITY, fallen(9 * BLOCK)), Some((1 << 30) + 9 * BLOCK));
        let risen = Observation { free: Some(2 << 40), ..after(1) };
        assert_eq!(ESTIMATE.max_used(IDENTITY, risen), Some((1 << 30) + 5 * BLOCK));
    }

    #[test]
    fn what_is_ready_to_be_put_in_place_does_not_hide_what_others_allocate() {
        let fallen = |bytes: u64| Observation { free: Some((1 << 40) - bytes), ..after(1) };
        let estimate = ESTIMATE.plus_staged(110 * BLOCK, 10 * BLOCK);
        assert_eq!(estimate.max_used(IDENTITY, fallen(5 * BLOCK)), Some((1 << 30) + 115 * BLOCK));
        // Once the replaced file is freed.
        let freed = Observation { free: Some((1 << 40) + 5 * BLOCK), ..after(1) };
        assert_eq!(estimate.max_used(IDENTITY, freed), Some((1 << 30) + 105 * BLOCK));
        let others = Observation { free: Some((1 << 40) + 2 * BLOCK), ..after(1) };
        assert_eq!(estimate.max_used(IDENTITY, others), Some((1 << 30) + 108 * BLOCK));
    }

    #[test]
    fn an_estimate_expires_sooner_if_a_guest_may_write_or_free_space_is_unknown() {
        let good = |observation: Observation| ESTIMATE.max_used(IDENTITY, observation).is_some();
        assert!(good(after(60_000)) && !good(after(60_001)));
        let shared = |millis| Observation { shared: true, ..after(millis) };
        assert!(good(shared(2000)) && !good(shared(2001)));
        let untold = |millis| Observation { free: None, ..after(millis) };
        assert!(good(untold(2000)) && !good(untold(2001)));
        let slow = UsageEstimate { measuring_took: Duration::from_secs(10), ..ESTIMATE };
        assert!(slow.max_used(IDENTITY, after(199_000)).is_some());
        let earlier = Observation { now: Duration::from_secs(999), ..after(0) };
        assert!(!good(earlier), "from the future");
    }

    #[test]
    fn a_small_volume_is_measured_each_time_but_for_a_writer_that_goes_on_at_once() {
        let small = UsageEstimate { entries: SMALL_VOLUME_ENTRIES, ..ESTIMATE };
        assert_eq!(small.max_used(IDENTITY, after(0)), None);
        assert!(
            UsageEstimate { entries: SMALL_VOLUME_ENTRIES + 1, ..ESTIMATE }
                .max_used(IDENTITY, after(0))
                .is_some()
        );
        let going_on = |millis| Observation { is_continued: true, ..after(millis) };
        assert!(small.max_used(IDENTITY, going_on(2000)).is_some());
        assert_eq!(small.max_used(IDENTITY, going_on(2001)), None);
    }

    #[test]
    fn another_directory_or_another_boot_has_no_estimate() {
        for other in [
            DirIdentity { device: 9, ..IDENTITY },
            DirIdentity { inode: 9, ..IDENTITY },
            DirIdentity { born_ns: 9, ..IDENTITY },
            DirIdentity { boot: 9, ..IDENTITY },
        ] {
            assert_eq!(ESTIMATE.max_used(other, after(1)), None, "{other:?}");
        }
    }

    #[test]
    fn an_estimate_on_disk_is_read_back_and_a_damaged_one_is_none() {
        for estimate in [ESTIMATE, UsageEstimate { free: None, ..ESTIMATE }] {
            assert_eq!(UsageEstimate::decode(&estimate.encode()), Some(estimate));
        }
        let whole = ESTIMATE.encode();
        for at in 0..whole.len() {
            let mut damaged = whole;
            damaged[at] ^= 1;
            assert_eq!(UsageEstimate::decode(&damaged), None, "byte {at}");
            assert_eq!(UsageEstimate::decode(&whole[..at]), None, "{at} bytes");
        }
        assert_eq!(UsageEstimate::decode(&[0; ENCODED_BYTES]), None);
    }

    #[test]
    fn a_charge_covers_content_the_entry_and_what_describes_it() {
        assert_eq!(max_allocated(0), MAX_OVERHEAD_BYTES);
        assert_eq!(max_allocated(BLOCK), BLOCK + MAX_OVERHEAD_BYTES + BLOCK);
        assert_eq!(max_allocated(1 << 20), (1 << 20) + MAX_OVERHEAD_BYTES + BLOCK);
        assert_eq!(max_allocated(u64::MAX - 5), u64::MAX);
    }
}
