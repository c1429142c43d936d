//! A vmdk's descriptor, the text that says what the disk consists of: bytes in, facts out.

use super::SECTOR;
use crate::image::inspect::MAX_CAPACITY;
use crate::image::problem::ImageProblem;
use std::path::PathBuf;
use std::str::FromStr;

/// The longest descriptor that is read. VMware's have a few hundred bytes.
pub(super) const MAX_BYTES: u64 = 1 << 20;
pub(super) const TOO_LONG: &str = "has a descriptor of more than 1 MiB, which no program writes";

/// The most files that one image may consist of. Each is a descriptor of this process while the image is attached.
const MAX_EXTENTS: usize = 256;

/// The longest name that a file can have.
const LONGEST_NAME: usize = 255;

/// What the first line is, where it is not another comment.
const SIGNATURE: &str = "# Disk DescriptorFile";

/// How much of a file QEMU looks at to tell a descriptor.
const PROBED_BYTES: usize = 512;
const VERSIONS: [&[u8]; 3] = [b"version=1", b"version=2", b"version=3"];

/// The keys that QEMU looks for anywhere in the text, in exactly this spelling.
const CONTENT_ID: &[u8] = b"CID";
const PARENT_ID: &[u8] = b"parentCID";
const CREATE_TYPE: &[u8] = b"createType";

const PARENT_HINT: &[u8] = b"parentFileNameHint";
const NO_PARENT: &str = "ffffffff";
const STREAM: &str = "streamOptimized";

/// What a disk consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    create_type: String,
    extents: Vec<VmdkExtent>,
}

/// A part of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmdkExtent {
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

/// Whether an image that begins so is a descriptor alone: what QEMU takes for one, and what has the usual first line.
pub fn is_descriptor(head: &[u8]) -> bool {
    is_probed(&head[..head.len().min(PROBED_BYTES)]) || has_signature(head)
}

/// QEMU skips comments and lines of spaces, and then there is the version.
fn is_probed(head: &[u8]) -> bool {
    let mut rest = head;
    loop {
        let is_space = |byte: &&u8| **byte == b' ';
        let spaces = rest.iter().take_while(is_space).count();
        let (line, behind) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => return false,
        };
        let ended = line.strip_suffix(b"\r").unwrap_or(line);
        let is_skipped = line.starts_with(b"#") || spaces > 0 && ended.len() == spaces || line == b"\r";
        if !is_skipped {
            return VERSIONS.contains(&ended);
        }
        rest = behind;
    }
}

fn has_signature(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    head.get(..SIGNATURE.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(SIGNATURE.as_bytes()))
}

