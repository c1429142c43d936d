//! What the kernel tells of a mount.

use crate::support::mount_list::lines_below;
use std::path::Path;

#[derive(Debug)]
pub struct ListedMount {
    /// Where it is, from the directory that was asked for.
    pub place: String,
    /// Its own flags, and those of its propagation.
    pub flags: Vec<String>,
    /// The type of its file system.
    pub kind: String,
    /// The options of its file system.
    pub options: Vec<String>,
}

/// The mounts below a directory, in the order in which they were made.
pub fn mounts_below(directory: &Path) -> Vec<ListedMount> {
    let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let mounts = lines_below(directory).into_iter().map(|(place, line)| {
        let (own, super_block) = line.split_once(" - ").unwrap();
        let own: Vec<_> = own.split(' ').collect();
        let super_block: Vec<_> = super_block.split(' ').collect();
        let flags = words(own[5]).into_iter().chain(own[6..].iter().map(|&tag| tag.to_owned()));
        ListedMount {
            place,
            flags: flags.collect(),
            kind: super_block[0].to_owned(),
            options: words(super_block[2]),
        }
    });
    mounts.collect()
}
