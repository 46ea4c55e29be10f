//! Digits: as RTP events they cross with the packets; where the other side has none they cross as
//! INFO, and those that come by INFO become RTP events where the other side has those. Events are
//! sent one after the other: who dials faster than they can be is told to come again.

use arrayvec::ArrayVec;
use base::{Arena, LegId, Mono, Stored};
use core::time::Duration;
use rtp::telephone_event::QUEUE_EVENTS;
use sip::Message;
use wire::event::Event;

use super::{LegMut, Request};
use crate::handoff::{DigitPath, PeerMessage};
use crate::transaction::Sent;

/// Length of a digit whose INFO does not say it, milliseconds.
const DURATION_MS: u16 = 160;
/// Longest digit that is passed on, milliseconds (RFC 4733: 16 bits at 8 kHz hold 8 s).
const DURATION_MS_MAX: u16 = 8_000;

/// What a digit takes beyond its length, at most: its end is said three times, in packets of at
/// most 60 ms.
const END: Duration = Duration::from_millis(180);

/// Digits that the other leg has to send as events: when each of them is sent, at the latest. The
/// other leg may be another shard's, so that its queue cannot be asked before the 200.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Stored);

impl Waiting {
    /// One more. False if there is no room for it at the other leg (or here).
    fn push(&mut self, arena: &mut Arena, now: Mono, duration_ms: u16) -> bool {
        let mut times: ArrayVec<Mono, QUEUE_EVENTS> =
            wire::decode(arena.get(&self.0)).unwrap_or_default();
        times.retain(|sent| *sent > now);
        let begins = times.last().copied().unwrap_or(now);
        let sent = begins + Duration::from_millis(u64::from(duration_ms)) + END;
        let mut text = [0; 16 * QUEUE_EVENTS];
        let stored = match times.try_push(sent) {
            Ok(()) => {
                wire::encode(&times, &mut text).ok().and_then(|len| arena.store(&text[..len]))
            }
            Err(_) => None,
        };
        let Some(stored) = stored else { return false };
        arena.free(&mut self.0);
        self.0 = stored;
        true
    }

    pub(crate) fn free(&mut self, arena: &mut Arena) {
        arena.free(&mut self.0);
    }
}

/// What becomes of a digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    Taken,
    /// Nobody takes one.
    Unheard,
    /// There is no room for it now.
    Full,
}

/// A digit that an INFO brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digit {
    digit: char,
    duration_ms: u16,
}

impl LegMut<'_, '_> {
    /// An INFO: digits are taken (`application/dtmf-relay`: `Signal=5`; `application/dtmf`: `5`) if
    /// they reach somebody; everything else is refused (RFC 6086 section 4.2.2: a 200 says that it
    /// was processed).
    pub(crate) fn info(&mut self, request: &Request<'_>) {
        let message = request.message;
        if message.has(sip::Name::InfoPackage) {
            return self.foreign_package(request);
        }
        if message.body().is_empty() {
            // A keep-alive of old phones.
            self.respond_short(request, 200);
            return;
        }
        let Some(digit) = digit_of(message) else {
            return self.respond(request, 415, |writer| {
                writer.field(sip::Name::Accept, b"application/dtmf-relay, application/dtmf")
            });
        };
        match self.carry(digit) {
            Carried::Taken => {}
            Carried::Unheard => {
                self.respond_short(request, 415);
                return;
            }
            Carried::Full => {
                return self
                    .respond(request, 503, |writer| writer.field(sip::Name::RetryAfter, b"1"));
            }
        }
        self.respond_short(request, 200);
        let (call, at) = (self.leg.story.call, self.stamp());
        self.cx.emit_optional(&Event::Digit { call, at, digit: digit.digit });
    }

