//! Copying files and trees: within a volume, into it, out of it, and adding to files.

mod append;
mod commit;
mod content;
mod filter;
mod large;
mod limits;
mod links;
mod privileges;
mod procfs;
mod reflink;
mod rollback;

use crate::support::openat2;

#[test]
fn case_18_the_same_holds_where_openat2_is_missing() {
    let in_time = ["--skip", "case_18", "--skip", "case_22", "--skip", "reflink"];
    openat2::run_where_it_fails(nix::errno::Errno::ENOSYS, &in_time);
}
