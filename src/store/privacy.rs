//! Keeping a home to its user: what is private, what is reported, and what is refused.
//!
//! Whoever can read the volumes directory reads every volume and runs the set-id programs that guests made. Whoever can
//! write there, or in the home, puts other directories in place of them.

use super::Durability;
use super::layout::HomeDirs;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// How a home is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpenOptions {
    /// When a change of a volume is on disk.
    pub durability: Durability,
    /// Whether the caller consents to other users' rights on the home. Then nothing about them is refused, reported or
    /// changed.
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
    /// Its path.
    pub path: PathBuf,
    /// Why the home is refused; `None` if it is only reported.
    pub refused: Option<String>,
}

impl ExposedDir {
    /// What is wrong, as a sentence.
    pub fn problem(&self) -> String {
        let path = &self.path;
        match &self.refused {
            Some(why) => format!("{path:?} {why}"),
            None => format!(
                "{path:?} is open to other users of this host: they may read volumes and run set-id programs that \
                 guests made."
            ),
        }
    }
}

impl HomeDirs {
    /// The directories of the home on which other users have rights.
    pub fn exposed(&self) -> Result<Vec<ExposedDir>> {
        let mut exposed = Vec::new();
        for dir in [&self.volumes, self.databases()].into_iter().filter(|dir| !dir.is_missing()) {
            let rights = dir.others_rights()?;
            let refused = match rights.foreign_owner {
                Some(owner) => Some(format!("belongs to another user of this host, with the id {owner}.")),
                None if rights.writable => Some("may be written by other users of this host.".to_owned()),
                None => None,
            };
            if refused.is_some() || rights.open && rights.is_ours {
                exposed.push(ExposedDir { path: dir.path().to_owned(), refused });
            }
        }
        let rights = self.home.others_rights()?;
        let refused = match rights.foreign_owner {
            // The sticky bit binds all but the owner.
            Some(owner) => Some(format!(
                "belongs to another user of this host, with the id {owner}, who can replace what is in it."
            )),
            None if rights.writable && !rights.sticky => {
                Some("may be written by other users of this host, who can replace what is in it.".to_owned())
            }
            None => None,
        };
        if refused.is_some() {
            exposed.push(ExposedDir { path: self.home.path().to_owned(), refused });
        }
        Ok(exposed)
    }

    /// Refuses a home that an untrusted user may write, and returns what is open to others.
    pub fn refuse_untrusted(&self) -> Result<Vec<ExposedDir>> {
        let exposed = self.exposed()?;
        match exposed.iter().find(|exposed| exposed.refused.is_some()) {
            Some(refused) => Err(Error::invalid_config(
                "home",
                format!(
                    "{} Make it this user's alone (VolumeStore.check({{ repair: true }}) does where it is this user's, \
                     else chown and chmod), or consent to sharing it: VolumeStore.open({{ shared: true }}) or \
                     SANDBOX_VOLUMES_SHARED=1.",
                    refused.problem()
                ),
            )),
            None => Ok(exposed),
        }
    }

    /// Takes other users' rights on a directory of the home away; false if it is not this user's.
    pub fn make_private(&self, path: &Path) -> Result<bool> {
        let mut own = [&self.home, &self.volumes, self.databases()].into_iter();
        match own.find(|dir| dir.path() == path) {
            Some(dir) if dir.others_rights()?.is_ours => dir.make_private().map(|()| true),
            _ => Ok(false),
        }
    }
}
