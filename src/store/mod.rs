//! The store: volumes of one home directory, from creation to removal, and what they are attached to.
//!
//! Whoever changes a volume holds its name's lock, writes the intent down, does the work and commits; while content is
//! deleted, the lock of that work is held in place of the name's. So a crash at any instant leaves the old state, the new
//! one, or an intent that the next operation to meet it finishes or undoes.

#![forbid(unsafe_code)]

mod attach;
mod catalog_files;
mod check;
mod check_home;
mod elsewhere;
mod files;
mod kept;
mod layout;
mod privacy;
mod volume;
mod warnings;

pub use crate::catalog::{AttachedImage, AttachedVolume, AttachmentRecord};
pub use crate::sys::{EntryKind, reserve_memory};
pub use crate::volume_fs::{
    AppendOptions, CopyStats, DirListing, EntryBatch, FileReader, FilterRequest, LeaseWait, ListOptions,
    OpenedFile, Progress, ReadRange, Stat, SymlinkPolicy, WriteFrom, WriteOptions,
};
pub use attach::attachment::Attachment;
pub use attach::query::AttachmentInfo;
pub use check::{CheckOptions, HomeProblem, ProblemKind, check};
pub use elsewhere::{Work, delete_elsewhere};
pub use files::copy::{CopyRequest, TransferOptions, VolumeCopy};
pub use files::ongoing_write::{OngoingWrite, release_cancelled_writes};
pub use files::streams::StreamWriter;
pub use files::volume_fs::{PreparedRemoval, VolumeFs, WriteSession};
pub use privacy::OpenOptions;
pub use volume::create::CreatedVolume;
pub use volume::query::{QuotaEnforcement, VolumeInfo};
pub use volume::remove::BegunRemoval;

use crate::catalog::{self, Catalog, CatalogWriter};
use crate::error::{Error, Result};
use crate::model::{VolumeName, VolumeRecord, VolumeRef};
use crate::sync::IgnorePoison;
use crate::volume_fs::QuotaLocks;
use attach::liveness::living;
use files::root_cache::RootCache;
pub use layout::Durability;
use layout::{HomeDirs, HomeFileIds};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, RwLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};
use volume::recover::later_if_refused;
use warnings::Warnings;

/// The volumes of one home directory.
#[derive(Debug)]
pub struct Store {
    home: PathBuf,
    options: OpenOptions,
    opened: RwLock<Arc<StoreHandle>>,
}

/// The descriptors and connections behind a store.
#[derive(Debug)]
pub(crate) struct StoreHandle {
    layout: HomeDirs,
    catalog: Arc<Catalog>,
    /// To notice when one of them was deleted or replaced.
    places: HomeFileIds,
    /// Who writes a volume that has a quota.
    turns: Arc<QuotaLocks>,
    trees: RootCache,
    warnings: Mutex<Warnings>,
    /// Itself, for work that outlasts an operation.
    shared: Weak<StoreHandle>,
}

impl Store {
    /// Opens the home at an absolute path, makes what is missing, and finishes or undoes what a dead process
    /// left.
    ///
    /// A home that other users may write is refused, unless `options` consent to that.
    pub fn open(home: &Path, options: impl Into<OpenOptions>) -> Result<Self> {
        let options = options.into();
        let opened = StoreHandle::open(home, options)?;
        Ok(Store { home: home.to_owned(), options, opened: RwLock::new(opened) })
    }

    /// The store of a home that this process has open already, else a newly opened one. Either way, what a dead
    /// process left is finished or undone.
    pub fn open_shared(home: &Path, options: impl Into<OpenOptions>) -> Result<Arc<Self>> {
        let options = options.into();
        let key = (home.to_owned(), options);
        let known = shared().get(&key).and_then(Weak::upgrade);
        if let Some(store) = known {
            store.opened()?.recover()?;
            return Ok(store);
        }
        let store = Arc::new(Store::open(home, options)?);
        let mut stores = shared();
        stores.retain(|_, store| store.strong_count() > 0);
        stores.insert(key, Arc::downgrade(&store));
        Ok(store)
    }

