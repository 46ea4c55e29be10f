//! One media section: the m= line taken apart, the rest looked up in its text.
//!
//! Values in force are the section's own, or the session's where it has none (RFC 8866 section
//! 5.7).

use core::net::{IpAddr, SocketAddr};

use crate::codec::{self, Formats};
use crate::error::SdpError;
use crate::limits::PAYLOAD_TYPES_MAX;
use crate::scan::{Lines, number, split_once, word};
use crate::target::MediaTarget;

/// The media type of an m= line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Audio,
    Video,
    Text,
    Application,
    Message,
    Image,
    Other,
}

/// The transport of an m= line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `RTP/AVP` (RFC 3551)
    Avp,
    /// `RTP/AVPF` (RFC 4585)
    Avpf,
    /// `RTP/SAVP` (RFC 3711)
    Savp,
    /// `RTP/SAVPF` (RFC 5124)
    Savpf,
    /// `UDP/TLS/RTP/SAVP` (RFC 5764)
    DtlsSavp,
    /// `UDP/TLS/RTP/SAVPF` (RFC 5764)
    DtlsSavpf,
    /// `udptl`, MSRP, data channels and whatever else.
    Other,
}

impl Protocol {
    /// Whether the format list holds RTP payload types.
    #[must_use]
    pub const fn is_rtp(self) -> bool {
        !matches!(self, Self::Other)
    }

    /// Whether packets travel unencrypted.
    #[must_use]
    pub const fn is_plain(self) -> bool {
        matches!(self, Self::Avp | Self::Avpf)
    }

    fn parse(text: &[u8]) -> Self {
        const TABLE: [(&[u8], Protocol); 6] = [
            (b"RTP/AVP", Protocol::Avp),
            (b"RTP/AVPF", Protocol::Avpf),
            (b"RTP/SAVP", Protocol::Savp),
            (b"RTP/SAVPF", Protocol::Savpf),
            (b"UDP/TLS/RTP/SAVP", Protocol::DtlsSavp),
            (b"UDP/TLS/RTP/SAVPF", Protocol::DtlsSavpf),
        ];
        let found = TABLE.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        found.map_or(Self::Other, |row| row.1)
    }
}

/// Who sends, as seen by the side that wrote the description (RFC 3264 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    /// From its two halves.
    #[must_use]
    pub const fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the writer sends media.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the writer wants media.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same fact seen from the other side.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    /// What both allow, both seen from the same side.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self::new(self.sends() && other.sends(), self.receives() && other.receives())
    }

    /// The attribute's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn parse(name: &[u8]) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|direction| direction.name().as_bytes() == name)
    }
}

/// The DTLS role of `a=setup` (RFC 4145 section 4, RFC 5763).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setup {
    Active,
    Passive,
    Actpass,
    Holdconn,
}

/// One `a=` line: `name` or `name:value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    pub name: &'a [u8],
    /// Empty for a property attribute.
    pub value: &'a [u8],
}

impl Attribute<'_> {
    /// Names are case-sensitive (RFC 8866 section 6).
    #[must_use]
    pub fn is(&self, name: &[u8]) -> bool {
        self.name == name
    }
}

impl<'a> Attribute<'a> {
    pub(crate) fn new(line: &'a [u8]) -> Self {
        let (name, value) = split_once(line, b':');
        Self { name: name.trim_ascii(), value: value.unwrap_or(b"").trim_ascii() }
    }
}

pub(crate) fn attributes(section: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    Lines::new(section).filter(|line| line.0 == b'a').map(|(_, text)| Attribute::new(text))
}

/// What a section says that is asked for again and again: noted while its lines are checked, so
/// that nobody looks it up in the text. The first line of a kind counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said<'a> {
    connection: Option<&'a [u8]>,
    direction: Option<Direction>,
    /// Milliseconds; 0 where they cannot be read.
    ptime: Option<u8>,
    maxptime: Option<u8>,
    rtcp_mux: bool,
    /// There is one to be looked up: few sections have it, and a session stays small.
    rtcp: bool,
    mid: bool,
}

