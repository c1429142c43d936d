//! Conversion of JavaScript values to [`OptionValue`].

use crate::model::OptionValue;
use napi::bindgen_prelude::{FromNapiValue, JsObjectValue, Object, Unknown, Utf16String};
use napi::{JsValue, KeyCollectionMode, KeyConversion, KeyFilter, ValueType};

/// How deep an options object may nest. Ours have two levels. `lib/plain.js` has the same limit.
const MAX_DEPTH: usize = 4;

/// Converts a JavaScript value to an option value. A value that is not plain becomes [`OptionValue::Other`]
/// with the name of its type.
pub fn to_option_value(value: Unknown<'_>) -> napi::Result<OptionValue> {
    nested_value(value, MAX_DEPTH)
}

fn nested_value(value: Unknown<'_>, depth: usize) -> napi::Result<OptionValue> {
    Ok(match value.get_type()? {
        ValueType::Undefined | ValueType::Null => OptionValue::Absent,
        ValueType::Boolean => OptionValue::Bool(bool::from_unknown(value)?),
        ValueType::Number => OptionValue::Number(f64::from_unknown(value)?),
        ValueType::String => {
            text(value)?.map_or(OptionValue::Other("a string with a lone surrogate"), OptionValue::Text)
        }
        ValueType::Object if value.is_array()? => OptionValue::Other("an array"),
        ValueType::Object if !is_plain(value)? => OptionValue::Other("an object that is not plain"),
        ValueType::Object if depth == 0 => OptionValue::Other("an object nested too deep"),
        ValueType::Object => {
            let object = Object::from_unknown(value)?;
            // The keys of `Object.keys`. Each value is read by the key itself: as a C string the key would
            // end at a NUL.
            let keys = object.get_all_property_names(
                KeyCollectionMode::OwnOnly,
                KeyFilter::Enumerable,
                KeyConversion::NumbersToStrings,
            )?;
            let mut entries = Vec::new();
            for index in 0..keys.get_array_length()? {
                let key: Unknown<'_> = keys.get_element(index)?;
                if key.get_type()? != ValueType::String {
                    continue;
                }
                let value: Unknown<'_> = object.get_property(key)?;
                entries.push(match text(key)? {
                    Some(key) => (key, nested_value(value, depth - 1)?),
                    None => (String::from_unknown(key)?, OptionValue::Other("a name with a lone surrogate")),
                });
            }
            OptionValue::Object(entries)
        }
        ValueType::Function => OptionValue::Other("a function"),
        ValueType::Symbol => OptionValue::Other("a symbol"),
        ValueType::BigInt => OptionValue::Other("a bigint"),
        _ => OptionValue::Other("a value of another kind"),
    })
}

/// Returns a string, or `None` if it has a lone surrogate, for which Node-API writes U+FFFD in UTF-8.
fn text(value: Unknown<'_>) -> napi::Result<Option<String>> {
    let text = String::from_unknown(value)?;
    let has_no_lone_surrogate = || {
        let units = Utf16String::from_unknown(value)?;
        napi::Result::Ok(char::decode_utf16(units.iter().copied()).all(|unit| unit.is_ok()))
    };
    Ok(match !text.contains(char::REPLACEMENT_CHARACTER) || has_no_lone_surrogate()? {
        true => Some(text),
        false => None,
    })
}

/// Whether an object is a literal of any realm, or has no prototype. Only these hold all their properties
/// themselves: a `Map` or an instance of a class would seem empty. `lib/plain.js` has the same rule.
fn is_plain(object: Unknown<'_>) -> napi::Result<bool> {
    let prototype = Object::from_unknown(object)?.get_prototype()?;
    Ok(prototype.get_type()? == ValueType::Null
        || Object::from_unknown(prototype)?.get_prototype()?.get_type()? == ValueType::Null)
}
