//! Pages of 2010-04-01: one array under the resource's name and the meta keys, nothing else at the
//! top level (the clients refuse any other key). A page's place is a cursor inside PageToken, so
//! that rows that arrive while a client turns pages neither repeat nor go missing; `Page` only
//! counts.

use base::Wall;
use model::query::{Cursor, Listed, Seek, Window};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use crate::form::Form;
use crate::problem::Problem;

/// Rows of a page unless PageSize says otherwise.
const SIZE_DEFAULT: usize = 50;
/// Rows of a page at most; more are cut down to it.
pub(crate) const SIZE_MAX: usize = 1_000;

/// Which page was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) size: usize,
    number: u64,
    seek: Seek,
}

impl Asked {
    pub(crate) fn read(form: &Form) -> Result<Self, Problem> {
        let size = form.number("PageSize", 1..=u64::from(u32::MAX))?;
        let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(SIZE_DEFAULT);
        let number = form.number("Page", 0..=u64::from(u32::MAX))?.unwrap_or(0);
        let seek = match form.filled("PageToken") {
            Some(token) => {
                parse_token(token).ok_or_else(|| Problem::bad_parameter("PageToken", "unknown"))?
            }
            None if number == 0 => Seek::First,
            None => return Err(Problem::bad_parameter("Page", "needs its PageToken")),
        };
        Ok(Self { size: size.min(SIZE_MAX), number, seek })
    }

    /// What to ask the backend for: one row more than fits tells whether there is another page.
    pub(crate) fn window(&self) -> Window {
        Window { seek: self.seek, limit: self.size + 1 }
    }

    /// The answer's body. `uri` is the list's path; `form` gives the filters for the links.
    pub(crate) fn body<T: Listed>(
        &self,
        key: &str,
        uri: &str,
        form: &Form,
        mut rows: Vec<T>,
        show: impl FnMut(&T) -> Value,
    ) -> Value {
        let extra = rows.len() > self.size;
        if extra && matches!(self.seek, Seek::Before(_)) {
            rows.drain(..rows.len() - self.size);
        }
        rows.truncate(self.size);
        let (newer, older) = match self.seek {
            Seek::First => (false, extra),
            Seek::After(_) => (true, extra),
            Seek::Before(_) => (extra, true),
        };
        let link = |number: u64, seek: Option<Seek>| self.link(uri, form, number, seek);
        let next = rows
            .last()
            .filter(|_| older)
            .map(|row| link(self.number.saturating_add(1), Some(Seek::After(row.cursor()))));
        let previous = rows
            .first()
            .filter(|_| newer && self.number > 0)
            .map(|row| link(self.number - 1, Some(Seek::Before(row.cursor()))));
        let start = self.number.saturating_mul(self.size as u64);
        let mut body = Map::new();
        body.insert("first_page_uri".into(), link(0, None).into());
        body.insert("next_page_uri".into(), next.into());
        body.insert("previous_page_uri".into(), previous.into());
        body.insert("page".into(), self.number.into());
        body.insert("page_size".into(), self.size.into());
        body.insert("start".into(), start.into());
        let last = (rows.len() as u64).saturating_sub(1);
        body.insert("end".into(), start.saturating_add(last).into());
        body.insert("uri".into(), link(self.number, Some(self.seek)).into());
        body.insert(key.into(), rows.iter().map(show).collect());
        Value::Object(body)
    }

    /// The body of products after 2010-04-01: addresses are absolute, and what is said of the page
    /// stands apart.
    pub(crate) fn meta<T: Listed>(
        &self,
        key: &str,
        url: &str,
        form: &Form,
        rows: Vec<T>,
        show: impl FnMut(&T) -> Value,
    ) -> Value {
        let mut body = self.body(key, url, form, rows, show);
        let rows = body[key].take();
        let meta = json!({
            "key": key,
            "page": body["page"],
            "page_size": body["page_size"],
            "first_page_url": body["first_page_uri"],
            "previous_page_url": body["previous_page_uri"],
            "url": body["uri"],
            "next_page_url": body["next_page_uri"],
        });
        json!({ "meta": meta, key: rows })
    }

