//! QEMU's arguments, the virtiofs servers that they need, and the mount commands of the guest.
//!
//! A device's name is its mount's index in the list, so it does not change between renderings.

use super::rendered::Rendered::{self, Flag, List, Null, Text, Word};
use super::rendered::{Put, lists, object, text};
use super::{
    BY_PATH, by_path, directly_below, host_text, mount_options, path_to_mount, tmpfs_options, unsupported,
};
use crate::error::{Error, Result};
use crate::model::{DiskFormat, OptionReader, OptionValue};
use crate::mount::option_names::{HOST_PERMISSIONS, STAT_VIRTUALIZATION};
use crate::mount::{HostPermissions, MountFlags, ResolvedMount, ResolvedSource, StatVirtualization};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::path::Path;

const RUNTIME: &str = "QEMU";

const SOCKET_DIR: &str = "socketDir";
const MEMORY_MIB: &str = "memoryMib";
const PREFIX: &str = "prefix";

/// The default prefix of device names, and the longest prefix in bytes. A disk's serial number has at most 20.
const DEFAULT_PREFIX: &str = "sv-mount";
const MAX_PREFIX_BYTES: usize = 14;

/// The default memory of a machine that shares directories, in MiB.
const DEFAULT_MEMORY_MIB: u32 = 512;

/// The usual length of a guest's command.
const COMMAND_BYTES: usize = 128;

/// The longest path of a Unix socket on Linux, in bytes.
const MAX_SOCKET_BYTES: usize = 107;

/// The options of `toQemu`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuOptions {
    /// The absolute directory of the virtiofs servers' sockets. Required if a directory is mounted.
    socket_dir: Option<String>,
    /// The machine's memory, in MiB.
    memory_mib: Option<u32>,
    /// The prefix of the names of devices and sockets.
    prefix: String,
    /// Whether parts of volumes may be mounted by their paths.
    by_path: bool,
}

impl QemuOptions {
    /// Reads `toQemu`'s options.
    pub fn from_input(input: &OptionValue) -> Result<Self> {
        let fields = OptionReader::of("QemuOptions", input, &[SOCKET_DIR, MEMORY_MIB, PREFIX, BY_PATH])?;
        let socket_dir = fields.text(SOCKET_DIR)?.map(check_socket_dir).transpose()?;
        let memory_mib = fields.u32(MEMORY_MIB)?;
        if memory_mib == Some(0) {
            let problem = "a machine has at least 1 MiB; leave it unset for the default";
            return Err(Error::invalid_config(MEMORY_MIB, problem));
        }
        let prefix = fields.text(PREFIX)?.map_or(Ok(DEFAULT_PREFIX), check_prefix)?.to_owned();
        Ok(QemuOptions { socket_dir, memory_mib, prefix, by_path: by_path(&fields)? })
    }

    /// Returns the socket of the virtiofs server of `mount`.
    fn socket(&self, mount: &ResolvedMount, tag: &str) -> Result<String> {
        let Some(dir) = &self.socket_dir else {
            let guest_path = mount.guest_path.as_str();
            let problem = format!(
                "the directory at \"{guest_path}\" is shared through a socket; name the directory to make it in"
            );
            return Err(Error::invalid_config(SOCKET_DIR, problem));
        };
        let separator = if dir.ends_with('/') { "" } else { "/" };
        let socket = [dir, separator, tag, ".sock"].concat();
        if socket.len() > MAX_SOCKET_BYTES {
            let bytes = socket.len();
            let problem =
                format!("{socket:?} has {bytes} bytes; a socket's path has at most {MAX_SOCKET_BYTES}");
            return Err(Error::invalid_config(SOCKET_DIR, problem));
        }
        Ok(socket)
    }
}

fn check_prefix(prefix: &str) -> Result<&str> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts = prefix.starts_with(|c: char| c.is_ascii_lowercase());
    match starts && prefix.len() <= MAX_PREFIX_BYTES && prefix.chars().all(allowed) {
        true => Ok(prefix),
        false => Err(Error::invalid_config(
            PREFIX,
            format!(
                "{:?} cannot begin a device's name: lower-case letters, digits and \"-\" only, starting with a \
                 letter, at most {MAX_PREFIX_BYTES}",
                prefix.chars().take(MAX_PREFIX_BYTES + 1).collect::<String>()
            ),
        )),
    }
}

fn check_socket_dir(dir: &str) -> Result<String> {
    let refused = |problem| Err(Error::invalid_config(SOCKET_DIR, format!("{dir:?} {problem}")));
    if dir.contains('\0') {
        return refused("contains a NUL character");
    }
    match Path::new(dir) {
        path if path.is_absolute() => Ok(dir.to_owned()),
        _ => refused("is not absolute"),
    }
}

