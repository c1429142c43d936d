//! Rights of other users on a home: which are permitted, reported or rejected.
//!
//! A user who can read the volumes directory can read every volume and run the set-id programs that guests made. A
//! user who can write the volumes directory or the home can replace directories in it.

use super::Durability;
use super::home_dirs::HomeDirs;
use crate::error::{Error, Result};
use crate::sys::{Dir, may_be_unmapped};
use std::path::{Path, PathBuf};

/// Options for the opening of a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpenOptions {
    /// When a change of a volume is flushed to disk.
    pub durability: Durability,
    /// True if the caller accepts other users' rights on the home. Then these rights are not rejected, reported or
    /// removed.
    pub shared: bool,
}

impl From<Durability> for OpenOptions {
    fn from(durability: Durability) -> Self {
        OpenOptions { durability, shared: false }
    }
}

/// A directory of the home on which other users have rights.
#[derive(Clone, Debug)]
pub struct ExposedDir {
    /// Path of the directory.
    pub path: PathBuf,
    /// Reason to reject the home; `None` if the rights are only reported.
    pub rejection: Option<String>,
    /// True if its owner has no id in this process's user namespace.
    is_unmapped: bool,
}

impl ExposedDir {
    /// Returns a sentence that describes the problem.
    pub fn problem(&self) -> String {
        let path = &self.path;
        match &self.rejection {
            Some(why) => format!("{path:?} {why}"),
            None => format!(
                "{path:?} is open to other users of this host, who may read volumes and run set-id programs that \
                 guests made."
            ),
        }
    }
}

/// The directories whose rights decide whether a home is trusted.
#[derive(Debug)]
pub struct GuardedDirs<'h> {
    pub home: &'h Dir,
    pub volumes: &'h Dir,
    /// `None` if it does not exist.
    pub databases: Option<&'h Dir>,
}

impl GuardedDirs<'_> {
    /// Returns the directories on which other users have rights.
    pub fn exposed_dirs(&self) -> Result<Vec<ExposedDir>> {
        let mut exposed = Vec::new();
        for dir in [Some(self.volumes), self.databases].into_iter().flatten().filter(|dir| !dir.is_missing())
        {
            let rights = dir.others_rights()?;
            let rejection = match rights.foreign_owner {
                Some(owner) => Some(format!("{}.", owned_by(owner))),
                None if rights.writable => Some("may be written by other users of this host.".to_owned()),
                None => None,
            };
            if rejection.is_some() || rights.open && rights.is_ours {
                let is_unmapped = rights.foreign_owner.is_some_and(may_be_unmapped);
                exposed.push(ExposedDir { path: dir.path().to_owned(), rejection, is_unmapped });
            }
        }
        let rights = self.home.others_rights()?;
        let rejection = match rights.foreign_owner {
            // The sticky bit does not restrict the owner of the directory.
            Some(owner) => Some(format!("{}, who can replace what is in it.", owned_by(owner))),
            None if rights.writable && !rights.sticky => {
                Some("may be written by other users of this host, who can replace what is in it.".to_owned())
            }
            None => None,
        };
        if rejection.is_some() {
            let is_unmapped = rights.foreign_owner.is_some_and(may_be_unmapped);
            exposed.push(ExposedDir { path: self.home.path().to_owned(), rejection, is_unmapped });
        }
        Ok(exposed)
    }

    /// Removes other users' rights on a directory of the home. Returns false if this user does not own it.
    pub fn make_private(&self, path: &Path) -> Result<bool> {
        let mut own = [Some(self.home), Some(self.volumes), self.databases].into_iter().flatten();
        match own.find(|dir| dir.path() == path) {
            Some(dir) if dir.others_rights()?.is_ours => dir.make_private().map(|()| true),
            _ => Ok(false),
        }
    }
}

/// Describes the foreign owner of a directory. A user namespace shows all users without an id in it as one id.
fn owned_by(owner: u32) -> String {
    match may_be_unmapped(owner) {
        true => format!("belongs to a user who has no id in this user namespace and is shown as {owner}"),
        false => format!("belongs to another user of this host, with the id {owner}"),
    }
}

impl HomeDirs {
    /// Fails if an untrusted user may write the home. Returns the directories that are open to others.
    pub fn refuse_untrusted(&self) -> Result<Vec<ExposedDir>> {
        let dirs =
            GuardedDirs { home: &self.home, volumes: &self.volumes, databases: Some(self.databases()) };
        let exposed = dirs.exposed_dirs()?;
        let Some(refused) = exposed.iter().find(|exposed| exposed.rejection.is_some()) else {
            return Ok(exposed);
        };
        let what_to_do = match refused.is_unmapped {
            // Neither chown nor chmod works on such a directory.
            true => "If you trust that user, such as the host's root, consent to sharing it:",
            false => {
                "Make it this user's alone (VolumeStore.check({ repair: true }) does where it is this user's, else \
                 chown and chmod), or consent to sharing it:"
            }
        };
        Err(Error::invalid_config(
            "home",
            format!(
                "{} {what_to_do} VolumeStore.open({{ shared: true }}) or SANDBOX_VOLUMES_SHARED=1.",
                refused.problem()
            ),
        ))
    }
}
