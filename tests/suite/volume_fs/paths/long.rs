//! Paths longer than the system takes at once.

use super::table::{strings, table};
use crate::faulty::{Check, FaultyVolume};
use crate::support::methods::{Backend, OperandPaths, Refusal};
use crate::support::read_only::in_read_only_namespace;
use crate::support::volume::Volume;
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::WriteOptions;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;

/// A directory whose path is twice as long as PATH_MAX.
pub fn long_dir() -> String {
    let dir = vec!["d".repeat(200); 40].join("/");
    assert!(dir.len() > 8000);
    dir
}

/// Calls a method with the path of a file, or a directory, that is that far below a fresh volume's root.
fn check(method: &str, call: impl Fn(&Volume, &OsStr) -> Result<Value, Refusal>) -> Result<(), String> {
    let (volume, cancel) = (Volume::new(json!({})), CancelToken::default());
    let (root, dir) = (volume.files.root(), long_dir());
    let file = format!("{dir}/f");
    volume.files.mkdir(&dir, &cancel).unwrap();
    volume.files.write(&file, b"far", WriteOptions::default(), &cancel).unwrap();
    fs::write(root.join(OperandPaths::FILE), "file").unwrap();
    let (path, gives) = match method {
        "read" | "readString" | "readStream" => (&file, json!("far")),
        "stat" | "statLink" => (&file, json!("file")),
        "exists" => (&file, json!(true)),
        "list" | "listAll" => (&dir, json!([file])),
        _ => (&file, Value::Null),
    };
    let made = format!("{dir}/made");
    let path = if method == "mkdir" { &made } else { path };
    let result = call(&volume, OsStr::new(path));
    let leaves = match method {
        "remove" | "removeAll" | "renameFrom" => None,
        "append" => Some("farnew"),
        "copyTo" | "copyIn" | "renameTo" => Some("file"),
        _ if method.starts_with("write") => Some("new"),
        _ => Some("far"),
    };
    let content = |path: &str| volume.files.open(path).and_then(|file| file.read_string(&cancel)).ok();
    let goes = match method {
        "copyFrom" => content(OperandPaths::COPIED),
        "renameFrom" => content(OperandPaths::RENAMED),
        "mkdir" => volume.files.exists(&made).unwrap().then(|| "far".to_owned()),
        _ => Some("far".to_owned()),
    };
    let result = result.map_err(|refusal| refusal.message)?;
    match result == gives && content(&file).as_deref() == leaves && goes.as_deref() == Some("far") {
        true => Ok(()),
        false => Err(format!("{result}, and then {:?} and {goes:?}", content(&file))),
    }
}

#[test]
fn case_4_a_path_longer_than_path_max_works_for_every_method() {
    for method in strings(&table()["methods"]["all"]) {
        let result = check(&method, |volume, path| volume.call(&method, path));
        result.unwrap_or_else(|problem| panic!("{method}: {problem}"));
    }
}

#[test]
fn case_4_a_path_longer_than_path_max_works_for_no_faulty_method() {
    in_read_only_namespace(|| {
        for method in strings(&table()["methods"]["all"]) {
            let faulty = |volume: &Volume, path: &OsStr| {
                FaultyVolume::in_volume(volume, Check::Nothing).call(&method, path)
            };
            assert!(check(&method, faulty).is_err(), "{method}");
        }
    });
}
