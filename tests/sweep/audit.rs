//! What a process that died may leave, looked at by another one.

use crate::loop_devices;
use crate::mount_list::lines_below;
use crate::snapshot::Snapshot;
use crate::work::{DISK, NEW, OLD, ROOTFS, VOLUME, Work, attach, create, name, open};
use rusqlite::Connection;
use sandbox_volumes::model::{Cancel, Labels, VolumeKind};
use sandbox_volumes::store::{ProblemKind, Store, check};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// A volume that nobody works on.
const BYSTANDER: &str = "bystander";

pub struct Audit {
    dir: TempDir,
    home: PathBuf,
    bystander: Snapshot,
}

impl Audit {
    /// A home as it is before the work, beside a tree to copy from.
    pub fn prepare(work: Work) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir_all(dir.path().join("source/sub")).unwrap();
        for file in ["one", "two", "sub/three"] {
            fs::write(dir.path().join("source").join(file), NEW).unwrap();
        }
        fs::create_dir(dir.path().join(ROOTFS)).unwrap();
        let store = open(&home).unwrap();
        create(&store, BYSTANDER, json!({})).unwrap();
        fs::write(home.join("volumes").join(BYSTANDER).join("file"), "untouched").unwrap();
        work.prepare(&store);
        drop(store);
        if work == Work::Recover {
            leave_unfinished(&home);
        }
        let bystander = Snapshot::of(&home.join("volumes").join(BYSTANDER));
        Audit { dir, home, bystander }
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Holds that nothing is damaged, lost, or left over, and that the name can be used.
    pub fn look_over(&self, work: Work, acknowledged: bool, refused: bool, point: &str) {
        let about = format!("{work:?}, {point}, acknowledged: {acknowledged}");
        let store = open(&self.home).unwrap();
        let listed = store.list(&Labels::default(), &Cancel::default()).unwrap();
        let mut names: Vec<_> = listed.iter().map(|volume| volume.record.name.as_str()).collect();
        names.sort_unstable();
        let mut standing: Vec<_> = fs::read_dir(self.home.join("volumes"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|entry| !entry.starts_with('.'))
            .collect();
        standing.sort_unstable();
        assert_eq!(names, standing, "{about}");
        for room in ["volumes/.staging", "volumes/.trash"] {
            assert_eq!(fs::read_dir(self.home.join(room)).unwrap().count(), 0, "{about}: {room}");
        }
        let catalog = Connection::open(self.home.join("db/volumes.db")).unwrap();
        let verdict: String = catalog.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok", "{about}");
        for row in ["intent", "attachment", "lease", "image_lease", "host_mount"] {
            let sql = format!("SELECT count(*) FROM {row}");
            let count: i64 = catalog.query_row(&sql, (), |row| row.get(0)).unwrap();
            assert_eq!(count, 0, "{about}: {row}");
        }
        drop(catalog);
        assert!(Snapshot::of(&self.home.join("volumes").join(BYSTANDER)) == self.bystander, "{about}");
        assert_eq!(lines_below(self.dir.path()), [], "{about}");
        if work == Work::MountInto {
            let image = self.home.join("volumes").join(DISK).join("disk.raw");
            loop_devices::assert_none_soon(&image);
            judge("e2fsck", "-fn", &image, &about);
        }
        // A removal that was refused leaves the volume with what is left of it, and can be tried again.
        let is_remainder = refused && matches!(work, Work::RemoveDirectory | Work::RemoveDisk);
        let mut problems = check(&self.home, false, &Cancel::default()).unwrap();
        problems.retain(|problem| !is_remainder || problem.kind != ProblemKind::BadImage);
        assert!(problems.is_empty(), "{about}: {problems:?}");

        let is_there = names.contains(&VOLUME);
        match work {
            Work::RemoveDirectory | Work::RemoveDisk => assert!(!(acknowledged && is_there), "{about}"),
            _ => assert!(is_there || !acknowledged, "{about}"),
        }
        if is_there && !is_remainder {
            self.look_at_volume(work, acknowledged, &store, &about);
        }
        self.assert_usable(&store, is_there, &about);
    }

    fn look_at_volume(&self, work: Work, acknowledged: bool, store: &Arc<Store>, about: &str) {
        let path = self.home.join("volumes").join(VOLUME);
        let info = store.get(&name(VOLUME), &Cancel::default()).unwrap();
        let is_disk = matches!(work, Work::CreateRawDisk | Work::CreateQcow2Disk | Work::RemoveDisk);
        assert_eq!(info.record.kind == VolumeKind::Disk, is_disk, "{about}");
        match work {
            Work::CreateRawDisk | Work::RemoveDisk => judge("e2fsck", "-fn", &path.join("disk.raw"), about),
            Work::CreateQcow2Disk => judge("qemu-img", "check", &path.join("disk.qcow2"), about),
            Work::CreateDirectory => {
                assert_eq!(
                    (info.record.quota_mib, info.record.labels.iter().count()),
                    (Some(4), 1),
                    "{about}"
                );
            }
            Work::WriteAtomically => {
                let content = fs::read_to_string(path.join("file")).unwrap();
                assert!(content == NEW || (content == OLD && !acknowledged), "{about}: {content:?}");
            }
            Work::CopyIn => {
                for file in ["one", "two", "sub/three"] {
                    match fs::read_to_string(path.join("copied").join(file)) {
                        // A new file grows in its place; what was acknowledged is whole.
                        Ok(content) => {
                            let whole = content == NEW || (!acknowledged && NEW.starts_with(&content));
                            assert!(whole, "{about}: {file}: {content:?}");
                        }
                        Err(error) => assert!(!acknowledged, "{about}: {file}: {error}"),
                    }
                }
            }
            Work::RemoveDirectory | Work::Detach | Work::Recover => {
                // Kept whole, for the removal was never begun.
                for file in ["file", "dir/below/file"] {
                    assert_eq!(fs::read_to_string(path.join(file)).unwrap(), OLD, "{about}: {file}");
                }
            }
            Work::MountInto => {
                assert_eq!(fs::read_to_string(path.join("file")).unwrap(), OLD, "{about}");
            }
            Work::Attach => {}
        }
    }

    /// The name can be removed, made, attached, written and read.
    fn assert_usable(&self, store: &Arc<Store>, is_there: bool, about: &str) {
        let cancel = Cancel::default;
        if is_there {
            store.remove(&name(VOLUME), &cancel()).unwrap();
        }
        create(store, VOLUME, json!({})).unwrap();
        let attached = attach(store).unwrap();
        let files = store.files(&name(VOLUME));
        files.write("after", b"x", sandbox_volumes::content::WriteOptions::default(), &cancel()).unwrap();
        assert_eq!(files.open("after").unwrap().read(&cancel()).unwrap(), b"x", "{about}");
        store.detach(attached.id).unwrap();
        store.remove(&name(VOLUME), &cancel()).unwrap();
    }
}

/// What three processes left that died while they made, removed and wrote.
fn leave_unfinished(home: &Path) {
    let catalog = Connection::open(home.join("db/volumes.db")).unwrap();
    for (volume, action) in [("half-made", "create"), ("half-removed", "remove")] {
        let id: i64 = catalog
            .query_row(
                "INSERT INTO volume (name, kind, labels) VALUES (?1, 'dir', '{}') RETURNING id",
                [volume],
                |row| row.get(0),
            )
            .unwrap();
        let entry = format!("{volume}~1-2-3");
        let sql = "INSERT INTO intent (volume_id, action, entry) VALUES (?1, ?2, ?3)";
        catalog.execute(sql, (id, action, &entry)).unwrap();
        let room = if action == "create" { ".staging" } else { ".trash" };
        let left = home.join("volumes").join(room).join(entry);
        fs::create_dir_all(left.join("dir")).unwrap();
        fs::write(left.join("dir/file"), OLD).unwrap();
    }
    fs::write(home.join("volumes/.staging/4-5-6"), "half a fi").unwrap();
}

/// An image that is listed is whole, as far as the judges that are installed can tell.
fn judge(tool: &str, argument: &str, image: &Path, about: &str) {
    if let Ok(judged) = Command::new(tool).arg(argument).arg(image).output() {
        assert!(judged.status.success(), "{about}: {}", String::from_utf8_lossy(&judged.stdout));
    }
}
