//! microsandbox with the same home: which volumes its catalog has, and which its sandboxes have mounted.

use super::host_path::is_in;
use crate::catalog::{ActiveSandbox, MountedSource, MsbCatalog, MsbVolume};
use crate::error::{Errno, Error, Result};
use crate::model::VolumeName;
use crate::mount::runtime::microsandbox::{ByName, KnownVolume};
use crate::store::{Attachment, Store, StoreHandle};
use crate::sys::fd::AsFd;
use crate::sys::{EntryKind, FileId, Found, open_host_file, stat_at};
use serde_json::Value;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CATALOG: &str = "msb.db";
const CONFIGURATION: &str = "config.json";

/// Directory with the journals of microsandbox's downgrades, and the phase of a finished one.
const DOWNGRADES: &str = "self-downgrade";
const JOURNAL: &str = "journal.json";
const PHASE: &str = "phase";
const COMPLETE: &str = "complete";

/// Maximum length of a configuration or journal in bytes.
const MAX_JSON_BYTES: u64 = 1 << 20;

/// What microsandbox's files had about the volumes at the time of the attachment.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeenByMicrosandbox {
    /// Reason why microsandbox does not find this home's volumes by name.
    elsewhere: Option<String>,
    /// Rows of the volumes in microsandbox's catalog.
    rows: HashMap<VolumeName, i64>,
}

/// The directory in which microsandbox looks up volumes by name.
enum VolumesDirectory {
    Ours,
    Other(PathBuf),
    Unknown(Error),
}

impl Store {
    /// Returns whether microsandbox, with this home, finds the attached volume by its name. Does not wait for other
    /// programs, so it may be called where blocking is not permitted.
    ///
    /// microsandbox up to 0.7.11 deletes the directory if its catalog lacks the name: the directory is in its way,
    /// and its rollback deletes it.
    pub fn named_in_microsandbox(&self, attachment: &Attachment, name: &VolumeName) -> Result<ByName> {
        let handle = self.last_handle();
        let seen = &attachment.seen;
        if let Some(problem) = &seen.elsewhere {
            return Ok(ByName::Unknown(problem.clone()));
        }
        let attached = seen.rows.get(name).copied();
        Ok(match handle.row_of(name)? {
            None => ByName::Unknown(format!("its catalog has no volume {:?}", name.as_str())),
            Some(row) if row.is_incomplete => {
                ByName::Unknown(format!("it is still creating the volume {:?}", name.as_str()))
            }
            Some(row) if attached.is_some_and(|attached| attached != row.id) => ByName::Unknown(format!(
                "the volume {:?} of its catalog is another one than when it was attached",
                name.as_str()
            )),
            Some(row) => ByName::Known(KnownVolume { kind: row.kind, capacity_bytes: row.capacity_bytes }),
        })
    }
}

impl StoreHandle {
    /// Fails with `VolumeInUse` if a running sandbox of microsandbox has mounted the volume, or may have. `wait` is
    /// the maximum wait for a catalog that another program has locked.
    pub(crate) fn refuse_mounted_in_microsandbox(&self, name: &VolumeName, wait: Duration) -> Result<()> {
        let Some(catalog) = self.msb_catalog(wait)? else { return Ok(()) };
        self.refuse_downgrade(&catalog.path)?;
        let row = catalog.volume(name)?;
        let creating = row.and_then(|row| row.creating_sandbox);
        let is_by_name = !matches!(self.volumes_of_microsandbox(), VolumesDirectory::Other(_));
        let place = self.dirs.volumes.path_of(name.as_str());
        let mounts = |source: &MountedSource| match source {
            MountedSource::Volume(volume) => is_by_name && volume == name.as_str(),
            MountedSource::Host(host) => leads_into(host, &place),
        };
        let is_mounted =
            |sandbox: &ActiveSandbox| sandbox.sources.as_ref().is_none_or(|all| all.iter().any(mounts));
        let active = catalog.active_sandboxes()?.into_iter().filter(is_mounted).map(|sandbox| sandbox.name);
        let mut sandboxes: Vec<_> = creating.into_iter().chain(active).collect();
        sandboxes.dedup();
        match sandboxes.is_empty() {
            true => Ok(()),
            false => Err(Error::volume_in_microsandbox(name.as_str(), sandboxes)),
        }
    }

