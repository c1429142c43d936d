//! The messages of all errors, one constructor per case.

use super::{AttachmentHolder, Difference, Errno, Error, ErrorContext, ErrorKind, describe, errno_name};
use std::io;
use std::path::Path;

impl Error {
    /// There is no volume of that name.
    pub fn volume_not_found(volume: &str) -> Self {
        Error::new(
            ErrorKind::VolumeNotFound,
            format!("Volume \"{volume}\" does not exist. Create it with createVolume, or see listVolumes."),
            ErrorContext { volume: Some(volume.to_owned()), ..ErrorContext::default() },
        )
    }

    /// A volume of that name already exists.
    pub fn volume_already_exists(volume: &str) -> Self {
        Error::new(
            ErrorKind::VolumeAlreadyExists,
            format!("Volume \"{volume}\" already exists. Use getVolume to open it, or choose another name."),
            ErrorContext { volume: Some(volume.to_owned()), ..ErrorContext::default() },
        )
    }

    /// The volumes directory has an entry of that name that the catalog does not list.
    pub fn volume_directory_exists(volume: &str) -> Self {
        Error::new(
            ErrorKind::VolumeAlreadyExists,
            format!(
                "Volume \"{volume}\" cannot be created: the volumes directory has an entry of that name, but \
                 the catalog does not list it. Move it away, or choose another name."
            ),
            ErrorContext { volume: Some(volume.to_owned()), ..ErrorContext::default() },
        )
    }

    /// The volume is attached to sandboxes.
    pub fn volume_attached(volume: &str, holders: Vec<AttachmentHolder>) -> Self {
        let message =
            format!("Volume \"{volume}\" is attached to {}. {}", listed(&holders), remedy(&holders));
        Error::held(
            message,
            ErrorContext { volume: Some(volume.to_owned()), ..ErrorContext::default() },
            holders,
        )
    }

    /// The disk is in use in a way that excludes the caller: by these attachments or, without any, by a program that holds a
    /// lock on its image.
    pub fn disk_in_use(volume: Option<&str>, image: &Path, holders: Vec<AttachmentHolder>) -> Self {
        let image = image.to_string_lossy();
        let disk =
            volume.map_or_else(|| format!("Disk image {image:?}"), |name| format!("Volume \"{name}\""));
        let message = match holders.is_empty() {
            true => format!(
                "{disk} is in use by another program, which holds a lock on it. Stop that program first."
            ),
            false => format!(
                "{disk} is attached to {}, and a disk has one writer or any number of readers. {}",
                listed(&holders),
                remedy(&holders)
            ),
        };
        let context = ErrorContext {
            volume: volume.map(str::to_owned),
            path: volume.is_none().then(|| image.into_owned()),
            ..ErrorContext::default()
        };
        Error::held(message, context, holders)
    }

    /// Sandboxes of microsandbox mount the volume, or may do so because their configurations cannot be read.
    pub fn volume_in_microsandbox(volume: &str, sandboxes: Vec<String>) -> Self {
        let named =
            sandboxes.iter().take(MAX_NAMED).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let message = format!(
            "Volume \"{volume}\" is mounted, as far as is known, by microsandbox's {named}. Stop it first, with \
             \"msb stop\"."
        );
        Error::new(
            ErrorKind::VolumeInUse,
            message,
            ErrorContext { volume: Some(volume.to_owned()), sandboxes, ..ErrorContext::default() },
        )
    }

    /// The attachment cannot be detached without `force`, because its process runs.
    pub fn attachment_in_use(holder: AttachmentHolder) -> Self {
        let message = format!(
            "Attachment \"{}\" belongs to {}, and that process is running. End it, or detach with {{ force: true }}.",
            holder.id,
            described(&holder)
        );
        Error::held(message, ErrorContext::default(), vec![holder])
    }

    /// Another operation of this process is mounting or unmounting the attachment.
    pub fn attachment_busy(id: i64, waited: std::time::Duration) -> Self {
        let seconds = waited.as_secs();
        Error::new(
            ErrorKind::VolumeInUse,
            format!(
                "Attachment \"{id}\" is being mounted or unmounted by another operation, which did not finish within \
                 {seconds} s. Try again later."
            ),
            ErrorContext::default(),
        )
    }

    /// There is no attachment with that ID, or it has ended.
    pub fn attachment_not_found(id: i64) -> Self {
        Error::new(
            ErrorKind::AttachmentNotFound,
            format!(
                "Attachment \"{id}\" does not exist: it was detached, or its process ended. See attachments()."
            ),
            ErrorContext::default(),
        )
    }

    fn held(message: String, context: ErrorContext, holders: Vec<AttachmentHolder>) -> Self {
        let mut sandboxes: Vec<_> = holders.iter().map(|holder| holder.sandbox.clone()).collect();
        sandboxes.sort();
        sandboxes.dedup();
        Error::new(ErrorKind::VolumeInUse, message, ErrorContext { sandboxes, holders, ..context })
    }

