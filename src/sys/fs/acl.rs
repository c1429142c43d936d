//! POSIX access control lists (`acl(5)`) in the format of the kernel's extended attributes.

use nix::errno::Errno;
use std::io;

/// The only version of the format.
const VERSION: u32 = 2;

const ENTRY_BYTES: usize = 8;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

const ALL: u16 = 0o7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AclEntry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// An access or default ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl(Vec<AclEntry>);

impl Acl {
    /// Parses an attribute's value. Fails with `EINVAL` if the kernel does not write such a value.
    pub fn parse(value: &[u8]) -> io::Result<Self> {
        let invalid = || io::Error::from(Errno::EINVAL);
        let (version, entries) = value.split_first_chunk().ok_or_else(invalid)?;
        let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
        if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
            return Err(invalid());
        }
        let entry = |[a, b, c, d, id @ ..]: &[u8; ENTRY_BYTES]| AclEntry {
            tag: u16::from_le_bytes([*a, *b]),
            permissions: u16::from_le_bytes([*c, *d]),
            id: u32::from_le_bytes(*id),
        };
        let acl = Acl(entries.iter().map(entry).collect());
        let is_whole = [USER_OBJ, GROUP_OBJ, OTHER].into_iter().all(|tag| acl.find(tag).is_some());
        is_whole.then_some(acl).ok_or_else(invalid)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            bytes.extend(entry.tag.to_le_bytes());
            bytes.extend(entry.permissions.to_le_bytes());
            bytes.extend(entry.id.to_le_bytes());
        }
        bytes
    }

    /// Returns the permission bits of a file with this access ACL. The group's bits are the mask.
    pub fn mode(&self) -> u32 {
        self.mode_with_group(self.get(MASK, self.get(GROUP_OBJ, 0)))
    }

    /// Returns the widest permission bits that, without the ACL, give no user more than the ACL does. Without the ACL,
    /// a user whom an entry names counts as group or as other.
    pub fn narrowest_mode(&self) -> u32 {
        let mask = self.get(MASK, ALL);
        let named = self.0.iter().filter(|entry| matches!(entry.tag, USER | GROUP));
        let all_named = named.fold(ALL, |all, entry| all & entry.permissions & mask);
        let mode = self.mode_with_group(self.get(GROUP_OBJ, 0) & mask & all_named);
        mode & (0o770 | u32::from(all_named))
    }

    /// Returns the access ACL and the permission bits of a new file or directory that is created with `mode`, if this is
    /// its parent's default ACL. The ACL is `None` if the bits say all of it. Same as the kernel's `posix_acl_create`.
    pub fn created_with(mut self, mode: u32) -> (Option<Acl>, u32) {
        let [owner, group, other] = [6, 3, 0].map(|shift| ((mode >> shift) & 0o7) as u16);
        let class = if self.find(MASK).is_some() { MASK } else { GROUP_OBJ };
        self.limit(USER_OBJ, owner);
        self.limit(class, group);
        self.limit(OTHER, other);
        let mode = self.mode();
        (self.is_extended().then_some(self), mode)
    }

    /// Limits the rights of the file's group to `permissions`. Entries that name users or groups stay as they are.
    pub fn limit_group(&mut self, permissions: u32) {
        self.limit(GROUP_OBJ, permissions as u16);
    }

    /// Reports whether permission bits cannot say the same.
    fn is_extended(&self) -> bool {
        self.0.iter().any(|entry| matches!(entry.tag, USER | GROUP | MASK))
    }

    fn limit(&mut self, tag: u16, permissions: u16) {
        for entry in self.0.iter_mut().filter(|entry| entry.tag == tag) {
            entry.permissions &= permissions;
        }
    }

    fn find(&self, tag: u16) -> Option<&AclEntry> {
        self.0.iter().find(|entry| entry.tag == tag)
    }

    fn get(&self, tag: u16, otherwise: u16) -> u16 {
        self.find(tag).map_or(otherwise, |entry| entry.permissions & ALL)
    }

    fn mode_with_group(&self, group: u16) -> u32 {
        let [owner, other] = [USER_OBJ, OTHER].map(|tag| self.get(tag, 0));
        u32::from(owner) << 6 | u32::from(group) << 3 | u32::from(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds an ACL of these entries: tag and permissions.
    fn acl(entries: &[(u16, u16)]) -> Acl {
        let entry = |&(tag, permissions)| AclEntry { tag, permissions, id: 1000 };
        Acl(entries.iter().map(entry).collect())
    }

    #[test]
    fn bytes_are_parsed_and_written_alike_and_others_refused() {
        let whole = acl(&[(USER_OBJ, 6), (USER, 4), (GROUP_OBJ, 0), (MASK, 4), (OTHER, 0)]);
        assert_eq!(Acl::parse(&whole.to_bytes()).unwrap(), whole);
        let bytes = whole.to_bytes();
        let halved = acl(&[(USER_OBJ, 6), (OTHER, 0)]).to_bytes();
        for wrong in [&[][..], &bytes[..3], &bytes[..11], &[&[1], &bytes[1..]].concat(), &halved] {
            assert!(Acl::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn without_its_acl_a_file_gives_no_user_more() {
        let cases = [
            (&[(USER_OBJ, 6), (USER, 6), (GROUP_OBJ, 0), (MASK, 6), (OTHER, 0)][..], 0o660, 0o600),
            (&[(USER_OBJ, 6), (USER, 6), (GROUP_OBJ, 6), (MASK, 4), (OTHER, 0)], 0o640, 0o640),
            (&[(USER_OBJ, 6), (USER, 0), (GROUP_OBJ, 4), (MASK, 4), (OTHER, 4)], 0o644, 0o600),
            (&[(USER_OBJ, 7), (GROUP_OBJ, 5), (GROUP, 1), (MASK, 7), (OTHER, 5)], 0o775, 0o711),
            (&[(USER_OBJ, 7), (GROUP_OBJ, 5), (OTHER, 4)], 0o754, 0o754),
        ];
        for (entries, mode, narrowest) in cases {
            let acl = acl(entries);
            assert_eq!((acl.mode(), acl.narrowest_mode()), (mode, narrowest), "{entries:?}");
        }
    }
}