    /// The home directory.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Tells a volume's operations that wait for each other from those of every other volume.
    pub fn queue_of(&self, name: &VolumeName) -> String {
        format!("{}\0{name}", self.home.display())
    }

    /// The open home; opened anew where what is its own is no longer what it was.
    fn opened(&self) -> Result<Arc<StoreHandle>> {
        let opened = self.opened_before();
        if opened.is_current()? {
            return Ok(opened);
        }
        // Without the lock, for it may take long. Of several that do it at once one is kept.
        let anew = StoreHandle::open(&self.home, self.options)?;
        let mut current = self.opened.write().ignore_poison();
        if !current.is_current()? {
            current.clone_from(&anew);
        }
        Ok(current.clone())
    }

    /// The home as it was opened last, which may be another one by now.
    fn opened_before(&self) -> Arc<StoreHandle> {
        self.opened.read().ignore_poison().clone()
    }
}

/// The stores that this process has open, by home.
type Stores = HashMap<(PathBuf, OpenOptions), Weak<Store>>;

fn shared() -> MutexGuard<'static, Stores> {
    static STORES: LazyLock<Mutex<Stores>> = LazyLock::new(Mutex::default);
    STORES.lock().ignore_poison()
}

impl StoreHandle {
    fn open(home: &Path, options: OpenOptions) -> Result<Arc<Self>> {
        let layout = HomeDirs::open(home, options.durability)?;
        let exposed = if options.shared { Vec::new() } else { layout.refuse_untrusted()? };
        layout.refuse_unfit_catalog()?;
        if !options.shared {
            layout.make_catalog_private();
        }
        let catalog = layout.open_catalog(|| layout.found_volumes())?;
        layout.sync_catalog_directory()?;
        layout.keep_spare();
        let opened = StoreHandle::new(layout, catalog)?;
        opened.warn_of_exposed(&exposed);
        if !opened.layout.is_read_only() {
            later_if_refused(opened.forget_lost_identities())?;
            later_if_refused(opened.delete_stale_identities())?;
        }
        opened.recover()?;
        Ok(opened)
    }

    fn new(layout: HomeDirs, catalog: Catalog) -> Result<Arc<Self>> {
        let catalog = Arc::new(catalog);
        let asked = catalog.clone();
        let places = layout.places()?;
        let turns = QuotaLocks::new(Box::new(move |name| asked.read(|catalog| catalog.may_be_written(name))));
        Ok(Arc::new_cyclic(|shared| StoreHandle {
            layout,
            catalog,
            places,
            turns: Arc::new(turns),
            trees: RootCache::default(),
            warnings: Mutex::default(),
            shared: shared.clone(),
        }))
    }

    /// The record of the volume that is meant. An intent that a dead process left of its name is settled first.
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
            (None, true) if self.settles_if_abandoned(name)? => look_up()?.0,
            (found, _) => found,
        };
        found
            .filter(|volume| wanted.admits(volume.identity))
            .ok_or_else(|| Error::volume_not_found(name.as_str()))
    }

    /// Writes to the catalog what lets go of something. That must not need room on a disk which is full, so it may use
    /// what the catalog's log takes already, and what was set aside.
    fn write_to_free<T>(&self, write: impl Fn(&CatalogWriter<'_>) -> Result<T>) -> Result<T> {
        let lacks_room = |written: &Result<T>| written.as_ref().is_err_and(catalog::may_lack_room);
        let mut written = self.catalog.write(&write);
        if !lacks_room(&written) {
            return written;
        }
        loop {
            // Where this is refused, there may be room for a longer log.
            let _refused = self.catalog.checkpoint_wal();
            written = self.catalog.write(&write);
            if !lacks_room(&written) || !self.layout.give_up_spare()? {
                break;
            }
        }
        self.layout.keep_spare();
        written
    }

    /// Whether the volume of that name is still the one of that record.
    fn is_still(&self, record: &VolumeRecord) -> Result<bool> {
        let now = self.catalog.read(|catalog| catalog.volume(&record.name))?;
        Ok(now.is_some_and(|now| now.id == record.id))
    }

    fn is_current(&self) -> Result<bool> {
        Ok(self.layout.places()? == self.places)
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