    fn link(&self, uri: &str, form: &Form, number: u64, seek: Option<Seek>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form.pairs() {
            if !matches!(name, "Page" | "PageSize" | "PageToken") {
                query.append_pair(name, value);
            }
        }
        query.append_pair("PageSize", &self.size.to_string());
        query.append_pair("Page", &number.to_string());
        if let Some(token) = seek.and_then(token) {
            query.append_pair("PageToken", &token);
        }
        format!("{uri}?{}", query.finish())
    }
}

/// A list that is always whole: its rows in one page, whatever was asked for.
pub(crate) fn whole(key: &str, uri: &str, rows: Vec<Value>) -> Value {
    let mut body = json!({
        "first_page_uri": uri,
        "next_page_uri": null,
        "previous_page_uri": null,
        "page": 0,
        "page_size": rows.len().max(SIZE_DEFAULT),
        "start": 0,
        "end": rows.len().saturating_sub(1),
        "uri": uri,
    });
    body[key] = rows.into();
    body
}

pub(crate) fn token(seek: Seek) -> Option<String> {
    let (letter, cursor) = match seek {
        Seek::First => return None,
        Seek::After(cursor) => ('A', cursor),
        Seek::Before(cursor) => ('B', cursor),
    };
    Some(format!("P{letter}{:016x}{:032x}", cursor.at.0, cursor.id))
}

pub(crate) fn parse_token(token: &str) -> Option<Seek> {
    if token.len() != 50 || !token.is_ascii() || token.contains('+') {
        return None;
    }
    let at = Wall(u64::from_str_radix(&token[2..18], 16).ok()?);
    let id = u128::from_str_radix(&token[18..], 16).ok()?;
    match &token[..2] {
        "PA" => Some(Seek::After(Cursor { at, id })),
        "PB" => Some(Seek::Before(Cursor { at, id })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Row(u64);

    impl Listed for Row {
        fn cursor(&self) -> Cursor {
            Cursor { at: Wall(self.0 / 3), id: u128::from(self.0) }
        }
    }

    fn turn(uri: &str) -> Value {
        let query = uri.split_once('?').map_or("", |(_, query)| query);
        let form = Form::parse(query.as_bytes()).expect("a query");
        let asked = Asked::read(&form).expect("a page");
        let rows = asked.window().apply((1..=10).map(Row).collect(), Row::cursor);
        asked.body("rows", "/list.json", &form, rows, |row| row.0.into())
    }

    #[test]
    fn pages_turn_forth_and_back() {
        let first = turn("/list.json?PageSize=4&Name=a%26b");
        assert_eq!(first["rows"], json!([10, 9, 8, 7]));
        assert_eq!((&first["start"], &first["end"]), (&json!(0), &json!(3)));
        assert_eq!(first["previous_page_uri"], Value::Null);
        let second = turn(first["next_page_uri"].as_str().expect("a link"));
        assert_eq!((&second["rows"], &second["start"]), (&json!([6, 5, 4, 3]), &json!(4)));
        assert!(second["uri"].as_str().is_some_and(|uri| uri.contains("Name=a%26b")));
        let third = turn(second["next_page_uri"].as_str().expect("a link"));
        assert_eq!((&third["rows"], &third["next_page_uri"]), (&json!([2, 1]), &Value::Null));
        let back = turn(third["previous_page_uri"].as_str().expect("a link"));
        assert_eq!((&back["rows"], &back["page"]), (&second["rows"], &json!(1)));
        let start = turn(back["previous_page_uri"].as_str().expect("a link"));
        assert_eq!(start["rows"], first["rows"]);
    }

    #[test]
    fn bad_pages_are_refused() {
        for query in ["PageSize=0", "PageSize=x", "Page=1", "PageToken=PA", "Page=-1"] {
            let form = Form::parse(query.as_bytes()).expect("a form");
            assert!(Asked::read(&form).is_err(), "{query}");
        }
        let token = format!("PageToken=PC{}", "0".repeat(48));
        assert!(Asked::read(&Form::parse(token.as_bytes()).expect("a form")).is_err());
        let many = Form::parse(b"PageSize=99999").expect("a form");
        assert_eq!(Asked::read(&many).map(|asked| asked.size), Ok(SIZE_MAX));
    }
}
