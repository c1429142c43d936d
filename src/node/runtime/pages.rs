//! Results of any length, handed over a page at a time, so that no turn of the event loop takes long.

use crate::model::OptionValue;
use napi_derive::napi;
use serde_json::{Number, Value};
use std::collections::VecDeque;

/// How many values one page has at most, and how much text unless one value has more: either is about a millisecond's work
/// on the JavaScript thread.
const VALUES: usize = 200;
const TEXT: usize = 128 * 1024;

/// How much text one piece of a long one has, in bytes. Text that is not ASCII takes about two milliseconds then.
const PIECE: usize = 512 * 1024;

/// Pages that lib/pages.js takes one after the other.
#[napi]
pub struct NativePages(VecDeque<String>);

#[napi]
impl NativePages {
    /// How many pages are left.
    #[napi(getter, catch_unwind)]
    pub fn left(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// The next page; null after the last.
    #[napi(catch_unwind)]
    pub fn next(&mut self) -> Option<String> {
        self.0.pop_front()
    }
}

impl NativePages {
    /// Pages of JSON arrays, of values that are JSON. To be called on a thread of ours.
    pub fn of_json(values: impl IntoIterator<Item = String>) -> Self {
        let (mut pages, mut page, mut length) = (VecDeque::new(), Vec::new(), 0);
        for value in values {
            if page.len() == VALUES || !page.is_empty() && length + value.len() > TEXT {
                pages.push_back(array(&page));
                page.clear();
                length = 0;
            }
            length += value.len();
            page.push(value);
        }
        if !page.is_empty() {
            pages.push_back(array(&page));
        }
        NativePages(pages)
    }

    /// Pages of one text, cut between characters.
    pub fn of_text(text: &str) -> Self {
        let (mut pages, mut rest) = (VecDeque::new(), text);
        while !rest.is_empty() {
            let end = (PIECE..rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
            let (piece, others) = rest.split_at(end);
            pages.push_back(piece.to_owned());
            rest = others;
        }
        NativePages(pages)
    }

    /// Whether a text is long enough to be handed over in pieces.
    pub fn is_for(text: &str) -> bool {
        text.len() > PIECE
    }
}

fn array(values: &[String]) -> String {
    format!("[{}]", values.join(","))
}

/// The JSON of a plain value, its fields in their order; what is absent is `null`.
pub fn to_json(value: &OptionValue) -> String {
    match value {
        OptionValue::Absent | OptionValue::Other(_) => "null".to_owned(),
        OptionValue::Bool(flag) => flag.to_string(),
        OptionValue::Number(number) => {
            Number::from_f64(*number).map_or("null".to_owned(), |number| number.to_string())
        }
        OptionValue::Text(text) => Value::from(text.as_str()).to_string(),
        OptionValue::Object(entries) => {
            let entries = entries.iter();
            let fields =
                entries.map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), to_json(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
    }
}
