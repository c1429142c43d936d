//! An attachment that is given to another process.

use super::{create, existing, invalid_field};
use crate::support::home::{Home, name};
use crate::support::idle_process::IdleProcess;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::sync::CancelToken;

fn hand_over(home: &Home, id: i64, pid: u32) -> Result<(), sandbox_volumes::error::Error> {
    home.store.hand_over(id, pid, &CancelToken::default())
}

fn remove(home: &Home) -> Result<(), sandbox_volumes::error::Error> {
    home.store.remove(&name("data"), &CancelToken::default())
}

#[test]
fn the_new_owner_holds_the_volume_and_the_old_one_does_not_any_more() {
    let home = Home::new();
    let (mut first, mut second) = (IdleProcess::start(), IdleProcess::start());
    let attached = home.attach_for("worker", &[create("data")], Some(first.pid())).unwrap();
    hand_over(&home, attached.id, second.pid()).unwrap();
    first.end();
    let refused = remove(&home).unwrap_err();
    assert_eq!(refused.context().holders[0].pid, second.pid());
    second.end();
    remove(&home).unwrap();
}

#[test]
fn a_process_that_does_not_live_is_given_nothing() {
    let home = Home::new();
    let attached = home.attach("worker", &[create("data")]).unwrap();
    let mut ended = IdleProcess::start();
    ended.end();
    for pid in [ended.pid(), 0, u32::MAX] {
        assert_eq!(invalid_field(&hand_over(&home, attached.id, pid).unwrap_err()), "pid");
    }
    assert_eq!(remove(&home).unwrap_err().context().holders[0].pid, std::process::id());
}

#[test]
fn what_ended_cannot_be_handed_over() {
    let home = Home::new();
    home.create("data");
    let (mut process, next) = (IdleProcess::start(), IdleProcess::start());
    let detached = home.attach("detached", &[existing("data")]).unwrap();
    home.store.detach(detached.id).unwrap();
    let ended = home.attach_for("ended", &[existing("data")], Some(process.pid())).unwrap();
    process.end();
    for id in [detached.id, ended.id] {
        assert_eq!(hand_over(&home, id, next.pid()).unwrap_err().kind(), ErrorKind::AttachmentNotFound);
    }
    remove(&home).unwrap();
}

#[test]
fn a_cancelled_hand_over_changes_nothing() {
    let home = Home::new();
    let attached = home.attach("worker", &[create("data")]).unwrap();
    let next = IdleProcess::start();
    let cancel = CancelToken::default();
    cancel.cancel();
    let error = home.store.hand_over(attached.id, next.pid(), &cancel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Aborted);
    assert_eq!(remove(&home).unwrap_err().context().holders[0].pid, std::process::id());
}

#[test]
fn it_can_be_detached_as_before() {
    let home = Home::new();
    let attached = home.attach("worker", &[create("data")]).unwrap();
    let next = IdleProcess::start();
    hand_over(&home, attached.id, next.pid()).unwrap();
    home.store.detach(attached.id).unwrap();
    remove(&home).unwrap();
}
