//! How a named mount comes by its volume.

use crate::error::{Error, Result};
use crate::model::{OptionReader, VolumeOptions, VolumeSpec, name_of};

/// How a named mount comes by its volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provision {
    /// The volume must exist.
    Existing,
    /// The volume is created, and must not exist.
    Create(VolumeSpec),
    /// A compatible volume is used; where there is none, it is created.
    EnsureExists(VolumeSpec),
}

impl Provision {
    /// Reads the mode and, for the modes that may create a volume, what it is to be. Options and the plain
    /// object name two of the fields differently.
    pub(super) fn read(fields: &OptionReader, mode_name: &str, kind_name: &str) -> Result<Self> {
        let options = VolumeOptions::read(fields, kind_name)?;
        match fields.choice(mode_name, &ProvisionMode::NAMES)?.unwrap_or(ProvisionMode::Existing) {
            ProvisionMode::Existing => match options.any_given(kind_name) {
                Some(name) => Err(Error::invalid_config(
                    name,
                    format!("only used when {mode_name:?} is \"create\" or \"ensure-exists\""),
                )),
                None => Ok(Provision::Existing),
            },
            ProvisionMode::Create => VolumeSpec::new(options).map(Provision::Create),
            ProvisionMode::EnsureExists => VolumeSpec::new(options).map(Provision::EnsureExists),
        }
    }

    /// The mode alone.
    pub fn mode(&self) -> ProvisionMode {
        match self {
            Provision::Existing => ProvisionMode::Existing,
            Provision::Create(_) => ProvisionMode::Create,
            Provision::EnsureExists(_) => ProvisionMode::EnsureExists,
        }
    }

    /// What a created volume is to be.
    pub fn spec(&self) -> Option<&VolumeSpec> {
        match self {
            Provision::Existing => None,
            Provision::Create(spec) | Provision::EnsureExists(spec) => Some(spec),
        }
    }
}

/// A [`Provision`] without what a created volume is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvisionMode {
    /// [`Provision::Existing`], the default.
    Existing,
    /// [`Provision::Create`].
    Create,
    /// [`Provision::EnsureExists`].
    EnsureExists,
}

impl ProvisionMode {
    /// The names that callers and JavaScript use.
    pub const NAMES: [(&'static str, ProvisionMode); 3] = [
        ("existing", ProvisionMode::Existing),
        ("create", ProvisionMode::Create),
        ("ensure-exists", ProvisionMode::EnsureExists),
    ];

    /// This mode's name.
    pub fn as_str(self) -> &'static str {
        name_of(&Self::NAMES, self)
    }
}
