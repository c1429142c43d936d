//! Mounts an attachment on the host, below a root directory that a sandbox engine prepares.
//!
//! Every mount is first completed while it is detached, where most errors occur. Then all mounts are recorded at
//! once, and moved into place, parents before children.
//!
//! Crash safety: the next opening of the home unmounts what was recorded. Detached mounts and their loop devices end
//! with the process.

use super::fd_registry;
use super::host_path::{open_source, overlaps_private};
use super::mount_lock::MountLock;
use crate::catalog::HostMountRow;
use crate::error::{Errno, Error, Result};
use crate::image::names_other_devices;
use crate::mount::runtime::host::{self, HostMount};
use crate::mount::{MountFlags, ResolvedSource};
use crate::store::home_dirs::HomeDirs;
use crate::store::{Attachment, Store, StoreHandle};
use crate::sync::CancelToken;
use crate::sys::fd::{AsFd, OwnedFd};
use crate::sys::{
    Access, CallFailed, CreatedEntry, DetachedMount, EntryKind, HostEntry, LoopDevice, MountIdentity,
    MountPointError, Restrictions, boot_id, lock_while_open, mount_namespace, open_host_entry,
    open_mount_point,
};
use std::path::Path;

/// Names of arguments in messages.
const ROOTFS: &str = "rootfs";
const ATTACHMENT: &str = "attachment";

/// A complete, detached mount, and the mount points that were created for it.
struct PreparedMount<'m> {
    plan: HostMount<'m>,
    mount: DetachedMount,
    made: Vec<CreatedEntry>,
}

impl Store {
    /// Mounts the attachment below the directory `rootfs`, an absolute path of the host: all mounts or none.
    ///
    /// The mounts last until [`Store::unmount`] or [`Store::detach`]. After the owner's end, the mounts last until the home
    /// is opened from this mount name space.
    pub fn mount_into(&self, attachment: &Attachment, rootfs: &Path, cancel: &CancelToken) -> Result<()> {
        attachment.check_held()?;
        let plans = host::render(&attachment.mounts)?;
        let _lock = MountLock::acquire(attachment.id, cancel.lock_deadline(), cancel)?;
        let mounted = self.mount_all(attachment, plans, rootfs, cancel);
        if mounted.is_err() {
            fd_registry::reclaim_lent_flocks(attachment.id);
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
        let handle = self.handle()?;
        let root = open_root(&handle.dirs, rootfs)?;
        attachment.check_held()?;
        let mounter = HostMounter { handle: &handle, attachment: attachment.id };
        let mut prepared = Vec::with_capacity(plans.len());
        for plan in plans {
            cancel.check()?;
            let mount = mounter.prepare(&plan)?;
            prepared.push(PreparedMount { plan, mount, made: Vec::new() });
        }
        let rows = mounter.record(&prepared)?;
        let placed = prepared.iter_mut().try_for_each(|prepared| {
            cancel.check()?;
            prepared.move_below(&root)
        });
        let kept = placed.and_then(|()| mounter.check_rows_remain(&rows)).and_then(|()| cancel.commit());
        if kept.is_err() {
            unmount_prepared(prepared);
            // The next opening of the home unmounts what remains.
            let _later = handle.unmount_all(&rows);
        }
        kept
    }
}

/// Unmounts, the last mount first, and removes the mount points that were created.
fn unmount_prepared(prepared: Vec<PreparedMount<'_>>) {
    for PreparedMount { mount, made, .. } in prepared.into_iter().rev() {
        // Fails if the mount was never put in place.
        let _not_in_place = mount.unmount();
        drop(mount);
        made.into_iter().rev().for_each(CreatedEntry::remove);
    }
}

/// Opens the directory below which an attachment is mounted. Fails if it overlaps the store's directories.
fn open_root(dirs: &HomeDirs, rootfs: &Path) -> Result<OwnedFd> {
    let failed = |error| Error::file_system("open", rootfs, error);
    let HostEntry { fd, stat, real } = open_host_entry(rootfs).map_err(failed)?;
    if stat.kind() != EntryKind::Directory {
        return Err(failed(Errno::ENOTDIR.into()));
    }
    match overlaps_private(dirs, &real)? {
        false => Ok(fd),
        true => Err(Error::invalid_config(
            ROOTFS,
            format!("{rootfs:?} holds volumes or their catalog, or is held by them; give another directory"),
        )),
    }
}

/// Mounts one attachment on the host.
struct HostMounter<'a> {
    handle: &'a StoreHandle,
    attachment: i64,
}

