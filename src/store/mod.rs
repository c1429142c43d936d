//! The store: the volumes of one home directory, from creation to removal, and their attachments.
//!
//! An operation that changes a volume takes the name lock, writes an intent, works, and commits. While it deletes
//! content, it holds the work lock instead of the name lock.
//!
//! Crash safety: a crash leaves the old state, the new state, or an intent. The next operation that finds the intent
//! finishes it or rolls it back.

#![forbid(unsafe_code)]

mod attach;
mod background;
mod catalog_files;
mod catalog_reserve;
mod check;
mod check_home;
mod check_locks;
mod files;
mod home_dirs;
mod paths;
mod privacy;
mod sync_policy;
mod undeletable;
mod volume;
mod warnings;

pub use crate::catalog::{AttachedImage, AttachedVolume, AttachmentRecord};
pub use crate::sys::EntryKind;
pub use crate::volume_fs::{
    AppendOptions, CopyStats, DirListing, EntryBatch, EntryMetadata, FileReader, FilterRequest, LeaseWait,
    ListOptions, OpenedFile, Progress, ReadRange, Stat, SymlinkPolicy, WriteFrom, WriteKind, WriteOptions,
    WriteRequest,
};
pub use attach::attachment::Attachment;
pub use attach::query::AttachmentInfo;
pub use background::{BackgroundWork, delete_in_background};
pub use check::{CheckOptions, HomeProblem, ProblemKind, check};
pub use files::copy::VolumeCopy;
pub use files::copy_request::{CopyRequest, TransferOptions};
pub use files::ongoing_write::{OngoingWrite, release_cancelled_writes};
pub use files::streams::StreamWriter;
pub use files::volume_fs::{PreparedRemoval, VolumeFs, WriteSession};
pub use privacy::OpenOptions;
pub use sync_policy::Durability;
pub use volume::create::CreatedVolume;
pub use volume::query::{QuotaEnforcement, VolumeInfo};
pub use volume::remove::BegunRemoval;

use crate::catalog::{self, Catalog, CatalogWriter};
use crate::error::{Error, Result};
use crate::model::{VolumeName, VolumeRecord, VolumeRef};
use crate::sync::IgnorePoison;
use crate::volume_fs::{Quota, QuotaHooks, QuotaLocks, VolumeQuota};
use files::root_cache::RootCache;
use home_dirs::{HomeDirs, HomeFileIds};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, RwLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};
use volume::name_locks::{NameLocks, quota_lock_entries};
use volume::recover::ignore_refusal;
use warnings::Warnings;

/// The volumes of one home directory.
#[derive(Debug)]
pub struct Store {
    home: PathBuf,
    options: OpenOptions,
    handle: RwLock<Arc<StoreHandle>>,
}

/// The open directories and catalog of a store.
#[derive(Debug)]
pub(crate) struct StoreHandle {
    dirs: HomeDirs,
    catalog: Arc<Catalog>,
    /// Ids of the paths at the opening, which show if one of them was deleted or replaced.
    file_ids: HomeFileIds,
    /// Locks of the volumes with a quota.
    quota_locks: Arc<QuotaLocks>,
    root_cache: RootCache,
    warnings: Mutex<Warnings>,
    /// This handle, for work that outlasts an operation.
    this: Weak<StoreHandle>,
}

impl Store {
    /// Opens the home at an absolute path and creates what is missing. Finishes or rolls back the operations of dead
    /// processes.
    ///
    /// Fails if other users may write the home, unless `options` permit that.
    pub fn open(home: &Path, options: impl Into<OpenOptions>) -> Result<Self> {
        let options = options.into();
        let handle = StoreHandle::open(home, options)?;
        Ok(Store { home: home.to_owned(), options, handle: RwLock::new(handle) })
    }

    /// Returns the store of a home that this process has open, or opens it. Finishes or rolls back the operations of
    /// dead processes in both cases.
    pub fn open_shared(home: &Path, options: impl Into<OpenOptions>) -> Result<Arc<Self>> {
        let options = options.into();
        let key = (home.to_owned(), options);
        let known = open_stores().get(&key).and_then(Weak::upgrade);
        if let Some(store) = known {
            store.handle()?.recover()?;
            return Ok(store);
        }
        let store = Arc::new(Store::open(home, options)?);
        let mut stores = open_stores();
        stores.retain(|_, store| store.strong_count() > 0);
        stores.insert(key, Arc::downgrade(&store));
        Ok(store)
    }

    /// Returns the home directory.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Returns a key that is equal for operations on the same volume, which wait for each other.
    pub fn queue_of(&self, name: &VolumeName) -> String {
        format!("{}\0{name}", self.home.display())
    }

    /// Returns the open home. Opens it again if one of its directories or the catalog was replaced.
    fn handle(&self) -> Result<Arc<StoreHandle>> {
        let handle = self.last_handle();
        if handle.is_current()? {
            return Ok(handle);
        }
        // The opening may take long, so it runs without the lock. If several threads do this, one result is kept.
        let reopened = StoreHandle::open(&self.home, self.options)?;
        let mut current = self.handle.write().ignore_poison();
        if !current.is_current()? {
            current.clone_from(&reopened);
        }
        Ok(current.clone())
    }

