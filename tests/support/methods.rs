//! Every method of a volume's files by name, for the back-end that is tested and for those that are to be caught.

use crate::listing::{kind, listed, paths};
use crate::volume::Volume;
use sandbox_volumes::content::{ReadRange, WriteFrom, WriteOptions, purge};
use sandbox_volumes::error::Error;
use sandbox_volumes::model::Cancel;
use sandbox_volumes::store::{AppendOptions, TransferOptions, VolumeFiles};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;

/// What a refused call tells.
#[derive(Debug)]
pub struct Refusal {
    pub code: String,
    /// The paths that it names: of a method with two, both.
    pub named: Vec<String>,
    pub message: String,
}

/// Something that has the methods of a volume's files.
pub trait Backend: Sync {
    /// Calls the method of that name, as `tests/cases/paths.json` knows it, and gives what it returns; null is
    /// nothing. Those that write write `new`. Also `usedBytes` of the whole, and `purge`,
    /// of which the directory that holds the entry is opened by name.
    fn call(&self, method: &str, path: &OsStr) -> Result<Value, Refusal>;
}

impl Backend for Volume {
    fn call(&self, method: &str, path: &OsStr) -> Result<Value, Refusal> {
        let result = match method {
            "usedBytes" => used_bytes(self),
            "purge" => {
                let path = Path::new(path);
                let holder = self.files.root().join(path.parent().unwrap());
                purge(File::open(holder).unwrap().into(), path.file_name().unwrap(), path).map(Value::from)
            }
            _ => call(&self.files, method, path),
        };
        result.map_err(|error| Refusal {
            code: error.code(),
            named: [&error.context().path, &error.context().dest].into_iter().flatten().cloned().collect(),
            message: error.to_string(),
        })
    }
}

fn used_bytes(volume: &Volume) -> Result<Value, Error> {
    Ok(volume.store.get(&volume.name, &Cancel::default())?.used_bytes.into())
}

/// A method by name; one line each.
pub fn call(files: &VolumeFiles, method: &str, path: impl AsRef<OsStr>) -> Result<Value, Error> {
    let (path, cancel, transfer) = (path.as_ref(), Cancel::default(), TransferOptions::default());
    // A file outside all that is looked at, with what `f` has.
    let beside = |name: &str| {
        let path = files.root().with_file_name("..").join(name);
        fs::write(&path, "file").unwrap();
        path
    };
    let write =
        |atomic| files.write(path, b"new", WriteOptions { atomic, ..WriteOptions::default() }, &cancel);
    match method {
        "read" => {
            files.open(path)?.read(&cancel).map(|bytes| json!(String::from_utf8_lossy(&bytes).into_owned()))
        }
        "readString" => files.open(path)?.read_string(&cancel).map(Value::from),
        "write" | "writeString" => write(false).map(Value::from),
        "writeAtomic" => write(true).map(Value::from),
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
        "writeStream" | "writeStreamAtomic" => {
            let options = WriteOptions { atomic: method.ends_with("Atomic"), ..WriteOptions::default() };
            let mut writer = files.open_writer(path, options, WriteFrom::Empty, &cancel)?;
            writer.write(b"n", &cancel)?;
            writer.write(b"ew", &cancel)?;
            writer.finish(&cancel).map(Value::from)
        }
        "append" => files.append(path, b"new", AppendOptions::default(), &cancel).map(Value::from),
        "copyFrom" => files.copy(path, "copied", &cancel).map(|_| Value::Null),
        "copyTo" => files.copy("f", path, &cancel).map(|_| Value::Null),
        "copyIn" => files.copy_in(&beside("seed"), path, transfer, &cancel).map(|_| Value::Null),
        "copyOut" => {
            let target = tempfile::tempdir().unwrap();
            files.copy_out(path, &target.path().join("out"), transfer, &cancel).map(|_| Value::Null)
        }
        "mkdir" => files.mkdir(path, &cancel).map(Value::from),
        "remove" => files.remove(path, &cancel).map(Value::from),
        "removeAll" => files.remove_all(path, &cancel).map(Value::from),
        "exists" => files.exists(path).map(Value::from),
        "list" => listed(files, path, false).map(|entries| json!(paths(&entries))),
        "listAll" => listed(files, path, true).map(|entries| json!(paths(&entries))),
        "stat" => files.stat(path, true).map(|stat| json!(kind(stat.mode))),
        "statLink" => files.stat(path, false).map(|stat| json!(kind(stat.mode))),
        "renameFrom" => files.rename(path, "renamed", &cancel).map(Value::from),
        "renameTo" => files.rename("f", path, &cancel).map(Value::from),
        _ => panic!("no method {method}"),
    }
}
