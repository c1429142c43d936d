//! What is known of a volume's use of space since it was last measured, and how far that can be relied on.
//!
//! An account is never below the truth by our own doing: every write is charged before it is made, with the most
//! that it can allocate, and nothing is taken off for what was freed. What others write is found in two ways. The
//! host file system's free space has then fallen by at least as much, unless somebody else freed space meanwhile;
//! and an account soon grows too old to be used.

use std::time::Duration;

/// The block size that file systems allocate by: content is counted in it, and a new directory as one.
pub(crate) const BLOCK: u64 = 4096;

/// A volume with at most as many entries is measured for each write: that costs about as much as the write does. A
/// writer that goes on looks again as soon as measuring has become cheap beside what it did meanwhile.
const FEW_ENTRIES: u64 = 64;

/// How many times longer than measuring took its result is good for, at most, so that measuring takes a twentieth
/// of the time at most.
const GOOD_FOR: u32 = 20;

/// The longest that a result is good for where nobody is known to write and free space would tell.
const QUIET: Duration = Duration::from_secs(60);

/// The most blocks that a new entry adds to its directory: a leaf, and what a tree of leaves grows by above it.
/// A file's own tree of extents is no deeper.
const MAX_OVERHEAD: u64 = 3 * BLOCK;

/// A file system describes at least as many bytes of content by each byte of its own.
const DESCRIBED: u64 = 256;

/// The fields of an account on disk, of eight bytes each: a mark, the fields, and their checksum.
const WORDS: usize = 13;
const MARK: u64 = u64::from_le_bytes(*b"svquota1");

/// How many bytes an account takes on disk.
pub(crate) const ENCODED: usize = WORDS * 8;

/// Tells a volume's directory from every other, and a boot of the machine from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirIdentity {
    pub device: u64,
    pub inode: u64,
    pub born_ns: u64,
    pub boot: u128,
}

/// What is known of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsageEstimate {
    pub subject: DirIdentity,
    /// When measuring began, since the machine started.
    pub measured_at: Duration,
    pub measuring_took: Duration,
    pub entries: u64,
    /// The bytes that were found allocated.
    pub used: u64,
    /// The bytes that our own writes since then can have allocated.
    pub charged: u64,
    /// The bytes that the host file system had free when measuring began; none where they would not tell.
    pub free: Option<u64>,
}

/// What there is to know at the moment of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation {
    pub now: Duration,
    pub free: Option<u64>,
    /// Whether a sandbox that may write has the volume.
    pub shared: bool,
    /// Whether the writer goes on with what it was admitted to with this very account.
    pub goes_on: bool,
}

/// The most that a write can allocate that needs so much for its content.
pub(crate) fn most_allocated(needed: u64) -> u64 {
    needed.saturating_add(MAX_OVERHEAD).saturating_add((needed / DESCRIBED).next_multiple_of(BLOCK))
}

impl UsageEstimate {
    /// The most that the volume can use at this moment; none where the account cannot tell.
    pub fn most_used(&self, subject: DirIdentity, moment: Observation) -> Option<u64> {
        let age = moment.now.checked_sub(self.measured_at)?;
        let known = (self.free, moment.free);
        let is_small = self.entries <= FEW_ENTRIES;
        let longest = match known {
            (Some(_), Some(_)) if !moment.shared && !is_small => (self.measuring_took * GOOD_FOR).max(QUIET),
            _ => self.measuring_took * GOOD_FOR,
        };
        if self.subject != subject || age > longest || (is_small && !moment.goes_on) {
            return None;
        }
        let fallen = match known {
            (Some(then), Some(now)) => then.saturating_sub(now),
            _ => 0,
        };
        // What we wrote is part of what free space fell by.
        Some(self.used.saturating_add(self.charged.max(fallen)))
    }

    /// The account with a write that can allocate so much.
    pub fn with(mut self, most_allocated: u64) -> Self {
        self.charged = self.charged.saturating_add(most_allocated);
        self
    }

