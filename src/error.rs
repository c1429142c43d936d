//! One error type for the whole crate: a stable kind, the context a caller can act on, and the source.
//!
//! Wording: sentence case, the subject quoted, what to do where there is something to do, and the cause
//! left to `source`. A file operation that the system refused reads as Node's own errors do.

mod constructors;

/// What went wrong, as far as a caller's code may want to tell cases apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No volume of that name.
    VolumeNotFound,
    /// A volume of that name is already there.
    VolumeAlreadyExists,
    /// Attached, or being changed by somebody else at this moment.
    VolumeInUse,
    /// No attachment of that id, or none any more.
    AttachmentNotFound,
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
    pub const ALL: [ErrorKind; 14] = [
        ErrorKind::VolumeNotFound,
        ErrorKind::VolumeAlreadyExists,
        ErrorKind::VolumeInUse,
        ErrorKind::AttachmentNotFound,
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
            ErrorKind::AttachmentNotFound => "ERR_ATTACHMENT_NOT_FOUND",
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
    /// `kind`, `quotaMib`, `sizeMib` or `format`.
    pub field: &'static str,
    /// What the caller asked for.
    pub wanted: String,
    /// What the volume has.
    pub actual: String,
}

/// An attachment that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentHolder {
    /// Its id.
    pub id: i64,
    /// The sandbox it was made for.
    pub sandbox: String,
    /// The process it belongs to.
    pub pid: u32,
    /// Whether that process was seen running; else it is one of another PID name space.
    pub running: bool,
    /// Whether it only reads what it holds.
    pub readonly: bool,
}

/// What an error is about, where it is known.
#[derive(Clone, Debug, Default)]
pub struct ErrorContext {
    /// The volume's name.
    pub volume: Option<String>,
    /// The path as the caller gave it.
    pub path: Option<String>,
    /// Where the operation led, as the caller gave it, where it has a source and a destination.
    pub dest: Option<String>,
    /// The option or argument at fault.
    pub field: Option<String>,
    /// The operation that the system refused, in Node's words (`open`, `mkdir` …).
    pub syscall: Option<&'static str>,
    /// The system's error number, positive.
    pub errno: Option<i32>,
    /// What another operation is doing with the volume: `remove`.
    pub operation: Option<&'static str>,
    /// The sandboxes that hold the volume, each once.
    pub sandboxes: Vec<String>,
    /// The attachments by which they do.
    pub holders: Vec<AttachmentHolder>,
    /// Field by field, what differs.
    pub differences: Vec<Difference>,
}

/// The error of every operation of this crate.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    context: Box<ErrorContext>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn new(kind: ErrorKind, message: String, context: ErrorContext) -> Self {
        Error { kind, message, context: Box::new(context), source: None }
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the error is about.
    pub fn context(&self) -> &ErrorContext {
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
            if matches!(self.kind, ErrorKind::FileSystem | ErrorKind::PathEscape | ErrorKind::DiskImage) {
                self.message.push_str(&format!(" (volume \"{volume}\")"));
            }
            self.context.volume = Some(volume.to_owned());
        }
        self
    }

    /// Names `path` where a step on another path failed that was taken on its behalf, say on a temp file.
    pub fn at_path(self, path: &str) -> Self {
        let ErrorContext { syscall: Some(syscall), errno: Some(errno), path: Some(named), volume, .. } =
            &*self.context
        else {
            return self;
        };
        if self.kind != ErrorKind::FileSystem || named == path {
            return self;
        }
        let error = Error::file_system(syscall, path, std::io::Error::from_raw_os_error(*errno));
        match volume {
            Some(volume) => error.in_volume(volume),
            None => error,
        }
    }

    /// Adds the guest path of the mount that the error is about, where it does not name a volume.
    pub fn in_mount(mut self, guest_path: &str) -> Self {
        if matches!(self.kind, ErrorKind::InvalidConfig | ErrorKind::FileSystem) {
            self.message.push_str(&format!(" (mount at {guest_path:?})"));
        }
        self
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
