//! The ID of a volume, which distinguishes it from a later volume of the same name.

use super::{VolumeName, option_names};
use crate::error::{Error, Result};
use std::fmt;

/// The number of hexadecimal digits of an ID.
const DIGITS: usize = 32;

/// A random 128-bit number that a volume keeps. Its text is 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId(u128);

impl VolumeId {
    /// Builds an ID of random bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        VolumeId(u128::from_be_bytes(bytes))
    }

    /// Parses the text of an ID. Returns `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.len() == DIGITS && text.bytes().all(is_digit) {
            true => u128::from_str_radix(text, 16).ok().map(VolumeId),
            false => None,
        }
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A reference to a volume: by name, or by name and ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRef {
    /// The volume's name.
    pub name: VolumeName,
    /// The volume's ID. `None` means any volume with the name.
    pub id: Option<VolumeId>,
}

impl VolumeRef {
    /// References the volume with that name and that ID.
    pub fn exactly(name: &VolumeName, id: VolumeId) -> Self {
        VolumeRef { name: name.clone(), id: Some(id) }
    }

    /// Parses a name and an optional ID.
    pub fn parse(name: &str, id: Option<&str>) -> Result<Self> {
        let name = VolumeName::parse(name)?;
        let id = id.map(|text| {
            let shown = text.chars().take(DIGITS + 1).collect::<String>();
            let problem = format!("{shown:?} is not a volume's id: {DIGITS} lower-case hexadecimal digits");
            VolumeId::parse(text).ok_or_else(|| Error::invalid_config(option_names::VOLUME_ID, problem))
        });
        Ok(VolumeRef { name, id: id.transpose()? })
    }

    /// Reports whether the reference matches a volume of that name with that ID.
    pub fn admits(&self, id: VolumeId) -> bool {
        self.id.is_none_or(|wanted| wanted == id)
    }
}

impl From<&VolumeName> for VolumeRef {
    fn from(name: &VolumeName) -> Self {
        VolumeRef { name: name.clone(), id: None }
    }
}

impl From<&VolumeRef> for VolumeRef {
    fn from(volume: &VolumeRef) -> Self {
        volume.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_one() {
        let id = VolumeId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(VolumeId::parse(&id.to_string()), Some(id));
        for other in ["", "0", "+00102030405060708090a0b0c0d0eff", "000102030405060708090A0B0C0D0EFF"] {
            assert_eq!(VolumeId::parse(other), None, "{other}");
        }
        assert_eq!(VolumeId::parse(&format!("{id}\n")), None);
    }
}
