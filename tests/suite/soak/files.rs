//! What a worker does with files: with its own, with those that all workers replace, and where a guest swaps links.

use super::content::{bytes, checksum, is_sealed, sealed};
use super::environment::{KEPT, SECRET, SHARED_FILES, SHARED_WITH_GUEST, name};
use super::work::{BROKEN, OK, Work, ok};
use sandbox_volumes::error::Error;
use sandbox_volumes::store::{
    AppendOptions, ListOptions, ReadRange, TransferOptions, VolumeFs, WriteFrom, WriteOptions,
};
use sandbox_volumes::sync::CancelToken;
use std::fs;

const PLAIN: WriteOptions = WriteOptions { atomic: false, durable: false, mode: None };
const ATOMIC: WriteOptions = WriteOptions { atomic: true, ..PLAIN };

/// How much of a stream is written or read at once.
const CHUNK: usize = 50_000;

fn cancel() -> CancelToken {
    CancelToken::default()
}

fn stream(
    files: &VolumeFs,
    path: &str,
    content: &[u8],
    options: WriteOptions,
    from: WriteFrom,
) -> Result<(), Error> {
    let mut writer = files.open_writer(path, options, from, &cancel())?;
    content.chunks(CHUNK).try_for_each(|chunk| writer.write(chunk, &cancel()))?;
    writer.finish(&cancel())
}

fn read_stream(files: &VolumeFs, path: &str) -> Result<Vec<u8>, Error> {
    let reader = files.open_reader(path, ReadRange::default())?;
    let (mut content, mut chunk) = (Vec::new(), vec![0; CHUNK]);
    loop {
        match reader.read_next(&mut chunk, &cancel())? {
            0 => return Ok(content),
            length => content.extend_from_slice(&chunk[..length]),
        }
    }
}

impl Work {
    fn files(&self, volume: &str) -> VolumeFs {
        self.store.files(&name(volume))
    }

    /// A directory of this worker's own.
    fn own_directory(&mut self) -> String {
        format!("w{}/d{}", self.slot, self.dice.below(3))
    }

    fn own_file(&mut self) -> String {
        format!("{}/f{}", self.own_directory(), self.dice.below(4))
    }

    pub fn act_on_own_files(&mut self) {
        let volume = self.dice.pick(&KEPT);
        let (path, other) = (self.own_file(), self.own_file());
        let files = self.files(volume);
        for path in [&path, &other] {
            let directory = path.rsplit_once('/').unwrap().0.to_owned();
            let made = files.mkdir(&directory, &cancel()).map_err(|error| error.code());
            if made == Err("ERR_QUOTA_EXCEEDED".to_owned()) {
                return self.empty_own(volume, &files);
            }
            made.unwrap();
        }
        match self.dice.below(20) {
            0..8 => self.write_own(volume, &files, &path),
            8..10 => self.append_own(volume, &files, &path),
            10..14 => self.read_own(volume, &files, &path),
            14 | 15 => self.remove_own(volume, &files, &path),
            16 => self.empty_own(volume, &files),
            _ if path == other => {}
            17 => {
                self.tell(&format!("rename {volume} {path} {other}"), |work| {
                    if work.has_fault("renames") {
                        return work.rename_in_two_steps(&files, &path, &other);
                    }
                    files.rename(&path, &other, &cancel()).and_then(|()| ok())
                });
            }
            _ => {
                self.tell(&format!("copy {volume} {path} {other}"), |_| {
                    files.copy(&path, &other, &cancel()).and_then(|_| ok())
                });
            }
        }
    }

    fn remove_own(&mut self, volume: &str, files: &VolumeFs, path: &str) {
        self.tell(&format!("remove {volume} {path}"), |_| files.remove(path, &cancel()).and_then(|()| ok()));
    }

    fn empty_own(&mut self, volume: &str, files: &VolumeFs) {
        let directory = self.own_directory();
        self.tell(&format!("removeAll {volume} {directory}"), |_| {
            files.remove_all(&directory, &cancel()).and_then(|()| ok())
        });
    }

    fn write_own(&mut self, volume: &str, files: &VolumeFs, path: &str) {
        let mode = self.dice.pick(&["plain", "atomic", "stream", "streamAtomic", "copyIn"]);
        let (seed, length) = (self.dice.next(), self.dice.length());
        let content = bytes(seed, length);
        let written = self.tell(&format!("write {volume} {path} {mode} {seed} {length}"), |work| {
            if work.has_fault("lies") && work.dice.below(5) == 0 {
                return ok();
            }
            match mode {
                "plain" => files.write(path, &content, PLAIN, &cancel())?,
                "stream" => stream(files, path, &content, PLAIN, WriteFrom::Empty)?,
                "copyIn" => {
                    let from = work.host.join("in");
                    fs::write(&from, &content).unwrap();
                    files.copy_in(&from, path, TransferOptions::default(), &cancel())?;
                }
                "atomic" => files.write(path, &content, ATOMIC, &cancel())?,
                _ => stream(files, path, &content, ATOMIC, WriteFrom::Empty)?,
            }
            ok()
        });
        if !written {
            // A stream leaves what fitted, as its documentation says.
            self.remove_own(volume, files, path);
        }
    }

