//! Codecs: what an encoding is, whatever number a peer gave it.
//!
//! A payload type is a number that means something on one leg only. Two legs' payload types are the
//! same codec when encoding name, clock rate, channels and the parameters that change the bytes on
//! the wire agree ([`Codec`] equality); the numbers never take part.

use core::fmt;

use arrayvec::ArrayVec;

use crate::limits::{CHANNELS_MAX, CLOCK_HZ_MAX, PAYLOAD_TYPES_MAX};
use crate::media::{Attribute, Media};
use crate::scan::{number, split_once, word};

/// An encoding name, compared without case: a 32-bit hash of it.
///
/// A peer that makes two names collide confuses its own leg only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodecId(pub u32);

impl CodecId {
    pub const PCMU: Self = Self::of(b"PCMU");
    pub const PCMA: Self = Self::of(b"PCMA");
    pub const GSM: Self = Self::of(b"GSM");
    pub const G722: Self = Self::of(b"G722");
    pub const G729: Self = Self::of(b"G729");
    pub const OPUS: Self = Self::of(b"opus");
    pub const AMR: Self = Self::of(b"AMR");
    pub const AMR_WB: Self = Self::of(b"AMR-WB");
    pub const ILBC: Self = Self::of(b"iLBC");
    pub const G7221: Self = Self::of(b"G7221");
    pub const CN: Self = Self::of(b"CN");
    pub const TELEPHONE_EVENT: Self = Self::of(b"telephone-event");

    /// The id of an encoding name, in any case.
    #[must_use]
    pub const fn of(name: &[u8]) -> Self {
        let mut state: u32 = 0x811c_9dc5;
        let mut at = 0;
        while at < name.len() {
            state = (state ^ name[at].to_ascii_lowercase() as u32).wrapping_mul(0x0100_0193);
            at += 1;
        }
        Self(state)
    }

    /// The registered spelling, where it is a name that this crate knows.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        const OTHERS: [&str; 8] =
            ["opus", "AMR", "AMR-WB", "iLBC", "G7221", "telephone-event", "speex", "red"];
        let statics = STATIC.iter().map(|row| row.1);
        statics.chain(OTHERS).find(|name| Self::of(name.as_bytes()) == self)
    }

    /// Speech or music, as opposed to digits and comfort noise which only accompany it.
    #[must_use]
    pub fn is_audio(self) -> bool {
        self != Self::TELEPHONE_EVENT && self != Self::CN
    }
}

impl fmt::Debug for CodecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "codec#{:08x}", self.0),
        }
    }
}

/// One encoding with all that must agree for two payload types to carry the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Codec {
    pub id: CodecId,
    /// RTP timestamp units per second (8,000 for G.722, by history: RFC 3551 section 4.5.2).
    pub clock: u32,
    pub channels: u8,
    /// What the format parameters say about the wire format: `octet-align` of AMR (RFC 4867), the
    /// bit rate in kbit/s of G.722.1 (RFC 5577), 0 for all others.
    pub variant: u8,
}

impl Codec {
    /// Digits by RFC 4733.
    #[must_use]
    pub fn is_telephone_event(&self) -> bool {
        self.id == CodecId::TELEPHONE_EVENT
    }
}

/// A payload type of a media section, borrowed from the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format<'a> {
    pub pt: u8,
    /// Encoding name as written, or as registered for a static payload type without rtpmap. Empty
    /// when neither tells: such a payload type is never used.
    pub name: &'a [u8],
    pub clock: u32,
    pub channels: u8,
    /// The value of `a=fmtp` behind the payload type.
    pub fmtp: Option<&'a [u8]>,
}

impl<'a> Format<'a> {
    pub(crate) const UNKNOWN: Self = Self { pt: 0, name: b"", clock: 0, channels: 1, fmtp: None };

    /// The codec, or None when the text does not say what the payload type is.
    #[must_use]
    pub fn codec(&self) -> Option<Codec> {
        if self.name.is_empty() {
            return None;
        }
        let id = CodecId::of(self.name);
        let variant = match id {
            CodecId::AMR | CodecId::AMR_WB => self.parameter_number(b"octet-align").unwrap_or(0),
            CodecId::G7221 => self.parameter_number(b"bitrate").unwrap_or(0) / 1_000,
            _ => 0,
        };
        let variant = u8::try_from(variant).unwrap_or(u8::MAX);
        Some(Codec { id, clock: self.clock, channels: self.channels, variant })
    }

    /// The value of one `name=value` parameter of the fmtp line (names compared without case).
    #[must_use]
    pub fn parameter(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.fmtp?.split(|&b| b == b';').find_map(|pair| {
            let (key, value) = split_once(pair, b'=');
            key.trim_ascii().eq_ignore_ascii_case(name).then(|| value.unwrap_or(b"").trim_ascii())
        })
    }

