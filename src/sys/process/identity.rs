//! Identity and state of processes, from procfs.

use crate::error::{Error, Result};
use crate::sys::fs::open_flags::{PATH_ONLY_DIRECTORY, READ_DIRECTORY};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, stat};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

/// How reading in procfs fails if the process has ended, or procfs is not mounted.
const GONE: [Errno; 2] = [Errno::ENOENT, Errno::ESRCH];

/// What a PID names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessLookup {
    /// A process (thread group) with a running thread.
    Running {
        /// The start time of the process, in clock ticks since boot.
        start_time: u64,
    },
    /// A thread that is not the main thread of its process.
    Thread {
        /// The PID of its process.
        process: u32,
        /// The start time of the thread itself, in clock ticks since boot.
        start_time: u64,
    },
    /// No process, or a process whose threads have all ended.
    Ended,
}

/// Looks up a PID.
///
/// A main thread that called `pthread_exit` is a zombie while the other threads run. The process has ended only when
/// no thread runs.
///
/// TOCTOU: all reads are below one descriptor of the process's directory, so a reused PID cannot mix two processes.
pub fn look_up_process(pid: u32) -> Result<ProcessLookup> {
    let found = (|| -> io::Result<ProcessLookup> {
        let directory = ProcessDir::open(pid)?;
        let process = directory.thread_group()?;
        if process != pid {
            let thread = ThreadState::parse(&directory.read(&format!("task/{pid}/stat"))?)?;
            return Ok(match thread.has_ended {
                false => ProcessLookup::Thread { process, start_time: thread.start_time },
                true => ProcessLookup::Ended,
            });
        }
        let main = ThreadState::parse(&directory.read("stat")?)?;
        match !main.has_ended || directory.has_running_thread()? {
            true => Ok(ProcessLookup::Running { start_time: main.start_time }),
            false => Ok(ProcessLookup::Ended),
        }
    })();
    match found {
        Err(error) if is_gone(&error) => Ok(ProcessLookup::Ended),
        found => found.map_err(|error| Error::file_system("open", format!("/proc/{pid}/stat"), error)),
    }
}

/// The directory of one process in procfs. Once the process has ended, reading below it fails with `ESRCH` or `ENOENT`.
struct ProcessDir(OwnedFd);

impl ProcessDir {
    fn open(pid: u32) -> io::Result<Self> {
        Ok(ProcessDir(open(format!("/proc/{pid}").as_str(), PATH_ONLY_DIRECTORY, Mode::empty())?))
    }

