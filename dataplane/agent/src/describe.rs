//! Descriptions: what an agent writes, and what two of them put in force (RFC 3264). Written and
//! matched here, not by the switch's writers, so that a fault of theirs is seen.

use std::net::SocketAddr;

use sdp::{Codec, Direction, Kind, Media, MediaTarget, PlanFormat, Session, Supported};

/// First dynamic payload type (RFC 3551 section 6).
pub(crate) const DYNAMIC: u8 = 96;

/// What an agent says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// With the payload types it wants to receive them by.
    pub codecs: Vec<Supported<'static>>,
    pub direction: Direction,
    /// c=0.0.0.0: the hold of RFC 2543.
    pub nowhere: bool,
    /// m=audio 0.
    pub stopped: bool,
    pub media: SocketAddr,
    pub session_id: u64,
}

impl Shape {
    /// This one with what differs between two others.
    #[must_use]
    pub(crate) fn with_change(&self, before: &Self, after: &Self) -> Self {
        let mut shape = self.clone();
        if before.codecs != after.codecs {
            shape.codecs.clone_from(&after.codecs);
        }
        if (before.direction, before.nowhere, before.stopped)
            != (after.direction, after.nowhere, after.stopped)
        {
            (shape.direction, shape.nowhere, shape.stopped) =
                (after.direction, after.nowhere, after.stopped);
        }
        if before.media != after.media {
            shape.media = after.media;
        }
        shape
    }
}

/// What is in force between two descriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Formats of both, in the other side's order, with the numbers that each side asked for.
    pub formats: Vec<PlanFormat>,
    /// Where the other side wants RTP.
    pub remote_rtp: MediaTarget,
    pub remote_rtcp: MediaTarget,
    /// What *we* may do.
    pub direction: Direction,
}

impl Terms {
    /// No stream.
    #[must_use]
    pub fn none() -> Self {
        let (remote_rtp, remote_rtcp) = (MediaTarget::NOWHERE, MediaTarget::NOWHERE);
        let direction = Direction::Inactive;
        Self { formats: Vec::new(), remote_rtp, remote_rtcp, direction }
    }

    /// The format that a received payload type means.
    #[must_use]
    pub fn received(&self, pt: u8) -> Option<&PlanFormat> {
        self.formats.iter().find(|format| format.receive_pt == pt)
    }

    /// The audio formats, in the other side's order of preference.
    pub fn audio(&self) -> impl Iterator<Item = &PlanFormat> + Clone {
        self.formats.iter().filter(|format| format.codec.id.is_audio())
    }

    /// Digits beside audio of this clock rate, else of any.
    #[must_use]
    pub fn telephone_event(&self, clock: u32) -> Option<&PlanFormat> {
        let digits = || self.formats.iter().filter(|format| format.codec.is_telephone_event());
        digits().find(|format| format.codec.clock == clock).or_else(|| digits().next())
    }
}

/// The audio stream of a description, stopped or not.
#[must_use]
pub(crate) fn audio_of<'a>(session: &Session<'a>) -> Option<Media<'a>> {
    let audio = |media: &&Media<'_>| media.kind() == Kind::Audio && media.protocol().is_plain();
    let live = session.media().iter().find(|media| audio(media) && media.port() != 0);
    live.or_else(|| session.media().iter().find(audio)).cloned()
}

/// What the writer of a description does with audio: its direction, inactive where the stream is
/// stopped, without receiving where the address is 0.0.0.0.
#[must_use]
pub fn direction_of(text: &[u8]) -> Option<Direction> {
    let session = Session::parse(text).ok()?;
    let media = audio_of(&session)?;
    Some(media.direction_in_force())
}

/// What two descriptions put in force; `None` where both have a stream and no audio format in
/// common, or one cannot be read.
#[must_use]
pub fn agree(ours: &[u8], theirs: &[u8]) -> Option<Terms> {
    let (ours, theirs) = (Session::parse(ours).ok()?, Session::parse(theirs).ok()?);
    let (ours, theirs) = (audio_of(&ours)?, audio_of(&theirs)?);
    if ours.port() == 0 || theirs.port() == 0 {
        return Some(Terms::none());
    }
    let (our_formats, their_formats) = (ours.formats(), theirs.formats());
    let mut formats: Vec<PlanFormat> = Vec::new();
    for format in &their_formats {
        let Some(codec) = format.codec() else { continue };
        let taken = |pt: u8| formats.iter().any(|format| format.receive_pt == pt);
        let is = |mine: &&sdp::Format<'_>| mine.codec() == Some(codec) && !taken(mine.pt);
        if let Some(mine) = our_formats.iter().find(is) {
            formats.push(PlanFormat { codec, receive_pt: mine.pt, send_pt: format.pt });
        }
    }
    let remote_rtp = theirs.rtp().ok()?;
    let mux = ours.rtcp_mux() && theirs.rtcp_mux();
    let remote_rtcp = if mux { remote_rtp } else { theirs.rtcp().ok()? };
    let direction = ours.direction_in_force().and(theirs.direction_in_force().reversed());
    let terms = Terms { formats, remote_rtp, remote_rtcp, direction };
    let audible = terms.audio().next().is_some();
    audible.then_some(terms)
}

/// Writes an offer.
#[must_use]
pub fn offer(shape: &Shape, version: u64) -> Vec<u8> {
    let mut text = head(shape, version);
    section(&mut text, shape, &shape.codecs, shape.direction, "RTP/AVP");
    text.into_bytes()
}

