//! How it is done without locks: look whether the volume is there, then create or remove it.

use crate::support::read_only::assert_only_temp_dir_is_writable;
use std::fs;
use std::path::Path;

pub fn obey(home: &Path, verb: &str, volume: &str) -> Result<(), &'static str> {
    assert_only_temp_dir_is_writable();
    let directory = home.join("volumes").join(volume);
    match (verb, directory.exists()) {
        ("create", false) => fs::create_dir_all(directory).map_err(|_| "ERR_CATALOG"),
        ("create", true) => Err("ERR_VOLUME_ALREADY_EXISTS"),
        ("remove", true) => {
            let _gone_in_any_case = fs::remove_dir_all(directory);
            Ok(())
        }
        ("remove", false) => Err("ERR_VOLUME_NOT_FOUND"),
        _ => panic!("{verb} is no order"),
    }
}
