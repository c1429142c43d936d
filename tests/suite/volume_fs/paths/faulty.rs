//! Faulty back-ends with one more mistake, which the case about it must catch.

use crate::faulty::{Check, FaultyVolume};
use crate::support::methods::{Backend, OperandPaths, Refusal};
use crate::support::volume::Volume;
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

/// What is made of a call before it is made: the method and the path that are called instead.
type Mistake = fn(root: &Path, method: &str, path: &OsStr) -> (String, OsString);

pub struct FaultyBackend {
    faulty: FaultyVolume,
    mistake: Mistake,
}

impl FaultyBackend {
    pub fn new(volume: &Volume, mistake: Mistake) -> Self {
        FaultyBackend { faulty: FaultyVolume::in_volume(volume, Check::Nothing), mistake }
    }
}

impl Backend for FaultyBackend {
    fn root(&self) -> &Path {
        self.faulty.root()
    }

    fn call_between(&self, method: &str, path: &OsStr, operands: &OperandPaths) -> Result<Value, Refusal> {
        let (method, path) = (self.mistake)(self.root(), method, path);
        self.faulty.call_between(&method, &path, operands)
    }
}

/// Takes paths for text.
pub fn takes_names_for_text(_: &Path, method: &str, path: &OsStr) -> (String, OsString) {
    (method.to_owned(), path.to_string_lossy().into_owned().into())
}

/// Writes into the file itself what should replace it.
pub fn writes_in_place(_: &Path, method: &str, path: &OsStr) -> (String, OsString) {
    (method.replace("Atomic", ""), path.to_owned())
}

/// Makes what is missing above a path.
pub fn makes_what_is_missing(root: &Path, method: &str, path: &OsStr) -> (String, OsString) {
    fs::create_dir_all(root.join(path).parent().unwrap_or(root)).unwrap();
    (method.to_owned(), path.to_owned())
}
