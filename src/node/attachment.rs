//! The native side of `Attachment`.

use super::packed::{PackedList, PackedTexts, pack_list, pack_lists, pack_texts};
use super::runtime::arguments::host_path;
use super::runtime::cancellation::Cancellation;
use super::runtime::convert::to_option_value;
use super::runtime::executor::{self, Pool};
use super::runtime::job::{Job, JobPromise, run_cancellable};
use super::runtime::js_error::or_throw;
use super::runtime::pages::NativePages;
use crate::error::{Error, Result};
use crate::model::{OptionValue, VolumeName};
use crate::mount::ResolvedMount;
use crate::mount::runtime::bubblewrap::{self, BubblewrapOptions};
use crate::mount::runtime::docker::{self, DockerOptions};
use crate::mount::runtime::kubernetes_options::KubernetesOptions;
use crate::mount::runtime::microsandbox::{self, ByName, MicrosandboxOptions};
use crate::mount::runtime::oci::{self, OciOptions};
use crate::mount::runtime::qemu::{self, QemuOptions};
use crate::mount::runtime::{kubernetes, microsandbox_sdk};
use crate::store::{Attachment, Store};
use crate::wire::ResolvedMountJson;
use napi::Env;
use napi::bindgen_prelude::Unknown;
use napi_derive::napi;
use std::sync::Arc;

/// An attachment: the mounts of one sandbox.
#[napi]
pub struct NativeAttachment {
    store: Arc<Store>,
    attachment: Attachment,
    /// The mounts as JSON, until `take_mounts` takes them.
    pages: Option<NativePages>,
    /// Whether a JavaScript `Attachment` exists. Until then no code can detach it.
    is_claimed: bool,
}

impl NativeAttachment {
    /// Wraps an attachment, and writes its mounts as JSON. Called on a pool thread.
    pub fn new(store: Arc<Store>, attachment: Attachment) -> Result<Self> {
        let mut native = NativeAttachment { store, attachment, pages: None, is_claimed: false };
        let mounts = native.attachment.mounts.iter().map(ResolvedMountJson::from);
        native.pages = Some(NativePages::of_values(mounts)?);
        Ok(native)
    }

    /// Returns the mounts, for a runtime that opens what this process holds. Fails if the attachment was
    /// detached.
    fn held_mounts(&self) -> Result<&[ResolvedMount]> {
        self.attachment.check_held()?;
        Ok(&self.attachment.mounts)
    }

    /// Returns a function that looks up a volume in microsandbox's catalog. It does not wait for other
    /// programs.
    fn volume_lookup(&self) -> impl Fn(&VolumeName) -> Result<ByName> {
        |name| self.store.named_in_microsandbox(&self.attachment, name)
    }

    /// Releases the locks that microsandbox takes itself, if the options hand volumes over to it.
    fn release_locks(&self, options: &MicrosandboxOptions) -> Result<()> {
        match options.hands_over() {
            true => self.attachment.give_flock_away(),
            false => Ok(()),
        }
    }
}

/// Detaches an attachment that JavaScript never got, mostly because its environment ended first.
impl Drop for NativeAttachment {
    fn drop(&mut self) {
        if !self.is_claimed {
            let (store, id) = (self.store.clone(), self.attachment.id);
            // If the detach fails, the attachment stays until the process ends, like one that JavaScript
            // forgot.
            let detach = move || drop(store.detach(id));
            let _not_queued = executor::submit(Pool::Blocking(None), Box::new(detach));
        }
    }
}

#[napi]
impl NativeAttachment {
    /// Marks the attachment as owned by JavaScript, which decides from now on when it ends.
    #[napi(catch_unwind)]
    pub fn claim(&mut self) {
        self.is_claimed = true;
    }

    /// The id of the attachment.
    #[napi(getter, catch_unwind)]
    pub fn id(&self) -> String {
        self.attachment.id.to_string()
    }

    /// The name of the sandbox.
    #[napi(getter, catch_unwind)]
    pub fn sandbox(&self) -> String {
        self.attachment.sandbox.clone()
    }

    /// The process whose end frees the volumes.
    #[napi(getter, catch_unwind)]
    pub fn pid(&self) -> u32 {
        self.attachment.pid
    }

    /// Takes the resolved mounts. Returns null after the first call.
    #[napi(catch_unwind)]
    pub fn take_mounts(&mut self) -> Option<NativePages> {
        self.pages.take()
    }

    /// Arguments for `bwrap`.
    #[napi(catch_unwind, ts_return_type = "string")]
    pub fn to_bubblewrap(&self, env: &Env, options: Unknown<'_>) -> napi::Result<PackedTexts> {
        or_throw(env, || {
            let options = BubblewrapOptions::from_input(&to_option_value(options)?)?;
            Ok(pack_texts(bubblewrap::render(self.held_mounts()?, &options)?)?)
        })
    }

    /// The descriptors that bubblewrap inherits.
    #[napi(catch_unwind)]
    pub fn descriptors(&self, env: &Env) -> napi::Result<Vec<i32>> {
        or_throw(env, || Ok(self.attachment.descriptors()?))
    }

