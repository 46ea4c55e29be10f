//! The B2BUA's two rewritings.
//!
//! ```text
//!   A --offer-->  [relay_offer]  --offer'-->  B        offer' keeps A's payload type numbers
//!   A <-answer'-  [relay_answer] <--answer--  B        answer' speaks A's numbers again
//! ```
//!
//! One stream is relayed: the first audio section over plain RTP. All other m= lines stay where
//! they are with port 0, so that positions agree on both legs (RFC 3264 sections 6 and 8).

use arrayvec::ArrayVec;

use crate::attribute::passes;
use crate::codec::{Codec, Format, Formats, PtSet, Supported};
use crate::error::SdpError;
use crate::limits::PAYLOAD_TYPES_MAX;
use crate::media::{Direction, Media};
use crate::session::Session;
use crate::write::{Local, Out};

/// What of a received description goes into an offer of ours.
#[derive(Clone, Copy, Debug)]
pub struct Reoffer<'a> {
    /// Payload types of the received description that may go on: all, or those in force.
    pub allow: PtSet,
    /// The codec that is offered first, whatever the order of the received description.
    pub first: Option<Codec>,
    /// Formats offered behind those of the received description, unless it has them (or their
    /// number) already: what we can turn into one of its own.
    pub more: &'a [Supported<'a>],
    /// The direction to say; the received one where there is none.
    pub direction: Option<Direction>,
}

impl Reoffer<'static> {
    /// The whole description as it is.
    pub const ALL: Self = Self { allow: PtSet::ALL, first: None, more: &[], direction: None };
}

/// Writes an offer from a description that was received: for the leg that is dialled for its
/// sender, or for its sender itself when it is to be offered anew. Returns the bytes written.
///
/// All its m= lines stay where they are (RFC 3264 section 8), all but the audio with port 0. AVPF
/// is offered as AVP: the feedback it promises ends here.
///
/// # Errors
/// No usable audio, no codec left by the filter, an address that we cannot send to, or no space.
pub fn relay_offer(
    received: &Session<'_>,
    local: &Local,
    how: &Reoffer<'_>,
    out: &mut [u8],
) -> Result<usize, SdpError> {
    let audio = received.audio()?;
    audio.address()?;
    let formats = audio.formats();
    let chosen = Offered::new(&formats, how);
    if !chosen.has_audio() {
        return Err(SdpError::NoCommonCodec);
    }
    let mut out = Out::new(out);
    out.head(local);
    session_attributes(&mut out, received);
    for media in received.media() {
        if media.index() != audio.index() {
            out.rejected(media);
            continue;
        }
        out.media_start(b"audio", local.rtp.port(), b"RTP/AVP");
        for format in chosen.iter() {
            out.bytes(b" ").number(u64::from(format.pt));
        }
        out.end_line();
        bandwidth(&mut out, media);
        for format in chosen.iter() {
            out.format(format.pt, &format, format.fmtp);
        }
        let direction = how.direction.unwrap_or_else(|| media.direction_in_force());
        conversation(&mut out, media, direction);
        out.rtcp(local, true);
    }
    out.finish()
}

/// The formats of an offer in their order.
struct Offered<'o> {
    list: ArrayVec<Format<'o>, PAYLOAD_TYPES_MAX>,
}

impl<'o> Offered<'o> {
    fn new(formats: &Formats<'o>, how: &Reoffer<'o>) -> Self {
        let mut offered = Self { list: ArrayVec::new() };
        let usable =
            |format: &&Format<'o>| format.codec().is_some() && how.allow.contains(format.pt);
        let is_first = |format: &Format<'o>| how.first.is_some() && format.codec() == how.first;
        let usable = || formats.iter().filter(usable);
        usable().filter(|format| is_first(format)).for_each(|format| offered.push(*format));
        usable().filter(|format| !is_first(format)).for_each(|format| offered.push(*format));
        for more in how.more {
            let format = more.format();
            let known = formats.iter().any(|f| f.pt == format.pt || f.codec() == format.codec());
            if !known {
                offered.push(format);
            }
        }
        offered
    }

