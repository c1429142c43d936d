//! Telling an image's format: from what the caller states, its name, its content, in this order.

use super::problem::ImageProblem;
use super::{qcow2, vmdk};
use crate::model::DiskFormat;
use std::path::Path;

/// What an image's first bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signature {
    /// One of the formats that can be attached, but not raw.
    Format(DiskFormat),
    /// A known format that cannot be attached, in words.
    Foreign(&'static str),
    /// Nothing that is known: the bytes of a disk, as far as can be told.
    Unknown,
}

/// What disk images of other programs begin with, and where.
const FOREIGN: [(usize, &[u8], &str); 8] = [
    (0, b"conectix", "a VHD image"),
    (0, b"vhdxfile", "a VHDX image"),
    (64, &[0x7f, 0x10, 0xda, 0xbe], "a VirtualBox VDI image"),
    (0, b"QED\0", "a QED image"),
    (0, b"COWD", "a vmdk image of VMware 3 or an ESX snapshot"),
    (0, b"WithoutFreeSpace", "a Parallels image"),
    (0, b"WithouFreSpacExt", "a Parallels image"),
    (0, b"Bochs Virtual HD Image", "a Bochs image"),
];

/// The extensions that tell a format.
const EXTENSIONS: [(&str, DiskFormat); 4] = [
    ("raw", DiskFormat::Raw),
    ("img", DiskFormat::Raw),
    ("qcow2", DiskFormat::Qcow2),
    ("vmdk", DiskFormat::Vmdk),
];

impl Signature {
    /// What an image that begins with `head` looks like.
    pub fn of(head: &[u8]) -> Self {
        if head.starts_with(&qcow2::MAGIC) {
            return Signature::Format(DiskFormat::Qcow2);
        }
        if head.starts_with(&vmdk::SPARSE_MAGIC) || vmdk::is_descriptor(head) {
            return Signature::Format(DiskFormat::Vmdk);
        }
        let begins = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
        match FOREIGN.iter().find(|(at, magic, _)| begins(*at, magic)) {
            Some((_, _, name)) => Signature::Foreign(name),
            None => Signature::Unknown,
        }
    }

    fn in_words(self) -> String {
        match self {
            Signature::Format(format) => format!("looks like a {} image", format.as_str()),
            Signature::Foreign(name) => format!("looks like {name}"),
            Signature::Unknown => "has no header of a known format".to_owned(),
        }
    }
}

