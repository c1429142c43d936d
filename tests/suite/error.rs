//! Errors: the code of every kind, and one golden message a kind.

use nix::errno::Errno;
use sandbox_volumes::error::{AttachmentHolder, Difference, Error, ErrorKind};
use std::collections::HashSet;
use std::error::Error as _;
use std::io;
use std::path::Path;
use std::time::Duration;

/// One error of every kind, with its code and its message.
fn golden() -> Vec<(Error, ErrorKind, &'static str, &'static str)> {
    let difference = |field, wanted: &str, actual: &str| Difference {
        field,
        wanted: wanted.to_owned(),
        actual: actual.to_owned(),
    };
    let holder = |sandbox: &str, pid, readonly| AttachmentHolder {
        id: 4711,
        sandbox: sandbox.to_owned(),
        pid,
        running: true,
        readonly,
    };
    vec![
        (
            Error::volume_not_found("data"),
            ErrorKind::VolumeNotFound,
            "ERR_VOLUME_NOT_FOUND",
            "Volume \"data\" does not exist. Create it with createVolume, or see listVolumes.",
        ),
        (
            Error::volume_already_exists("data"),
            ErrorKind::VolumeAlreadyExists,
            "ERR_VOLUME_ALREADY_EXISTS",
            "Volume \"data\" already exists. Use getVolume to open it, or choose another name.",
        ),
        (
            Error::volume_attached("data", vec![holder("one", 12, false), holder("two", 34, true)]),
            ErrorKind::VolumeInUse,
            "ERR_VOLUME_IN_USE",
            "Volume \"data\" is attached to \"one\" (process 12, read-write), \"two\" (process 34, read-only). \
             Detach it from each, or end the processes.",
        ),
        (
            Error::disk_in_use(None, Path::new("/images/disk.raw"), vec![holder("one", 12, false)]),
            ErrorKind::VolumeInUse,
            "ERR_VOLUME_IN_USE",
            "Disk image \"/images/disk.raw\" is attached to \"one\" (process 12, read-write), and a disk has one \
             writer or any number of readers. Detach it, or end the process.",
        ),
        (
            Error::attachment_not_found(4711),
            ErrorKind::AttachmentNotFound,
            "ERR_ATTACHMENT_NOT_FOUND",
            "Attachment \"4711\" does not exist: it was detached, or its process ended. See attachments().",
        ),
        (
            Error::volume_incompatible(
                "data",
                vec![difference("kind", "disk", "dir"), difference("quotaMib", "8", "unlimited")],
            ),
            ErrorKind::VolumeIncompatible,
            "ERR_VOLUME_INCOMPATIBLE",
            "Volume \"data\" exists but differs: \"kind\" is dir but disk was asked for; \"quotaMib\" is \
             unlimited but 8 was asked for. It was left as it is.",
        ),
        (
            Error::path_escape("../x").in_volume("data"),
            ErrorKind::PathEscape,
            "ERR_PATH_ESCAPE",
            "Path \"../x\" leads outside the volume (volume \"data\")",
        ),
        (
            Error::link_escape("dir/out").in_volume("data"),
            ErrorKind::PathEscape,
            "ERR_PATH_ESCAPE",
            "Link \"dir/out\" may lead outside the copied tree. Remove it, or have such links skipped. (volume \
             \"data\")",
        ),
        (
            Error::invalid_config("quotaMib", "expected a non-negative integer below 2^32, got -1"),
            ErrorKind::InvalidConfig,
            "ERR_INVALID_CONFIG",
            "Invalid \"quotaMib\": expected a non-negative integer below 2^32, got -1",
        ),
        (
            Error::quota_exceeded("data", "big.bin", 1_048_576, 4096, 1_052_672),
            ErrorKind::QuotaExceeded,
            "ERR_QUOTA_EXCEEDED",
            "Writing \"big.bin\" would exceed the quota of volume \"data\": 4096 of 1048576 bytes are used and \
             1052672 more are needed. Nothing was written.",
        ),
        (
            Error::quota_refused("data", "big.bin"),
            ErrorKind::QuotaExceeded,
            "ERR_QUOTA_EXCEEDED",
            "Writing \"big.bin\" would exceed the quota of volume \"data\" as its file system counts it, which \
             includes what it needs itself. Remove files to make room.",
        ),
        (
            Error::unsupported_mount("bubblewrap", "/data", "it has no noexec"),
            ErrorKind::UnsupportedMount,
            "ERR_UNSUPPORTED_MOUNT",
            "bubblewrap cannot express the mount at \"/data\": it has no noexec",
        ),
        (
            Error::disk_image("/images/disk.qcow2", "is empty. Make one with qemu-img create."),
            ErrorKind::DiskImage,
            "ERR_DISK_IMAGE",
            "Disk image \"/images/disk.qcow2\" is empty. Make one with qemu-img create.",
        ),
        (
            Error::catalog("is damaged. It was left as it is."),
            ErrorKind::Catalog,
            "ERR_CATALOG",
            "The volume catalog is damaged. It was left as it is.",
        ),
        (
            Error::file_system("open", "a/b", Errno::ENOENT.into()).in_volume("data"),
            ErrorKind::FileSystem,
            "ENOENT",
            "ENOENT: no such file or directory, open \"a/b\" (volume \"data\")",
        ),
        (Error::aborted(), ErrorKind::Aborted, "ERR_ABORTED", "The operation was aborted"),
        (
            Error::internal("a lock was lost"),
            ErrorKind::Internal,
            "ERR_INTERNAL",
            "Internal error: a lock was lost. Please report it.",
        ),
    ]
}

