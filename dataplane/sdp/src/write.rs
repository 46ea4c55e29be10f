//! The writer: fills the caller's buffer, remembers that it was too small, tells at the end.

use core::net::{IpAddr, SocketAddr};

use crate::codec::Format;
use crate::error::SdpError;
use crate::media::Media;

/// Where and as whom we take part in one leg's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Our media address as the peer must see it (advertised address, RTP port).
    pub rtp: SocketAddr,
    pub rtcp: Rtcp,
    /// Session id of our o= line: the same for the whole dialog.
    pub session_id: u64,
    /// Version of our o= line: one more whenever the text changes (RFC 3264 section 8).
    pub version: u64,
}

/// Where we receive RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Rtcp {
    /// The port after the RTP port; nothing is written.
    #[default]
    NextPort,
    /// Another port, written as a=rtcp (RFC 3605).
    Port(u16),
    /// The RTP port (RFC 5761): offered always, answered only where it was offered.
    Mux,
}

/// A buffer being filled.
pub(crate) struct Out<'o> {
    buffer: &'o mut [u8],
    length: usize,
    full: bool,
}

impl<'o> Out<'o> {
    pub(crate) const fn new(buffer: &'o mut [u8]) -> Self {
        Self { buffer, length: 0, full: false }
    }

    /// How much was written, or that it did not fit.
    pub(crate) const fn finish(self) -> Result<usize, SdpError> {
        if self.full { Err(SdpError::NoSpace) } else { Ok(self.length) }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let end = self.length + bytes.len();
        match self.buffer.get_mut(self.length..end) {
            Some(room) if !self.full => {
                room.copy_from_slice(bytes);
                self.length = end;
            }
            _ => self.full = true,
        }
        self
    }

    pub(crate) fn number(&mut self, value: u64) -> &mut Self {
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        let mut rest = value;
        loop {
            at -= 1;
            digits[at] = b"0123456789"[usize::try_from(rest % 10).unwrap_or(0)];
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.bytes(&digits[at..])
    }

    pub(crate) fn end_line(&mut self) {
        self.bytes(b"\r\n");
    }

    /// `IN IP4 <ip>`.
    fn connection(&mut self, ip: IpAddr) -> &mut Self {
        match ip {
            IpAddr::V4(ip) => {
                let mut before: &[u8] = b"IN IP4 ";
                for octet in ip.octets() {
                    self.bytes(before).number(u64::from(octet));
                    before = b".";
                }
            }
            IpAddr::V6(ip) => {
                self.bytes(b"IN IP6 ");
                if core::fmt::Write::write_fmt(self, format_args!("{ip}")).is_err() {
                    self.full = true;
                }
            }
        }
        self
    }

    /// v=, o=, s=, c=, t=: everything of the session level that is ours.
    pub(crate) fn head(&mut self, local: &Local) {
        self.bytes(b"v=0\r\no=- ").number(local.session_id).bytes(b" ").number(local.version);
        self.bytes(b" ").connection(local.rtp.ip()).bytes(b"\r\ns=-\r\nc=");
        self.connection(local.rtp.ip()).bytes(b"\r\nt=0 0\r\n");
    }

    /// `m=<kind> <port> <protocol>`; formats and line end follow.
    pub(crate) fn media_start(&mut self, kind: &[u8], port: u16, protocol: &[u8]) {
        self.bytes(b"m=").bytes(kind).bytes(b" ").number(u64::from(port));
        self.bytes(b" ").bytes(protocol);
    }

    /// A section refused: the same line with port 0 (RFC 3264 section 6).
    pub(crate) fn rejected(&mut self, media: &Media<'_>) {
        self.media_start(media.kind_text(), 0, media.protocol_text());
        let formats = media.formats_text();
        self.bytes(b" ").bytes(if formats.is_empty() { b"*" } else { formats }).end_line();
    }

    /// rtpmap and fmtp of one payload type under the number `pt`.
    pub(crate) fn format(&mut self, pt: u8, format: &Format<'_>, fmtp: Option<&[u8]>) {
        self.bytes(b"a=rtpmap:").number(u64::from(pt)).bytes(b" ").bytes(format.name);
        self.bytes(b"/").number(u64::from(format.clock));
        if format.channels != 1 {
            self.bytes(b"/").number(u64::from(format.channels));
        }
        self.end_line();
        if let Some(fmtp) = fmtp {
            self.bytes(b"a=fmtp:").number(u64::from(pt)).bytes(b" ").bytes(fmtp).end_line();
        }
    }

    /// `a=<name>` or `a=<name>:<value>`.
    pub(crate) fn attribute(&mut self, name: &[u8], value: &[u8]) {
        self.bytes(b"a=").bytes(name);
        if !value.is_empty() {
            self.bytes(b":").bytes(value);
        }
        self.end_line();
    }

    /// `a=<name>:<ms>` where known.
    pub(crate) fn milliseconds(&mut self, name: &[u8], ms: Option<u8>) {
        if let Some(ms) = ms {
            self.bytes(b"a=").bytes(name).bytes(b":").number(u64::from(ms)).end_line();
        }
    }

    /// a=rtcp and a=rtcp-mux as far as `local` needs them; `mux` says whether multiplexing may be
    /// said.
    pub(crate) fn rtcp(&mut self, local: &Local, mux: bool) {
        match local.rtcp {
            Rtcp::Port(port) => {
                self.bytes(b"a=rtcp:").number(u64::from(port)).end_line();
            }
            Rtcp::Mux if mux => self.attribute(b"rtcp-mux", b""),
            Rtcp::Mux | Rtcp::NextPort => {}
        }
    }
}

impl core::fmt::Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}
