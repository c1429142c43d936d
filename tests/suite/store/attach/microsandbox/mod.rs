//! A home that microsandbox uses as well: its catalog, its running sandboxes, and its locks on disks.

mod by_name;
mod flock;
mod removal;

use crate::support::home::{Home, name};
use rusqlite::Connection;
use sandbox_volumes::error::Error;
use sandbox_volumes::model::OptionValue;
use sandbox_volumes::mount::MountConfig;
use sandbox_volumes::mount::runtime::microsandbox::{MicrosandboxOptions, render};
use sandbox_volumes::mount::runtime::microsandbox_sdk;
use sandbox_volumes::store::Attachment;
use sandbox_volumes::sync::CancelToken;
use serde_json::{Value, json};

/// The tables as microsandbox 0.6.18 makes them, as far as they matter here.
const OLDER: &str = "
    CREATE TABLE seaql_migrations (version varchar NOT NULL PRIMARY KEY, applied_at bigint NOT NULL);
    INSERT INTO seaql_migrations VALUES ('m20260824_000001_mount_owner_config', 0);
    CREATE TABLE sandbox (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, name text NOT NULL UNIQUE,
        config text NOT NULL, status text NOT NULL, created_at datetime_text, updated_at datetime_text,
        ephemeral boolean NOT NULL DEFAULT FALSE, active_config text, network_slot INTEGER);
    CREATE TABLE volume (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, name text NOT NULL UNIQUE,
        quota_mib integer, size_bytes integer, labels text, created_at datetime_text, updated_at datetime_text,
        kind text NOT NULL DEFAULT 'dir', capacity_bytes integer, disk_format text, disk_fstype text);
";

/// What 0.7.12 adds.
const NEWER: &str = "
    ALTER TABLE volume ADD COLUMN pending_creation_sandbox_id integer REFERENCES sandbox (id);
    ALTER TABLE volume ADD COLUMN creation_state text;
    CREATE TRIGGER volume_creation_no_delete BEFORE DELETE ON volume
        WHEN OLD.pending_creation_sandbox_id IS NOT NULL BEGIN SELECT RAISE(ABORT, 'busy'); END;
    CREATE TRIGGER standalone_volume_no_delete BEFORE DELETE ON volume
        WHEN OLD.creation_state IS NOT NULL BEGIN SELECT RAISE(ABORT, 'busy'); END;
";

/// microsandbox's catalog in a home, with a connection that stays open as that of a running microsandbox does.
struct Msb(Connection);

impl Msb {
    fn older(home: &Home) -> Self {
        let catalog = Connection::open(home.path("db/msb.db")).unwrap();
        catalog.pragma_update(None, "journal_mode", "wal").unwrap();
        catalog.execute_batch(OLDER).unwrap();
        Msb(catalog)
    }

    fn newer(home: &Home) -> Self {
        let msb = Msb::older(home);
        msb.run(NEWER);
        msb
    }

    fn run(&self, sql: &str) {
        self.0.execute_batch(sql).unwrap();
    }

    fn has_directory(&self, volume: &str) {
        self.0.execute("INSERT INTO volume (name) VALUES (?1)", [volume]).unwrap();
    }

    fn has_disk(&self, volume: &str, capacity_bytes: i64) {
        let sql =
            "INSERT INTO volume (name, kind, capacity_bytes, disk_format) VALUES (?1, 'disk', ?2, 'raw')";
        self.0.execute(sql, (volume, capacity_bytes)).unwrap();
    }

    fn has_sandbox(&self, sandbox: &str, status: &str, config: &str, active_config: Option<&str>) {
        let sql = "INSERT INTO sandbox (name, status, config, active_config) VALUES (?1, ?2, ?3, ?4)";
        self.0.execute(sql, (sandbox, status, config, active_config)).unwrap();
    }
}

impl Home {
    fn remove(&self, volume: &str) -> Result<(), Error> {
        self.store.remove(&name(volume), &CancelToken::default())
    }

    /// The arguments by name; the SDK's calls are refused, or not, alike.
    fn by_name(&self, attachment: &Attachment) -> Result<Vec<String>, Error> {
        let options = MicrosandboxOptions::from_input(&json!({ "byName": true }).into()).unwrap();
        let look_up = |name: &_| self.store.named_in_microsandbox(attachment, name);
        let argv = render(&attachment.mounts, &options, &look_up);
        let calls = microsandbox_sdk::render(&attachment.mounts, &options, &look_up);
        match (&argv, calls) {
            (Ok(_), Ok(calls)) => assert!(!calls.is_empty()),
            (Err(error), Err(calls)) => assert_eq!(error.to_string(), calls.to_string()),
            (argv, calls) => panic!("{argv:?} but {calls:?}"),
        }
        argv
    }
}

/// An existing volume with `MountOptions`.
fn volume(volume: &str, options: Value) -> MountConfig {
    MountConfig::named(&OptionValue::Text(volume.to_owned()), &options.into()).unwrap()
}