    /// The account without what was charged for a write that was not made.
    pub fn without(mut self, charged: u64) -> Self {
        self.charged = self.charged.saturating_sub(charged);
        self
    }

    /// The account with what was allocated for the volume before it was measured and is not in it yet, and takes the
    /// place of so much that is. All of it counts as free then, so that what others allocate is not taken for it.
    pub fn with_ready(mut self, allocated: u64, replaced: u64) -> Self {
        self.free = self.free.map(|free| free.saturating_add(allocated));
        self.with(allocated.saturating_sub(replaced))
    }

    pub fn encode(&self) -> [u8; ENCODED] {
        let DirIdentity { device, inode, born_ns, boot } = self.subject;
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let fields = [
            MARK,
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
        let mut bytes = [0; ENCODED];
        let (content, checksum) = bytes.split_at_mut(ENCODED - 8);
        for (place, field) in content.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        checksum.copy_from_slice(&u64::from(crc32c::crc32c(content)).to_le_bytes());
        bytes
    }

    /// What was encoded; none of anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ENCODED] = bytes.try_into().ok()?;
        let mut words = [0; WORDS];
        for (word, place) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*place);
        }
        let [mark, device, inode, born_ns, boot_high, boot_low, at, took, entries, used, charged, free, sum] =
            words;
        if mark != MARK || sum != u64::from(crc32c::crc32c(&bytes[..ENCODED - 8])) {
            return None;
        }
        let boot = u128::from(boot_high) << 64 | u128::from(boot_low);
        Some(UsageEstimate {
            subject: DirIdentity { device, inode, born_ns, boot },
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

    const SUBJECT: DirIdentity = DirIdentity { device: 1, inode: 2, born_ns: 3, boot: 5 << 64 | 4 };
    const ACCOUNT: UsageEstimate = UsageEstimate {
        subject: SUBJECT,
        measured_at: Duration::from_secs(1000),
        measuring_took: Duration::from_millis(100),
        entries: 100_000,
        used: 1 << 30,
        charged: 5 * BLOCK,
        free: Some(1 << 40),
    };

    fn after(millis: u64) -> Observation {
        Observation {
            now: ACCOUNT.measured_at + Duration::from_millis(millis),
            free: Some((1 << 40) - 5 * BLOCK),
            shared: false,
            goes_on: false,
        }
    }

    #[test]
    fn an_account_is_what_was_measured_and_charged() {
        assert_eq!(ACCOUNT.most_used(SUBJECT, after(1)), Some((1 << 30) + 5 * BLOCK));
        assert_eq!(ACCOUNT.with(BLOCK).most_used(SUBJECT, after(1)), Some((1 << 30) + 6 * BLOCK));
    }

    #[test]
    fn what_free_space_fell_by_beyond_our_own_writes_counts_as_the_volumes() {
        let fallen = |bytes: u64| Observation { free: Some((1 << 40) - bytes), ..after(1) };
        assert_eq!(ACCOUNT.most_used(SUBJECT, fallen(0)), Some((1 << 30) + 5 * BLOCK));
        assert_eq!(ACCOUNT.most_used(SUBJECT, fallen(4 * BLOCK)), Some((1 << 30) + 5 * BLOCK));
        assert_eq!(ACCOUNT.most_used(SUBJECT, fallen(9 * BLOCK)), Some((1 << 30) + 9 * BLOCK));
        let risen = Observation { free: Some(2 << 40), ..after(1) };
        assert_eq!(ACCOUNT.most_used(SUBJECT, risen), Some((1 << 30) + 5 * BLOCK));
    }

    #[test]
    fn what_is_ready_to_be_put_in_place_does_not_hide_what_others_allocate() {
        let fallen = |bytes: u64| Observation { free: Some((1 << 40) - bytes), ..after(1) };
        let account = ACCOUNT.with_ready(110 * BLOCK, 10 * BLOCK);
        assert_eq!(account.most_used(SUBJECT, fallen(5 * BLOCK)), Some((1 << 30) + 115 * BLOCK));
        // Once what is replaced is given back.
        let given_back = Observation { free: Some((1 << 40) + 5 * BLOCK), ..after(1) };
        assert_eq!(account.most_used(SUBJECT, given_back), Some((1 << 30) + 105 * BLOCK));
        let others = Observation { free: Some((1 << 40) + 2 * BLOCK), ..after(1) };
        assert_eq!(account.most_used(SUBJECT, others), Some((1 << 30) + 108 * BLOCK));
    }

    #[test]
    fn an_account_grows_too_old_sooner_where_somebody_may_write_or_free_space_does_not_tell() {
        let good = |moment: Observation| ACCOUNT.most_used(SUBJECT, moment).is_some();
        assert!(good(after(60_000)) && !good(after(60_001)));
        let shared = |millis| Observation { shared: true, ..after(millis) };
        assert!(good(shared(2000)) && !good(shared(2001)));
        let untold = |millis| Observation { free: None, ..after(millis) };
        assert!(good(untold(2000)) && !good(untold(2001)));
        let slow = UsageEstimate { measuring_took: Duration::from_secs(10), ..ACCOUNT };
        assert!(slow.most_used(SUBJECT, after(199_000)).is_some());
        let earlier = Observation { now: Duration::from_secs(999), ..after(0) };
        assert!(!good(earlier), "from the future");
    }

    #[test]
    fn a_small_volume_is_measured_each_time_but_for_a_writer_that_goes_on_at_once() {
        let small = UsageEstimate { entries: FEW_ENTRIES, ..ACCOUNT };
        assert_eq!(small.most_used(SUBJECT, after(0)), None);
        assert!(UsageEstimate { entries: FEW_ENTRIES + 1, ..ACCOUNT }.most_used(SUBJECT, after(0)).is_some());
        let going_on = |millis| Observation { goes_on: true, ..after(millis) };
        assert!(small.most_used(SUBJECT, going_on(2000)).is_some());
        assert_eq!(small.most_used(SUBJECT, going_on(2001)), None);
    }

    #[test]
    fn another_directory_or_another_boot_has_no_account() {
        for other in [
            DirIdentity { device: 9, ..SUBJECT },
            DirIdentity { inode: 9, ..SUBJECT },
            DirIdentity { born_ns: 9, ..SUBJECT },
            DirIdentity { boot: 9, ..SUBJECT },
        ] {
            assert_eq!(ACCOUNT.most_used(other, after(1)), None, "{other:?}");
        }
    }

    #[test]
    fn an_account_on_disk_is_read_back_and_a_damaged_one_is_none() {
        for account in [ACCOUNT, UsageEstimate { free: None, ..ACCOUNT }] {
            assert_eq!(UsageEstimate::decode(&account.encode()), Some(account));
        }
        let whole = ACCOUNT.encode();
        for at in 0..whole.len() {
            let mut damaged = whole;
            damaged[at] ^= 1;
            assert_eq!(UsageEstimate::decode(&damaged), None, "byte {at}");
            assert_eq!(UsageEstimate::decode(&whole[..at]), None, "{at} bytes");
        }
        assert_eq!(UsageEstimate::decode(&[0; ENCODED]), None);
    }

    #[test]
    fn a_charge_covers_content_the_entry_and_what_describes_it() {
        assert_eq!(most_allocated(0), MAX_OVERHEAD);
        assert_eq!(most_allocated(BLOCK), BLOCK + MAX_OVERHEAD + BLOCK);
        assert_eq!(most_allocated(1 << 20), (1 << 20) + MAX_OVERHEAD + BLOCK);
        assert_eq!(most_allocated(u64::MAX - 5), u64::MAX);
    }
}
