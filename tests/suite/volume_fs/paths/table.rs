//! Runs `cases/paths.json`, whose fields `mod.rs` explains.

use crate::support::methods::{Backend, Refusal};
use crate::support::snapshot::Snapshot;
use crate::support::volume::Volume;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const UP: &str = "../../outside";

pub fn table() -> Value {
    serde_json::from_str(include_str!("../../../cases/paths.json")).unwrap()
}

pub fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn expanded(text: &str, volume: &Volume) -> String {
    text.replace("$OUTSIDE", volume.outside.to_str().unwrap())
        .replace("$UP", UP)
        .replace("$ROOT", volume.files.root().to_str().unwrap())
}

/// A volume with the fixture in it and outside it.
pub fn prepared(table: &Value) -> Volume {
    let volume = Volume::new(json!({}));
    for (place, root) in [("outside", volume.outside.as_path()), ("volume", volume.files.root())] {
        let fixture = &table["fixture"][place];
        for dir in strings(&fixture["dirs"]) {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for (path, content) in fixture["files"].as_object().unwrap() {
            let bytes = match &content["hex"] {
                Value::String(hex) => {
                    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
                    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
                }
                _ => content.as_str().unwrap().as_bytes().to_vec(),
            };
            fs::write(root.join(path), bytes).unwrap();
        }
        for (path, target) in fixture["links"].as_object().into_iter().flatten() {
            symlink(expanded(target.as_str().unwrap(), &volume), root.join(path)).unwrap();
        }
    }
    volume
}

pub fn path_of(path: &Value, volume: &Volume) -> String {
    let part = |name: &str| path[name].as_str().unwrap_or_default();
    match path {
        Value::String(text) => expanded(text, volume),
        _ => {
            let count = path["repeat"][1].as_u64().unwrap() as usize;
            part("prefix").to_owned() + &path["repeat"][0].as_str().unwrap().repeat(count) + part("suffix")
        }
    }
}

fn found_at(path: &Path) -> Value {
    match fs::symlink_metadata(path) {
        Err(_) => Value::Null,
        Ok(metadata) if metadata.is_dir() => json!({ "dir": true }),
        Ok(metadata) if metadata.is_symlink() => json!({ "link": fs::read_link(path).unwrap() }),
        Ok(_) => json!(fs::read_to_string(path).unwrap()),
    }
}

/// Runs the cases that carry this number, or none.
pub fn check(number: Option<u64>) {
    let table = table();
    let mut volume = prepared(&table);
    let mut calls = 0;
    for case in table["cases"].as_array().unwrap().iter().filter(|case| case["case"].as_u64() == number) {
        for (method, path) in calls_of(&table, case) {
            calls += 1;
            let path = path_of(path, &volume);
            match check_call(&volume, &volume, case, &method, &path) {
                Ok(false) => {}
                Ok(true) => volume = prepared(&table),
                Err(problem) => panic!("{}: {method}({path:?}): {problem}", case["name"]),
            }
        }
    }
    println!("{calls} calls");
    assert!(calls > 0);
}

/// Every method of a case with every path.
pub fn calls_of<'t>(table: &Value, case: &'t Value) -> Vec<(String, &'t Value)> {
    let methods = strings(case["methods"].as_str().map_or(&case["methods"], |list| &table["methods"][list]));
    let paths = case["paths"].as_array().unwrap().iter();
    paths.flat_map(|path| methods.iter().map(move |method| (method.clone(), path))).collect()
}

/// Makes one call of a case through `backend`: whether the volume changed, as it should, or what is wrong.
pub fn check_call(
    volume: &Volume,
    backend: &dyn Backend,
    case: &Value,
    method: &str,
    path: &str,
) -> Result<bool, String> {
    let root = volume.files.root();
    let (inside, outside) = (Snapshot::of(root), Snapshot::of(&volume.outside));
    let result = backend.call(method, OsStr::new(path));
    ensure(Snapshot::of(&volume.outside) == outside, || "the outside changed".to_owned())?;
    check_result(path, case, &result)?;
    ensure(root.is_dir(), || "the volume's root is gone".to_owned())?;

    for (at, expected) in case["then"].as_object().into_iter().flatten() {
        let at = at.replace("$PATH", path.trim_end_matches('/'));
        let found = found_at(&root.join(&at));
        ensure(found == *expected, || format!("expected {expected} at {at}, found {found}"))?;
    }
    let changed = Snapshot::of(root) != inside;
    let may_change = case["then"].as_object().is_some_and(|then| !then.is_empty());
    ensure(changed == may_change, || format!("whether the volume changed: {changed}"))?;
    Ok(changed)
}

fn check_result(path: &str, case: &Value, result: &Result<Value, Refusal>) -> Result<(), String> {
    let expected = &case["expect"];
    match (result, expected.get("ok")) {
        (Ok(value), Some(expected)) => {
            ensure(value == expected, || format!("expected {expected}, got {value}"))
        }
        (Err(refusal), None) => {
            let (allowed, message) = (&expected["error"], &refusal.message);
            let fits = *allowed == refusal.code
                || allowed.as_array().is_some_and(|codes| codes.contains(&json!(refusal.code)));
            ensure(fits, || format!("expected {allowed}, got {message}"))?;
            let named = refusal.named.iter().any(|named| named == path);
            ensure(named || case["anyPath"] == true, || format!("the path of {message}"))
        }
        (result, _) => Err(format!("expected {expected}, got {result:?}")),
    }
}

fn ensure(holds: bool, problem: impl Fn() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem()) }
}
