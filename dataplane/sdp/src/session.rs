//! The borrowed reader.
//!
//! ```text
//!   v= o= s= c= t= a=      head: session level
//!   m=audio ...            Media 0: its line taken apart,
//!   c= a= a= ...             its section kept as text
//!   m=video ...            Media 1
//! ```
//!
//! `parse` checks every line, every limit and every number that later code relies on; accessors then
//! look attributes up in the section's text. Values in force for a media section are its own, or the
//! session's where it has none (RFC 8866 section 5.7).

use core::net::{IpAddr, SocketAddr};

use crate::codec::Formats;
use crate::error::SdpError;
use crate::limits::{
    ATTRIBUTES_MAX, CANDIDATES_MAX, MEDIA_MAX, MESSAGE_BYTES_MAX, PAYLOAD_TYPES_MAX,
};
use crate::scan::{HASH_START, Lines, hash, number, split_once, word};

/// A parsed session description; borrows the text.
#[derive(Clone, Debug)]
pub struct Session<'a> {
    text: &'a [u8],
    head: &'a [u8],
    origin: Option<Origin<'a>>,
    media: [Media<'a>; MEDIA_MAX],
    count: usize,
}

impl<'a> Session<'a> {
    /// Reads a description.
    ///
    /// Tolerated because real phones do it: LF alone as line end, blank lines, missing o=, s= and t=,
    /// lines out of order within a section, unknown letters.
    ///
    /// # Errors
    /// A broken line or a limit exceeded; see [`SdpError`].
    pub fn parse(text: &'a [u8]) -> Result<Self, SdpError> {
        if text.len() > MESSAGE_BYTES_MAX {
            return Err(SdpError::TooLong);
        }
        let mut lines = Lines::new(text);
        match lines.checked()? {
            Some((b'v', version)) if version.trim_ascii() == b"0" => {}
            _ => return Err(SdpError::BadVersion),
        }
        let head = lines.rest();
        let mut session =
            Self { text, head, origin: None, media: [Media::NONE; MEDIA_MAX], count: 0 };
        let mut section = Section::default();
        loop {
            let before = lines.rest();
            let Some((letter, value)) = lines.checked()? else { break };
            match letter {
                b'm' => {
                    session.close_section(before);
                    session.open_media(value, lines.rest())?;
                    section = Section::default();
                }
                b'o' if session.count == 0 => {
                    let origin = Origin::parse(value)?;
                    session.origin = session.origin.or(Some(origin));
                }
                b'a' => section.count(value)?,
                _ => {}
            }
        }
        session.close_section(&text[text.len()..]);
        let head = session.head;
        for media in &mut session.media {
            media.head = head;
        }
        Ok(session)
    }

    /// The text that was read.
    #[must_use]
    pub const fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The o= line.
    #[must_use]
    pub const fn origin(&self) -> Option<&Origin<'a>> {
        self.origin.as_ref()
    }

    /// The media sections in order, rejected ones (port 0) included.
    #[must_use]
    pub fn media(&self) -> &[Media<'a>] {
        &self.media[..self.count]
    }

    /// Attributes of the session level.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        attributes(self.head)
    }

    /// The first audio section over plain RTP (AVP or AVPF) that is not rejected and has a payload type
    /// whose codec is known.
    ///
    /// # Errors
    /// [`SdpError::NoAudio`].
    pub fn audio(&self) -> Result<&Media<'a>, SdpError> {
        self.media().iter().find(|media| media.is_usable_audio()).ok_or(SdpError::NoAudio)
    }

    /// What a later offer is compared with; see [`Stamp::change`].
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let origin = self.origin.as_ref();
        Stamp {
            session: origin.map_or(0, |origin| {
                let state = hash(HASH_START, origin.username);
                hash(hash(state, origin.session_id), origin.address)
            }),
            version: origin.map_or(0, |origin| hash(HASH_START, origin.version)),
            body: hash(HASH_START, self.text),
        }
    }

    fn open_media(&mut self, value: &'a [u8], rest: &'a [u8]) -> Result<(), SdpError> {
        let index = u8::try_from(self.count).map_err(|_| SdpError::TooManyMedia)?;
        let slot = self.media.get_mut(self.count).ok_or(SdpError::TooManyMedia)?;
        *slot = Media::parse(value, index)?;
        slot.lines = rest;
        self.count += 1;
        Ok(())
    }

    /// Ends the section being read where `rest` begins.
    fn close_section(&mut self, rest: &'a [u8]) {
        let open = match self.count.checked_sub(1) {
            Some(last) => &mut self.media[last].lines,
            None => &mut self.head,
        };
        *open = &open[..open.len() - rest.len()];
    }
}