/// Refuses an image that names a parent in these bytes, in whatever way.
pub(super) fn check_parentless(bytes: &[u8]) -> Result<(), ImageProblem> {
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
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageProblem> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(TOO_LONG.into());
        }
        check_parentless(bytes)?;
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let create_type = create_type(text)?;
        check_ids(text)?;
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
                let Some(extent) = VmdkExtent::parse(line)? else { continue };
                if extents.len() == MAX_EXTENTS {
                    return Err(format!("consists of more than {MAX_EXTENTS} files").into());
                }
                extents.push(extent);
            } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
                keys.take(key.trim(), value.trim().trim_matches('"'))?;
            }
        }
        keys.check()?;
        Ok(Descriptor { create_type, extents })
    }

    /// The extents of a descriptor that is a file of its own: at least one, all of the kind that its type has.
    pub fn separate_extents(&self) -> Result<&[VmdkExtent], ImageProblem> {
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
            Some(sectors) if sectors <= MAX_CAPACITY / SECTOR => Ok(&self.extents),
            _ => Err("is a disk of more than the 16 TiB that are supported".into()),
        }
    }

    /// A descriptor of the same disk whose extents are at these paths, one each.
    pub fn at_paths(&self, paths: impl Iterator<Item = PathBuf>) -> String {
        let mut text = format!(
            "{SIGNATURE}\nversion=1\nCID=fffffffe\nparentCID={NO_PARENT}\ncreateType=\"{}\"\n",
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

    /// Whether the type says that the disk is written once, from its beginning to its end.
    pub fn is_stream(&self) -> bool {
        self.create_type == STREAM
    }

    /// Holds a descriptor within a sparse file against that file, which is the only extent.
    pub fn check_embedded(&self, sectors: u64) -> Result<(), ImageProblem> {
        match self.create_type.as_str() {
            "monolithicSparse" | STREAM => {}
            other => return Err(unsupported(other)),
        }
        match self.extents.as_slice() {
            [VmdkExtent { storage: Storage::Sparse, sectors: stated, .. }] if *stated == sectors => Ok(()),
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
}

impl Keys {
    fn take(&mut self, key: &str, value: &str) -> Result<(), ImageProblem> {
        let place = match key.to_ascii_lowercase().as_str() {
            "version" => &mut self.version,
            "cid" => &mut self.content,
            "parentcid" => &mut self.parent,
            key if key.starts_with("encryption") => {
                return Err("is encrypted, which is not supported. Decrypt it in VMware first.".into());
            }
            _ => return Ok(()),
        };
        match place.replace(value.to_owned()) {
            None => Ok(()),
            // Two readers might take one value each.
            Some(_) => Err(SAID_TWICE.into()),
        }
    }

    /// Refuses a version that is not known, and a parent.
    fn check(self) -> Result<(), ImageProblem> {
        if !matches!(self.version.as_deref(), Some("1" | "2" | "3")) {
            return Err("has a descriptor of a version that is not known; only 1 to 3 are".into());
        }
        match self.parent {
            Some(id) if !id.eq_ignore_ascii_case(NO_PARENT) => Err(PARENT.into()),
            _ => Ok(()),
        }
    }
}

/// The value of a key as QEMU finds it: the key's first place anywhere in the text, and what is two bytes behind it.
fn value_of<'t>(text: &'t [u8], key: &[u8], skipped: usize) -> Option<&'t [u8]> {
    let at = text.windows(key.len()).position(|found| found == key)?;
    text.get(at + key.len() + skipped..)
}

/// The type of the disk. QEMU skips an equals sign and a quotation mark without looking, and reads to the next mark.
fn create_type(text: &[u8]) -> Result<String, ImageProblem> {
    let is_key = |found: &&[u8]| found.eq_ignore_ascii_case(CREATE_TYPE);
    if text.windows(CREATE_TYPE.len()).filter(is_key).count() > 1 {
        return Err(SAID_TWICE.into());
    }
    let value = value_of(text, CREATE_TYPE, 2);
    let end = value.and_then(|value| value.iter().position(|byte| *byte == b'"'));
    match (value, end) {
        (Some(value), Some(end)) => Ok(String::from_utf8_lossy(&value[..end]).into_owned()),
        _ => Err("has a descriptor that does not say its createType".into()),
    }
}

/// Refuses a parent, and what QEMU finds no hexadecimal numbers in.
fn check_ids(text: &[u8]) -> Result<(), ImageProblem> {
    if value_of(text, CONTENT_ID, 1).and_then(hexadecimal).is_none() {
        return Err("has a descriptor without a content ID".into());
    }
    match value_of(text, PARENT_ID, 1).and_then(hexadecimal) {
        Some(u32::MAX) => Ok(()),
        Some(_) => Err(PARENT.into()),
        None => Err("has a descriptor that does not say whether it has a parent".into()),
    }
}

/// The number that a text begins with, behind white space and with or without `0x`, as `scanf` reads it.
fn hexadecimal(text: &[u8]) -> Option<u32> {
    let text = text.trim_ascii_start();
    let digits_of = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let prefixed = text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X"));
    let digits = prefixed.filter(|text| digits_of(text) > 0).unwrap_or(text);
    let digits = std::str::from_utf8(&digits[..digits_of(digits)]).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

const SAID_TWICE: &str = "has a descriptor that says the same thing twice";

fn unsupported(create_type: &str) -> ImageProblem {
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

impl VmdkExtent {
    /// Parses `RW 4192256 FLAT "disk-f001.vmdk" 0`; `None` for what QEMU takes for no part of the disk: an extent of no
    /// sectors, and one of zeros, which has no file.
    fn parse(line: &str) -> Result<Option<Self>, ImageProblem> {
        let malformed = || ImageProblem::from(format!("has a malformed extent in its descriptor: {line:?}"));
        let mut fields = line.split_whitespace();
        let (access, sectors, kind) = (fields.next(), fields.next(), fields.next());
        let is_zero = kind.is_some_and(|kind| kind.eq_ignore_ascii_case(ZERO));
        if is_zero && !line.contains('"') {
            return number(sectors).map(|_| None).ok_or_else(malformed);
        }
        let (before, quoted) = line.split_once('"').ok_or_else(|| no_file(line))?;
        let (name, after) = quoted.split_once('"').ok_or_else(malformed)?;
        let has_space = before.ends_with(char::is_whitespace);
        if before.split_whitespace().count() != 3 || !has_space {
            return Err(malformed());
        }
        let sectors = number(sectors).ok_or_else(malformed)?;
        // What follows a number, or is none, is not looked at.
        let first_sector = after.trim_start();
        let end = first_sector.find(|c: char| !c.is_ascii_digit() && c != '+').unwrap_or(first_sector.len());
        let first_sector = Some(&first_sector[..end]).filter(|number| !number.is_empty());
        let is_negative = after.trim_start().starts_with('-');
        if is_zero && first_sector.is_none() && !is_negative {
            return Ok(None);
        }
        let is_writable = match access {
            Some("RW") => true,
            Some("RDONLY") => false,
            _ => return Err("has an extent that may not be accessed".into()),
        };
        let storage = match (kind, first_sector) {
            (Some("FLAT"), Some(_)) => {
                Storage::Flat { first_sector: number(first_sector).ok_or_else(malformed)? }
            }
            (Some("VMFS"), None) if !is_negative => Storage::Flat { first_sector: 0 },
            (Some("SPARSE"), None) if !is_negative => Storage::Sparse,
            (Some("FLAT" | "VMFS" | "SPARSE"), _) => return Err(malformed()),
            (kind, _) => return Err(unsupported(kind.unwrap_or_default())),
        };
        if sectors == 0 {
            return Ok(None);
        }
        check_name(name)?;
        Ok(Some(VmdkExtent { name: name.to_owned(), sectors, storage, is_writable }))
    }
}

/// The kind of an extent of zeros.
const ZERO: &str = "ZERO";

fn no_file(line: &str) -> ImageProblem {
    format!("has an extent without a file in its descriptor: {line:?}").into()
}

/// Decimal digits, with a plus sign or without.
fn number(field: Option<&str>) -> Option<u64> {
    let digits = field.map(|field| field.strip_prefix('+').unwrap_or(field));
    digits
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| u64::from_str(digits).ok())
}

/// An extent's name is one component that means the same to everybody.
fn check_name(name: &str) -> Result<(), ImageProblem> {
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