    /// Returns the home that was opened last, which may have been replaced since.
    fn last_handle(&self) -> Arc<StoreHandle> {
        self.handle.read().ignore_poison().clone()
    }
}

/// Stores that this process has open, by home.
type Stores = HashMap<(PathBuf, OpenOptions), Weak<Store>>;

fn open_stores() -> MutexGuard<'static, Stores> {
    static STORES: LazyLock<Mutex<Stores>> = LazyLock::new(Mutex::default);
    STORES.lock().ignore_poison()
}

impl StoreHandle {
    fn open(home: &Path, options: OpenOptions) -> Result<Arc<Self>> {
        let dirs = HomeDirs::open(home, options.durability)?;
        let exposed = if options.shared { Vec::new() } else { dirs.refuse_untrusted()? };
        dirs.refuse_invalid_catalog_file()?;
        if !options.shared {
            dirs.make_catalog_private();
        }
        let catalog = dirs.open_catalog(|| dirs.discovered_volumes())?;
        dirs.sync_catalog_directory()?;
        dirs.reserve.fill();
        let handle = StoreHandle::new(dirs, catalog)?;
        handle.warnings.lock().ignore_poison().add_exposed(&exposed);
        if !handle.dirs.is_read_only() {
            ignore_refusal(handle.forget_lost_identities())?;
            ignore_refusal(handle.delete_stale_identities())?;
        }
        handle.recover()?;
        Ok(handle)
    }

    fn new(dirs: HomeDirs, catalog: Catalog) -> Result<Arc<Self>> {
        let catalog = Arc::new(catalog);
        let file_ids = dirs.file_ids()?;
        let quota_locks = QuotaLocks::new(dirs.locks.dir().clone(), quota_hooks(&dirs.locks, &catalog));
        Ok(Arc::new_cyclic(|this| StoreHandle {
            dirs,
            catalog,
            file_ids,
            quota_locks: Arc::new(quota_locks),
            root_cache: RootCache::default(),
            warnings: Mutex::default(),
            this: this.clone(),
        }))
    }

    /// Returns the record of a volume. An abandoned intent of its name is resolved first.
    fn volume(&self, wanted: impl Into<VolumeRef>) -> Result<VolumeRecord> {
        let wanted = wanted.into();
        let name = &wanted.name;
        let look_up = || {
            self.catalog.read(|catalog| match catalog.volume(name)? {
                None => Ok((None, !catalog.intents(Some(name))?.is_empty())),
                found => Ok((found, false)),
            })
        };
        let found = match look_up()? {
            (None, true) if self.try_resolve_if_abandoned(name)? => look_up()?.0,
            (found, _) => found,
        };
        found
            .filter(|volume| wanted.admits(volume.identity))
            .ok_or_else(|| Error::volume_not_found(name.as_str()))
    }

    /// Commits a transaction that frees resources. It must succeed on a full disk, so it may use the space of the log
    /// and the reserve file.
    fn write_to_free<T>(&self, write: impl Fn(&CatalogWriter<'_>) -> Result<T>) -> Result<T> {
        let lacks_room = |written: &Result<T>| written.as_ref().is_err_and(catalog::may_lack_room);
        let mut written = self.catalog.write(&write);
        if !lacks_room(&written) {
            return written;
        }
        loop {
            // If the checkpoint fails, a longer log may still fit.
            let _refused = self.catalog.checkpoint_wal();
            written = self.catalog.write(&write);
            if !lacks_room(&written) || !self.dirs.reserve.release()? {
                break;
            }
        }
        self.dirs.reserve.fill();
        written
    }

    /// Returns the quota of a volume.
    fn quota_of(&self, volume: &VolumeRecord) -> VolumeQuota {
        VolumeQuota::new(&volume.name, Quota::mib(volume.storage.quota_mib()), &self.quota_locks)
    }

    /// Returns true if the volume in `record` still exists.
    fn still_exists(&self, record: &VolumeRecord) -> Result<bool> {
        let now = self.catalog.read(|catalog| catalog.volume(&record.name))?;
        Ok(now.is_some_and(|now| now.id == record.id))
    }

    fn is_current(&self) -> Result<bool> {
        Ok(self.dirs.file_ids()? == self.file_ids
            && self.catalog.is_current()?
            && self.dirs.is_as_discovered()?)
    }
}

/// Returns what the quota locks need of a store with these name locks and this catalog.
fn quota_hooks(locks: &NameLocks, catalog: &Arc<Catalog>) -> QuotaHooks {
    let (locks, catalog, shared_in) = (locks.clone(), catalog.clone(), catalog.clone());
    QuotaHooks {
        lock_files: quota_lock_entries,
        create_lock_files: Box::new(move |name, deadline, cancel| {
            let _lock = locks.lock_until(name, deadline, cancel)?;
            // Under the name lock an existing volume is not removed, so these files cannot outlive it.
            match catalog.read(|catalog| catalog.volume(name))? {
                Some(_) => locks.create_quota_files(name),
                None => Err(Error::volume_not_found(name.as_str())),
            }
        }),
        is_shared: Box::new(move |name| shared_in.read(|catalog| catalog.may_be_written(name))),
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