impl<'a> Said<'a> {
    pub(crate) fn note(&mut self, letter: u8, line: &'a [u8]) {
        if letter == b'c' {
            self.connection.get_or_insert(line);
        }
        if letter != b'a' {
            return;
        }
        let Attribute { name, value } = Attribute::new(line);
        match name {
            b"rtcp" => self.rtcp = true,
            b"rtcp-mux" => self.rtcp_mux = true,
            b"mid" => self.mid = true,
            b"ptime" => _ = self.ptime.get_or_insert_with(|| milliseconds(value)),
            b"maxptime" => _ = self.maxptime.get_or_insert_with(|| milliseconds(value)),
            _ => self.direction = self.direction.or_else(|| Direction::parse(name)),
        }
    }

    /// What a section does not say itself, as far as the session may say it for all of them.
    pub(crate) fn inherit(&mut self, session: &Self) {
        self.connection = self.connection.or(session.connection);
        self.direction = self.direction.or(session.direction);
        self.ptime = self.ptime.or(session.ptime);
        self.maxptime = self.maxptime.or(session.maxptime);
    }
}

/// Fractions occur (30.0, 2.5); whole milliseconds are all that a packet clock needs.
fn milliseconds(value: &[u8]) -> u8 {
    number::<u8>(split_once(value, b'.').0).unwrap_or(0)
}

/// One m= line with its section.
#[derive(Clone, Copy, Debug)]
pub struct Media<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) lines: &'a [u8],
    pub(crate) said: Said<'a>,
    kind_text: &'a [u8],
    protocol_text: &'a [u8],
    formats_text: &'a [u8],
    port: u16,
    index: u8,
    kind: Kind,
    protocol: Protocol,
}

impl<'a> Media<'a> {
    /// `<media> <port>[/<count>] <proto> <fmt> ...` (RFC 8866 section 5.14).
    pub(crate) fn parse(value: &'a [u8], index: u8) -> Result<Self, SdpError> {
        let mut rest = value;
        let kind_text = word(&mut rest);
        let (port, count) = split_once(word(&mut rest), b'/');
        let protocol_text = word(&mut rest);
        let formats_text = rest.trim_ascii();
        let port = number::<u16>(port).ok_or(SdpError::BadMediaLine)?;
        let count_ok = count.is_none_or(|count| number::<u16>(count).is_some_and(|n| n > 0));
        if kind_text.is_empty() || protocol_text.is_empty() || !count_ok {
            return Err(SdpError::BadMediaLine);
        }
        let protocol = Protocol::parse(protocol_text);
        let kind = match kind_text {
            b"audio" => Kind::Audio,
            b"video" => Kind::Video,
            b"text" => Kind::Text,
            b"application" => Kind::Application,
            b"message" => Kind::Message,
            b"image" => Kind::Image,
            _ => Kind::Other,
        };
        if protocol.is_rtp() {
            check_payload_types(formats_text, kind == Kind::Audio && port != 0)?;
        }
        // An RTP line that is switched off may list nothing; one that we repeat may not.
        let bare = formats_text.is_empty() && protocol.is_rtp();
        let formats_text = if bare { b"0" } else { formats_text };
        let (head, lines): (&[u8], &[u8]) = (b"", b"");
        Ok(Self {
            head,
            lines,
            said: Said::default(),
            kind_text,
            protocol_text,
            formats_text,
            port,
            index,
            kind,
            protocol,
        })
    }

