//! The native side of the five mount factories, which return a mount as JSON, and of the mounts that `attach` takes.

use super::runtime::arguments::working_directory;
use super::runtime::convert::to_option_value;
use super::runtime::job::CallResult;
use super::runtime::js_error::or_throw;
use crate::error::{Error, Result};
use crate::model::{OptionValue, VolumeId};
use crate::mount::MountConfig;
use crate::wire::{MountConfigJson, to_json};
use napi::Env;
use napi::bindgen_prelude::Unknown;
use napi_derive::napi;
use std::mem;

/// `Mount.bind`
#[napi(catch_unwind)]
pub fn mount_bind(env: &Env, host_path: Unknown<'_>, options: Unknown<'_>) -> napi::Result<String> {
    config_json(env, || {
        let host_path = to_option_value(host_path)?;
        let cwd = working_directory(&host_path)?;
        Ok(MountConfig::bind(&host_path, &to_option_value(options)?, &cwd)?)
    })
}

/// `Mount.named`
#[napi(catch_unwind)]
pub fn mount_named(
    env: &Env,
    name: Unknown<'_>,
    options: Unknown<'_>,
    id: Option<String>,
) -> napi::Result<String> {
    config_json(env, || {
        let config = MountConfig::named(&to_option_value(name)?, &to_option_value(options)?)?;
        restrict_to_volume(config, id)
    })
}

/// `Mount.namedWith`
#[napi(catch_unwind)]
pub fn mount_named_with(
    env: &Env,
    name: Unknown<'_>,
    options: Unknown<'_>,
    volume: Unknown<'_>,
    id: Option<String>,
) -> napi::Result<String> {
    config_json(env, || {
        let (name, options, volume) =
            (to_option_value(name)?, to_option_value(options)?, to_option_value(volume)?);
        restrict_to_volume(MountConfig::named_with(&name, &options, &volume)?, id)
    })
}

/// Restricts a mount to the volume with this id, if lib/mount.js was passed a volume and no name.
fn restrict_to_volume(config: MountConfig, id: Option<String>) -> CallResult<MountConfig> {
    match id.and_then(|text| VolumeId::parse(&text)) {
        Some(id) => Ok(config.of_volume(id)?),
        None => Ok(config),
    }
}

/// `Mount.tmpfs`
#[napi(catch_unwind)]
pub fn mount_tmpfs(env: &Env, options: Unknown<'_>) -> napi::Result<String> {
    config_json(env, || Ok(MountConfig::tmpfs(&to_option_value(options)?)?))
}

/// `Mount.disk`
#[napi(catch_unwind)]
pub fn mount_disk(env: &Env, host_path: Unknown<'_>, options: Unknown<'_>) -> napi::Result<String> {
    config_json(env, || {
        let host_path = to_option_value(host_path)?;
        let cwd = working_directory(&host_path)?;
        Ok(MountConfig::disk(&host_path, &to_option_value(options)?, &cwd)?)
    })
}

/// The mounts that `attach` takes, added in parts.
#[napi]
pub struct NativeMounts(Vec<(String, MountConfig)>);

#[napi]
impl NativeMounts {
    /// Creates an empty set of mounts.
    #[napi(constructor, catch_unwind)]
    pub fn new() -> Self {
        NativeMounts(Vec::new())
    }

    /// Adds the mounts of an object from guest paths to mount configurations.
    #[napi(catch_unwind)]
    pub fn add(&mut self, env: &Env, mounts: Unknown<'_>) -> napi::Result<()> {
        self.0.extend(or_throw(env, || Ok(configs(to_option_value(mounts)?)?))?);
        Ok(())
    }

    /// Takes all mounts.
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

/// Returns a mount as JSON.
fn config_json(env: &Env, parse: impl FnOnce() -> CallResult<MountConfig>) -> napi::Result<String> {
    or_throw(env, || Ok(to_json(&MountConfigJson::from(&parse()?))?))
}
