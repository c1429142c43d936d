//! Checks a home before its catalog is trusted: the rights of other users, and the catalog's files.

use super::check::{CheckOptions, HomeCheck, HomeProblem, ProblemKind};
use super::home_dirs::HomeDirs;
use super::paths::DAMAGED;
use super::privacy::GuardedDirs;
use super::{Durability, OpenOptions, StoreHandle};
use crate::catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::CancelToken;
use crate::sys::{Dir, unique_token};
use std::path::{Path, PathBuf};

impl GuardedDirs<'_> {
    /// Checks for other users' rights on the home. Also returns true if no other user can change its content.
    pub fn check_rights(&self, options: CheckOptions) -> Result<(Vec<HomeProblem>, bool)> {
        let mut problems = Vec::new();
        if options.shared {
            return Ok((problems, true));
        }
        for exposed in self.exposed_dirs()? {
            let repaired = options.repair && self.make_private(&exposed.path)?;
            let message = match (repaired, &exposed.rejection) {
                (true, _) => format!("{} It is now private.", exposed.problem()),
                (false, Some(_)) => format!("{} No store of this home is opened.", exposed.problem()),
                (false, None) => exposed.problem(),
            };
            let problem = HomeProblem::new(ProblemKind::OpenToOthers, exposed.path, message);
            problems.push(problem.repaired(repaired));
        }
        let trusted = self.exposed_dirs()?.iter().all(|exposed| exposed.rejection.is_none());
        Ok((problems, trusted))
    }
}

