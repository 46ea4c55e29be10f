//! Digits in RTP (RFC 4733).
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   |     event     |E|R| volume    |          duration             |
//! ```
//!
//! One event is many packets: all with the timestamp of its start, growing durations, the last one
//! (E bit) sent three times. The detector turns them back into one event whatever is lost.

use core::time::Duration;

use base::Mono;

use crate::ticks::{ahead_u32, ticks};

/// Bytes of one event in a payload.
pub const PAYLOAD_BYTES: usize = 4;
/// Times that the end of an event is sent (RFC 4733 section 2.5.1.4).
const END_PACKETS: u8 = 3;
/// A step of the timestamp within an event that some senders make, who stamp every packet anew.
const RESTAMP_MAX: Duration = Duration::from_millis(60);
/// An event with an older timestamp is a straggler of an event already over, up to this age.
const STRAGGLER_MAX: Duration = Duration::from_secs(10);
/// An event without packets for this long has ended, its end was lost.
const SILENCE_MAX: Duration = Duration::from_millis(200);

/// One event payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// 0..=15 are 0-9, `*`, `#`, A-D; 16 is flash.
    pub code: u8,
    pub end: bool,
    /// Power in -dBm0, 0..=63.
    pub volume: u8,
    /// In timestamp units since the event's timestamp.
    pub duration: u16,
}

impl Event {
    /// Reads the first event of a payload; None for one that is too short.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let &[code, flags, d0, d1] = payload.first_chunk::<PAYLOAD_BYTES>()?;
        Some(Self {
            code,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([d0, d1]),
        })
    }

    /// The payload.
    #[must_use]
    pub fn to_bytes(self) -> [u8; PAYLOAD_BYTES] {
        let [d0, d1] = self.duration.to_be_bytes();
        [self.code, (u8::from(self.end) << 7) | (self.volume & 0x3f), d0, d1]
    }
}

/// The character of an event code; None for what is not a DTMF digit.
#[must_use]
pub fn digit(code: u8) -> Option<char> {
    b"0123456789*#ABCD".get(usize::from(code)).copied().map(char::from)
}

/// The event code of a character (letters in either case).
#[must_use]
pub fn code(digit: char) -> Option<u8> {
    let at = "0123456789*#ABCD".find(digit.to_ascii_uppercase())?;
    u8::try_from(at).ok()
}

/// What a packet told the detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Detected {
    /// An event that began: reported once for each event.
    pub started: Option<u8>,
    /// An event that ended, and its length in timestamp units: reported once for each event.
    pub ended: Option<(u8, u32)>,
}

/// Turns event packets into events.
#[derive(Clone, Copy, Debug)]
pub struct Detector {
    last_packet: Mono,
    clock_hz: u32,
    timestamp: u32,
    /// Length in timestamp units of the segments before this one (RFC 4733 section 2.5.1.3).
    earlier: u32,
    duration: u16,
    code: u8,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    During,
    Over,
}

impl Detector {
    /// For events of `clock_hz` timestamp units a second.
    #[must_use]
    pub const fn new(clock_hz: u32) -> Self {
        Self {
            last_packet: Mono(0),
            clock_hz,
            timestamp: 0,
            earlier: 0,
            duration: 0,
            code: 0,
            state: State::Fresh,
        }
    }

    /// Takes one packet into account: the header's marker and timestamp, the payload.
    pub fn handle(&mut self, marker: bool, timestamp: u32, payload: &[u8], now: Mono) -> Detected {
        let Some(event) = Event::parse(payload) else { return Detected::default() };
        let ahead = ahead_u32(timestamp, self.timestamp);
        if self.state == State::Fresh || self.is_new(&event, marker, ahead) {
            return self.begin(&event, timestamp, now);
        }
        if ahead < 0 || self.state == State::Over {
            // A straggler, or a repetition of the end.
            return Detected::default();
        }
        if ahead > 0 {
            self.continue_at(timestamp, ahead.unsigned_abs());
        }
        self.last_packet = now;
        self.duration = self.duration.max(event.duration);
        Detected { started: None, ended: if event.end { self.finish() } else { None } }
    }

    /// Ends an event whose end was lost. To be called now and then while [`Detector::deadline`] has
    /// passed.
    pub fn handle_timeout(&mut self, now: Mono) -> Detected {
        let over = self.deadline().is_some_and(|deadline| now >= deadline);
        Detected { started: None, ended: if over { self.finish() } else { None } }
    }