/// The lists of a rendering: QEMU's arguments, the virtiofs servers, the guest's commands.
const ARGS: &str = "args";
const VIRTIOFS: &str = "virtiofs";
const GUEST: &str = "guest";

/// The names of the lists.
pub const LISTS: [&str; 3] = [ARGS, VIRTIOFS, GUEST];

/// Renders the lists for these mounts, which are in the order of
/// [`validate_and_order`](crate::mount::validate_and_order()).
pub fn render<'m>(mounts: &'m [ResolvedMount], options: &QemuOptions) -> Result<Rendered<'m>> {
    lists(&LISTS, |put| render_into(put, mounts, options))
}

/// Passes the values of the lists to `put`, one after the other.
pub fn render_into<'m>(
    put: &mut Put<'_, 'm>,
    mounts: &'m [ResolvedMount],
    options: &QemuOptions,
) -> Result<()> {
    let is_shared = |mount: &ResolvedMount| {
        matches!(mount.origin, ResolvedSource::Bind { .. } | ResolvedSource::Named { .. })
    };
    memory(options, mounts.iter().any(is_shared)).into_iter().for_each(|arg| put(ARGS, arg));
    for (at, mount) in mounts.iter().enumerate() {
        let name = format!("{}-{at}", options.prefix);
        match &mount.origin {
            _ if mount.is_file() => {
                let problem = "virtiofs shares directories, and this is a file; mount the directory it is in";
                return Err(unsupported(RUNTIME, mount, problem));
            }
            ResolvedSource::Bind { host, .. } | ResolvedSource::Named { host, .. } => {
                check_policies(mount)?;
                let source = path_to_mount(RUNTIME, mount, host, options.by_path)?;
                let socket = options.socket(mount, &name)?;
                share(&name, &socket).into_iter().for_each(|arg| put(ARGS, arg));
                let share = object([
                    ("tag", text(name.clone())),
                    ("source", text(source)),
                    ("readonly", Flag(mount.flags.readonly)),
                    ("socket", text(socket)),
                ]);
                put(VIRTIOFS, share);
            }
            ResolvedSource::Disk { open, format, .. } => {
                let disk = disk(&name, host_text(RUNTIME, mount, open)?, *format, mount.flags.readonly);
                disk.into_iter().for_each(|arg| put(ARGS, arg));
            }
            ResolvedSource::Tmpfs { .. } => {}
        }
        put(GUEST, guest_mount(mount, name, &mounts[at + 1..]));
    }
    Ok(())
}

/// Fails for a policy that a virtiofs server cannot implement: it shows the host's owners and modes, and changes them.
fn check_policies(mount: &ResolvedMount) -> Result<()> {
    let (name, value, does) = match (mount.stat_virtualization, mount.host_permissions) {
        (Some(policy @ (StatVirtualization::Strict | StatVirtualization::Relaxed)), _) => {
            (STAT_VIRTUALIZATION, policy.as_str(), "shows the host's own owners and modes")
        }
        (_, Some(policy @ HostPermissions::Private)) => {
            (HOST_PERMISSIONS, policy.as_str(), "sets the host's own modes")
        }
        (None | Some(StatVirtualization::Off), None | Some(HostPermissions::Mirror)) => return Ok(()),
    };
    let problem = format!("{name:?} cannot be {value:?}, for virtiofsd {does}; leave it unset");
    Err(unsupported(RUNTIME, mount, problem))
}

/// Returns the arguments for the machine's memory, which a virtiofs server must share.
fn memory(options: &QemuOptions, shared: bool) -> Vec<Rendered<'static>> {
    let mut args = Vec::new();
    if shared || options.memory_mib.is_some() {
        let mib = options.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB);
        args.extend([Word("-m"), text(format!("{mib}M"))]);
        if shared {
            let backend = format!("memory-backend-memfd,id=sv-memory,size={mib}M,share=on");
            args.extend([Word("-object"), text(backend), Word("-machine"), Word("memory-backend=sv-memory")]);
        }
    }
    args
}

fn share(name: &str, socket: &str) -> [Rendered<'static>; 4] {
    // A comma in a value is doubled.
    let chardev = ["socket,id=", name, ",path=", &*replaced(socket, ',', ",,")].concat();
    let device = ["vhost-user-fs-pci,chardev=", name, ",tag=", name].concat();
    [Word("-chardev"), text(chardev), Word("-device"), text(device)]
}

