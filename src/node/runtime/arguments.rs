//! Arguments that several exported functions take.

use super::convert::to_option_value;
use super::job::CallResult;
use crate::error::{Error, Result};
use crate::model::{OptionValue, VolumeName, VolumePath, VolumeRef};
use napi::ValueType;
use napi::bindgen_prelude::{FromNapiValue, Uint8Array, Unknown};
use std::path::{Path, PathBuf};

/// A string argument.
pub fn text(name: &str, value: Unknown<'_>) -> CallResult<String> {
    Ok(to_option_value(value)?.required_text(name).map(str::to_owned)?)
}

/// A path within a volume: a string, or bytes if a name in it is not UTF-8.
pub fn volume_path(value: Unknown<'_>) -> CallResult<VolumePath> {
    Ok(VolumePath::from_bytes(&path_bytes(value)?)?)
}

/// The bytes of a path within a volume, for a call that reports an invalid path later.
pub fn path_bytes(value: Unknown<'_>) -> CallResult<Vec<u8>> {
    match value.get_type()? {
        ValueType::Object => {
            let bytes = Uint8Array::from_unknown(value);
            let bytes =
                bytes.map_err(|_| Error::invalid_config("path", "expected a string or a Uint8Array"))?;
            Ok(bytes.to_vec())
        }
        _ => text("path", value).map(String::into_bytes),
    }
}

/// A volume's name.
pub fn volume_name(value: Unknown<'_>) -> CallResult<VolumeName> {
    Ok(VolumeName::parse(&text("name", value)?)?)
}

/// A volume by its name. With an id, only the volume that has this id is meant.
pub fn volume_ref(name: Unknown<'_>, id: Option<&str>) -> CallResult<VolumeRef> {
    Ok(VolumeRef::parse(&text("name", name)?, id)?)
}

/// The directory that a relative host path starts at. Fails only for a relative path: the working directory
/// may have been deleted.
pub fn working_directory(host_path: &OptionValue) -> Result<PathBuf> {
    match host_path {
        OptionValue::Text(path) if Path::new(path).is_relative() => {
            std::env::current_dir().map_err(|error| Error::file_system("getcwd", path, error))
        }
        _ => Ok(PathBuf::from("/")),
    }
}

/// A path on the host. A relative path starts at the current working directory of this process.
pub fn host_path(field: &str, value: Unknown<'_>) -> CallResult<PathBuf> {
    let argument = to_option_value(value)?;
    let path = argument.required_text(field)?;
    if path.is_empty() || path.contains('\0') {
        return Err(Error::invalid_config(field, format!("{path:?} names nothing on the host")).into());
    }
    Ok(working_directory(&argument)?.join(path))
}
