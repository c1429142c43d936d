//! Finds and, on request, repairs what manual changes or a crash left in a home.

use super::attach::liveness::live_holders;
use super::home_dirs::HomeDirs;
use super::privacy::GuardedDirs;
use super::volume::discover::FoundEntry;
use super::volume::recover::ignore_refusal;
use super::{StoreHandle, check_home};
use crate::catalog::{FoundVolume, HeldResource, InvalidRow};
use crate::error::{ErrorKind, Result};
use crate::model::{VolumeName, VolumeRecord};
use crate::sync::CancelToken;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Kind of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The catalog is not a database, is damaged, or is not a file.
    ///
    /// Repair renames it and discovers the volumes again. A catalog with only a wrong version gets the right version.
    CatalogDamaged,
    /// Volumes exist, but no catalog. Repair discovers the volumes again, as every opening does.
    CatalogMissing,
    /// The catalog does not have this directory. Repair makes it a volume without a quota or labels.
    UnknownDirectory,
    /// The directory of a volume is missing. Repair deletes the volume's row, unless the volume is attached.
    MissingDirectory,
    /// No version of this program could have written this row. Repair deletes the row.
    InvalidRow,
    /// An operation did not finish. Repair finishes it or rolls it back.
    IncompleteOperation,
    /// The image of a disk volume is missing or damaged. It is not repaired.
    BadImage,
    /// An entry of the volumes directory does not belong to a volume. Repair renames it if it is at the place of a
    /// directory, a lock file or an id file of the store. Other entries stay.
    UnrecognizedEntry,
    /// Other users of the host have rights on a directory of the home. Repair removes these rights if this user owns
    /// the directory.
    OpenToOthers,
}

impl ProblemKind {
    /// The names in JavaScript.
    pub const NAMES: [(&'static str, ProblemKind); 9] = [
        ("catalog-damaged", ProblemKind::CatalogDamaged),
        ("catalog-missing", ProblemKind::CatalogMissing),
        ("unknown-directory", ProblemKind::UnknownDirectory),
        ("missing-directory", ProblemKind::MissingDirectory),
        ("unusable-row", ProblemKind::InvalidRow),
        ("incomplete-operation", ProblemKind::IncompleteOperation),
        ("bad-image", ProblemKind::BadImage),
        ("unrecognized-entry", ProblemKind::UnrecognizedEntry),
        ("open-to-others", ProblemKind::OpenToOthers),
    ];
}

/// A problem of a home.
#[derive(Clone, Debug)]
pub struct HomeProblem {
    /// Kind of the problem.
    pub kind: ProblemKind,
    /// The affected volume, if any.
    pub volume: Option<String>,
    /// Path of the affected file or directory.
    pub path: PathBuf,
    /// Description of the problem.
    pub message: String,
    /// True if the problem was repaired.
    pub repaired: bool,
}

impl HomeProblem {
    pub(super) fn new(kind: ProblemKind, path: PathBuf, message: String) -> Self {
        HomeProblem { kind, volume: None, path, message, repaired: false }
    }

    pub(super) fn in_volume(mut self, volume: &str) -> Self {
        self.volume = Some(volume.to_owned());
        self
    }

    pub(super) fn repaired(mut self, repaired: bool) -> Self {
        self.repaired = repaired;
        self
    }
}

/// Options of [`check()`].
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions {
    /// True to repair what can be repaired.
    pub repair: bool,
    /// True if other users' rights on the home are intended; see [`super::OpenOptions`].
    pub shared: bool,
}

impl From<bool> for CheckOptions {
    fn from(repair: bool) -> Self {
        CheckOptions { repair, shared: false }
    }
}

/// Checks a home. Changes it only with `repair`, and then only what can be repaired without a loss.
///
/// A home that does not exist has no problems. The volumes of a home that other users may write are not checked. A
/// home on a read-only file system is not repaired.
pub fn check(
    home: &Path,
    options: impl Into<CheckOptions>,
    cancel: &CancelToken,
) -> Result<Vec<HomeProblem>> {
    let invalid = HomeDirs::invalid_home_entries(home)?;
    if !invalid.is_empty() {
        return Ok(invalid.into_iter().map(check_home::non_directory_problem).collect());
    }
    let Some((root, volumes, databases)) = HomeDirs::open_guarded(home)? else { return Ok(Vec::new()) };
    let dirs = GuardedDirs { home: &root, volumes: &volumes, databases: databases.as_ref() };
    check_home::check_existing(home, &dirs, options.into(), cancel)
}

/// The check of a home with an intact catalog.
pub(super) struct HomeCheck<'a> {
    pub handle: &'a StoreHandle,
    pub repair: bool,
    pub cancel: &'a CancelToken,
}

