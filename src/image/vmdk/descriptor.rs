//! A vmdk's descriptor, the text that says what the disk consists of: bytes in, facts out.

use super::super::failure::Problem;
use super::super::inspect::MOST_CAPACITY;
use super::SECTOR;
use std::path::PathBuf;
use std::str::FromStr;

/// The longest descriptor that is read. VMware's have a few hundred bytes.
pub(super) const MOST_BYTES: u64 = 1 << 20;
pub(super) const TOO_LONG: &str = "has a descriptor of more than 1 MiB, which no program writes";

/// The most files that one image may consist of. Each is a descriptor of this process while the image is attached.
const MOST_EXTENTS: usize = 256;

/// The longest name that a file can have.
const LONGEST_NAME: usize = 255;

const SIGNATURE: &[u8] = b"# Disk DescriptorFile";
const PARENT_HINT: &[u8] = b"parentFileNameHint";
const NO_PARENT: &str = "ffffffff";

/// What a disk consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    create_type: String,
    extents: Vec<Extent>,
}

/// A part of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The name of its file, a plain one.
    pub name: String,
    /// Its size.
    pub sectors: u64,
    /// How its file holds the data.
    pub storage: Storage,
    is_writable: bool,
}

/// How a file holds the data of an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// As they are.
    Flat {
        /// Where in the file they begin.
        first_sector: u64,
    },
    /// In grains.
    Sparse,
}

/// Whether an image that begins so is a descriptor alone.
pub fn is_descriptor(head: &[u8]) -> bool {
    head.get(..SIGNATURE.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(SIGNATURE))
}

/// Refuses an image that names a parent in these bytes, in whatever way.
pub(super) fn check_parentless(bytes: &[u8]) -> Result<(), Problem> {
    let begins = |byte: &u8| byte.eq_ignore_ascii_case(&PARENT_HINT[0]);
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(begins) {
        rest = &rest[at..];
        if rest.get(..PARENT_HINT.len()).is_some_and(|found| found.eq_ignore_ascii_case(PARENT_HINT)) {
            return Err(PARENT.into());
        }
        rest = &rest[1..];
    }
    Ok(())
}

const PARENT: &str = "is a snapshot that needs its parent, which is not opened: whoever wrote the image could name any \
                      file of the host. If you trust it, make it one file with qemu-img convert -O qcow2.";

impl Descriptor {
    /// Parses a descriptor, which ends with the first NUL.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.len() as u64 > MOST_BYTES {
            return Err(TOO_LONG.into());
        }
        check_parentless(bytes)?;
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let (mut keys, mut extents) = (Keys::default(), Vec::new());
        let mut is_after_blank = false;
        for line in text.split(|byte| *byte == b'\n') {
            // Only what is quoted in a comment or a name may be anything else than ASCII.
            let line = String::from_utf8_lossy(line);
            let line = line.trim();
            let was_after_blank = std::mem::replace(&mut is_after_blank, line.is_empty());
            if is_extent(line) {
                // QEMU reads over the blank line, and then reads the extent once more.
                if was_after_blank {
                    return Err("has a blank line before an extent in its descriptor".into());
                }
                if extents.len() == MOST_EXTENTS {
                    return Err(format!("consists of more than {MOST_EXTENTS} files").into());
                }
                extents.push(Extent::parse(line)?);
            } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
                keys.take(key.trim(), value.trim().trim_matches('"'))?;
            }
        }
        Ok(Descriptor { create_type: keys.create_type()?, extents })
    }

    /// The extents of a descriptor that is a file of its own: at least one, all of the kind that its type has.
    pub fn separate_extents(&self) -> Result<&[Extent], Problem> {
        let is_flat = match self.create_type.as_str() {
            "monolithicFlat" | "twoGbMaxExtentFlat" | "vmfs" => true,
            "twoGbMaxExtentSparse" => false,
            other => return Err(unsupported(other)),
        };
        if let Some(extent) = self.extents.iter().find(|extent| !extent.is_writable) {
            return Err(format!("has an extent, {:?}, that may not be written", extent.name).into());
        }
        if self.extents.iter().any(|extent| matches!(extent.storage, Storage::Flat { .. }) != is_flat) {
            return Err(format!("has extents that a {:?} has not", self.create_type).into());
        }
        let sum = self.extents.iter().try_fold(0u64, |sum, extent| sum.checked_add(extent.sectors));
        match sum {
            Some(0) => Err("has no extents, so there is no disk".into()),
            Some(sectors) if sectors <= MOST_CAPACITY / SECTOR => Ok(&self.extents),
            _ => Err("is a disk of more than the 16 TiB that are supported".into()),
        }
    }

    /// A descriptor of the same disk whose extents are at these paths, one each.
    pub fn at_paths(&self, paths: impl Iterator<Item = PathBuf>) -> String {
        let mut text = format!(
            "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID={NO_PARENT}\ncreateType=\"{}\"\n",
            self.create_type
        );
        for (extent, path) in self.extents.iter().zip(paths) {
            let (sectors, path) = (extent.sectors, path.display());
            text += &match extent.storage {
                Storage::Flat { first_sector } => format!("RW {sectors} FLAT \"{path}\" {first_sector}\n"),
                Storage::Sparse => format!("RW {sectors} SPARSE \"{path}\"\n"),
            };
        }
        text
    }

    /// Holds a descriptor within a sparse file against that file, which is the only extent.
    pub fn check_embedded(&self, sectors: u64) -> Result<(), Problem> {
        match self.create_type.as_str() {
            "monolithicSparse" | "streamOptimized" => {}
            other => return Err(unsupported(other)),
        }
        match self.extents.as_slice() {
            [Extent { storage: Storage::Sparse, sectors: stated, .. }] if *stated == sectors => Ok(()),
            _ => Err("has a descriptor that names other extents than the image itself".into()),
        }
    }
}