    fn read(&self, path: &str) -> io::Result<String> {
        let file = openat(&self.0, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut bytes = Vec::new();
        File::from(file).read_to_end(&mut bytes)?;
        // The command name may contain any bytes.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the PID of the process that the directory's thread belongs to.
    fn thread_group(&self) -> io::Result<u32> {
        let status = self.read("status")?;
        let number = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
        number.and_then(|number| number.trim().parse().ok()).ok_or_else(|| Errno::EPROTO.into())
    }

    fn has_running_thread(&self) -> io::Result<bool> {
        let mut threads = nix::dir::Dir::openat(&self.0, "task", READ_DIRECTORY, Mode::empty())?;
        for thread in threads.iter() {
            let name = thread?.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            match self.read(&format!("task/{name}/stat")).and_then(|stat| ThreadState::parse(&stat)) {
                Ok(state) if !state.has_ended => return Ok(true),
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// A thread's state and start time, from its `stat` file in procfs.
struct ThreadState {
    /// Whether it is a zombie or dead.
    has_ended: bool,
    /// The start time, in clock ticks since boot.
    start_time: u64,
}

impl ThreadState {
    /// Parses fields 3 (state) and 22 (start time). Counts from the last closing parenthesis: the command before it may
    /// contain any character.
    fn parse(stat: &str) -> io::Result<Self> {
        let mut fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace();
        let (state, start_time) = (fields.next(), fields.nth(18).and_then(|ticks| ticks.parse().ok()));
        match (state, start_time) {
            (Some(state), Some(start_time)) => {
                Ok(ThreadState { has_ended: matches!(state, "Z" | "X" | "x"), start_time })
            }
            _ => Err(Errno::EPROTO.into()),
        }
    }
}

/// Identifies this process among all processes of the machine, of any PID namespace. Without procfs, only the PID is
/// known.
pub fn this_process() -> Result<ThisProcess> {
    let pid_namespace = match pid_namespace() {
        Err(error) if error.is_refusal(&GONE) => 0,
        found => found?,
    };
    let start_time = own_start_time()?.unwrap_or(0);
    Ok(ThisProcess { pid_namespace, pid: std::process::id(), start_time })
}

/// The identity of this process; see [`this_process`].
#[derive(Clone, Copy, Debug)]
pub struct ThisProcess {
    /// The PID namespace. PIDs of two namespaces may be equal.
    pub pid_namespace: u64,
    /// The PID.
    pub pid: u32,
    /// The start time, because PIDs are reused.
    pub start_time: u64,
}

/// Returns the start time of this process, or `None` without procfs.
fn own_start_time() -> Result<Option<u64>> {
    let path = "/proc/self/stat";
    match read_proc(path) {
        Err(error) if error.is_refusal(&GONE) => Ok(None),
        read => match ThreadState::parse(&read?) {
            Ok(state) => Ok(Some(state.start_time)),
            Err(error) => Err(Error::file_system("open", path, error)),
        },
    }
}

/// Returns the ID of this boot of the machine.
pub fn boot_id() -> Result<&'static str> {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = BOOT_ID.get() {
        return Ok(id);
    }
    let id = read_proc("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    Ok(BOOT_ID.get_or_init(|| id))
}

/// Returns the ID of this process's PID namespace.
pub fn pid_namespace() -> Result<u64> {
    namespace("/proc/self/ns/pid")
}

/// Returns the ID of this thread's mount namespace.
pub fn mount_namespace() -> Result<u64> {
    namespace("/proc/thread-self/ns/mnt")
}

fn namespace(path: &str) -> Result<u64> {
    match stat(path) {
        Ok(found) => Ok(found.st_ino),
        Err(errno) => Err(Error::file_system("stat", path, errno.into())),
    }
}

/// Returns the PID of this thread.
#[cfg(test)]
pub fn thread_id() -> u32 {
    nix::unistd::gettid().as_raw().unsigned_abs()
}

fn is_gone(error: &io::Error) -> bool {
    GONE.map(|errno| Some(errno as i32)).contains(&error.raw_os_error())
}

#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
fn read_proc(path: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| Error::file_system("open", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_time_of(pid: u32) -> Option<u64> {
        match look_up_process(pid).unwrap() {
            ProcessLookup::Running { start_time } => Some(start_time),
            _ => None,
        }
    }

    #[test]
    fn a_living_process_has_a_start_time_and_a_zombie_has_none() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let started = start_time_of(child.id()).unwrap();
        assert!(started >= start_time_of(std::process::id()).unwrap());
        child.kill().unwrap();
        while start_time_of(child.id()).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(look_up_process(0).unwrap(), ProcessLookup::Ended);
        assert_eq!(look_up_process(u32::MAX).unwrap(), ProcessLookup::Ended);
    }

    #[test]
    fn a_thread_is_distinguished_from_its_process() {
        let thread = std::thread::spawn(|| {
            let tid = thread_id();
            (tid, look_up_process(tid).unwrap())
        });
        let (tid, found) = thread.join().unwrap();
        assert_ne!(tid, std::process::id());
        let ProcessLookup::Thread { process, start_time } = found else { panic!("{found:?}") };
        assert_eq!(process, std::process::id());
        assert!(start_time >= start_time_of(process).unwrap());
    }

    #[test]
    fn the_first_process_has_a_start_time() {
        assert!(start_time_of(1).is_some());
    }

    #[test]
    fn a_command_with_parentheses_and_spaces_is_read_past() {
        let stat = format!("7 (a) Z b (c) S 1 {} 42 0", ["0"; 17].join(" "));
        let state = ThreadState::parse(&stat).unwrap();
        assert!(!state.has_ended);
        assert_eq!(state.start_time, 42);
        assert!(ThreadState::parse("7 (a").is_err());
    }

    #[test]
    fn a_boot_and_a_namespace_have_ids() {
        assert!(!boot_id().unwrap().is_empty());
        assert!(pid_namespace().unwrap() > 0);
    }
}
