//! The B2BUA's two rewritings.
//!
//! ```text
//!   A --offer-->  [relay_offer]  --offer'-->  B        offer' keeps A's payload type numbers
//!   A <-answer'-  [relay_answer] <--answer--  B        answer' speaks A's numbers again
//! ```
//!
//! One stream is relayed: the first audio section over plain RTP. All other m= lines stay where
//! they are with port 0, so that positions agree on both legs (RFC 3264 sections 6 and 8).

use crate::attribute::passes;
use crate::codec::{Format, Formats, PtSet};
use crate::error::SdpError;
use crate::limits::{MEDIA_MAX, PAYLOAD_TYPES_MAX};
use crate::media::{Direction, Media};
use crate::session::Session;
use crate::write::{Local, Out};

/// Writes the offer for leg B from a description that leg A sent (its offer, or its answer when a
/// standing leg is joined to a new one). Returns the bytes written.
///
/// `allow` filters A's payload types: those of A's [`crate::Plan`] where A has negotiated already,
/// [`PtSet::ALL`] otherwise. AVPF is offered as AVP: the feedback it promises ends here.
///
/// # Errors
/// No usable audio, no codec left by the filter, an address that we cannot send to, or no space.
pub fn relay_offer(
    received: &Session<'_>,
    local: &Local,
    allow: PtSet,
    out: &mut [u8],
) -> Result<usize, SdpError> {
    relay_offer_padded(received, local, allow, 0, out)
}

/// [`relay_offer`] into a dialog that has had `media_min` m= lines: an offer never has fewer than
/// the one before it (RFC 3264 section 8), so what is missing is filled up with refused audio
/// lines. Needed where a standing leg is joined to another one (transfer).
///
/// # Errors
/// As [`relay_offer`]; more than 16 lines are [`SdpError::TooManyMedia`].
pub fn relay_offer_padded(
    received: &Session<'_>,
    local: &Local,
    allow: PtSet,
    media_min: usize,
    out: &mut [u8],
) -> Result<usize, SdpError> {
    if media_min > MEDIA_MAX {
        return Err(SdpError::TooManyMedia);
    }
    let audio = received.audio()?;
    audio.address()?;
    let formats = audio.formats();
    let usable = |format: &Format<'_>| format.codec().is_some() && allow.contains(format.pt);
    let is_audio = |format: &&Format<'_>| format.codec().is_some_and(|codec| codec.id.is_audio());
    if !formats.iter().filter(|format| usable(format)).any(|format| is_audio(&format)) {
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
        for format in formats.iter().filter(|format| usable(format)) {
            out.bytes(b" ").number(u64::from(format.pt));
        }
        out.end_line();
        bandwidth(&mut out, media);
        for format in formats.iter().filter(|format| usable(format)) {
            out.format(format.pt, format, format.fmtp);
        }
        conversation(&mut out, media, media.direction_in_force());
        out.rtcp(local, true);
    }
    for _ in received.media().len()..media_min {
        out.bytes(b"m=audio 0 RTP/AVP 0").end_line();
    }
    out.finish()
}

/// Writes the answer for leg A from A's own offer and the answer that leg B gave to the relayed
/// offer. Returns the bytes written.
///
/// B's codecs come in B's order under A's payload type numbers; they are matched by what they are
/// ([`crate::Codec`]), never by number. What A did not offer is left out.
///
/// # Errors
/// No usable audio on either side, no codec in common, an address we cannot send to, or no space.
pub fn relay_answer(
    offer: &Session<'_>,
    answer: &Session<'_>,
    local: &Local,
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
        out.end_line();
        bandwidth(&mut out, accepted);
        for (mine, theirs) in matches.pairs() {
            out.format(mine.pt, mine, theirs.fmtp);
        }
        // An answer may only narrow what was offered (RFC 3264 section 6.1), whatever B said.
        let direction = accepted.direction_in_force().and(media.direction().reversed());
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
