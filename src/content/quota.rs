//! Quotas on what the host writes into a directory volume.

use super::Tree;
use crate::error::{Error, Result};
use crate::model::{Cancel, MIB};

/// The block size that file systems allocate by, and that a new file is therefore counted in.
const BLOCK: u64 = 4096;

/// A volume's limit; none is unlimited.
#[derive(Clone, Copy, Debug)]
pub struct Quota(Option<u32>);

impl Quota {
    /// A limit in MiB.
    pub fn mib(mib: Option<u32>) -> Self {
        Quota(mib)
    }

    /// Refuses a write of `length` bytes at `path` that would take the volume over its limit, where
    /// `replaced` bytes are given back by it. What the guest wrote counts as well, so the tree is measured.
    pub(super) fn admit(
        self,
        tree: &Tree,
        path: &str,
        length: u64,
        replaced: u64,
        cancel: &Cancel,
    ) -> Result<()> {
        let Some(mib) = self.0 else { return Ok(()) };
        let limit = u64::from(mib) * MIB;
        let needed = length.next_multiple_of(BLOCK).saturating_sub(replaced);
        let used = tree.used_bytes(cancel)?;
        if needed > 0 && used.saturating_add(needed) > limit {
            return Err(Error::quota_exceeded(tree.volume.as_str(), path, limit, used, needed));
        }
        Ok(())
    }
}
