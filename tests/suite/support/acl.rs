//! Attributes and ACLs of files, set and read from outside.

use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};
use rustix::io::Errno;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub const ACCESS: &str = "system.posix_acl_access";
pub const DEFAULT: &str = "system.posix_acl_default";

const NO_ID: u32 = u32::MAX;

/// An ACL's value: rights of owner, a named user, group, mask and others. Without a named user there is no mask.
pub fn acl(owner: u16, named: Option<(u32, u16)>, group: u16, mask: u16, others: u16) -> Vec<u8> {
    let mut entries = vec![(0x01, owner, NO_ID)];
    entries.extend(named.map(|(id, rights)| (0x02, rights, id)));
    entries.push((0x04, group, NO_ID));
    entries.extend(named.map(|_| (0x10, mask, NO_ID)));
    entries.push((0x20, others, NO_ID));
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        value.extend(u16::to_le_bytes(tag));
        value.extend(rights.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

pub fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

pub fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 64 << 10];
    match lgetxattr(path, name, &mut value[..]) {
        Ok(length) => Some(value[..length].to_vec()),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => None,
        Err(errno) => panic!("{name} of {path:?}: {errno}"),
    }
}

/// Who may do what with a file: mode, owner, access and default ACL.
pub fn rights(path: &Path) -> (String, u32, u32, Option<Vec<u8>>, Option<Vec<u8>>) {
    let found = fs::symlink_metadata(path).unwrap();
    let mode = format!("{:o}", found.mode() & 0o7777);
    (mode, found.uid(), found.gid(), get(path, ACCESS), get(path, DEFAULT))
}
