//! Making an attachment's mounts on the host, below a root directory that a sandbox engine prepares.
//!
//! Every mount is made whole where nobody sees it, which is where most that can fail does. Then all are written down at
//! once, and put in place parents first. What is undone on a failure, the next one to open the home undoes after a
//! crash: the mounts by what was written down, and what was not in place yet is gone with the process, loop devices
//! included.

use super::fd_registry;
use super::host_path::{open_source, overlaps_private};
use super::mount_lock::MountLock;
use crate::catalog::HostMountRow;
use crate::error::{Error, Result};
use crate::image::names_other_devices;
use crate::mount::runtime::host::{self, HostMount};
use crate::mount::{MountFlags, ResolvedSource};
use crate::store::{Attachment, Store, StoreHandle};
use crate::sync::CancelToken;
use crate::sys::{
    Access, CallFailed, DetachedMount, EntryKind, HostEntry, LoopDevice, MadeEntry, MountIdentity,
    MountPointError, Restrictions, boot_id, lock_while_open, mount_namespace, open_host_entry,
    open_mount_point,
};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What an argument is called in messages.
const ROOTFS: &str = "rootfs";
const ATTACHMENT: &str = "attachment";

/// A mount that is whole, and what was made for it.
struct Prepared<'m> {
    plan: HostMount<'m>,
    mount: DetachedMount,
    made: Vec<MadeEntry>,
}

impl Store {
    /// Makes the attachment's mounts below the directory `rootfs`, an absolute path of the host's own: all of them, or
    /// none. They last until [`Store::unmount`], [`Store::detach`], or the first time that the home is opened, from
    /// this mount name space, after the process that the attachment belongs to ended.
    pub fn mount_into(&self, attachment: &Attachment, rootfs: &Path, cancel: &CancelToken) -> Result<()> {
        attachment.check_held()?;
        let plans = host::render(&attachment.mounts)?;
        let _turn = MountLock::take(attachment.id, cancel.may_wait_until(), cancel)?;
        let mounted = self.mount_all(attachment, plans, rootfs, cancel);
        if mounted.is_err() {
            fd_registry::take_lent_flocks(attachment.id);
        }
        mounted
    }

    fn mount_all(
        &self,
        attachment: &Attachment,
        plans: Vec<HostMount<'_>>,
        rootfs: &Path,
        cancel: &CancelToken,
    ) -> Result<()> {
        let opened = self.opened()?;
        let root = opened.open_root(rootfs)?;
        attachment.check_held()?;
        let mut prepared = Vec::with_capacity(plans.len());
        for plan in plans {
            cancel.check()?;
            let mount = opened.prepare(attachment.id, &plan)?;
            prepared.push(Prepared { plan, mount, made: Vec::new() });
        }
        let rows = opened.write_down(attachment.id, &prepared)?;
        let placed = prepared.iter_mut().try_for_each(|prepared| {
            cancel.check()?;
            prepared.put_below(&root)
        });
        let kept =
            placed.and_then(|()| opened.check_kept(attachment.id, &rows)).and_then(|()| cancel.commit());
        if kept.is_err() {
            undo(prepared);
            // What is still in place after all is left to the next one to open the home.
            let _later = opened.unmount_all(&rows);
        }
        kept
    }
}

/// Takes away what was put in place, last ones first, and what was made for it.
fn undo(prepared: Vec<Prepared<'_>>) {
    for Prepared { mount, made, .. } in prepared.into_iter().rev() {
        // Refused where it was never put in place.
        let _not_in_place = mount.take_away();
        drop(mount);
        made.into_iter().rev().for_each(MadeEntry::remove);
    }
}

impl StoreHandle {
    fn open_root(&self, rootfs: &Path) -> Result<OwnedFd> {
        let failed = |error| Error::file_system("open", rootfs, error);
        let HostEntry { fd, facts, real } = open_host_entry(rootfs).map_err(failed)?;
        if facts.kind() != EntryKind::Directory {
            return Err(failed(Errno::ENOTDIR.into()));
        }
        match overlaps_private(&self.layout, &real)? {
            false => Ok(fd),
            true => Err(Error::invalid_config(
                ROOTFS,
                format!(
                    "{rootfs:?} holds volumes or their catalog, or is held by them; give another directory"
                ),
            )),
        }
    }