    /// Brings a digit to whoever hears this leg's far end.
    fn carry(&mut self, digit: Digit) -> Carried {
        let links = &self.leg.links;
        let other = if links.partner == LegId::NONE { links.early } else { links.partner };
        if other == LegId::NONE {
            // The application is told, which is all there is; without one it reaches nobody.
            let unheard = self.leg.route().is_some() || links.dialed_for != LegId::NONE;
            let heard = self.leg.is_up() || !unheard;
            return if heard { Carried::Taken } else { Carried::Unheard };
        }
        let Digit { digit, duration_ms } = digit;
        let room = match self.peer_view().digits {
            DigitPath::None => return Carried::Unheard,
            DigitPath::Event => {
                self.leg.digits.push(&mut self.cx.core.arena, self.cx.now.mono, duration_ms)
            }
            DigitPath::Info => true,
        };
        if !room {
            return Carried::Full;
        }
        self.tell_peer(other, &PeerMessage::Digit { digit, duration_ms });
        Carried::Taken
    }

    /// A digit of our far end, heard in its packets. `crosses`: the other side gets those.
    pub(crate) fn heard_digit(&mut self, digit: char, duration_ms: u16, crosses: bool) {
        if !crosses {
            self.carry(Digit { digit, duration_ms: duration_ms.clamp(40, DURATION_MS_MAX) });
        }
        let (call, at) = (self.leg.story.call, self.stamp());
        self.cx.emit_optional(&Event::Digit { call, at, digit });
    }

    /// A digit of the other far end that does not cross as a packet.
    pub(crate) fn on_peer_digit(&mut self, from: LegId, digit: char, duration_ms: u16) {
        if self.leg.links.partner != from && self.leg.links.dialed_for != from {
            return;
        }
        if self.media.send_digit(&mut self.cx, self.leg.id, digit, duration_ms) {
            return;
        }
        let takes_info = self.leg.signalling.allows_info && self.leg.signalling.dialog.is_some();
        if takes_info && self.may_take_transaction() {
            let mut body = [0; 64];
            let Some(len) = relay_body(digit, duration_ms, &mut body) else { return };
            self.ask(Sent::Info, |writer, _| {
                let writer = writer.content(b"application/dtmf-relay", &body[..len]);
                writer.finish().ok().map(<[u8]>::len)
            });
        }
    }
}

fn relay_body(digit: char, duration_ms: u16, out: &mut [u8]) -> Option<usize> {
    use std::io::Write;
    let room = out.len();
    let mut rest = &mut *out;
    write!(rest, "Signal={digit}\r\nDuration={duration_ms}\r\n").ok()?;
    let left = rest.len();
    Some(room - left)
}

/// The digit in an INFO's body.
fn digit_of(message: &Message<'_>) -> Option<Digit> {
    let (kind, _) = message.content_type().ok()?;
    let body = message.body();
    let signal = if kind.eq_ignore_ascii_case(b"application/dtmf-relay") {
        line(body, b"Signal")?
    } else if kind.eq_ignore_ascii_case(b"application/dtmf") {
        body.trim_ascii()
    } else {
        return None;
    };
    let digit = signal_of(signal)?;
    let duration = line(body, b"Duration").and_then(|text| core::str::from_utf8(text).ok());
    let duration = duration.and_then(|text| text.parse::<u16>().ok()).unwrap_or(DURATION_MS);
    Some(Digit { digit, duration_ms: duration.clamp(40, DURATION_MS_MAX) })
}

/// One character, or the number that RFC 4733 section 3.2 gives to the event, as some gateways
/// write those that are no decimal digits. A part of anything longer would be another digit.
fn signal_of(signal: &[u8]) -> Option<char> {
    let digit = match signal {
        [byte] => char::from(*byte).to_ascii_uppercase(),
        b"10" => '*',
        b"11" => '#',
        b"12" => 'A',
        b"13" => 'B',
        b"14" => 'C',
        b"15" => 'D',
        _ => return None,
    };
    "0123456789*#ABCD".contains(digit).then_some(digit)
}

/// The value of a `Name=value` line.
fn line<'b>(body: &'b [u8], name: &[u8]) -> Option<&'b [u8]> {
    body.split(|byte| *byte == b'\n').find_map(|line| {
        let line = line.trim_ascii();
        let (key, value) = line.split_at(line.iter().position(|byte| *byte == b'=')?);
        let is = key.trim_ascii().eq_ignore_ascii_case(name);
        is.then(|| value[1..].trim_ascii())
    })
}
