//! The store as JavaScript sees it.

use super::attachment::NativeAttachment;
use super::files::NativeFiles;
use super::mount::NativeMounts;
use super::runtime::arguments::{text, volume_name, volume_ref};
use super::runtime::cancellation::{Cancellation, cancel_of};
use super::runtime::convert::{from_input, to_input};
use super::runtime::dispatch::{Outcome, run, run_in_steps};
use super::runtime::executor::{KeyedLimit, Pool};
use super::runtime::js_error::or_throw;
use super::runtime::pages::{NativePages, to_json};
use crate::error::{Error, Result};
use crate::model::{Labels, OptionReader, OptionValue, VolumeName, VolumeSpec};
use crate::mount::plan;
use crate::store::{Durability, OpenOptions, Store, VolumeInfo};
use crate::sync::{CancelToken, Slots};
use napi::Env;
use napi::bindgen_prelude::{ToNapiValue, Unknown};
use napi_derive::napi;
use std::path::PathBuf;
use std::sync::Arc;

const DURABILITIES: [(&str, Durability); 2] = [("full", Durability::Full), ("fast", Durability::Fast)];

/// The option by which a caller consents to other users' rights on a home.
pub const SHARED: &str = "shared";

const MAX_CONCURRENT_COPIES: &str = "maxConcurrentCopies";

/// How many copies work at a time if the caller does not say, and the most that a caller may have.
const DEFAULT_COPIES: u32 = 4;
const MAX_COPIES: u32 = 64;

/// An open store, and the slots at which its copies take turns.
#[napi]
pub struct NativeStore(pub(super) Arc<Store>, Arc<Slots>);

/// `VolumeStore.open`: `options` are `home`, an absolute path, `durability`, `shared` and `maxConcurrentCopies`.
#[napi(catch_unwind, ts_return_type = "Promise<NativeStore>")]
pub fn open_store<'e>(env: &'e Env, options: Unknown<'_>) -> napi::Result<Unknown<'e>> {
    let options = to_input(options)?;
    let (home, options, max_copies) = or_throw(env, store_options(&options))?;
    run(
        env,
        // It waits for a writer of the catalog, and for what that keeps it from finishing.
        Pool::Blocking(None),
        move || Ok(NativeStore(Store::open_shared(&home, options)?, Arc::new(Slots::new(max_copies)))),
        |env, store| store.into_unknown(env),
    )
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

/// The home that index.js has made absolute.
pub fn absolute_home(fields: &OptionReader<'_>) -> Result<PathBuf> {
    let home = fields.text("home")?.unwrap_or_default();
    match home.starts_with('/') && !home.contains('\0') {
        true => Ok(PathBuf::from(home)),
        false => Err(Error::invalid_config("home", format!("{home:?} is not an absolute path"))),
    }
}

#[napi]
impl NativeStore {
    /// `createVolume`: gives the volume's id and path.
    #[napi(catch_unwind, ts_return_type = "Promise<object>")]
    pub fn create<'e>(
        &self,
        env: &'e Env,
        name: Unknown<'_>,
        options: Vec<Unknown<'_>>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        let name = volume_name(env, name)?;
        let options = options.into_iter().map(to_input).collect::<napi::Result<Vec<_>>>()?;
        let spec = or_throw(env, VolumeSpec::from_options(&options))?;
        let (store, cancel) = (self.0.clone(), cancel_of(cancellation));
        run(
            env,
            turn(&store, Some(&name), &cancel),
            move || store.create(&name, &spec, &cancel),
            |env, created| {
                let path = OptionValue::Text(created.path.to_string_lossy().into_owned());
                let id = OptionValue::Text(created.id.to_string());
                from_input(env, &OptionValue::Object(vec![("id".to_owned(), id), ("path".to_owned(), path)]))
            },
        )
    }

    /// `getVolume`
    #[napi(catch_unwind, ts_return_type = "Promise<object>")]
    pub fn get<'e>(
        &self,
        env: &'e Env,
        name: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        let name = volume_name(env, name)?;
        let (store, cancel) = (self.0.clone(), cancel_of(cancellation));
        let work = walk_in_steps(cancel, move |cancel| store.get(&name, cancel));
        run_in_steps(env, Pool::Bulk, work, |env, info| from_input(env, &plain(&info)))
    }

    /// `listVolumes`: `labels` is the filter.
    #[napi(catch_unwind, ts_return_type = "Promise<NativePages>")]
    pub fn list<'e>(
        &self,
        env: &'e Env,
        options: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        let filter = or_throw(env, list_filter(&to_input(options)?))?;
        let (store, cancel) = (self.0.clone(), cancel_of(cancellation));
        run_in_steps(
            env,
            Pool::Bulk,
            walk_in_steps(cancel, move |cancel| {
                let infos = store.list(&filter, cancel)?;
                Ok(NativePages::of_json(infos.iter().map(|info| to_json(&plain(info)))))
            }),
            |env, pages| pages.into_unknown(env),
        )
    }

    /// What the caller should hear of although its operation succeeded; each warning is given once.
    #[napi(catch_unwind)]
    pub fn take_warnings(&self, env: &Env) -> napi::Result<Vec<String>> {
        or_throw(env, self.0.take_warnings())
    }

    /// What the caller should hear of the home; each warning is given once in a process.
    #[napi(catch_unwind)]
    pub fn take_home_warnings(&self) -> Vec<String> {
        self.0.take_home_warnings()
    }

    /// `removeVolume`, and `remove` of a volume, which has an id.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn remove<'e>(
        &self,
        env: &'e Env,
        name: Unknown<'_>,
        id: Option<String>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        let volume = volume_ref(env, name, id.as_deref())?;
        let (store, cancel) = (self.0.clone(), cancel_of(cancellation));
        // The content is deleted where nothing short waits behind it, and without the name's turn: who waits for the name
        // meanwhile is told why.
        let pool = turn(&store, Some(&volume.name), &cancel);
        let work = move || {
            let removal = store.begin_remove(volume, &cancel)?;
            Ok(Outcome::later(Pool::Walk, move || removal.finish()))
        };
        run_in_steps(env, pool, work, |env, ()| ().into_unknown(env))
    }

    /// `attach` of the mounts that were added to `mounts`.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeAttachment>")]
    pub fn attach<'e>(
        &self,
        env: &'e Env,
        sandbox: Unknown<'_>,
        mounts: &mut NativeMounts,
        options: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Unknown<'e>> {
        let sandbox = text(env, "sandbox", sandbox)?;
        let mounts = mounts.take();
        let options = to_input(options)?;
        let pid = OptionReader::of("AttachOptions", &options, &["pid"]).and_then(|fields| fields.u32("pid"));
        let pid = or_throw(env, pid)?;
        let (store, cancel) = (self.0.clone(), cancel_of(cancellation));
        // It waits for names only where it may create volumes.
        let created = mounts.iter().find_map(|(_, config)| config.may_create());
        run(
            env,
            turn(&store, created, &cancel),
            move || {
                let attachment = store.attach(&sandbox, &plan(mounts)?, pid, &cancel)?;
                Ok(NativeAttachment::new(store, attachment))
            },
            |env, attachment| attachment.into_unknown(env),
        )
    }

    /// The files of the volume that has that id.
    #[napi(catch_unwind)]
    pub fn files(&self, env: &Env, name: Unknown<'_>, id: String) -> napi::Result<NativeFiles> {
        let volume = volume_ref(env, name, Some(&id))?;
        Ok(NativeFiles::new(self.0.files(&volume), self.1.clone()))
    }
}

