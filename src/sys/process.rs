//! Facts about processes, from procfs.

use std::sync::OnceLock;

/// When a living process started, in clock ticks since boot; none where there is no such process, or only
/// its zombie.
///
/// Fields 3 (state) and 22 (start time) of `/proc/<pid>/stat`, counted behind the command's closing parenthesis,
/// for a command may hold any character.
pub fn process_start_time(pid: u32) -> Option<u64> {
    let stat = read_proc(&format!("/proc/{pid}/stat"))?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

/// The id of this boot of the machine.
pub fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        read_proc("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
    })
}

#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
fn read_proc(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_has_a_start_time_and_a_zombie_has_none() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let started = process_start_time(child.id()).unwrap();
        assert!(started >= process_start_time(std::process::id()).unwrap());
        child.kill().unwrap();
        while process_start_time(child.id()).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(process_start_time(0), None);
    }

    #[test]
    fn a_boot_has_an_id() {
        assert!(!boot_id().is_empty());
    }
}
