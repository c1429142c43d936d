//! The next call in a home that is open settles what a dead process left.

use super::{ENTRY, is_empty, listed};
use crate::support::home::{Home, name};
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::VolumeSpec;
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::sync::CancelToken;

/// What a process leaves that dies there: the intent's action, the directory of the volume, and whether the volume is
/// there once that is settled.
const LEFT: [(&str, Option<&str>, bool); 6] = [
    ("create", None, false),
    ("create", Some("volumes/.staging/data~1a-2b-3c"), false),
    ("create", Some("volumes/data"), true),
    ("remove", Some("volumes/data"), false),
    ("remove", Some("volumes/.trash/data~1a-2b-3c"), false),
    ("remove", None, false),
];

/// An operation, which says whether it found the volume.
pub type Meets = fn(&Home) -> bool;

fn finds(result: Result<(), sandbox_volumes::error::Error>) -> bool {
    match result.map_err(|error| error.kind()) {
        Ok(()) | Err(ErrorKind::VolumeAlreadyExists) => true,
        Err(ErrorKind::VolumeNotFound) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// Every operation that may meet an intent. Those that make or remove the volume leave it as they found it.
pub const MEETS: [(&str, Meets); 8] = [
    ("get", |home| finds(home.store.get(&name("data"), &CancelToken::default()).map(drop))),
    ("list", |home| listed(&home.store) == ["data"]),
    ("exists", |home| finds(home.store.files(&name("data")).exists("dir").map(drop))),
    ("write", |home| {
        let files = home.store.files(&name("data"));
        finds(files.write("written", b"x", Default::default(), &CancelToken::default()))
    }),
    ("list a directory", |home| {
        finds(home.store.files(&name("data")).list("", Default::default()).map(drop))
    }),
    ("attach", |home| {
        let volume = sandbox_volumes::model::OptionValue::Text("data".to_owned());
        let mount = MountConfig::named(&volume, &sandbox_volumes::model::OptionValue::Absent).unwrap();
        let mounts = validate_and_order(vec![("/data".to_owned(), mount)]).unwrap();
        let attached = home.store.attach("worker", &mounts, None, &CancelToken::default());
        finds(attached.and_then(|attached| home.store.detach(attached.id)))
    }),
    ("create", |home| {
        let spec = VolumeSpec::from_options(&[]).unwrap();
        let created = home.store.create(&name("data"), &spec, &CancelToken::default());
        if created.is_ok() {
            home.store.remove(&name("data"), &CancelToken::default()).unwrap();
            return false;
        }
        finds(created.map(drop))
    }),
    ("remove", |home| {
        let is_there = finds(home.store.remove(&name("data"), &CancelToken::default()));
        if is_there {
            home.create("data");
            home.leave_directory("volumes/data");
        }
        is_there
    }),
];

#[test]
fn case_57_the_next_call_on_a_name_settles_what_a_dead_process_left_in_a_home_that_is_open() {
    for (action, directory, is_there) in LEFT {
        for (operation, meets) in MEETS {
            let about = format!("{operation} after {action} at {directory:?}");
            let home = Home::new();
            home.leave_intent(action, ENTRY);
            directory.into_iter().for_each(|below| home.leave_directory(below));
            assert_eq!(meets(&home), is_there, "{about}");
            assert_eq!(home.intents(), 0, "{about}");
            for (other, meets) in MEETS {
                assert_eq!(meets(&home), is_there, "{about}, then {other}");
            }
            assert!(
                is_empty(&home.path("volumes/.staging")) && is_empty(&home.path("volumes/.trash")),
                "{about}"
            );
            assert_eq!(home.ours_in_locks(), [""; 0], "{about}");
        }
    }
}