/// Where operations go that may have to wait for the lock of a volume's name.
fn turn(store: &Store, name: Option<&VolumeName>, cancel: &CancelToken) -> Pool {
    Pool::Blocking(name.map(|name| KeyedLimit::one(store.queue_of(name), cancel)))
}

/// Work that walks volumes: first for a slice of time, and if that was too short from the beginning where nothing
/// short waits behind it.
fn walk_in_steps<T: 'static>(
    cancel: CancelToken,
    walk: impl Fn(&CancelToken) -> Result<T> + Send + 'static,
) -> impl FnOnce() -> Result<Outcome<T>> + Send + 'static {
    move || {
        let first = cancel.of_a_slice();
        match walk(&first) {
            Err(_) if first.is_slice_over() => Ok(Outcome::later(Pool::Walk, move || walk(&cancel))),
            walked => walked.map(Outcome::Ready),
        }
    }
}

fn list_filter(options: &OptionValue) -> Result<Labels> {
    let fields = OptionReader::of("ListOptions", options, &["labels"])?;
    Ok(fields.labels("labels")?.unwrap_or_default())
}

/// A volume's properties, in the order that a handle shows them.
fn plain(info: &VolumeInfo) -> OptionValue {
    let record = &info.record;
    let text = |value: &str| OptionValue::Text(value.to_owned());
    let number = |value: f64| OptionValue::Number(value);
    let labels = record.labels.iter().map(|(key, value)| (key.to_owned(), text(value)));
    let fields = [
        ("id", text(&record.identity.to_string())),
        ("name", text(record.name.as_str())),
        ("path", text(&info.path.to_string_lossy())),
        ("kind", text(record.kind.as_str())),
        ("quotaMib", record.quota_mib.map_or(OptionValue::Absent, |mib| number(mib.into()))),
        ("quotaEnforcement", info.quota_enforcement.map_or(OptionValue::Absent, |by| text(by.as_str()))),
        ("usedBytes", number(info.used_bytes as f64)),
        ("capacityBytes", record.capacity_bytes.map_or(OptionValue::Absent, |bytes| number(bytes as f64))),
        ("diskFormat", record.disk_format.map_or(OptionValue::Absent, |format| text(format.as_str()))),
        ("diskFstype", record.disk_fstype.as_deref().map_or(OptionValue::Absent, text)),
        ("labels", OptionValue::Object(labels.collect())),
        ("createdAtMs", record.created_at_ms.map_or(OptionValue::Absent, |ms| number(ms as f64))),
    ];
    OptionValue::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
