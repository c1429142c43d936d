//! The native side of `VolumeStore`.

use super::attachment::NativeAttachment;
use super::files::NativeFiles;
use super::mount::NativeMounts;
use super::runtime::arguments::{text, volume_name, volume_ref};
use super::runtime::cancellation::Cancellation;
use super::runtime::convert::to_option_value;
use super::runtime::executor::{KeyedLimit, Pool};
use super::runtime::job::{Job, JobPromise, Outcome, run, run_cancellable};
use super::runtime::js_error::or_throw;
use super::runtime::pages::NativePages;
use crate::error::{Error, Result};
use crate::model::{Labels, OptionReader, OptionValue, VolumeName, VolumeSpec};
use crate::mount::validate_and_order;
use crate::store::{Durability, OpenOptions, Store};
use crate::sync::{CancelToken, Slots};
use crate::wire::{CreatedVolumeJson, VolumeJson, to_json};
use napi::Env;
use napi::bindgen_prelude::Unknown;
use napi_derive::napi;
use std::path::PathBuf;
use std::sync::Arc;

const DURABILITIES: [(&str, Durability); 2] = [("full", Durability::Full), ("fast", Durability::Fast)];

/// The option by which a caller accepts that other users have rights on a home.
pub const SHARED: &str = "shared";

const MAX_CONCURRENT_COPIES: &str = "maxConcurrentCopies";

/// How many copies run at a time by default, and the highest limit that a caller may set.
const DEFAULT_COPIES: u32 = 4;
const MAX_COPIES: u32 = 64;

/// An open store, and the slots that limit its copies.
#[napi]
pub struct NativeStore(pub(super) Arc<Store>, Arc<Slots>);

/// `VolumeStore.open`: `options` are `home`, an absolute path, `durability`, `shared` and `maxConcurrentCopies`.
#[napi(catch_unwind, ts_return_type = "Promise<NativeStore>")]
pub fn open_store(options: Unknown<'_>) -> JobPromise<NativeStore> {
    run(|| {
        let (home, options, max_copies) = store_options(&to_option_value(options)?)?;
        // It waits for a writer of the catalog, and for a process that delays this writer.
        Ok(Job::on(Pool::Blocking(None), move || {
            Ok(NativeStore(Store::open_shared(&home, options)?, Arc::new(Slots::new(max_copies))))
        }))
    })
}

fn store_options(options: &OptionValue) -> Result<(PathBuf, OpenOptions, usize)> {
    let known = ["home", "durability", SHARED, MAX_CONCURRENT_COPIES];
    let fields = OptionReader::of("VolumeStoreOptions", options, &known)?;
    let durability = fields.choice("durability", &DURABILITIES)?.unwrap_or(Durability::Full);
    let shared = fields.flag(SHARED)?.unwrap_or(false);
    let max_copies = match fields.u32(MAX_CONCURRENT_COPIES)?.unwrap_or(DEFAULT_COPIES) {
        copies @ 1..=MAX_COPIES => copies as usize,
        copies => {
            let problem = format!("expected from 1 to {MAX_COPIES}, got {copies}");
            return Err(Error::invalid_config(MAX_CONCURRENT_COPIES, problem));
        }
    };
    Ok((absolute_home(&fields)?, OpenOptions { durability, shared }, max_copies))
}

/// Returns the home. lib/store.js has made it absolute.
pub fn absolute_home(fields: &OptionReader<'_>) -> Result<PathBuf> {
    let home = fields.text("home")?.unwrap_or_default();
    match home.starts_with('/') && !home.contains('\0') {
        true => Ok(PathBuf::from(home)),
        false => Err(Error::invalid_config("home", format!("{home:?} is not an absolute path"))),
    }
}

#[napi]
impl NativeStore {
    /// `createVolume`. Returns the id and the path of the volume as JSON.
    #[napi(catch_unwind, ts_return_type = "Promise<string>")]
    pub fn create(
        &self,
        name: Unknown<'_>,
        options: Vec<Unknown<'_>>,
        cancellation: Option<&Cancellation>,
    ) -> JobPromise<String> {
        run_cancellable(cancellation, |cancel| {
            let name = volume_name(name)?;
            let options = options.into_iter().map(to_option_value).collect::<napi::Result<Vec<_>>>()?;
            let spec = VolumeSpec::from_options(&options)?;
            let store = self.0.clone();
            let pool = pool_for_name(&store, Some(&name), &cancel);
            Ok(Job::on(pool, move || {
                to_json(&CreatedVolumeJson::from(&store.create(&name, &spec, &cancel)?))
            }))
        })
    }

