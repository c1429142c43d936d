//! `attachments` and `detach`: all attachments of a home, of any process.

use super::runtime::arguments::text;
use super::runtime::cancellation::Cancellation;
use super::runtime::convert::to_option_value;
use super::runtime::executor::Pool;
use super::runtime::job::{Job, JobPromise, run_cancellable};
use super::runtime::pages::NativePages;
use super::store::NativeStore;
use crate::error::{Error, Result};
use crate::model::{OptionReader, OptionValue, VolumeName};
use crate::wire::AttachmentJson;
use napi::bindgen_prelude::Unknown;
use napi_derive::napi;

#[napi]
impl NativeStore {
    /// `attachments`: `options` are `sandbox` and `volume`.
    #[napi(catch_unwind, ts_return_type = "Promise<NativePages>")]
    pub fn attachments(
        &self,
        options: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> JobPromise<NativePages> {
        run_cancellable(cancellation, |cancel| {
            let (sandbox, volume) = attachment_filter(&to_option_value(options)?)?;
            let store = self.0.clone();
            Ok(Job::on(Pool::Bulk, move || {
                let infos = store.attachments(sandbox.as_deref(), volume.as_ref(), &cancel)?;
                NativePages::of_values(infos.iter().map(AttachmentJson::from))
            }))
        })
    }

    /// `detach`: ends the attachment with this id. `options` is `force`.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn detach(
        &self,
        id: Unknown<'_>,
        options: Unknown<'_>,
        cancellation: Option<&Cancellation>,
    ) -> JobPromise<()> {
        run_cancellable(cancellation, |cancel| {
            let id = attachment_id(&text("id", id)?)?;
            let options = to_option_value(options)?;
            let force = OptionReader::of("DetachOptions", &options, &["force"])?.flag("force")?;
            let store = self.0.clone();
            let detach = move || store.end_attachment(id, force.unwrap_or(false), &cancel);
            Ok(Job::on(Pool::Blocking(None), detach))
        })
    }
}

fn attachment_filter(options: &OptionValue) -> Result<(Option<String>, Option<VolumeName>)> {
    let fields = OptionReader::of("AttachmentsOptions", options, &["sandbox", "volume"])?;
    let volume = fields.text("volume")?.map(VolumeName::parse).transpose()?;
    Ok((fields.text("sandbox")?.map(str::to_owned), volume))
}

/// Parses an id in the form of [`AttachmentJson`].
fn attachment_id(id: &str) -> Result<i64> {
    let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    id.parse().ok().filter(|_| digits).ok_or_else(|| {
        let shown: String = id.chars().take(32).collect();
        Error::invalid_config("id", format!("{shown:?} is no attachment's id, as attachments() gives them"))
    })
}