    /// Position among the m= lines, from 0.
    #[must_use]
    pub const fn index(&self) -> u8 {
        self.index
    }

    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The media type as written.
    #[must_use]
    pub const fn kind_text(&self) -> &'a [u8] {
        self.kind_text
    }

    /// The RTP port; 0 says that the stream is rejected or ended.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The transport as written.
    #[must_use]
    pub const fn protocol_text(&self) -> &'a [u8] {
        self.protocol_text
    }

    /// The format list as written; `0` where an RTP line that is not used lists nothing.
    #[must_use]
    pub const fn formats_text(&self) -> &'a [u8] {
        self.formats_text
    }

    /// The payload types with what the section says about them.
    #[must_use]
    pub fn formats(&self) -> Formats<'a> {
        Formats::new(self)
    }

    /// Attributes of this section only.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        attributes(self.lines)
    }

    fn own_value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.attributes().find(|attribute| attribute.is(name)).map(|found| found.value)
    }

    /// All lines of the section behind the m= line, as (letter, value).
    pub(crate) const fn section(&self) -> Lines<'a> {
        Lines::new(self.lines)
    }

    /// The first attribute of that name in this section, else in the session's.
    #[must_use]
    pub fn attribute(&self, name: &[u8]) -> Option<Attribute<'a>> {
        let mine = self.attributes().find(|attribute| attribute.is(name));
        mine.or_else(|| attributes(self.head).find(|attribute| attribute.is(name)))
    }

    /// Where the writer wants media, by its own c= line or the session's. `0.0.0.0` and `::` are
    /// returned as they are; [`Media::rtp`] knows what they mean.
    ///
    /// # Errors
    /// No c= line, one that is broken, multicast, or a host name.
    pub fn address(&self) -> Result<IpAddr, SdpError> {
        parse_connection(self.said.connection.ok_or(SdpError::NoConnection)?)
    }

    /// Where the writer wants RTP.
    ///
    /// # Errors
    /// As [`Media::address`].
    pub fn rtp(&self) -> Result<MediaTarget, SdpError> {
        Ok(MediaTarget::new(SocketAddr::new(self.address()?, self.port)))
    }

    /// Where the writer wants RTCP when it is not multiplexed: `a=rtcp` (RFC 3605), else the port
    /// after the RTP port. Nowhere where RTP goes nowhere.
    ///
    /// # Errors
    /// As [`Media::address`]; an a=rtcp that cannot be read is [`SdpError::BadConnection`].
    pub fn rtcp(&self) -> Result<MediaTarget, SdpError> {
        let rtp = self.rtp()?;
        let is_asked = self.said.rtcp && rtp != MediaTarget::NOWHERE;
        let Some(mut rest) = is_asked.then(|| self.own_value(b"rtcp")).flatten() else {
            return Ok(rtp.next_port());
        };
        let port = number::<u16>(word(&mut rest)).filter(|&port| port != 0);
        let port = port.ok_or(SdpError::BadConnection)?;
        let rest = rest.trim_ascii();
        let ip = if rest.is_empty() { self.address()? } else { parse_connection(rest)? };
        Ok(MediaTarget::new(SocketAddr::new(ip, port)))
    }

    /// Whether the writer can receive RTCP on the RTP port (RFC 5761).
    #[must_use]
    pub const fn rtcp_mux(&self) -> bool {
        self.said.rtcp_mux
    }

    /// Who sends, by this section or the session; sendrecv where nothing is said.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.said.direction.unwrap_or_default()
    }

    /// [`Media::direction`] as far as the rest of the section lets it be: an unspecified address is
    /// the hold of RFC 2543, the writer does not want media (RFC 3264 section 8.4); port 0 is a
    /// stopped stream (section 8.2).
    #[must_use]
    pub fn direction_in_force(&self) -> Direction {
        let direction = self.direction();
        match self.rtp() {
            _ if self.port == 0 => Direction::Inactive,
            Ok(MediaTarget::NOWHERE) => Direction::new(direction.sends(), false),
            _ => direction,
        }
    }

    /// Whether the writer puts the other side on hold: it does not want to receive.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.direction_in_force().receives()
    }

    /// `a=ptime` in whole milliseconds, 1..=255.
    #[must_use]
    pub fn ptime_ms(&self) -> Option<u8> {
        self.said.ptime.filter(|&ms| ms > 0)
    }

    /// `a=maxptime` in whole milliseconds, 1..=255.
    #[must_use]
    pub fn maxptime_ms(&self) -> Option<u8> {
        self.said.maxptime.filter(|&ms| ms > 0)
    }

    /// `a=label` (RFC 4574).
    #[must_use]
    pub fn label(&self) -> Option<&'a [u8]> {
        self.own_value(b"label")
    }

    /// `a=mid` (RFC 5888).
    #[must_use]
    pub fn mid(&self) -> Option<&'a [u8]> {
        self.said.mid.then(|| self.own_value(b"mid")).flatten()
    }

    /// Values of `a=crypto` (RFC 4568): secrets, not to be logged.
    pub fn crypto(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.attributes().filter(|attribute| attribute.is(b"crypto")).map(|found| found.value)
    }

    /// Values of `a=fingerprint` (RFC 8122), of the section and then of the session.
    pub fn fingerprints(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let both = self.attributes().chain(attributes(self.head));
        both.filter(|attribute| attribute.is(b"fingerprint")).map(|found| found.value)
    }

    /// `a=setup`.
    #[must_use]
    pub fn setup(&self) -> Option<Setup> {
        match self.attribute(b"setup")?.value {
            b"active" => Some(Setup::Active),
            b"passive" => Some(Setup::Passive),
            b"actpass" => Some(Setup::Actpass),
            b"holdconn" => Some(Setup::Holdconn),
            _ => None,
        }
    }

    /// Values of `a=candidate` (RFC 8839).
    pub fn candidates(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.attributes().filter(|attribute| attribute.is(b"candidate")).map(|found| found.value)
    }

    /// Audio over plain RTP, whatever its port and codecs.
    #[must_use]
    pub fn is_plain_audio(&self) -> bool {
        self.kind == Kind::Audio && self.protocol.is_plain()
    }

    /// Audio over plain RTP, not rejected, with at least one audio codec that is known.
    #[must_use]
    pub fn is_usable_audio(&self) -> bool {
        self.is_plain_audio()
            && self.port != 0
            && (codec::first(self).is_some_and(|codec| codec.id.is_audio())
                || self.formats().iter().any(|f| f.codec().is_some_and(|c| c.id.is_audio())))
    }
}

