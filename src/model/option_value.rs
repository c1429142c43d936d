//! Options as the caller passed them, before validation.
//!
//! The addon converts a JavaScript value to an [`OptionValue`]. All options are read through an [`OptionReader`], which
//! rejects unknown names and wrong types in one place, and names the option.

use super::Labels;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// A value of unknown shape.
#[derive(Clone, Debug, PartialEq)]
pub enum OptionValue {
    /// `undefined` or `null`: the option's default.
    Absent,
    /// A boolean.
    Bool(bool),
    /// A number, which may be NaN, fractional or out of range.
    Number(f64),
    /// A string.
    Text(String),
    /// A plain object, in the order of its keys.
    Object(Vec<(String, OptionValue)>),
    /// Anything else, by the name of its type.
    Other(&'static str),
}

impl OptionValue {
    /// Returns the string. Fails if the value is not a string; the error calls it `name`.
    pub fn required_text(&self, name: &str) -> Result<&str> {
        match self {
            OptionValue::Text(text) => Ok(text),
            other => Err(wrong_type(name, "a string", other)),
        }
    }

    /// Returns a non-negative integer below 2^32. Fails for other values: it neither wraps nor rounds. The error calls
    /// the value `name`.
    pub fn required_u32(&self, name: &str) -> Result<u32> {
        const EXPECTED: &str = "a non-negative integer below 2^32";
        match self {
            OptionValue::Number(number)
                if number.fract() == 0.0 && (0.0..4_294_967_296.0).contains(number) =>
            {
                Ok(*number as u32)
            }
            OptionValue::Number(number) => {
                Err(Error::invalid_config(name, format!("expected {EXPECTED}, got {number}")))
            }
            other => Err(wrong_type(name, EXPECTED, other)),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            OptionValue::Absent => "nothing",
            OptionValue::Bool(_) => "a boolean",
            OptionValue::Number(_) => "a number",
            OptionValue::Text(_) => "a string",
            OptionValue::Object(_) => "an object",
            OptionValue::Other(name) => name,
        }
    }
}

impl From<serde_json::Value> for OptionValue {
    fn from(value: serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => OptionValue::Absent,
            Value::Bool(flag) => OptionValue::Bool(flag),
            Value::Number(number) => OptionValue::Number(number.as_f64().unwrap_or(f64::NAN)),
            Value::String(text) => OptionValue::Text(text),
            Value::Array(_) => OptionValue::Other("an array"),
            Value::Object(entries) => {
                OptionValue::Object(entries.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
        }
    }
}

/// The named fields of an options object.
#[derive(Clone, Copy, Debug)]
pub struct OptionReader<'a>(&'a [(String, OptionValue)]);

impl<'a> OptionReader<'a> {
    /// Reads `input` as the type `what`. Fails if it has a field that is not one of `known`.
    pub fn of(what: &str, input: &'a OptionValue, known: &[&str]) -> Result<Self> {
        let entries = match input {
            OptionValue::Absent => &[][..],
            OptionValue::Object(entries) => entries,
            other => {
                let given = other.type_name();
                return Err(Error::invalid_config(what, format!("expected an object, got {given}")));
            }
        };
        if let Some((name, _)) = entries.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            let known = known.join(", ");
            return Err(Error::invalid_config(
                name,
                format!("{what} has no such option; its options are: {known}"),
            ));
        }
        Ok(OptionReader(entries))
    }

    fn get(&self, name: &str) -> &'a OptionValue {
        self.0.iter().find(|(known, _)| known == name).map_or(&OptionValue::Absent, |(_, value)| value)
    }

    /// Reads a string.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>> {
        match self.get(name) {
            OptionValue::Absent => Ok(None),
            OptionValue::Text(text) => Ok(Some(text)),
            other => Err(wrong_type(name, "a string", other)),
        }
    }

    /// Reads a boolean.
    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        match self.get(name) {
            OptionValue::Absent => Ok(None),
            OptionValue::Bool(flag) => Ok(Some(*flag)),
            other => Err(wrong_type(name, "a boolean", other)),
        }
    }

    /// Reads a non-negative integer below 2^32. Fails for other numbers: it neither wraps nor rounds.
    pub fn u32(&self, name: &str) -> Result<Option<u32>> {
        match self.get(name) {
            OptionValue::Absent => Ok(None),
            value => value.required_u32(name).map(Some),
        }
    }

    /// Reads a non-negative integer up to 2^53 - 1 (`Number.MAX_SAFE_INTEGER`).
    pub fn safe_integer(&self, name: &str) -> Result<Option<u64>> {
        const EXPECTED: &str = "a non-negative integer below 2^53";
        match self.get(name) {
            OptionValue::Absent => Ok(None),
            OptionValue::Number(number)
                if number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(number) =>
            {
                Ok(Some(*number as u64))
            }
            OptionValue::Number(number) => {
                Err(Error::invalid_config(name, format!("expected {EXPECTED}, got {number}")))
            }
            other => Err(wrong_type(name, EXPECTED, other)),
        }
    }

    /// Reads one of the named `choices`.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let expected =
            || choices.iter().map(|(known, _)| format!("{known:?}")).collect::<Vec<_>>().join(", ");
        match self.get(name) {
            OptionValue::Absent => Ok(None),
            OptionValue::Text(text) => match choices.iter().find(|(known, _)| known == text) {
                Some((_, value)) => Ok(Some(*value)),
                None => {
                    Err(Error::invalid_config(name, format!("expected one of {}, got {text:?}", expected())))
                }
            },
            other => Err(wrong_type(name, &format!("one of {}", expected()), other)),
        }
    }

    /// Reads labels: an object of strings.
    pub fn labels(&self, name: &str) -> Result<Option<Labels>> {
        match self.get(name) {
            OptionValue::Absent => Ok(None),
            OptionValue::Object(entries) => {
                let mut pairs = BTreeMap::new();
                for (key, value) in entries {
                    match value {
                        OptionValue::Text(text) => pairs.insert(key.clone(), text.clone()),
                        other => return Err(wrong_type(&format!("{name}.{key}"), "a string", other)),
                    };
                }
                Labels::new(pairs).map(Some)
            }
            other => Err(wrong_type(name, "an object of strings", other)),
        }
    }
}

/// Returns the name of a value in a table of choices, which must contain it.
pub fn name_of<T: Copy + PartialEq>(choices: &[(&'static str, T)], value: T) -> &'static str {
    choices.iter().find(|(_, known)| *known == value).map_or("", |(name, _)| name)
}

fn wrong_type(name: &str, expected: &str, given: &OptionValue) -> Error {
    Error::invalid_config(name, format!("expected {expected}, got {}", given.type_name()))
}
