//! What calls say and where they send it: descriptions, and the addresses that URIs name. Dialogs
//! and transactions are those of the crate `agent`, which shares nothing with the switch's legs: a
//! fault that both ends had would not be seen.

use std::net::SocketAddr;

use sip::{Message, Uri};

/// Replaces the text, keeping its memory.
pub(crate) fn set(text: &mut Vec<u8>, value: &[u8]) {
    text.clear();
    text.extend_from_slice(value);
}

/// The address of a URI whose host is one.
pub(crate) fn address_of(uri: &[u8]) -> Option<SocketAddr> {
    let uri = Uri::parse(uri).ok()?;
    let ip = uri.host.ip()?;
    Some(SocketAddr::new(ip, uri.port_or_default()))
}

/// PCMU, as plain as carriers send it.
pub(crate) fn describe(local: SocketAddr, port: u16, id: u32) -> Vec<u8> {
    let ip = local.ip();
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    format!(
        "v=0\r\no=tandem-load {id} 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\n\
         a=fmtp:101 0-15\r\na=ptime:20\r\na=rtcp-mux\r\na=sendrecv\r\n"
    )
    .into_bytes()
}

/// Where the writer of a body wants RTP.
pub(crate) fn media_of(message: &Message<'_>) -> Option<SocketAddr> {
    let session = sdp::Session::parse(message.body()).ok()?;
    session.audio().ok()?.rtp().ok()?.address()
}