/// Writes an answer: each offered format that we have, by the offer's numbers and in its order
/// (only the first audio format if `single`), what `shape` may do of what is offered, every other
/// stream refused. `None` where nothing is in common.
#[must_use]
pub fn answer(shape: &Shape, version: u64, offer: &[u8], single: bool) -> Option<Vec<u8>> {
    let offer = Session::parse(offer).ok()?;
    let audio = audio_of(&offer)?;
    let stopped = audio.port() == 0 || shape.stopped;
    let chosen = choose(&shape.codecs, &audio, single);
    if !stopped && !chosen.iter().any(|ours| codec(ours).is_some_and(|it| it.id.is_audio())) {
        return None;
    }
    let shape = Shape { stopped, ..shape.clone() };
    let mut text = head(&shape, version);
    for media in offer.media() {
        let protocol = String::from_utf8_lossy(media.protocol_text()).into_owned();
        if media.index() == audio.index() && !stopped {
            let direction = shape.direction.and(media.direction_in_force().reversed());
            section(&mut text, &shape, &chosen, direction, &protocol);
            continue;
        }
        let kind = String::from_utf8_lossy(media.kind_text());
        let formats = String::from_utf8_lossy(media.formats_text());
        text += &format!("m={kind} 0 {protocol} {}\r\n", formats.trim());
    }
    Some(text.into_bytes())
}

/// The offered formats that are ours, under the offer's numbers: audio first, then what
/// accompanies it at a clock rate that the audio has (RFC 4733 section 2.1).
fn choose(
    ours: &[Supported<'static>],
    offered: &Media<'_>,
    single: bool,
) -> Vec<Supported<'static>> {
    let formats = offered.formats();
    let pick = |audio: bool| {
        formats.iter().filter_map(move |format| {
            let theirs = format.codec()?;
            let mine = ours.iter().find(|mine| codec(mine) == Some(theirs))?;
            (theirs.id.is_audio() == audio).then_some(Supported { pt: format.pt, ..*mine })
        })
    };
    let mut chosen: Vec<_> = pick(true).take(if single { 1 } else { usize::MAX }).collect();
    let beside = |extra: &Supported<'_>| chosen.iter().any(|audio| audio.clock == extra.clock);
    let extra: Vec<_> = pick(false).filter(beside).collect();
    chosen.extend(extra);
    chosen
}

/// The codec of an entry.
#[must_use]
pub fn codec(supported: &Supported<'_>) -> Option<Codec> {
    supported.format().codec()
}

fn head(shape: &Shape, version: u64) -> String {
    let ip = shape.media.ip();
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    let zero = if ip.is_ipv4() { "0.0.0.0" } else { "::" };
    let at = if shape.nowhere { zero.to_owned() } else { ip.to_string() };
    let id = shape.session_id;
    format!("v=0\r\no=- {id} {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {at}\r\nt=0 0\r\n")
}

fn section(
    text: &mut String,
    shape: &Shape,
    codecs: &[Supported<'_>],
    direction: Direction,
    protocol: &str,
) {
    let port = if shape.stopped { 0 } else { shape.media.port() };
    *text += &format!("m=audio {port} {protocol}");
    for codec in codecs {
        *text += &format!(" {}", codec.pt);
    }
    *text += "\r\n";
    for codec in codecs {
        let Supported { pt, name, clock, fmtp, .. } = codec;
        let channels =
            if codec.channels == 1 { String::new() } else { format!("/{}", codec.channels) };
        *text += &format!("a=rtpmap:{pt} {name}/{clock}{channels}\r\n");
        if !fmtp.is_empty() {
            *text += &format!("a=fmtp:{pt} {fmtp}\r\n");
        }
    }
    *text += &format!("a=ptime:20\r\na={}\r\n", direction.name());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(codecs: &[Supported<'static>], port: u16) -> Shape {
        Shape {
            codecs: codecs.to_vec(),
            direction: Direction::SendRecv,
            nowhere: false,
            stopped: false,
            media: SocketAddr::from(([192, 0, 2, 1], port)),
            session_id: u64::from(port),
        }
    }

    #[test]
    fn an_answer_takes_the_offers_numbers_and_both_sides_agree() {
        let event = Supported { pt: 96, ..Supported::TELEPHONE_EVENT };
        let offered = offer(&shape(&[Supported::PCMA, Supported::PCMU, event], 4_000), 1);
        let ours = shape(&[Supported::PCMU, Supported::PCMA, Supported::TELEPHONE_EVENT], 5_000);
        let answered = answer(&ours, 1, &offered, true).unwrap();
        let caller = agree(&offered, &answered).unwrap();
        let callee = agree(&answered, &offered).unwrap();
        let numbers = |terms: &Terms| {
            terms.formats.iter().map(|it| (it.receive_pt, it.send_pt)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&caller), [(8, 8), (96, 96)]);
        assert_eq!(numbers(&callee), numbers(&caller));
        assert_eq!(answer(&shape(&[Supported::OPUS], 1), 1, &offered, false), None);
    }

    #[test]
    fn hold_in_every_form() {
        let ours = shape(&[Supported::PCMU], 5_000);
        for (direction, nowhere, stopped, told) in [
            (Direction::SendOnly, false, false, Direction::RecvOnly),
            (Direction::SendRecv, true, false, Direction::RecvOnly),
            (Direction::Inactive, false, false, Direction::Inactive),
            (Direction::SendRecv, false, true, Direction::Inactive),
        ] {
            let held = Shape { direction, nowhere, stopped, ..shape(&[Supported::PCMU], 4_000) };
            let offered = offer(&held, 2);
            let answered = answer(&ours, 1, &offered, false).unwrap();
            assert_eq!(direction_of(&answered), Some(told), "{held:?}");
            let terms = agree(&answered, &offered).unwrap();
            assert_eq!(terms.direction, told);
            assert_eq!(terms.formats.is_empty(), stopped);
        }
    }
}
