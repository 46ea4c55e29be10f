//! Offers and answers of our own: media applications, the load generator, simulated phones.

use crate::codec::{CodecId, Format, Supported};
use crate::error::SdpError;
use crate::limits::PAYLOAD_TYPES_MAX;
use crate::media::{Direction, Media};
use crate::session::Session;
use crate::write::{Local, Out};

/// What an offer of our own says.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// In order of preference; list [`Supported::TELEPHONE_EVENT`] to offer digits.
    pub codecs: &'a [Supported<'a>],
    pub direction: Direction,
    /// Packet time in milliseconds, 0 to say nothing.
    pub ptime_ms: u8,
}

/// How an offer is answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// What we speak, in order of preference. Digits are accepted beside a codec of the same clock
    /// rate.
    pub codecs: &'a [Supported<'a>],
    /// What we would like to do; narrowed by the offer.
    pub direction: Direction,
    /// Packet time in milliseconds, 0 to repeat the offer's.
    pub ptime_ms: u8,
    /// Take our order of preference instead of the offer's.
    pub prefer_ours: bool,
    /// Accept one audio codec only (beside digits and comfort noise), so that the peer cannot
    /// change codec during the call.
    pub single: bool,
}

/// Writes an offer with one audio section. Returns the bytes written.
///
/// # Errors
/// [`SdpError::NoSpace`], or [`SdpError::NoCommonCodec`] for an empty list.
pub fn write_offer(offer: &Offer<'_>, local: &Local, out: &mut [u8]) -> Result<usize, SdpError> {
    if offer.codecs.is_empty() {
        return Err(SdpError::NoCommonCodec);
    }
    let mut out = Out::new(out);
    out.head(local);
    own_audio(&mut out, offer, local);
    out.finish()
}

/// The same beside what was described before: its m= lines stay where they are (RFC 3264 section
/// 8), the first of plain audio becomes our stream, all others have port 0.
///
/// # Errors
/// As [`write_offer`], or [`SdpError::NoAudio`] without such a line.
pub fn write_offer_in(
    described: &Session<'_>,
    offer: &Offer<'_>,
    local: &Local,
    out: &mut [u8],
) -> Result<usize, SdpError> {
    if offer.codecs.is_empty() {
        return Err(SdpError::NoCommonCodec);
    }
    let audio = described.audio_line().ok_or(SdpError::NoAudio)?.index();
    let mut out = Out::new(out);
    out.head(local);
    for media in described.media() {
        if media.index() == audio {
            own_audio(&mut out, offer, local);
        } else {
            out.rejected(media);
        }
    }
    out.finish()
}

fn own_audio(out: &mut Out<'_>, offer: &Offer<'_>, local: &Local) {
    out.media_start(b"audio", local.rtp.port(), b"RTP/AVP");
    for codec in offer.codecs {
        out.bytes(b" ").number(u64::from(codec.pt));
    }
    out.end_line();
    for codec in offer.codecs {
        let format = codec.format();
        out.format(codec.pt, &format, format.fmtp);
    }
    out.milliseconds(b"ptime", Some(offer.ptime_ms).filter(|&ms| ms > 0));
    out.attribute(offer.direction.name().as_bytes(), b"");
    out.rtcp(local, true);
}

/// Answers an offer by ourselves. Returns the bytes written.
///
/// The first usable audio section is accepted, all others are refused with port 0. Payload types
/// are the offer's (RFC 3264 section 6.1).
///
/// # Errors
/// No usable audio, no codec in common, an address we cannot send to, or no space.
pub fn answer(
    offer: &Session<'_>,
    how: &Answer<'_>,
    local: &Local,
    out: &mut [u8],
) -> Result<usize, SdpError> {
    let audio = offer.audio()?;
    audio.address()?;
    let formats = audio.formats();
    let mut chosen = Chosen { list: [None; PAYLOAD_TYPES_MAX], count: 0 };
    choose(&mut chosen, formats.as_slice(), how);
    if chosen.count == 0 {
        return Err(SdpError::NoCommonCodec);
    }
    let mut out = Out::new(out);
    out.head(local);
    for media in offer.media() {
        if media.index() == audio.index() {
            accept(&mut out, media, &chosen, how, local);
        } else {
            out.rejected(media);
        }
    }
    out.finish()
}

