//! Calls of a volume's methods, and what they give.

use super::tree::runs;
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

#[derive(Clone)]
pub enum Call {
    Read(Text),
    ReadString(Text),
    /// The first and the last byte.
    ReadStream(Text, u64, Option<u64>),
    Write(Text, Data, How),
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
    /// From a path on the host, and whether links that may lead out are skipped.
    CopyIn(Text, Text, bool),
    /// To a path on the host, and whether links that may lead out are skipped.
    CopyOut(Text, Text, bool),
}

/// The methods by name.
pub const METHODS: [&str; 16] = [
    "read",
    "readString",
    "readStream",
    "write",
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
    /// The same call of other paths.
    pub fn with_paths(&self, other: impl Fn(&[u8]) -> Text) -> Self {
        let mut call = self.clone();
        match &mut call {
            Call::Read(path)
            | Call::ReadString(path)
            | Call::ReadStream(path, ..)
            | Call::Write(path, ..)
            | Call::WriteStream(path, ..)
            | Call::Append(path, ..)
            | Call::Mkdir(path)
            | Call::Remove(path)
            | Call::RemoveAll(path)
            | Call::Exists(path)
            | Call::List(path, _)
            | Call::Stat(path, _) => *path = other(path),
            Call::Rename(one, two)
            | Call::Copy(one, two)
            | Call::CopyIn(one, two, _)
            | Call::CopyOut(one, two, _) => (*one, *two) = (other(one), other(two)),
        }
        call
    }

    /// Whether it writes to a file, of which a slash at the end of the path makes none: `EISDIR` and `ENOTDIR` both
    /// say so.
    pub fn writes_a_file(&self) -> bool {
        matches!(
            self,
            Call::Write(..)
                | Call::WriteStream(..)
                | Call::Append(..)
                | Call::Copy(..)
                | Call::CopyIn(..)
                | Call::CopyOut(..)
        )
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, told: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |path: &[u8]| format!("\"{}\"", path.escape_ascii());
        let links = |skip: &bool| if *skip { "skip" } else { "refuse" };
        match self {
            Call::Read(path) => write!(told, "read({})", text(path)),
            Call::ReadString(path) => write!(told, "readString({})", text(path)),
            Call::ReadStream(path, start, end) => {
                write!(told, "readStream({}, {start}..={end:?})", text(path))
            }
            Call::Write(path, data, how) => write!(told, "write({}, {data:?}, {how:?})", text(path)),
            Call::WriteStream(path, chunks, start, how, finished) => {
                let path = text(path);
                write!(told, "writeStream({path}, {chunks:?}, {start:?}, {how:?}, finished: {finished})")
            }
            Call::Append(path, data, mode) => write!(told, "append({}, {data:?}, {mode:?})", text(path)),
            Call::Mkdir(path) => write!(told, "mkdir({})", text(path)),
            Call::Remove(path) => write!(told, "remove({})", text(path)),
            Call::RemoveAll(path) => write!(told, "removeAll({})", text(path)),
            Call::Exists(path) => write!(told, "exists({})", text(path)),
            Call::List(path, recursive) => write!(told, "list({}, recursive: {recursive})", text(path)),
            Call::Stat(path, follow) => write!(told, "stat({}, follow: {follow})", text(path)),
            Call::Rename(from, to) => write!(told, "rename({}, {})", text(from), text(to)),
            Call::Copy(from, to) => write!(told, "copy({}, {})", text(from), text(to)),
            Call::CopyIn(host, to, skip) => {
                write!(told, "copyIn({}, {}, links: {})", text(host), text(to), links(skip))
            }
            Call::CopyOut(from, host, skip) => {
                write!(told, "copyOut({}, {}, links: {})", text(from), text(host), links(skip))
            }
        }
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, told: &mut fmt::Formatter<'_>) -> fmt::Result {
        told.write_str(&runs(&self.bytes()))
    }
}

/// What an entry is, by the kinds that JavaScript tells; the length of a file or a link.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub path: Text,
    pub kind: &'static str,
    pub mode: u32,
    pub size: Option<u64>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, told: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { path, kind, mode, size } = self;
        write!(told, "{} {kind} {mode:o} {size:?}", path.escape_ascii())
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
    fn fmt(&self, told: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Given::Nothing => write!(told, "nothing"),
            Given::Content(content) => write!(told, "{}", runs(content)),
            Given::There(there) => write!(told, "{there}"),
            Given::Seen(seen) => write!(told, "{seen:?}"),
            Given::Copied { files, bytes, skipped } => {
                write!(told, "{files} files and {bytes} bytes, {skipped} links skipped")
            }
        }
    }
}
