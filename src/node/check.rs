//! The native side of `VolumeStore.check`.

use super::runtime::cancellation::Cancellation;
use super::runtime::convert::to_option_value;
use super::runtime::executor::Pool;
use super::runtime::job::{Job, JobPromise, run_cancellable};
use super::runtime::pages::{NativePages, to_json};
use super::store::{SHARED, absolute_home};
use crate::error::Result;
use crate::model::{OptionReader, OptionValue, name_of};
use crate::store::{CheckOptions, HomeProblem, ProblemKind, check};
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
            Ok(NativePages::of_json(problems.iter().map(|problem| to_json(&problem_value(problem)))))
        }))
    })
}

fn check_options(options: &OptionValue) -> Result<(PathBuf, CheckOptions)> {
    let fields = OptionReader::of("CheckOptions", options, &["home", "repair", SHARED])?;
    let repair = fields.flag("repair")?.unwrap_or(false);
    Ok((absolute_home(&fields)?, CheckOptions { repair, shared: fields.flag(SHARED)?.unwrap_or(false) }))
}

fn problem_value(problem: &HomeProblem) -> OptionValue {
    let text = |value: &str| OptionValue::Text(value.to_owned());
    let fields = [
        ("kind", text(name_of(&ProblemKind::NAMES, problem.kind))),
        ("volume", problem.volume.as_deref().map_or(OptionValue::Absent, text)),
        ("path", text(&problem.path.to_string_lossy())),
        ("message", text(&problem.message)),
        ("repaired", OptionValue::Bool(problem.repaired)),
    ];
    OptionValue::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
