//! One error type for the whole crate: a stable kind, the context a caller can act on, and the source.
//!
//! Wording: sentence case, the subject quoted, what to do where there is something to do, and the cause
//! left to `source`. A file operation that the system refused reads as Node's own errors do.

use std::io;
use std::path::Path;

/// What went wrong, as far as a caller's code may want to tell cases apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No volume of that name.
    VolumeNotFound,
    /// A volume of that name is already there.
    VolumeAlreadyExists,
    /// Attached, or being changed by somebody else at this moment.
    VolumeInUse,
    /// An existing volume differs from what `ensure-exists` asked for.
    VolumeIncompatible,
    /// A path or a symlink leads outside the volume.
    PathEscape,
    /// An argument or option is not acceptable.
    InvalidConfig,
    /// The write would exceed the volume's quota.
    QuotaExceeded,
    /// A runtime cannot express a mount.
    UnsupportedMount,
    /// A disk image is not what it must be.
    DiskImage,
    /// The catalog could not be read or written.
    Catalog,
    /// The operating system refused a file operation.
    FileSystem,
    /// The caller's abort signal ended the operation; JavaScript sees the signal's reason instead.
    Aborted,
    /// A defect of this library.
    Internal,
}

impl ErrorKind {
    /// Every kind, for the tests that hold the JavaScript classes against this list.
    pub const ALL: [ErrorKind; 13] = [
        ErrorKind::VolumeNotFound,
        ErrorKind::VolumeAlreadyExists,
        ErrorKind::VolumeInUse,
        ErrorKind::VolumeIncompatible,
        ErrorKind::PathEscape,
        ErrorKind::InvalidConfig,
        ErrorKind::QuotaExceeded,
        ErrorKind::UnsupportedMount,
        ErrorKind::DiskImage,
        ErrorKind::Catalog,
        ErrorKind::FileSystem,
        ErrorKind::Aborted,
        ErrorKind::Internal,
    ];

    /// The stable code. A `FileSystem` error reports the system's own (`ENOENT` …) instead: [`Error::code`].
    pub const fn code(self) -> &'static str {
        match self {
            ErrorKind::VolumeNotFound => "ERR_VOLUME_NOT_FOUND",
            ErrorKind::VolumeAlreadyExists => "ERR_VOLUME_ALREADY_EXISTS",
            ErrorKind::VolumeInUse => "ERR_VOLUME_IN_USE",
            ErrorKind::VolumeIncompatible => "ERR_VOLUME_INCOMPATIBLE",
            ErrorKind::PathEscape => "ERR_PATH_ESCAPE",
            ErrorKind::InvalidConfig => "ERR_INVALID_CONFIG",
            ErrorKind::QuotaExceeded => "ERR_QUOTA_EXCEEDED",
            ErrorKind::UnsupportedMount => "ERR_UNSUPPORTED_MOUNT",
            ErrorKind::DiskImage => "ERR_DISK_IMAGE",
            ErrorKind::Catalog => "ERR_CATALOG",
            ErrorKind::FileSystem => "ERR_FILE_SYSTEM",
            ErrorKind::Aborted => "ERR_ABORTED",
            ErrorKind::Internal => "ERR_INTERNAL",
        }
    }
}

/// One field in which an existing volume differs from what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `kind`, `quotaMib` or `sizeMib`.
    pub field: &'static str,
    /// What the caller asked for.
    pub wanted: String,
    /// What the volume has.
    pub actual: String,
}

/// What an error is about, where it is known.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The volume's name.
    pub volume: Option<String>,
    /// The path as the caller gave it.
    pub path: Option<String>,
    /// The option or argument at fault.
    pub field: Option<String>,
    /// The operation that the system refused, in Node's words (`open`, `mkdir` …).
    pub syscall: Option<&'static str>,
    /// The system's error number, positive.
    pub errno: Option<i32>,
    /// The sandboxes that hold the volume.
    pub sandboxes: Vec<String>,
    /// Field by field, what differs.
    pub differences: Vec<Difference>,
}