    /// Another operation is still creating, removing or writing the volume after the wait.
    pub fn volume_busy(volume: &str, waited: std::time::Duration) -> Self {
        let seconds = waited.as_secs();
        Error::new(
            ErrorKind::VolumeInUse,
            format!(
                "Volume \"{volume}\" is being created, removed or written by another operation, which did not finish \
                 within {seconds} s. Try again later."
            ),
            ErrorContext { volume: Some(volume.to_owned()), ..ErrorContext::default() },
        )
    }

    /// Another operation, of a known kind, is still using the volume after the wait.
    pub fn volume_worked_on(volume: &str, operation: &'static str, waited: std::time::Duration) -> Self {
        let mut error = Error::volume_busy(volume, waited);
        error.message = format!(
            "Volume \"{volume}\" is in use by another operation (\"{operation}\"), which did not finish within {} s. \
             Try again later.",
            waited.as_secs()
        );
        error.context.operation = Some(operation);
        error
    }

    /// An existing volume differs from what `ensure-exists` requested.
    pub fn volume_incompatible(volume: &str, differences: Vec<Difference>) -> Self {
        let listed = differences
            .iter()
            .map(|d| format!("\"{}\" is {} but {} was asked for", d.field, d.actual, d.wanted))
            .collect::<Vec<_>>()
            .join("; ");
        Error::new(
            ErrorKind::VolumeIncompatible,
            format!("Volume \"{volume}\" exists but differs: {listed}. It was left as it is."),
            ErrorContext { volume: Some(volume.to_owned()), differences, ..ErrorContext::default() },
        )
    }

    /// A path leads outside the volume.
    pub fn path_escape(path: &str) -> Self {
        Error::new(
            ErrorKind::PathEscape,
            format!("Path {path:?} leads outside the volume"),
            ErrorContext { path: Some(path.to_owned()), ..ErrorContext::default() },
        )
    }

    /// A symbolic link leads, or may lead, out of the copied tree.
    pub fn link_escape(path: &str) -> Self {
        Error::new(
            ErrorKind::PathEscape,
            format!("Link {path:?} may lead outside the copied tree. Remove it, or have such links skipped."),
            ErrorContext { path: Some(path.to_owned()), ..ErrorContext::default() },
        )
    }

    /// The path of a mount point on the host contains a symbolic link.
    pub fn mount_point_escape(guest_path: &str) -> Self {
        Error::new(
            ErrorKind::PathEscape,
            format!(
                "Mount point {guest_path:?} is a link, or behind one, which may lead outside the root directory. Mount \
                 at the path that it points to, or remove the link."
            ),
            ErrorContext { path: Some(guest_path.to_owned()), ..ErrorContext::default() },
        )
    }

    /// An argument or option is invalid. `problem` follows the field's name and a colon.
    pub fn invalid_config(field: &str, problem: impl std::fmt::Display) -> Self {
        Error::new(
            ErrorKind::InvalidConfig,
            format!("Invalid \"{field}\": {problem}"),
            ErrorContext { field: Some(field.to_owned()), ..ErrorContext::default() },
        )
    }

    /// A path argument is invalid, whatever the volume contains.
    pub fn invalid_path(path: &str, problem: impl std::fmt::Display) -> Self {
        let mut error = Error::invalid_config("path", format!("{path:?} {problem}"));
        error.context.path = Some(path.to_owned());
        error
    }

    /// A guest path is invalid for a mount.
    pub fn invalid_guest_path(path: &str, problem: impl std::fmt::Display) -> Self {
        let mut error = Error::invalid_config("guestPath", format!("{path:?} {problem}"));
        error.context.path = Some(path.to_owned());
        error
    }

    /// The write would exceed the quota.
    pub fn quota_exceeded(
        volume: &str,
        path: &str,
        quota_bytes: u64,
        used_bytes: u64,
        needed_bytes: u64,
    ) -> Self {
        Error::new(
            ErrorKind::QuotaExceeded,
            format!(
                "Writing {path:?} would exceed the quota of volume \"{volume}\": {used_bytes} of {quota_bytes} \
                 bytes are used and {needed_bytes} more are needed. Nothing was written."
            ),
            ErrorContext {
                volume: Some(volume.to_owned()),
                path: Some(path.to_owned()),
                ..ErrorContext::default()
            },
        )
    }

    /// The kernel enforces the quota and refuses the write, or would refuse it.
    pub fn quota_refused(volume: &str, path: &str) -> Self {
        Error::new(
            ErrorKind::QuotaExceeded,
            format!(
                "Writing {path:?} would exceed the quota of volume \"{volume}\" as its file system counts it, which \
                 includes what it needs itself. Remove files to make room."
            ),
            ErrorContext {
                volume: Some(volume.to_owned()),
                path: Some(path.to_owned()),
                ..ErrorContext::default()
            },
        )
    }

