//! Checks for entries at the paths of lock files and id files that are no regular file.

use super::check::{HomeCheck, HomeProblem, ProblemKind, unless_refused};
use super::paths::{DAMAGED, IDS};
use super::volume::name_locks::LockEntry;
use crate::error::{ErrorKind, Result};
use crate::model::VolumeRecord;
use crate::sys::{Dir, unique_token};

impl HomeCheck<'_> {
    /// Checks for lock files that cannot be locked. Repair renames them.
    pub(super) fn check_lock_files(&self) -> Result<Vec<HomeProblem>> {
        let dir = self.handle.dirs.locks.dir();
        let entries = dir.names()?;
        let mut locks: Vec<_> =
            entries.iter().filter_map(|entry| LockEntry::parse(entry.to_str()?)).collect();
        // The other lock files are renamed under the name lock, so that one is repaired first.
        locks.sort_by_key(|lock| !lock.is_name_lock);
        let mut problems = Vec::new();
        for lock in locks {
            self.cancel.check()?;
            let is_invalid = || Ok(dir.non_file_at(&lock.entry)?.is_some());
            if !is_invalid()? || !self.holds_under_name_lock(&lock.name, is_invalid)? {
                continue;
            }
            let kept = format!("{}{DAMAGED}{}", lock.entry, unique_token());
            let move_invalid = || {
                let is_there = is_invalid()?;
                if is_there {
                    dir.move_to(&lock.entry, dir, &kept)?;
                    self.handle.dirs.sync.dir(dir)?;
                }
                Ok(is_there)
            };
            // TOCTOU: another repair may have renamed the entry, and an operation may hold a new lock file at its path.
            let rename = || {
                if lock.is_name_lock {
                    // No name lock excludes that repair. The lock of the catalog's writers does.
                    return self.handle.catalog.excluding_writers(move_invalid);
                }
                match self.handle.dirs.locks.try_lock(&lock.name)? {
                    Some(_lock) => move_invalid(),
                    None => Ok(false),
                }
            };
            let repair = self.repair.then_some(&rename as &dyn Fn() -> Result<bool>);
            let problem = non_file_problem((dir, &lock.entry), (dir, &kept), repair)?;
            problems.extend(problem.map(|problem| problem.in_volume(lock.name.as_str())));
        }
        Ok(problems)
    }

    /// Checks the id file of a volume that has a directory. Repair renames an entry that is no file, and writes the id
    /// again.
    pub(super) fn check_id_file(&self, record: &VolumeRecord) -> Result<Option<HomeProblem>> {
        let (ids, volumes, name) = (&self.handle.dirs.ids, &self.handle.dirs.volumes, record.name.as_str());
        let is_invalid = || {
            Ok(ids.non_file_at(name)?.is_some()
                && volumes.contains(name)?
                && self.handle.still_exists(record)?)
        };
        if !is_invalid()? || !self.holds_under_name_lock(&record.name, is_invalid)? {
            return Ok(None);
        }
        // Not in the directory of ids, where each entry is taken for an id.
        let kept = format!("{IDS}-{name}{DAMAGED}{}", unique_token());
        let rename = || {
            let lock = self.handle.dirs.locks.try_lock(&record.name)?;
            let is_there = lock.is_some() && is_invalid()?;
            if is_there {
                // Crash safety: the mark says that the id file exists. It is cleared before the entry is moved, so that
                // the next opening of the home writes an id file that could not be written here.
                self.handle.write_to_free(|catalog| catalog.forget_identity_file(record.id))?;
                ids.move_to(name, volumes, &kept)?;
                self.handle.dirs.sync.dir(volumes)?;
                self.handle.dirs.store_identity(&record.name, record.identity)?;
                self.handle.write_to_free(|catalog| catalog.mark_identity_stored(record.id))?;
            }
            Ok(is_there)
        };
        let repair = self.repair.then_some(&rename as &dyn Fn() -> Result<bool>);
        let problem = non_file_problem((ids, name), (volumes, &kept), repair)?;
        Ok(problem.map(|problem| problem.in_volume(name)))
    }
}

/// Describes an entry that should be a file, and repairs it if `repair` is given, which moves it to `kept`. Returns
/// `None` if it is gone.
fn non_file_problem(
    (dir, entry): (&Dir, &str),
    (kept_in, kept): (&Dir, &str),
    repair: Option<&dyn Fn() -> Result<bool>>,
) -> Result<Option<HomeProblem>> {
    let Some(kind) = dir.non_file_at(entry)? else { return Ok(None) };
    let path = dir.path_of(entry);
    let mut refusal = String::new();
    let repaired = match repair {
        Some(repair) => unless_busy(unless_refused(repair(), &mut refusal), &mut refusal)?,
        None => false,
    };
    // What follows the move may have been refused.
    let is_kept = kept_in.contains(kept)?;
    // TOCTOU: another repair may have been first.
    if !is_kept && dir.non_file_at(entry)?.is_none() {
        return Ok(None);
    }
    let message = if is_kept {
        format!("{path:?} was {kind}, not a file, and is now kept as {:?}.{refusal}", kept_in.path_of(kept))
    } else {
        format!("{path:?} is {kind}, not a file, which keeps operations on the volume from working.{refusal}")
    };
    Ok(Some(HomeProblem::new(ProblemKind::UnrecognizedEntry, path, message).repaired(repaired)))
}

/// Returns false if a repair cannot lock the catalog or write to it, and adds the reason to `message`.
fn unless_busy(repaired: Result<bool>, message: &mut String) -> Result<bool> {
    match repaired {
        Err(error) if error.kind() == ErrorKind::Catalog => {
            message.push_str(&format!(" It is not repaired: {error}"));
            Ok(false)
        }
        repaired => repaired,
    }
}