/// Answers an offer by refusing every stream (port 0). Returns the bytes written.
///
/// # Errors
/// [`SdpError::NoSpace`].
pub fn reject(offer: &Session<'_>, local: &Local, out: &mut [u8]) -> Result<usize, SdpError> {
    let mut out = Out::new(out);
    out.head(local);
    for media in offer.media() {
        out.rejected(media);
    }
    out.finish()
}

fn accept(
    out: &mut Out<'_>,
    media: &Media<'_>,
    chosen: &Chosen<'_, '_>,
    how: &Answer<'_>,
    local: &Local,
) {
    out.media_start(b"audio", local.rtp.port(), media.protocol_text());
    for (format, _) in chosen.iter() {
        out.bytes(b" ").number(u64::from(format.pt));
    }
    out.end_line();
    for (format, ours) in chosen.iter() {
        out.format(format.pt, &format, ours.format().fmtp);
    }
    let ptime = Some(how.ptime_ms).filter(|&ms| ms > 0).or_else(|| media.ptime_ms());
    out.milliseconds(b"ptime", ptime);
    let offered = media.direction_in_force().reversed();
    out.attribute(how.direction.and(offered).name().as_bytes(), b"");
    if let Some(mid) = media.mid() {
        out.attribute(b"mid", mid);
    }
    out.rtcp(local, media.rtcp_mux());
}

/// The accepted payload types: the offer's entry and ours.
struct Chosen<'a, 'c> {
    list: [Option<(Format<'a>, Supported<'c>)>; PAYLOAD_TYPES_MAX],
    count: usize,
}

impl<'a, 'c> Chosen<'a, 'c> {
    fn push(&mut self, format: &Format<'a>, ours: &Supported<'c>) {
        let taken = self.iter().any(|(entry, _)| entry.pt == format.pt);
        if let Some(slot) = self.list.get_mut(self.count).filter(|_| !taken) {
            *slot = Some((*format, *ours));
            self.count += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Format<'a>, Supported<'c>)> + '_ {
        self.list[..self.count].iter().flatten().copied()
    }
}

/// Audio codecs in the wanted order, then digits and comfort noise at a clock rate that one of them
/// has (RFC 4733 section 2.1: both must share the timestamp clock).
fn choose<'a, 'c>(chosen: &mut Chosen<'a, 'c>, offered: &[Format<'a>], how: &Answer<'c>) {
    let same = |format: &Format<'_>, ours: &Supported<'_>| {
        format.codec().is_some_and(|codec| ours.format().codec() == Some(codec))
    };
    let is_audio = |ours: &Supported<'_>| CodecId::of(ours.name.as_bytes()).is_audio();
    if how.prefer_ours {
        for ours in how.codecs.iter().filter(|ours| is_audio(ours)) {
            offered.iter().filter(|f| same(f, ours)).take(1).for_each(|f| chosen.push(f, ours));
        }
    } else {
        for format in offered {
            let ours = how.codecs.iter().find(|ours| is_audio(ours) && same(format, ours));
            if let Some(ours) = ours {
                chosen.push(format, ours);
            }
        }
    }
    if how.single {
        chosen.count = chosen.count.min(1);
    }
    for format in offered {
        let ours = how.codecs.iter().find(|ours| !is_audio(ours) && same(format, ours));
        let beside = chosen.iter().any(|(audio, _)| audio.clock == format.clock);
        if let Some(ours) = ours.filter(|_| beside) {
            chosen.push(format, ours);
        }
    }
}
