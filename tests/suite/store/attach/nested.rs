//! Mounts below other mounts: what a runtime would find at the mount point.

use super::{bind, existing};
use crate::support::home::Home;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::OptionValue;
use sandbox_volumes::mount::MountConfig;
use sandbox_volumes::store::Attachment;
use serde_json::json;
use std::os::unix::fs::symlink;

fn tmpfs() -> MountConfig {
    MountConfig::tmpfs(&OptionValue::Absent).unwrap()
}

fn readonly(volume: &str) -> MountConfig {
    MountConfig::named(&OptionValue::Text(volume.to_owned()), &json!({ "readonly": true }).into()).unwrap()
}

/// The guest path and the message of a refusal.
fn refusal(attached: Result<Attachment, Error>) -> (String, String) {
    let error = attached.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    (error.context().path.clone().unwrap(), error.to_string())
}

#[test]
fn a_link_that_a_guest_planted_at_a_mount_point_or_above_it_is_refused_and_nothing_is_made() {
    let home = Home::new();
    let data = home.create("data");
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("file");
    std::fs::write(&file, "").unwrap();
    symlink(outside.path().join("new"), data.join("leaf")).unwrap();
    symlink(outside.path(), data.join("way")).unwrap();
    for (at, mount) in [
        ("/data/leaf", tmpfs()),
        ("/data/leaf", bind(&file)),
        ("/data/way/x", tmpfs()),
        ("/data/way", tmpfs()),
    ] {
        let (path, message) = refusal(home.attach_at(&[("/data", existing("data")), (at, mount)]));
        assert_eq!(path, at);
        assert!(message.contains("a link"), "{message}");
    }
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn a_link_in_a_bind_mount_is_refused_as_well() {
    let home = Home::new();
    let source = tempfile::tempdir().unwrap();
    symlink("/", source.path().join("link")).unwrap();
    let (path, _) = refusal(home.attach_at(&[("/a", bind(source.path())), ("/a/link/x", tmpfs())]));
    assert_eq!(path, "/a/link/x");
}

#[test]
fn a_mount_point_may_be_missing_where_a_runtime_can_make_it() {
    let home = Home::new();
    home.create("data");
    let mounts = [("/data", existing("data")), ("/data/a/b", tmpfs()), ("/data/a/b/c", existing("data"))];
    home.attach_at(&mounts).unwrap();
}

#[test]
fn a_mount_point_must_be_there_below_a_read_only_mount() {
    let home = Home::new();
    let data = home.create("data");
    let mounts = [("/data", readonly("data")), ("/data/cache", tmpfs())];
    let (path, message) = refusal(home.attach_at(&mounts));
    assert_eq!(path, "/data/cache");
    assert!(message.contains("read-only"), "{message}");
    std::fs::create_dir(data.join("cache")).unwrap();
    home.attach_at(&mounts).unwrap();
}

#[test]
fn a_directory_is_not_mounted_on_a_file_nor_a_file_on_a_directory() {
    let home = Home::new();
    let data = home.create("data");
    std::fs::create_dir(data.join("dir")).unwrap();
    std::fs::write(data.join("file"), "").unwrap();
    let source = tempfile::NamedTempFile::new().unwrap();
    let fits = [("/data/dir", tmpfs()), ("/data/file", bind(source.path()))];
    let misfits = [("/data/file", tmpfs()), ("/data/dir", bind(source.path())), ("/data/file/x", tmpfs())];
    for (at, mount) in fits {
        home.attach_at(&[("/data", existing("data")), (at, mount)]).unwrap();
    }
    for (at, mount) in misfits {
        assert_eq!(refusal(home.attach_at(&[("/data", existing("data")), (at, mount)])).0, at);
    }
    let below_a_file = [("/f", bind(source.path())), ("/f/x", tmpfs())];
    assert_eq!(refusal(home.attach_at(&below_a_file)).0, "/f/x");
}

#[test]
fn the_nearest_mount_above_counts() {
    let home = Home::new();
    let data = home.create("data");
    symlink("/", data.join("a")).unwrap();
    home.create("other");
    let mounts = [("/x", tmpfs()), ("/x/data", existing("other")), ("/x/data/a", tmpfs())];
    home.attach_at(&mounts).unwrap();
    let mounts = [("/data", existing("data")), ("/data-a", tmpfs())];
    home.attach_at(&mounts).unwrap();
}
