//! What a description says, and which of its formats are chosen.

use base::{Arena, Stored};
use sdp::{PtSet, SdpError, Session, Supported};

use crate::handoff::{Formats, LegFormat};

/// Either can be turned into the other.
pub(super) const BOTH_LAWS: [Supported<'static>; 2] = [Supported::PCMU, Supported::PCMA];

/// It lists a law of G.711.
pub(super) fn speaks_law(session: &Session<'_>) -> bool {
    let laws = BOTH_LAWS.map(|law| law.format().codec());
    session.audio().is_ok_and(|audio| audio.formats().iter().any(|f| laws.contains(&f.codec())))
}

/// What we speak ourselves of an offer.
pub(super) fn own_audio(offer: &Session<'_>) -> Result<PtSet, SdpError> {
    let laws = BOTH_LAWS.map(|law| law.format().codec());
    pick(offer, |format| laws.contains(&format.codec()))
}

/// The first audio codec of an offer, whatever it is.
pub(super) fn first_audio(offer: &Session<'_>) -> Result<PtSet, SdpError> {
    let formats = offer.audio()?.formats();
    let is_audio = |format: &&sdp::Format<'_>| format.codec().is_some_and(|c| c.id.is_audio());
    let first = formats.iter().find(is_audio).and_then(sdp::Format::codec);
    pick(offer, |format| first.is_some() && format.codec() == first)
}

/// Payload types of the audio that passes, and of digits.
fn pick(offer: &Session<'_>, audio: impl Fn(&sdp::Format<'_>) -> bool) -> Result<PtSet, SdpError> {
    let mut allow = PtSet::NONE;
    let formats = offer.audio()?.formats();
    if !formats.iter().any(&audio) {
        return Err(SdpError::NoCommonCodec);
    }
    for format in &formats {
        if audio(format) || format.codec().is_some_and(|codec| codec.is_telephone_event()) {
            allow.insert(format.pt);
        }
    }
    Ok(allow)
}

/// The formats that a description lists, encoded; nothing where there is no room or no audio.
pub(super) fn listed(arena: &mut Arena, session: &Session<'_>) -> Stored {
    let mut formats = Formats::new();
    if let Ok(audio) = session.audio() {
        for format in &audio.formats() {
            let Some(codec) = format.codec() else { continue };
            let format = sdp::PlanFormat { codec, receive_pt: format.pt, send_pt: format.pt };
            let _ = formats.try_push(LegFormat::new(&format, false));
        }
    }
    let mut bytes = [0; 512];
    let len = wire::encode(&formats, &mut bytes).unwrap_or(0);
    arena.store(&bytes[..len]).unwrap_or_default()
}

/// Its audio stream is stopped, and nothing else is to take its place (a fax would).
pub(super) fn is_stopped(session: &Session<'_>) -> bool {
    session.audio_line().is_some() && session.media().iter().all(|line| line.port() == 0)
}
