//! The native side of `VolumeFs`.

use super::lease_retry::{pause_then, retry_while_leased};
use super::runtime::arguments::volume_path;
use super::runtime::cancellation::Cancellation;
use super::runtime::convert::to_option_value;
use super::runtime::data::{BULK_MIN_BYTES, DataSink, WriteData};
use super::runtime::executor::{KeyedLimit, Pool, has_blocking_job};
use super::runtime::job::{CallResult, IntoJs, Job, JobPromise, Outcome, run_cancellable};
use super::runtime::pages::NativePages;
use crate::error::{Error, Result};
use crate::model::{OptionReader, OptionValue, VolumePath};
use crate::store::{
    AppendOptions, OngoingWrite, OpenedFile, VolumeFs, WriteKind, WriteOptions, WriteRequest,
};
use crate::sync::{CancelToken, SLICE, Slots};
use napi::Env;
use napi::bindgen_prelude::{Buffer, BufferSlice, Either, ToNapiValue, Unknown};
use napi_derive::napi;
use std::sync::Arc;
use std::time::Instant;

/// From this length on, reading and writing takes too long for [`Pool::Bulk`].
const TRANSFER_MIN_BYTES: usize = 4 << 20;

/// The files of one volume.
#[napi]
pub struct NativeFiles {
    files: VolumeFs,
    /// The slots that limit the copies of the store.
    slots: Arc<Slots>,
}

impl NativeFiles {
    pub fn new(files: VolumeFs, slots: Arc<Slots>) -> Self {
        NativeFiles { files, slots }
    }

    pub(super) fn files(&self) -> &VolumeFs {
        &self.files
    }

    pub(super) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// Runs the job that `parse` creates from the files, the path and the token of a call. `parse` reads the other
    /// arguments.
    pub(super) fn run_at<T: 'static>(
        &self,
        path: Unknown<'_>,
        cancellation: Option<&Cancellation>,
        parse: impl FnOnce(VolumeFs, VolumePath, CancelToken) -> CallResult<Job<T>>,
    ) -> JobPromise<T> {
        run_cancellable(cancellation, |cancel| parse(self.files.clone(), volume_path(path)?, cancel))
    }

    /// Writes data to a file as `kind` says, which reads the options.
    fn write_file(
        &self,
        path: Unknown<'_>,
        data: Unknown<'_>,
        kind: impl FnOnce() -> CallResult<WriteKind>,
        cancellation: Option<&Cancellation>,
    ) -> JobPromise<()> {
        self.run_at(path, cancellation, |files, path, cancel| {
            let data = WriteData::from_js(data)?;
            let request = WriteRequest { path, kind: kind()? };
            let pool = pool_for_write(data.len(), request.kind);
            let later = pool.clone();
            let write = move |data: WriteData| {
                let session = files.prepare_write()?;
                if let (WriteKind::Whole(options), false) = (request.kind, session.has_quota()) {
                    let length = data.len() as u64;
                    let begin = move |cancel: &CancelToken| {
                        session.begin_write(&request.path, length, options, cancel)
                    };
                    return retry_while_leased(later.clone(), cancel, begin, move |write| {
                        write_exclusive(data, later, write)
                    });
                }
                // Appends of others must not come between the bytes of an append. In a volume with a quota other
                // writers wait for this one, so it must not wait for data while it runs.
                data.with_all(later.clone(), move |bytes| {
                    let limit = session.has_quota().then(|| KeyedLimit::exclusive(files.queue(), &cancel));
                    // A write that is tried at once must not overtake an earlier one that is queued.
                    let is_tried = limit.as_ref().is_some_and(|limit| !has_blocking_job(&limit.key));
                    if is_tried && session.try_write(&request, &bytes, &cancel)?.is_some() {
                        return Ok(Outcome::Ready(()));
                    }
                    let write = move |cancel: &CancelToken| session.write_once(&request, &bytes, cancel);
                    run_exclusive_with_retry(limit, later, cancel, write)
                })
            };
            let check_pool = pool.clone();
            Ok(Job::in_steps(pool, move || data.check_then(check_pool, write)))
        })
    }

    /// Reads a whole file, a large one on another pool.
    fn read_whole<T: IntoJs>(
        &self,
        path: Unknown<'_>,
        cancellation: Option<&Cancellation>,
        read: fn(OpenedFile, &CancelToken) -> Result<T>,
    ) -> JobPromise<T> {
        self.run_at(path, cancellation, |files, path, cancel| {
            Ok(Job::in_steps(Pool::Fast, move || {
                let reading = cancel.clone();
                let read = move |file: OpenedFile| {
                    let pool = pool_for_data(usize::try_from(file.size()).unwrap_or(usize::MAX));
                    match pool {
                        Pool::Fast => read(file, &reading).map(Outcome::Ready),
                        pool => Ok(Outcome::last_step_on(pool, move || read(file, &reading))),
                    }
                };
                retry_while_leased(Pool::Fast, cancel, move |_| files.open_once(&path), read)
            }))
        })
    }
}

