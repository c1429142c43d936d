//! Only the room `sys` names an operating system, so that another platform is another folder there.

use super::source::{Line, has_word};
use super::{Source, assert_none, tree};

/// The crates that name an operating system. Only `sys` uses them.
const SYSTEM_CRATES: [&str; 4] = ["nix", "rustix", "libc", "linux_raw_sys"];

/// The one exception: a failed system call is an error of every room.
const ERRNO: (&str, &str) = ("error.rs", "pub use nix::errno::Errno;");

/// Where an operating system is named outside of `sys`: by a crate, by `std::os`, or by a path in procfs.
fn named_systems(source: &Source) -> Vec<String> {
    if source.room() == "sys" {
        return Vec::new();
    }
    let names_system = |line: &Line| {
        SYSTEM_CRATES.iter().any(|name| has_word(&line.code, name))
            || has_word(&line.code, "os") && line.code.contains("os::")
            || line.strings.iter().any(|string| string == "/proc" || string.starts_with("/proc/"))
    };
    let is_errno = |line: &Line| (&*source.path, line.code.trim()) == ERRNO;
    let found = source.numbered().filter(|(_, line)| names_system(line) && !is_errno(line));
    found.map(|(number, _)| source.at(number, "only sys names an operating system")).collect()
}

#[test]
fn only_sys_names_an_operating_system() {
    assert_none(tree().iter().flat_map(named_systems).collect());
}

#[test]
fn the_checks_see_a_named_system() {
    let sees = |path: &str, text: &str| !named_systems(&Source::new(path, text)).is_empty();
    for code in [
        "use nix::unistd::syncfs;",
        "use nix::{fcntl, unistd};",
        "fn f(error: nix::Error) {}",
        "rustix::fs::fchmod(file, mode)",
        "const FLAG: i32 = libc::O_PATH;",
        "use linux_raw_sys::general::AT_EMPTY_PATH;",
        "use std::os::fd::AsFd;",
        "use std::{io, os::unix::fs::FileExt};",
        "f(\"/proc\")",
        "format!(\"/proc/{pid}/stat\")",
        "#[cfg(test)]\nmod tests { use std::os::unix::fs::symlink; }",
    ] {
        assert!(sees("store/x.rs", code), "{code}");
        assert!(!sees("sys/fs/x.rs", code), "{code}");
    }
    let errno = "pub use nix::errno::Errno;";
    assert!(
        !sees("error.rs", errno) && sees("error.rs", "use nix::errno::Errno;") && sees("store/x.rs", errno)
    );
    for code in ["use crate::sys::fd::AsFd; // nix::", "f(\"outside /proc\", \"/procs\")", "unix::f(nixos)"] {
        assert!(!sees("store/x.rs", code), "{code}");
    }
}