#[test]
fn every_kind_says_its_golden_message_under_its_code() {
    let mut unseen: Vec<_> = ErrorKind::ALL.to_vec();
    for (error, kind, code, message) in golden() {
        assert_eq!(error.kind(), kind, "{message}");
        assert_eq!(error.code(), code, "{message}");
        assert_eq!(error.to_string(), message);
        unseen.retain(|other| *other != kind);
    }
    assert_eq!(unseen, [], "kinds without a golden message");
}

#[test]
fn every_kind_has_a_code_of_its_own() {
    let codes: HashSet<_> = ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
    assert_eq!(codes.len(), ErrorKind::ALL.len());
    assert!(codes.iter().all(|code| code.starts_with("ERR_")), "{codes:?}");
    assert_eq!(ErrorKind::DiskImage.code(), "ERR_DISK_IMAGE");
}

#[test]
fn a_busy_volume_says_how_long_it_was_waited_for() {
    let error = Error::volume_busy("data", Duration::from_secs(5));
    assert_eq!(error.kind(), ErrorKind::VolumeInUse);
    assert_eq!(
        error.to_string(),
        "Volume \"data\" is being created, removed or written by another operation, which did not finish within 5 s. \
         Try again later."
    );
}

#[test]
fn a_busy_attachment_says_how_long_it_was_waited_for() {
    let error = Error::attachment_busy(3, Duration::from_secs(5));
    assert_eq!(error.kind(), ErrorKind::VolumeInUse);
    assert_eq!(
        error.to_string(),
        "Attachment \"3\" is being mounted or unmounted by another operation, which did not finish within 5 s. Try \
         again later."
    );
}

#[test]
fn a_foreign_directory_is_told_from_a_volume() {
    let error = Error::volume_directory_exists("data");
    assert_eq!(error.kind(), ErrorKind::VolumeAlreadyExists);
    assert_eq!(
        error.to_string(),
        "Volume \"data\" cannot be created: the volumes directory has an entry of that name, but the \
         catalog does not list it. Move it away, or choose another name."
    );
}

#[test]
fn a_refused_system_call_keeps_what_node_tells_of_it() {
    let error = Error::file_system("open", "a", Errno::EACCES.into());
    let context = error.context();
    assert_eq!(error.code(), "EACCES");
    assert_eq!((context.syscall, context.path.as_deref()), (Some("open"), Some("a")));
    assert_eq!(context.errno, Some(Errno::EACCES as i32));
    let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.raw_os_error(), Some(Errno::EACCES as i32));
}

#[test]
fn an_unsupported_operation_is_named_as_node_names_it() {
    assert_eq!(Error::file_system("open", "a", Errno::EOPNOTSUPP.into()).code(), "ENOTSUP");
}

#[test]
fn an_error_is_told_its_volume_once() {
    let error = Error::path_escape("../x").in_volume("one").in_volume("two");
    assert_eq!(error.context().volume.as_deref(), Some("one"));
    assert!(!error.to_string().contains("two"), "{error}");
}
