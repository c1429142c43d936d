//! Implementations that are wrong on purpose: they join paths and open the result by name. The same cases and races
//! must catch them.
//!
//! It would as soon delete the host's own files. So whatever it is about to touch outside the fixture, the
//! temporary directory that holds all of a test, it leaves alone, and that counts as caught.

mod walk;

use crate::support::listing::kind;
use crate::support::methods::{Backend, OperandPaths, Refusal};
use crate::support::read_only::assert_only_temp_dir_is_writable;
use crate::support::volume::Volume;
use nix::errno::Errno;
use nix::libc;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// How a faulty implementation checks a path before it opens it by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Nothing.
    Nothing,
    /// Resolves `.` and `..` in the text and refuses what climbs above the root.
    Text,
    /// Looks where the path leads and refuses what is not below the root.
    Target,
    /// Opens one directory after another and follows no link, but takes a `..` for what was above it.
    Steps,
}

impl Check {
    pub const ALL: [Check; 4] = [Check::Nothing, Check::Text, Check::Target, Check::Steps];
}

/// A directory of a volume, used by path.
pub struct FaultyVolume {
    root: PathBuf,
    fixture: PathBuf,
    check: Check,
}

/// The paths of open directories.
const HELD: &str = "/proc/self/fd";

/// The code of a call that would have left the fixture.
pub const LEFT: &str = "LEFT";

impl Backend for FaultyVolume {
    fn root(&self) -> &Path {
        &self.root
    }

    fn call_between(&self, method: &str, path: &OsStr, operands: &OperandPaths) -> Result<Value, Refusal> {
        self.reach(path, |place| self.run(method, place, Path::new(path), operands))
    }
}

impl FaultyVolume {
    /// The directory of a volume.
    pub fn in_volume(volume: &Volume, check: Check) -> Self {
        assert_only_temp_dir_is_writable();
        let fixture = volume.outside.parent().unwrap().to_owned();
        FaultyVolume { root: volume.files.root().clone(), fixture, check }
    }

