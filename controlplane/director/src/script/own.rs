//! Documents that nobody sends: what a trunk's call does is written as one, so that it is logged,
//! read back and stepped as any other. Its root is not `<Response>`, by which applications cannot
//! bring one.

use std::fmt::Write as _;

use model::Hook;
use quick_xml::escape::escape;

use super::{DocumentError, Element, Problem, Program, Target, element, parse};
use crate::verb::Verb;

/// The root, and the name of its only verb.
pub(crate) const TRUNK: &str = "Trunk";

/// Whom a trunk's call goes to, one after the other, and what is asked when nobody can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trunking {
    pub(crate) targets: Vec<Target>,
    pub(crate) disaster: Option<Hook>,
}

impl Trunking {
    pub(crate) fn to_number(number: String) -> Self {
        Self { targets: vec![Target::Number(number)], disaster: None }
    }

    /// As a document.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("<{TRUNK}");
        if let Some(Hook { url, method }) = &self.disaster {
            let _ = write!(text, " disaster=\"{}\" method=\"{}\"", escape(url), method.name());
        }
        text.push('>');
        for target in &self.targets {
            let (name, to) = match target {
                Target::Number(number) => ("Number", number),
                Target::Sip(uri) => ("Sip", uri),
            };
            let _ = write!(text, "<{name}>{}</{name}>", escape(to));
        }
        text + &format!("</{TRUNK}>")
    }

    /// As [`Trunking::text`] wrote it.
    pub(crate) fn of(element: &Element) -> Self {
        let method = element.attribute("method").and_then(model::Method::from_name);
        let disaster = element
            .attribute("disaster")
            .map(|url| Hook { url: url.to_owned(), method: method.unwrap_or_default() });
        let target = |child: &Element| match child.name.as_str() {
            "Number" => Target::Number(child.text.clone()),
            _ => Target::Sip(child.text.clone()),
        };
        Self { targets: element.children.iter().map(target).collect(), disaster }
    }
}

/// Reads a document of a script: an application's, or one of our own.
pub(crate) fn parse_any(document: &str, bytes_max: usize) -> Result<Program, DocumentError> {
    if !document.starts_with(&format!("<{TRUNK}")) {
        return parse(document, bytes_max);
    }
    let root = element::parse(document, bytes_max)?;
    let mut problems: Vec<Problem> = Vec::new();
    let verbs = Verb::own(&root, &mut problems).into_iter().collect();
    Ok(Program { verbs, problems, headless: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is read as it was written; an application's document has none of it.
    #[test]
    fn a_trunks_document_comes_back_and_nobody_else_writes_one() {
        let trunking = Trunking {
            targets: vec![
                Target::Sip("sip:+1@a.example?X-A=1&X-B=2".to_owned()),
                Target::Number("+4930".to_owned()),
            ],
            disaster: Some(Hook::post("https://app.example/?a=1&b=\"2\"")),
        };
        let root = element::parse(&trunking.text(), 4_096).unwrap();
        assert_eq!(Trunking::of(&root), trunking);
        let program = parse_any(&trunking.text(), 4_096).unwrap();
        assert_eq!((program.verbs.len(), program.problems.len()), (1, 0));
        let foreign = parse("<Response><Trunk><Sip>sip:a@b</Sip></Trunk></Response>", 4_096);
        let foreign = foreign.unwrap();
        assert_eq!((foreign.verbs.len(), foreign.problems[0].reason), (0, "verb-unknown"));
    }
}
