//! Walks on a file system without birth times of directories.

use crate::support::mount_namespace::enter_namespace;
use crate::support::private::Private;
use crate::support::skip::skip;
use crate::support::volume::Volume;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::ListOptions;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// Makes files until the clock that file systems take their times from has gone on.
fn wait_for_the_next_tick(dir: &Path) {
    let begun = SystemTime::now();
    let made = (0..).map(|at| dir.join(at.to_string()));
    let born = made.map(|path| fs::write(&path, "").and_then(|()| fs::metadata(&path)?.created()).unwrap());
    born.into_iter().find(|born| *born > begun).unwrap();
}

#[test]
fn an_old_directory_that_is_changed_during_a_walk_of_an_overlay_is_entered() {
    if !enter_namespace() {
        return;
    }
    let Some(private) = Private::new() else { return };
    let [lower, upper, work, merged, ticks] = ["lower", "upper", "work", "merged", "ticks"].map(|name| {
        let dir = private.path().join(name);
        fs::create_dir(&dir).unwrap();
        dir
    });
    let below = Volume::new_in(&lower, json!({}));
    fs::create_dir(below.files.root().join("old")).unwrap();
    fs::write(below.files.root().join("old/f"), vec![1; 1 << 20]).unwrap();
    let home = merged.join(below.outside.parent().unwrap().file_name().unwrap());
    let layers =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    if let Err(errno) =
        mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(layers.as_str()))
    {
        return skip(format!("an overlay cannot be mounted: {errno}"));
    }
    let store = Arc::new(Store::open(&home, Durability::Fast).unwrap());
    let files = store.files(&below.name);
    let mut listing = files.list("", ListOptions { recursive: true, whole: false }).unwrap();
    wait_for_the_next_tick(&ticks);
    // Now it is copied up, and born.
    fs::set_permissions(files.root().join("old"), fs::Permissions::from_mode(0o700)).unwrap();
    let mut found = Vec::new();
    loop {
        let batch = listing.next(1, &CancelToken::default()).unwrap();
        let is_last = batch.is_last;
        found.extend(batch.entries().map(|(path, _)| path));
        if is_last {
            break;
        }
    }
    drop((listing, files, store));
    umount2(&merged, MntFlags::MNT_DETACH).unwrap();
    assert_eq!(found, [Path::new("old"), Path::new("old/f")]);
}
