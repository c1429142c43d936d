//! Every call, made in a faulty way: paths are joined and opened by name. The model must catch each.

use super::call::{Call, Given, Seen, Start};
use super::disk::{Backend, Disk, entry_seen};
use crate::faulty::{Check, FaultyVolume, LEFT, beside, write_beside_and_rename};
use crate::support::methods::Refusal;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// How far a tree is copied that leads into itself.
const DEEPEST: usize = 8;

/// A disk whose calls are made in a faulty way.
pub struct FaultyDisk<'d> {
    disk: &'d Disk,
    faulty: FaultyVolume,
}

impl<'d> FaultyDisk<'d> {
    pub fn new(disk: &'d Disk, check: Check) -> Self {
        FaultyDisk { disk, faulty: FaultyVolume::in_volume(&disk.volume, check) }
    }

    fn copy(&self, from: &Path, to: &Path, depth: usize, copied: &mut (u64, u64)) -> io::Result<()> {
        if depth > DEEPEST || ![from, to].into_iter().all(|place| self.faulty.in_fixture(place)) {
            return Err(io::Error::other(LEFT));
        }
        if !fs::metadata(from)?.is_dir() {
            *copied = (copied.0 + 1, copied.1 + fs::copy(from, to)?);
            return Ok(());
        }
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()? {
            self.copy(&entry.path(), &to.join(entry.file_name()), depth + 1, copied)?;
        }
        Ok(())
    }

    fn copied(&self, from: &Path, to: &Path) -> io::Result<Given> {
        let mut copied = (0, 0);
        self.copy(from, to, 0, &mut copied)?;
        Ok(Given::Copied { files: copied.0, bytes: copied.1, skipped: 0 })
    }

    fn list(&self, place: &Path, path: &[u8], recursive: bool, listed: &mut Vec<Seen>) -> io::Result<()> {
        if !self.faulty.in_fixture(place) {
            return Err(io::Error::other(LEFT));
        }
        let mut entries = fs::read_dir(place)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in &entries {
            let found = entry.metadata()?;
            let path = [path, entry.file_name().as_bytes()].concat();
            listed.push(entry_seen(&path, found.mode(), found.size()));
        }
        for entry in entries.iter().filter(|entry| recursive && entry.path().is_dir()) {
            let below = [path, entry.file_name().as_bytes(), b"/"].concat();
            if below.len() < 64 {
                self.list(&entry.path(), &below, recursive, listed)?;
            }
        }
        Ok(())
    }

    fn run(&self, call: &Call, place: &Path) -> io::Result<Given> {
        let nothing = |()| Given::Nothing;
        let host = |path: &[u8]| self.disk.host.join(OsStr::from_bytes(path));
        match call {
            Call::Read(_) => fs::read(place).map(Given::Content),
            Call::ReadString(_) => fs::read_to_string(place).map(|text| Given::Content(text.into_bytes())),
            Call::ReadStream(_, start, end) => {
                let content = fs::read(place)?;
                let end = end.map_or(content.len(), |end| content.len().min(end as usize + 1));
                Ok(Given::Content(content.get(start.unwrap_or(0) as usize..end).unwrap_or_default().to_vec()))
            }
            Call::Write(_, data, how) if how.atomic => {
                if !self.faulty.in_fixture(&beside(place)) {
                    return Err(io::Error::other(LEFT));
                }
                write_beside_and_rename(place, &data.bytes()).map(nothing)
            }
            Call::Write(_, data, how) => {
                self.write(place, &data.bytes(), Start::Empty, how.mode).map(nothing)
            }
            Call::WriteString(_, data, mode) => {
                self.write(place, &data.bytes(), Start::Empty, *mode).map(nothing)
            }
            Call::WriteStream(_, chunks, start, how, _) => {
                let bytes: Vec<_> = chunks.iter().flat_map(|chunk| chunk.bytes()).collect();
                self.write(place, &bytes, *start, how.mode).map(nothing)
            }
            Call::Append(_, data, mode) => self.write(place, &data.bytes(), Start::End, *mode).map(nothing),
            Call::Mkdir(_) => fs::create_dir_all(place).map(nothing),
            Call::Remove(_) => fs::remove_file(place).or_else(|_| fs::remove_dir(place)).map(nothing),
            Call::RemoveAll(_) => self.faulty.remove_all(place).map(nothing),
            Call::Exists(_) => Ok(Given::There(place.exists())),
            Call::List(path, recursive) => {
                let prefix = if path.is_empty() { Vec::new() } else { [&path[..], b"/"].concat() };
                let mut listed = Vec::new();
                self.list(place, &prefix, *recursive, &mut listed)?;
                Ok(Given::Seen(listed))
            }
            Call::Stat(_, follow) => {
                let found = if *follow { fs::metadata(place) } else { fs::symlink_metadata(place) }?;
                Ok(Given::Seen(vec![entry_seen(b"", found.mode(), found.size())]))
            }
            Call::Rename(_, to) | Call::Copy(_, to) => {
                let to = OsStr::from_bytes(to);
                let second = |to: &Path| match call {
                    Call::Rename(..) => fs::rename(place, to).map(nothing),
                    _ => self.copied(place, to),
                };
                let numbered = |refusal: Refusal| match refusal.code.as_str() {
                    "ENOENT" => io::Error::from_raw_os_error(nix::libc::ENOENT),
                    code => io::Error::other(code),
                };
                self.faulty.reach(to, second).map_err(numbered)
            }
            Call::CopyIn(from, ..) => self.copied(&host(from), place),
            Call::CopyOut(_, to, _) => self.copied(place, &host(to)),
        }
    }

    fn write(&self, place: &Path, bytes: &[u8], start: Start, mode: Option<u32>) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(start == Start::Empty).mode(mode.unwrap_or(0o644));
        let mut file = options.open(place)?;
        file.seek(match start {
            Start::Empty => SeekFrom::Start(0),
            Start::End => SeekFrom::End(0),
            Start::At(at) => SeekFrom::Start(at),
        })?;
        file.write_all(bytes)
    }
}

impl Backend for FaultyDisk<'_> {
    fn call(&self, call: &Call) -> Result<Given, String> {
        let paths = call.paths();
        let path = if let Call::CopyIn(..) = call { &paths[1] } else { &paths[0] };
        let result = self.faulty.reach(OsStr::from_bytes(path), |place| self.run(call, place));
        result.map_err(|refusal| refusal.code)
    }
}
