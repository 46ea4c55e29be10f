//! As much HTTP/1.1 as a webhook needs: requests with Content-Length or chunks, keep-alive, no
//! more.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail};

const LINE_BYTES_MAX: u64 = 16 * 1_024;
const BODY_BYTES_MAX: u64 = 1 << 20;
const HEADERS_MAX: usize = 100;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path with query, as sent.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    /// Reads the next request; None when the client has closed.
    pub(crate) fn read(stream: &mut BufReader<TcpStream>) -> Result<Option<Self>> {
        let first = line(stream)?;
        if first.is_empty() {
            return Ok(None);
        }
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            bail!("no request line: {first}");
        };
        let mut headers = Vec::new();
        loop {
            let text = line(stream)?;
            if text.is_empty() {
                break;
            }
            if headers.len() >= HEADERS_MAX {
                bail!("too many headers");
            }
            let (name, value) = text.split_once(':').context("no header line")?;
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers,
            body: String::new(),
        };
        request.body = request.read_body(stream)?;
        Ok(Some(request))
    }

    fn read_body(&self, stream: &mut BufReader<TcpStream>) -> Result<String> {
        let mut body = Vec::new();
        if self.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            loop {
                let size = line(stream)?;
                let size =
                    u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
                if size == 0 {
                    line(stream)?;
                    break;
                }
                if body.len() as u64 + size > BODY_BYTES_MAX {
                    bail!("the body is too large");
                }
                Read::by_ref(stream).take(size).read_to_end(&mut body)?;
                line(stream)?;
            }
        } else {
            let length = self.header("content-length").map_or(Ok(0), str::parse::<u64>)?;
            if length > BODY_BYTES_MAX {
                bail!("the body is too large");
            }
            Read::by_ref(stream).take(length).read_to_end(&mut body)?;
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(crate) fn keeps_alive(&self) -> bool {
        self.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"))
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut text = String::new();
    Read::by_ref(stream).take(LINE_BYTES_MAX).read_line(&mut text)?;
    if text.len() as u64 == LINE_BYTES_MAX {
        bail!("a line is too long");
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Answers a request; one write, so that it is one segment.
pub(crate) fn respond(stream: &mut impl Write, status: u16, kind: &str, body: &str) -> Result<()> {
    let reason = match status {
        200 => "OK",
        204 => "No Content",
        403 => "Forbidden",
        404 => "Not Found",
        _ => "Error",
    };
    let text = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes())?;
    Ok(())
}
