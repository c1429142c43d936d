//! Finding, and on request mending, what a person's hands or an old crash left.

use super::attach::liveness::living;
use super::layout::HomeDirs;
use super::volume::discover::FoundEntry;
use super::{Durability, StoreHandle, check_home};
use crate::catalog::{FoundVolume, HeldResource, InvalidRow};
use crate::error::{ErrorKind, Result};
use crate::model::{VolumeKind, VolumeName, VolumeRecord};
use crate::sync::CancelToken;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The catalog is no database, a broken one, or no file. Mended by keeping it under another name and finding the
    /// volumes again; one whose version alone is wrong gets the right one.
    CatalogDamaged,
    /// There are volumes, but no catalog. Mended by finding them again, as every open does.
    CatalogMissing,
    /// A directory that the catalog does not know. Mended by making it a volume, without a quota or labels.
    UnknownDirectory,
    /// A volume whose directory is gone. Mended by striking it out, unless it is attached.
    MissingDirectory,
    /// A row of the catalog that no version of this program could have written. Mended by striking it out.
    InvalidRow,
    /// Something that an operation left which did not come to its end. Mended by finishing or undoing that.
    IncompleteOperation,
    /// A disk volume whose image is missing or damaged. Not mended.
    BadImage,
    /// Something in the volumes directory that is no volume's. Mended by moving it out of the way where a directory of the
    /// store's own is to be; else not.
    UnrecognizedEntry,
    /// A directory of the home on which other users of the host have rights. Mended by taking these away, where it is
    /// this user's.
    OpenToOthers,
}

impl ProblemKind {
    /// The names that JavaScript uses.
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

/// One thing that is wrong with a home.
#[derive(Clone, Debug)]
pub struct HomeProblem {
    /// What is wrong.
    pub kind: ProblemKind,
    /// The volume, where it is about one.
    pub volume: Option<String>,
    /// Where it is.
    pub path: PathBuf,
    /// The same in words.
    pub message: String,
    /// Whether it was mended.
    pub repaired: bool,
}

impl HomeProblem {
    pub(super) fn new(kind: ProblemKind, path: PathBuf, message: String) -> Self {
        HomeProblem { kind, volume: None, path, message, repaired: false }
    }

    fn of(mut self, volume: &str) -> Self {
        self.volume = Some(volume.to_owned());
        self
    }

    pub(super) fn repaired(mut self, repaired: bool) -> Self {
        self.repaired = repaired;
        self
    }
}

/// What is checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions {
    /// Whether what can be mended is.
    pub repair: bool,
    /// Whether other users' rights on the home are meant to be; see [`super::OpenOptions`].
    pub shared: bool,
}

impl From<bool> for CheckOptions {
    fn from(repair: bool) -> Self {
        CheckOptions { repair, shared: false }
    }
}

/// Looks a home over. Nothing is changed unless `repair` is asked for; then what can be mended without losing
/// anything is, and each problem says whether it was. A home that does not exist has no problems. One that other users
/// may write is not looked into, and one on a read-only file system is not mended.
pub fn check(
    home: &Path,
    options: impl Into<CheckOptions>,
    cancel: &CancelToken,
) -> Result<Vec<HomeProblem>> {
    let mut options = options.into();
    let (mut problems, are_left) = check_home::check_directories(home, options.repair)?;
    if are_left {
        return Ok(problems);
    }
    let layout = match HomeDirs::open_existing(home, Durability::Full)? {
        Some(layout) => layout,
        None => return Ok(problems),
    };
    options.repair &= !layout.is_read_only();
    let (rights, trusted) = layout.check_rights(options)?;
    problems.extend(rights);
    if trusted {
        problems.extend(check_home::check(home, layout, options, cancel)?);
    }
    Ok(problems)
}

impl StoreHandle {
    /// Looks for what is wrong with a home whose catalog is sound.
    pub(super) fn check(&self, repair: bool, cancel: &CancelToken) -> Result<Vec<HomeProblem>> {
        let mut problems = self.check_unfinished(repair)?;
        let (records, unusable) = self.catalog.read(|catalog| catalog.volumes())?;
        for row in &unusable {
            cancel.check()?;
            problems.push(self.check_unusable(row, repair, cancel)?);
        }
        for record in &records {
            cancel.check()?;
            problems.extend(self.check_volume(record, repair, cancel)?);
        }
        for entry in self.layout.entries()? {
            cancel.check()?;
            problems.extend(self.check_entry(&entry, repair, cancel)?);
        }
        for name in self.stale_identities()? {
            cancel.check()?;
            problems.extend(self.check_stale(&name, repair)?);
        }
        Ok(problems)
    }

