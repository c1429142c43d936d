#![expect(clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

use super::*;
use std::fs::{self, File};

#[test]
fn a_directory_that_was_moved_away_and_replaced_is_not_emptied_where_it_went() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    fs::create_dir_all(path("volume/below")).unwrap();
    let level = |name: &str, name_in_parent: &str| OpenLevel {
        dir: dir_from(File::open(path(name)).unwrap().into()),
        name: name_in_parent.into(),
        entries: Vec::new(),
        beyond: 0,
    };
    let levels = vec![level("volume", ""), level("volume/below", "below")];
    let mut remover = TreeRemover::with_levels(levels, None);
    fs::rename(path("volume/below"), path("outside")).unwrap();
    fs::write(path("outside/kept"), "kept").unwrap();
    fs::create_dir_all(path("volume/below/again")).unwrap();
    remover.remove_innermost().unwrap();
    assert_eq!(fs::read_to_string(path("outside/kept")).unwrap(), "kept");
    assert_eq!(remover.levels.len(), 1);
    assert_eq!(
        remover.levels[0].entries,
        [PendingEntry { name: "below".into(), pass: Pass::Repeat { beyond: 0 } }]
    );
}