/// What a descriptor says of the whole disk.
#[derive(Default)]
struct Keys {
    version: Option<String>,
    content: Option<String>,
    parent: Option<String>,
    create_type: Option<String>,
}

impl Keys {
    fn take(&mut self, key: &str, value: &str) -> Result<(), Problem> {
        let place = match key.to_ascii_lowercase().as_str() {
            "version" => &mut self.version,
            "cid" => &mut self.content,
            "parentcid" => &mut self.parent,
            "createtype" => &mut self.create_type,
            key if key.starts_with("encryption") => {
                return Err("is encrypted, which is not supported. Decrypt it in VMware first.".into());
            }
            _ => return Ok(()),
        };
        match place.replace(value.to_owned()) {
            None => Ok(()),
            // Two readers might take one value each.
            Some(_) => Err("has a descriptor that says the same thing twice".into()),
        }
    }

    /// The type, where the rest is as it must be.
    fn create_type(self) -> Result<String, Problem> {
        if !matches!(self.version.as_deref(), Some("1" | "2" | "3")) {
            return Err("has a descriptor of a version that is not known; only 1 to 3 are".into());
        }
        if self.content.is_none_or(|id| u32::from_str_radix(&id, 16).is_err()) {
            return Err("has a descriptor without a content ID".into());
        }
        match self.parent {
            Some(id) if id.eq_ignore_ascii_case(NO_PARENT) => {}
            Some(_) => return Err(PARENT.into()),
            None => return Err("has a descriptor that does not say whether it has a parent".into()),
        }
        self.create_type.ok_or_else(|| "has a descriptor that does not say its createType".into())
    }
}

fn unsupported(create_type: &str) -> Problem {
    format!(
        "is of the type {create_type:?}: snapshots and raw devices cannot be attached. If you trust it, make it one file \
         with qemu-img convert -O qcow2."
    )
    .into()
}

/// Whether a line begins like an extent. Where it then is none, it is refused, for another reader might go on with the
/// next line.
fn is_extent(line: &str) -> bool {
    matches!(line.split_whitespace().next(), Some("RW" | "RDONLY" | "NOACCESS"))
}

impl Extent {
    /// Parses `RW 4192256 FLAT "disk-f001.vmdk" 0`.
    fn parse(line: &str) -> Result<Self, Problem> {
        let malformed = || Problem::from(format!("has a malformed extent in its descriptor: {line:?}"));
        let (before, quoted) = line.split_once('"').ok_or_else(|| no_file(line))?;
        let (name, after) = quoted.split_once('"').ok_or_else(malformed)?;
        let mut fields = before.split_whitespace();
        let (access, sectors, kind) = (fields.next(), fields.next(), fields.next());
        if fields.next().is_some() {
            return Err(malformed());
        }
        let is_writable = match access {
            Some("RW") => true,
            Some("RDONLY") => false,
            _ => return Err("has an extent that may not be accessed".into()),
        };
        let sectors = number(sectors).filter(|sectors| *sectors > 0).ok_or_else(malformed)?;
        let mut rest = after.split_whitespace();
        let (first_sector, more) = (rest.next(), rest.next());
        let storage = match (kind, first_sector, more) {
            (Some("FLAT"), Some(_), None) => {
                Storage::Flat { first_sector: number(first_sector).ok_or_else(malformed)? }
            }
            (Some("VMFS"), None | Some("0"), None) => Storage::Flat { first_sector: 0 },
            (Some("SPARSE"), None, None) => Storage::Sparse,
            (Some("FLAT" | "VMFS" | "SPARSE"), _, _) => return Err(malformed()),
            (kind, _, _) => return Err(unsupported(kind.unwrap_or_default())),
        };
        check_name(name)?;
        Ok(Extent { name: name.to_owned(), sectors, storage, is_writable })
    }
}

fn no_file(line: &str) -> Problem {
    format!("has an extent without a file in its descriptor: {line:?}").into()
}

/// Digits alone; `parse` would take a sign.
fn number(field: Option<&str>) -> Option<u64> {
    field
        .filter(|field| field.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|field| u64::from_str(field).ok())
}

/// An extent's name is one component that means the same to everybody.
fn check_name(name: &str) -> Result<(), Problem> {
    let is_plain = !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name != "."
        && name != ".."
        && name == name.trim()
        && !name.chars().any(|c| matches!(c, '/' | '\\' | ':' | '\u{fffd}') || c.is_control());
    match is_plain {
        true => Ok(()),
        false => Err(format!(
            "names the extent {name:?}; an extent must be a file of the image's own directory, named without a path"
        )
        .into()),
    }
}

#[cfg(test)]
#[path = "descriptor_tests.rs"]
mod tests;
