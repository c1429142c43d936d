//! Large buffers in huge pages.

#![expect(unsafe_code, reason = "madvise has no safe wrapper among our dependencies")]

use nix::libc;
use std::collections::TryReserveError;

/// The size of a huge page.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// The smallest buffer that gets huge pages. From here on the page faults of small pages take longer than the copy.
const MIN_HUGE_BYTES: usize = 8 << 20;

/// Returns an empty vector with room for `length` bytes. A large one gets huge pages if the kernel has some.
pub fn reserve_memory(length: usize) -> Result<Vec<u8>, TryReserveError> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(length)?;
    if length >= MIN_HUGE_BYTES {
        let room = memory.spare_capacity_mut();
        let before = room.as_ptr().align_offset(HUGE_PAGE_BYTES).min(room.len());
        let aligned = &mut room[before..];
        let whole = aligned.len() / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
        // SAFETY: the range is in the vector's own allocation, and the advice does not change its content. An error
        // costs speed only.
        unsafe { libc::madvise(aligned.as_mut_ptr().cast(), whole, libc::MADV_HUGEPAGE) };
    }
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_every_size_can_be_filled_and_what_is_too_much_is_refused() {
        for length in
            [0, 1, MIN_HUGE_BYTES - 1, MIN_HUGE_BYTES, MIN_HUGE_BYTES + 1, 5 * MIN_HUGE_BYTES + 4097]
        {
            let mut memory = reserve_memory(length).unwrap();
            assert!(memory.is_empty() && memory.capacity() >= length);
            let before = memory.as_ptr();
            memory.resize(length, 7);
            assert!(memory.as_ptr() == before && memory.iter().all(|byte| *byte == 7));
        }
        assert!(reserve_memory(usize::MAX).is_err());
    }
}
