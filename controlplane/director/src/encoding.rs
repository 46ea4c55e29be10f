//! The text of a document, whatever encoding it came in. A byte order mark says it, else what
//! UTF-16 looks like, else `charset` of the Content-Type, else the XML declaration (RFC 7303
//! section 3); without any of them it is UTF-8. Names of encodings are those of the WHATWG:
//! ISO-8859-1 and US-ASCII mean windows-1252, which has the same characters and more.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// Bytes in which an XML declaration is looked for.
const DECLARATION_BYTES_MAX: usize = 256;
/// Characters of a name that a message shows.
const NAME_SHOWN_MAX: usize = 40;

/// The text of `body`, without a byte order mark; or why it cannot be read.
pub(crate) fn text(body: &[u8], content_type: &str) -> Result<String, String> {
    let (encoding, mark) = encoding_of(body, content_type)?;
    let body = body.get(mark..).unwrap_or_default();
    encoding
        .decode_without_bom_handling_and_without_replacement(body)
        .map(|text| text.into_owned())
        .ok_or_else(|| format!("the document is not valid {}", encoding.name()))
}

/// With the length of its byte order mark.
fn encoding_of(body: &[u8], content_type: &str) -> Result<(&'static Encoding, usize), String> {
    if let Some(marked) = Encoding::for_bom(body) {
        return Ok(marked);
    }
    match body {
        [0, second, ..] if *second > 0 => return Ok((UTF_16BE, 0)),
        [first, 0, ..] if *first > 0 => return Ok((UTF_16LE, 0)),
        _ => {}
    }
    let named = charset(content_type).or_else(|| declared(body));
    let Some(named) = named else { return Ok((UTF_8, 0)) };
    match Encoding::for_label_no_replacement(named.as_bytes()) {
        // Its name could be read, or it would look like that: whoever wrote it means his strings.
        Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE => Ok((UTF_8, 0)),
        Some(encoding) => Ok((encoding, 0)),
        None => {
            let shown = named.chars().filter(|c| !c.is_control()).take(NAME_SHOWN_MAX);
            let shown: String = shown.collect();
            Err(format!("the document's encoding {shown:?} is not known"))
        }
    }
}

/// `charset` of a Content-Type.
fn charset(content_type: &str) -> Option<String> {
    let mut parameters = content_type.split(';').skip(1).filter_map(|it| it.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

/// `encoding` of an XML declaration (XML 1.0 section 4.3.3).
fn declared(body: &[u8]) -> Option<String> {
    let head = body.trim_ascii_start();
    let head = head.get(..head.len().min(DECLARATION_BYTES_MAX))?;
    let head = head.strip_prefix(b"<?xml")?;
    let end = head.windows(2).position(|pair| pair == b"?>")?;
    let head = str::from_utf8(head.get(..end)?).ok()?;
    let (_, rest) = head.split_once("encoding")?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (name, _) = rest.get(1..)?.split_once(quote)?;
    Some(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn documents_are_read_in_the_encoding_they_name() {
        let plain = "<Response><Dial callerId=\"J\u{fc}rgen\u{20ac}\"/></Response>";
        let western = b"<Response><Dial callerId=\"J\xfcrgen\x80\"/></Response>".as_slice();
        let declared = |name: &str, body: &[u8]| {
            [format!("<?xml version='1.0' encoding='{name}'?>").as_bytes(), body].concat()
        };
        let with = |mark: &[u8], body: Vec<u8>| [mark, &body].concat();
        let be = |text: &str| utf_16(text, u16::to_be_bytes);
        let le = |text: &str| utf_16(text, u16::to_le_bytes);
        for (body, content_type) in [
            (plain.as_bytes().to_vec(), ""),
            (plain.as_bytes().to_vec(), "text/xml; charset=utf-8"),
            (with(b"\xef\xbb\xbf", plain.as_bytes().to_vec()), "text/xml; charset=iso-8859-1"),
            (western.to_vec(), "text/xml; charset=ISO-8859-1"),
            (western.to_vec(), "text/xml;Charset=\"windows-1252\""),
            (western.to_vec(), "application/xml; x=y; charset=us-ascii"),
            (declared("ISO-8859-1", western), "text/xml"),
            (declared("windows-1252", western), ""),
            (declared("US-ASCII", western), ""),
            (declared("utf-8", western), "text/xml; charset=windows-1252"),
            (with(b"\xfe\xff", be(plain)), "text/xml"),
            (with(b"\xff\xfe", le(plain)), "text/xml; charset=utf-16"),
            (be(plain), "text/xml; charset=utf-16be"),
            (le(plain), "text/xml"),
            (declared("utf-16", plain.as_bytes()), "text/xml; charset=utf-16"),
        ] {
            let read = text(&body, content_type).unwrap_or_else(|bad| panic!("{body:x?}: {bad}"));
            assert!(read.ends_with(plain), "{content_type} {body:x?}: {read}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let of = |body: &[u8], content_type: &str| text(body, content_type).unwrap_err();
        let unknown = of(b"<Response/>", "text/xml; charset=klingon");
        assert_eq!(unknown, "the document's encoding \"klingon\" is not known");
        let declared = b"<?xml version=\"1.0\" encoding=\"x-none\"?><Response/>";
        assert!(of(declared, "text/xml").contains("x-none"));
        assert!(of(b"<Response/>", "text/xml; charset=utf-7").contains("utf-7"));
        assert_eq!(of(b"<Response>\xfc</Response>", ""), "the document is not valid UTF-8");
        assert_eq!(of(b"\xff\xfe<", ""), "the document is not valid UTF-16LE");
        assert_eq!(text(b"", "text/xml; charset=utf-8"), Ok(String::new()));
    }
}
