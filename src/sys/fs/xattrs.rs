//! Extended attributes of open files. `O_PATH` descriptors work too.

use super::reopen::descriptor_path;
use rustix::fs::XattrFlags;
use rustix::fs::{fgetxattr, flistxattr, fremovexattr, fsetxattr, getxattr, listxattr};
use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;

/// The longest list of names, and the longest value, that the kernel returns.
const MAX_BYTES: usize = 64 << 10;

/// The size of the first buffer. Most files have no attributes.
const INITIAL_BYTES: usize = 256;

/// How many bytes of names and values are copied from one file. A guest may give its files more.
const MAX_COPIED_BYTES: usize = 1 << 20;

/// The names of a file's attributes, each terminated by NUL.
#[derive(Debug, Default)]
pub(crate) struct XattrNames(Vec<u8>);

impl XattrNames {
    /// Lists the names. The list is empty if the file system has no attributes. Fails with `E2BIG` if there are more than
    /// the kernel lists.
    pub fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        for room in [INITIAL_BYTES, MAX_BYTES] {
            let mut names = vec![0; room];
            let got = match flistxattr(file, &mut names[..]) {
                Err(Errno::BADF) => listxattr(descriptor_path("self", file), &mut names[..]),
                got => got,
            };
            match got {
                Err(Errno::RANGE) => continue,
                Err(errno) if has_none(errno) => return Ok(XattrNames::default()),
                got => names.truncate(got?),
            }
            return Ok(XattrNames(names));
        }
        Err(Errno::TOOBIG.into())
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == 0).filter(|name| !name.is_empty())
    }

    pub fn contains(&self, wanted: &[u8]) -> bool {
        self.iter().any(|name| name == wanted)
    }
}

/// Returns an attribute's value, or `None` if the file lacks it.
pub(crate) fn get(file: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    for room in [INITIAL_BYTES, MAX_BYTES] {
        let mut value = vec![0; room];
        let got = match fgetxattr(file, name, &mut value[..]) {
            Err(Errno::BADF) => getxattr(descriptor_path("self", file), name, &mut value[..]),
            got => got,
        };
        match got {
            Err(Errno::RANGE) => continue,
            Err(errno) if errno == Errno::NODATA || has_none(errno) => return Ok(None),
            got => value.truncate(got?),
        }
        return Ok(Some(value));
    }
    Err(Errno::TOOBIG.into())
}

pub(crate) fn set(file: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(fsetxattr(file, name, value, XattrFlags::empty())?)
}

pub(crate) fn remove(file: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match fremovexattr(file, name) {
        Err(Errno::NODATA) => Ok(()),
        Err(errno) if has_none(errno) => Ok(()),
        removed => Ok(removed?),
    }
}

/// Copies the `wanted` ones of the attributes `names` of `from` to `to`.
///
/// An attribute that `to` cannot have is skipped if `may_be_lost` returns `true` for it. Fails with `E2BIG` if names
/// and values exceed [`MAX_COPIED_BYTES`].
pub(crate) fn copy(
    from: BorrowedFd<'_>,
    names: &XattrNames,
    to: BorrowedFd<'_>,
    wanted: impl Fn(&[u8]) -> bool,
    may_be_lost: impl Fn(&[u8]) -> bool,
) -> io::Result<()> {
    let mut copied = 0;
    for name in names.iter().filter(|name| wanted(name)) {
        let step = get(from, name).and_then(|value| {
            let Some(value) = value else { return Ok(()) };
            copied += name.len() + value.len();
            match copied > MAX_COPIED_BYTES {
                true => Err(Errno::TOOBIG.into()),
                false => set(to, name, &value),
            }
        });
        match step {
            Err(error) if may_be_lost(name) && is_refusal(&error) => {}
            step => step?,
        }
    }
    Ok(())
}

/// Reports whether an error means that the file system, or a seccomp filter, has no such attributes.
fn has_none(errno: Errno) -> bool {
    matches!(errno, Errno::OPNOTSUPP | Errno::NOSYS)
}

fn is_refusal(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| has_none(errno) || matches!(errno, Errno::PERM | Errno::ACCESS | Errno::INVAL))
}
