//! Ids without a volume, and what cannot be deleted.

use super::{catalog, delete_catalog, found, home_with_volumes, kinds};
use crate::support::home::Home;
use rusqlite::Connection;
use sandbox_volumes::store::{Durability, ProblemKind, Store};
use std::fs::{self, File};
use std::path::Path;

#[test]
fn an_id_without_a_volume_is_told_and_deleted() {
    let home = Home::new();
    home.create("data");
    for entry in ["gone", "gone~quota.lock"] {
        let dir = if entry == "gone" { ".ids" } else { ".locks" };
        fs::write(home.path("volumes").join(dir).join(entry), "x").unwrap();
    }
    // One that a living process has just written.
    fs::write(home.path("volumes/.ids/new"), "x").unwrap();
    let maker = File::create(home.path("volumes/.locks/new.lock")).unwrap();
    maker.lock().unwrap();
    for repair in [false, true] {
        let problems = found(&home.path(""), repair);
        assert_eq!(kinds(&problems), [(ProblemKind::IncompleteOperation, None, repair)]);
        assert_eq!(problems[0].path, home.path("volumes/.ids/gone"));
    }
    assert!(found(&home.path(""), false).is_empty());
    assert!(
        !home.path("volumes/.ids/gone").exists() && !home.path("volumes/.locks/gone~quota.lock").exists()
    );
    assert!(home.path("volumes/.ids/data").exists() && home.path("volumes/.ids/new").exists());
}

#[test]
fn a_catalog_that_is_rebuilt_and_a_row_that_is_struck_out_leave_no_id_without_a_directory() {
    for has_directory in [false, true] {
        let home = home_with_volumes();
        let id = |home: &Path| fs::read_to_string(home.join("volumes/.ids/data")).ok();
        let before = id(home.path());
        Connection::open(home.path().join("db/volumes.db"))
            .unwrap()
            .execute("UPDATE volume SET kind = 'cube' WHERE name = 'data'", ())
            .unwrap();
        if !has_directory {
            fs::remove_dir_all(home.path().join("volumes/data")).unwrap();
        }
        let problems = found(home.path(), true);
        assert!(problems.iter().all(|problem| problem.repaired), "{problems:?}");
        assert_eq!(id(home.path()), before.clone().filter(|_| has_directory));
        let home = home_with_volumes();
        let before = id(home.path());
        delete_catalog(home.path());
        if !has_directory {
            fs::remove_dir_all(home.path().join("volumes/data")).unwrap();
        }
        drop(Store::open(home.path(), Durability::Full).unwrap());
        assert_eq!(id(home.path()), before.filter(|_| has_directory));
    }
}

#[test]
fn what_the_disk_refuses_to_delete_is_not_repaired_and_keeps_nothing_else() {
    let home = Home::new();
    for volume in ["bad", "gone"] {
        fs::remove_dir(home.create(volume)).unwrap();
        fs::remove_file(home.path("volumes/.ids").join(volume)).unwrap();
    }
    catalog(&home).execute("UPDATE volume SET kind = 'cube' WHERE name = 'bad'", ()).unwrap();
    let refused = ["bad", "foo", "gone"].map(|id| home.path("volumes/.ids").join(id));
    refused.iter().for_each(|id| fs::create_dir(id).unwrap());
    fs::create_dir(home.path("volumes/.trash/.kept")).unwrap();
    let deleted = [home.path("volumes/.ids/zoo"), home.path("volumes/.trash/1-2-3")];
    deleted.iter().for_each(|file| fs::write(file, "x").unwrap());
    let problems = found(&home.path(""), true);
    let repaired: Vec<_> = problems.iter().filter(|it| it.repaired).map(|it| it.path.clone()).collect();
    assert_eq!(repaired.len(), 2, "{problems:?}");
    assert!(deleted.iter().all(|file| repaired.contains(file) && !file.exists()), "{problems:?}");
    let left: Vec<_> = problems.iter().filter(|it| !it.repaired).collect();
    assert_eq!(left.len(), 4, "{problems:?}");
    assert!(left.iter().all(|it| it.message.contains("EISDIR")), "{problems:?}");
    for (entry, kind) in [
        (home.path("volumes/.ids/foo"), ProblemKind::IncompleteOperation),
        (home.path("volumes/.trash/.kept"), ProblemKind::UnrecognizedEntry),
        (home.path("volumes/gone"), ProblemKind::MissingDirectory),
    ] {
        assert!(left.iter().any(|it| it.path == entry && it.kind == kind), "{entry:?}: {problems:?}");
    }
    refused.iter().for_each(|id| fs::remove_dir(id).unwrap());
    fs::remove_dir(home.path("volumes/.trash/.kept")).unwrap();
    assert!(found(&home.path(""), true).iter().all(|it| it.repaired));
    assert!(found(&home.path(""), false).is_empty());
}

#[test]
fn an_open_deletes_the_ids_without_a_volume_beside_one_that_cannot_be_deleted() {
    let home = Home::new();
    fs::create_dir(home.path("volumes/.ids/middle")).unwrap();
    let deleted = ["first", "second", "third"].map(|id| home.path("volumes/.ids").join(id));
    deleted.iter().for_each(|id| fs::write(id, "x").unwrap());
    drop(Store::open(&home.path(""), Durability::Full).unwrap());
    assert!(deleted.iter().all(|id| !id.exists()) && home.path("volumes/.ids/middle").is_dir());
}

#[test]
fn the_lock_of_a_removal_is_left_alone_while_the_lock_of_its_name_is_held() {
    let home = Home::new();
    home.create("data");
    let sql = "INSERT INTO intent (volume_id, action, entry) SELECT id, 'remove', 'data~1-2-3' FROM volume";
    catalog(&home).execute(sql, ()).unwrap();
    // An attempt to take that lock fails.
    fs::create_dir(home.path("volumes/.locks/data~work.lock")).unwrap();
    let remover = File::create(home.path("volumes/.locks/data.lock")).unwrap();
    remover.lock().unwrap();
    assert!(found(&home.path(""), false).is_empty());
}
