//! The processes that attachments belong to.

use super::held_images;
use crate::catalog::{Held, Writer};
use crate::error::{Error, Result};
use crate::model::ProcessIdentity;
use crate::sys::{boot_id, pid_namespace, process_start_time};

/// The living process of that number.
pub fn identify(pid: u32) -> Result<ProcessIdentity> {
    let failed = |error| Error::file_system("open", format!("/proc/{pid}/stat"), error);
    let start_time = process_start_time(pid).map_err(failed)?;
    Ok(ProcessIdentity {
        pid,
        start_time: start_time
            .ok_or_else(|| Error::invalid_config("pid", format!("there is no process {pid}")))?,
        boot_id: boot_id().map_err(failed)?.to_owned(),
        pid_namespace: pid_namespace().map_err(failed)?,
    })
}

/// Whether a process is known to have ended. One that cannot be looked at, or whose number belongs to another
/// name space (a container's), has not.
pub fn has_ended(process: &ProcessIdentity) -> bool {
    let other_boot = boot_id().is_ok_and(|id| id != process.boot_id);
    let same_namespace = pid_namespace().is_ok_and(|namespace| namespace == process.pid_namespace);
    let replaced = || process_start_time(process.pid).is_ok_and(|now| now != Some(process.start_time));
    other_boot || (same_namespace && replaced())
}

/// The sandboxes of the attachments that hold something; those of processes that ended end here.
pub fn living(catalog: &Writer<'_>, held: Held) -> Result<Vec<String>> {
    let mut living = Vec::new();
    for holder in catalog.reader().holders(held)? {
        if has_ended(&holder.owner) {
            catalog.detach(holder.attachment_id)?;
            held_images::close(holder.attachment_id);
        } else if !living.contains(&holder.sandbox) {
            living.push(holder.sandbox);
        }
    }
    Ok(living)
}
