//! The races: each method with each kind of swap, one line each.

use super::fixture::{INSIDE, LARGE, ONLY_OUTSIDE};
use serde_json::{Value, json};

/// What the other process swaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Case 15: a directory on the way and a link to outside.
    MiddleBecomesLink,
    /// Case 15: directories of a tree that is walked, and a link to outside.
    TreeGetsLinks,
    /// Case 16: the entry itself and a link to outside.
    LeafBecomesLink,
    /// Case 17: a directory on the way leaves the volume and comes back.
    MiddleMovesOut,
    /// Case 17: directories of a tree that is walked leave the volume.
    TreeMovesOut,
    /// Case 21: the volume's root and a link to outside.
    RootBecomesLink,
}

/// One method, called again and again. Of its path, `#` stands for a number that changes.
#[derive(Clone, Copy)]
pub struct Operation {
    pub kind: Kind,
    pub method: &'static str,
    pub path: &'static str,
    /// Whether a faulty implementation gets out. One that is a single system call on the entry itself does not.
    pub escapes_if_faulty: bool,
}

const fn operation(kind: Kind, method: &'static str, path: &'static str) -> Operation {
    Operation { kind, method, path, escapes_if_faulty: true }
}

/// An operation that stays inside even if its implementation is faulty.
const fn harmless(kind: Kind, method: &'static str, path: &'static str) -> Operation {
    Operation { kind, method, path, escapes_if_faulty: false }
}

use Kind::*;

