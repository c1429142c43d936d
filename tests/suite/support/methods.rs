//! Calls every method of a volume's files by name, of the real implementation and of faulty ones.

use super::listing::{kind, listed, paths, told};
use super::volume::Volume;
use sandbox_volumes::error::Error;
use sandbox_volumes::store::{AppendOptions, SymlinkPolicy, TransferOptions, VolumeFs};
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::{ListOptions, ReadRange, WriteFrom, WriteOptions, remove_tree};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The error of a refused call.
#[derive(Debug)]
pub struct Refusal {
    pub code: String,
    /// The paths that it names: of a method with two, both.
    pub named: Vec<String>,
    pub message: String,
}

/// The other operand of a method with two paths.
pub struct OperandPaths {
    /// A directory of the volume, from its root.
    pub in_volume: PathBuf,
    /// A directory of the host.
    pub on_host: PathBuf,
    /// What becomes of links that may lead out of a tree that is copied in or out.
    pub links: SymlinkPolicy,
}

impl OperandPaths {
    /// In the volume: a file and a tree that go to the path of the call, and where what stands there goes.
    pub const FILE: &str = "f";
    pub const TREE: &str = "t";
    pub const COPIED: &str = "copied";
    pub const RENAMED: &str = "renamed";
    /// On the host: a file and a tree that are copied to the path of the call, and where what stands there goes.
    pub const SEED: &str = "seed";
    pub const SEED_TREE: &str = "seed-tree";
    pub const OUT: &str = "out";
}

/// Operands in a volume's root, and on the host a file that has what `f` has, as long as the returned directory lives.
pub fn beside(root: &Path) -> (OperandPaths, TempDir) {
    let dir = tempfile::tempdir_in(root.with_file_name("..")).unwrap();
    fs::write(dir.path().join(OperandPaths::SEED), "file").unwrap();
    let (in_volume, on_host) = (PathBuf::new(), dir.path().to_owned());
    (OperandPaths { in_volume, on_host, links: SymlinkPolicy::Refuse }, dir)
}

/// Something that has the methods of a volume's files.
pub trait Backend: Sync {
    fn root(&self) -> &Path;

    /// Calls the method of that name, as `tests/cases/paths.json` knows it, and gives what it returns; null is
    /// nothing. Those that write write `new`. Also `usedBytes` of the whole, `purge`, of which the directory that
    /// holds the entry is opened by name, and `copyTreeTo` and `copyTreeIn`, which copy an operand that is a tree.
    /// `writeDurable` is on disk at once, `writeStreamAppend` writes at the end and `writeStreamAt` at the third byte;
    /// `listStream` and `listAllStream` tell the entries in the file system's order; a method that ends in `Refusing`
    /// refuses links that may lead out, whatever the operands say.
    fn call_between(&self, method: &str, path: &OsStr, operands: &OperandPaths) -> Result<Value, Refusal>;

    /// Calls the method with operands in the root.
    fn call(&self, method: &str, path: &OsStr) -> Result<Value, Refusal> {
        let (operands, _dir) = beside(self.root());
        self.call_between(method, path, &operands)
    }
}

impl Backend for Volume {
    fn root(&self) -> &Path {
        self.files.root()
    }

    fn call_between(&self, method: &str, path: &OsStr, operands: &OperandPaths) -> Result<Value, Refusal> {
        let result = match method {
            "usedBytes" => used_bytes(self),
            "purge" => {
                let path = Path::new(path);
                let holder = self.files.root().join(path.parent().unwrap());
                remove_tree(File::open(holder).unwrap().into(), path.file_name().unwrap(), path)
                    .map(Value::from)
            }
            _ => call_between(&self.files, method, path, operands),
        };
        result.map_err(|error| Refusal {
            code: error.code(),
            named: [&error.context().path, &error.context().dest].into_iter().flatten().cloned().collect(),
            message: error.to_string(),
        })
    }
}

fn used_bytes(volume: &Volume) -> Result<Value, Error> {
    Ok(volume.store.get(&volume.name, &CancelToken::default())?.used_bytes.into())
}