    /// Runs one step on the place that a path leads to, unless the check or the fixture refuses it.
    pub fn reach<T>(&self, path: &OsStr, step: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, Refusal> {
        let refused = |code: String| Refusal {
            message: code.clone(),
            named: vec![path.to_string_lossy().into_owned()],
            code,
        };
        let numbered = |error: io::Error| match error.raw_os_error() {
            Some(number) => refused(format!("{:?}", Errno::from_raw(number))),
            None => refused(error.to_string()),
        };
        let mut held = Vec::new();
        match self.place(Path::new(path), &mut held).map_err(numbered)? {
            Some(place) if !self.in_fixture(&place) => Err(refused(LEFT.to_owned())),
            Some(place) => step(&place).map_err(numbered),
            None => Err(refused("ERR_PATH_ESCAPE".to_owned())),
        }
    }

    /// The path to open, of which `held` is part. Returns `None` if the check refuses it.
    fn place(&self, path: &Path, held: &mut Vec<File>) -> io::Result<Option<PathBuf>> {
        let joined = self.root.join(path);
        match self.check {
            Check::Nothing => Ok(Some(joined)),
            Check::Text => Ok(resolved_as_text(path).map(|path| self.root.join(path))),
            Check::Steps => {
                let mut place = self.root.clone();
                for component in path.parent().into_iter().flat_map(Path::components) {
                    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
                    let next = place.join(component);
                    held.push(OpenOptions::new().read(true).custom_flags(flags).open(next)?);
                    place = format!("{HELD}/{}", held[held.len() - 1].as_raw_fd()).into();
                }
                Ok(path.file_name().map(|name| place.join(name)))
            }
            Check::Target => {
                let root = fs::canonicalize(&self.root)?;
                let target = match (fs::canonicalize(&joined), joined.parent()) {
                    (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
                        fs::canonicalize(parent).or_else(|_| fs::canonicalize(&self.root))?
                    }
                    (target, _) => target?,
                };
                Ok(target.starts_with(root).then_some(joined))
            }
        }
    }

    /// Whether `place` is in the fixture and not the fixture itself, by its text and by where it leads.
    pub fn in_fixture(&self, place: &Path) -> bool {
        let fixture = fs::canonicalize(&self.fixture).unwrap();
        let within = |path: &Path| path.starts_with(&fixture) && path != fixture;
        let text = place.strip_prefix("/").ok().and_then(resolved_as_text);
        let text = match place.starts_with(HELD) {
            true => Some(fixture.join("held")),
            false => text.map(|text| Path::new("/").join(text)),
        };
        // A link to a free name has its file made there.
        let is_free = fs::canonicalize(place).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if let (Ok(link), Some(holder)) = (fs::read_link(place), place.parent())
            && is_free
            && !self.in_fixture(&holder.join(link))
        {
            return false;
        }
        let target = place.ancestors().find_map(|above| fs::canonicalize(above).ok());
        text.is_some_and(|text| within(&text)) && target.is_some_and(|path| within(&path))
    }

    /// One line a method.
    fn run(&self, method: &str, place: &Path, path: &Path, operands: &OperandPaths) -> io::Result<Value> {
        let nothing = |()| Value::Null;
        let inside = |name: &str| self.root.join(&operands.in_volume).join(name);
        let on_host = |name: &str| operands.on_host.join(name);
        match method {
            "read" | "readStream" => {
                fs::read(place).map(|bytes| json!(String::from_utf8_lossy(&bytes).into_owned()))
            }
            "readString" => fs::read_to_string(place).map(Value::from),
            "write" | "writeString" | "writeStream" => fs::write(place, "new").map(nothing),
            "writeAtomic" | "writeStreamAtomic" => write_beside_and_rename(place, b"new").map(nothing),
            "mkdir" => fs::create_dir_all(place).map(nothing),
            "remove" => remove(place, self.look(place)?).map(nothing),
            "removeAll" | "purge" => self.remove_all(place).map(nothing),
            "exists" => Ok(place.exists().into()),
            "usedBytes" => self.used_bytes(&self.root).map(Value::from),
            "writeDurable" => write_in_place(place, Some(0)).and_then(|file| file.sync_all()).map(nothing),
            "append" | "writeStreamAppend" => write_in_place(place, None).map(|_| Value::Null),
            "writeStreamAt" => write_in_place(place, Some(2)).map(|_| Value::Null),
            "copyFrom" => self.copy(place, &inside(OperandPaths::COPIED)).map(nothing),
            "copyTo" => self.copy(&inside(OperandPaths::FILE), place).map(nothing),
            "copyTreeTo" => self.copy(&inside(OperandPaths::TREE), place).map(nothing),
            "copyIn" => self.copy(&on_host(OperandPaths::SEED), place).map(nothing),
            "copyTreeIn" | "copyTreeInRefusing" => {
                self.copy(&on_host(OperandPaths::SEED_TREE), place).map(nothing)
            }
            "copyOut" | "copyOutRefusing" => self.copy(place, &on_host(OperandPaths::OUT)).map(nothing),
            "list" | "listStream" => list(place, path).map(Value::from),
            "listAll" | "listAllStream" => self.list_all(place, path).map(Value::from),
            "stat" => fs::metadata(place).map(|found| json!(kind(found.mode()))),
            "statLink" => fs::symlink_metadata(place).map(|found| json!(kind(found.mode()))),
            "renameFrom" => fs::rename(place, inside(OperandPaths::RENAMED)).map(nothing),
            "renameTo" => fs::rename(inside(OperandPaths::FILE), place).map(nothing),
            _ => panic!("no method {method}"),
        }
    }

    /// Who looks where a path leads, or follows no link, also knows a link in a tree when he sees one.
    fn look(&self, place: &Path) -> io::Result<Metadata> {
        match self.check {
            Check::Target | Check::Steps => fs::symlink_metadata(place),
            Check::Nothing | Check::Text => fs::metadata(place),
        }
    }
}

fn remove(place: &Path, found: Metadata) -> io::Result<()> {
    match found.is_dir() {
        true => fs::remove_dir(place),
        false => fs::remove_file(place),
    }
}

/// The paths of a directory's entries, as the volume knows them.
fn list(place: &Path, path: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(place)?.map(|entry| Ok(shown(&path.join(entry?.file_name()))));
    names.collect()
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Writes into what is there, at a position or at the end.
fn write_in_place(place: &Path, position: Option<u64>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).append(position.is_none()).truncate(false).open(place)?;
    if let Some(position) = position {
        file.seek(SeekFrom::Start(position))?;
    }
    file.write_all(b"new").map(|()| file)
}

/// The name that a file is written under which takes another's place.
pub fn beside(place: &Path) -> PathBuf {
    place.with_extension("tmp")
}

pub fn write_beside_and_rename(place: &Path, content: &[u8]) -> io::Result<()> {
    fs::write(beside(place), content)?;
    fs::rename(beside(place), place)
}

fn resolved_as_text(path: &Path) -> Option<PathBuf> {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => resolved.push(name),
            Component::CurDir => {}
            Component::ParentDir if resolved.pop() => {}
            _ => return None,
        }
    }
    Some(resolved)
}
