//! QEMU's arguments, the virtiofs servers that they need, and what the guest is to mount.
//!
//! Devices are named by their mount's place in the list, which is the same each time.

use super::{
    BY_PATH, by_path, directly_below, host_text, mount_options, object, path_to_mount, tmpfs_options,
    unsupported,
};
use crate::error::{Error, Result};
use crate::model::{DiskFormat, Fields, Input};
use crate::mount::field::{HOST_PERMISSIONS, STAT_VIRTUALIZATION};
use crate::mount::{HostPermissions, MountFlags, Origin, ResolvedMount, StatVirtualization};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const RUNTIME: &str = "QEMU";

const SOCKET_DIR: &str = "socketDir";
const MEMORY_MIB: &str = "memoryMib";
const PREFIX: &str = "prefix";

/// What the names of devices begin with, where it is not said, and the longest beginning, in bytes: a disk's serial
/// number has at most 20.
const DEFAULT_PREFIX: &str = "sv-mount";
const MAX_PREFIX_BYTES: usize = 14;

/// The memory of a machine that shares directories, where it is not said, in MiB.
const DEFAULT_MEMORY_MIB: u32 = 512;

/// The longest path of a socket on Linux, in bytes.
const MAX_SOCKET_BYTES: usize = 107;

/// What `toQemu` is told besides the mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuOptions {
    /// The absolute directory of the virtiofs servers' sockets; only needed where a directory is mounted.
    socket_dir: Option<PathBuf>,
    /// The machine's memory.
    memory_mib: Option<u32>,
    /// What the names of devices and sockets begin with.
    prefix: String,
    /// Parts of volumes may be told by their paths.
    by_path: bool,
}

impl QemuOptions {
    /// Reads `toQemu`'s options.
    pub fn from_input(input: &Input) -> Result<Self> {
        let fields = Fields::of("QemuOptions", input, &[SOCKET_DIR, MEMORY_MIB, PREFIX, BY_PATH])?;
        let socket_dir = fields.text(SOCKET_DIR)?.map(check_socket_dir).transpose()?;
        let memory_mib = fields.u32(MEMORY_MIB)?;
        if memory_mib == Some(0) {
            let problem = "a machine has at least 1 MiB; leave it unset for the default";
            return Err(Error::invalid_config(MEMORY_MIB, problem));
        }
        let prefix = fields.text(PREFIX)?.map_or(Ok(DEFAULT_PREFIX), check_prefix)?.to_owned();
        Ok(QemuOptions { socket_dir, memory_mib, prefix, by_path: by_path(&fields)? })
    }

