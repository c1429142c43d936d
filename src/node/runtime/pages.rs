//! Long results, passed page by page so that no turn of the event loop takes long.

use crate::error::Result;
use crate::wire::to_json;
use napi_derive::napi;
use serde::Serialize;
use std::collections::VecDeque;

/// How many values one page has at most, and how many bytes unless one value is longer. Either takes about a
/// millisecond on the JavaScript thread.
const MAX_PAGE_VALUES: usize = 200;
const MAX_PAGE_BYTES: usize = 128 * 1024;

/// How many bytes one piece of a long text has. A piece that is not ASCII takes about two milliseconds.
const MAX_PIECE_BYTES: usize = 512 * 1024;

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

    /// Takes the next page. Returns null after the last one.
    #[napi(catch_unwind)]
    pub fn next(&mut self) -> Option<String> {
        self.0.pop_front()
    }
}

impl NativePages {
    /// Creates pages of JSON arrays. Called on a pool thread.
    pub fn of_values(values: impl IntoIterator<Item = impl Serialize>) -> Result<Self> {
        let (mut pages, mut page, mut length) = (VecDeque::new(), Vec::new(), 0);
        for value in values {
            let value = to_json(&value)?;
            if page.len() == MAX_PAGE_VALUES || !page.is_empty() && length + value.len() > MAX_PAGE_BYTES {
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
        Ok(NativePages(pages))
    }

    /// Creates pages of one text, cut between characters.
    pub fn of_text(text: &str) -> Self {
        let (mut pages, mut rest) = (VecDeque::new(), text);
        while !rest.is_empty() {
            let end =
                (MAX_PIECE_BYTES..rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
            let (piece, after) = rest.split_at(end);
            pages.push_back(piece.to_owned());
            rest = after;
        }
        NativePages(pages)
    }

    /// Whether a text is so long that it is passed in pieces.
    pub fn needs_pages(text: &str) -> bool {
        text.len() > MAX_PIECE_BYTES
    }
}

fn array(values: &[String]) -> String {
    format!("[{}]", values.join(","))
}