    /// Makes a mount with all its restrictions, in no place yet.
    fn prepare(&self, attachment: i64, plan: &HostMount<'_>) -> Result<DetachedMount> {
        let refused = |failed| refused(plan, failed);
        let mount = match (&plan.mount.origin, &plan.file_system) {
            (ResolvedSource::Disk { host, .. }, Some(file_system)) => {
                let device = open_device(attachment, plan, host, file_system.kind)?;
                let mounted =
                    DetachedMount::of_file_system(file_system.kind, device.path(), &file_system.options);
                mounted.map_err(|failed| match errno_of(&failed) {
                    Errno::EINVAL | Errno::EUCLEAN | Errno::EBADMSG if failed.call == "fsconfig" => {
                        let problem = format!(
                            "cannot be mounted: the kernel finds no sound \"{}\" in it. Check it with fsck.",
                            file_system.kind
                        );
                        Error::disk_image(host, problem).caused_by(failed.error)
                    }
                    _ => refused(failed),
                })?
            }
            (_, Some(file_system)) => {
                DetachedMount::of_file_system(file_system.kind, file_system.kind, &file_system.options)
                    .map_err(refused)?
            }
            (_, None) => {
                DetachedMount::showing(self.open_shown(attachment, plan)?.as_fd()).map_err(refused)?
            }
        };
        for (point, is_file) in &plan.mount_points {
            let opened = open_mount_point(mount.as_fd(), Path::new(point), kind(*is_file), &mut Vec::new());
            opened.map_err(|error| unfit(plan, error))?;
        }
        let MountFlags { readonly, noexec, nosuid, nodev } = plan.flags;
        mount.restrict(Restrictions { readonly, noexec, nosuid, nodev }).map_err(refused)?;
        Ok(mount)
    }

    /// Opens the directory or file of the host that a mount shows.
    fn open_shown(&self, attachment: i64, plan: &HostMount<'_>) -> Result<OwnedFd> {
        match &plan.mount.origin {
            ResolvedSource::Bind { host, file } => open_source(host, *file),
            // The very part that was checked, whatever stands at its path by now.
            ResolvedSource::Named { host, part: Some(part), .. } => {
                fd_registry::part(attachment, part.descriptor)
                    .map_err(|error| Error::file_system("dup", host, error))?
                    .ok_or_else(has_ended)
            }
            ResolvedSource::Named { volume, part: None, .. } => {
                let dir = self.layout.volumes.open_child(volume.as_str());
                dir.map_err(|error| error.in_volume(volume.as_str()))?.try_clone()
            }
            ResolvedSource::Tmpfs { .. } | ResolvedSource::Disk { .. } => {
                Err(Error::internal("a mount of a file system was to show a directory of the host"))
            }
        }
    }