/// A method by name; one line each.
pub fn call_between(
    files: &VolumeFs,
    method: &str,
    path: &OsStr,
    operands: &OperandPaths,
) -> Result<Value, Error> {
    let (cancel, transfer) = (CancelToken::default(), TransferOptions { links: operands.links, asks: false });
    let inside = |name: &str| operands.in_volume.join(name);
    let on_host = |name: &str| operands.on_host.join(name);
    let refusing = TransferOptions { links: SymlinkPolicy::Refuse, ..transfer };
    let write = |atomic, durable| {
        files.write(path, b"new", WriteOptions { atomic, durable, ..WriteOptions::default() }, &cancel)
    };
    let stream = |atomic, from| {
        let options = WriteOptions { atomic, ..WriteOptions::default() };
        let mut writer = files.open_writer(path, options, from, &cancel)?;
        writer.write(b"n", &cancel)?;
        writer.write(b"ew", &cancel)?;
        writer.finish(&cancel).map(Value::from)
    };
    let list_stream = |recursive| told(files, path, ListOptions { recursive, whole: false });
    match method {
        "read" => {
            files.open(path)?.read(&cancel).map(|bytes| json!(String::from_utf8_lossy(&bytes).into_owned()))
        }
        "readString" => files.open(path)?.read_string(&cancel).map(Value::from),
        "write" | "writeString" => write(false, false).map(Value::from),
        "writeAtomic" => write(true, false).map(Value::from),
        "writeDurable" => write(false, true).map(Value::from),
        "readStream" => {
            let reader = files.open_reader(path, ReadRange::default())?;
            let (mut content, mut piece) = (Vec::new(), [0; 3]);
            loop {
                match reader.read_next(&mut piece, &cancel)? {
                    0 => return Ok(json!(String::from_utf8_lossy(&content).into_owned())),
                    length => content.extend_from_slice(&piece[..length]),
                }
            }
        }
        "writeStream" => stream(false, WriteFrom::Empty),
        "writeStreamAtomic" => stream(true, WriteFrom::Empty),
        "writeStreamAppend" => stream(false, WriteFrom::End),
        "writeStreamAt" => stream(false, WriteFrom::Position(2)),
        "append" => files.append(path, b"new", AppendOptions::default(), &cancel).map(Value::from),
        "copyFrom" => files.copy(path, inside(OperandPaths::COPIED), &cancel).map(|_| Value::Null),
        "copyTo" => files.copy(inside(OperandPaths::FILE), path, &cancel).map(|_| Value::Null),
        "copyTreeTo" => files.copy(inside(OperandPaths::TREE), path, &cancel).map(|_| Value::Null),
        "copyIn" => files.copy_in(&on_host(OperandPaths::SEED), path, transfer, &cancel).map(|_| Value::Null),
        "copyTreeIn" => {
            files.copy_in(&on_host(OperandPaths::SEED_TREE), path, transfer, &cancel).map(|_| Value::Null)
        }
        "copyTreeInRefusing" => {
            files.copy_in(&on_host(OperandPaths::SEED_TREE), path, refusing, &cancel).map(|_| Value::Null)
        }
        "copyOutRefusing" => {
            files.copy_out(path, &on_host(OperandPaths::OUT), refusing, &cancel).map(|_| Value::Null)
        }
        "copyOut" => {
            files.copy_out(path, &on_host(OperandPaths::OUT), transfer, &cancel).map(|_| Value::Null)
        }
        "mkdir" => files.mkdir(path, &cancel).map(Value::from),
        "remove" => files.remove(path, &cancel).map(Value::from),
        "removeAll" => files.remove_all(path, &cancel).map(Value::from),
        "exists" => files.exists(path).map(Value::from),
        "list" => listed(files, path, false).map(|entries| json!(paths(&entries))),
        "listAll" => listed(files, path, true).map(|entries| json!(paths(&entries))),
        "listStream" => list_stream(false).map(|entries| json!(paths(&entries))),
        "listAllStream" => list_stream(true).map(|entries| json!(paths(&entries))),
        "stat" => files.stat(path, true).map(|stat| json!(kind(stat.mode))),
        "statLink" => files.stat(path, false).map(|stat| json!(kind(stat.mode))),
        "renameFrom" => files.rename(path, inside(OperandPaths::RENAMED), &cancel).map(Value::from),
        "renameTo" => files.rename(inside(OperandPaths::FILE), path, &cancel).map(Value::from),
        _ => panic!("no method {method}"),
    }
}
