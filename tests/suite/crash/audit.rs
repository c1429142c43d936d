//! Checks what a process that died may leave.

use crate::crash::work::{
    DISK, NEW, OLD, ROOTFS, VOLUME, Work, attach, copied_out, create, deep, name, new_home, open,
};
use crate::support::loop_devices;
use crate::support::mount_list::lines_below;
use crate::support::snapshot::Snapshot;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rusqlite::Connection;
use sandbox_volumes::model::{Labels, VolumeKind};
use sandbox_volumes::store::{ProblemKind, Store, check};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// A volume that no process works on.
const BYSTANDER: &str = "bystander";

/// How an operation ended.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    pub acknowledged: bool,
    /// It gave an error, after which it has undone what it had done.
    pub refused: bool,
    /// What was not synced may be lost thereafter.
    pub power_cut: bool,
}

pub struct Audit {
    /// Of which the home is a lower layer.
    pub overlay: Option<Overlay>,
    pub dir: TempDir,
    pub home: PathBuf,
    /// The expected content of the bystander.
    pub bystander: Arc<Snapshot>,
}

/// An overlay, unmounted when dropped.
pub struct Overlay(PathBuf);

impl Overlay {
    /// Mounts one over a directory, which becomes its lower layer.
    fn over(directory: &Path) -> Self {
        let [lower, upper, work] = ["lower", "upper", "work"].map(|layer| directory.with_file_name(layer));
        fs::rename(directory, &lower).unwrap();
        for made in [directory, &upper, &work] {
            fs::create_dir(made).unwrap();
        }
        let layers =
            format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        mount(Some("overlay"), directory, Some("overlay"), MsFlags::empty(), Some(layers.as_str())).unwrap();
        Overlay(directory.to_owned())
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

impl Audit {
    /// A home as it is before the work, beside a tree to copy from.
    pub fn prepare(dir: &Path, work: Work) -> Self {
        let dir = tempfile::tempdir_in(dir).unwrap();
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
        match work {
            Work::Recover => leave_unfinished(&home),
            Work::RemoveWithoutIdFile => deny_id_file(&home),
            _ => {}
        }
        let overlay = (work == Work::RemoveInPlace).then(|| Overlay::over(&home));
        let bystander = Arc::new(Snapshot::of(&home.join("volumes").join(BYSTANDER)));
        Audit { overlay, dir, home, bystander }
    }

    /// Holds that nothing is damaged, lost, or left over, and that the name can be used.
    pub fn look_over(&self, work: Work, ending: Ending, point: &str) {
        let acknowledged = ending.acknowledged;
        let about = format!("{work:?}, {point}, {ending:?}");
        if work == Work::RemoveWithoutIdFile {
            allow_id_file(&self.home);
        }
        let store = open(&self.home).unwrap();
        let is_there = self.look_at_home(&store, &about);
        if work == Work::MountInto {
            let image = self.home.join("volumes").join(DISK).join("disk.raw");
            loop_devices::assert_none_soon(&image);
            judge("e2fsck", "-fn", &image, &about);
        }
        // A removal that was refused leaves the volume with what is left of it, and can be tried again.
        let is_remainder = ending.refused && work.removes();
        let mut problems = check(&self.home, false, &CancelToken::default()).unwrap();
        problems.retain(|problem| !is_remainder || problem.kind != ProblemKind::BadImage);
        assert!(problems.is_empty(), "{about}: {problems:?}");
        match work {
            _ if work.removes() => assert!(!(acknowledged && is_there), "{about}"),
            Work::CreateInNewHome => self.look_at_new_home(acknowledged, &about),
            _ => assert!(is_there || !acknowledged, "{about}"),
        }
        if is_there && !is_remainder {
            self.look_at_volume(work, ending, &store, &about);
        }
        assert_usable(&store, is_there, &about);
        for entry in fs::read_dir(self.home.join("volumes/.locks")).unwrap() {
            let entry = entry.unwrap().file_name().into_string().unwrap();
            assert!(!entry.starts_with(&format!("{VOLUME}~")), "{about}: {entry}");
        }
        assert!(!self.home.join("volumes/.ids").join(VOLUME).exists(), "{about}");
    }

    /// Holds that what is listed stands there, that nothing else does, and that the catalog is sound. Gives whether the
    /// volume that is worked on is there.
    pub fn look_at_home(&self, store: &Arc<Store>, about: &str) -> bool {
        let listed = store.list(&Labels::default(), &CancelToken::default()).unwrap();
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
        let bystander = Snapshot::of(&self.home.join("volumes").join(BYSTANDER));
        assert!(bystander == *self.bystander, "{about}: {bystander:?}");
        let mut mounts = lines_below(self.dir.path());
        mounts.retain(|(_, line)| self.overlay.is_none() || !line.contains(" - overlay "));
        assert_eq!(mounts, [], "{about}");
        names.contains(&VOLUME)
    }

    fn look_at_volume(&self, work: Work, ending: Ending, store: &Arc<Store>, about: &str) {
        let acknowledged = ending.acknowledged;
        let path = self.home.join("volumes").join(VOLUME);
        let info = store.get(&name(VOLUME), &CancelToken::default()).unwrap();
        let is_disk = matches!(work, Work::CreateRawDisk | Work::CreateQcow2Disk | Work::RemoveDisk);
        assert_eq!(info.record.storage.kind() == VolumeKind::Disk, is_disk, "{about}");
        let content = |below: &str| fs::read_to_string(path.join(below)).ok();
        let is_new =
            |below: &str| assert!(!acknowledged || content(below).as_deref() == Some(NEW), "{about}");
        match work {
            Work::CreateRawDisk | Work::RemoveDisk => judge("e2fsck", "-fn", &path.join("disk.raw"), about),
            Work::CreateQcow2Disk => judge("qemu-img", "check", &path.join("disk.qcow2"), about),
            Work::CreateDirectory => {
                assert_eq!(
                    (info.record.storage.quota_mib(), info.record.labels.iter().count()),
                    (Some(4), 1),
                    "{about}"
                );
            }
            // Whatever an unfinished one left.
            Work::Overwrite => is_new("file"),
            Work::Stream => is_new("streamed"),
            Work::WriteNew => {
                is_new("made/below/new");
                let left = content("made/below/new");
                assert!(!ending.refused || left.is_none_or(|left| left == NEW), "{about}");
            }
            Work::WriteDeep => is_new(&format!("{}/new", deep())),
            Work::WriteAtomically | Work::StreamAtomically | Work::ReplaceLimited => {
                let mut entries: Vec<_> =
                    fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                entries.sort_unstable();
                assert_eq!(entries, ["dir", "file"], "{about}");
                let content = content("file").unwrap();
                assert!(content == NEW || (content == OLD && !acknowledged), "{about}: {content:?}");
            }
            Work::Append | Work::StreamAppending => {
                let content = fs::read(path.join("file")).unwrap();
                let added = content.strip_prefix(OLD.as_bytes()).unwrap();
                assert!(!acknowledged || added == NEW.as_bytes(), "{about}: {content:?}");
            }
            Work::Rename => {
                let (old, new) = (content("file"), content("renamed"));
                assert!(old.is_some() != new.is_some(), "{about}: {old:?} {new:?}");
                let is_done = new.is_some();
                assert_eq!(old.or(new).as_deref(), Some(OLD), "{about}");
                assert!(is_done || !acknowledged || ending.power_cut, "{about}");
            }
            Work::CopyIn => {
                look_at_copy(&path.join("copied"), ["one", "two", "sub/three"], NEW, ending, about);
            }
            Work::Copy | Work::CopyOut => {
                let copy = if work == Work::Copy { path.join("copied") } else { copied_out(&self.home) };
                look_at_copy(&copy, ["below/file"], OLD, ending, about);
                assert_eq!(content("dir/below/file").as_deref(), Some(OLD), "{about}");
            }
            Work::RemoveDirectory
            | Work::RemoveInPlace
            | Work::RemoveWithoutIdFile
            | Work::Detach
            | Work::Recover => {
                // Kept whole, for the removal was never begun.
                for file in ["file", "dir/below/file"] {
                    assert_eq!(content(file).as_deref(), Some(OLD), "{about}: {file}");
                }
            }
            Work::MountInto => {
                assert_eq!(fs::read_to_string(path.join("file")).unwrap(), OLD, "{about}");
            }
            Work::CreateInNewHome | Work::Attach => {}
        }
    }

    /// What an operation on a home that was not there before leaves there.
    fn look_at_new_home(&self, acknowledged: bool, about: &str) {
        let home = new_home(&self.home);
        let store = open(&home).unwrap();
        let is_there = !store.list(&Labels::default(), &CancelToken::default()).unwrap().is_empty();
        assert_eq!(home.join("volumes").join(VOLUME).exists(), is_there, "{about}");
        assert!(is_there || !acknowledged, "{about}");
        assert_usable(&store, is_there, about);
    }
}

/// The name can be removed, made, attached, written and read.
pub fn assert_usable(store: &Arc<Store>, is_there: bool, about: &str) {
    let cancel = CancelToken::default;
    if is_there {
        store.remove(&name(VOLUME), &cancel()).unwrap();
    }
    create(store, VOLUME, json!({})).unwrap();
    let attached = attach(store).unwrap();
    let files = store.files(&name(VOLUME));
    files.write("after", b"x", sandbox_volumes::volume_fs::WriteOptions::default(), &cancel()).unwrap();
    assert_eq!(files.open("after").unwrap().read(&cancel()).unwrap(), b"x", "{about}");
    store.detach(attached.id).unwrap();
    store.remove(&name(VOLUME), &cancel()).unwrap();
}

/// A copy grows in its place, and nothing waits until it is on disk. One that was refused is removed.
fn look_at_copy<const FILES: usize>(
    copy: &Path,
    files: [&str; FILES],
    whole: &str,
    ending: Ending,
    about: &str,
) {
    if ending.power_cut {
        return;
    }
    let acknowledged = ending.acknowledged;
    assert!(!ending.refused || !copy.exists(), "{about}");
    for file in files {
        match fs::read_to_string(copy.join(file)) {
            Ok(content) => {
                let is_whole = content == whole || (!acknowledged && whole.starts_with(&content));
                assert!(is_whole, "{about}: {file}: {content:?}");
            }
            Err(error) => assert!(!acknowledged, "{about}: {file}: {error}"),
        }
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

/// Puts a link in place of the volume's id file, which is never written through it, and records that there is none.
fn deny_id_file(home: &Path) {
    let file = home.join("volumes/.ids").join(VOLUME);
    fs::remove_file(&file).unwrap();
    symlink("nothing", file).unwrap();
    let catalog = Connection::open(home.join("db/volumes.db")).unwrap();
    let sql = "UPDATE volume SET identity_stored = 0 WHERE name = ?1";
    assert_eq!(catalog.execute(sql, [VOLUME]).unwrap(), 1);
}

/// Removes that link, if it is still there.
fn allow_id_file(home: &Path) {
    let file = home.join("volumes/.ids").join(VOLUME);
    if file.is_symlink() {
        fs::remove_file(file).unwrap();
    }
}

/// An image that is listed is whole, as far as the judges that are installed can tell.
fn judge(tool: &str, argument: &str, image: &Path, about: &str) {
    if let Ok(judged) = Command::new(tool).arg(argument).arg(image).output() {
        assert!(judged.status.success(), "{about}: {}", String::from_utf8_lossy(&judged.stdout));
    }
}
