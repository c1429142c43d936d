//! Guest paths, beyond the shared cases.

use super::assert_invalid;
use sandbox_volumes::model::OptionValue;
use sandbox_volumes::mount::{GuestPath, MountConfig, MountSource, validate_and_order};

/// Every path of up to four of these components.
fn every_path() -> Vec<String> {
    let components = ["", ".", "..", "a", "a-b", "b", "dev", "proc", "sys"];
    let mut paths = vec![String::new()];
    let mut longest = paths.clone();
    for _ in 0..4 {
        longest = longest.iter().flat_map(|path| components.map(|part| format!("{path}/{part}"))).collect();
        paths.extend(longest.iter().cloned());
    }
    paths
}

#[test]
fn a_guest_path_is_accepted_only_where_a_mount_may_be() {
    for path in every_path() {
        let real: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let reserved = matches!(real.first(), Some(&"proc" | &"sys")) || real == ["dev"];
        let acceptable = !real.is_empty() && !real.contains(&"..") && !reserved;
        match GuestPath::parse(&path) {
            Ok(parsed) => {
                assert!(acceptable, "{path:?} was accepted");
                assert_eq!(parsed.as_str(), format!("/{}", real.join("/")));
                assert_eq!(GuestPath::parse(parsed.as_str()).unwrap(), parsed);
            }
            Err(error) => assert!(!acceptable, "{error}"),
        }
    }
}

#[test]
fn a_parent_sorts_right_before_its_whole_subtree() {
    let mut paths: Vec<GuestPath> =
        every_path().iter().filter_map(|path| GuestPath::parse(path).ok()).collect();
    paths.sort();
    paths.dedup();
    for (index, parent) in paths.iter().enumerate() {
        let below = format!("{parent}/");
        let children = paths.iter().filter(|path| path.as_str().starts_with(&below)).count();
        let following =
            paths[index + 1..].iter().take_while(|path| path.as_str().starts_with(&below)).count();
        assert_eq!(following, children, "below {parent}");
    }
}

#[test]
fn case_39_rejects_every_control_character() {
    for character in ('\0'..='\u{ff}').filter(|character| character.is_control()) {
        let error = GuestPath::parse(&format!("/a{character}b")).unwrap_err();
        assert_invalid(&error, "guestPath", "contains a control character");
    }
}

#[test]
fn rejects_a_guest_path_longer_than_linux_takes() {
    let longest = format!("/{}", "x".repeat(4094));
    assert_eq!(GuestPath::parse(&longest).unwrap().as_str(), longest);
    let error = GuestPath::parse(&format!("{longest}x")).unwrap_err();
    let shown = format!("\"/{}…\" is 4096 bytes long; a guest path has at most 4095", "x".repeat(63));
    assert_invalid(&error, "guestPath", &shown);
}

#[test]
fn the_error_of_a_guest_path_reads_well() {
    let error = GuestPath::parse("/a/../b").unwrap_err();
    let golden = r#"Invalid "guestPath": "/a/../b" contains ".."; write the path without it"#;
    assert_eq!(error.to_string(), golden);
}

#[test]
fn a_mount_keeps_its_path_when_it_is_ordered() {
    let tmpfs = |mib: u32| {
        let options = OptionValue::Object(vec![("sizeMib".to_owned(), OptionValue::Number(mib.into()))]);
        MountConfig::tmpfs(&options).unwrap()
    };
    let entries =
        vec![("/b".to_owned(), tmpfs(2)), ("/a/c".to_owned(), tmpfs(3)), ("/a".to_owned(), tmpfs(1))];
    let planned = validate_and_order(entries).unwrap();
    let sizes: Vec<(&str, &MountSource)> =
        planned.iter().map(|(path, config)| (path.as_str(), config.source())).collect();
    let size = |mib| MountSource::Tmpfs { size_mib: Some(mib) };
    assert_eq!(sizes, [("/a", &size(1)), ("/a/c", &size(3)), ("/b", &size(2))]);
}
