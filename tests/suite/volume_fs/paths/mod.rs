//! Paths into a volume: what leads outside, what stays, and what each method makes of either.
//!
//! `cases/paths.json` is shared with the JS suite. `fixture` is what the volume and the directory outside it
//! hold. Each of `cases` calls every one of its `methods` (or of the list of that name) with every one of its
//! `paths`, on a fresh fixture; `case` is its number in `docs/cases.md`, where it has one.
//!
//! - Of a path that is an object, `repeat` is a text and how often it stands between `prefix` and `suffix`.
//! - `write`, `writeString` and `writeAtomic` (a write with `atomic`) write `new`.
//! - `list` and `listAll` (recursive) return the paths of the entries, `stat` and `statLink` (which does not follow)
//!   the kind; `renameFrom` renames to `renamed`, `renameTo` renames `f`.
//! - `expect` has the code of the error (or those allowed), or what the method returns; null is nothing.
//! - `then` has what stands at some paths afterwards: a file's content, `{ "dir": true }`, a link's target, or
//!   null for nothing. Where there is no `then`, or an empty one, the volume is as before.
//! - Whatever happens, the outside is as before, down to the times of its directories.
//! - `anyPath` is true where the error names something below the path of the call.
//! - `copyFrom` copies the path to `copied`, `copyTo` copies `f` to the path, `copyIn` a file like it from the host.
//! - Nothing that may write or walk is called on the host's own paths, `/` among them, for the day it is wrong.
//! - `$OUTSIDE` stands for the directory outside, `$UP` for its path relative to the volume's root, `$ROOT` for
//!   the root, `$PATH` for the path of the call.

mod answered;
mod bytes;
mod disturbed;
mod faulty;
mod hard_links;
mod long;
mod removed;
mod table;

use crate::faulty::{Check, FaultyVolume};
use crate::support::methods::{beside, call_between};
use crate::support::openat2;
use crate::support::read_only::in_read_only_namespace;
use crate::support::volume::Volume;
use answered::ANSWERED_BY_THE_SYSTEM;
use nix::errno::Errno;
use sandbox_volumes::error::Error;
use sandbox_volumes::store::VolumeFs;
use sandbox_volumes::sync::CancelToken;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use table::{calls_of, check, check_call, path_of, prepared, strings, table};

fn call(files: &VolumeFs, method: &str, path: impl AsRef<OsStr>) -> Result<Value, Error> {
    let (operands, _dir) = beside(files.root());
    call_between(files, method, path.as_ref(), &operands)
}

#[test]
fn every_method_is_called_in_every_group_of_cases() {
    let table = table();
    let all: BTreeSet<String> = strings(&table["methods"]["all"]).into_iter().collect();
    let mut called: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for case in table["cases"].as_array().unwrap() {
        let methods = calls_of(&table, case).into_iter().map(|(method, _)| method);
        called.entry(case["case"].as_u64().unwrap_or_default()).or_default().extend(methods);
    }
    assert_eq!(called.keys().copied().collect::<Vec<_>>(), (0..=7).collect::<Vec<_>>());
    for (number, methods) in called {
        assert_eq!(methods, all, "case {number}");
    }
}

#[test]
fn every_method_fails_every_group_of_cases_where_it_is_faulty() {
    in_read_only_namespace(|| {
        let table = table();
        let mut caught = BTreeMap::new();
        let mut volume = prepared(&table);
        for case in table["cases"].as_array().unwrap() {
            let Some(number) = case["case"].as_u64() else { continue };
            for (method, path) in calls_of(&table, case) {
                let caught = caught.entry((number, method.clone())).or_insert(false);
                // Who follows no link fails what links inside are for, which shows nothing.
                for check in Check::ALL.into_iter().filter(|check| *check != Check::Steps) {
                    if *caught {
                        break;
                    }
                    let faulty = FaultyVolume::in_volume(&volume, check);
                    let result = check_call(&volume, &faulty, case, &method, &path_of(path, &volume));
                    *caught = result.is_err();
                    if result != Ok(false) {
                        volume = prepared(&table);
                    }
                }
            }
        }
        let missed = caught.into_iter().filter(|(_, caught)| !caught).map(|(pair, _)| pair);
        let known = ANSWERED_BY_THE_SYSTEM.into_iter();
        let known =
            known.flat_map(|(number, methods)| methods.iter().map(move |name| (number, name.to_string())));
        assert_eq!(missed.collect::<Vec<_>>(), known.collect::<Vec<_>>());
    });
}

#[test]
fn case_1_a_path_that_climbs_out_is_an_escape_for_every_method() {
    check(Some(1));
}

#[test]
fn case_2_an_absolute_path_is_an_escape_for_every_method() {
    check(Some(2));
}

#[test]
fn case_3_the_root_stays() {
    check(Some(3));
}

#[test]
fn case_4_nul_is_refused_and_names_may_be_as_long_as_the_system_takes() {
    check(Some(4));
}

