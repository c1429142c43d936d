//! Deletes files of subordinate user IDs, which rootless containers leave behind.

#![expect(unsafe_code, reason = "what a child process does between fork and exec has no safe wrapper")]

use crate::sys::fs::reopen::descriptor_path;
use crate::sys::mount::mount_table::unescaped;
use nix::errno::Errno;
use nix::fcntl::readlink;
use nix::unistd::{User, geteuid};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
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

/// Deletes entries of the working directory, in a second mount of that directory, which shows no other mount. It is
/// put on /proc, which nothing needs any more. `mount` follows no path to the directory, which guests may rename.
const REMOVE: &str =
    "mount --no-canonicalize --bind . /proc && cd -P /proc && exec rm -rf --one-file-system -- \"$@\"";

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

/// What [`remove_in_user_namespace`] deletes.
#[derive(Clone, Copy, Debug)]
pub struct ForeignTree<'a> {
    /// The directory that holds the entries.
    pub dir: BorrowedFd<'a>,
    /// The entries. The kernel limits their length together.
    pub names: &'a [OsString],
    /// Who may change them while they are deleted.
    pub reachable_by: ReachableBy,
    /// The directory out of which guests cannot move anything: the volume's root. `None` if that is an entry.
    pub scope: Option<BorrowedFd<'a>>,
    /// A locked file that the processes keep locked until the last of them has ended.
    pub lock: Option<BorrowedFd<'a>>,
}

/// Deletes entries, and everything below them, in a user namespace in which this process's user is root and has the ids
/// that /etc/subuid and /etc/subgid grant it.
///
/// A process with several threads cannot enter a user namespace, so that `unshare` does it, with `newuidmap`. It is killed
/// when this thread or process ends. Fails if one of the programs is not installed, or if something is left; with `EPERM`,
/// before a process is started, if this process is root's; and with `EBUSY`, before anything is deleted, if there is a
/// mount at or below an entry, or below the scope.
///
/// TOCTOU: a mount may be made, or moved with a directory around it, while the tree is deleted. `rm` therefore has a mount
/// namespace of its own and works in a second mount of `dir` that has no mounts below it. The kernel refuses to make
/// that where it would reveal what a mount covers.
pub fn remove_in_user_namespace(tree: ForeignTree<'_>) -> io::Result<()> {
    if geteuid().is_root() || (tree.reachable_by == ReachableBy::Guests && !has_gnu_rm()) {
        return Err(Errno::EPERM.into());
    }
    if has_mount_in(tree)? {
        return Err(Errno::EBUSY.into());
    }
    let entries = tree.names.iter().map(|name| {
        let mut entry = OsString::from("./");
        entry.push(name);
        entry
    });
    let mut remove = Command::new("unshare");
    remove.args(["--user", "--map-root-user", "--map-auto", "--mount", "--", "sh", "-c", REMOVE, "sh"]);
    confined(&mut remove).args(entries).current_dir(descriptor_path("self", tree.dir)).stdout(Stdio::null());
    end_with_this_thread(&mut remove, tree.lock)?;
    match remove.status()?.success() {
        true => Ok(()),
        false if has_mount_in(tree)? => Err(Errno::EBUSY.into()),
        false => Err(Errno::EACCES.into()),
    }
}

/// Has the kernel kill a program, and what it executes, when this thread ends, and leaves `lock` open in it.
fn end_with_this_thread(program: &mut Command, lock: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let parent = std::process::id();
    let lock = lock.map(|lock| lock.try_clone_to_owned()).transpose()?;
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if let Some(lock) = &lock {
            fcntl_setfd(lock, FdFlags::empty())?;
        }
        // The parent may have ended before the kernel was asked.
        if std::os::unix::process::parent_id() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: between fork and exec it only makes system calls that are safe in a signal handler, and allocates nothing.
    unsafe { program.pre_exec(prepare) };
    Ok(())
}

/// Whether a mount of this thread's namespace is in the way.
fn has_mount_in(tree: ForeignTree<'_>) -> io::Result<bool> {
    let path = |dir| Ok::<_, io::Error>(PathBuf::from(readlink(&descriptor_path("self", dir))?));
    let dir = path(tree.dir)?;
    let entries: Vec<_> = tree.names.iter().map(|name| dir.join(name)).collect();
    let scope = tree.scope.map(path).transpose()?;
    has_mount(|point| {
        entries.iter().any(|entry| point.starts_with(entry))
            || scope.as_ref().is_some_and(|scope| point != scope && point.starts_with(scope))
    })
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

/// Whether this thread's namespace has a mount at such a path.
#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
fn has_mount(is_wanted: impl Fn(&Path) -> bool) -> io::Result<bool> {
    let mounts = std::fs::read("/proc/thread-self/mountinfo")?;
    let mut points =
        mounts.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    Ok(points.any(|point| is_wanted(&PathBuf::from(OsString::from_vec(unescaped(point))))))
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
        let has_mount_below = |path: &str| has_mount(|point| point.starts_with(path)).unwrap();
        assert!(has_mount_below("/proc"));
        assert!(!has_mount_below("/pro"));
        assert!(!has_mount_below("/proc/self/nothing"));
    }
}
