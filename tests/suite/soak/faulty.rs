//! Faulty workers: they go around the store, or acknowledge what they have not done.

use super::environment::WITH_QUOTA;
use super::work::{Outcome, Work, ok};
use rusqlite::Connection;
use sandbox_volumes::store::VolumeFs;
use std::fs::{self, File, OpenOptions};
use std::io::Write;

/// What a worker without a fault has.
pub const NO_FAULT: &str = "none";

/// The faults of a worker, and what the soak must find because of each.
pub const FAULTS: [(&str, &[&str]); 8] = [
    // It writes "atomic" files in place.
    ("writes", &["mixed file", "is not whole"]),
    // It deletes a volume's directory before its record.
    ("removes", &["without its directory"]),
    // It acknowledges what it has not done.
    ("lies", &[", expected "]),
    // It makes a file's new name only once the old one is gone.
    ("renames", &["a rename was cut short"]),
    // It writes past the account of a volume with a quota.
    ("accounts", &["the account says"]),
    // It removes volumes that are attached.
    ("leases", &["attached, and"]),
    // It never closes what it opens.
    ("descriptors", &["descriptors or threads were left"]),
    // It adds a lease without an attachment and without a volume.
    ("rows", &["FROM lease", "foreign_key_check"]),
];

impl Work {
    pub fn has_fault(&self, how: &str) -> bool {
        self.fault == how
    }

    /// What it does beside everything else.
    pub fn act_on_its_fault(&mut self) {
        if self.has_fault("writes") {
            self.act_on_shared_files();
        }
        if self.has_fault("descriptors") {
            self.never_closed.push(File::open(&self.home).unwrap());
        }
        if self.has_fault("accounts") {
            let file = self.home.join("volumes").join(WITH_QUOTA).join("past-the-account");
            let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
            file.write_all(&[1; 16 << 10]).unwrap();
        }
        if self.has_fault("rows") {
            self.change_catalog(
                "INSERT INTO lease (attachment_id, volume_id, readonly)
                 SELECT -1, -1, 0 WHERE NOT EXISTS (SELECT 1 FROM lease WHERE volume_id = -1)",
            );
        }
    }

    /// As a removal would that did not ask who holds the volume.
    pub fn forget_holds(&self, volume: &str) {
        self.change_catalog(&format!(
            "DELETE FROM lease WHERE volume_id = (SELECT id FROM volume WHERE name = '{volume}')"
        ));
    }

    fn change_catalog(&self, statement: &str) {
        let catalog = Connection::open(self.home.join("db/volumes.db")).unwrap();
        catalog.pragma_update(None, "foreign_keys", false).unwrap();
        catalog.execute(statement, ()).unwrap();
    }

    /// Often it does not come to the second half, as if it was killed in between.
    pub fn rename_in_two_steps(&mut self, files: &VolumeFs, from: &str, to: &str) -> Outcome {
        files.stat(from, false)?;
        let content = fs::read(files.root().join(from)).unwrap();
        fs::remove_file(files.root().join(from)).unwrap();
        if self.dice.below(2) == 0 {
            std::process::exit(1);
        }
        fs::write(files.root().join(to), content).unwrap();
        ok()
    }

    /// A piece after the other.
    pub fn write_in_place(&self, files: &VolumeFs, path: &str, content: &[u8]) -> Outcome {
        let mut file = File::create(files.root().join(path)).unwrap();
        content.chunks(content.len() / 30 + 1).for_each(|piece| file.write_all(piece).unwrap());
        ok()
    }
}