/// How many there are is bounded everywhere; what they are matters only where the line is `used`.
fn check_payload_types(mut text: &[u8], used: bool) -> Result<(), SdpError> {
    let mut count = 0;
    loop {
        let item = word(&mut text);
        if item.is_empty() {
            return if count == 0 && used { Err(SdpError::BadMediaLine) } else { Ok(()) };
        }
        count += 1;
        if count > PAYLOAD_TYPES_MAX {
            return Err(SdpError::TooManyPayloadTypes);
        }
        if used {
            number::<u8>(item).filter(|&pt| pt < 128).ok_or(SdpError::BadPayloadType)?;
        }
    }
}

/// `IN IP4 <address>[/<ttl>]` or `IN IP6 <address>` (RFC 8866 section 5.7).
fn parse_connection(value: &[u8]) -> Result<IpAddr, SdpError> {
    let mut rest = value;
    let [net, family, address] = core::array::from_fn(|_| word(&mut rest));
    if !net.eq_ignore_ascii_case(b"IN") || address.is_empty() {
        return Err(SdpError::BadConnection);
    }
    let (address, _ttl) = split_once(address, b'/');
    let text = core::str::from_utf8(address).map_err(|_| SdpError::BadConnection)?;
    let Ok(ip) = text.parse::<IpAddr>() else {
        return Err(if is_host_name(address) {
            SdpError::HostName
        } else {
            SdpError::BadConnection
        });
    };
    let family_ok = match ip {
        IpAddr::V4(_) => family.eq_ignore_ascii_case(b"IP4"),
        IpAddr::V6(_) => family.eq_ignore_ascii_case(b"IP6"),
    };
    if !family_ok {
        return Err(SdpError::BadConnection);
    }
    if ip.is_multicast() { Err(SdpError::Multicast) } else { Ok(ip) }
}

/// Letters, digits, dots, hyphens and (as real hosts have them) underscores, with at least one
/// letter in the last label.
fn is_host_name(text: &[u8]) -> bool {
    let last = text.rsplit(|&b| b == b'.').find(|label| !label.is_empty()).unwrap_or(b"");
    text.iter().all(|&b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
        && last.iter().any(u8::is_ascii_alphabetic)
}