pub const OPERATIONS: &[Operation] = &[
    operation(MiddleBecomesLink, "read", "dir/file"),
    operation(MiddleBecomesLink, "read", "dir/sub/../sub/deep/../file"),
    operation(MiddleBecomesLink, "readString", "dir/file"),
    operation(MiddleBecomesLink, "readStream", "dir/file"),
    operation(MiddleBecomesLink, "write", "dir/file"),
    operation(MiddleBecomesLink, "write", "dir/new-#"),
    operation(MiddleBecomesLink, "writeAtomic", "dir/sub/file"),
    operation(MiddleBecomesLink, "writeAtomic", "dir/new-#"),
    operation(MiddleBecomesLink, "writeStream", "dir/file"),
    operation(MiddleBecomesLink, "writeStream", "dir/new-#"),
    operation(MiddleBecomesLink, "writeStreamAtomic", "dir/sub/file"),
    operation(MiddleBecomesLink, "writeStreamAtomic", "dir/new-#"),
    operation(MiddleBecomesLink, "writeStreamAppend", "dir/file"),
    operation(MiddleBecomesLink, "writeStreamAt", "dir/file"),
    operation(MiddleBecomesLink, "writeDurable", "dir/sub/deep/new-#"),
    operation(MiddleBecomesLink, "append", "dir/file"),
    operation(MiddleBecomesLink, "append", "dir/new-#"),
    operation(MiddleBecomesLink, "copyFrom", "dir/file"),
    operation(MiddleBecomesLink, "copyFrom", "dir/sub"),
    operation(MiddleBecomesLink, "copyTo", "dir/file"),
    operation(MiddleBecomesLink, "copyTo", "dir/new-#"),
    operation(MiddleBecomesLink, "copyTreeTo", "dir/new-#"),
    operation(MiddleBecomesLink, "copyIn", "dir/file"),
    operation(MiddleBecomesLink, "copyTreeIn", "dir/sub"),
    operation(MiddleBecomesLink, "copyOut", "dir/file"),
    operation(MiddleBecomesLink, "copyOut", "dir/sub"),
    operation(MiddleBecomesLink, "copyOutRefusing", "dir/sub"),
    operation(MiddleBecomesLink, "renameFrom", "dir/sub/file"),
    operation(MiddleBecomesLink, "renameTo", "dir/new-#"),
    operation(MiddleBecomesLink, "mkdir", "dir/new-#/a"),
    operation(MiddleBecomesLink, "exists", "dir/only-outside"),
    operation(MiddleBecomesLink, "stat", "dir/odd"),
    operation(MiddleBecomesLink, "statLink", "dir/odd"),
    operation(MiddleBecomesLink, "list", "dir"),
    operation(MiddleBecomesLink, "listAll", "dir/sub"),
    operation(MiddleBecomesLink, "listStream", "dir"),
    operation(MiddleBecomesLink, "listAllStream", "dir/sub"),
    operation(MiddleBecomesLink, "remove", "dir/sub/file"),
    operation(MiddleBecomesLink, "removeAll", "dir/sub"),
    operation(MiddleBecomesLink, "usedBytes", ""),
    //
    operation(TreeGetsLinks, "copyFrom", "tree"),
    operation(TreeGetsLinks, "copyTreeTo", "tree"),
    operation(TreeGetsLinks, "copyTreeIn", "tree"),
    operation(TreeGetsLinks, "copyOut", "tree"),
    operation(TreeGetsLinks, "copyOutRefusing", "tree"),
    operation(TreeGetsLinks, "copyTreeInRefusing", "tree"),
    operation(TreeGetsLinks, "listAll", "tree"),
    operation(TreeGetsLinks, "listAllStream", "tree"),
    operation(TreeGetsLinks, "removeAll", "tree"),
    operation(TreeGetsLinks, "purge", "tree"),
    operation(TreeGetsLinks, "usedBytes", ""),
    //
    operation(LeafBecomesLink, "read", "file"),
    operation(LeafBecomesLink, "readString", "file"),
    operation(LeafBecomesLink, "readStream", "file"),
    operation(LeafBecomesLink, "write", "file"),
    operation(LeafBecomesLink, "write", "missing-outside"),
    harmless(LeafBecomesLink, "writeAtomic", "file"),
    operation(LeafBecomesLink, "writeStream", "file"),
    harmless(LeafBecomesLink, "writeStreamAtomic", "file"),
    operation(LeafBecomesLink, "writeStreamAppend", "file"),
    operation(LeafBecomesLink, "writeStreamAt", "file"),
    operation(LeafBecomesLink, "writeDurable", "file"),
    operation(LeafBecomesLink, "append", "file"),
    operation(LeafBecomesLink, "append", "missing-outside"),
    operation(LeafBecomesLink, "copyFrom", "file"),
    operation(LeafBecomesLink, "copyFrom", "dir"),
    operation(LeafBecomesLink, "copyTo", "file"),
    operation(LeafBecomesLink, "copyTreeTo", "dir"),
    operation(LeafBecomesLink, "copyIn", "file"),
    operation(LeafBecomesLink, "copyTreeIn", "dir"),
    operation(LeafBecomesLink, "copyOut", "file"),
    operation(LeafBecomesLink, "copyOut", "dir"),
    operation(LeafBecomesLink, "copyOutRefusing", "dir"),
    harmless(LeafBecomesLink, "renameFrom", "file"),
    harmless(LeafBecomesLink, "renameTo", "file"),
    harmless(LeafBecomesLink, "mkdir", "dir"),
    operation(LeafBecomesLink, "exists", "missing-outside"),
    operation(LeafBecomesLink, "stat", "odd"),
    harmless(LeafBecomesLink, "statLink", "odd"),
    operation(LeafBecomesLink, "list", "dir"),
    operation(LeafBecomesLink, "listAll", "dir"),
    operation(LeafBecomesLink, "listStream", "dir"),
    harmless(LeafBecomesLink, "remove", "file"),
    operation(LeafBecomesLink, "removeAll", "dir"),
    operation(LeafBecomesLink, "purge", "dir"),
    //
    operation(MiddleMovesOut, "read", "dir/sub/deep/../../../file"),
    operation(MiddleMovesOut, "readString", "dir/sub/deep/../../../file"),
    operation(MiddleMovesOut, "readStream", "dir/sub/deep/../../../file"),
    operation(MiddleMovesOut, "write", "dir/sub/deep/../../../file"),
    operation(MiddleMovesOut, "write", "dir/sub/deep/../../../new-#"),
    operation(MiddleMovesOut, "writeAtomic", "dir/sub/deep/../../../sub/file"),
    operation(MiddleMovesOut, "writeStream", "dir/sub/deep/../../../file"),
    operation(MiddleMovesOut, "writeStreamAtomic", "dir/sub/deep/../../../sub/file"),
    operation(MiddleMovesOut, "writeStreamAppend", "dir/sub/deep/../../../file"),
    operation(MiddleMovesOut, "writeStreamAt", "dir/sub/deep/../../../file"),
    operation(MiddleMovesOut, "writeDurable", "dir/sub/deep/../../../file"),
    harmless(MiddleMovesOut, "writeDurable", "dir/sub/deep/file"),
    operation(MiddleMovesOut, "append", "dir/sub/deep/../../../file"),
    operation(MiddleMovesOut, "copyFrom", "dir/sub/deep/../../../file"),
    operation(MiddleMovesOut, "copyFrom", "dir/sub/deep/../../../sub"),
    operation(MiddleMovesOut, "copyTo", "dir/sub/deep/../../../new-#"),
    operation(MiddleMovesOut, "copyTreeTo", "dir/sub/deep/../../../new-#"),
    operation(MiddleMovesOut, "copyIn", "dir/sub/deep/../../../file"),
    operation(MiddleMovesOut, "copyTreeIn", "dir/sub/deep/../../../sub"),
    operation(MiddleMovesOut, "copyOut", "dir/sub/deep/../../../file"),
    operation(MiddleMovesOut, "copyOut", "dir/sub/deep/../../../sub"),
    operation(MiddleMovesOut, "renameFrom", "dir/sub/deep/../../../sub/file"),
    operation(MiddleMovesOut, "renameTo", "dir/sub/deep/../../../new-#"),
    operation(MiddleMovesOut, "mkdir", "dir/sub/deep/../../../new-#"),
    operation(MiddleMovesOut, "exists", "dir/sub/deep/../../../only-outside"),
    operation(MiddleMovesOut, "stat", "dir/sub/deep/../../../odd"),
    operation(MiddleMovesOut, "statLink", "dir/sub/deep/../../../odd"),
    operation(MiddleMovesOut, "list", "dir/sub/deep/../../../sub"),
    operation(MiddleMovesOut, "listAll", "dir/sub/deep/../../../sub"),
    operation(MiddleMovesOut, "listStream", "dir/sub/deep/../../../sub"),
    operation(MiddleMovesOut, "remove", "dir/sub/deep/../../../sub/file"),
    operation(MiddleMovesOut, "removeAll", "dir/sub/deep/../../../sub"),
    operation(MiddleMovesOut, "usedBytes", ""),
    //
    operation(TreeMovesOut, "copyFrom", "tree"),
    operation(TreeMovesOut, "copyOut", "tree"),
    harmless(TreeMovesOut, "copyTreeTo", "tree"),
    harmless(TreeMovesOut, "copyTreeIn", "tree"),
    operation(TreeMovesOut, "listAll", "tree"),
    operation(TreeMovesOut, "listAllStream", "tree"),
    operation(TreeMovesOut, "removeAll", "tree"),
    operation(TreeMovesOut, "purge", "tree"),
    operation(TreeMovesOut, "usedBytes", ""),
    //
    operation(RootBecomesLink, "read", "file"),
    operation(RootBecomesLink, "readString", "file"),
    operation(RootBecomesLink, "readStream", "file"),
    operation(RootBecomesLink, "write", "file"),
    operation(RootBecomesLink, "write", "new-#"),
    operation(RootBecomesLink, "writeAtomic", "sub/file"),
    operation(RootBecomesLink, "writeStream", "file"),
    operation(RootBecomesLink, "writeStreamAtomic", "sub/file"),
    operation(RootBecomesLink, "writeStreamAppend", "file"),
    operation(RootBecomesLink, "writeDurable", "sub/file"),
    operation(RootBecomesLink, "append", "file"),
    operation(RootBecomesLink, "copyFrom", "file"),
    operation(RootBecomesLink, "copyFrom", "sub"),
    operation(RootBecomesLink, "copyTo", "file"),
    operation(RootBecomesLink, "copyTreeTo", "new-#"),
    operation(RootBecomesLink, "copyIn", "file"),
    operation(RootBecomesLink, "copyTreeIn", "sub"),
    operation(RootBecomesLink, "copyOut", "file"),
    operation(RootBecomesLink, "copyOut", "sub"),
    operation(RootBecomesLink, "renameFrom", "sub/file"),
    operation(RootBecomesLink, "renameTo", "new-#"),
    operation(RootBecomesLink, "mkdir", "new-#/a"),
    operation(RootBecomesLink, "exists", "only-outside"),
    operation(RootBecomesLink, "stat", "odd"),
    operation(RootBecomesLink, "statLink", "odd"),
    operation(RootBecomesLink, "list", ""),
    operation(RootBecomesLink, "listAll", "sub"),
    operation(RootBecomesLink, "listStream", ""),
    operation(RootBecomesLink, "remove", "sub/file"),
    operation(RootBecomesLink, "removeAll", "sub"),
    operation(RootBecomesLink, "usedBytes", ""),
];

