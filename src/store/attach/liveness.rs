//! The processes that own attachments.

use super::fd_registry;
use crate::catalog::{CatalogWriter, HeldResource, ImageLease};
use crate::error::{AttachmentHolder, Error, Result};
use crate::model::ProcessIdentity;
use crate::sys::{ProcessLookup, boot_id, look_up_process, pid_namespace};

/// State of a process that owns an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// The process runs.
    Running,
    /// The process has ended.
    Ended,
    /// The process cannot be looked up, or its PID belongs to another PID name space, such as a container's. It may
    /// be running.
    Unknown,
}

/// Identifies the running process with this PID.
pub fn identify(pid: u32) -> Result<ProcessIdentity> {
    let start_time = match look_up_process(pid)? {
        ProcessLookup::Running { start_time } => start_time,
        ProcessLookup::Thread { process, .. } => {
            let problem = format!("{pid} is a thread of process {process}; give the process, {process}");
            return Err(Error::invalid_config("pid", problem));
        }
        ProcessLookup::Ended => {
            return Err(Error::invalid_config("pid", format!("there is no process {pid}")));
        }
    };
    Ok(ProcessIdentity { pid, start_time, boot_id: boot_id()?.to_owned(), pid_namespace: pid_namespace()? })
}

/// Returns the state of a process.
pub fn process_state(process: &ProcessIdentity) -> ProcessState {
    if boot_id().is_ok_and(|id| id != process.boot_id) {
        return ProcessState::Ended;
    }
    if !pid_namespace().is_ok_and(|namespace| namespace == process.pid_namespace) {
        return ProcessState::Unknown;
    }
    match look_up_process(process.pid) {
        // Earlier releases also attached to threads.
        Ok(ProcessLookup::Running { start_time } | ProcessLookup::Thread { start_time, .. })
            if start_time == process.start_time =>
        {
            ProcessState::Running
        }
        Ok(_) => ProcessState::Ended,
        Err(_) => ProcessState::Unknown,
    }
}

/// Returns the running holders of a resource. Ends the attachments of dead processes.
///
/// `locked` is an image on which the caller got a lock without a conflict. A process with an unknown state has ended
/// if it would have held that lock.
pub fn live_holders(
    catalog: &CatalogWriter<'_>,
    held: HeldResource,
    locked: Option<ImageLease>,
) -> Result<Vec<AttachmentHolder>> {
    let reader = catalog.reader();
    let unlocked = locked.map_or(Ok(Vec::new()), |image| reader.holders(HeldResource::Against(image)))?;
    let lost_its_lock = |id| unlocked.iter().any(|holder| holder.attachment_id == id && holder.keeps_locks);
    let mut live = Vec::new();
    for holder in reader.holders(held)? {
        let state = process_state(&holder.owner);
        if state == ProcessState::Ended
            || state == ProcessState::Unknown && lost_its_lock(holder.attachment_id)
        {
            catalog.detach(holder.attachment_id)?;
            fd_registry::close(holder.attachment_id);
            continue;
        }
        live.push(AttachmentHolder {
            id: holder.attachment_id,
            sandbox: holder.sandbox,
            pid: holder.owner.pid,
            running: state == ProcessState::Running,
            readonly: holder.readonly,
        });
    }
    Ok(live)
}

/// Ends the attachments of dead processes.
pub fn reap_dead(catalog: &CatalogWriter<'_>) -> Result<()> {
    for owner in catalog.reader().owners()? {
        if process_state(&owner) == ProcessState::Ended {
            catalog.detach_all_of(&owner)?.into_iter().for_each(fd_registry::close);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::thread_id;
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn a_thread_that_an_earlier_release_attached_to_runs_until_it_ends() {
        let ((send_tid, tid), (end, ended)) = (channel(), channel::<()>());
        let thread = thread::spawn(move || {
            send_tid.send(thread_id()).unwrap();
            let _ended = ended.recv();
        });
        let pid = tid.recv().unwrap();
        let Ok(ProcessLookup::Thread { start_time, .. }) = look_up_process(pid) else {
            panic!("{pid} is a thread")
        };
        let process = ProcessIdentity { pid, start_time, ..identify(std::process::id()).unwrap() };
        assert_eq!(process_state(&process), ProcessState::Running);
        assert_eq!(
            process_state(&ProcessIdentity { start_time: start_time + 1, ..process.clone() }),
            ProcessState::Ended
        );
        drop(end);
        thread.join().unwrap();
        while process_state(&process) == ProcessState::Running {
            thread::yield_now();
        }
        assert_eq!(process_state(&process), ProcessState::Ended);
    }
}