    fn push(&mut self, format: Format<'o>) {
        let _ = self.list.try_push(format);
    }

    fn iter(&self) -> impl Iterator<Item = Format<'o>> + '_ {
        self.list.iter().copied()
    }

    fn has_audio(&self) -> bool {
        self.iter().any(|format| format.codec().is_some_and(|codec| codec.id.is_audio()))
    }
}

/// Answers an offer with the formats of its own that `allow` names, in its order: for a leg that
/// changes its description while it stands. Returns the bytes written.
///
/// # Errors
/// No usable audio, no codec left by the filter, an address that we cannot send to, or no space.
pub fn relay_reanswer(
    offer: &Session<'_>,
    local: &Local,
    (allow, direction): (PtSet, Direction),
    out: &mut [u8],
) -> Result<usize, SdpError> {
    let audio = offer.audio()?;
    audio.address()?;
    let formats = audio.formats();
    let chosen = Offered::new(&formats, &Reoffer { allow, ..Reoffer::ALL });
    if !chosen.has_audio() {
        return Err(SdpError::NoCommonCodec);
    }
    let mut out = Out::new(out);
    out.head(local);
    for media in offer.media() {
        if media.index() != audio.index() {
            out.rejected(media);
            continue;
        }
        out.media_start(b"audio", local.rtp.port(), media.protocol_text());
        for format in chosen.iter() {
            out.bytes(b" ").number(u64::from(format.pt));
        }
        out.end_line();
        for format in chosen.iter() {
            out.format(format.pt, &format, format.fmtp);
        }
        out.milliseconds(b"ptime", media.ptime_ms());
        let direction = direction.and(media.direction_in_force().reversed());
        out.attribute(direction.name().as_bytes(), b"");
        if let Some(mid) = media.mid() {
            out.attribute(b"mid", mid);
        }
        out.rtcp(local, media.rtcp_mux());
    }
    out.finish()
}

/// Writes the answer for leg A from A's own offer and the answer that leg B gave to the relayed
/// offer. Returns the bytes written.
///
/// B's codecs come in B's order under A's payload type numbers; they are matched by what they are
/// ([`crate::Codec`]), never by number. What A did not offer is left out. `most` is what B lets us
/// say at most: its answer's direction, or everything while that answer is an early one, whose
/// direction must not outlive it. `digits`: A's telephone events are accepted although B has none,
/// because they reach B in another way.
///
/// # Errors
/// No usable audio on either side, no codec in common, an address we cannot send to, or no space.
pub fn relay_answer(
    offer: &Session<'_>,
    answer: &Session<'_>,
    local: &Local,
    (most, digits): (Option<Direction>, bool),
    out: &mut [u8],
) -> Result<usize, SdpError> {
    let offered = offer.audio()?;
    let accepted = answer.audio()?;
    accepted.address()?;
    let offered_formats = offered.formats();
    let accepted_formats = accepted.formats();
    let matches = Matches::new(&offered_formats, &accepted_formats);
    if !matches.has_audio() {
        return Err(SdpError::NoCommonCodec);
    }
    let events = matches.events().filter(|_| digits);
    let mut out = Out::new(out);
    out.head(local);
    session_attributes(&mut out, answer);
    for media in offer.media() {
        if media.index() != offered.index() {
            out.rejected(media);
            continue;
        }
        out.media_start(b"audio", local.rtp.port(), media.protocol_text());
        for (mine, _) in matches.pairs() {
            out.bytes(b" ").number(u64::from(mine.pt));
        }
        if let Some(events) = events {
            out.bytes(b" ").number(u64::from(events.pt));
        }
        out.end_line();
        bandwidth(&mut out, accepted);
        for (mine, theirs) in matches.pairs() {
            out.format(mine.pt, mine, theirs.fmtp);
        }
        if let Some(events) = events {
            out.format(events.pt, events, events.fmtp);
        }
        // An answer may only narrow what was offered (RFC 3264 section 6.1), whatever B said.
        let most = most.unwrap_or_else(|| accepted.direction_in_force());
        let direction = most.and(media.direction_in_force().reversed());
        conversation(&mut out, accepted, direction);
        if let Some(mid) = media.mid() {
            out.attribute(b"mid", mid);
        }
        out.rtcp(local, media.rtcp_mux());
    }
    out.finish()
}