/// Counts what is limited per section.
#[derive(Default)]
struct Section {
    attributes: usize,
    candidates: usize,
}

impl Section {
    fn count(&mut self, value: &[u8]) -> Result<(), SdpError> {
        self.attributes += 1;
        if self.attributes > ATTRIBUTES_MAX {
            return Err(SdpError::TooManyAttributes);
        }
        if value.starts_with(b"candidate:") {
            self.candidates += 1;
            if self.candidates > CANDIDATES_MAX {
                return Err(SdpError::TooManyCandidates);
            }
        }
        Ok(())
    }
}

/// The o= line (RFC 8866 section 5.2). Numbers are kept as text: some phones exceed 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    pub username: &'a [u8],
    pub session_id: &'a [u8],
    pub version: &'a [u8],
    pub address: &'a [u8],
}

impl<'a> Origin<'a> {
    fn parse(value: &'a [u8]) -> Result<Self, SdpError> {
        let mut rest = value;
        let [username, session_id, version, net, _family, address] =
            core::array::from_fn(|_| word(&mut rest));
        let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        if !digits(session_id) || !digits(version) || net != b"IN" || address.is_empty() {
            return Err(SdpError::BadOrigin);
        }
        Ok(Self { username, session_id, version, address })
    }
}

/// What identifies one description among those of a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamp {
    session: u64,
    version: u64,
    body: u64,
}

/// How a description relates to the one before it in the same dialog (RFC 3264 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Same session and version: a session refresh, nothing to renegotiate.
    Unchanged,
    /// Same version, other text: the peer forgot to count; treat it as new.
    Uncounted,
    /// A new version of the same session.
    NewVersion,
    /// Another session altogether (the peer was replaced behind its dialog).
    NewSession,
}

impl Stamp {
    /// How `later` differs from `self`.
    #[must_use]
    pub fn change(&self, later: &Self) -> Change {
        if self.session != later.session {
            Change::NewSession
        } else if self.version != later.version {
            Change::NewVersion
        } else if self.body != later.body {
            Change::Uncounted
        } else {
            Change::Unchanged
        }
    }
}

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

fn attributes(section: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    Lines::new(section).filter(|line| line.0 == b'a').map(|(_, text)| {
        let (name, value) = split_once(text, b':');
        Attribute { name: name.trim_ascii(), value: value.unwrap_or(b"").trim_ascii() }
    })
}

/// One m= line with its section.
#[derive(Clone, Copy, Debug)]
pub struct Media<'a> {
    head: &'a [u8],
    lines: &'a [u8],
    kind_text: &'a [u8],
    protocol_text: &'a [u8],
    formats_text: &'a [u8],
    port: u16,
    index: u8,
    kind: Kind,
    protocol: Protocol,
}

impl<'a> Media<'a> {
    const NONE: Self = Self {
        head: b"",
        lines: b"",
        kind_text: b"",
        protocol_text: b"",
        formats_text: b"",
        port: 0,
        index: 0,
        kind: Kind::Other,
        protocol: Protocol::Other,
    };