#[napi]
impl NativeFiles {
    /// The absolute host path of the volume's root directory.
    #[napi(getter, catch_unwind)]
    pub fn root(&self) -> String {
        self.files.root().to_string_lossy().into_owned()
    }

    /// `VolumeFs.read`
    #[napi(catch_unwind, ts_return_type = "Promise<Buffer>")]
    pub fn read(&self, path: Unknown<'_>, cancellation: Option<&Cancellation>) -> JobPromise<FileContent> {
        self.read_whole(path, cancellation, |file, cancel| file.read(cancel).map(FileContent))
    }

    /// `VolumeFs.readString`. Returns a long text in pieces.
    #[napi(catch_unwind, ts_return_type = "Promise<string | NativePages>")]
    pub fn read_string(
        &self,
        path: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> JobPromise<Either<String, NativePages>> {
        self.read_whole(path, cancellation, |file, cancel| {
            let text = file.read_string(cancel)?;
            Ok(match NativePages::needs_pages(&text) {
                true => Either::B(NativePages::of_text(&text)),
                false => Either::A(text),
            })
        })
    }

    /// `VolumeFs.write`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn write(
        &self,
        path: Unknown<'_>,
        data: Unknown<'_>,
        options: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> JobPromise<()> {
        let kind = || Ok(WriteKind::Whole(write_options(&to_option_value(options)?)?));
        self.write_file(path, data, kind, cancellation)
    }

    /// `VolumeFs.append`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn append(
        &self,
        path: Unknown<'_>,
        data: Unknown<'_>,
        options: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> JobPromise<()> {
        let kind = || Ok(WriteKind::Append(append_options(&to_option_value(options)?)?));
        self.write_file(path, data, kind, cancellation)
    }

    /// `VolumeFs.mkdir`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn mkdir(&self, path: Unknown<'_>, cancellation: Option<&Cancellation>) -> JobPromise<()> {
        self.run_at(path, cancellation, |files, path, cancel| {
            Ok(Job::in_steps(Pool::Fast, move || {
                let prepared = files.prepare_write()?;
                let has_quota = prepared.has_quota();
                let limit = KeyedLimit::exclusive(files.queue(), &cancel);
                run_exclusive(has_quota, limit, move || prepared.mkdir(&path, &cancel))
            }))
        })
    }

    /// `VolumeFs.remove`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn remove(&self, path: Unknown<'_>, cancellation: Option<&Cancellation>) -> JobPromise<()> {
        self.run_at(path, cancellation, |files, path, cancel| {
            Ok(Job::on(Pool::Fast, move || files.remove(&path, &cancel)))
        })
    }

    /// `VolumeFs.removeAll`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn remove_all(&self, path: Unknown<'_>, cancellation: Option<&Cancellation>) -> JobPromise<()> {
        self.run_at(path, cancellation, |files, path, cancel| {
            Ok(Job::in_steps(Pool::Bulk, move || {
                let mut removal = files.prepare_remove_all(&path, &cancel)?;
                match removal.go_on(Some(Instant::now() + SLICE))? {
                    true => Ok(Outcome::Ready(())),
                    false => Ok(Outcome::last_step_on(Pool::Delete, move || removal.go_on(None).map(drop))),
                }
            }))
        })
    }

    /// `VolumeFs.exists`
    #[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
    pub fn exists(&self, path: Unknown<'_>, cancellation: Option<&Cancellation>) -> JobPromise<bool> {
        self.run_at(path, cancellation, |files, path, cancel| {
            Ok(Job::on(Pool::Fast, move || {
                cancel.check()?;
                files.exists(&path)
            }))
        })
    }
}

impl DataSink for OngoingWrite {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        OngoingWrite::write(self, bytes)
    }

    fn finish(self) -> Result<()> {
        OngoingWrite::finish(self)
    }
}

