//! Parameters of a request: `application/x-www-form-urlencoded` from the query or the body,
//! CamelCase names, repeated names for lists, `StartTime<` and `StartTime>` for filters.

use core::ops::RangeInclusive;

use url::form_urlencoded;

use crate::problem::Problem;

/// The longest body or query, bytes.
pub const FORM_BYTES_MAX: usize = 64 * 1024;
/// The most parameters of one request.
pub const PARAMS_MAX: usize = 256;

/// Parameters in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pairs: Vec<(String, String)>,
}

impl Form {
    /// # Errors
    /// 413 for more bytes than [`FORM_BYTES_MAX`], 400 for more parameters than [`PARAMS_MAX`] or
    /// text that is not UTF-8.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.len() > FORM_BYTES_MAX {
            return Err(too_large());
        }
        let mut pairs = Vec::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            if pairs.len() == PARAMS_MAX {
                let message = format!("More than {PARAMS_MAX} parameters");
                return Err(Problem::new(400, 20_001, message));
            }
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') || value.contains('\0') {
                return Err(Problem::bad_parameter(&printable(&name), "not valid text"));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self { pairs })
    }

    /// The parameter's value; of a repeated one the last.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let last = self.pairs.iter().rev().find(|(have, _)| have == name);
        last.map(|(_, value)| value.as_str())
    }

    /// The same, and `None` for an empty value.
    #[must_use]
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Every value of a repeated parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// Every parameter.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// # Errors
    /// 400 if the value is no number or is outside `range`.
    pub fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let Some(text) = self.filled(name) else { return Ok(None) };
        let number = text.parse::<u64>().ok().filter(|number| range.contains(number));
        let why = || format!("a number from {} to {}", range.start(), range.end());
        number.map(Some).ok_or_else(|| Problem::bad_parameter(name, &why()))
    }

    /// # Errors
    /// 400 if the value is neither `true` nor `false`.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.filled(name) {
            None => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(Problem::bad_parameter(name, "true or false")),
        }
    }
}

/// 413 for a body or query that is longer than [`FORM_BYTES_MAX`].
pub(crate) fn too_large() -> Problem {
    Problem::new(413, 20_413, format!("Request longer than {FORM_BYTES_MAX} bytes"))
}

/// At most 256 characters without control characters, for messages that quote what came: a path
/// with two sids in it, whole.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(256).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_filters_and_plus_signs() {
        let form = Form::parse(b"E=initiated&E=answered&StartTime%3C=2020-01-01&To=%2B1555&N=a+b");
        let form = form.expect("a form");
        assert_eq!(form.all("E").collect::<Vec<_>>(), ["initiated", "answered"]);
        assert_eq!(form.get("StartTime<"), Some("2020-01-01"));
        assert_eq!((form.get("To"), form.get("N")), (Some("+1555"), Some("a b")));
        let unescaped = Form::parse(b"StartTime>=2009-07-06").expect("a form");
        assert_eq!(unescaped.get("StartTime>"), Some("2009-07-06"));
    }

    #[test]
    fn caps_and_bad_text() {
        assert_eq!(Form::parse(&vec![b'a'; FORM_BYTES_MAX + 1]).map_err(|p| p.status), Err(413));
        assert_eq!(Form::parse("a=1&".repeat(257).as_bytes()).map_err(|p| p.status), Err(400));
        assert_eq!(Form::parse(b"a=%FF").map_err(|p| p.status), Err(400));
        assert_eq!(Form::parse(b"a=%00").map_err(|p| p.status), Err(400));
        assert!(Form::parse(b"&&=&=x&%&%1").is_ok());
    }

    #[test]
    fn typed_values() {
        let form = Form::parse(b"T=30&B=TRUE&X=&Y=-1&Z=99999999999999999999").expect("a form");
        assert_eq!(form.number("T", 1..=600), Ok(Some(30)));
        assert_eq!(form.number("X", 1..=600), Ok(None));
        assert_eq!(form.boolean("B"), Ok(Some(true)));
        assert!(form.number("Y", 0..=9).is_err() && form.number("Z", 0..=9).is_err());
        assert!(form.boolean("T").is_err());
    }
}