fn disk(name: &str, open: &str, format: DiskFormat, readonly: bool) -> [Rendered<'static>; 4] {
    // All options are explicit: the guest's flushes reach the disk, and a read-only node stays read-only.
    let node = |driver: &str, node_name: &str, more: Value| {
        let mut node = json!({
            "driver": driver, "node-name": node_name, "read-only": readonly, "auto-read-only": false,
            "discard": "unmap", "cache": { "direct": false, "no-flush": false },
        });
        if let (Value::Object(node), Value::Object(more)) = (&mut node, more) {
            node.extend(more);
        }
        node
    };
    let file = json!({ "filename": open, "locking": "on", "aio": "threads" });
    let mut more = json!({ "file": node("file", &format!("{name}-file"), file) });
    if format != DiskFormat::Raw {
        // TOCTOU: no backing file is opened, also if the header changes before QEMU reads it.
        more["backing"] = Value::Null;
    }
    // The names of the formats are those of QEMU's drivers.
    let blockdev = node(format.as_str(), name, more).to_string();
    let device = format!("virtio-blk-pci,drive={name},serial={name},werror=report");
    [Word("-blockdev"), text(blockdev), Word("-device"), text(device)]
}

/// Returns the guest's command for a mount. `later` are the mounts after it.
fn guest_mount<'m>(mount: &'m ResolvedMount, name: String, later: &[ResolvedMount]) -> Rendered<'m> {
    let word = |word: &'static str| (word, Word(word));
    let ((fstype, shown), device) = match &mount.origin {
        ResolvedSource::Bind { .. } | ResolvedSource::Named { .. } => {
            (word("virtiofs"), Cow::Borrowed(name.as_str()))
        }
        ResolvedSource::Disk { fstype: Some(fstype), .. } => {
            ((fstype.as_str(), text(fstype)), device_of(&name).into())
        }
        ResolvedSource::Disk { fstype: None, .. } => (word("auto"), device_of(&name).into()),
        ResolvedSource::Tmpfs { .. } => (word("tmpfs"), Cow::Borrowed("tmpfs")),
    };
    let size_mib = match mount.origin {
        ResolvedSource::Tmpfs { size_mib } => Some(size_mib),
        _ => None,
    };
    let more = || size_mib.into_iter().flat_map(tmpfs_options);
    let at = quote(mount.guest_path.as_str());
    let mut command = mkdir(&at);
    let make = |command: &mut String, options: &mut dyn Iterator<Item = Cow<'static, str>>| {
        for part in [" && mount -t ", fstype, " -o "] {
            command.push_str(part);
        }
        push_joined(command, options);
        for part in [" ", &*device, " ", &at] {
            command.push_str(part);
        }
    };
    let flags = || mount_options(mount.flags).map(Cow::Borrowed);
    let inside =
        if size_mib.is_some() && mount.flags.readonly { directly_below(mount, later) } else { Vec::new() };
    if inside.is_empty() {
        make(&mut command, &mut flags().chain(more()));
    } else {
        // A tmpfs is empty at first, so its mount points are created before it becomes read-only.
        let writable = mount_options(MountFlags { readonly: false, ..mount.flags }).map(Cow::Borrowed);
        make(&mut command, &mut writable.chain(more()));
        for inner in inside {
            command.push_str(" && ");
            command.push_str(&mkdir(&quote(inner.guest_path.as_str())));
        }
        make(&mut command, &mut [Cow::Borrowed("remount")].into_iter().chain(flags()));
    }
    let options = mount_options(mount.flags).map(Word).chain(more().map(Text)).collect();
    let (tag, serial) = match &mount.origin {
        ResolvedSource::Bind { .. } | ResolvedSource::Named { .. } => (text(name), Null),
        ResolvedSource::Disk { .. } => (Null, text(name)),
        ResolvedSource::Tmpfs { .. } => (Null, Null),
    };
    object([
        ("guestPath", text(mount.guest_path.as_str())),
        ("type", shown),
        ("tag", tag),
        ("serial", serial),
        ("options", List(options)),
        ("command", text(command)),
    ])
}

fn push_joined(line: &mut String, options: &mut dyn Iterator<Item = Cow<'static, str>>) {
    for (at, option) in options.enumerate() {
        line.push_str(if at == 0 { "" } else { "," });
        line.push_str(&option);
    }
}

/// Returns a shell word that expands to the device with this serial number, whatever its name in the guest.
fn device_of(serial: &str) -> String {
    format!("\"/dev/$(cd /sys/block && grep -lxF {serial} */serial | cut -d/ -f1)\"")
}

fn mkdir(quoted: &str) -> String {
    let mut command = String::with_capacity(COMMAND_BYTES);
    command.push_str("mkdir -p ");
    command.push_str(quoted);
    command
}

/// Quotes a text as one word of a POSIX shell.
fn quote(text: &str) -> String {
    ["'", &*replaced(text, '\'', "'\\''"), "'"].concat()
}

fn replaced<'t>(text: &'t str, from: char, to: &str) -> Cow<'t, str> {
    match text.contains(from) {
        true => text.replace(from, to).into(),
        false => text.into(),
    }
}