    /// `getVolume`. Returns the volume as JSON.
    #[napi(catch_unwind, ts_return_type = "Promise<string>")]
    pub fn get(&self, name: Unknown<'_>, cancellation: Option<&Cancellation>) -> JobPromise<String> {
        run_cancellable(cancellation, |cancel| {
            let name = volume_name(name)?;
            let store = self.0.clone();
            let get = move |cancel: &CancelToken| to_json(&VolumeJson::from(&store.get(&name, cancel)?));
            Ok(Job::in_steps(Pool::Bulk, walk_slice_first(cancel, get)))
        })
    }

    /// `listVolumes`. `labels` is the filter.
    #[napi(catch_unwind, ts_return_type = "Promise<NativePages>")]
    pub fn list(&self, options: Unknown<'_>, cancellation: Option<&Cancellation>) -> JobPromise<NativePages> {
        run_cancellable(cancellation, |cancel| {
            let filter = list_filter(&to_option_value(options)?)?;
            let store = self.0.clone();
            let list = move |cancel: &CancelToken| {
                let infos = store.list(&filter, cancel)?;
                NativePages::of_values(infos.iter().map(VolumeJson::from))
            };
            Ok(Job::in_steps(Pool::Bulk, walk_slice_first(cancel, list)))
        })
    }

    /// Takes the warnings of operations that succeeded. Returns each warning once.
    #[napi(catch_unwind)]
    pub fn take_warnings(&self, env: &Env) -> napi::Result<Vec<String>> {
        or_throw(env, || Ok(self.0.take_warnings()?))
    }

    /// Takes the warnings about the home. Returns each warning once per process.
    #[napi(catch_unwind)]
    pub fn take_home_warnings(&self) -> Vec<String> {
        self.0.take_home_warnings()
    }

    /// `removeVolume`. `remove` of a volume passes an id.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn remove(
        &self,
        name: Unknown<'_>,
        id: Option<String>,
        cancellation: Option<&Cancellation>,
    ) -> JobPromise<()> {
        run_cancellable(cancellation, |cancel| {
            let volume = volume_ref(name, id.as_deref())?;
            let store = self.0.clone();
            let pool = pool_for_name(&store, Some(&volume.name), &cancel);
            // The content is deleted on a pool without short jobs, and without the keyed limit of the name. A
            // caller that waits for the name in this time gets an error that says why.
            Ok(Job::in_steps(pool, move || {
                let removal = store.begin_remove(volume, &cancel)?;
                Ok(Outcome::last_step_on(Pool::Delete, move || removal.finish()))
            }))
        })
    }

    /// `attach` with the mounts that were added to `mounts`.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeAttachment>")]
    pub fn attach(
        &self,
        sandbox: Unknown<'_>,
        mounts: &mut NativeMounts,
        options: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> JobPromise<NativeAttachment> {
        run_cancellable(cancellation, |cancel| {
            let sandbox = text("sandbox", sandbox)?;
            let mounts = mounts.take();
            let pid = OptionReader::of("AttachOptions", &to_option_value(options)?, &["pid"])?.u32("pid")?;
            let store = self.0.clone();
            // It waits for name locks only if it may create volumes.
            let created = mounts.iter().find_map(|(_, config)| config.may_create());
            let pool = pool_for_name(&store, created, &cancel);
            Ok(Job::on(pool, move || {
                let attachment = store.attach(&sandbox, &validate_and_order(mounts)?, pid, &cancel)?;
                NativeAttachment::new(store, attachment)
            }))
        })
    }

    /// Returns the files of the volume with this id.
    #[napi(catch_unwind)]
    pub fn files(&self, env: &Env, name: Unknown<'_>, id: String) -> napi::Result<NativeFiles> {
        or_throw(env, || {
            let volume = volume_ref(name, Some(&id))?;
            Ok(NativeFiles::new(self.0.files(&volume), self.1.clone()))
        })
    }
}

/// Returns the pool for operations that may wait for the lock of a volume name.
fn pool_for_name(store: &Store, name: Option<&VolumeName>, cancel: &CancelToken) -> Pool {
    Pool::Blocking(name.map(|name| KeyedLimit::exclusive(store.queue_of(name), cancel)))
}

/// Returns work that walks volumes for one slice of time. If that is too short, it starts again on
/// [`Pool::Walk`], where no short job waits behind it.
fn walk_slice_first<T: 'static>(
    cancel: CancelToken,
    walk: impl Fn(&CancelToken) -> Result<T> + Send + 'static,
) -> impl FnOnce() -> Result<Outcome<T>> + Send + 'static {
    move || {
        let first = cancel.of_a_slice();
        match walk(&first) {
            Err(_) if first.is_slice_over() => Ok(Outcome::last_step_on(Pool::Walk, move || walk(&cancel))),
            walked => walked.map(Outcome::Ready),
        }
    }
}

fn list_filter(options: &OptionValue) -> Result<Labels> {
    let fields = OptionReader::of("ListOptions", options, &["labels"])?;
    Ok(fields.labels("labels")?.unwrap_or_default())
}
