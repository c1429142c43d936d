//! The real thing: what is on disk, and calls of it.

use super::call::{Call, Given, Seen, Start, Transfer};
use super::expected::{Model, UMASK};
use super::generate::{Places, Trees};
use super::tree::{Name, Node};
use crate::support::listing::{kind, listed};
use crate::support::memory::memory_dir;
use crate::support::volume::Volume;
use nix::libc;
use nix::sys::stat::{Mode, umask};
use sandbox_volumes::error::Error;
use sandbox_volumes::model::VolumePath;
use sandbox_volumes::store::{AppendOptions, CopyRequest, TransferOptions};
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::{CopyStats, ReadRange, SymlinkPolicy, WriteFrom, WriteOptions};
use serde_json::Value;
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
    pub places: Places,
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
        let places = Places { root: bytes(volume.files.root()), outside: bytes(&volume.outside) };
        Disk { volume, host, places, _top: top }
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
        let planted = self.places.planted(tree);
        make(root, &planted);
        planted
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

    fn transfer(&self, request: CopyRequest, rules: &Transfer) -> Result<CopyStats, Error> {
        let links = if rules.skip { SymlinkPolicy::Skip } else { SymlinkPolicy::Refuse };
        let without = rules.without.as_ref().map(|name| OsStr::from_bytes(name));
        let options = TransferOptions { links, asks: without.is_some() };
        let mut copy = self.volume.files.prepare_copy(request, options, &CancelToken::default());
        let mut decisions = Vec::new();
        while let Some(requests) = copy.advance(&decisions)? {
            decisions = requests.iter().map(|request| request.path.file_name() != without).collect();
        }
        copy.commit()?;
        Ok(copy.progress().stats())
    }

    fn run(&self, call: &Call) -> Result<Given, Error> {
        let (files, cancel) = (&self.volume.files, &CancelToken::default());
        let host = |path: &[u8]| self.host.join(OsStr::from_bytes(path));
        let path = |path| OsStr::from_bytes(path);
        let nothing = |()| Given::Nothing;
        let tally = |tally: CopyStats| Given::Copied {
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
                let reader =
                    files.open_reader(path(at), ReadRange { start: start.unwrap_or(0), end: *end })?;
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
            Call::WriteString(at, data, mode) => {
                let options = WriteOptions { atomic: false, durable: false, mode: *mode };
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
                    entry_seen(path.as_os_str().as_bytes(), mode, size)
                };
                Ok(Given::Seen(entries.iter().map(seen).collect()))
            }
            Call::Stat(at, follow) => files
                .stat(path(at), *follow)
                .map(|stat| Given::Seen(vec![entry_seen(b"", stat.mode, stat.size)])),
            Call::Rename(from, to) => files.rename(path(from), path(to), cancel).map(nothing),
            Call::Copy(from, to) => files.copy(path(from), path(to), cancel).map(tally),
            Call::CopyIn(from, to, rules) => {
                let request = CopyRequest::In { host: host(from), to: VolumePath::parse(path(to))? };
                self.transfer(request, rules).map(tally)
            }
            Call::CopyOut(from, to, rules) => {
                let request = CopyRequest::Out { from: VolumePath::parse(path(from))?, host: host(to) };
                self.transfer(request, rules).map(tally)
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

/// Returns an entry with the mode and the size that the system returned.
pub fn entry_seen(path: &[u8], mode: u32, size: u64) -> Seen {
    let kind = kind(mode);
    Seen {
        path: path.to_owned(),
        kind,
        mode: mode & 0o7777,
        size: (mode & libc::S_IFMT != libc::S_IFDIR).then_some(size),
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// Makes a node on disk. Its directory may be there.
fn make(path: &Path, node: &Node) {
    match node {
        Node::Dir(mode, entries) => {
            fs::create_dir_all(path).unwrap();
            entries.iter().for_each(|(name, node)| make(&path.join(OsStr::from_bytes(name)), node));
            fs::set_permissions(path, Permissions::from_mode(*mode)).unwrap();
        }
        Node::File(mode, content) => {
            fs::write(path, content).unwrap();
            fs::set_permissions(path, Permissions::from_mode(*mode)).unwrap();
        }
        Node::Link(target) => symlink(OsStr::from_bytes(target), path).unwrap(),
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
