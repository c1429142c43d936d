//! Deletes files of subordinate user IDs, which rootless containers leave behind.

use crate::sys::mount::mount_table::unescaped;
use nix::errno::Errno;
use nix::unistd::{User, geteuid};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The PATH for helper programs. The environment's is not used.
const SEARCH_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// The file that grants subordinate user IDs (`subuid(5)`).
const SUBUID_FILE: &str = "/etc/subuid";

/// The user ID that the kernel shows for one that a user namespace does not map, unless `overflowuid` is changed.
const OVERFLOW_UID: u32 = 65534;

/// Number of user IDs: the last value of 32 bits is none.
const ALL_UIDS: u64 = u32::MAX as u64;

/// The begin of the output of GNU `rm --version`.
const GNU_RM_VERSION: &[u8] = b"rm (GNU coreutils)";

/// Who may change a tree while it is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReachableBy {
    /// Guests. Requires GNU `rm`, which does not follow a link that replaces a directory. Other versions are not known
    /// to be safe.
    Guests,
    /// This program only. The tree was moved out of the guests' reach.
    ThisProgram,
}

/// Reports whether [`remove_in_user_namespace`] may delete files of the user `owner`: `/etc/subuid` grants that ID to
/// this process's user.
pub fn may_remove_of(owner: u32) -> bool {
    !geteuid().is_root() && is_granted(owner).unwrap_or(false)
}

/// Deletes the entry `name` of `dir` and all entries below it, in a new user namespace. There this process's user is
/// root and has the IDs that /etc/subuid and /etc/subgid grant.
///
/// Runs `unshare` and `newuidmap`, because a process with several threads cannot enter a user namespace.
///
/// Fails if one of them is not installed, or if an entry is left. Fails with `EPERM`, before it starts a process, if this
/// process runs as root. Fails with `EPERM` if guests can reach the tree and `rm` is not GNU's. Fails with `EBUSY`,
/// before it deletes anything, if there is a mount at or below `name`.
pub fn remove_in_user_namespace(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    reachable_by: ReachableBy,
) -> io::Result<()> {
    if geteuid().is_root() || (reachable_by == ReachableBy::Guests && !has_gnu_rm()) {
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

/// Returns true if a file with the owner `owner` may belong to a user without an ID in this process's user namespace.
#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
pub fn may_be_unmapped(owner: u32) -> bool {
    let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid");
    let overflow = overflow.ok().and_then(|id| id.trim().parse().ok()).unwrap_or(OVERFLOW_UID);
    // Each line holds the first ID inside, the first ID outside, and the count.
    let mapped = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mapped = mapped.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    owner == overflow && mapped.sum::<u64>() < ALL_UIDS
}

fn has_gnu_rm() -> bool {
    let output = confined(Command::new("rm").arg("--version")).output();
    output.is_ok_and(|output| output.stdout.starts_with(GNU_RM_VERSION))
}

/// Gives a program no input, and no environment but [`SEARCH_PATH`].
fn confined(program: &mut Command) -> &mut Command {
    program.env_clear().env("PATH", SEARCH_PATH).stdin(Stdio::null()).stderr(Stdio::null())
}

/// Reports whether /etc/subuid grants an ID to this process's user. Like `unshare`, uses the first range of a user.
#[expect(clippy::disallowed_methods, reason = "the host's configuration, which no guest writes")]
fn is_granted(id: u32) -> io::Result<bool> {
    let user = geteuid();
    let name = User::from_uid(user)?.map(|user| user.name);
    let grants = std::fs::read_to_string(SUBUID_FILE)?;
    let range = first_range(&grants, name.as_deref(), user.as_raw());
    Ok(range.is_some_and(|(first, count)| (first..first.saturating_add(count)).contains(&u64::from(id))))
}

/// Returns the first range of a user, listed by name or number: the first ID and the count.
fn first_range(grants: &str, name: Option<&str>, user: u32) -> Option<(u64, u64)> {
    grants.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        let is_the_users = Some(owner) == name || owner.parse() == Ok(user);
        is_the_users.then_some((first.trim().parse().ok()?, count.trim().parse().ok()?))
    })
}

/// Reports whether this thread's mount namespace has a mount at or below the entry `name` of the directory at `path`.
#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
fn has_mount_below(path: &OsStr, name: &OsStr) -> io::Result<bool> {
    let entry = PathBuf::from(path).join(name);
    let mounts = std::fs::read("/proc/thread-self/mountinfo")?;
    let mut points =
        mounts.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    Ok(points.any(|point| PathBuf::from(OsString::from_vec(unescaped(point))).starts_with(&entry)))
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
    fn a_mount_is_found_below_its_path_also_if_that_is_escaped() {
        assert_eq!(unescaped(br"/a\040b\134c\9"), br"/a b\c\9");
        assert!(has_mount_below(OsStr::new("/"), OsStr::new("proc")).unwrap());
        assert!(!has_mount_below(OsStr::new("/"), OsStr::new("pro")).unwrap());
        assert!(!has_mount_below(OsStr::new("/proc/self"), OsStr::new("nothing")).unwrap());
    }
}
