//! Deleting what belongs to other users that this process's user was granted, as rootless containers leave it.

use nix::errno::Errno;
use nix::unistd::geteuid;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where the programs are: not where an environment says.
const SEARCH_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// Deletes the entry `name` of `dir`, and everything below it, in a user name space in which this process's user is root
/// and has the ids that /etc/subuid and /etc/subgid grant it. `dir` is to be one that no guest reaches.
///
/// A process with several threads cannot enter a user name space, so that `unshare` does it, with `newuidmap`. Fails if
/// they are not installed, if no ids are granted, or if something is left; and with `EBUSY`, before anything is deleted,
/// if there is a mount below `name`.
pub fn remove_in_user_namespace(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    if geteuid().is_root() {
        return Err(Errno::EPERM.into());
    }
    let directory = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    if has_mount_below(&nix::fcntl::readlink(&directory)?, name)? {
        return Err(Errno::EBUSY.into());
    }
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--map-auto", "--"])
        .args(["rm", "-rf", "--one-file-system", "--", &format!("./{name}")])
        .current_dir(directory)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(Errno::EACCES.into()) }
}

/// Whether a mount of this thread's name space is at or below the entry `name` of the directory at `path`.
#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
fn has_mount_below(path: &OsStr, name: &str) -> io::Result<bool> {
    let entry = PathBuf::from(path).join(name);
    let mounts = std::fs::read("/proc/thread-self/mountinfo")?;
    let mut points =
        mounts.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    Ok(points.any(|point| PathBuf::from(std::ffi::OsString::from_vec(unescaped(point))).starts_with(&entry)))
}

/// A path of the list of mounts, in which blanks and backslashes are three octal digits behind a backslash.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|_| byte == b'\\');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(code) => {
                plain.push(code);
                rest = &after[3..];
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_below_its_path_however_that_is_written() {
        assert_eq!(unescaped(br"/a\040b\134c\9"), br"/a b\c\9");
        assert!(has_mount_below(OsStr::new("/"), "proc").unwrap());
        assert!(!has_mount_below(OsStr::new("/"), "pro").unwrap());
        assert!(!has_mount_below(OsStr::new("/proc/self"), "nothing").unwrap());
    }
}
