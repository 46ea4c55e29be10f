//! Via (RFC 3261 section 20.42, RFC 3581 `rport`).

use core::net::IpAddr;

use crate::lex::{Cursor, is, is_host, number};
use crate::params::{Params, next_param};
use crate::uri::Host;

/// Transport named by a Via or a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
    Sctp,
    Other,
}

impl Transport {
    /// Which transport this token is, any case.
    #[must_use]
    #[inline]
    pub fn of(text: &[u8]) -> Self {
        const ALL: [(&[u8], Transport); 6] = [
            (b"UDP", Transport::Udp),
            (b"TCP", Transport::Tcp),
            (b"TLS", Transport::Tls),
            (b"WSS", Transport::Wss),
            (b"WS", Transport::Ws),
            (b"SCTP", Transport::Sctp),
        ];
        ALL.iter()
            .find(|(name, _)| text.eq_ignore_ascii_case(name))
            .map_or(Self::Other, |(_, t)| *t)
    }

    /// As it stands in a Via.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
            Self::Sctp => "SCTP",
            Self::Other => "UNKNOWN",
        }
    }

    /// Delivers bytes in order, or says that it cannot: no retransmission timers (section 17).
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }
}

/// What `rport` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rport {
    /// No such parameter.
    Absent,
    /// Asked for, without a value.
    Asked,
    /// Filled in by the receiver.
    Port(u16),
}

/// One Via value.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// The version in the Via is 2.0 (else the whole message is not ours to understand).
    pub version_ok: bool,
    /// Transport the request was sent over.
    pub transport: Transport,
    /// Sent-by host.
    pub host: Host<'a>,
    /// Sent-by port.
    pub port: Option<u16>,
    /// Sent-by as written, white space included (part of the transaction key).
    pub sent_by: &'a [u8],
    /// `branch`.
    pub branch: Option<&'a [u8]>,
    /// `received`.
    pub received: Option<IpAddr>,
    /// `rport`.
    pub rport: Rport,
    /// `maddr`.
    pub maddr: Option<Host<'a>>,
    /// All parameters.
    pub params: Params<'a>,
}

/// What every RFC 3261 branch begins with.
pub const MAGIC: &[u8] = b"z9hG4bK";

impl<'a> Via<'a> {
    /// Reads one Via value that fills `value`; `None` when the syntax is broken.
    #[must_use]
    #[inline]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (mut via, mut cursor) = Self::sent_protocol(value)?;
        let from = cursor.at();
        while let Some(param) = next_param(&mut cursor)? {
            let text = param.value.unwrap_or_default();
            match param.name.len() {
                5 if is(param.name, b"rport") => via.rport = rport(text)?,
                5 if is(param.name, b"maddr") => {
                    via.maddr = Some(Host::parse_lenient(text)?);
                }
                6 if is(param.name, b"branch") => via.branch = Some(text),
                8 if is(param.name, b"received") => {
                    via.received = Some(Host::parse_lenient(text)?.ip()?);
                }
                _ => {}
            }
        }
        via.params = Params::checked(cursor.since(from));
        cursor.done().then_some(via)
    }

    #[inline]
    fn sent_protocol(value: &'a [u8]) -> Option<(Self, Cursor<'a>)> {
        let mut cursor = Cursor::new(value);
        let (version_ok, transport) = if let Some(b"SIP/2.0/UDP ") = value.get(..12) {
            cursor.advance(12);
            (true, Transport::Udp)
        } else {
            let name = cursor.token()?;
            slash(&mut cursor)?;
            let version = cursor.token()?;
            slash(&mut cursor)?;
            let transport = Transport::of(cursor.token()?);
            (name.eq_ignore_ascii_case(b"SIP") && version == b"2.0", transport)
        };
        cursor.skip_lws();
        let from = cursor.at();
        let host = host_at(&mut cursor)?;
        let mut sent_by = cursor.since(from);
        cursor.skip_lws();
        let mut port = None;
        if cursor.eat(b':') {
            cursor.skip_lws();
            let digits = cursor.take_while(|c| c.is_ascii_digit());
            port = Some(u16::try_from(number(digits, u64::from(u16::MAX))?).ok()?);
            sent_by = cursor.since(from);
        }
        let via = Self {
            version_ok,
            transport,
            host,
            port,
            sent_by,
            branch: None,
            received: None,
            rport: Rport::Absent,
            maddr: None,
            params: Params::checked(b""),
        };
        Some((via, cursor))
    }

    /// Branch with the magic cookie and something behind it: an RFC 3261 transaction id.
    #[must_use]
    pub fn magic_branch(&self) -> Option<&'a [u8]> {
        self.branch
            .filter(|b| b.len() > MAGIC.len() && b[..MAGIC.len()].eq_ignore_ascii_case(MAGIC))
    }

    /// Where a response goes by the Via alone (RFC 3261 section 18.2.2, RFC 3581 section 4), `None`
    /// where a name would have to be resolved.
    #[must_use]
    pub fn response_address(&self) -> Option<core::net::SocketAddr> {
        let default =
            if matches!(self.transport, Transport::Tls | Transport::Wss) { 5061 } else { 5060 };
        let sent_port = self.port.unwrap_or(default);
        if let Some(ip) = self.maddr.and_then(Host::ip) {
            return Some((ip, sent_port).into());
        }
        if let Some(ip) = self.received {
            let port = if let Rport::Port(port) = self.rport { port } else { sent_port };
            return Some((ip, port).into());
        }
        self.host.ip().map(|ip| (ip, sent_port).into())
    }
}

