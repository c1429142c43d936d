//! Checking a home before its catalog is trusted: who may use it, and whether the catalog is one.

use super::check::{CheckOptions, HomeProblem, ProblemKind};
use super::layout::{DAMAGED, HomeDirs};
use super::{Durability, OpenOptions, StoreHandle};
use crate::catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::CancelToken;
use crate::sys::unique_token;
use std::path::Path;

impl HomeDirs {
    /// Looks for other users' rights on the home. Also returns whether nobody else can change what is in it.
    pub fn check_rights(&self, options: CheckOptions) -> Result<(Vec<HomeProblem>, bool)> {
        let mut problems = Vec::new();
        if options.shared {
            return Ok((problems, true));
        }
        for exposed in self.exposed()? {
            let repaired = options.repair && self.make_private(&exposed.path)?;
            let message = match (repaired, &exposed.refused) {
                (true, _) => format!("{} It is now private.", exposed.problem()),
                (false, Some(_)) => format!("{} No store of this home is opened.", exposed.problem()),
                (false, None) => exposed.problem(),
            };
            let problem = HomeProblem::new(ProblemKind::OpenToOthers, exposed.path, message);
            problems.push(problem.repaired(repaired));
        }
        let trusted = self.exposed()?.iter().all(|exposed| exposed.refused.is_none());
        Ok((problems, trusted))
    }
}

/// Finds what stands in place of the store's own directories among the volumes and is none, and on request moves it out of
/// the way. Also returns whether some is left.
pub fn check_directories(home: &Path, repair: bool) -> Result<(Vec<HomeProblem>, bool)> {
    let Some((volumes, unfit)) = HomeDirs::unfit_directories(home)? else { return Ok((Vec::new(), false)) };
    let (mut problems, mut are_left) = (Vec::new(), false);
    for (entry, kind) in unfit {
        let path = volumes.path_of(entry);
        let kept = format!("{entry}{DAMAGED}{}", unique_token());
        let moved = match repair && !volumes.is_read_only()? {
            true => volumes.move_to(entry, &volumes, &kept).and_then(|()| volumes.sync()).map(|()| true)?,
            false => false,
        };
        let message = match moved {
            true => format!(
                "{path:?} was {kind}, not a directory, and is now kept as {:?}.",
                volumes.path_of(&kept)
            ),
            false => format!("{path:?} is {kind}, not a directory, so that no store of this home is opened."),
        };
        problems.push(HomeProblem::new(ProblemKind::UnrecognizedEntry, path, message).repaired(moved));
        are_left |= !moved;
    }
    Ok((problems, are_left))
}

/// Checks the catalog, and if it is sound, the volumes.
pub fn check(
    home: &Path,
    layout: HomeDirs,
    options: CheckOptions,
    cancel: &CancelToken,
) -> Result<Vec<HomeProblem>> {
    let (mut problems, unfit) = check_files(&layout, options.repair)?;
    if unfit {
        return Ok(problems);
    }
    if !layout.has_catalog()? {
        problems.extend(check_without_catalog(home, &layout, options)?);
        return Ok(problems);
    }
    let no_tables = || Err(catalog::damaged("it has no tables"));
    let sound = layout.open_catalog(no_tables).and_then(|catalog| catalog.verify().map(|()| catalog));
    match sound {
        Ok(catalog) => problems.extend(StoreHandle::new(layout, catalog)?.check(options.repair, cancel)?),
        Err(error) if error.kind() == ErrorKind::Catalog => {
            problems.extend(mend_catalog(home, layout, options, error, cancel)?);
        }
        Err(error) => return Err(error),
    }
    Ok(problems)
}

/// Finds what stands in place of the catalog's files and is none, and on request moves it out of the way. Also returns
/// whether some is left.
fn check_files(layout: &HomeDirs, repair: bool) -> Result<(Vec<HomeProblem>, bool)> {
    let mut problems = Vec::new();
    while let Some((entry, kind)) = layout.unfit_catalog_file()? {
        let path = layout.databases().path_of(&entry);
        let mut message = format!("{path:?} is {kind}, not a file.");
        if repair {
            let kept = layout.put_entry_aside(&entry)?;
            message = format!("{path:?} was {kind}, not a file, and is now kept as {kept:?}.");
        }
        problems.push(HomeProblem::new(ProblemKind::CatalogDamaged, path, message).repaired(repair));
        if !repair {
            return Ok((problems, true));
        }
    }
    Ok((problems, false))
}

fn check_without_catalog(home: &Path, layout: &HomeDirs, options: CheckOptions) -> Result<Vec<HomeProblem>> {
    let found = layout.found_volumes()?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    if options.repair {
        reopen(home, options)?;
    }
    let message = format!(
        "There is no catalog, but {} volumes stand in the volumes directory. Opening the store finds them again; their \
         quotas and labels are lost.",
        found.len()
    );
    let problem = HomeProblem::new(ProblemKind::CatalogMissing, layout.catalog_path(), message);
    Ok(vec![problem.repaired(options.repair)])
}

/// Gives a catalog that is whole its right version back. A damaged one is kept under another name, whole, and a new one
/// begins with the volumes that are there. One of a newer program stays as it is, and the error is returned.
fn mend_catalog(
    home: &Path,
    layout: HomeDirs,
    options: CheckOptions,
    error: Error,
    cancel: &CancelToken,
) -> Result<Vec<HomeProblem>> {
    let problem = |message: String| {
        HomeProblem::new(ProblemKind::CatalogDamaged, layout.catalog_path(), message).repaired(options.repair)
    };
    if options.repair && catalog::restore_version(&layout.catalog_file(), layout.catalog_gates()?)? {
        let message =
            "The volume catalog had another version than its tables; it has theirs now, and nothing is lost.";
        let mut problems = vec![problem(message.to_owned())];
        problems.extend(check(home, layout, options, cancel)?);
        return Ok(problems);
    }
    if !catalog::is_damage(&error) {
        return Err(error);
    }
    if !options.repair {
        let message = format!("{error} Its volumes are found again by their directories when it is mended.");
        return Ok(vec![problem(message)]);
    }
    let kept = layout.put_catalog_aside()?;
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
