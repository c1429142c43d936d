//! Arguments that several exported functions take.

use super::convert::to_option_value;
use super::js_error::or_throw;
use crate::error::Error;
use crate::model::{OptionValue, VolumeName, VolumeRef};
use crate::sys::ext::OsStrExt;
use napi::bindgen_prelude::{FromNapiValue, Uint8Array, Unknown};
use napi::{Env, ValueType};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// A string argument.
pub fn text(env: &Env, name: &str, value: Unknown<'_>) -> napi::Result<String> {
    let argument = to_option_value(value)?;
    or_throw(env, argument.required_text(name).map(str::to_owned))
}

/// A path within a volume: a string, or bytes if a name in it is not UTF-8.
pub fn volume_path(env: &Env, value: Unknown<'_>) -> napi::Result<OsString> {
    match value.get_type()? {
        ValueType::Object => {
            let bytes = Uint8Array::from_unknown(value).map(|bytes| OsStr::from_bytes(&bytes).to_owned());
            or_throw(
                env,
                bytes.map_err(|_| Error::invalid_config("path", "expected a string or a Uint8Array")),
            )
        }
        _ => text(env, "path", value).map(OsString::from),
    }
}

/// A volume's name.
pub fn volume_name(env: &Env, value: Unknown<'_>) -> napi::Result<VolumeName> {
    let name = text(env, "name", value)?;
    or_throw(env, VolumeName::parse(&name))
}

/// A volume by its name. With an id, only the volume that has this id is meant.
pub fn volume_ref(env: &Env, name: Unknown<'_>, id: Option<&str>) -> napi::Result<VolumeRef> {
    let name = text(env, "name", name)?;
    or_throw(env, VolumeRef::parse(&name, id))
}

/// The directory that a relative host path starts at. Fails only for a relative path: the working directory
/// may have been deleted.
pub fn working_directory(env: &Env, host_path: &OptionValue) -> napi::Result<PathBuf> {
    match host_path {
        OptionValue::Text(path) if Path::new(path).is_relative() => {
            let cwd = std::env::current_dir();
            or_throw(env, cwd.map_err(|error| Error::file_system("getcwd", path, error)))
        }
        _ => Ok(PathBuf::from("/")),
    }
}

/// A path on the host. A relative path starts at the current working directory of this process.
pub fn host_path(env: &Env, field: &str, value: Unknown<'_>) -> napi::Result<PathBuf> {
    let argument = to_option_value(value)?;
    let path = or_throw(env, argument.required_text(field).map(str::to_owned))?;
    if path.is_empty() || path.contains('\0') {
        let problem = format!("{path:?} names nothing on the host");
        return or_throw(env, Err(Error::invalid_config(field, problem)));
    }
    Ok(working_directory(env, &argument)?.join(path))
}