/// The branch of a Via value of which nothing else need be readable: a response brings our own Via
/// back, and a proxy that filled in `received` or `rport` wrongly changes nothing in whose it is.
pub(crate) fn branch_of(value: &[u8]) -> Option<&[u8]> {
    let (via, mut cursor) = Via::sent_protocol(value)?;
    while let Some(Some(param)) = next_param(&mut cursor) {
        if is(param.name, b"branch") {
            return param.value.filter(|_| via.version_ok);
        }
    }
    None
}

fn slash(cursor: &mut Cursor<'_>) -> Option<()> {
    cursor.skip_lws();
    let hit = cursor.eat(b'/');
    cursor.skip_lws();
    hit.then_some(())
}

#[inline]
fn host_at<'a>(cursor: &mut Cursor<'a>) -> Option<Host<'a>> {
    if cursor.peek() == Some(b'[') {
        let from = cursor.at();
        let len = memchr::memchr(b']', cursor.rest())? + 1;
        cursor.advance(len);
        return Host::parse(cursor.since(from));
    }
    let text = cursor.take_while(is_host);
    if text.is_empty() { None } else { Some(Host::checked(text)) }
}

fn rport(text: &[u8]) -> Option<Rport> {
    if text.is_empty() {
        return Some(Rport::Asked);
    }
    u16::try_from(number(text, u64::from(u16::MAX))?).ok().map(Rport::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn via_in_the_forms_that_occur() {
        let via =
            Via::parse(b"SIP/2.0/UDP 192.0.2.1:5070;rport;branch=z9hG4bKa;received=[2001:db8::1]")
                .unwrap();
        assert_eq!(via.transport, Transport::Udp);
        assert_eq!(via.sent_by, b"192.0.2.1:5070");
        assert_eq!(via.magic_branch(), Some(&b"z9hG4bKa"[..]));
        assert_eq!(via.rport, Rport::Asked);
        assert_eq!(via.received, "2001:db8::1".parse().ok());
        let via =
            Via::parse(b"SIP  / 2.0\r\n / TCP     [2001:db8::9]   ;\r\n  branch  =   z9hG4bK9")
                .unwrap();
        assert_eq!((via.transport, via.port), (Transport::Tcp, None));
        assert!(
            Via::parse(b"SIP/7.0/UDP h;branch=z9hG4bK")
                .is_some_and(|v| !v.version_ok && v.magic_branch().is_none())
        );
        for bad in [
            &b"SIP/2.0/UDP 192.0.2.15;;,;,,"[..],
            b"SIP/2.0/UDP",
            b"SIP/2.0/UDP h:99999",
            b"SIP/2.0/UDP h;rport=x",
            b"",
        ] {
            assert!(Via::parse(bad).is_none());
        }
    }
}