    /// A runtime cannot express a mount.
    pub fn unsupported_mount(runtime: &str, guest_path: &str, problem: impl std::fmt::Display) -> Self {
        Error::new(
            ErrorKind::UnsupportedMount,
            format!("{runtime} cannot express the mount at \"{guest_path}\": {problem}"),
            ErrorContext { path: Some(guest_path.to_owned()), ..ErrorContext::default() },
        )
    }

    /// A disk image is damaged, unsupported or unsafe. `problem` completes the sentence that begins with its path.
    pub fn disk_image(path: impl AsRef<Path>, problem: impl std::fmt::Display) -> Self {
        let path = path.as_ref().to_string_lossy().into_owned();
        Error::new(
            ErrorKind::DiskImage,
            format!("Disk image {path:?} {problem}"),
            ErrorContext { path: Some(path), ..ErrorContext::default() },
        )
    }

    /// The catalog could not be read or written.
    pub fn catalog(problem: impl std::fmt::Display) -> Self {
        Error::new(ErrorKind::Catalog, format!("The volume catalog {problem}"), ErrorContext::default())
    }

    /// The system call `syscall` failed on `path`.
    pub fn file_system(syscall: &'static str, path: impl AsRef<Path>, error: io::Error) -> Self {
        let path = path.as_ref().to_string_lossy().into_owned();
        let errno = error.raw_os_error().unwrap_or(Errno::EIO as i32);
        let text = describe(errno);
        let message = format!("{}: {text}, {syscall} {path:?}", errno_name(errno));
        let context = ErrorContext {
            path: Some(path),
            syscall: Some(syscall),
            errno: Some(errno),
            ..ErrorContext::default()
        };
        Error::new(ErrorKind::FileSystem, message, context).caused_by(error)
    }

    /// Same as [`Error::file_system`], for an operation with a source and a destination.
    pub fn file_system_between(syscall: &'static str, from: &str, to: &str, error: io::Error) -> Self {
        let mut error = Error::file_system(syscall, from, error);
        error.message.push_str(&format!(" -> {to:?}"));
        error.context.dest = Some(to.to_owned());
        error
    }

    /// A file of another user could not be removed.
    pub fn removal_refused(path: &Path, errno: Errno, owner: u32, ours: u32) -> Self {
        let shown = path.to_string_lossy();
        let problem = format!(
            "it or what is in it belongs to user {owner}, and this process runs as user {ours}. Remove it with \
             \"podman unshare rm -rf {shown}\" if your rootless containers run as that user, else with \
             \"sudo rm -rf {shown}\", and try again"
        );
        Error::file_system_because("rm", &shown, errno, &problem)
    }

    /// This library refuses an operation on `path`, with the `errno` and the `syscall` that callers know for this case.
    pub fn file_system_because(syscall: &'static str, path: &str, errno: Errno, problem: &str) -> Self {
        let message = format!("{}: {problem}, {syscall} {path:?}", errno_name(errno as i32));
        let context = ErrorContext {
            path: Some(path.to_owned()),
            syscall: Some(syscall),
            errno: Some(errno as i32),
            ..ErrorContext::default()
        };
        Error::new(ErrorKind::FileSystem, message, context)
    }

    /// The caller's abort signal ended the operation.
    pub fn aborted() -> Self {
        Error::new(ErrorKind::Aborted, "The operation was aborted".to_owned(), ErrorContext::default())
    }

    /// This library has a defect.
    pub fn internal(problem: impl std::fmt::Display) -> Self {
        Error::new(
            ErrorKind::Internal,
            format!("Internal error: {problem}. Please report it."),
            ErrorContext::default(),
        )
    }
}

/// How many attachments or sandboxes a message names.
const MAX_NAMED: usize = 8;

fn listed(holders: &[AttachmentHolder]) -> String {
    let named = holders.iter().take(MAX_NAMED).map(described).collect::<Vec<_>>().join(", ");
    match holders.len().saturating_sub(MAX_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn described(holder: &AttachmentHolder) -> String {
    let AttachmentHolder { sandbox, pid, .. } = holder;
    let namespace = if holder.running { "" } else { " of another PID namespace" };
    let mode = if holder.readonly { "read-only" } else { "read-write" };
    format!("\"{sandbox}\" (process {pid}{namespace}, {mode})")
}

/// Says how to end the attachments.
fn remedy(holders: &[AttachmentHolder]) -> String {
    let first = match holders.len() {
        1 => "Detach it, or end the process.",
        _ => "Detach it from each, or end the processes.",
    };
    match holders.iter().find(|holder| !holder.running) {
        Some(unseen) => format!("{first} If a process's namespace is gone, detach(\"{}\").", unseen.id),
        None => first.to_owned(),
    }
}
