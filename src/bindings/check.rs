//! `VolumeStore.check`.

use super::cancellation::{Cancellation, cancel_of};
use super::dispatch::run;
use super::errors::or_throw;
use super::lanes::Lane;
use super::pages::{NativePages, to_json};
use super::store::{SHARED, absolute_home};
use super::values::to_input;
use crate::error::Result;
use crate::model::{Fields, Input, name_of};
use crate::store::{CheckOptions, Problem, ProblemKind, check};
use napi::Env;
use napi::bindgen_prelude::{ToNapiValue, Unknown};
use napi_derive::napi;
use std::path::PathBuf;

/// `VolumeStore.check`: `options` are `home`, an absolute path, `repair` and `shared`.
#[napi(catch_unwind, ts_return_type = "Promise<NativePages>")]
pub fn check_store<'e>(
    env: &'e Env,
    options: Unknown<'_>,
    cancellation: Option<&Cancellation>,
) -> napi::Result<Unknown<'e>> {
    let options = to_input(options)?;
    let (home, options) = or_throw(env, check_options(&options))?;
    let cancel = cancel_of(cancellation);
    run(
        env,
        // It looks at every volume.
        Lane::Walk,
        move || {
            let problems = check(&home, options, &cancel)?;
            Ok(NativePages::of_json(problems.iter().map(|problem| to_json(&plain(problem)))))
        },
        |env, pages| pages.into_unknown(env),
    )
}

fn check_options(options: &Input) -> Result<(PathBuf, CheckOptions)> {
    let fields = Fields::of("CheckOptions", options, &["home", "repair", SHARED])?;
    let repair = fields.flag("repair")?.unwrap_or(false);
    Ok((absolute_home(&fields)?, CheckOptions { repair, shared: fields.flag(SHARED)?.unwrap_or(false) }))
}

fn plain(problem: &Problem) -> Input {
    let text = |value: &str| Input::Text(value.to_owned());
    let fields = [
        ("kind", text(name_of(&ProblemKind::NAMES, problem.kind))),
        ("volume", problem.volume.as_deref().map_or(Input::Absent, text)),
        ("path", text(&problem.path.to_string_lossy())),
        ("message", text(&problem.message)),
        ("repaired", Input::Bool(problem.repaired)),
    ];
    Input::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