    /// Where the virtiofs server of `mount` listens.
    fn socket(&self, mount: &ResolvedMount, tag: &str) -> Result<String> {
        let Some(dir) = &self.socket_dir else {
            let guest_path = mount.guest_path.as_str();
            let problem = format!(
                "the directory at \"{guest_path}\" is shared through a socket; name the directory to make it in"
            );
            return Err(Error::invalid_config(SOCKET_DIR, problem));
        };
        let socket = dir.join(format!("{tag}.sock")).to_string_lossy().into_owned();
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

fn check_socket_dir(dir: &str) -> Result<PathBuf> {
    let refused = |problem| Err(Error::invalid_config(SOCKET_DIR, format!("{dir:?} {problem}")));
    if dir.contains('\0') {
        return refused("contains a NUL character");
    }
    match Path::new(dir) {
        path if path.is_absolute() => Ok(path.to_owned()),
        _ => refused("is not absolute"),
    }
}

/// `args`, `virtiofs` and `guest` for these mounts, which stand in the order of [`plan`](crate::mount::plan()).
pub fn render(mounts: &[ResolvedMount], options: &QemuOptions) -> Result<Value> {
    let (mut args, mut virtiofs, mut guest) = (Vec::new(), Vec::new(), Vec::new());
    for (at, mount) in mounts.iter().enumerate() {
        let name = format!("{}-{at}", options.prefix);
        match &mount.origin {
            _ if mount.is_file() => {
                let problem = "virtiofs shares directories, and this is a file; mount the directory it is in";
                return Err(unsupported(RUNTIME, mount, problem));
            }
            Origin::Bind { host, .. } | Origin::Named { host, .. } => {
                check_policies(mount)?;
                let source = path_to_mount(RUNTIME, mount, host, options.by_path)?;
                let socket = options.socket(mount, &name)?;
                args.extend(share(&name, &socket));
                virtiofs.push(json!({
                    "tag": name, "source": source, "readonly": mount.flags.readonly, "socket": socket,
                }));
            }
            Origin::Disk { open, format, .. } => {
                args.extend(disk(&name, host_text(RUNTIME, mount, open)?, *format, mount.flags.readonly));
            }
            Origin::Tmpfs { .. } => {}
        }
        guest.push(guest_mount(mount, &name, &mounts[at + 1..]));
    }
    let memory = memory(options, !virtiofs.is_empty());
    args.splice(0..0, memory);
    Ok(object([("args", args.into()), ("virtiofs", virtiofs.into()), ("guest", guest.into())]))
}

/// A virtiofs server hands the host's own owners and modes through, both ways.
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

/// The machine's memory, which a virtiofs server has to share.
fn memory(options: &QemuOptions, shared: bool) -> Vec<String> {
    let mut args = Vec::new();
    if shared || options.memory_mib.is_some() {
        let mib = options.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB);
        args.extend(["-m".to_owned(), format!("{mib}M")]);
        if shared {
            let backend = format!("memory-backend-memfd,id=sv-memory,size={mib}M,share=on");
            args.extend(["-object", &backend, "-machine", "memory-backend=sv-memory"].map(str::to_owned));
        }
    }
    args
}

fn share(name: &str, socket: &str) -> [String; 4] {
    // In this notation a comma in a value is doubled.
    let chardev = format!("socket,id={name},path={}", socket.replace(',', ",,"));
    let device = format!("vhost-user-fs-pci,chardev={name},tag={name}");
    ["-chardev".to_owned(), chardev, "-device".to_owned(), device]
}

fn disk(name: &str, open: &str, format: DiskFormat, readonly: bool) -> [String; 4] {
    // Nothing is left to a default: the guest's flushes reach the disk, and what is read-only stays so.
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
        // Whatever the header says by then, no backing file is opened.
        more["backing"] = Value::Null;
    }
    // Our names of the formats are QEMU's drivers.
    let blockdev = node(format.as_str(), name, more).to_string();
    let device = format!("virtio-blk-pci,drive={name},serial={name},werror=report");
    ["-blockdev".to_owned(), blockdev, "-device".to_owned(), device]
}

/// How the guest makes a mount; `later` are those that are made after it.
fn guest_mount(mount: &ResolvedMount, name: &str, later: &[ResolvedMount]) -> Value {
    let (fstype, device, tag, serial, more) = match &mount.origin {
        Origin::Bind { .. } | Origin::Named { .. } => {
            ("virtiofs", name.to_owned(), Some(name), None, Vec::new())
        }
        Origin::Disk { fstype, .. } => {
            (fstype.as_deref().unwrap_or("auto"), device_of(name), None, Some(name), Vec::new())
        }
        Origin::Tmpfs { size_mib } => ("tmpfs", "tmpfs".to_owned(), None, None, tmpfs_options(*size_mib)),
    };
    let at = quote(mount.guest_path.as_str());
    let make = |options: &[String]| format!("mount -t {fstype} -o {} {device} {at}", options.join(","));
    let flags: Vec<String> = mount_options(mount.flags).collect();
    let options = [flags.clone(), more.clone()].concat();
    let mut steps = vec![mkdir(mount)];
    let begins_empty = matches!(mount.origin, Origin::Tmpfs { .. });
    let inside = if begins_empty && mount.flags.readonly { directly_below(mount, later) } else { Vec::new() };
    if !inside.is_empty() {
        // A tmpfs begins empty: the mount points in it are made before it becomes read-only.
        let writable = mount_options(MountFlags { readonly: false, ..mount.flags }).collect();
        steps.push(make(&[writable, more].concat()));
        steps.extend(inside.into_iter().map(mkdir));
        steps.push(make(&[vec!["remount".to_owned()], flags].concat()));
    } else {
        steps.push(make(&options));
    }
    json!({
        "guestPath": mount.guest_path.as_str(), "type": fstype, "tag": tag, "serial": serial,
        "options": options, "command": steps.join(" && "),
    })
}

/// A shell word for the disk with this serial number, however the guest's kernel called it.
fn device_of(serial: &str) -> String {
    format!("\"/dev/$(cd /sys/block && grep -lxF {serial} */serial | cut -d/ -f1)\"")
}

fn mkdir(mount: &ResolvedMount) -> String {
    format!("mkdir -p {}", quote(mount.guest_path.as_str()))
}

/// One word for a POSIX shell, whatever is in it.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
