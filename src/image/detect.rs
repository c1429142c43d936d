//! Detects an image's format: from the caller's statement, the file name, the content, in this order.

use super::problem::ImageProblem;
use super::{qcow2, vmdk};
use crate::model::DiskFormat;
use std::path::Path;

/// The format that an image's first bytes indicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signature {
    /// A format that can be attached, except raw.
    Format(DiskFormat),
    /// The description of a known format that cannot be attached.
    Foreign(&'static str),
    /// No known format. These may be the bytes of a disk.
    Unknown,
}

/// The offset, the magic and the description of foreign formats.
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

/// The file name extensions that state a format.
const EXTENSIONS: [(&str, DiskFormat); 4] = [
    ("raw", DiskFormat::Raw),
    ("img", DiskFormat::Raw),
    ("qcow2", DiskFormat::Qcow2),
    ("vmdk", DiskFormat::Vmdk),
];

impl Signature {
    /// Detects the format of an image that begins with `head`.
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

    fn description(self) -> String {
        match self {
            Signature::Format(format) => format!("looks like a {} image", format.as_str()),
            Signature::Foreign(name) => format!("looks like {name}"),
            Signature::Unknown => "has no header of a known format".to_owned(),
        }
    }
}

/// Returns the format of the image at `path`, or the problem if statement, name and content contradict each other.
///
/// If the caller states raw, the content is ignored: a guest may have written anything into it. A name alone does not
/// suffice for that, because images of other formats are often called `.img`.
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
        // If attached as raw, the guest would see garbage and overwrite the image. If attached as the detected format, a
        // guest that wrote a raw image could choose the format.
        (Some(DiskFormat::Raw), content) => Err(format!(
            "is named as a raw image but {}. State its \"format\": \"raw\" if its bytes are the disk's, or the format \
             that it has.",
            content.description()
                )
                .into()),
        (Some(format), Signature::Format(actual)) if format == actual => Ok(format),
        (Some(format), _) => {
            let (name, actual) = (format.as_str(), content.description());
            Err(match (stated, named) {
                (None, Some((extension, _))) => format!(
                    "is named .{extension} but {actual}. Rename it, or state the format that it has."
                ),
                _ => format!("is not the {name} image that \"format\" says: it {actual}."),
            }
            .into())
        }
        (None, Signature::Format(format)) => Ok(format),
        // If attached as raw, the guest would see garbage and overwrite the image.
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

    fn detect(stated: Option<DiskFormat>, path: &str, head: &[u8]) -> Result<DiskFormat, ImageProblem> {
        format(stated, Path::new(path), Signature::of(head))
    }

    const QCOW2: &[u8] = b"QFI\xfb\0\0\0\x03";
    const VMDK: &[u8] = b"KDMV\x01\0\0\0";
    const DESCRIPTOR: &[u8] = b"# Disk DescriptorFile\nversion=1\n";

    #[test]
    fn a_raw_image_stays_raw_whatever_it_holds_where_the_caller_says_so() {
        for head in [QCOW2, VMDK, DESCRIPTOR, b"vhdxfile", b""] {
            for path in ["a.raw", "a.img", "a.RAW", "dir.qcow2/a.Img", "a.qcow2", "a.vmdk", "a"] {
                assert_eq!(detect(Some(DiskFormat::Raw), path, head), Ok(DiskFormat::Raw), "{path}");
            }
        }
    }

    #[test]
    fn an_image_that_is_only_named_as_raw_is_refused_where_it_looks_like_another_format() {
        for path in ["a.raw", "a.img", "a.RAW", "dir.qcow2/a.Img"] {
            for head in [b"" as &[u8], b"\0\0\0", b"QFI"] {
                assert_eq!(detect(None, path, head), Ok(DiskFormat::Raw), "{path}");
            }
            for head in [QCOW2, VMDK, DESCRIPTOR, b"vhdxfile"] {
                let problem = detect(None, path, head).unwrap_err();
                assert!(problem.contains("State its \"format\""), "{path}: {problem}");
            }
        }
    }

    #[test]
    fn without_a_known_extension_the_content_decides() {
        for path in ["a", "a.disk", "raw", ".raw", "a.raw.bak"] {
            assert_eq!(detect(None, path, QCOW2), Ok(DiskFormat::Qcow2), "{path}");
            assert_eq!(detect(None, path, VMDK), Ok(DiskFormat::Vmdk), "{path}");
            assert_eq!(detect(None, path, DESCRIPTOR), Ok(DiskFormat::Vmdk), "{path}");
            assert_eq!(detect(None, path, b"\0\0\0"), Ok(DiskFormat::Raw), "{path}");
        }
    }

    #[test]
    fn rejects_a_content_that_contradicts_the_name() {
        let problem = detect(None, "a.QCOW2", b"\0\0\0").unwrap_err();
        assert_eq!(
            problem,
            "is named .qcow2 but has no header of a known format. Rename it, or state the format that it has."
        );
        assert!(detect(None, "a.vmdk", QCOW2).unwrap_err().contains("but looks like a qcow2 image"));
    }

    #[test]
    fn rejects_a_stated_format_that_is_not_the_image_s_and_minds_no_name() {
        assert_eq!(detect(Some(DiskFormat::Qcow2), "a.raw", QCOW2), Ok(DiskFormat::Qcow2));
        assert_eq!(
            detect(Some(DiskFormat::Vmdk), "a.qcow2", QCOW2).unwrap_err(),
            "is not the vmdk image that \"format\" says: it looks like a qcow2 image."
        );
    }

    #[test]
    fn rejects_the_formats_of_other_programs_unless_they_are_to_be_raw() {
        let mut vdi = b"<<< Oracle VM VirtualBox Disk Image >>>\n".to_vec();
        vdi.resize(64, 0);
        vdi.extend([0x7f, 0x10, 0xda, 0xbe]);
        for head in [&vdi[..], b"conectix", b"vhdxfile", b"QED\0", b"COWD", b"WithoutFreeSpace"] {
            assert!(detect(None, "a.vhd", head).unwrap_err().contains("qemu-img convert"), "{head:?}");
            assert!(detect(None, "a.img", head).unwrap_err().contains("State its \"format\""), "{head:?}");
            assert_eq!(detect(Some(DiskFormat::Raw), "a.img", head), Ok(DiskFormat::Raw));
        }
    }
}