    /// An id that a volume left which is gone: a directory of that name, made later, would get it.
    fn check_stale(&self, name: &VolumeName, repair: bool) -> Result<Option<HomeProblem>> {
        if !self.holds_undisturbed(name, || self.is_stale(name))? {
            return Ok(None);
        }
        let repaired = repair && self.delete_stale_identity(name)?;
        let message = format!("The id of a volume {:?} is left, and there is no such volume.", name.as_str());
        let path = self.layout.ids.path_of(name.as_str());
        Ok(Some(HomeProblem::new(ProblemKind::IncompleteOperation, path, message).repaired(repaired)))
    }

    fn check_unfinished(&self, repair: bool) -> Result<Vec<HomeProblem>> {
        let mut problems = self.unfinished()?;
        if repair && !problems.is_empty() {
            self.layout.keep_none()?;
            self.recover()?;
            // What the disk or a lock refused to recovery is still there.
            let left = self.unfinished()?;
            for problem in &mut problems {
                let is_it =
                    |left: &HomeProblem| (&left.path, &left.volume) == (&problem.path, &problem.volume);
                problem.repaired = !left.iter().any(is_it);
                if !problem.repaired && problem.volume.is_none() {
                    problem.message = self.reason_to_stay(problem);
                }
            }
        }
        Ok(problems)
    }

    /// Says why a leftover in the staging or trash directory could not be deleted.
    fn reason_to_stay(&self, problem: &HomeProblem) -> String {
        let entry = problem.path.file_name().and_then(OsStr::to_str);
        let dir = [&self.layout.staging, &self.layout.trash]
            .into_iter()
            .find(|dir| problem.path.starts_with(dir.path()));
        match entry.zip(dir).map(|(entry, dir)| self.clear_leftover(dir, entry)) {
            Some(Err(error)) => format!(
                "An operation that did not come to its end left this, and it cannot be deleted: {error} Opening the \
                 store tries again."
            ),
            _ => problem.message.clone(),
        }
    }