/// The error of every operation of this crate.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    context: Box<Context>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn new(kind: ErrorKind, message: String, context: Context) -> Self {
        Error { kind, message, context: Box::new(context), source: None }
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the error is about.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The code that JavaScript sees: the kind's, or the system's own name for a file error.
    pub fn code(&self) -> String {
        match (self.kind, self.context.errno) {
            (ErrorKind::FileSystem, Some(errno)) => errno_name(errno),
            _ => self.kind.code().to_owned(),
        }
    }

    /// Whether it is the system that refused, with one of these errors.
    pub fn is_refusal(&self, errnos: &[nix::errno::Errno]) -> bool {
        self.kind == ErrorKind::FileSystem
            && errnos.iter().any(|errno| self.context.errno == Some(*errno as i32))
    }

    /// Adds what caused this error.
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the volume that the error is about, where the place that found it did not know it.
    pub fn in_volume(mut self, volume: &str) -> Self {
        if self.context.volume.is_none() {
            if matches!(self.kind, ErrorKind::FileSystem | ErrorKind::PathEscape) {
                self.message.push_str(&format!(" (volume \"{volume}\")"));
            }
            self.context.volume = Some(volume.to_owned());
        }
        self
    }

    /// Adds the guest path of the mount that the error is about, where it does not name a volume.
    pub fn in_mount(mut self, guest_path: &str) -> Self {
        if matches!(self.kind, ErrorKind::InvalidConfig | ErrorKind::FileSystem) {
            self.message.push_str(&format!(" (mount at {guest_path:?})"));
        }
        self
    }

    /// No volume of that name.
    pub fn volume_not_found(volume: &str) -> Self {
        Error::new(
            ErrorKind::VolumeNotFound,
            format!("Volume \"{volume}\" does not exist. Create it with createVolume, or see listVolumes."),
            Context { volume: Some(volume.to_owned()), ..Context::default() },
        )
    }

    /// A volume of that name is already there.
    pub fn volume_already_exists(volume: &str) -> Self {
        Error::new(
            ErrorKind::VolumeAlreadyExists,
            format!("Volume \"{volume}\" already exists. Use getVolume to open it, or choose another name."),
            Context { volume: Some(volume.to_owned()), ..Context::default() },
        )
    }

    /// A directory that the catalog does not know stands where the volume would be.
    pub fn volume_directory_exists(volume: &str) -> Self {
        Error::new(
            ErrorKind::VolumeAlreadyExists,
            format!(
                "Volume \"{volume}\" cannot be created: something of that name stands in the volumes \
                 directory, but the catalog does not know it. Move it away, or choose another name."
            ),
            Context { volume: Some(volume.to_owned()), ..Context::default() },
        )
    }

    /// Attached to sandboxes.
    pub fn volume_attached(volume: &str, sandboxes: Vec<String>) -> Self {
        let names = sandboxes.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        Error::new(
            ErrorKind::VolumeInUse,
            format!("Volume \"{volume}\" is attached to {names}. Detach it there first."),
            Context { volume: Some(volume.to_owned()), sandboxes, ..Context::default() },
        )
    }

    /// Being created or removed by somebody else for longer than we wait.
    pub fn volume_busy(volume: &str, waited: std::time::Duration) -> Self {
        let seconds = waited.as_secs();
        Error::new(
            ErrorKind::VolumeInUse,
            format!(
                "Volume \"{volume}\" is being created or removed by another operation, which did not finish \
                 within {seconds} s. Try again later."
            ),
            Context { volume: Some(volume.to_owned()), ..Context::default() },
        )
    }

    /// An existing volume is not what `ensure-exists` asked for.
    pub fn volume_incompatible(volume: &str, differences: Vec<Difference>) -> Self {
        let listed = differences
            .iter()
            .map(|d| format!("\"{}\" is {} but {} was asked for", d.field, d.actual, d.wanted))
            .collect::<Vec<_>>()
            .join("; ");
        Error::new(
            ErrorKind::VolumeIncompatible,
            format!("Volume \"{volume}\" exists but differs: {listed}. It was left as it is."),
            Context { volume: Some(volume.to_owned()), differences, ..Context::default() },
        )
    }

    /// A path leads outside the volume.
    pub fn path_escape(path: &str) -> Self {
        Error::new(
            ErrorKind::PathEscape,
            format!("Path {path:?} leads outside the volume"),
            Context { path: Some(path.to_owned()), ..Context::default() },
        )
    }

    /// An argument or option is not acceptable; `problem` completes the sentence that begins with the field.
    pub fn invalid_config(field: &str, problem: impl std::fmt::Display) -> Self {
        Error::new(
            ErrorKind::InvalidConfig,
            format!("Invalid \"{field}\": {problem}"),
            Context { field: Some(field.to_owned()), ..Context::default() },
        )
    }

    /// A path argument that is not acceptable whatever the volume holds.
    pub fn invalid_path(path: &str, problem: impl std::fmt::Display) -> Self {
        let mut error = Error::invalid_config("path", format!("{path:?} {problem}"));
        error.context.path = Some(path.to_owned());
        error
    }

    /// A guest path that no mount may have.
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
            Context { volume: Some(volume.to_owned()), path: Some(path.to_owned()), ..Context::default() },
        )
    }

    /// A runtime cannot express a mount.
    pub fn unsupported_mount(runtime: &str, guest_path: &str, problem: impl std::fmt::Display) -> Self {
        Error::new(
            ErrorKind::UnsupportedMount,
            format!("{runtime} cannot express the mount at \"{guest_path}\": {problem}"),
            Context { path: Some(guest_path.to_owned()), ..Context::default() },
        )
    }

    /// A disk image is not what it must be; `problem` completes the sentence that begins with its path.
    pub fn disk_image(path: impl AsRef<Path>, problem: impl std::fmt::Display) -> Self {
        let path = path.as_ref().to_string_lossy().into_owned();
        Error::new(
            ErrorKind::DiskImage,
            format!("Disk image {path:?} {problem}"),
            Context { path: Some(path), ..Context::default() },
        )
    }

    /// The catalog could not be read or written.
    pub fn catalog(problem: impl std::fmt::Display) -> Self {
        Error::new(ErrorKind::Catalog, format!("The volume catalog {problem}"), Context::default())
    }

    /// The operating system refused `syscall` on `path`.
    pub fn file_system(syscall: &'static str, path: impl AsRef<Path>, error: io::Error) -> Self {
        let path = path.as_ref().to_string_lossy().into_owned();
        let errno = error.raw_os_error().unwrap_or(nix::errno::Errno::EIO as i32);
        let text = describe(errno);
        let message = format!("{}: {text}, {syscall} {path:?}", errno_name(errno));
        let context =
            Context { path: Some(path), syscall: Some(syscall), errno: Some(errno), ..Context::default() };
        Error::new(ErrorKind::FileSystem, message, context).caused_by(error)
    }

    /// The same, for a refusal that is ours but that callers know under the system's name for it.
    pub fn file_system_because(
        syscall: &'static str,
        path: &str,
        errno: nix::errno::Errno,
        problem: &str,
    ) -> Self {
        let message = format!("{}: {problem}, {syscall} {path:?}", errno_name(errno as i32));
        let context = Context {
            path: Some(path.to_owned()),
            syscall: Some(syscall),
            errno: Some(errno as i32),
            ..Context::default()
        };
        Error::new(ErrorKind::FileSystem, message, context)
    }

    /// The caller's signal ended the operation.
    pub fn aborted() -> Self {
        Error::new(ErrorKind::Aborted, "The operation was aborted".to_owned(), Context::default())
    }

    /// A defect of this library.
    pub fn internal(problem: impl std::fmt::Display) -> Self {
        Error::new(
            ErrorKind::Internal,
            format!("Internal error: {problem}. Please report it."),
            Context::default(),
        )
    }
}

fn errno_name(errno: i32) -> String {
    match nix::errno::Errno::from_raw(errno) {
        // Node spells this one, which Linux aliases, as ENOTSUP.
        nix::errno::Errno::EOPNOTSUPP => "ENOTSUP".to_owned(),
        nix::errno::Errno::UnknownErrno => format!("E{errno}"),
        known => format!("{known:?}"),
    }
}

fn describe(errno: i32) -> String {
    nix::errno::Errno::from_raw(errno).desc().to_lowercase()
}
