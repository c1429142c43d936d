//! Copying files and trees: within a volume, into it, out of it, and adding to files.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

#[path = "support/child.rs"]
mod child;
#[path = "support/mount_namespace.rs"]
mod mount_namespace;
#[path = "support/openat2.rs"]
mod openat2;
#[path = "support/ordinary_user.rs"]
mod ordinary_user;
#[path = "support/report.rs"]
mod report;
#[path = "support/skip.rs"]
mod skip;
#[path = "support/snapshot.rs"]
mod snapshot;
#[path = "support/unmount.rs"]
mod unmount;
#[path = "support/volume.rs"]
mod volume;

#[path = "copying/append.rs"]
mod append;
#[path = "copying/asked.rs"]
mod asked;
#[path = "copying/beyond.rs"]
mod beyond;
#[path = "copying/commit.rs"]
mod commit;
#[path = "copying/content.rs"]
mod content;
#[path = "copying/large.rs"]
mod large;
#[path = "copying/limits.rs"]
mod limits;
#[path = "copying/links.rs"]
mod links;
#[path = "copying/privileges.rs"]
mod privileges;
#[path = "copying/reflink.rs"]
mod reflink;
#[path = "copying/undone.rs"]
mod undone;

#[test]
fn case_18_the_same_holds_where_openat2_is_missing() {
    let in_time = ["--skip", "case_18", "--skip", "case_22", "--skip", "reflink"];
    openat2::run_where_it_fails(nix::errno::Errno::ENOSYS, &in_time);
}