/// Writes data to its file once no other write of this process uses the file.
fn write_exclusive(data: WriteData, pool: Pool, mut write: OngoingWrite) -> Result<Outcome<()>> {
    match write.try_take_turn() {
        Ok(true) => return data.write_to(pool, write),
        Ok(false) => {}
        Err(error) => {
            let (pause, cancel, later) = (write.pause_after(error)?, write.cancel(), pool.clone());
            return Ok(pause_then(pause, later, cancel, move || write_exclusive(data, pool, write)));
        }
    }
    Ok(Outcome::Parked(Box::new(move |resume| {
        write.on_turn(move |write, taken| {
            let later = pool.clone();
            // A cancelled write only ends, so it does not wait for the pool's jobs.
            let pool = if taken.is_ok() { pool } else { Pool::Fast };
            resume(pool, Box::new(move || taken.and_then(|()| write_exclusive(data, later, write))));
        });
    })))
}

/// Returns the pool that reads or writes so many bytes of a file.
pub(super) fn pool_for_data(length: usize) -> Pool {
    match length {
        ..BULK_MIN_BYTES => Pool::Fast,
        BULK_MIN_BYTES..TRANSFER_MIN_BYTES => Pool::Bulk,
        TRANSFER_MIN_BYTES.. => Pool::Transfer,
    }
}

/// Returns the pool that writes so many bytes, with regard to `fsync` and to the rename of an atomic write.
fn pool_for_write(length: usize, kind: WriteKind) -> Pool {
    let (durable, atomic) = match kind {
        WriteKind::Whole(options) => (options.durable, options.atomic),
        WriteKind::Append(options) => (options.durable, false),
    };
    match pool_for_data(length) {
        Pool::Fast | Pool::Bulk if durable => Pool::Blocking(None),
        Pool::Fast if atomic => Pool::Bulk,
        pool => pool,
    }
}

/// Runs a write. Writers of a volume with a quota run one at a time, on [`Pool::Blocking`].
pub fn run_exclusive(
    has_quota: bool,
    limit: KeyedLimit,
    write: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<Outcome<()>> {
    match has_quota {
        true => Ok(Outcome::last_step_on(Pool::Blocking(Some(limit)), write)),
        false => write().map(Outcome::Ready),
    }
}

/// Runs a write on `pool`, or under `limit` if the volume has one writer at a time. While a guest holds a
/// lease on the file, other operations can use the pool and the limit.
pub fn run_exclusive_with_retry(
    limit: Option<KeyedLimit>,
    pool: Pool,
    cancel: CancelToken,
    write: impl FnMut(&CancelToken) -> Result<()> + Send + 'static,
) -> Result<Outcome<()>> {
    let done = |()| Ok(Outcome::Ready(()));
    let Some(limit) = limit else { return retry_while_leased(pool, cancel, write, done) };
    let pool = Pool::Blocking(Some(limit));
    Ok(Outcome::Continue(pool.clone(), Box::new(move || retry_while_leased(pool, cancel, write, done))))
}

/// The content of a file, which becomes a `Buffer`.
pub struct FileContent(Vec<u8>);

impl IntoJs for FileContent {
    fn into_js(self, env: &Env) -> napi::Result<Unknown<'_>> {
        match self.0.len() < BULK_MIN_BYTES {
            true => BufferSlice::copy_from(env, self.0)?.into_unknown(env),
            false => Buffer::from(self.0).into_unknown(env),
        }
    }
}

/// The options of a write and of a write stream.
pub(super) const WRITE_OPTIONS: [&str; 3] = ["atomic", "durable", "mode"];

fn write_options(options: &OptionValue) -> Result<WriteOptions> {
    write_options_of(&OptionReader::of("WriteOptions", options, &WRITE_OPTIONS)?)
}

/// Reads the options of a write from a call that has other options too.
pub(super) fn write_options_of(fields: &OptionReader<'_>) -> Result<WriteOptions> {
    let mode = mode_of(fields)?;
    Ok(WriteOptions {
        atomic: fields.flag("atomic")?.unwrap_or(false),
        durable: fields.flag("durable")?.unwrap_or(false),
        mode,
    })
}

fn append_options(options: &OptionValue) -> Result<AppendOptions> {
    let fields = OptionReader::of("AppendOptions", options, &["durable", "mode"])?;
    let mode = mode_of(&fields)?;
    Ok(AppendOptions { durable: fields.flag("durable")?.unwrap_or(false), mode })
}

fn mode_of(fields: &OptionReader<'_>) -> Result<Option<u32>> {
    match fields.u32("mode")? {
        Some(0o10000..) => Err(Error::invalid_config("mode", "expected permission bits, at most 0o7777")),
        mode => Ok(mode),
    }
}