    /// The `mounts` of an OCI runtime's configuration.
    #[napi(catch_unwind)]
    pub fn to_oci(&self, env: &Env, options: Unknown<'_>) -> napi::Result<PackedList> {
        or_throw(env, || {
            let options = OciOptions::from_input(&to_option_value(options)?)?;
            Ok(pack_list("mounts", &oci::render(self.held_mounts()?, &options)?)?)
        })
    }

    /// Arguments for QEMU, the virtiofs servers and the guest's mounts.
    #[napi(catch_unwind)]
    pub fn to_qemu(&self, env: &Env, options: Unknown<'_>) -> napi::Result<Vec<PackedList>> {
        or_throw(env, || {
            let options = QemuOptions::from_input(&to_option_value(options)?)?;
            let mounts = self.held_mounts()?;
            Ok(pack_lists(&qemu::LISTS, |put| qemu::render_into(put, mounts, &options))?)
        })
    }

    /// Arguments for `docker run` or `podman run`.
    #[napi(catch_unwind, ts_return_type = "string")]
    pub fn to_docker(&self, env: &Env, options: Unknown<'_>) -> napi::Result<PackedTexts> {
        or_throw(env, || {
            let options = DockerOptions::from_input(&to_option_value(options)?)?;
            Ok(pack_texts(docker::render(self.held_mounts()?, options)?)?)
        })
    }

    /// Arguments for `msb run`.
    #[napi(catch_unwind, ts_return_type = "string")]
    pub fn to_microsandbox(&self, env: &Env, options: Unknown<'_>) -> napi::Result<PackedTexts> {
        or_throw(env, || {
            let options = MicrosandboxOptions::from_input(&to_option_value(options)?)?;
            let argv = microsandbox::render(self.held_mounts()?, &options, &self.volume_lookup())?;
            let argv = pack_texts(argv)?;
            self.release_locks(&options)?;
            Ok(argv)
        })
    }

    /// The method calls that add the mounts to a `SandboxBuilder` of microsandbox.
    #[napi(catch_unwind)]
    pub fn sandbox_calls(&self, env: &Env, options: Unknown<'_>) -> napi::Result<PackedList> {
        or_throw(env, || {
            let options = MicrosandboxOptions::from_input(&to_option_value(options)?)?;
            let calls = microsandbox_sdk::render(self.held_mounts()?, &options, &self.volume_lookup())?;
            Ok(pack_list("calls", &calls)?)
        })
    }

    /// Releases the locks that microsandbox takes itself. Called after its SDK has the mounts.
    #[napi(catch_unwind)]
    pub fn release_for_sandbox(&self, env: &Env, options: Unknown<'_>) -> napi::Result<()> {
        or_throw(env, || {
            let options = MicrosandboxOptions::from_input(&to_option_value(options)?)?;
            Ok(self.release_locks(&options)?)
        })
    }

    /// A pod's volumes and their claims.
    #[napi(catch_unwind)]
    pub fn to_kubernetes(&self, env: &Env, options: Unknown<'_>) -> napi::Result<Vec<PackedList>> {
        or_throw(env, || {
            let options = KubernetesOptions::from_input(&to_option_value(options)?)?;
            let (mounts, lists) = (self.held_mounts()?, kubernetes::lists_for(&options));
            Ok(pack_lists(lists, |put| kubernetes::render_into(put, mounts, &options))?)
        })
    }

    /// Makes another process the owner of the attachment. Returns its process ID.
    #[napi(catch_unwind, ts_return_type = "Promise<number>")]
    pub fn hand_over(&self, pid: Unknown<'_>, cancellation: Option<&Cancellation>) -> JobPromise<u32> {
        run_cancellable(cancellation, |cancel| {
            let pid = process_id(&to_option_value(pid)?)?;
            let (store, id) = (self.store.clone(), self.attachment.id);
            Ok(Job::on(Pool::Blocking(None), move || store.hand_over(id, pid, &cancel).map(|()| pid)))
        })
    }

    /// `Attachment.mountInto`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn mount_into(&self, rootfs: Unknown<'_>, cancellation: Option<&Cancellation>) -> JobPromise<()> {
        run_cancellable(cancellation, |cancel| {
            let rootfs = host_path("rootfs", rootfs)?;
            let (store, attachment) = (self.store.clone(), self.attachment.clone());
            Ok(Job::on(Pool::Blocking(None), move || store.mount_into(&attachment, &rootfs, &cancel)))
        })
    }

    /// `Attachment.unmount`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn unmount(&self, cancellation: Option<&Cancellation>) -> JobPromise<()> {
        run_cancellable(cancellation, |cancel| {
            let (store, id) = (self.store.clone(), self.attachment.id);
            Ok(Job::on(Pool::Blocking(None), move || store.unmount(id, &cancel)))
        })
    }

    /// `Attachment.detach`
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn detach(&self, cancellation: Option<&Cancellation>) -> JobPromise<()> {
        run_cancellable(cancellation, |cancel| {
            let (store, id) = (self.store.clone(), self.attachment.id);
            Ok(Job::on(Pool::Blocking(None), move || {
                cancel.commit()?;
                store.detach_asked(id, &cancel)
            }))
        })
    }
}

fn process_id(pid: &OptionValue) -> Result<u32> {
    match pid {
        OptionValue::Absent => {
            Err(Error::invalid_config("pid", "expected the number of a process, got nothing"))
        }
        given => given.required_u32("pid"),
    }
}
