//! Facts about processes, from procfs.

use nix::errno::Errno;
use nix::sys::stat::stat;
use std::io;
use std::sync::OnceLock;

/// When a living process started, in clock ticks since boot; none where there is no such process, or only
/// its zombie. Where that could not be told, an error.
///
/// Fields 3 (state) and 22 (start time) of `/proc/<pid>/stat`, counted behind the command's closing parenthesis,
/// for a command may hold any character.
pub fn process_start_time(pid: u32) -> io::Result<Option<u64>> {
    start_time(&format!("/proc/{pid}/stat"))
}

/// Tells this process from all others of the machine, of whatever PID name space, that live at the same time. Without
/// procfs only by its number.
pub fn this_process() -> io::Result<ThisProcess> {
    let pid_namespace = match pid_namespace() {
        Err(error) if is_gone(&error) => 0,
        found => found?,
    };
    let start_time = start_time("/proc/self/stat")?.unwrap_or(0);
    Ok(ThisProcess { pid_namespace, pid: std::process::id(), start_time })
}

/// See [`this_process`].
#[derive(Clone, Copy, Debug)]
pub struct ThisProcess {
    /// Its name space: in two of them two processes may have one number.
    pub pid_namespace: u64,
    /// Its number.
    pub pid: u32,
    /// When it started: numbers are used again.
    pub start_time: u64,
}

fn start_time(path: &str) -> io::Result<Option<u64>> {
    let stat = match read_proc(path) {
        Err(error) if is_gone(&error) => return Ok(None),
        read => read?,
    };
    let mut fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace();
    let (state, start_time) = (fields.next(), fields.nth(18).and_then(|ticks| ticks.parse().ok()));
    match (state, start_time) {
        (Some("Z" | "X"), _) => Ok(None),
        (_, Some(start_time)) => Ok(Some(start_time)),
        _ => Err(Errno::EPROTO.into()),
    }
}

/// The id of this boot of the machine.
pub fn boot_id() -> io::Result<&'static str> {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = BOOT_ID.get() {
        return Ok(id);
    }
    let id = read_proc("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    Ok(BOOT_ID.get_or_init(|| id))
}

/// The name space that this process's process numbers belong to.
pub fn pid_namespace() -> io::Result<u64> {
    Ok(stat("/proc/self/ns/pid")?.st_ino)
}

fn is_gone(error: &io::Error) -> bool {
    [Errno::ENOENT, Errno::ESRCH].map(|errno| Some(errno as i32)).contains(&error.raw_os_error())
}

#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
fn read_proc(path: &str) -> io::Result<String> {
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_has_a_start_time_and_a_zombie_has_none() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let started = process_start_time(child.id()).unwrap().unwrap();
        assert!(started >= process_start_time(std::process::id()).unwrap().unwrap());
        child.kill().unwrap();
        while process_start_time(child.id()).unwrap().is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(process_start_time(0).unwrap(), None);
    }

    #[test]
    fn a_boot_and_a_name_space_have_ids() {
        assert!(!boot_id().unwrap().is_empty());
        assert!(pid_namespace().unwrap() > 0);
    }
}
