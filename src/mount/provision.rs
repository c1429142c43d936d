//! Whether a named mount uses an existing volume or creates one.

use crate::error::{Error, Result};
use crate::model::{OptionReader, VolumeOptions, VolumeSpec, name_of};

/// Whether a named mount uses an existing volume or creates one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provision {
    /// The volume must exist.
    Existing,
    /// The volume must not exist, and is created.
    Create(VolumeSpec),
    /// A compatible existing volume is used; a missing one is created.
    EnsureExists(VolumeSpec),
}

impl Provision {
    /// Reads the mode and, for a mode that may create a volume, its specification. Two of the fields have other names in
    /// options than in the plain object.
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

    /// Returns the mode without the specification.
    pub fn mode(&self) -> ProvisionMode {
        match self {
            Provision::Existing => ProvisionMode::Existing,
            Provision::Create(_) => ProvisionMode::Create,
            Provision::EnsureExists(_) => ProvisionMode::EnsureExists,
        }
    }

    /// Returns the specification of a volume that may be created.
    pub fn spec(&self) -> Option<&VolumeSpec> {
        match self {
            Provision::Existing => None,
            Provision::Create(spec) | Provision::EnsureExists(spec) => Some(spec),
        }
    }
}

/// The mode of a [`Provision`], without the specification.
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

    /// Returns the mode's name.
    pub fn as_str(self) -> &'static str {
        name_of(&Self::NAMES, self)
    }
}
