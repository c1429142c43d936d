//! The native side of `VolumeStore.check`.

use super::runtime::cancellation::Cancellation;
use super::runtime::convert::to_option_value;
use super::runtime::executor::Pool;
use super::runtime::job::{Job, JobPromise, run_cancellable};
use super::runtime::pages::NativePages;
use super::store::{SHARED, absolute_home};
use crate::error::Result;
use crate::model::{OptionReader, OptionValue};
use crate::store::{CheckOptions, check};
use crate::wire::HomeProblemJson;
use napi::bindgen_prelude::Unknown;
use napi_derive::napi;
use std::path::PathBuf;

/// `VolumeStore.check`: `options` are `home`, an absolute path, `repair` and `shared`.
#[napi(catch_unwind, ts_return_type = "Promise<NativePages>")]
pub fn check_store(options: Unknown<'_>, cancellation: Option<&Cancellation>) -> JobPromise<NativePages> {
    run_cancellable(cancellation, |cancel| {
        let (home, options) = check_options(&to_option_value(options)?)?;
        // It visits every volume.
        Ok(Job::on(Pool::Walk, move || {
            let problems = check(&home, options, &cancel)?;
            NativePages::of_values(problems.iter().map(HomeProblemJson::from))
        }))
    })
}

fn check_options(options: &OptionValue) -> Result<(PathBuf, CheckOptions)> {
    let fields = OptionReader::of("CheckOptions", options, &["home", "repair", SHARED])?;
    let repair = fields.flag("repair")?.unwrap_or(false);
    Ok((absolute_home(&fields)?, CheckOptions { repair, shared: fields.flag(SHARED)?.unwrap_or(false) }))
}