    fn append_own(&mut self, volume: &str, files: &VolumeFs, path: &str) {
        let (seed, length, streams) = (self.dice.next(), self.dice.length(), self.dice.below(2) == 0);
        let content = bytes(seed, length);
        let added = self.tell(&format!("append {volume} {path} {seed} {length}"), |_| {
            match streams {
                true => stream(files, path, &content, PLAIN, WriteFrom::End)?,
                false => files.append(path, &content, AppendOptions::default(), &cancel())?,
            }
            ok()
        });
        if !added {
            self.remove_own(volume, files, path);
        }
    }

    fn read_own(&mut self, volume: &str, files: &VolumeFs, path: &str) {
        let mode = self.dice.below(3);
        self.tell(&format!("read {volume} {path}"), |work| {
            let content = match mode {
                0 => files.open(path)?.read(&cancel())?,
                1 => read_stream(files, path)?,
                _ => {
                    let to = work.host.join("out");
                    files.copy_out(path, &to, TransferOptions::default(), &cancel())?;
                    fs::read(&to).unwrap()
                }
            };
            Ok(format!("{OK} {} {}", content.len(), checksum(&content)))
        });
    }

    pub fn act_on_shared_files(&mut self) {
        let (volume, path) = (self.dice.pick(&SHARED_WITH_GUEST), self.dice.pick(&SHARED_FILES));
        let files = self.files(volume);
        let (seed, length, mode) = (self.dice.next(), self.dice.length(), self.dice.below(4));
        let content = sealed(seed, length);
        self.tell(&format!("share {volume} {path}"), |work| {
            match mode {
                0 | 1 if work.has_fault("writes") => return work.write_in_place(&files, path, &content),
                0 => files.write(path, &content, ATOMIC, &cancel())?,
                1 => stream(&files, path, &content, ATOMIC, WriteFrom::Empty)?,
                _ => {
                    let read = match mode {
                        2 => files.open(path)?.read(&cancel())?,
                        _ => read_stream(&files, path)?,
                    };
                    if !is_sealed(&read) {
                        return Ok(format!("{BROKEN} a mixed file of {} bytes", read.len()));
                    }
                }
            }
            ok()
        });
    }

    /// A directory and a file that a guest swaps for links to the outside, and back.
    pub fn act_on_what_a_guest_has(&mut self) {
        let volume = self.dice.pick(&SHARED_WITH_GUEST);
        let path =
            self.dice.pick(&["g/dir/f", "g/link/f", "g/dir/sub/f", "g/file", "g/file-link", "g/dir/new"]);
        let files = self.files(volume);
        let choice = self.dice.below(14);
        self.tell(&format!("guest {volume} {path} {choice}"), |work| {
            let mut read = Vec::new();
            match choice {
                0 => read = files.open(path)?.read(&cancel())?,
                1 => read = read_stream(&files, path)?,
                2 => files.write(path, b"new", PLAIN, &cancel())?,
                3 => files.write(path, b"new", ATOMIC, &cancel())?,
                4 => files.append(path, b"more", AppendOptions::default(), &cancel())?,
                5 => drop(files.stat(path, true)?),
                6 => files.mkdir("g/dir/sub/deep/er", &cancel())?,
                7 => files.remove_all("g/dir/sub", &cancel())?,
                8 => drop(files.copy(path, "g/copied", &cancel())?),
                9 => files.rename(path, "g/dir/renamed", &cancel())?,
                10 => {
                    let to = work.host.join("out");
                    files.copy_out(path, &to, TransferOptions::default(), &cancel())?;
                    read = fs::read(to).unwrap();
                }
                11 => stream(&files, path, b"new", ATOMIC, WriteFrom::Empty)?,
                12 => {
                    let options = ListOptions { recursive: true, ..ListOptions::default() };
                    drop(files.list("g", options)?.next(1000, &cancel())?);
                }
                _ => files.remove(path, &cancel())?,
            }
            match String::from_utf8_lossy(&read).contains(SECRET) {
                true => Ok(format!("{BROKEN} it read what is outside")),
                false => ok(),
            }
        });
    }
}
