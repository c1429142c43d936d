//! Memory for much data.

#![expect(unsafe_code, reason = "madvise has no safe wrapper among our dependencies")]

use nix::libc;
use std::collections::TryReserveError;

/// The size of a huge page.
const HUGE_PAGE: usize = 2 << 20;

/// From here on huge pages pay: the page faults of small ones take longer than copying the data.
const MIN_HUGE: usize = 8 << 20;

/// Returns an empty vector with room for `length` bytes, in huge pages if they are many and the kernel has some.
pub fn reserve_memory(length: usize) -> Result<Vec<u8>, TryReserveError> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(length)?;
    if length >= MIN_HUGE {
        let room = memory.spare_capacity_mut();
        let before = room.as_ptr().align_offset(HUGE_PAGE).min(room.len());
        let aligned = &mut room[before..];
        let whole = aligned.len() / HUGE_PAGE * HUGE_PAGE;
        // SAFETY: the range is in the vector's own allocation, and the advice changes nothing of what it holds. A
        // refusal costs speed only.
        unsafe { libc::madvise(aligned.as_mut_ptr().cast(), whole, libc::MADV_HUGEPAGE) };
    }
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_every_size_can_be_filled_and_what_is_too_much_is_refused() {
        for length in [0, 1, MIN_HUGE - 1, MIN_HUGE, MIN_HUGE + 1, 5 * MIN_HUGE + 4097] {
            let mut memory = reserve_memory(length).unwrap();
            assert!(memory.is_empty() && memory.capacity() >= length);
            let before = memory.as_ptr();
            memory.resize(length, 7);
            assert!(memory.as_ptr() == before && memory.iter().all(|byte| *byte == 7));
        }
        assert!(reserve_memory(usize::MAX).is_err());
    }
}