    /// Writes down where the mounts are to be found, unless the attachment has ended or has mounts already.
    fn write_down(&self, attachment: i64, prepared: &[Prepared<'_>]) -> Result<Vec<HostMountRow>> {
        let rows = (0..).zip(prepared).map(|(sequence, Prepared { plan, mount, .. })| {
            let guest_path = plan.mount.guest_path.as_str();
            row(attachment, sequence, guest_path, mount)
                .map_err(|error| Error::file_system("statx", guest_path, error))
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        self.catalog.write(|catalog| {
            if !catalog.reader().is_attached(attachment)? {
                return Err(has_ended());
            }
            if !catalog.reader().host_mounts(Some(attachment))?.is_empty() {
                return Err(Error::invalid_config(
                    ATTACHMENT,
                    "it is mounted into a root directory already; unmount it there first",
                ));
            }
            rows.iter().try_for_each(|row| catalog.add_host_mount(row))
        })?;
        Ok(rows)
    }

    /// Refuses mounts that somebody has struck out meanwhile: who opened the home after the attachment's process ended.
    fn check_kept(&self, attachment: i64, rows: &[HostMountRow]) -> Result<()> {
        let kept = self.catalog.read(|catalog| catalog.host_mounts(Some(attachment)))?;
        match kept.len() == rows.len() {
            true => Ok(()),
            false => Err(has_ended()),
        }
    }
}

impl Prepared<'_> {
    fn put_below(&mut self, root: &OwnedFd) -> Result<()> {
        let Prepared { plan, mount, made } = self;
        let path = Path::new(plan.mount.guest_path.as_str().trim_start_matches('/'));
        let point = open_mount_point(root.as_fd(), path, kind(plan.mount.is_file()), made);
        let point = point.map_err(|error| unfit(plan, error))?;
        mount.put_on(point.as_fd()).map_err(|failed| refused(plan, failed))
    }
}

/// A loop device with the very image that was checked, locked for as long as a file system uses it.
fn open_device(attachment: i64, plan: &HostMount<'_>, host: &Path, fstype: &str) -> Result<LoopDevice> {
    let failed = |call| move |error| Error::file_system(call, host, error);
    let (access, readonly) = match plan.flags.readonly {
        true => (Access::Read, true),
        false => (Access::ReadWrite, false),
    };
    let image =
        fd_registry::reopen_image(attachment, &plan.mount.guest_path, access).map_err(failed("open"))?;
    let image = image.ok_or_else(has_ended)?;
    // The loop device holds the image longer than this process may live, so it has locks of its own.
    fd_registry::lend_flock(attachment, &plan.mount.guest_path).map_err(failed("flock"))?;
    if !lock_while_open(&image, readonly).map_err(failed("flock"))? {
        let volume = match &plan.mount.origin {
            ResolvedSource::Disk { volume, .. } => volume.as_ref().map(|name| name.as_str()),
            _ => None,
        };
        return Err(Error::disk_in_use(volume, host, Vec::new()));
    }
    if names_other_devices(&image, fstype).map_err(failed("read"))? {
        let guest_path = plan.mount.guest_path.as_str();
        let problem = format!(
            "the disk's {fstype} names other devices, which would be opened as the host's own: a journal elsewhere, or \
             further members"
        );
        return Err(Error::unsupported_mount(host::RUNTIME, guest_path, problem));
    }
    LoopDevice::showing(&image, readonly).map_err(|failed| refused(plan, failed))
}

fn row(
    attachment: i64,
    sequence: u32,
    guest_path: &str,
    mount: &DetachedMount,
) -> std::io::Result<HostMountRow> {
    let MountIdentity { id, unique, root } = MountIdentity::of(mount.as_fd())?;
    Ok(HostMountRow {
        attachment_id: attachment,
        sequence,
        guest_path: guest_path.to_owned(),
        boot_id: boot_id()?.to_owned(),
        mount_namespace: mount_namespace()?,
        mount_id: id,
        unique_id: unique,
        device: root.device(),
        inode: root.inode(),
    })
}

fn kind(is_file: bool) -> EntryKind {
    if is_file { EntryKind::File } else { EntryKind::Directory }
}

fn has_ended() -> Error {
    Error::invalid_config(ATTACHMENT, "it was detached, or its process ended; attach the mounts again")
}

fn errno_of(failed: &CallFailed) -> Errno {
    failed.error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

/// What a system call that makes mounts refused.
fn refused(plan: &HostMount<'_>, failed: CallFailed) -> Error {
    let guest_path = plan.mount.guest_path.as_str();
    let is_disk = matches!(plan.mount.origin, ResolvedSource::Disk { .. });
    match errno_of(&failed) {
        Errno::ENOSYS => Error::unsupported_mount(
            host::RUNTIME,
            guest_path,
            format!("it lacks the system call {}; mountInto() needs Linux 5.12 or later", failed.call),
        ),
        Errno::ENODEV if is_disk => {
            Error::unsupported_mount(host::RUNTIME, guest_path, "it does not know the disk's file system")
        }
        errno @ (Errno::EPERM | Errno::EACCES) => {
            let needs = match is_disk {
                true => "mounting a disk needs root of the host, outside of user name spaces",
                false => {
                    "mounting needs CAP_SYS_ADMIN over this mount name space: be root, or in a user and a mount name \
                     space of your own"
                }
            };
            Error::file_system_because(failed.call, guest_path, errno, needs)
        }
        Errno::EINVAL if failed.call == "open_tree" => Error::file_system_because(
            failed.call,
            guest_path,
            Errno::EINVAL,
            "the source has mounts below it which this user name space may not uncover",
        ),
        _ => Error::file_system(failed.call, guest_path, failed.error),
    }
}

/// Why nothing can be mounted at a guest path.
fn unfit(plan: &HostMount<'_>, error: MountPointError) -> Error {
    let guest_path = plan.mount.guest_path.as_str();
    match error {
        MountPointError::Link => Error::mount_point_escape(guest_path),
        MountPointError::Unfit(kind) => {
            let (errno, problem) = match kind {
                EntryKind::Directory => {
                    (Errno::ENOTDIR, "what stands at the mount point, or above it, is no directory")
                }
                _ => (Errno::EISDIR, "what stands at the mount point of a file is no file"),
            };
            Error::file_system_because("mount", guest_path, errno, problem)
        }
        MountPointError::System(call, error) => Error::file_system(call, guest_path, error),
    }
}
