//! Messages that follow from a received one: responses (RFC 3261 section 8.2.6, RFC 3581), the ACK
//! of a refused INVITE (17.1.1.3) and CANCEL (9.1).

use core::net::SocketAddr;

use crate::lex::Cursor;
use crate::message::{Bad, Message};
use crate::method::Method;
use crate::name::Name;
use crate::params::{List, next_param};
use crate::uri::Host;
use crate::via::{Rport, Via};
use crate::write::{WriteError, Writer};

/// What a response says beyond what it copies.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Status code.
    pub code: u16,
    /// Reason phrase; empty for the usual one.
    pub reason: &'a [u8],
    /// Our tag, added to To when it has none; not used for 100.
    pub to_tag: Option<&'a [u8]>,
    /// Where the request came from; fills `received` and `rport` of the top Via.
    pub source: Option<SocketAddr>,
}

impl<'a> Reply<'a> {
    /// A response with the usual phrase.
    #[must_use]
    pub const fn new(code: u16, to_tag: Option<&'a [u8]>, source: Option<SocketAddr>) -> Self {
        Self { code, reason: b"", to_tag, source }
    }
}

/// Begins the response to `request`: status line, Vias, From, To, Call-ID, CSeq, for 101 to 299
/// Record-Route, for 100 Timestamp. The caller adds its own headers and finishes. Headers that the
/// request lacks or that are broken are left out or copied as they are, so it serves
/// [`crate::Malformed::partial`] too.
#[must_use]
pub fn reply_to<'b>(out: &'b mut [u8], request: &Message<'_>, reply: &Reply<'_>) -> Writer<'b> {
    let mut writer = Writer::new(out).status_line(reply.code, reply.reason);
    for (at, value) in request.headers_named(Name::Via).enumerate() {
        writer.put(b"Via: ");
        match reply.source.filter(|_| at == 0) {
            Some(source) => top_via(&mut writer, value, source),
            None => writer.unfolded(value),
        }
        writer.put(b"\r\n");
    }
    if let Some(from) = request.header(Name::From) {
        writer = writer.copy_value(Name::From, from);
    }
    if let Some(to) = request.header(Name::To) {
        writer.put(b"To: ");
        writer.unfolded(to);
        let lacks_tag = request.to().is_ok_and(|a| a.tag.is_none());
        if let Some(tag) = reply.to_tag.filter(|_| lacks_tag && reply.code > 100) {
            writer.put(b";tag=");
            writer.value(tag);
        }
        writer.put(b"\r\n");
    }
    for name in [Name::CallId, Name::CSeq] {
        writer = writer.with(request.header(name), |w, value| w.copy_value(name, value));
    }
    if reply.code == 100 {
        let stamp = request.header(Name::Timestamp);
        writer = writer.with(stamp, |w, value| w.copy_value(Name::Timestamp, value));
    }
    if (101..300).contains(&reply.code) {
        for value in request.headers_named(Name::RecordRoute) {
            writer = writer.copy_value(Name::RecordRoute, value);
        }
    }
    writer
}

/// The first Via header with `received` and `rport` of its top value set from `source` (RFC 3581
/// section 4: both when `rport` was asked for; else `received` when the sent-by differs, RFC 3261
/// section 18.2.1).
fn top_via(writer: &mut Writer<'_>, value: &[u8], source: SocketAddr) {
    let mut list = List::new(value);
    let top = list.next().unwrap_or_default();
    let Some(via) = Via::parse(top) else {
        writer.unfolded(value);
        return;
    };
    let asked = via.rport != Rport::Absent;
    let honest = via.host == Host::Ip(source.ip().to_canonical());
    let params = via.params.raw();
    writer.unfolded(&top[..top.len() - params.len()]);
    let mut cursor = Cursor::new(params);
    let mut from = cursor.at();
    while let Some(Some(param)) = next_param(&mut cursor) {
        let ours = [&b"received"[..], b"rport"].iter().any(|n| param.name.eq_ignore_ascii_case(n));
        if !ours {
            writer.unfolded(cursor.since(from));
        }
        from = cursor.at();
    }
    if asked || !honest {
        writer.put(b";received=");
        received(writer, source);
    }
    if asked {
        writer.put(b";rport=");
        writer.number(u64::from(source.port()));
    }
    for rest in list {
        writer.put(b", ");
        writer.unfolded(rest);
    }
}

/// `received` takes an IPv6 address without brackets (RFC 3261 section 25.1, RFC 5118 section 4.5).
fn received(writer: &mut Writer<'_>, source: SocketAddr) {
    let ip = source.ip().to_canonical();
    match ip {
        core::net::IpAddr::V4(_) => writer.host(ip),
        core::net::IpAddr::V6(ip) => {
            // Writing into ourselves fails only by setting the writer's fault.
            let _ = core::fmt::Write::write_fmt(writer, format_args!("{ip}"));
        }
    }
}

/// Why a request could not be derived from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Derive {
    /// The original lacks a header that must be copied.
    Original(Bad),
    /// Writing failed.
    Write(WriteError),
}

impl From<Bad> for Derive {
    fn from(bad: Bad) -> Self {
        Self::Original(bad)
    }
}

impl From<WriteError> for Derive {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

/// The ACK for a 300-699 response: same request-URI, top Via, From, Call-ID, Route and CSeq number
/// as the INVITE, To of the response (section 17.1.1.3).
///
/// # Errors
/// [`Derive`].
pub fn ack_for_non_2xx<'b>(
    out: &'b mut [u8],
    invite: &Message<'_>,
    response: &Message<'_>,
) -> Result<&'b [u8], Derive> {
    let to = response.header(Name::To).ok_or(Bad::Missing(Name::To))?;
    Ok(same_transaction(out, invite, Method::Ack, to)?.finish()?)
}

/// The CANCEL of an INVITE (section 9.1). The caller may add a Reason and finishes.
///
/// # Errors
/// [`Derive`].
pub fn cancel_for<'b>(out: &'b mut [u8], invite: &Message<'_>) -> Result<Writer<'b>, Derive> {
    let to = invite.header(Name::To).ok_or(Bad::Missing(Name::To))?;
    same_transaction(out, invite, Method::Cancel, to)
}

fn same_transaction<'b>(
    out: &'b mut [u8],
    invite: &Message<'_>,
    method: Method<'_>,
    to: &[u8],
) -> Result<Writer<'b>, Derive> {
    let top = invite.header(Name::Via).and_then(|v| List::new(v).next());
    let top = top.ok_or(Bad::Missing(Name::Via))?;
    let from = invite.header(Name::From).ok_or(Bad::Missing(Name::From))?;
    let mut writer = Writer::new(out)
        .request_line(method, invite.uri_raw())
        .copy_value(Name::Via, top)
        .max_forwards(70)
        .copy_value(Name::From, from)
        .copy_value(Name::To, to)
        .copy_value(Name::CallId, invite.call_id()?)
        .cseq(invite.cseq()?.number, method);
    for route in invite.headers_named(Name::Route) {
        writer = writer.copy_value(Name::Route, route);
    }
    Ok(writer)
}