/// The codecs of an answer, each with the offer's entry it accepts.
pub(crate) struct Matches<'m, 'a, 'b> {
    offered: &'m Formats<'a>,
    accepted: &'m Formats<'b>,
    /// (index in offered, index in accepted)
    pairs: [(u8, u8); PAYLOAD_TYPES_MAX],
    count: usize,
}

impl<'m, 'a, 'b> Matches<'m, 'a, 'b> {
    /// In the order of `accepted`. Where an offer lists one codec twice, the entry with the same
    /// number is preferred, because an answer normally repeats the offer's numbers.
    pub(crate) fn new(offered: &'m Formats<'a>, accepted: &'m Formats<'b>) -> Self {
        let mut matches = Self { offered, accepted, pairs: [(0, 0); PAYLOAD_TYPES_MAX], count: 0 };
        let mut used: u64 = 0;
        for (theirs, format) in accepted.iter().enumerate() {
            let Some(codec) = format.codec() else { continue };
            let fits = |&(mine, entry): &(usize, &Format<'_>)| {
                used & (1 << mine) == 0 && entry.codec() == Some(codec)
            };
            let candidates = || offered.iter().enumerate().filter(fits);
            let same_number = candidates().find(|(_, entry)| entry.pt == format.pt);
            let Some((mine, _)) = same_number.or_else(|| candidates().next()) else { continue };
            used |= 1 << mine;
            let small = |index: usize| u8::try_from(index).unwrap_or(u8::MAX);
            matches.pairs[matches.count] = (small(mine), small(theirs));
            matches.count += 1;
        }
        matches
    }

    /// (offered entry, accepted entry).
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&'m Format<'a>, &'m Format<'b>)> + '_ {
        self.pairs[..self.count].iter().map(|&(mine, theirs)| {
            let offered = &self.offered.as_slice()[usize::from(mine)];
            (offered, &self.accepted.as_slice()[usize::from(theirs)])
        })
    }

    /// The offer's telephone events beside the accepted audio, at its clock (RFC 4733 section 2.1),
    /// where the answer has none.
    fn events(&self) -> Option<&'m Format<'a>> {
        let codecs = || self.pairs().filter_map(|(mine, _)| mine.codec());
        if codecs().any(|codec| codec.is_telephone_event()) {
            return None;
        }
        let clock = codecs().find(|codec| codec.id.is_audio())?.clock;
        let fits = |codec: Codec| codec.is_telephone_event() && codec.clock == clock;
        self.offered.iter().find(|format| format.codec().is_some_and(fits))
    }

    pub(crate) fn has_audio(&self) -> bool {
        self.pairs().any(|(mine, _)| mine.codec().is_some_and(|codec| codec.id.is_audio()))
    }
}

/// Bandwidth lines of the conversation; RR and RS divide the RTCP of the other hop (RFC 3556).
fn bandwidth(out: &mut Out<'_>, media: &Media<'_>) {
    for (letter, value) in media.section() {
        let rtcp = value.starts_with(b"RR:") || value.starts_with(b"RS:");
        if letter == b'b' && !rtcp {
            out.bytes(b"b=").bytes(value).end_line();
        }
    }
}

/// Everything else of a section that belongs to the conversation.
fn conversation(out: &mut Out<'_>, media: &Media<'_>, direction: Direction) {
    out.milliseconds(b"ptime", media.ptime_ms());
    out.milliseconds(b"maxptime", media.maxptime_ms());
    out.attribute(direction.name().as_bytes(), b"");
    for attribute in media.attributes().filter(|attribute| passes(attribute.name)) {
        out.attribute(attribute.name, attribute.value);
    }
}

fn session_attributes(out: &mut Out<'_>, session: &Session<'_>) {
    for attribute in session.attributes().filter(|attribute| passes(attribute.name)) {
        out.attribute(attribute.name, attribute.value);
    }
}