/// The methods that change nothing and copy nothing.
const LOOKING: [&str; 11] = [
    "read",
    "readString",
    "readStream",
    "exists",
    "stat",
    "statLink",
    "list",
    "listAll",
    "listStream",
    "listAllStream",
    "usedBytes",
];

/// The methods for which a volume with a quota is measured first.
pub const LIMITED: [&str; 5] = ["write", "append", "copyTo", "writeStream", "mkdir"];

impl Operation {
    /// Whether what the method gave is of the volume and not from outside. What it made is looked at by itself.
    pub fn met_inside(&self, value: &Value) -> bool {
        match self.method {
            "read" | "readString" | "readStream" => *value == json!(INSIDE),
            "exists" => *value == json!(!self.path.ends_with(ONLY_OUTSIDE)),
            "stat" => *value == json!("file"),
            "statLink" => [json!("file"), json!("symlink")].contains(value),
            "list" | "listAll" | "listStream" | "listAllStream" => value.as_array().is_some_and(|paths| {
                paths.iter().all(|path| path.as_str().is_some_and(|path| !path.ends_with(ONLY_OUTSIDE)))
            }),
            "usedBytes" => value.as_u64().is_some_and(|used| used < LARGE as u64),
            _ => value.is_null(),
        }
    }

    /// Whether it may change or copy something, so that the outside and what came in are to be looked at.
    pub fn changes(&self) -> bool {
        !LOOKING.contains(&self.method)
    }

    /// Whether it removes what it is called on.
    pub fn takes_away(&self) -> bool {
        ["remove", "removeAll", "purge"].contains(&self.method)
    }
}
