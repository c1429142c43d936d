//! Reads the disk's content with imago.

use imago::format::drivers::FormatDriverInstance;
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, StorageOpenOptions};
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

type Qcow2Image = Qcow2<imago::file::File>;

/// Fills `buffer` with the beginning of the disk. The caller has validated the header.
///
/// Imago gets one descriptor, no name, and a gate that refuses to open another file.
pub fn read_start(file: &File, buffer: &mut [u8]) -> io::Result<()> {
    let read = || {
        let storage = imago::file::File::from_open_file(file.try_clone()?, StorageOpenOptions::new())?;
        let image = Qcow2Image::builder(storage)
            .backing(None)
            .data_file(None)
            .open(DenyImplicitOpenGate::default())?;
        if image.size() < buffer.len() as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        FormatAccess::new(image).read(buffer, 0)
    };
    // Imago returns errors for damaged images. A panic in it must not end the process.
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(io::Error::other("the qcow2 reader gave up on it")))
}