    /// Reads what microsandbox's catalog has about volumes that are being attached. An error is ignored here; the
    /// renderer reports it.
    pub(crate) fn seen_by_microsandbox<'n>(
        &self,
        names: impl Iterator<Item = &'n VolumeName>,
    ) -> SeenByMicrosandbox {
        let mut names = names.peekable();
        if names.peek().is_none() {
            return SeenByMicrosandbox::default();
        }
        let elsewhere = match self.volumes_of_microsandbox() {
            VolumesDirectory::Ours => None,
            VolumesDirectory::Other(path) => Some(format!(
                "its {CONFIGURATION:?} has its volumes in {path:?}, and these are in {:?}",
                self.dirs.volumes.path()
            )),
            VolumesDirectory::Unknown(error) => {
                Some(format!("its {CONFIGURATION:?} does not say where its volumes are: {error}"))
            }
        };
        let row = |name: &VolumeName| Some((name.clone(), self.row_of(name).ok()??.id));
        SeenByMicrosandbox { elsewhere, rows: names.filter_map(row).collect() }
    }

    fn volumes_of_microsandbox(&self) -> VolumesDirectory {
        let found = read_json(&self.dirs.home.path_of(CONFIGURATION)).and_then(|configuration| {
            let volumes = configuration.as_ref().map(|found| &found["paths"]["volumes"]);
            let path = match volumes {
                None | Some(Value::Null) => return Ok(VolumesDirectory::Ours),
                Some(volumes) => volumes.as_str().map(PathBuf::from),
            };
            let path = path.ok_or_else(|| Error::catalog("has \"paths.volumes\" that is no path"))?;
            let volumes = &self.dirs.volumes;
            let ours = FileId::of_open(volumes.as_fd())
                .map_err(|error| Error::file_system("stat", volumes.path(), error))?;
            match path.is_absolute() && FileId::at(&path)? == Some(ours) {
                true => Ok(VolumesDirectory::Ours),
                false => Ok(VolumesDirectory::Other(path)),
            }
        });
        found.unwrap_or_else(VolumesDirectory::Unknown)
    }

    /// Returns the row of a volume in microsandbox's catalog. Does not wait for other programs.
    fn row_of(&self, name: &VolumeName) -> Result<Option<MsbVolume>> {
        match self.msb_catalog(Duration::ZERO)? {
            Some(catalog) => catalog.volume(name),
            None => Ok(None),
        }
    }

    /// Returns microsandbox's catalog, if it exists.
    fn msb_catalog(&self, wait: Duration) -> Result<Option<MsbCatalog>> {
        let databases = self.dirs.databases();
        let path = databases.path_of(CATALOG);
        match stat_at(databases.as_fd(), OsStr::new(CATALOG)) {
            Ok(stat) if stat.kind() == EntryKind::File => {}
            Ok(_) => {
                return Err(Error::catalog(format!("of microsandbox, {path:?}, is not a regular file")));
            }
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => return Ok(None),
            Err(error) => return Err(Error::file_system("stat", path, error)),
        }
        Ok(Some(MsbCatalog { path, wait }))
    }

    /// Fails if microsandbox is downgrading its catalog.
    fn refuse_downgrade(&self, catalog: &Path) -> Result<()> {
        let databases = self.dirs.databases();
        if !databases.contains(DOWNGRADES)? {
            return Ok(());
        }
        let downgrades = databases.open_child(DOWNGRADES)?;
        for name in downgrades.names()? {
            let path = downgrades.path().join(&name);
            let is_directory =
                stat_at(downgrades.as_fd(), &name).is_ok_and(|stat| stat.kind() == EntryKind::Directory);
            if name.as_encoded_bytes().starts_with(b".") || !is_directory {
                continue;
            }
            let journal = read_json(&path.join(JOURNAL))?;
            if journal.is_none_or(|journal| journal[PHASE] != COMPLETE) {
                let problem = format!(
                    "of microsandbox, {catalog:?}, is being downgraded, as {path:?} shows. Let microsandbox finish that \
                     first."
                );
                return Err(Error::catalog(problem));
            }
        }
        Ok(())
    }
}

/// Returns true if a path of the host leads to a directory or into it.
fn leads_into(host: &Path, directory: &Path) -> bool {
    // A path that leads nowhere any more, such as that of a closed descriptor, is compared by name only.
    let leads_into = |path: &Path| path.starts_with(directory) || is_in(path, directory).unwrap_or(false);
    leads_into(host) || real_path(host).is_some_and(|real| leads_into(&real))
}

#[expect(clippy::disallowed_methods, reason = "the path is another program's own, and is only compared")]
fn real_path(path: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(path).ok()
}

/// Reads a JSON file of microsandbox. Returns `None` if it does not exist.
fn read_json(path: &Path) -> Result<Option<Value>> {
    let failed = |error: std::io::Error| Error::file_system("open", path, error);
    let found = match open_host_file(path, |_, _| Ok::<(), std::io::Error>(())) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => return Ok(None),
        found => found.map_err(failed)?,
    };
    let invalid = |problem: &str| Error::catalog(format!("of microsandbox has {path:?}, which {problem}"));
    let Found::Regular(found) = found else { return Err(invalid("is not a regular file")) };
    let mut text = Vec::new();
    File::from(found.file).take(MAX_JSON_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_JSON_BYTES {
        return Err(invalid("is too long"));
    }
    serde_json::from_slice(&text).map(Some).map_err(|error| invalid("is not JSON").caused_by(error))
}