    fn parameter_number(&self, name: &[u8]) -> Option<u32> {
        self.parameter(name).and_then(number)
    }
}

/// All payload types of a media section in the order of its m= line, each once.
#[derive(Clone)]
pub struct Formats<'a> {
    list: ArrayVec<Format<'a>, PAYLOAD_TYPES_MAX>,
}

impl<'a> Formats<'a> {
    /// Reads the section in one pass over its attributes. Empty for a section that is not RTP.
    #[must_use]
    pub fn new(media: &Media<'a>) -> Self {
        // What is not filled is not written: a description is read several times a call.
        let mut formats = Self { list: ArrayVec::new() };
        let mut slots = [u8::MAX; 128];
        if !media.protocol().is_rtp() {
            return formats;
        }
        let mut text = media.formats_text();
        for _ in 0..PAYLOAD_TYPES_MAX {
            let Some(pt) = number::<u8>(word(&mut text)) else { break };
            let Some(slot) = slots.get_mut(usize::from(pt)) else { break };
            if *slot == u8::MAX {
                *slot = u8::try_from(formats.list.len()).unwrap_or(u8::MAX);
                if formats.list.try_push(static_format(pt)).is_err() {
                    break;
                }
            }
        }
        let mut mapped: u128 = 0;
        for (is_map, mut value) in mappings(media) {
            let Some(pt) = number::<u8>(word(&mut value)) else { continue };
            let Some(&slot) = slots.get(usize::from(pt)) else { continue };
            let Some(format) = formats.list.get_mut(usize::from(slot)) else {
                continue;
            };
            if !is_map {
                let fmtp = value.trim_ascii();
                format.fmtp.get_or_insert(fmtp);
            } else if mapped & (1 << pt) == 0 {
                mapped |= 1 << pt;
                apply_rtpmap(format, value);
            }
        }
        formats
    }

    /// The payload types in order of preference.
    #[must_use]
    pub fn as_slice(&self) -> &[Format<'a>] {
        &self.list
    }

    /// Same, as an iterator.
    pub fn iter(&self) -> core::slice::Iter<'_, Format<'a>> {
        self.as_slice().iter()
    }

    /// The entry of a payload type.
    #[must_use]
    pub fn get(&self, pt: u8) -> Option<&Format<'a>> {
        self.iter().find(|format| format.pt == pt)
    }

    /// The first entry that is `codec`.
    #[must_use]
    pub fn find(&self, codec: &Codec) -> Option<&Format<'a>> {
        self.iter().find(|format| format.codec().as_ref() == Some(codec))
    }

    /// The payload type of RFC 4733 digits at this clock rate.
    #[must_use]
    pub fn telephone_event(&self, clock: u32) -> Option<u8> {
        let is_it = |codec: Codec| codec.is_telephone_event() && codec.clock == clock;
        self.iter().find(|format| format.codec().is_some_and(is_it)).map(|format| format.pt)
    }
}

impl fmt::Debug for Formats<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'s, 'a> IntoIterator for &'s Formats<'a> {
    type Item = &'s Format<'a>;
    type IntoIter = core::slice::Iter<'s, Format<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The `a=rtpmap` (true) and `a=fmtp` lines of a section, with what they say.
fn mappings<'a>(media: &Media<'a>) -> impl Iterator<Item = (bool, &'a [u8])> + use<'a> {
    media.section().filter_map(|(letter, line)| {
        // Most lines are something else, and nearly all of these are written without blanks.
        let is_candidate =
            line.first().is_some_and(|&it| it == b'r' || it == b'f' || it.is_ascii_whitespace());
        if letter != b'a' || !is_candidate {
            return None;
        }
        let attribute = Attribute::new(line);
        let is_map = attribute.is(b"rtpmap");
        (is_map || attribute.is(b"fmtp")).then_some((is_map, attribute.value))
    })
}

/// The codec of the first payload type alone.
pub(crate) fn first(media: &Media<'_>) -> Option<Codec> {
    if !media.protocol().is_rtp() {
        return None;
    }
    let pt = number::<u8>(word(&mut media.formats_text())).filter(|&pt| pt < 128)?;
    let mut format = static_format(pt);
    for (is_map, mut value) in mappings(media) {
        if is_map && number::<u8>(word(&mut value)) == Some(pt) {
            apply_rtpmap(&mut format, value);
            break;
        }
    }
    // What its parameters say of the wire format is not asked for here.
    format.codec()
}

/// `<name>/<clock>[/<channels>]` (RFC 8866 section 6.6). What cannot be read leaves the payload
/// type unknown, so that it is not used.
fn apply_rtpmap<'a>(format: &mut Format<'a>, value: &'a [u8]) {
    let mut value = value;
    let (name, rest) = split_once(word(&mut value), b'/');
    let (clock, channels) = split_once(rest.unwrap_or(b""), b'/');
    let clock = number::<u32>(clock).filter(|clock| (1..=CLOCK_HZ_MAX).contains(clock));
    let channels = channels.map_or(Some(1), number::<u8>);
    let channels = channels.filter(|channels| (1..=CHANNELS_MAX).contains(channels));
    match (clock, channels) {
        (Some(clock), Some(channels)) if is_token(name) => {
            format.name = name;
            format.clock = clock;
            format.channels = channels;
        }
        _ => format.name = b"",
    }
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

/// Static audio payload types (RFC 3551 section 6, table 4): number, name, clock, channels.
const STATIC: [(u8, &str, u32, u8); 17] = [
    (0, "PCMU", 8_000, 1),
    (3, "GSM", 8_000, 1),
    (4, "G723", 8_000, 1),
    (5, "DVI4", 8_000, 1),
    (6, "DVI4", 16_000, 1),
    (7, "LPC", 8_000, 1),
    (8, "PCMA", 8_000, 1),
    (9, "G722", 8_000, 1),
    (10, "L16", 44_100, 2),
    (11, "L16", 44_100, 1),
    (12, "QCELP", 8_000, 1),
    (13, "CN", 8_000, 1),
    (15, "G728", 8_000, 1),
    (16, "DVI4", 11_025, 1),
    (17, "DVI4", 22_050, 1),
    (18, "G729", 8_000, 1),
    (19, "CN", 8_000, 1),
];

fn static_format(pt: u8) -> Format<'static> {
    let unknown = Format { pt, ..Format::UNKNOWN };
    STATIC.iter().find(|row| row.0 == pt).map_or(unknown, |&(pt, name, clock, channels)| Format {
        pt,
        name: name.as_bytes(),
        clock,
        channels,
        fmtp: None,
    })
}

