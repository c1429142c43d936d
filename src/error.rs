//! The error type of the crate: a stable kind, the context, and the source.
//!
//! Messages use sentence case, quote the subject, say what to do if possible, and leave the cause to `source`. A failed
//! system call reads like an error of Node itself.

mod constructors;

/// The `errno` of a failed system call.
pub use nix::errno::Errno;

/// The kinds of errors that a caller's code can distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no volume of that name.
    VolumeNotFound,
    /// A volume of that name already exists.
    VolumeAlreadyExists,
    /// The volume is attached, or another operation is changing it.
    VolumeInUse,
    /// There is no attachment with that ID, or it has ended.
    AttachmentNotFound,
    /// An existing volume differs from what `ensure-exists` requested.
    VolumeIncompatible,
    /// A path or a symlink leads outside the volume.
    PathEscape,
    /// An argument or option is invalid.
    InvalidConfig,
    /// The write would exceed the volume's quota.
    QuotaExceeded,
    /// A runtime cannot express a mount.
    UnsupportedMount,
    /// A disk image is damaged, unsupported or unsafe.
    DiskImage,
    /// The catalog could not be read or written.
    Catalog,
    /// A system call failed.
    FileSystem,
    /// The caller's abort signal ended the operation; JavaScript sees the signal's reason instead.
    Aborted,
    /// A defect of this library.
    Internal,
}

impl ErrorKind {
    /// All kinds, for the tests that compare the JavaScript classes with this list.
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

    /// Returns the stable code. A `FileSystem` error has the system's code instead (`ENOENT` …): see [`Error::code`].
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

/// A field in which an existing volume differs from what the caller requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `kind`, `quotaMib`, `sizeMib` or `format`.
    pub field: &'static str,
    /// The value that the caller requested.
    pub wanted: String,
    /// The value of the volume.
    pub actual: String,
}

/// An attachment that prevents an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentHolder {
    /// The attachment's ID.
    pub id: i64,
    /// The sandbox that it was created for.
    pub sandbox: String,
    /// The PID of the process that it belongs to.
    pub pid: u32,
    /// Whether that process is known to run. If not, it is in another PID namespace.
    pub running: bool,
    /// Whether the attachment is read-only.
    pub readonly: bool,
}

/// The context of an error. Each field is set if it is known.
#[derive(Clone, Debug, Default)]
pub struct ErrorContext {
    /// The volume's name.
    pub volume: Option<String>,
    /// The path as the caller passed it.
    pub path: Option<String>,
    /// The destination path as the caller passed it, if the operation has a source and a destination.
    pub dest: Option<String>,
    /// The invalid option or argument.
    pub field: Option<String>,
    /// The system call that failed, as Node names it (`open`, `mkdir` …).
    pub syscall: Option<&'static str>,
    /// The positive `errno`.
    pub errno: Option<i32>,
    /// The operation that another process or thread is performing on the volume: `remove`.
    pub operation: Option<&'static str>,
    /// The sandboxes to which the volume is attached, each once.
    pub sandboxes: Vec<String>,
    /// The attachments that prevent the operation.
    pub holders: Vec<AttachmentHolder>,
    /// The fields that differ.
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

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn new(kind: ErrorKind, message: String, context: ErrorContext) -> Self {
        Error { kind, message, context: Box::new(context), source: None }
    }

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the context.
    pub fn context(&self) -> &ErrorContext {
        &self.context
    }

    /// Returns the code that JavaScript sees: that of the kind, or the `errno` name of a failed system call.
    pub fn code(&self) -> String {
        match (self.kind, self.context.errno) {
            (ErrorKind::FileSystem, Some(errno)) => errno_name(errno),
            _ => self.kind.code().to_owned(),
        }
    }

    /// Reports whether the error is a failed system call with one of these `errno` values.
    pub fn is_refusal(&self, errnos: &[Errno]) -> bool {
        self.kind == ErrorKind::FileSystem
            && errnos.iter().any(|errno| self.context.errno == Some(*errno as i32))
    }

    /// Adds the cause of the error.
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the volume, if the code that created the error did not know it.
    pub fn in_volume(mut self, volume: &str) -> Self {
        if self.context.volume.is_none() {
            if matches!(self.kind, ErrorKind::FileSystem | ErrorKind::PathEscape | ErrorKind::DiskImage) {
                self.message.push_str(&format!(" (volume \"{volume}\")"));
            }
            self.context.volume = Some(volume.to_owned());
        }
        self
    }

    /// Replaces the path of a failed system call with `path`, for which the call was made: for instance a temp file's path.
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

    /// Adds the guest path of the mount to an error that names no volume.
    pub fn in_mount(mut self, guest_path: &str) -> Self {
        if matches!(self.kind, ErrorKind::InvalidConfig | ErrorKind::FileSystem) {
            self.message.push_str(&format!(" (mount at {guest_path:?})"));
        }
        self
    }
}

fn errno_name(errno: i32) -> String {
    match Errno::from_raw(errno) {
        // Linux has two names for this number. Node uses ENOTSUP.
        Errno::EOPNOTSUPP => "ENOTSUP".to_owned(),
        Errno::UnknownErrno => format!("E{errno}"),
        known => format!("{known:?}"),
    }
}

fn describe(errno: i32) -> String {
    Errno::from_raw(errno).desc().to_lowercase()
}