#[test]
fn case_5_a_slash_at_the_end_demands_a_directory() {
    check(Some(5));
}

#[test]
fn case_6_a_link_that_leads_outside_is_an_escape_and_one_that_stays_is_followed() {
    check(Some(6));
}

#[test]
fn case_7_a_link_is_removed_and_its_target_kept() {
    check(Some(7));
}

#[test]
fn paths_inside_the_volume_do_what_they_say() {
    check(None);
}

#[test]
fn the_root_is_the_absolute_path_of_the_data() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    assert!(root.is_absolute());
    fs::write(root.join("f"), "from the host").unwrap();
    assert_eq!(call(&volume.files, "readString", "f").unwrap(), json!("from the host"));
}

#[test]
fn case_4_directories_and_files_come_and_go_beyond_path_max() {
    let volume = Volume::new(json!({}));
    let dir = long::long_dir();
    let file = format!("{dir}/f");
    let run = |method: &str, path: &str| call(&volume.files, method, path).map_err(|error| error.code());
    assert_eq!(run("exists", &file), Ok(json!(false)));
    assert_eq!(run("write", &file), Err("ENOENT".to_owned()));
    assert_eq!(run("mkdir", &dir), Ok(Value::Null));
    assert_eq!(run("mkdir", &dir), Ok(Value::Null));
    for method in ["write", "writeAtomic"] {
        assert_eq!(run(method, &file), Ok(Value::Null), "{method}");
        assert_eq!(run("exists", &file), Ok(json!(true)));
        assert_eq!(run("read", &file), Ok(json!("new")));
        assert_eq!(run("readString", &file), Ok(json!("new")));
        assert_eq!(run("list", &dir), Ok(json!([file])));
        assert_eq!(run("stat", &file), Ok(json!("file")));
    }
    assert_eq!(fs::read_dir(volume.files.root()).unwrap().count(), 1, "nothing was made elsewhere");
    let other = format!("{file}2");
    volume.files.rename(&file, &other, &CancelToken::default()).unwrap();
    volume.files.rename(&other, &file, &CancelToken::default()).unwrap();
    assert_eq!(run("remove", &file), Ok(Value::Null));
    assert_eq!(run("remove", &file), Err("ENOENT".to_owned()));
    assert_eq!(run("remove", &dir), Ok(Value::Null));
    assert_eq!(run("exists", &dir), Ok(json!(false)));
    assert_eq!(run("mkdir", &dir), Ok(Value::Null));
    let half = &dir[..201 * 30];
    assert_eq!(run("removeAll", half), Ok(Value::Null));
    assert_eq!(run("exists", half), Ok(json!(false)));
    assert_eq!(run("removeAll", &"d".repeat(200)), Ok(Value::Null));
    assert_eq!(fs::read_dir(volume.files.root()).unwrap().count(), 0);
}

#[test]
fn case_8_names_that_are_not_utf_8_are_removed_with_what_holds_them() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    let odd = OsStr::from_bytes(b"odd\xff\xfe");
    fs::create_dir_all(root.join("dir").join(odd).join(odd)).unwrap();
    fs::write(root.join("dir").join(odd).join("f"), "").unwrap();
    fs::write(root.join("dir/kept").with_file_name(OsStr::from_bytes(b"\x80")), "").unwrap();
    assert_eq!(call(&volume.files, "exists", "dir").unwrap(), json!(true));
    call(&volume.files, "removeAll", "dir").unwrap();
    assert_eq!(fs::read_dir(root).unwrap().count(), 0);
}

#[test]
fn case_8_a_link_to_a_name_that_is_not_utf_8_is_followed_and_never_replaced() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    let odd = OsStr::from_bytes(b"odd\xff");
    fs::write(root.join(odd), "old").unwrap();
    symlink(odd, root.join("link")).unwrap();
    assert_eq!(call(&volume.files, "read", "link").unwrap(), json!("old"));
    for method in ["write", "writeAtomic"] {
        fs::write(root.join(odd), "old").unwrap();
        call(&volume.files, method, "link").unwrap();
        assert_eq!(fs::read_to_string(root.join(odd)).unwrap(), "new", "{method}");
    }
    assert_eq!(fs::read_link(root.join("link")).unwrap(), odd);
}

#[test]
fn case_18_the_same_holds_where_openat2_is_missing() {
    openat2::run_where_it_fails(Errno::ENOSYS, &["--skip", "case_18", "--skip", "faulty"]);
}

#[test]
fn case_18_the_same_holds_where_openat2_is_forbidden() {
    openat2::run_where_it_fails(Errno::EPERM, &["--skip", "case_18", "--skip", "faulty"]);
}

#[test]
fn case_18_a_lookup_that_is_disturbed_for_ever_ends() {
    openat2::run_where_it_fails(Errno::EAGAIN, &["case_18_within_a_lookup_that_is_disturbed_for_ever"]);
}
