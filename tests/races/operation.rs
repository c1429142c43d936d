//! What is raced: each method with each kind of swap, one line each.

use crate::arena::{INSIDE, LARGE};
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
    /// Whether done naively it gets out. What is only ever one system call on the entry itself does not.
    pub naively_escapes: bool,
}

const fn operation(kind: Kind, method: &'static str, path: &'static str) -> Operation {
    Operation { kind, method, path, naively_escapes: true }
}

/// One that even naively done stays inside.
const fn harmless(kind: Kind, method: &'static str, path: &'static str) -> Operation {
    Operation { kind, method, path, naively_escapes: false }
}

use Kind::*;

pub const OPERATIONS: &[Operation] = &[
    operation(MiddleBecomesLink, "read", "dir/file"),
    operation(MiddleBecomesLink, "read", "dir/sub/../sub/deep/../file"),
    operation(MiddleBecomesLink, "readString", "dir/file"),
    operation(MiddleBecomesLink, "write", "dir/file"),
    operation(MiddleBecomesLink, "write", "dir/new-#"),
    operation(MiddleBecomesLink, "writeAtomic", "dir/sub/file"),
    operation(MiddleBecomesLink, "writeAtomic", "dir/new-#"),
    operation(MiddleBecomesLink, "mkdir", "dir/new-#/a"),
    operation(MiddleBecomesLink, "exists", "dir/only-outside"),
    operation(MiddleBecomesLink, "remove", "dir/sub/file"),
    operation(MiddleBecomesLink, "removeAll", "dir/sub"),
    operation(MiddleBecomesLink, "usedBytes", ""),
    //
    operation(TreeGetsLinks, "removeAll", "tree"),
    operation(TreeGetsLinks, "purge", "tree"),
    operation(TreeGetsLinks, "usedBytes", ""),
    //
    operation(LeafBecomesLink, "read", "file"),
    operation(LeafBecomesLink, "readString", "file"),
    operation(LeafBecomesLink, "write", "file"),
    harmless(LeafBecomesLink, "writeAtomic", "file"),
    harmless(LeafBecomesLink, "mkdir", "dir"),
    harmless(LeafBecomesLink, "exists", "file"),
    harmless(LeafBecomesLink, "remove", "file"),
    operation(LeafBecomesLink, "removeAll", "dir"),
    operation(LeafBecomesLink, "purge", "dir"),
    //
    operation(MiddleMovesOut, "read", "dir/../file"),
    operation(MiddleMovesOut, "readString", "dir/sub/../../file"),
    operation(MiddleMovesOut, "write", "dir/../file"),
    operation(MiddleMovesOut, "write", "dir/../new-#"),
    operation(MiddleMovesOut, "writeAtomic", "dir/../sub/file"),
    operation(MiddleMovesOut, "mkdir", "dir/../new-#"),
    operation(MiddleMovesOut, "exists", "dir/../only-outside"),
    operation(MiddleMovesOut, "remove", "dir/../sub/file"),
    operation(MiddleMovesOut, "removeAll", "dir/../sub"),
    harmless(MiddleMovesOut, "usedBytes", ""),
    //
    harmless(TreeMovesOut, "removeAll", "tree"),
    harmless(TreeMovesOut, "purge", "tree"),
    harmless(TreeMovesOut, "usedBytes", ""),
    //
    operation(RootBecomesLink, "read", "file"),
    operation(RootBecomesLink, "readString", "file"),
    operation(RootBecomesLink, "write", "file"),
    operation(RootBecomesLink, "write", "new-#"),
    operation(RootBecomesLink, "writeAtomic", "sub/file"),
    operation(RootBecomesLink, "mkdir", "new-#/a"),
    operation(RootBecomesLink, "exists", "only-outside"),
    operation(RootBecomesLink, "remove", "sub/file"),
    operation(RootBecomesLink, "removeAll", "sub"),
    operation(RootBecomesLink, "usedBytes", ""),
];

impl Operation {
    /// Whether what the method gave is of the volume and not from outside.
    pub fn met_inside(&self, value: &Value) -> bool {
        match self.method {
            "read" | "readString" => [json!(INSIDE), json!("new")].contains(value),
            "exists" => *value == json!(!self.path.ends_with("only-outside")),
            "usedBytes" => value.as_u64().is_some_and(|used| used < LARGE as u64),
            _ => value.is_null(),
        }
    }

    /// Whether it may change something, so that the outside is to be looked at.
    pub fn changes(&self) -> bool {
        !["read", "readString", "exists", "usedBytes"].contains(&self.method)
    }
}
