//! `--mount` and `--tmpfs` arguments for `docker run` and `podman run`, which support different options.

use super::{
    BY_PATH, by_path, disk_refused, mount_options, path_to_mount, refuse_virtiofs_policies, tmpfs_options,
    unsupported,
};
use crate::error::Result;
use crate::model::{OptionReader, OptionValue};
use crate::mount::option_names::{NODEV, NOEXEC, NOSUID};
use crate::mount::{MountFlags, ResolvedMount, ResolvedSource};
use std::borrow::Cow;

const ENGINE: &str = "engine";

/// The engine that reads the arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// Docker 25 or later.
    #[default]
    Docker,
    /// Podman 4 or later.
    Podman,
}

impl Engine {
    /// The names that callers and JavaScript use.
    const NAMES: [(&'static str, Engine); 2] = [("docker", Engine::Docker), ("podman", Engine::Podman)];

    /// Returns the name for messages.
    fn title(self) -> &'static str {
        match self {
            Engine::Docker => "Docker",
            Engine::Podman => "Podman",
        }
    }
}

/// The options of `toDocker`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DockerOptions {
    /// The engine that reads the arguments.
    pub engine: Engine,
    /// Whether parts of volumes may be mounted by their paths.
    pub by_path: bool,
}

impl DockerOptions {
    /// Reads `toDocker`'s options.
    pub fn from_input(input: &OptionValue) -> Result<Self> {
        let fields = OptionReader::of("DockerOptions", input, &[ENGINE, BY_PATH])?;
        let engine = fields.choice(ENGINE, &Engine::NAMES)?.unwrap_or_default();
        Ok(DockerOptions { engine, by_path: by_path(&fields)? })
    }
}

impl From<Engine> for DockerOptions {
    fn from(engine: Engine) -> Self {
        DockerOptions { engine, ..DockerOptions::default() }
    }
}

/// Returns the arguments for these mounts, which are in the order of
/// [`validate_and_order`](crate::mount::validate_and_order()).
pub fn render(mounts: &[ResolvedMount], options: DockerOptions) -> Result<Vec<String>> {
    let DockerOptions { engine, by_path } = options;
    let mut argv = Vec::new();
    for mount in mounts {
        refuse_virtiofs_policies(engine.title(), mount)?;
        match &mount.origin {
            ResolvedSource::Bind { host, .. } | ResolvedSource::Named { host, .. } => {
                let host = path_to_mount(engine.title(), mount, host, by_path)?;
                if host.contains(char::is_control) {
                    // Both engines read a line break in a quoted field, and may change it.
                    let problem = format!("its host path {host:?} contains a control character");
                    return Err(unsupported(engine.title(), mount, problem));
                }
                argv.extend(["--mount".to_owned(), bind(engine, mount, host)?]);
            }
            ResolvedSource::Tmpfs { size_mib } => {
                argv.extend(["--tmpfs".to_owned(), tmpfs(engine, mount, *size_mib)]);
            }
            ResolvedSource::Disk { .. } => return Err(disk_refused(engine.title(), mount)),
        }
    }
    Ok(argv)
}

/// Renders a bind mount without the mounts below its source: flags do not apply to those in some versions.
fn bind(engine: Engine, mount: &ResolvedMount, host: &str) -> Result<String> {
    let mut line = String::from("type=bind");
    push_field(&mut line, &["source=", host]);
    push_field(&mut line, &["destination=", mount.guest_path.as_str()]);
    push_field(&mut line, &["bind-propagation=rprivate"]);
    let MountFlags { readonly, noexec, nosuid, nodev } = mount.flags;
    let restrictions = [(nosuid, NOSUID), (nodev, NODEV), (noexec, NOEXEC)];
    let mut restrictions = restrictions.into_iter().filter(|(set, _)| *set).map(|(_, name)| name);
    match engine {
        Engine::Docker => {
            push_field(&mut line, &["bind-recursive=disabled"]);
            if let Some(name) = restrictions.next() {
                let problem =
                    format!("a bind mount of it has no {name:?}; leave it unset, or use another runtime");
                return Err(unsupported(engine.title(), mount, problem));
            }
        }
        Engine::Podman => {
            push_field(&mut line, &["bind-nonrecursive"]);
            restrictions.for_each(|name| push_field(&mut line, &[name]));
        }
    }
    if readonly {
        push_field(&mut line, &["readonly"]);
    }
    Ok(line)
}

fn tmpfs(engine: Engine, mount: &ResolvedMount, size_mib: Option<u32>) -> String {
    let mut options: Vec<Cow<'_, str>> = mount_options(mount.flags).map(Cow::from).collect();
    options.extend(tmpfs_options(size_mib));
    if !mount.flags.noexec {
        // Docker's own default is "noexec".
        options.push("exec".into());
    }
    if engine == Engine::Podman {
        // Without this, podman copies the image's content into it.
        options.push("notmpcopyup".into());
    }
    format!("{}:{}", mount.guest_path, options.join(","))
}

/// Adds a field, in parts, to a line of CSV.
fn push_field(line: &mut String, field: &[&str]) {
    let is_quoted = field.iter().any(|part| part.contains([',', '"']));
    line.push_str(if is_quoted { ",\"" } else { "," });
    for part in field {
        match is_quoted {
            true => line.push_str(&part.replace('"', "\"\"")),
            false => line.push_str(part),
        }
    }
    line.push_str(if is_quoted { "\"" } else { "" });
}