impl HomeCheck<'_> {
    /// Finds the problems and, with `repair`, repairs them.
    pub fn run(&self) -> Result<Vec<HomeProblem>> {
        let mut problems = self.check_lock_files()?;
        problems.extend(self.check_incomplete_operations()?);
        problems.extend(self.check_undeletable_list()?);
        let (records, invalid) = self.handle.catalog.read(|catalog| catalog.volumes())?;
        for row in &invalid {
            self.cancel.check()?;
            problems.push(self.check_invalid_row(row)?);
        }
        for record in &records {
            self.cancel.check()?;
            problems.extend(self.check_volume(record)?);
            problems.extend(self.check_id_file(record)?);
        }
        for entry in self.handle.dirs.entries()? {
            self.cancel.check()?;
            problems.extend(self.check_entry(&entry)?);
        }
        for name in self.handle.stale_identities()? {
            self.cancel.check()?;
            problems.extend(self.check_stale(&name)?);
        }
        Ok(problems)
    }

    /// Checks for the id of a volume that is gone. A later directory with the same name would get that id.
    fn check_stale(&self, name: &VolumeName) -> Result<Option<HomeProblem>> {
        if !self.holds_under_name_lock(name, || self.handle.is_stale(name))? {
            return Ok(None);
        }
        let mut message =
            format!("The id of a volume {:?} is left, and there is no such volume.", name.as_str());
        let repaired = self.repair && unless_refused(self.handle.delete_stale_identity(name), &mut message)?;
        let path = self.handle.dirs.ids.path_of(name.as_str());
        Ok(Some(HomeProblem::new(ProblemKind::IncompleteOperation, path, message).repaired(repaired)))
    }

    fn check_incomplete_operations(&self) -> Result<Vec<HomeProblem>> {
        let mut problems = self.incomplete_operations()?;
        if self.repair && !problems.is_empty() {
            ignore_refusal(self.handle.dirs.clear_undeletable())?;
            self.handle.recover()?;
            // Recovery leaves what the file system or a lock did not permit.
            let remaining = self.incomplete_operations()?;
            for problem in &mut problems {
                let is_same =
                    |other: &HomeProblem| (&other.path, &other.volume) == (&problem.path, &problem.volume);
                problem.repaired = !remaining.iter().any(is_same);
                if !problem.repaired && problem.volume.is_none() {
                    problem.message = self.undeletable_message(problem);
                }
            }
        }
        Ok(problems)
    }

    /// Checks for an entry at the path of the list of undeletable leftovers that is not a file.
    fn check_undeletable_list(&self) -> Result<Option<HomeProblem>> {
        let Some((path, kind)) = self.handle.dirs.invalid_undeletable_list()? else { return Ok(None) };
        let mut message = format!("{path:?} is {kind}, not a file. Move it away.");
        let delete = || self.handle.dirs.clear_undeletable().map(|()| true);
        let repaired = self.repair && unless_refused(delete(), &mut message)?;
        Ok(Some(HomeProblem::new(ProblemKind::UnrecognizedEntry, path, message).repaired(repaired)))
    }

    /// Returns a message that says why a leftover in the staging or trash directory could not be deleted.
    fn undeletable_message(&self, problem: &HomeProblem) -> String {
        let entry = problem.path.file_name().and_then(OsStr::to_str);
        let dir = [&self.handle.dirs.staging, &self.handle.dirs.trash]
            .into_iter()
            .find(|dir| problem.path.starts_with(dir.path()));
        match entry.zip(dir).map(|(entry, dir)| self.handle.clear_leftover(dir, entry)) {
            Some(Err(error)) => format!(
                "An operation that did not finish left this, and it cannot be deleted: {error} Opening the \
                 store tries again."
            ),
            _ => problem.message.clone(),
        }
    }

    /// Returns abandoned intents and leftovers: those whose lock is free.
    fn incomplete_operations(&self) -> Result<Vec<HomeProblem>> {
        let mut problems = Vec::new();
        for intent in self.handle.catalog.read(|catalog| catalog.intents(None))? {
            let remains = || {
                // This acquires the work lock for a moment. Under the name lock, no removal can need it then. Nothing
                // holds a lock file that is no file.
                let locks = &self.handle.dirs.locks;
                if !locks.is_work_lock_unusable(&intent.name)? && locks.is_work_locked(&intent.name)? {
                    return Ok(false);
                }
                // TOCTOU: a removal deletes its intent before it releases the work lock, so the intent is read last.
                let intents = self.handle.catalog.read(|catalog| catalog.intents(Some(&intent.name)))?;
                Ok(intents.iter().any(|other| other.volume_id == intent.volume_id))
            };
            if self.holds_under_name_lock(&intent.name, remains)? {
                let name = intent.name.as_str();
                let message = format!(
                    "Creating or removing volume {name:?} did not finish. The next operation on it, or \
                     opening the store, finishes or undoes it."
                );
                let path = self.handle.dirs.volumes.path_of(name);
                problems
                    .push(HomeProblem::new(ProblemKind::IncompleteOperation, path, message).in_volume(name));
            }
        }
        for dir in [&self.handle.dirs.staging, &self.handle.dirs.trash] {
            for entry in dir.names()? {
                let Some(text) = entry.to_str() else { continue };
                let message = match self.handle.lock_abandoned(dir, text) {
                    Ok(None) => continue,
                    Ok(Some(_lock)) => {
                        "An operation that did not finish left this. Opening the store deletes it.".to_owned()
                    }
                    Err(error) if error.kind() == ErrorKind::FileSystem => {
                        format!(
                            "It cannot be determined whether an operation left this: {error} Delete it by hand."
                        )
                    }
                    Err(error) => return Err(error),
                };
                problems.push(HomeProblem::new(ProblemKind::IncompleteOperation, dir.path_of(text), message));
            }
        }
        Ok(problems)
    }

    fn check_invalid_row(&self, row: &InvalidRow) -> Result<HomeProblem> {
        let name = &row.name;
        let mut message = format!("The catalog's row of {name:?} is not usable: {}", row.problem);
        let delete = || self.delete_invalid_row(row).map(|()| true);
        let repaired = self.repair && unless_refused(delete(), &mut message)?;
        let problem = HomeProblem::new(ProblemKind::InvalidRow, self.handle.dirs.catalog_path(), message);
        Ok(problem.in_volume(name).repaired(repaired))
    }

    fn check_volume(&self, record: &VolumeRecord) -> Result<Option<HomeProblem>> {
        let name = record.name.as_str();
        let path = self.handle.dirs.volumes.path_of(name);
        let is_missing =
            || Ok(self.handle.still_exists(record)? && !self.handle.dirs.volumes.contains(name)?);
        if is_missing()? && self.holds_under_name_lock(&record.name, is_missing)? {
            let mut message = format!(
                "The directory of volume {name:?} is gone: it was deleted manually. Its content is lost; removing the \
                 volume frees its name."
            );
            let repaired = self.repair && unless_refused(self.delete_record(record), &mut message)?;
            let problem = HomeProblem::new(ProblemKind::MissingDirectory, path, message);
            return Ok(Some(problem.in_volume(name).repaired(repaired)));
        }
        let Some(disk) = record.storage.disk() else { return Ok(None) };
        let inspect = || self.handle.dirs.inspect_volume(&record.name, disk);
        let has_bad_image = || Ok(self.handle.still_exists(record)? && inspect().is_err());
        if let Err(error) = inspect()
            && self.holds_under_name_lock(&record.name, has_bad_image)?
        {
            return Ok(Some(
                HomeProblem::new(ProblemKind::BadImage, path, error.to_string()).in_volume(name),
            ));
        }
        Ok(None)
    }

    /// Returns true if `seen` is true under the name lock, or if that lock cannot be held. Returns false if another
    /// operation holds it.
    pub(super) fn holds_under_name_lock(
        &self,
        name: &VolumeName,
        seen: impl Fn() -> Result<bool>,
    ) -> Result<bool> {
        if self.handle.dirs.is_read_only() || self.handle.dirs.locks.is_unusable(name)? {
            return seen();
        }
        match self.handle.dirs.locks.try_lock(name)? {
            Some(_lock) => seen(),
            None => Ok(false),
        }
    }

    /// Deletes the row of a volume without a directory, and its id and quota files. Returns false if the volume is
    /// attached or its directory exists again.
    fn delete_record(&self, record: &VolumeRecord) -> Result<bool> {
        let _lock = self.handle.dirs.locks.lock(&record.name, self.cancel)?;
        self.handle.write_to_free(|catalog| {
            let free = live_holders(catalog, HeldResource::Volume(record.id), None)?.is_empty();
            let delete = free && !self.handle.dirs.volumes.contains(record.name.as_str())?;
            if delete {
                // Crash safety: the id file goes before the row, so that a later directory with this name never gets
                // this id.
                self.handle.dirs.delete_files_beside(&record.name)?;
                catalog.delete_volume(record.id)?;
            }
            Ok(delete)
        })
    }

    /// Deletes an invalid row. If the directory exists, its id and quota files stay for the volume that it becomes.
    fn delete_invalid_row(&self, row: &InvalidRow) -> Result<()> {
        let name = VolumeName::parse(&row.name).ok();
        let _lock = name.as_ref().map(|name| self.handle.dirs.locks.lock(name, self.cancel)).transpose()?;
        self.handle.write_to_free(|catalog| {
            if let Some(name) = &name
                && !self.handle.dirs.volumes.contains(name.as_str())?
            {
                self.handle.dirs.delete_files_beside(name)?;
            }
            catalog.delete_volume(row.id)
        })
    }

    fn check_entry(&self, entry: &FoundEntry) -> Result<Option<HomeProblem>> {
        let volumes = &self.handle.dirs.volumes;
        match entry {
            FoundEntry::Unrecognized(name) => {
                let message = format!(
                    "{name:?} in the volumes directory is no volume's: a file, a link, or a name that no volume has. \
                     Move it away."
                );
                Ok(Some(HomeProblem::new(ProblemKind::UnrecognizedEntry, volumes.path_of(name), message)))
            }
            FoundEntry::Volume(found) => {
                let name = found.name.as_str();
                let is_unknown = || {
                    let is_known = self.handle.catalog.read(|catalog| catalog.has_row(&found.name))?;
                    Ok(!is_known && volumes.contains(name)?)
                };
                if !is_unknown()? || !self.holds_under_name_lock(&found.name, is_unknown)? {
                    return Ok(None);
                }
                let mut message = format!(
                    "The catalog does not know the directory {name:?}. As a volume it has neither a quota nor labels."
                );
                let repaired = self.repair && unless_refused(self.adopt(found), &mut message)?;
                let problem = HomeProblem::new(ProblemKind::UnknownDirectory, volumes.path_of(name), message);
                Ok(Some(problem.in_volume(name).repaired(repaired)))
            }
        }
    }

    /// Makes a directory a volume. Returns false if it is gone or is a volume already.
    fn adopt(&self, found: &FoundVolume) -> Result<bool> {
        let _lock = self.handle.dirs.locks.lock(&found.name, self.cancel)?;
        self.handle.catalog.write(|catalog| {
            Ok(self.handle.dirs.volumes.contains(found.name.as_str())? && catalog.adopt_volume(found)?)
        })
    }
}

/// Returns false if the file system refuses a repair, and adds the reason to `message`.
pub(super) fn unless_refused(repaired: Result<bool>, message: &mut String) -> Result<bool> {
    match repaired {
        Err(error) if error.kind() == ErrorKind::FileSystem => {
            message.push_str(&format!(" It cannot be repaired: {error}"));
            Ok(false)
        }
        repaired => repaired,
    }
}