impl HostMounter<'_> {
    /// Creates a detached mount with all its restrictions.
    fn prepare(&self, plan: &HostMount<'_>) -> Result<DetachedMount> {
        let map_error = |failed| mount_error(plan, failed);
        let mount = match (&plan.mount.origin, &plan.file_system) {
            (ResolvedSource::Disk { host, .. }, Some(file_system)) => {
                let device = open_device(self.attachment, plan, host, file_system.kind)?;
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
                    _ => map_error(failed),
                })?
            }
            (_, Some(file_system)) => {
                DetachedMount::of_file_system(file_system.kind, file_system.kind, &file_system.options)
                    .map_err(map_error)?
            }
            (_, None) => DetachedMount::bind(self.open_mount_source(plan)?.as_fd()).map_err(map_error)?,
        };
        for (point, is_file) in &plan.mount_points {
            let opened =
                open_mount_point(mount.as_fd(), Path::new(point), entry_kind(*is_file), &mut Vec::new());
            opened.map_err(|error| mount_point_error(plan, error))?;
        }
        let MountFlags { readonly, noexec, nosuid, nodev } = plan.flags;
        mount.restrict(Restrictions { readonly, noexec, nosuid, nodev }).map_err(map_error)?;
        Ok(mount)
    }

    /// Opens the directory or file of the host that a mount shows.
    fn open_mount_source(&self, plan: &HostMount<'_>) -> Result<OwnedFd> {
        match &plan.mount.origin {
            ResolvedSource::Bind { host, file } => open_source(host, *file),
            // The pinned subpath that was checked, even if another entry is at its path now.
            ResolvedSource::Named { host, part: Some(part), .. } => {
                fd_registry::subpath(self.attachment, part.descriptor)
                    .map_err(|error| Error::file_system("dup", host, error))?
                    .ok_or_else(attachment_ended)
            }
            ResolvedSource::Named { volume, part: None, .. } => {
                let dir = self.handle.dirs.volumes.open_child(volume.as_str());
                dir.map_err(|error| error.in_volume(volume.as_str()))?.try_clone()
            }
            ResolvedSource::Tmpfs { .. } | ResolvedSource::Disk { .. } => {
                Err(Error::internal("a mount of a file system was to show a directory of the host"))
            }
        }
    }

    /// Records the mounts. Fails if the attachment has ended or has mounts already.
    fn record(&self, prepared: &[PreparedMount<'_>]) -> Result<Vec<HostMountRow>> {
        let rows = (0..).zip(prepared).map(|(sequence, PreparedMount { plan, mount, .. })| {
            let guest_path = plan.mount.guest_path.as_str();
            row(self.attachment, sequence, guest_path, mount)
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        self.handle.catalog.write(|catalog| {
            if !catalog.reader().is_attached(self.attachment)? {
                return Err(attachment_ended());
            }
            if !catalog.reader().host_mounts(Some(self.attachment))?.is_empty() {
                return Err(Error::invalid_config(
                    ATTACHMENT,
                    "it is mounted into a root directory already; unmount it there first",
                ));
            }
            rows.iter().try_for_each(|row| catalog.add_host_mount(row))
        })?;
        Ok(rows)
    }

    /// Fails if the rows were deleted: an opening of the home found that the owner had ended.
    fn check_rows_remain(&self, rows: &[HostMountRow]) -> Result<()> {
        let kept = self.handle.catalog.read(|catalog| catalog.host_mounts(Some(self.attachment)))?;
        match kept.len() == rows.len() {
            true => Ok(()),
            false => Err(attachment_ended()),
        }
    }
}

impl PreparedMount<'_> {
    fn move_below(&mut self, root: &OwnedFd) -> Result<()> {
        let PreparedMount { plan, mount, made } = self;
        let path = Path::new(plan.mount.guest_path.as_str().trim_start_matches('/'));
        let point = open_mount_point(root.as_fd(), path, entry_kind(plan.mount.is_file()), made);
        let point = point.map_err(|error| mount_point_error(plan, error))?;
        mount.attach_to(point.as_fd()).map_err(|failed| mount_error(plan, failed))
    }
}

/// Creates a loop device for the image that was checked. It holds a `flock` as long as a file system uses it.
fn open_device(attachment: i64, plan: &HostMount<'_>, host: &Path, fstype: &str) -> Result<LoopDevice> {
    let failed = |call| move |error| Error::file_system(call, host, error);
    let (access, readonly) = match plan.flags.readonly {
        true => (Access::Read, true),
        false => (Access::ReadWrite, false),
    };
    let image =
        fd_registry::reopen_image(attachment, &plan.mount.guest_path, access).map_err(failed("open"))?;
    let image = image.ok_or_else(attachment_ended)?;
    // The loop device may outlive this process, so it needs its own locks.
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
    LoopDevice::attach(&image, readonly).map_err(|failed| mount_error(plan, failed))
}

fn row(attachment: i64, sequence: u32, guest_path: &str, mount: &DetachedMount) -> Result<HostMountRow> {
    let identity = MountIdentity::of(mount.as_fd());
    let MountIdentity { id, unique, root } =
        identity.map_err(|error| Error::file_system("statx", guest_path, error))?;
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

fn entry_kind(is_file: bool) -> EntryKind {
    if is_file { EntryKind::File } else { EntryKind::Directory }
}

fn attachment_ended() -> Error {
    Error::invalid_config(ATTACHMENT, "it was detached, or its process ended; attach the mounts again")
}

fn errno_of(failed: &CallFailed) -> Errno {
    failed.error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

/// Converts an error of a system call that mounts.
fn mount_error(plan: &HostMount<'_>, failed: CallFailed) -> Error {
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

/// Returns the error for a guest path at which nothing can be mounted.
fn mount_point_error(plan: &HostMount<'_>, error: MountPointError) -> Error {
    let guest_path = plan.mount.guest_path.as_str();
    match error {
        MountPointError::Link => Error::mount_point_escape(guest_path),
        MountPointError::WrongKind(kind) => {
            let (errno, problem) = match kind {
                EntryKind::Directory => {
                    (Errno::ENOTDIR, "what is at the mount point, or above it, is no directory")
                }
                _ => (Errno::EISDIR, "what is at the mount point of a file is no file"),
            };
            Error::file_system_because("mount", guest_path, errno, problem)
        }
        MountPointError::System(call, error) => Error::file_system(call, guest_path, error),
    }
}