/// Describes an entry of a home that should be a directory. It may be a link to data of the user, so it is not repaired.
pub fn non_directory_problem((path, kind): (PathBuf, &'static str)) -> HomeProblem {
    let message = format!(
        "{path:?} is {kind}, not a directory, so that no store of this home is opened. Move it away."
    );
    HomeProblem::new(ProblemKind::UnrecognizedEntry, path, message)
}

/// Finds, among the store's own directories in the volumes directory, entries that are no directory. Repair renames
/// them. Also returns true if any remains.
fn check_directories(volumes: &Dir, repair: bool) -> Result<(Vec<HomeProblem>, bool)> {
    let (mut problems, mut any_left) = (Vec::new(), false);
    for (entry, kind) in HomeDirs::invalid_directories(volumes)? {
        let path = volumes.path_of(entry);
        let kept = format!("{entry}{DAMAGED}{}", unique_token());
        if repair {
            volumes.move_to(entry, volumes, &kept).and_then(|()| volumes.sync())?;
        }
        let message = match repair {
            true => format!(
                "{path:?} was {kind}, not a directory, and is now kept as {:?}.",
                volumes.path_of(&kept)
            ),
            false => format!("{path:?} is {kind}, not a directory, so that no store of this home is opened."),
        };
        problems.push(HomeProblem::new(ProblemKind::UnrecognizedEntry, path, message).repaired(repair));
        any_left |= !repair;
    }
    Ok((problems, any_left))
}

/// Checks a home that has a volumes directory. Changes nothing in a home that other users may write.
pub fn check_existing(
    home: &Path,
    dirs: &GuardedDirs<'_>,
    mut options: CheckOptions,
    cancel: &CancelToken,
) -> Result<Vec<HomeProblem>> {
    options.repair &= !dirs.volumes.is_read_only()?;
    let (mut problems, trusted) = dirs.check_rights(options)?;
    if !trusted {
        return Ok(problems);
    }
    let (invalid, any_left) = check_directories(dirs.volumes, options.repair)?;
    problems.extend(invalid);
    if any_left {
        return Ok(problems);
    }
    if let Some(dirs) = HomeDirs::open_existing(home, Durability::Full)? {
        options.repair &= !dirs.is_read_only();
        problems.extend(check(home, dirs, options, cancel)?);
    }
    Ok(problems)
}

/// Checks the catalog and, if it is intact, the volumes.
fn check(
    home: &Path,
    dirs: HomeDirs,
    options: CheckOptions,
    cancel: &CancelToken,
) -> Result<Vec<HomeProblem>> {
    let (mut problems, is_invalid) = check_files(&dirs, options.repair)?;
    if is_invalid {
        return Ok(problems);
    }
    if !dirs.has_catalog()? {
        problems.extend(check_without_catalog(home, &dirs, options)?);
        return Ok(problems);
    }
    let no_tables = || Err(catalog::damaged("it has no tables"));
    let sound = dirs.open_catalog(no_tables).and_then(|catalog| catalog.verify().map(|()| catalog));
    match sound {
        Ok(catalog) => {
            let handle = StoreHandle::new(dirs, catalog)?;
            problems.extend(HomeCheck { handle: &handle, repair: options.repair, cancel }.run()?);
        }
        Err(error) if error.kind() == ErrorKind::Catalog => {
            problems.extend(repair_catalog(home, dirs, options, error, cancel)?);
        }
        Err(error) => return Err(error),
    }
    Ok(problems)
}

/// Finds entries of the catalog that are no regular file. Repair renames them. Also returns true if any remains.
fn check_files(dirs: &HomeDirs, repair: bool) -> Result<(Vec<HomeProblem>, bool)> {
    let mut problems = Vec::new();
    while let Some((entry, kind)) = dirs.invalid_catalog_file()? {
        let path = dirs.databases().path_of(&entry);
        let mut message = format!("{path:?} is {kind}, not a file.");
        if repair {
            let kept = dirs.quarantine_entry(&entry)?;
            message = format!("{path:?} was {kind}, not a file, and is now kept as {kept:?}.");
        }
        problems.push(HomeProblem::new(ProblemKind::CatalogDamaged, path, message).repaired(repair));
        if !repair {
            return Ok((problems, true));
        }
    }
    Ok((problems, false))
}

fn check_without_catalog(home: &Path, dirs: &HomeDirs, options: CheckOptions) -> Result<Vec<HomeProblem>> {
    let found = dirs.discovered_volumes()?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    if options.repair {
        reopen(home, options)?;
    }
    let message = format!(
        "There is no catalog, but {} volumes are in the volumes directory. Opening the store finds them again; their \
         quotas and labels are lost.",
        found.len()
    );
    let problem = HomeProblem::new(ProblemKind::CatalogMissing, dirs.catalog_path(), message);
    Ok(vec![problem.repaired(options.repair)])
}

/// Repairs a catalog.
///
/// An intact one gets its right version back. A damaged one is renamed, and a new one begins with the discovered
/// volumes. The catalog of a newer program is not changed, and the error is returned.
fn repair_catalog(
    home: &Path,
    dirs: HomeDirs,
    options: CheckOptions,
    error: Error,
    cancel: &CancelToken,
) -> Result<Vec<HomeProblem>> {
    let problem = |message: String| {
        HomeProblem::new(ProblemKind::CatalogDamaged, dirs.catalog_path(), message).repaired(options.repair)
    };
    if options.repair && catalog::restore_version(&dirs.catalog_locks()?)? {
        let message =
            "The volume catalog had another version than its tables; it has theirs now, and nothing is lost.";
        let mut problems = vec![problem(message.to_owned())];
        problems.extend(check(home, dirs, options, cancel)?);
        return Ok(problems);
    }
    if !catalog::is_damage(&error) {
        return Err(error);
    }
    if !options.repair {
        let message =
            format!("{error} Its volumes are found again by their directories when it is repaired.");
        return Ok(vec![problem(message)]);
    }
    let kept = dirs.quarantine_catalog()?;
    reopen(home, options)?;
    let message = format!(
        "The volume catalog was damaged and is now kept as {kept:?}. The volumes were found again by their \
         directories; their quotas and labels are lost."
    );
    Ok(vec![problem(message)])
}

fn reopen(home: &Path, options: CheckOptions) -> Result<()> {
    StoreHandle::open(home, OpenOptions { durability: Durability::Full, shared: options.shared }).map(drop)
}