/// A set of payload types.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct PtSet(pub u128);

impl PtSet {
    pub const ALL: Self = Self(u128::MAX);
    pub const NONE: Self = Self(0);

    /// The set of the numbers up to 127 in `pts`.
    #[must_use]
    pub fn of(pts: &[u8]) -> Self {
        let mut set = Self::NONE;
        for &pt in pts {
            set.insert(pt);
        }
        set
    }

    /// Adds a payload type; numbers above 127 are none and change nothing.
    pub fn insert(&mut self, pt: u8) {
        self.0 |= 1_u128.checked_shl(u32::from(pt)).unwrap_or(0);
    }

    /// Whether the set holds `pt`.
    #[must_use]
    pub fn contains(self, pt: u8) -> bool {
        self.0 & 1_u128.checked_shl(u32::from(pt)).unwrap_or(0) != 0
    }
}

impl fmt::Debug for PtSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries((0..128_u8).filter(|&pt| self.contains(pt))).finish()
    }
}

/// A codec that we speak ourselves: a row of the list that own offers and answers are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supported<'a> {
    pub name: &'a str,
    pub clock: u32,
    pub channels: u8,
    /// The number used in own offers; an answer takes the offer's.
    pub pt: u8,
    /// Format parameters to write, empty for none.
    pub fmtp: &'a str,
}

impl Supported<'static> {
    pub const PCMU: Self = Self::plain("PCMU", 8_000, 0);
    pub const PCMA: Self = Self::plain("PCMA", 8_000, 8);
    pub const G722: Self = Self::plain("G722", 8_000, 9);
    pub const G729: Self = Self::plain("G729", 8_000, 18);
    pub const CN: Self = Self::plain("CN", 8_000, 13);
    /// RFC 7587: always two channels in SDP.
    pub const OPUS: Self = Self {
        name: "opus",
        clock: 48_000,
        channels: 2,
        pt: 111,
        fmtp: "minptime=10;useinbandfec=1",
    };
    /// Digits 0-9, *, #, A-D (RFC 4733) beside 8 kHz codecs.
    pub const TELEPHONE_EVENT: Self =
        Self { name: "telephone-event", clock: 8_000, channels: 1, pt: 101, fmtp: "0-15" };
    /// The same beside Opus.
    pub const TELEPHONE_EVENT_48K: Self =
        Self { name: "telephone-event", clock: 48_000, channels: 1, pt: 110, fmtp: "0-15" };

    const fn plain(name: &'static str, clock: u32, pt: u8) -> Self {
        Self { name, clock, channels: 1, pt, fmtp: "" }
    }
}

impl<'a> Supported<'a> {
    /// As an entry of a media section.
    #[must_use]
    pub fn format(&self) -> Format<'a> {
        Format {
            pt: self.pt,
            name: self.name.as_bytes(),
            clock: self.clock,
            channels: self.channels,
            fmtp: (!self.fmtp.is_empty()).then_some(self.fmtp.as_bytes()),
        }
    }
}
