//! Deleting what belongs to other users that this process's user was granted, as rootless containers leave it.

use nix::errno::Errno;
use nix::unistd::{User, geteuid};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where the programs are: not where an environment says.
const SEARCH_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// Which users are granted which ids.
const GRANTS: &str = "/etc/subuid";

/// The first part of what GNU's `rm` says of itself.
const GNU: &[u8] = b"rm (GNU coreutils)";

/// Who may change a tree while it is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Guests. GNU's `rm` follows no link that is put in place of a directory, and of no other is that known.
    Guests,
    /// This program only: the tree was moved to where no guest finds it.
    ThisProgram,
}

/// Whether a process of [`remove_in_user_namespace`] may delete what belongs to the user `owner`: this process's user is
/// granted that id.
pub fn may_remove_of(owner: u32) -> bool {
    !geteuid().is_root() && is_granted(owner).unwrap_or(false)
}

/// Deletes the entry `name` of `dir`, and everything below it, in a user name space in which this process's user is root
/// and has the ids that /etc/subuid and /etc/subgid grant it.
///
/// A process with several threads cannot enter a user name space, so that `unshare` does it, with `newuidmap`. Fails if
/// one of them is not installed, or if something is left; with `EPERM`, before a process is started, if this process is root's;
/// and with `EBUSY`, before anything is deleted, if there is a mount below `name`.
pub fn remove_in_user_namespace(dir: BorrowedFd<'_>, name: &OsStr, reach: Reach) -> io::Result<()> {
    if geteuid().is_root() || (reach == Reach::Guests && !has_gnu_rm()) {
        return Err(Errno::EPERM.into());
    }
    let directory = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    if has_mount_below(&nix::fcntl::readlink(&directory)?, name)? {
        return Err(Errno::EBUSY.into());
    }
    let mut entry = OsString::from("./");
    entry.push(name);
    let mut remove = Command::new("unshare");
    remove.args(["--user", "--map-root-user", "--map-auto", "--", "rm", "-rf", "--one-file-system", "--"]);
    let status = confined(&mut remove).arg(entry).current_dir(directory).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(Errno::EACCES.into()) }
}

fn has_gnu_rm() -> bool {
    let said = confined(Command::new("rm").arg("--version")).output();
    said.is_ok_and(|said| said.stdout.starts_with(GNU))
}

/// Keeps this process's environment and input from a program.
fn confined(program: &mut Command) -> &mut Command {
    program.env_clear().env("PATH", SEARCH_PATH).stdin(Stdio::null()).stderr(Stdio::null())
}

/// Whether /etc/subuid grants an id to this process's user. `unshare` takes the first range of a user.
#[expect(clippy::disallowed_methods, reason = "the host's configuration, which no guest writes")]
fn is_granted(id: u32) -> io::Result<bool> {
    let user = geteuid();
    let name = User::from_uid(user)?.map(|user| user.name);
    let grants = std::fs::read_to_string(GRANTS)?;
    let range = first_range(&grants, name.as_deref(), user.as_raw());
    Ok(range.is_some_and(|(first, count)| (first..first.saturating_add(count)).contains(&u64::from(id))))
}

/// The first range of a user, who is meant by name or number: the first id and how many.
fn first_range(grants: &str, name: Option<&str>, user: u32) -> Option<(u64, u64)> {
    grants.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        let is_theirs = Some(owner) == name || owner.parse() == Ok(user);
        is_theirs.then_some((first.trim().parse().ok()?, count.trim().parse().ok()?))
    })
}

/// Whether a mount of this thread's name space is at or below the entry `name` of the directory at `path`.
#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
fn has_mount_below(path: &OsStr, name: &OsStr) -> io::Result<bool> {
    let entry = PathBuf::from(path).join(name);
    let mounts = std::fs::read("/proc/thread-self/mountinfo")?;
    let mut points =
        mounts.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    Ok(points.any(|point| PathBuf::from(OsString::from_vec(unescaped(point))).starts_with(&entry)))
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
    fn the_first_range_of_a_user_is_found_by_name_or_number() {
        let grants = "other:100000:65536\n\n# x\nuser:200000:10\n1000:300000:20\nuser:400000:10\n";
        assert_eq!(first_range(grants, Some("user"), 1), Some((200_000, 10)));
        assert_eq!(first_range(grants, None, 1000), Some((300_000, 20)));
        assert_eq!(first_range(grants, Some("nobody"), 1), None);
        assert_eq!(first_range("user:x:1", Some("user"), 1), None);
    }

    #[test]
    fn a_mount_is_found_below_its_path_however_that_is_written() {
        assert_eq!(unescaped(br"/a\040b\134c\9"), br"/a b\c\9");
        assert!(has_mount_below(OsStr::new("/"), OsStr::new("proc")).unwrap());
        assert!(!has_mount_below(OsStr::new("/"), OsStr::new("pro")).unwrap());
        assert!(!has_mount_below(OsStr::new("/proc/self"), OsStr::new("nothing")).unwrap());
    }
}
