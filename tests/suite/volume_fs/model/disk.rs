//! The real thing: what is on disk, and calls of it.

use super::call::{Call, Given, Seen, Start};
use super::expected::{Model, UMASK};
use super::generate::{Planted, Trees};
use super::tree::{Name, Node};
use crate::support::listing::{kind, listed};
use crate::support::memory::memory_dir;
use crate::support::volume::Volume;
use nix::libc;
use nix::sys::stat::{Mode, umask};
use sandbox_volumes::error::Error;
use sandbox_volumes::store::{AppendOptions, TransferOptions};
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::{ReadRange, SymlinkPolicy, WriteFrom, WriteOptions};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// More directories than paths and links are likely to climb at once, should they get out.
const BELOW: &str = "b/e/l/o/w/a/l/l";

/// Something that the model's calls are made of.
pub trait Backend {
    /// Makes a call, or gives the code of the error.
    fn call(&self, call: &Call) -> Result<Given, String>;
}

/// A volume, a directory of the host, and one outside that nothing may touch.
pub struct Disk {
    pub volume: Volume,
    pub host: PathBuf,
    _top: TempDir,
}

impl Disk {
    /// In memory, where the machine has such a file system.
    pub fn new(options: Value) -> Self {
        let top = tempfile::tempdir_in(memory_dir()).unwrap();
        fs::create_dir_all(top.path().join(BELOW)).unwrap();
        let volume = Volume::new_in(&top.path().join(BELOW), options);
        umask(Mode::from_bits_truncate(UMASK));
        fs::write(volume.outside.join("file"), "outside").unwrap();
        fs::create_dir(volume.outside.join("a")).unwrap();
        let host = volume.outside.with_file_name("host");
        fs::create_dir(&host).unwrap();
        Disk { volume, host, _top: top }
    }

    /// Empties both trees and plants others, here and in a model.
    pub fn plant(&self, tree: &Trees, host: &Trees) -> Model {
        let root = self.volume.files.root();
        Model { root: self.plant_one(root, tree), host: self.plant_one(&self.host, host) }
    }

