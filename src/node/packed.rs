//! Renderings of thousands of mounts, packed into few strings, of which lib/packed.js makes the values.
//!
//! The call that renders is synchronous, so its whole length is one turn of the event loop. Node-API takes several calls
//! for each value, and `JSON.parse` reads every name again for every mount: both take several times longer.

use crate::error::{Error, Result};
use crate::mount::runtime::rendered::{Put, Rendered};
use napi::Either;
use napi::bindgen_prelude::Latin1String;
use napi_derive::napi;
use std::collections::HashMap;
use std::fmt::Display;

/// Ends each text. No path, name or option has it.
const END: char = '\0';

/// What stands for a text in a shape.
const HOLE: &[u8] = b"{}";

/// Texts one after the other. Node.js takes one that is ASCII several times faster if it is known to be.
pub type PackedTexts = Either<Latin1String, String>;

/// A list of values.
#[napi(object, object_from_js = false)]
pub struct PackedList {
    /// What the list is called in the rendering.
    pub name: String,
    /// JSON: the shapes of the values, and how many of which shape follow each other. Absent if they are the texts.
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

/// Packs the lists of those names, whose values `render` puts there.
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
            // In a list a word is a text like another, of the shape that is only a hole.
            Rendered::Word(word) => self.shapes.add(&Rendered::Text((*word).into()), &mut self.texts),
            value => self.shapes.add(value, &mut self.texts),
        }
    }

    fn end(self, name: &str) -> Result<PackedList> {
        let are_texts = self.shapes.all.iter().all(|shape| shape == HOLE);
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
        self.all.push(END);
        self.count += 1;
    }

    fn end(self) -> Result<PackedTexts> {
        if self.all.bytes().filter(|byte| char::from(*byte) == END).count() != self.count {
            return Err(Error::internal("a text of a rendering has a NUL"));
        }
        Ok(if self.all.is_ascii() { Either::A(self.all.into()) } else { Either::B(self.all) })
    }
}

#[derive(Default)]
struct Shapes {
    all: Vec<Vec<u8>>,
    by_shape: HashMap<Vec<u8>, usize>,
    /// A shape's place in `all`, and how many values in a row have it.
    runs: Vec<(usize, usize)>,
    /// The shape that is being written.
    written: Vec<u8>,
}

impl Shapes {
    fn add(&mut self, value: &Rendered<'_>, texts: &mut Texts) -> Result<()> {
        self.written.clear();
        write_shape(value, &mut self.written, texts)
            .map_err(|error| Error::internal("a rendering has no shape").caused_by(error))?;
        if let Some((last, count)) = self.runs.last_mut()
            && self.all.get(*last) == Some(&self.written)
        {
            *count += 1;
            return Ok(());
        }
        let shape = match self.by_shape.get(&self.written) {
            Some(known) => *known,
            None => {
                self.all.push(self.written.clone());
                self.by_shape.insert(self.written.clone(), self.all.len() - 1);
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

/// Writes the JSON of a value with a hole for each text.
fn write_shape(value: &Rendered<'_>, shape: &mut Vec<u8>, texts: &mut Texts) -> serde_json::Result<()> {
    match value {
        Rendered::Null => shape.extend(b"null"),
        Rendered::Flag(flag) => serde_json::to_writer(shape, flag)?,
        Rendered::Number(number) => serde_json::to_writer(shape, number)?,
        Rendered::Word(word) => write_word(word, shape)?,
        Rendered::Text(text) => {
            shape.extend(HOLE);
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

/// Writes the JSON of a name or word, in which there is mostly nothing to be escaped.
fn write_word(word: &str, shape: &mut Vec<u8>) -> serde_json::Result<()> {
    if word.bytes().any(|byte| matches!(byte, b'"' | b'\\' | ..b' ')) {
        return serde_json::to_writer(shape, word);
    }
    shape.push(b'"');
    shape.extend_from_slice(word.as_bytes());
    shape.push(b'"');
    Ok(())
}