    /// When an event that has begun is taken for ended; None outside of events.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        (self.state == State::During).then(|| self.last_packet + SILENCE_MAX)
    }

    /// Timestamp units a second.
    #[must_use]
    pub const fn clock_hz(&self) -> u32 {
        self.clock_hz
    }

    /// Forgets everything: the source changed. An event under way is reported as ended.
    pub fn reset(&mut self) -> Detected {
        let ended = self.finish();
        self.state = State::Fresh;
        Detected { started: None, ended }
    }

    fn is_new(&self, event: &Event, marker: bool, ahead: i32) -> bool {
        if ahead == 0 {
            return false;
        }
        let distance = ahead.unsigned_abs();
        if ahead < 0 {
            return distance > ticks(STRAGGLER_MAX, self.clock_hz);
        }
        if self.state == State::Over || marker || event.code != self.code {
            return true;
        }
        let segment = distance == u32::from(self.duration) && self.duration >= u16::MAX - 2_000;
        let restamped =
            distance <= ticks(RESTAMP_MAX, self.clock_hz) && event.duration > self.duration;
        !segment && !restamped
    }

    fn begin(&mut self, event: &Event, timestamp: u32, now: Mono) -> Detected {
        let before = self.finish();
        self.state = State::During;
        self.code = event.code;
        self.timestamp = timestamp;
        self.earlier = 0;
        self.duration = event.duration;
        self.last_packet = now;
        let started = Some(event.code);
        // One packet may be all that arrives of an event. The end of the one before is then told,
        // its own end by the timeout or by a repetition.
        if event.end && before.is_none() {
            return Detected { started, ended: self.finish() };
        }
        Detected { started, ended: before }
    }

    /// The same event under a later timestamp: a further segment, or a sender that stamps anew.
    fn continue_at(&mut self, timestamp: u32, ahead: u32) {
        self.timestamp = timestamp;
        if ahead == u32::from(self.duration) {
            self.earlier = self.earlier.saturating_add(ahead);
            self.duration = 0;
        }
    }

    fn finish(&mut self) -> Option<(u8, u32)> {
        if self.state != State::During {
            return None;
        }
        self.state = State::Over;
        Some((self.code, self.earlier.saturating_add(u32::from(self.duration))))
    }
}

/// One packet to send for a digit; all share the timestamp of the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPacket {
    /// Set on the first packet.
    pub marker: bool,
    pub payload: [u8; PAYLOAD_BYTES],
}

/// The packets of one digit, to be sent one each packet time. The three end packets are the last
/// items.
#[derive(Clone, Copy, Debug)]
pub struct EventPackets {
    code: u8,
    volume: u8,
    step: u16,
    total: u16,
    sent: u16,
    ends: u8,
    started: bool,
}

impl EventPackets {
    /// A digit of `duration`, one packet each `ptime`, at `clock_hz`. Durations beyond what 16 bits
    /// hold (8.19 s at 8 kHz) are cut; the shortest is one packet time.
    #[must_use]
    pub fn new(code: u8, duration: Duration, ptime: Duration, clock_hz: u32) -> Self {
        let units = |time| u16::try_from(ticks(time, clock_hz)).unwrap_or(u16::MAX);
        let step = units(ptime).max(1);
        // -10 dBm0 is what most gateways send.
        let volume = 10;
        let total = units(duration).max(step);
        Self { code, volume, step, total, sent: 0, ends: 0, started: false }
    }

    /// Length of the event in timestamp units: how far the stream's own timestamps go on behind it.
    #[must_use]
    pub const fn ticks(&self) -> u16 {
        self.total
    }
}

impl Iterator for EventPackets {
    type Item = EventPacket;

    fn next(&mut self) -> Option<EventPacket> {
        if self.ends >= END_PACKETS {
            return None;
        }
        self.sent = self.sent.saturating_add(self.step).min(self.total);
        let end = self.sent == self.total;
        self.ends += u8::from(end);
        let marker = !self.started;
        self.started = true;
        let event = Event { code: self.code, end, volume: self.volume, duration: self.sent };
        Some(EventPacket { marker, payload: event.to_bytes() })
    }
}

/// Digits that wait behind the one being sent.
pub const QUEUE_EVENTS: usize = 8;

/// Digits to send one after the other into one stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventQueue {
    /// Codes and milliseconds, the oldest first: apart, for a pair of them takes four bytes.
    codes: [u8; QUEUE_EVENTS],
    millis: [u16; QUEUE_EVENTS],
    count: u8,
    current: Option<EventPackets>,
}

/// One packet out of an [`EventQueue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuedPacket {
    /// The first of its event: has the marker and a timestamp of its own, which the others repeat.
    pub starts: bool,
    pub payload: [u8; PAYLOAD_BYTES],
}

impl EventQueue {
    /// Puts a digit behind the others. False, and nothing changed, if [`QUEUE_EVENTS`] wait.
    pub fn push(&mut self, code: u8, duration_ms: u16) -> bool {
        let at = usize::from(self.count);
        let (Some(to), Some(millis)) = (self.codes.get_mut(at), self.millis.get_mut(at)) else {
            return false;
        };
        (*to, *millis) = (code, duration_ms);
        self.count += 1;
        true
    }

    /// Nothing is being sent and nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0 && self.current.is_none()
    }

    /// Forgets all, the event under way too.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next packet, to be asked for once each packet time; None when all is sent. `ptime` and
    /// `clock_hz` hold from the next event on.
    pub fn poll_packet(&mut self, ptime: Duration, clock_hz: u32) -> Option<QueuedPacket> {
        if self.current.is_none() {
            let (code, millis) = self.take()?;
            let duration = Duration::from_millis(u64::from(millis));
            self.current = Some(EventPackets::new(code, duration, ptime, clock_hz));
        }
        let packets = self.current.as_mut()?;
        let packet = packets.next()?;
        if packets.ends >= END_PACKETS {
            self.current = None;
        }
        Some(QueuedPacket { starts: packet.marker, payload: packet.payload })
    }

    fn take(&mut self) -> Option<(u8, u16)> {
        self.count = self.count.checked_sub(1)?;
        let first = (self.codes[0], self.millis[0]);
        self.codes.rotate_left(1);
        self.millis.rotate_left(1);
        Some(first)
    }
}
