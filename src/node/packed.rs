//! Renderings of thousands of mounts, packed into few strings. lib/packed.js unpacks the values.
//!
//! The call that renders is synchronous, so all of it runs in one turn of the event loop. Node-API needs
//! several calls for each value, and `JSON.parse` reads every name again for every mount. Both take several
//! times longer.

use crate::error::{Error, Result};
use crate::mount::runtime::rendered::{Put, Rendered};
use napi::Either;
use napi::bindgen_prelude::Latin1String;
use napi_derive::napi;
use std::collections::HashMap;
use std::fmt::Display;

/// Ends each text. No path, name or option contains it.
const TERMINATOR: char = '\0';

/// The placeholder of a text in a shape.
const PLACEHOLDER: &[u8] = b"{}";

/// Texts one after the other. Node.js takes an ASCII text several times faster if its type says so.
pub type PackedTexts = Either<Latin1String, String>;

/// A list of values.
#[napi(object, object_from_js = false)]
pub struct PackedList {
    /// The name of the list in the rendering.
    pub name: String,
    /// JSON: the shapes of the values, and how many values in a row have which shape. Absent if all values
    /// are texts.
    pub layout: Option<String>,
    /// The texts that fill the shapes.
    #[napi(ts_type = "string")]
    pub texts: PackedTexts,
}

/// Packs texts.
pub fn pack_texts(texts: Vec<String>) -> Result<PackedTexts> {
    let mut packed = Texts::default();
    texts.iter().for_each(|text| packed.push(text));
    packed.end()
}

/// Packs the lists with these names. `render` adds their values.
pub fn pack_lists<'m>(
    names: &[&'static str],
    render: impl FnOnce(&mut Put<'_, 'm>) -> Result<()>,
) -> Result<Vec<PackedList>> {
    let mut lists: Vec<_> = names.iter().map(|name| (*name, Packer::default())).collect();
    let mut failure = None;
    render(&mut |name, value| match lists.iter_mut().find(|(known, _)| *known == name) {
        Some((_, list)) => failure = failure.take().or_else(|| list.add(&value).err()),
        None => failure = Some(Error::internal(format!("a rendering has no list {name:?}"))),
    })?;
    match failure {
        Some(error) => Err(error),
        None => lists.into_iter().map(|(name, list)| list.end(name)).collect(),
    }
}

/// Packs a list of values.
pub fn pack_list(name: &str, values: &[Rendered<'_>]) -> Result<PackedList> {
    let mut list = Packer::default();
    values.iter().try_for_each(|value| list.add(value))?;
    list.end(name)
}

#[derive(Default)]
struct Packer {
    texts: Texts,
    shapes: Shapes,
}

impl Packer {
    fn add(&mut self, value: &Rendered<'_>) -> Result<()> {
        match value {
            // In a list a word is packed like a text: its shape is only a placeholder.
            Rendered::Word(word) => self.shapes.add(&Rendered::Text((*word).into()), &mut self.texts),
            value => self.shapes.add(value, &mut self.texts),
        }
    }

    fn end(self, name: &str) -> Result<PackedList> {
        let are_texts = self.shapes.all.iter().all(|shape| shape == PLACEHOLDER);
        let layout = (!are_texts).then(|| self.shapes.layout());
        Ok(PackedList { name: name.to_owned(), layout, texts: self.texts.end()? })
    }
}

#[derive(Default)]
struct Texts {
    all: String,
    count: usize,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.all.push_str(text);
        self.all.push(TERMINATOR);
        self.count += 1;
    }

    fn end(self) -> Result<PackedTexts> {
        if self.all.bytes().filter(|byte| char::from(*byte) == TERMINATOR).count() != self.count {
            return Err(Error::internal("a text of a rendering has a NUL"));
        }
        Ok(if self.all.is_ascii() { Either::A(self.all.into()) } else { Either::B(self.all) })
    }
}

#[derive(Default)]
struct Shapes {
    all: Vec<Vec<u8>>,
    by_shape: HashMap<Vec<u8>, usize>,
    /// The index of a shape in `all`, and how many values in a row have it.
    runs: Vec<(usize, usize)>,
    /// Buffer for the shape of the current value.
    current: Vec<u8>,
}

impl Shapes {
    fn add(&mut self, value: &Rendered<'_>, texts: &mut Texts) -> Result<()> {
        self.current.clear();
        write_shape(value, &mut self.current, texts)
            .map_err(|error| Error::internal("a rendering has no shape").caused_by(error))?;
        if let Some((last, count)) = self.runs.last_mut()
            && self.all.get(*last) == Some(&self.current)
        {
            *count += 1;
            return Ok(());
        }
        let shape = match self.by_shape.get(&self.current) {
            Some(known) => *known,
            None => {
                self.all.push(self.current.clone());
                self.by_shape.insert(self.current.clone(), self.all.len() - 1);
                self.all.len() - 1
            }
        };
        self.runs.push((shape, 1));
        Ok(())
    }

    fn layout(&self) -> String {
        let shapes = self.all.iter().map(|shape| String::from_utf8_lossy(shape));
        let runs = self.runs.iter().map(|(shape, count)| format!("[{shape},{count}]"));
        format!("{{\"shapes\":{},\"runs\":{}}}", array(shapes), array(runs))
    }
}

fn array(values: impl Iterator<Item = impl Display>) -> String {
    let mut array = String::from("[");
    for (at, value) in values.enumerate() {
        array.push_str(if at == 0 { "" } else { "," });
        array.push_str(&value.to_string());
    }
    array + "]"
}

/// Writes the JSON of a value, with a placeholder for each text.
fn write_shape(value: &Rendered<'_>, shape: &mut Vec<u8>, texts: &mut Texts) -> serde_json::Result<()> {
    match value {
        Rendered::Null => shape.extend(b"null"),
        Rendered::Flag(flag) => serde_json::to_writer(shape, flag)?,
        Rendered::Number(number) => serde_json::to_writer(shape, number)?,
        Rendered::Word(word) => write_word(word, shape)?,
        Rendered::Text(text) => {
            shape.extend(PLACEHOLDER);
            texts.push(text);
        }
        Rendered::List(values) => {
            shape.push(b'[');
            for (at, value) in values.iter().enumerate() {
                shape.extend((at > 0).then_some(b','));
                write_shape(value, shape, texts)?;
            }
            shape.push(b']');
        }
        Rendered::Object(fields) => {
            shape.push(b'{');
            for (at, (name, value)) in fields.iter().enumerate() {
                shape.extend((at > 0).then_some(b','));
                write_word(name, shape)?;
                shape.push(b':');
                write_shape(value, shape, texts)?;
            }
            shape.push(b'}');
        }
    }
    Ok(())
}

/// Writes the JSON of a name or word. Mostly there is nothing to escape.
fn write_word(word: &str, shape: &mut Vec<u8>) -> serde_json::Result<()> {
    if word.bytes().any(|byte| matches!(byte, b'"' | b'\\' | ..b' ')) {
        return serde_json::to_writer(shape, word);
    }
    shape.push(b'"');
    shape.extend_from_slice(word.as_bytes());
    shape.push(b'"');
    Ok(())
}