    fn plant_one(&self, root: &Path, tree: &Trees) -> Node {
        for entry in fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)).unwrap();
        }
        fs::set_permissions(root, Permissions::from_mode(0o755)).unwrap();
        let mut planted = Node::Dir(0o755, BTreeMap::new());
        for (names, what) in tree {
            let holder = planted.at(&names[..names.len() - 1]);
            if !holder.is_some_and(Node::is_dir) || planted.at(names).is_some() {
                continue;
            }
            let path = root.join(OsStr::from_bytes(&names.join(&b'/')));
            let node = match what {
                Planted::Dir(mode) => {
                    fs::create_dir(&path).unwrap();
                    fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
                    Node::Dir(*mode, BTreeMap::new())
                }
                Planted::File(mode, data) => {
                    fs::write(&path, data.bytes()).unwrap();
                    fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
                    Node::File(*mode, data.bytes())
                }
                Planted::Link(target) => {
                    let target = self.expanded(target);
                    symlink(OsStr::from_bytes(&target), &path).unwrap();
                    Node::Link(target)
                }
            };
            planted.put(names, node);
        }
        planted
    }

    fn expanded(&self, target: &[u8]) -> Vec<u8> {
        let text = |path: &Path| path.as_os_str().as_bytes().to_vec();
        match target.strip_prefix(b"$OUTSIDE") {
            Some(below) => [text(&self.volume.outside), below.to_vec()].concat(),
            None if target == b"$ROOT" => text(self.volume.files.root()),
            None => self.led_outside(target),
        }
    }

    /// A path as it is used: an absolute one begins in the outside, for nothing here may ever lead to the host's own
    /// files.
    pub fn led_outside(&self, path: &[u8]) -> Vec<u8> {
        match path.starts_with(b"/") {
            true => [self.volume.outside.as_os_str().as_bytes(), path].concat(),
            false => path.to_owned(),
        }
    }

    /// What is there now.
    pub fn found(&self) -> Model {
        Model { root: found(self.volume.files.root()), host: found(&self.host) }
    }

    /// The bytes that the volume's entries take, itself included.
    pub fn used(&self) -> u64 {
        let mut pending = vec![self.volume.files.root().clone()];
        let mut used = 0;
        while let Some(path) = pending.pop() {
            let metadata = fs::symlink_metadata(&path).unwrap();
            used += metadata.blocks() * 512;
            if metadata.is_dir() {
                pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        used
    }

    /// The bytes that one entry takes.
    pub fn used_by(&self, names: &[Name]) -> u64 {
        let path = self.volume.files.root().join(OsStr::from_bytes(&names.join(&b'/')));
        fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
    }

    fn run(&self, call: &Call) -> Result<Given, Error> {
        let (files, cancel) = (&self.volume.files, &CancelToken::default());
        let host = |path: &[u8]| self.host.join(OsStr::from_bytes(path));
        let path = |path| OsStr::from_bytes(path);
        let nothing = |()| Given::Nothing;
        let transfer = |skip: bool| TransferOptions {
            links: if skip { SymlinkPolicy::Skip } else { SymlinkPolicy::Refuse },
            asks: false,
        };
        let tally = |tally: sandbox_volumes::volume_fs::CopyStats| Given::Copied {
            files: tally.files,
            bytes: tally.bytes,
            skipped: tally.skipped_links,
        };
        match call {
            Call::Read(at) => files.open(path(at))?.read(cancel).map(Given::Content),
            Call::ReadString(at) => {
                files.open(path(at))?.read_string(cancel).map(|text| Given::Content(text.into_bytes()))
            }
            Call::ReadStream(at, start, end) => {
                let reader = files.open_reader(path(at), ReadRange { start: *start, end: *end })?;
                let (mut content, mut piece) = (Vec::new(), [0; 3]);
                loop {
                    match reader.read_next(&mut piece, cancel)? {
                        0 => return Ok(Given::Content(content)),
                        length => content.extend_from_slice(&piece[..length]),
                    }
                }
            }
            Call::Write(at, data, how) => {
                let options = WriteOptions { atomic: how.atomic, durable: false, mode: how.mode };
                files.write(path(at), &data.bytes(), options, cancel).map(nothing)
            }
            Call::WriteStream(at, chunks, start, how, finished) => {
                let options = WriteOptions { atomic: how.atomic, durable: false, mode: how.mode };
                let from = match start {
                    Start::Empty => WriteFrom::Empty,
                    Start::End => WriteFrom::End,
                    Start::At(at) => WriteFrom::Position(*at),
                };
                let mut writer = files.open_writer(path(at), options, from, cancel)?;
                chunks.iter().try_for_each(|chunk| writer.write(&chunk.bytes(), cancel))?;
                match finished {
                    true => writer.finish(cancel).map(nothing),
                    false => Ok(Given::Nothing),
                }
            }
            Call::Append(at, data, mode) => {
                let options = AppendOptions { durable: false, mode: *mode };
                files.append(path(at), &data.bytes(), options, cancel).map(nothing)
            }
            Call::Mkdir(at) => files.mkdir(path(at), cancel).map(nothing),
            Call::Remove(at) => files.remove(path(at), cancel).map(nothing),
            Call::RemoveAll(at) => files.remove_all(path(at), cancel).map(nothing),
            Call::Exists(at) => files.exists(path(at)).map(Given::There),
            Call::List(at, recursive) => {
                let entries = listed(files, path(at), *recursive)?;
                let seen = |(path, facts): &(PathBuf, _)| {
                    let sandbox_volumes::volume_fs::EntryMetadata { mode, size, .. } = *facts;
                    told(path.as_os_str().as_bytes(), mode, size)
                };
                Ok(Given::Seen(entries.iter().map(seen).collect()))
            }
            Call::Stat(at, follow) => {
                files.stat(path(at), *follow).map(|stat| Given::Seen(vec![told(b"", stat.mode, stat.size)]))
            }
            Call::Rename(from, to) => files.rename(path(from), path(to), cancel).map(nothing),
            Call::Copy(from, to) => files.copy(path(from), path(to), cancel).map(tally),
            Call::CopyIn(from, to, skip) => {
                files.copy_in(&host(from), path(to), transfer(*skip), cancel).map(tally)
            }
            Call::CopyOut(from, to, skip) => {
                files.copy_out(path(from), &host(to), transfer(*skip), cancel).map(tally)
            }
        }
    }
}

impl Backend for Disk {
    fn call(&self, call: &Call) -> Result<Given, String> {
        self.run(call).map_err(|error| {
            let named = error.context().path.is_some() || error.context().dest.is_some();
            assert!(named, "{call:?}: no path in {error}");
            error.code()
        })
    }
}

/// An entry as the system tells of it.
pub fn told(path: &[u8], mode: u32, size: u64) -> Seen {
    let kind = kind(mode);
    Seen {
        path: path.to_owned(),
        kind,
        mode: mode & 0o7777,
        size: (mode & libc::S_IFMT != libc::S_IFDIR).then_some(size),
    }
}

fn found(path: &Path) -> Node {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mode = metadata.mode() & 0o7777;
    if metadata.is_symlink() {
        return Node::Link(fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec());
    }
    if metadata.is_file() {
        return Node::File(mode, fs::read(path).unwrap());
    }
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let entries = entries.map(|entry| (entry.file_name().as_bytes().to_vec(), found(&entry.path())));
    Node::Dir(mode, entries.collect())
}
