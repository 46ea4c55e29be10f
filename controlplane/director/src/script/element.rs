//! A document as a small tree. No DTD, no entities but the five of XML, caps on size, depth and
//! count: what an application sends is an adversary's input like any other.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

const DEPTH_MAX: usize = 8;
const ELEMENTS_MAX: usize = 1_000;
const ATTRIBUTES_MAX: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Self>,
    /// Direct text, trimmed.
    pub(crate) text: String,
    /// 1-based.
    pub(crate) line: usize,
}

/// Why a document is none, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DocumentError {
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl Element {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The root element of `document`.
pub(crate) fn parse(document: &str, bytes_max: usize) -> Result<Element, DocumentError> {
    if document.len() > bytes_max {
        let message = format!("document of {} bytes, {bytes_max} are the most", document.len());
        return Err(DocumentError { line: 1, message });
    }
    let mut reader = Reader::from_str(document);
    reader.config_mut().check_end_names = true;
    let mut tree = Tree::default();
    loop {
        let line = line_at(document, reader.buffer_position());
        let fail = |message: String| DocumentError { line, message };
        match reader.read_event().map_err(|error| fail(error.to_string()))? {
            Event::Start(start) => tree.open(&start, line).map_err(fail)?,
            Event::Empty(start) => {
                tree.open(&start, line).map_err(fail)?;
                tree.close();
            }
            Event::End(_) => tree.close(),
            Event::Text(text) => {
                let text = text.decode().map_err(|error| fail(error.to_string()))?;
                tree.text(&text).map_err(fail)?;
            }
            Event::CData(data) => {
                let text = data.decode().map_err(|error| fail(error.to_string()))?;
                tree.text(&text).map_err(fail)?;
            }
            Event::GeneralRef(reference) => tree.reference(&reference).map_err(fail)?,
            Event::DocType(_) => return Err(fail("document types are not allowed".to_owned())),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => return tree.finish().map_err(fail),
        }
    }
}

#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    root: Option<Element>,
    count: usize,
}

impl Tree {
    fn open(&mut self, start: &BytesStart<'_>, line: usize) -> Result<(), String> {
        self.count += 1;
        if self.open.len() >= DEPTH_MAX || self.count > ELEMENTS_MAX {
            return Err("elements are nested too deeply or too many".to_owned());
        }
        if self.open.is_empty() && self.root.is_some() {
            return Err("a second root element".to_owned());
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut attributes = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let value = attribute.unescape_value().map_err(|error| error.to_string())?;
            attributes.push((text(attribute.key.as_ref()), value.into_owned()));
            if attributes.len() > ATTRIBUTES_MAX {
                return Err("too many attributes".to_owned());
            }
        }
        let name = text(start.name().as_ref());
        self.open.push(Element { name, attributes, line, ..Element::default() });
        Ok(())
    }

    fn close(&mut self) {
        if let Some(mut element) = self.open.pop() {
            element.text = element.text.trim().to_owned();
            match self.open.last_mut() {
                Some(parent) => parent.children.push(element),
                None => self.root = Some(element),
            }
        }
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.trim().trim_start_matches('\u{feff}').is_empty() => {}
            None => return Err("text outside the root element".to_owned()),
        }
        Ok(())
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<(), String> {
        if let Some(c) = reference.resolve_char_ref().map_err(|error| error.to_string())? {
            return self.text(c.encode_utf8(&mut [0; 4]));
        }
        let name = reference.decode().map_err(|error| error.to_string())?;
        match resolve_predefined_entity(&name) {
            Some(text) => self.text(text),
            None => Err(format!("unknown entity &{name};")),
        }
    }

    fn finish(self) -> Result<Element, String> {
        if let Some(element) = self.open.last() {
            return Err(format!("<{}> is not closed", element.name));
        }
        self.root.ok_or_else(|| "no root element".to_owned())
    }
}

fn line_at(document: &str, position: u64) -> usize {
    let end = usize::try_from(position).unwrap_or(0).min(document.len());
    1 + document.as_bytes()[..end].iter().filter(|b| **b == b'\n').count()
}
