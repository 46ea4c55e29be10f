//! A document as a small tree. No DTD, no entities but the five of XML, caps on size, depth and
//! count: what an application sends is an adversary's input like any other.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

const DEPTH_MAX: usize = 8;
const ELEMENTS_MAX: usize = 1_000;
const ATTRIBUTES_MAX: usize = 64;
/// Tags, texts, entity references and the like. A document of nothing but references has the most.
const EVENTS_MAX: usize = 8_192;

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
    read(document, &mut Lines::default())
}

fn read(document: &str, lines: &mut Lines) -> Result<Element, DocumentError> {
    let mut reader = Reader::from_str(document);
    reader.config_mut().check_end_names = true;
    let (mut tree, mut declared) = (Tree::default(), false);
    for events in 0.. {
        let line = lines.at(document, reader.buffer_position());
        let fail = |message: String| DocumentError { line, message };
        if events >= EVENTS_MAX {
            return Err(fail(format!("more than {EVENTS_MAX} tags, texts and references")));
        }
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
            // White space before it is forgiven, a tag or a second declaration is not.
            Event::Decl(_) if declared || tree.has_begun() => {
                return Err(fail("an XML declaration that is not at the beginning".to_owned()));
            }
            Event::Decl(_) => declared = true,
            Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    tree.finish().map_err(|message| DocumentError { line: lines.line(), message })
}

/// The line of the reader's place, which only goes forward: each byte is looked at once.
#[derive(Debug, Default)]
struct Lines {
    ends: usize,
    looked_at: usize,
}

impl Lines {
    fn at(&mut self, document: &str, position: u64) -> usize {
        let end = usize::try_from(position).unwrap_or(0).min(document.len());
        let news = document.as_bytes().get(self.looked_at..end).unwrap_or_default();
        self.ends += news.iter().filter(|byte| **byte == b'\n').count();
        self.looked_at += news.len();
        self.line()
    }

    /// 1-based.
    fn line(&self) -> usize {
        1 + self.ends
    }
}

#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    root: Option<Element>,
    count: usize,
}

impl Tree {
    fn has_begun(&self) -> bool {
        !self.open.is_empty() || self.root.is_some()
    }

    fn open(&mut self, start: &BytesStart<'_>, line: usize) -> Result<(), String> {
        self.count += 1;
        if self.open.len() >= DEPTH_MAX {
            return Err(format!("elements are nested more than {DEPTH_MAX} deep"));
        }
        if self.count > ELEMENTS_MAX {
            return Err(format!("more than {ELEMENTS_MAX} elements"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_looked_at_once_for_its_line() {
        let many = "&lt;\n".repeat(4_000);
        let document = format!("<Response>\n<Say>{many}</Say>\n<Nope a=1/></Response>");
        let mut lines = Lines::default();
        let error = read(&document, &mut lines).unwrap_err();
        assert_eq!(error.line, 4_003);
        assert!(lines.looked_at <= document.len());
        let document = document.replace("<Nope a=1/>", "<Hangup/>");
        let root = read(&document, &mut Lines::default()).unwrap();
        let found: Vec<usize> = root.children.iter().map(|child| child.line).collect();
        assert_eq!(found, [2, 4_003]);
        assert_eq!(root.children[0].text.len(), 4_000 * 2 - 1);
    }

    #[test]
    fn a_declaration_is_at_the_beginning_and_once() {
        let declared = r#"<?xml version="1.0"?>"#;
        for (document, fine) in [
            (format!("{declared}<Response/>"), true),
            (format!("\n{declared}<Response/>"), true),
            (format!("<!-- a -->{declared}<Response/>"), true),
            (format!("{declared}{declared}<Response/>"), false),
            (format!("<Response>{declared}</Response>"), false),
            (format!("<Response/>{declared}"), false),
        ] {
            assert_eq!(parse(&document, 1_000).is_ok(), fine, "{document}");
        }
    }

    #[test]
    fn a_document_of_references_alone_is_refused() {
        let document = format!("<Response><Say>{}</Say></Response>", "&lt;".repeat(16_000));
        let error = parse(&document, 65_536).unwrap_err();
        assert!(error.message.contains("8192"), "{error:?}");
    }
}
