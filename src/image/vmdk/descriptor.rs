//! Parses a vmdk's descriptor, the text that lists the extents of the disk.

use super::SECTOR;
use crate::image::inspect::MAX_CAPACITY_BYTES;
use crate::image::problem::ImageProblem;
use std::path::PathBuf;
use std::str::FromStr;

/// The longest descriptor that is parsed. VMware writes a few hundred bytes.
pub(super) const MAX_BYTES: u64 = 1 << 20;
pub(super) const TOO_LONG: &str = "has a descriptor of more than 1 MiB, which no program writes";

/// The limit of files per image. Each uses a file descriptor of this process while the image is attached.
const MAX_EXTENTS: usize = 256;

/// The longest name of a file, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// The usual first line.
const SIGNATURE: &str = "# Disk DescriptorFile";

/// How much of a file QEMU reads to detect a descriptor.
const PROBED_BYTES: usize = 512;
const VERSIONS: [&[u8]; 3] = [b"version=1", b"version=2", b"version=3"];

/// The keys that QEMU searches for anywhere in the text, in exactly this spelling.
const CONTENT_ID: &[u8] = b"CID";
const PARENT_ID: &[u8] = b"parentCID";
const CREATE_TYPE: &[u8] = b"createType";

const PARENT_HINT: &[u8] = b"parentFileNameHint";
const NO_PARENT: &str = "ffffffff";
const STREAM: &str = "streamOptimized";

/// The extents of a disk, and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    create_type: String,
    extents: Vec<VmdkExtent>,
}

/// A part of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmdkExtent {
    /// The plain name of its file.
    pub name: String,
    /// The size in sectors.
    pub sectors: u64,
    /// The layout of its file.
    pub storage: Storage,
    is_writable: bool,
}

/// The layout of an extent's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Plain data.
    Flat {
        /// The first sector of the data in the file.
        first_sector: u64,
    },
    /// Grains.
    Sparse,
}

/// Reports whether an image that begins with `head` is only a descriptor: if QEMU detects one, or if the usual first line
/// is there.
pub fn is_descriptor(head: &[u8]) -> bool {
    is_probed(&head[..head.len().min(PROBED_BYTES)]) || has_signature(head)
}

/// Reports whether QEMU detects a descriptor: a version after comments and blank lines.
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

/// Fails if these bytes name a parent in any way.
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

const PARENT: &str = "is a snapshot that needs its parent, which is not opened: the author of the image could name any \
                      file of the host. If you trust it, make it one file with qemu-img convert -O qcow2.";

impl Descriptor {
    /// Parses a descriptor. It ends at the first NUL.
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
            // Only comments and names may contain bytes that are not ASCII.
            let line = String::from_utf8_lossy(line);
            let line = line.trim();
            let was_after_blank = std::mem::replace(&mut is_after_blank, line.is_empty());
            if is_extent(line) {
                // QEMU skips the blank line, and then parses the extent again.
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

    /// Returns the extents of a descriptor that is a file of its own. Fails if there are none, or if one does not match the
    /// type.
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
            Some(sectors) if sectors <= MAX_CAPACITY_BYTES / SECTOR => Ok(&self.extents),
            _ => Err("is a disk of more than the 16 TiB that are supported".into()),
        }
    }

    /// Returns the text of a descriptor of the same disk whose extents are at these paths.
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

    /// Reports whether the type is `streamOptimized`: written once, as a stream.
    pub fn is_stream(&self) -> bool {
        self.create_type == STREAM
    }

    /// Checks the descriptor embedded in a sparse file against that file, which is its only extent.
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

/// The keys of a descriptor that describe the whole disk.
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
            // Two readers might use different values.
            Some(_) => Err(DUPLICATE_KEY.into()),
        }
    }

    /// Fails for an unknown version, and for a parent.
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

/// Returns the value of a key as QEMU finds it: at `skipped` bytes after the key's first occurrence in the text.
fn value_of<'t>(text: &'t [u8], key: &[u8], skipped: usize) -> Option<&'t [u8]> {
    let at = text.windows(key.len()).position(|found| found == key)?;
    text.get(at + key.len() + skipped..)
}

/// Returns the type of the disk. QEMU skips two bytes, which should be `="`, and reads to the next quotation mark.
fn create_type(text: &[u8]) -> Result<String, ImageProblem> {
    let is_key = |found: &&[u8]| found.eq_ignore_ascii_case(CREATE_TYPE);
    if text.windows(CREATE_TYPE.len()).filter(is_key).count() > 1 {
        return Err(DUPLICATE_KEY.into());
    }
    let value = value_of(text, CREATE_TYPE, 2);
    let end = value.and_then(|value| value.iter().position(|byte| *byte == b'"'));
    match (value, end) {
        (Some(value), Some(end)) => Ok(String::from_utf8_lossy(&value[..end]).into_owned()),
        _ => Err("has a descriptor that does not say its createType".into()),
    }
}

/// Fails for a parent, and if QEMU finds no hexadecimal number in an ID.
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

/// Parses the number at the begin of a text, after white space and with or without `0x`, as `scanf` does.
fn hexadecimal(text: &[u8]) -> Option<u32> {
    let text = text.trim_ascii_start();
    let digits_of = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let prefixed = text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X"));
    let digits = prefixed.filter(|text| digits_of(text) > 0).unwrap_or(text);
    let digits = std::str::from_utf8(&digits[..digits_of(digits)]).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

const DUPLICATE_KEY: &str = "has a descriptor that says the same thing twice";

fn unsupported(create_type: &str) -> ImageProblem {
    format!(
        "is of the type {create_type:?}: snapshots and raw devices cannot be attached. If you trust it, make it one file \
         with qemu-img convert -O qcow2."
    )
    .into()
}

/// Reports whether a line begins like an extent. If the rest is invalid, the image is refused: another reader might skip
/// the line.
fn is_extent(line: &str) -> bool {
    matches!(line.split_whitespace().next(), Some("RW" | "RDONLY" | "NOACCESS"))
}

impl VmdkExtent {
    /// Parses `RW 4192256 FLAT "disk-f001.vmdk" 0`. Returns `None` for an extent that QEMU ignores: one of 0 sectors, or one
    /// of zeros, which has no file.
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
        // The rest of the line is ignored.
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

/// The keyword of an extent of zeros.
const ZERO: &str = "ZERO";

fn no_file(line: &str) -> ImageProblem {
    format!("has an extent without a file in its descriptor: {line:?}").into()
}

/// Parses decimal digits with an optional plus sign.
fn number(field: Option<&str>) -> Option<u64> {
    let digits = field.map(|field| field.strip_prefix('+').unwrap_or(field));
    digits
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| u64::from_str(digits).ok())
}

/// Fails if an extent's name is not one plain component, which all programs interpret in the same way.
fn check_name(name: &str) -> Result<(), ImageProblem> {
    let is_plain = !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
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
