//! Cases in which a faulty implementation does what the real one does.

/// Methods that the system itself answers correctly in these groups, by any path. The table has these cases all the
/// same, and they run with and without `openat2`.
pub const ANSWERED_BY_THE_SYSTEM: [(u64, &[&str]); 3] = [
    // A directory is no file (`EISDIR`), is there already, and is looked at as one, the root as well as any other. What
    // removes, renames or replaces it atomically has to refuse by itself, and so is not here.
    (
        3,
        &[
            "append",
            "copyIn",
            "copyTo",
            "exists",
            "mkdir",
            "read",
            "readStream",
            "readString",
            "stat",
            "write",
            "writeStream",
            "writeString",
        ],
    ),
    // A slash behind a file, and a name below one, are `ENOTDIR` (`EEXIST` to mkdir) from the lookup itself. None of
    // these makes a file, of which a faulty one is left at `new/`.
    (5, &["list", "listAll", "mkdir", "removeAll"]),
    // A loop is `ELOOP` from the lookup itself, for all that follow links. For those that take a link itself, and
    // would follow it when done naively, the group has other cases.
    (
        7,
        &[
            "append",
            "copyFrom",
            "copyIn",
            "copyOut",
            "copyTo",
            "list",
            "listAll",
            "read",
            "readStream",
            "readString",
            "stat",
            "statLink",
            "write",
            "writeStream",
            "writeString",
        ],
    ),
];
