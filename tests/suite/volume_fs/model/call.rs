//! Calls of a volume's methods, and what they give.

use super::tree::{Code, Name, runs};
use std::fmt;

/// A path as a caller gives it.
pub type Text = Vec<u8>;

/// Bytes to write: one, so often.
#[derive(Clone, Copy)]
pub struct Data(pub u8, pub usize);

impl Data {
    pub fn bytes(self) -> Vec<u8> {
        vec![self.0; self.1]
    }
}

/// Where a stream's bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Empty,
    End,
    At(u64),
}

/// Of a method with options, those that are given.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub atomic: bool,
    pub mode: Option<u32>,
}

/// Options of a copy between the volume and the host.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Whether links that may lead out are skipped instead of refused.
    pub skip: bool,
    /// The name that the filter declines.
    pub without: Option<Name>,
}

#[derive(Clone)]
pub enum Call {
    Read(Text),
    ReadString(Text),
    /// The first and the last byte.
    ReadStream(Text, Option<u64>, Option<u64>),
    Write(Text, Data, How),
    WriteString(Text, Data, Option<u32>),
    /// The chunks, and whether it is finished.
    WriteStream(Text, Vec<Data>, Start, How, bool),
    Append(Text, Data, Option<u32>),
    Mkdir(Text),
    Remove(Text),
    RemoveAll(Text),
    Exists(Text),
    /// And whether all that is below is listed.
    List(Text, bool),
    /// And whether a link at the end is followed.
    Stat(Text, bool),
    Rename(Text, Text),
    Copy(Text, Text),
    /// From a path on the host.
    CopyIn(Text, Text, Transfer),
    /// To a path on the host.
    CopyOut(Text, Text, Transfer),
}

/// The methods by name.
pub const METHODS: [&str; 17] = [
    "read",
    "readString",
    "readStream",
    "write",
    "writeString",
    "writeStream",
    "append",
    "mkdir",
    "remove",
    "removeAll",
    "exists",
    "list",
    "stat",
    "rename",
    "copy",
    "copyIn",
    "copyOut",
];

impl Call {
    pub fn method(&self) -> &'static str {
        match self {
            Call::Read(_) => "read",
            Call::ReadString(_) => "readString",
            Call::ReadStream(..) => "readStream",
            Call::Write(..) => "write",
            Call::WriteString(..) => "writeString",
            Call::WriteStream(..) => "writeStream",
            Call::Append(..) => "append",
            Call::Mkdir(_) => "mkdir",
            Call::Remove(_) => "remove",
            Call::RemoveAll(_) => "removeAll",
            Call::Exists(_) => "exists",
            Call::List(..) => "list",
            Call::Stat(..) => "stat",
            Call::Rename(..) => "rename",
            Call::Copy(..) => "copy",
            Call::CopyIn(..) => "copyIn",
            Call::CopyOut(..) => "copyOut",
        }
    }

    fn paths_mut(&mut self) -> Vec<&mut Text> {
        match self {
            Call::Read(path)
            | Call::ReadString(path)
            | Call::ReadStream(path, ..)
            | Call::Write(path, ..)
            | Call::WriteString(path, ..)
            | Call::WriteStream(path, ..)
            | Call::Append(path, ..)
            | Call::Mkdir(path)
            | Call::Remove(path)
            | Call::RemoveAll(path)
            | Call::Exists(path)
            | Call::List(path, _)
            | Call::Stat(path, _) => vec![path],
            Call::Rename(from, to)
            | Call::Copy(from, to)
            | Call::CopyIn(from, to, _)
            | Call::CopyOut(from, to, _) => vec![from, to],
        }
    }

    /// Returns the one path, or the source and the destination.
    pub fn paths(&self) -> Vec<Text> {
        self.clone().paths_mut().into_iter().map(std::mem::take).collect()
    }

    /// Returns the same call of other paths.
    pub fn with_paths(&self, other: impl Fn(&[u8]) -> Text) -> Self {
        let mut call = self.clone();
        call.paths_mut().into_iter().for_each(|path| *path = other(path));
        call
    }

    /// Returns all codes that are right where the model expects one of `codes`. A path that a call writes to as a file
    /// may end in a slash: `EISDIR` and `ENOTDIR` both say that it is no file.
    pub fn right_codes(&self, mut codes: Vec<Code>) -> Vec<Code> {
        const NO_FILE: [Code; 2] = ["EISDIR", "ENOTDIR"];
        let writes_a_file = matches!(
            self,
            Call::Write(..)
                | Call::WriteString(..)
                | Call::WriteStream(..)
                | Call::Append(..)
                | Call::Copy(..)
                | Call::CopyIn(..)
                | Call::CopyOut(..)
        );
        if writes_a_file && codes.iter().any(|code| NO_FILE.contains(code)) {
            codes.extend(NO_FILE);
        }
        codes
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.paths().iter().map(|path| format!("\"{}\"", path.escape_ascii())).collect();
        write!(out, "{}({})", self.method(), paths.join(", "))?;
        match self {
            Call::ReadStream(_, start, end) => write!(out, " {start:?}..={end:?}"),
            Call::Write(_, data, how) => write!(out, " {data:?} {how:?}"),
            Call::WriteString(_, data, mode) | Call::Append(_, data, mode) => {
                write!(out, " {data:?} {mode:?}")
            }
            Call::WriteStream(_, chunks, start, how, is_finished) => {
                write!(out, " {chunks:?} {start:?} {how:?} finished: {is_finished}")
            }
            Call::List(_, recursive) => write!(out, " recursive: {recursive}"),
            Call::Stat(_, follow) => write!(out, " follow: {follow}"),
            Call::CopyIn(_, _, rules) | Call::CopyOut(_, _, rules) => write!(out, " {rules:?}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&runs(&self.bytes()))
    }
}

/// What a listing or `stat` returns of an entry, with the kind that JavaScript returns. A directory has no size.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub path: Text,
    pub kind: &'static str,
    pub mode: u32,
    pub size: Option<u64>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { path, kind, mode, size } = self;
        write!(out, "{} {kind} {mode:o} {size:?}", path.escape_ascii())
    }
}

/// What a method gives.
#[derive(Clone, PartialEq, Eq)]
pub enum Given {
    Nothing,
    Content(Vec<u8>),
    There(bool),
    Seen(Vec<Seen>),
    Copied { files: u64, bytes: u64, skipped: u64 },
}

impl fmt::Debug for Given {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Given::Nothing => write!(out, "nothing"),
            Given::Content(content) => write!(out, "{}", runs(content)),
            Given::There(there) => write!(out, "{there}"),
            Given::Seen(seen) => write!(out, "{seen:?}"),
            Given::Copied { files, bytes, skipped } => {
                write!(out, "{files} files and {bytes} bytes, {skipped} links skipped")
            }
        }
    }
}
