//! What a worker does with volumes: with its own, and with those of the pool, which all workers create and remove.

use super::environment::{POOL, kind_of, name, own_volume, spec_of};
use super::work::{BROKEN, Outcome, Work, ok};
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{Labels, OptionValue};
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::store::{Attachment, ProblemKind, Store, WriteOptions, check};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;

fn cancel() -> CancelToken {
    CancelToken::default()
}

impl Work {
    fn create(&self, volume: &str) -> Outcome {
        self.store.create(&name(volume), &spec_of(kind_of(volume)), &cancel()).and_then(|_| ok())
    }

    fn remove(&self, volume: &str) -> Outcome {
        if self.has_fault("removes") {
            let directory = self.home.join("volumes").join(volume);
            let _may_be_gone = fs::remove_dir_all(&directory);
        }
        if self.has_fault("leases") {
            self.forget_holds(volume);
        }
        self.store.remove(&name(volume), &cancel()).and_then(|()| ok())
    }

    fn attach(&self, volume: &str, mount: &MountConfig) -> Result<Attachment, Error> {
        let sandbox = format!("sandbox-{}", std::process::id());
        let planned = validate_and_order(vec![("/data".to_owned(), mount.clone())])?;
        self.store.attach(&sandbox, &planned, None, &cancel()).map_err(|error| error.in_volume(volume))
    }

    /// Looks up a volume while it is attached: it must be there, because an attached volume cannot be removed.
    fn hold(&self, volume: &str, mount: &MountConfig) -> Outcome {
        let held = self.attach(volume, mount)?;
        let found = self.store.get(&name(volume), &cancel());
        let stands = self.home.join("volumes").join(volume).is_dir();
        let removed = self.remove(volume);
        let detached = self.store.detach(held.id);
        Ok(match (found, stands, removed, detached) {
            (Ok(_), true, Err(error), Ok(_)) if error.kind() == ErrorKind::VolumeInUse => return ok(),
            outcome => format!("{BROKEN} attached, and {outcome:?}"),
        })
    }

    pub fn act_on_own_volumes(&mut self) {
        let volume = own_volume(self.slot, self.dice.below(3) as usize);
        let _refused_by_right = match self.dice.below(8) {
            0..3 => self.tell(&format!("create {volume}"), |work| work.create(&volume)),
            3 | 4 => self.tell(&format!("drop {volume}"), |work| work.remove(&volume)),
            5 => self.tell(&format!("get {volume}"), |work| {
                work.store.get(&name(&volume), &cancel()).and_then(|_| ok())
            }),
            _ => self.tell(&format!("hold {volume}"), |work| work.hold(&volume, &existing(&volume))),
        };
    }

    pub fn act_on_the_pool(&mut self) {
        let (volume, kind) = self.dice.pick(&POOL);
        let is_disk = ["raw", "qcow2"].contains(&kind);
        let _refused_by_right = match self.dice.below(16) {
            0..3 => self.tell(&format!("pool-create {volume}"), |work| work.create(volume)),
            3..6 => self.tell(&format!("pool-remove {volume}"), |work| work.remove(volume)),
            6 => self.tell(&format!("pool-get {volume}"), |work| {
                work.store.get(&name(volume), &cancel()).and_then(|_| ok())
            }),
            7 | 8 => self
                .tell("pool-list", |work| work.store.list(&Labels::default(), &cancel()).and_then(|_| ok())),
            9 | 10 => self.tell(&format!("pool-hold {volume}"), |work| work.hold(volume, &existing(volume))),
            11 => {
                self.tell(&format!("pool-ensure {volume}"), |work| work.hold(volume, &ensured(volume, kind)))
            }
            12 => self.tell("pool-check", |work| {
                let problems = check(&work.home, work.dice.below(2) == 0, &cancel())?;
                // Other workers are killed in the middle of their work all the time. All else is an error.
                let wrong =
                    problems.into_iter().find(|problem| problem.kind != ProblemKind::IncompleteOperation);
                wrong.map_or_else(ok, |problem| Ok(format!("{BROKEN} {problem:?}")))
            }),
            13 => self.tell("pool-open", |work| {
                Store::open(&work.home, sandbox_volumes::store::Durability::Fast)?;
                ok()
            }),
            _ if is_disk => true,
            _ => self.tell(&format!("pool-file {volume}"), |work| {
                let options = WriteOptions { atomic: work.dice.below(2) == 0, ..WriteOptions::default() };
                let files = work.store.files(&name(volume));
                files.write("file", b"content", options, &cancel())?;
                files.remove("file", &cancel()).and_then(|()| ok())
            }),
        };
    }
}

fn existing(volume: &str) -> MountConfig {
    MountConfig::named(&OptionValue::Text(volume.to_owned()), &OptionValue::Absent).unwrap()
}

fn ensured(volume: &str, kind: &str) -> MountConfig {
    let options = match kind {
        "dir" => json!({ "mode": "ensure-exists" }),
        "quota" => json!({ "mode": "ensure-exists", "quotaMib": 4 }),
        _ => json!({ "mode": "ensure-exists", "kind": "disk", "sizeMib": 8, "format": kind }),
    };
    MountConfig::named_with(&OptionValue::Text(volume.to_owned()), &OptionValue::Absent, &options.into())
        .unwrap()
}