    /// `<media> <port>[/<count>] <proto> <fmt> ...` (RFC 8866 section 5.14).
    fn parse(value: &'a [u8], index: u8) -> Result<Self, SdpError> {
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
        if protocol.is_rtp() {
            check_payload_types(formats_text)?;
        }
        let kind = match kind_text {
            b"audio" => Kind::Audio,
            b"video" => Kind::Video,
            b"text" => Kind::Text,
            b"application" => Kind::Application,
            b"message" => Kind::Message,
            b"image" => Kind::Image,
            _ => Kind::Other,
        };
        let (head, lines): (&[u8], &[u8]) = (b"", b"");
        Ok(Self {
            head,
            lines,
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

    /// The format list as written.
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
    /// returned as they are (see [`Media::is_held`]).
    ///
    /// # Errors
    /// No c= line, one that is broken, multicast, or a host name.
    pub fn address(&self) -> Result<IpAddr, SdpError> {
        let c_line = |text| Lines::new(text).find(|line| line.0 == b'c').map(|line| line.1);
        let value = c_line(self.lines).or_else(|| c_line(self.head));
        parse_connection(value.ok_or(SdpError::NoConnection)?)
    }

    /// Address and port for RTP.
    ///
    /// # Errors
    /// As [`Media::address`].
    pub fn rtp(&self) -> Result<SocketAddr, SdpError> {
        Ok(SocketAddr::new(self.address()?, self.port))
    }

    /// Address and port for RTCP when it is not multiplexed: `a=rtcp` (RFC 3605), else the port after
    /// the RTP port (RFC 3550 section 11), which for 65535 is none: then the RTP port itself.
    ///
    /// # Errors
    /// As [`Media::address`]; an a=rtcp that cannot be read is [`SdpError::BadConnection`].
    pub fn rtcp(&self) -> Result<SocketAddr, SdpError> {
        let next = self.port.checked_add(1).unwrap_or(self.port);
        let Some(attribute) = self.attributes().find(|attribute| attribute.is(b"rtcp")) else {
            return Ok(SocketAddr::new(self.address()?, next));
        };
        let mut rest = attribute.value;
        let port = number::<u16>(word(&mut rest)).filter(|&port| port != 0);
        let port = port.ok_or(SdpError::BadConnection)?;
        let rest = rest.trim_ascii();
        let ip = if rest.is_empty() { self.address()? } else { parse_connection(rest)? };
        Ok(SocketAddr::new(ip, port))
    }

    /// Whether the writer can receive RTCP on the RTP port (RFC 5761).
    #[must_use]
    pub fn rtcp_mux(&self) -> bool {
        self.attributes().any(|attribute| attribute.is(b"rtcp-mux"))
    }

    /// Who sends, by this section or the session; sendrecv where nothing is said.
    #[must_use]
    pub fn direction(&self) -> Direction {
        let find = |text| attributes(text).find_map(|attribute| Direction::parse(attribute.name));
        find(self.lines).or_else(|| find(self.head)).unwrap_or_default()
    }

    /// [`Media::direction`] with an unspecified address taken for what it means: the writer does not
    /// want media (RFC 3264 section 8.4, the hold of RFC 2543).
    #[must_use]
    pub fn direction_in_force(&self) -> Direction {
        let nowhere = self.address().is_ok_and(|ip| ip.is_unspecified());
        let direction = self.direction();
        if nowhere { Direction::new(direction.sends(), false) } else { direction }
    }

    /// Whether the writer puts the other side on hold: it does not want to receive.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.direction_in_force().receives()
    }

    /// `a=ptime` in whole milliseconds, 1..=255.
    #[must_use]
    pub fn ptime_ms(&self) -> Option<u8> {
        self.milliseconds(b"ptime")
    }

    /// `a=maxptime` in whole milliseconds, 1..=255.
    #[must_use]
    pub fn maxptime_ms(&self) -> Option<u8> {
        self.milliseconds(b"maxptime")
    }

    fn milliseconds(&self, name: &[u8]) -> Option<u8> {
        let value = self.attribute(name)?.value;
        // Fractions occur (30.0, 2.5); whole milliseconds are all that a packet clock needs.
        number::<u8>(split_once(value, b'.').0).filter(|&ms| ms > 0)
    }

    /// `a=label` (RFC 4574).
    #[must_use]
    pub fn label(&self) -> Option<&'a [u8]> {
        self.attributes().find(|attribute| attribute.is(b"label")).map(|found| found.value)
    }

    /// `a=mid` (RFC 5888).
    #[must_use]
    pub fn mid(&self) -> Option<&'a [u8]> {
        self.attributes().find(|attribute| attribute.is(b"mid")).map(|found| found.value)
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

    /// Audio over plain RTP, not rejected, with at least one audio codec that is known.
    #[must_use]
    pub fn is_usable_audio(&self) -> bool {
        self.kind == Kind::Audio
            && self.port != 0
            && self.protocol.is_plain()
            && self.formats().iter().any(|format| format.codec().is_some_and(|c| c.id.is_audio()))
    }
}

fn check_payload_types(mut text: &[u8]) -> Result<(), SdpError> {
    let mut count = 0;
    loop {
        let item = word(&mut text);
        if item.is_empty() {
            return if count == 0 { Err(SdpError::BadMediaLine) } else { Ok(()) };
        }
        count += 1;
        if count > PAYLOAD_TYPES_MAX {
            return Err(SdpError::TooManyPayloadTypes);
        }
        number::<u8>(item).filter(|&pt| pt < 128).ok_or(SdpError::BadPayloadType)?;
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

/// Letters, digits, dots and hyphens with at least one letter in the last label.
fn is_host_name(text: &[u8]) -> bool {
    let last = text.rsplit(|&b| b == b'.').find(|label| !label.is_empty()).unwrap_or(b"");
    text.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        && last.iter().any(u8::is_ascii_alphabetic)
}
