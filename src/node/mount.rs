//! The five mount factories: plain options in, plain configurations out; and the mounts that `attach` is given.

use super::runtime::arguments::working_directory;
use super::runtime::convert::{from_input, to_input};
use super::runtime::js_error::or_throw;
use crate::error::{Error, Result};
use crate::model::{OptionValue, VolumeId};
use crate::mount::MountConfig;
use napi::Env;
use napi::bindgen_prelude::Unknown;
use napi_derive::napi;
use std::mem;

/// `Mount.bind`
#[napi(catch_unwind, ts_return_type = "object")]
pub fn mount_bind<'e>(
    env: &'e Env,
    host_path: Unknown<'_>,
    options: Unknown<'_>,
) -> napi::Result<Unknown<'e>> {
    let host_path = to_input(host_path)?;
    let cwd = working_directory(env, &host_path)?;
    plain(env, MountConfig::bind(&host_path, &to_input(options)?, &cwd))
}

/// `Mount.named`
#[napi(catch_unwind, ts_return_type = "object")]
pub fn mount_named<'e>(
    env: &'e Env,
    name: Unknown<'_>,
    options: Unknown<'_>,
    id: Option<String>,
) -> napi::Result<Unknown<'e>> {
    plain(env, of_volume(MountConfig::named(&to_input(name)?, &to_input(options)?), id))
}

/// `Mount.namedWith`
#[napi(catch_unwind, ts_return_type = "object")]
pub fn mount_named_with<'e>(
    env: &'e Env,
    name: Unknown<'_>,
    options: Unknown<'_>,
    volume: Unknown<'_>,
    id: Option<String>,
) -> napi::Result<Unknown<'e>> {
    let config = MountConfig::named_with(&to_input(name)?, &to_input(options)?, &to_input(volume)?);
    plain(env, of_volume(config, id))
}

/// The mount of exactly the volume with that id, where lib/mount.js was given a volume and no name.
fn of_volume(config: Result<MountConfig>, id: Option<String>) -> Result<MountConfig> {
    match id.and_then(|text| VolumeId::parse(&text)) {
        Some(id) => config?.of_volume(id),
        None => config,
    }
}

/// `Mount.tmpfs`
#[napi(catch_unwind, ts_return_type = "object")]
pub fn mount_tmpfs<'e>(env: &'e Env, options: Unknown<'_>) -> napi::Result<Unknown<'e>> {
    plain(env, MountConfig::tmpfs(&to_input(options)?))
}

/// `Mount.disk`
#[napi(catch_unwind, ts_return_type = "object")]
pub fn mount_disk<'e>(
    env: &'e Env,
    host_path: Unknown<'_>,
    options: Unknown<'_>,
) -> napi::Result<Unknown<'e>> {
    let host_path = to_input(host_path)?;
    let cwd = working_directory(env, &host_path)?;
    plain(env, MountConfig::disk(&host_path, &to_input(options)?, &cwd))
}

/// The mounts that `attach` is given, added some at a time.
#[napi]
pub struct NativeMounts(Vec<(String, MountConfig)>);

#[napi]
impl NativeMounts {
    /// No mounts.
    #[napi(constructor, catch_unwind)]
    pub fn new() -> Self {
        NativeMounts(Vec::new())
    }

    /// Adds those of an object from guest paths to mount configurations.
    #[napi(catch_unwind)]
    pub fn add(&mut self, env: &Env, mounts: Unknown<'_>) -> napi::Result<()> {
        self.0.extend(or_throw(env, configs(to_input(mounts)?))?);
        Ok(())
    }

    /// Leaves none.
    pub fn take(&mut self) -> Vec<(String, MountConfig)> {
        mem::take(&mut self.0)
    }
}

fn configs(mounts: OptionValue) -> Result<Vec<(String, MountConfig)>> {
    let OptionValue::Object(entries) = mounts else {
        return Err(Error::invalid_config("mounts", "expected an object from guest paths to mounts"));
    };
    let parsed = entries.into_iter().map(|(guest_path, config)| {
        let config = MountConfig::from_input(&config).map_err(|error| error.in_mount(&guest_path))?;
        Ok((guest_path, config))
    });
    parsed.collect()
}

fn plain<'e>(env: &'e Env, config: Result<MountConfig>) -> napi::Result<Unknown<'e>> {
    from_input(env, &OptionValue::from(&or_throw(env, config)?))
}