/// The format of the image at `path`. A raw image is raw whatever was written into it, so it is never told by its
/// content where the caller says so. A name alone does not say so: many an image of another format is called `.img`.
pub(super) fn format(
    stated: Option<DiskFormat>,
    path: &Path,
    content: Signature,
) -> Result<DiskFormat, ImageProblem> {
    let named = EXTENSIONS
        .iter()
        .find(|(extension, _)| path.extension().is_some_and(|actual| actual.eq_ignore_ascii_case(extension)));
    match (stated.or(named.map(|(_, format)| *format)), content) {
        (Some(DiskFormat::Raw), _) if stated.is_some() => Ok(DiskFormat::Raw),
        (Some(DiskFormat::Raw), Signature::Unknown) => Ok(DiskFormat::Raw),
        // As raw bytes it would be a disk full of garbage, and be overwritten; as what it looks like, a guest that has it
        // raw could choose its format.
        (Some(DiskFormat::Raw), content) => Err(format!(
            "is named as a raw image but {}. State its \"format\": \"raw\" if its bytes are the disk's, or the format \
             that it has.",
            content.in_words()
        )
        .into()),
        (Some(format), Signature::Format(actual)) if format == actual => Ok(format),
        (Some(format), _) => {
            let (name, actual) = (format.as_str(), content.in_words());
            Err(match (stated, named) {
                (None, Some((extension, _))) => format!(
                    "is named .{extension} but {actual}. Rename it, or state the format that it has."
                ),
                _ => format!("is not the {name} image that \"format\" says: it {actual}."),
            }
            .into())
        }
        (None, Signature::Format(format)) => Ok(format),
        // As raw bytes it would reach the guest as a disk full of garbage, and be overwritten.
        (None, Signature::Foreign(name)) => Err(format!(
            "looks like {name}, which cannot be attached. If you trust it, convert it with qemu-img convert -O \
             qcow2, or state the format \"raw\" if its bytes are the disk's."
        )
        .into()),
        (None, Signature::Unknown) => Ok(DiskFormat::Raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stated: Option<DiskFormat>, path: &str, head: &[u8]) -> Result<DiskFormat, ImageProblem> {
        format(stated, Path::new(path), Signature::of(head))
    }

    const QCOW2: &[u8] = b"QFI\xfb\0\0\0\x03";
    const VMDK: &[u8] = b"KDMV\x01\0\0\0";
    const DESCRIPTOR: &[u8] = b"# Disk DescriptorFile\nversion=1\n";

    #[test]
    fn a_raw_image_stays_raw_whatever_it_holds_where_the_caller_says_so() {
        for head in [QCOW2, VMDK, DESCRIPTOR, b"vhdxfile", b""] {
            for path in ["a.raw", "a.img", "a.RAW", "dir.qcow2/a.Img", "a.qcow2", "a.vmdk", "a"] {
                assert_eq!(told(Some(DiskFormat::Raw), path, head), Ok(DiskFormat::Raw), "{path}");
            }
        }
    }

    #[test]
    fn an_image_that_is_only_named_as_raw_is_refused_where_it_looks_like_another_format() {
        for path in ["a.raw", "a.img", "a.RAW", "dir.qcow2/a.Img"] {
            for head in [b"" as &[u8], b"\0\0\0", b"QFI"] {
                assert_eq!(told(None, path, head), Ok(DiskFormat::Raw), "{path}");
            }
            for head in [QCOW2, VMDK, DESCRIPTOR, b"vhdxfile"] {
                let problem = told(None, path, head).unwrap_err();
                assert!(problem.contains("State its \"format\""), "{path}: {problem}");
            }
        }
    }

    #[test]
    fn without_a_telling_extension_the_content_tells() {
        for path in ["a", "a.disk", "raw", ".raw", "a.raw.bak"] {
            assert_eq!(told(None, path, QCOW2), Ok(DiskFormat::Qcow2), "{path}");
            assert_eq!(told(None, path, VMDK), Ok(DiskFormat::Vmdk), "{path}");
            assert_eq!(told(None, path, DESCRIPTOR), Ok(DiskFormat::Vmdk), "{path}");
            assert_eq!(told(None, path, b"\0\0\0"), Ok(DiskFormat::Raw), "{path}");
        }
    }

    #[test]
    fn rejects_a_content_that_contradicts_the_name() {
        let problem = told(None, "a.QCOW2", b"\0\0\0").unwrap_err();
        assert_eq!(
            problem,
            "is named .qcow2 but has no header of a known format. Rename it, or state the format that it has."
        );
        assert!(told(None, "a.vmdk", QCOW2).unwrap_err().contains("but looks like a qcow2 image"));
    }

    #[test]
    fn rejects_a_stated_format_that_is_not_the_image_s_and_minds_no_name() {
        assert_eq!(told(Some(DiskFormat::Qcow2), "a.raw", QCOW2), Ok(DiskFormat::Qcow2));
        assert_eq!(
            told(Some(DiskFormat::Vmdk), "a.qcow2", QCOW2).unwrap_err(),
            "is not the vmdk image that \"format\" says: it looks like a qcow2 image."
        );
    }

    #[test]
    fn rejects_the_formats_of_other_programs_unless_they_are_to_be_raw() {
        let mut vdi = b"<<< Oracle VM VirtualBox Disk Image >>>\n".to_vec();
        vdi.resize(64, 0);
        vdi.extend([0x7f, 0x10, 0xda, 0xbe]);
        for head in [&vdi[..], b"conectix", b"vhdxfile", b"QED\0", b"COWD", b"WithoutFreeSpace"] {
            assert!(told(None, "a.vhd", head).unwrap_err().contains("qemu-img convert"), "{head:?}");
            assert!(told(None, "a.img", head).unwrap_err().contains("State its \"format\""), "{head:?}");
            assert_eq!(told(Some(DiskFormat::Raw), "a.img", head), Ok(DiskFormat::Raw));
        }
    }
}
