//! The flags of `open(2)` that several modules use.

use nix::fcntl::OFlag;

/// The flag of an open by which a descriptor only names a file, and can do no I/O (`O_PATH`).
pub const PATH_ONLY_FLAG: i32 = OFlag::O_PATH.bits();

/// Names a file by an `O_PATH` descriptor, which can do no I/O. Follows a link.
pub(crate) const PATH_ONLY: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// Names an entry by an `O_PATH` descriptor, a link itself included.
pub(crate) const PATH_ONLY_NOFOLLOW: OFlag = PATH_ONLY.union(OFlag::O_NOFOLLOW);

/// Names a directory by an `O_PATH` descriptor. Fails with `ENOTDIR` for any other file.
pub(crate) const PATH_ONLY_DIRECTORY: OFlag = PATH_ONLY.union(OFlag::O_DIRECTORY);

/// Opens a directory for listing.
pub(crate) const READ_DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// Opens a directory for listing, and never through a link.
pub(crate) const READ_DIRECTORY_NOFOLLOW: OFlag = READ_DIRECTORY.union(OFlag::O_NOFOLLOW);