    /// Intents and leftovers whose owner is dead: those whose lock is free.
    fn unfinished(&self) -> Result<Vec<HomeProblem>> {
        let mut problems = Vec::new();
        for intent in self.catalog.read(|catalog| catalog.intents(None))? {
            let is_left = || {
                let left = self.catalog.read(|catalog| catalog.intents(Some(&intent.name)))?;
                Ok(left.iter().any(|left| left.volume_id == intent.volume_id))
            };
            if !self.layout.is_worked_on(&intent.name)? && self.holds_undisturbed(&intent.name, is_left)? {
                let name = intent.name.as_str();
                let message = format!(
                    "Creating or removing volume {name:?} did not come to its end. The next operation on it, or \
                     opening the store, finishes or undoes it."
                );
                let path = self.layout.volumes.path_of(name);
                problems.push(HomeProblem::new(ProblemKind::IncompleteOperation, path, message).of(name));
            }
        }
        for dir in [&self.layout.staging, &self.layout.trash] {
            for entry in dir.names()? {
                let Some(text) = entry.to_str() else { continue };
                let message = match self.lock_abandoned(dir, text) {
                    Ok(None) => continue,
                    Ok(Some(_lock)) => {
                        "An operation that did not come to its end left this. Opening the store deletes it."
                            .to_owned()
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

    fn check_unusable(&self, row: &InvalidRow, repair: bool, cancel: &CancelToken) -> Result<HomeProblem> {
        let name = &row.name;
        if repair {
            self.strike_unusable(row, cancel)?;
        }
        let message = format!("The catalog's row of {name:?} is not usable: {}", row.problem);
        let problem = HomeProblem::new(ProblemKind::InvalidRow, self.layout.catalog_path(), message);
        Ok(problem.of(name).repaired(repair))
    }

    fn check_volume(
        &self,
        record: &VolumeRecord,
        repair: bool,
        cancel: &CancelToken,
    ) -> Result<Option<HomeProblem>> {
        let name = record.name.as_str();
        let path = self.layout.volumes.path_of(name);
        let is_missing = || Ok(self.is_still(record)? && !self.layout.volumes.contains(name)?);
        if is_missing()? && self.holds_undisturbed(&record.name, is_missing)? {
            let repaired = repair && self.delete_record(record, cancel)?;
            let message = format!(
                "The directory of volume {name:?} is gone: somebody deleted it. What was in it is lost; removing the \
                 volume frees its name."
            );
            let problem = HomeProblem::new(ProblemKind::MissingDirectory, path, message);
            return Ok(Some(problem.of(name).repaired(repaired)));
        }
        let has_bad_image = || Ok(self.is_still(record)? && self.inspect_volume(record).is_err());
        if record.kind == VolumeKind::Disk
            && let Err(error) = self.inspect_volume(record)
            && self.holds_undisturbed(&record.name, has_bad_image)?
        {
            return Ok(Some(HomeProblem::new(ProblemKind::BadImage, path, error.to_string()).of(name)));
        }
        Ok(None)
    }

    /// Whether something that was seen of a name holds while nobody creates or removes it. What somebody is about to
    /// change at this moment does not.
    fn holds_undisturbed(&self, name: &VolumeName, seen: impl Fn() -> Result<bool>) -> Result<bool> {
        if self.layout.is_read_only() {
            return seen();
        }
        match self.layout.try_lock(name)? {
            Some(_lock) => seen(),
            None => Ok(false),
        }
    }

    /// Deletes the row of a volume without a directory, and what is ours beside it; false where it is attached or came
    /// back.
    fn delete_record(&self, record: &VolumeRecord, cancel: &CancelToken) -> Result<bool> {
        let _lock = self.layout.lock(&record.name, cancel)?;
        self.write_to_free(|catalog| {
            let free = living(catalog, HeldResource::Volume(record.id), None)?.is_empty();
            let strike = free && !self.layout.volumes.contains(record.name.as_str())?;
            if strike {
                // Crash safety: before the row, so that a directory of that name, made later, never gets this id.
                self.layout.delete_files_beside(&record.name)?;
                catalog.delete_volume(record.id)?;
            }
            Ok(strike)
        })
    }

    /// Deletes an unusable row. What is ours beside its directory stays for the volume that the directory becomes.
    fn strike_unusable(&self, row: &InvalidRow, cancel: &CancelToken) -> Result<()> {
        let name = VolumeName::parse(&row.name).ok();
        let _lock = name.as_ref().map(|name| self.layout.lock(name, cancel)).transpose()?;
        self.write_to_free(|catalog| {
            if let Some(name) = &name
                && !self.layout.volumes.contains(name.as_str())?
            {
                self.layout.delete_files_beside(name)?;
            }
            catalog.delete_volume(row.id)
        })
    }

    fn check_entry(
        &self,
        entry: &FoundEntry,
        repair: bool,
        cancel: &CancelToken,
    ) -> Result<Option<HomeProblem>> {
        let volumes = &self.layout.volumes;
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
                    let is_known = self.catalog.read(|catalog| catalog.has_row(&found.name))?;
                    Ok(!is_known && volumes.contains(name)?)
                };
                if !is_unknown()? || !self.holds_undisturbed(&found.name, is_unknown)? {
                    return Ok(None);
                }
                let repaired = repair && self.adopt(found, cancel)?;
                let message = format!(
                    "The catalog does not know the directory {name:?}. As a volume it has neither a quota nor labels."
                );
                let problem = HomeProblem::new(ProblemKind::UnknownDirectory, volumes.path_of(name), message);
                Ok(Some(problem.of(name).repaired(repaired)))
            }
        }
    }

    /// Makes a directory a volume; false where it is gone, or became one meanwhile.
    fn adopt(&self, found: &FoundVolume, cancel: &CancelToken) -> Result<bool> {
        let _lock = self.layout.lock(&found.name, cancel)?;
        self.catalog.write(|catalog| {
            Ok(self.layout.volumes.contains(found.name.as_str())? && catalog.adopt_volume(found)?)
        })
    }
}
