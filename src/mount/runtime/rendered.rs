//! A value of a rendering: JSON that distinguishes words of the notation from the texts of one mount.

use crate::error::Result;
use serde_json::Value;
use std::borrow::Cow;

/// A JSON value with static field names.
#[derive(Clone, Debug, PartialEq)]
pub enum Rendered<'m> {
    /// `null`
    Null,
    /// A boolean.
    Flag(bool),
    /// An integer.
    Number(u32),
    /// A word of the runtime's notation, which many mounts share.
    Word(&'static str),
    /// A text of one mount.
    Text(Cow<'m, str>),
    /// An array.
    List(Vec<Rendered<'m>>),
    /// An object, its fields in their order.
    Object(Vec<(&'static str, Rendered<'m>)>),
}

/// Receives the values of a rendering with several lists, each with the name of its list. So not all values are in
/// memory at the same time.
pub type Put<'p, 'm> = dyn FnMut(&'static str, Rendered<'m>) + 'p;

/// Collects the lists of a rendering.
pub(super) fn lists<'m>(
    names: &[&'static str],
    render: impl FnOnce(&mut Put<'_, 'm>) -> Result<()>,
) -> Result<Rendered<'m>> {
    let mut lists: Vec<(&'static str, Vec<Rendered<'m>>)> =
        names.iter().map(|name| (*name, Vec::new())).collect();
    render(&mut |name, value| {
        if let Some((_, list)) = lists.iter_mut().find(|(known, _)| *known == name) {
            list.push(value);
        }
    })?;
    Ok(Rendered::Object(lists.into_iter().map(|(name, list)| (name, Rendered::List(list))).collect()))
}

/// Returns an object of these fields.
pub(super) fn object<'m, const N: usize>(fields: [(&'static str, Rendered<'m>); N]) -> Rendered<'m> {
    Rendered::Object(fields.into())
}

/// Returns an array of these values.
pub(super) fn list<const N: usize>(values: [Rendered<'_>; N]) -> Rendered<'_> {
    Rendered::List(values.into())
}

/// Returns a text of one mount.
pub(super) fn text<'m>(text: impl Into<Cow<'m, str>>) -> Rendered<'m> {
    Rendered::Text(text.into())
}

impl From<Rendered<'_>> for Value {
    fn from(rendered: Rendered<'_>) -> Self {
        match rendered {
            Rendered::Null => Value::Null,
            Rendered::Flag(flag) => flag.into(),
            Rendered::Number(number) => number.into(),
            Rendered::Word(word) => word.into(),
            Rendered::Text(text) => text.into_owned().into(),
            Rendered::List(values) => values.into_iter().map(Value::from).collect(),
            Rendered::Object(fields) => {
                fields.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
            }
        }
    }
}
