//! The names of one call as a user agent keeps them, and the requests it writes with them.
//!
//! The tool keeps its own, small call machines instead of the switch's transaction layer: a fault
//! shared by both ends would not be seen by a test. Parser and writer are the switch's; its interop
//! tests judge those.

use std::net::SocketAddr;

use sip::via::Transport;
use sip::{Message, Method, Name, Uri, ViaOut, Writer};

/// Dialog identifiers, remote target and route set (RFC 3261 section 12).
#[derive(Clone, Debug, Default)]
pub(crate) struct Dialog {
    pub(crate) call_id: Vec<u8>,
    pub(crate) local_uri: Vec<u8>,
    pub(crate) local_tag: Vec<u8>,
    pub(crate) remote_uri: Vec<u8>,
    pub(crate) remote_tag: Vec<u8>,
    /// Request-URI of further requests.
    pub(crate) target: Vec<u8>,
    /// Value of the Route header; empty for none.
    pub(crate) route: Vec<u8>,
    pub(crate) cseq: u32,
    /// Where requests go.
    pub(crate) hop: Option<SocketAddr>,
}

impl Dialog {
    pub(crate) fn clear(&mut self) {
        for text in [
            &mut self.call_id,
            &mut self.local_uri,
            &mut self.local_tag,
            &mut self.remote_uri,
            &mut self.remote_tag,
            &mut self.target,
            &mut self.route,
        ] {
            text.clear();
        }
        self.cseq = 1;
        self.hop = None;
    }

    /// Takes the remote target and, when it makes the dialog, the route set from a message. The
    /// caller's route set is the recorded one backwards (RFC 3261 section 12.1.2).
    pub(crate) fn learn(&mut self, message: &Message<'_>, reverse: bool, source: SocketAddr) {
        if let Ok(contact) = message.contact() {
            set(&mut self.target, contact.uri);
        }
        let mut routes: Vec<&[u8]> =
            message.record_routes().filter_map(Result::ok).map(|a| a.uri).collect();
        if reverse {
            routes.reverse();
        }
        self.route.clear();
        for (at, uri) in routes.iter().enumerate() {
            self.route.extend_from_slice(if at == 0 { b"<" } else { b", <" });
            self.route.extend_from_slice(uri);
            self.route.push(b'>');
        }
        let next = routes.first().copied().unwrap_or(&self.target);
        self.hop = Some(address_of(next).unwrap_or(source));
    }

    /// Begins a request inside the dialog.
    pub(crate) fn request<'b>(
        &self,
        out: &'b mut [u8],
        method: Method<'_>,
        cseq: u32,
        local: SocketAddr,
        branch: &[u8],
    ) -> Writer<'b> {
        let remote_tag = (!self.remote_tag.is_empty()).then_some(self.remote_tag.as_slice());
        let via = ViaOut { transport: Transport::Udp, sent_by: local, branch, rport: true };
        let route = (!self.route.is_empty()).then_some(self.route.as_slice());
        Writer::new(out)
            .request_line(method, &self.target)
            .via(&via)
            .with(route, |writer, route| writer.field(Name::Route, route))
            .max_forwards(70)
            .address(Name::From, b"", &self.local_uri, Some(&self.local_tag))
            .address(Name::To, b"", &self.remote_uri, remote_tag)
            .call_id(&self.call_id)
            .cseq(cseq, method)
    }
}

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
    session.audio().ok()?.rtp().ok()
}
