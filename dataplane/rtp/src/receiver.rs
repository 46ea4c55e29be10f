//! Statistics and admission of one received stream (RFC 3550 sections 6.4.1, A.1, A.3, A.8).
//!
//! ```text
//!   packet --> SSRC known? --no--> candidate: taken over at its second consecutive number
//!                | yes
//!                v
//!        distance to the highest number
//!          +1..dropout        in order (a gap counts as lost until it fills)
//!          -misorder..0       the window tells duplicate from reordered
//!          anything else      jump: taken over at the second consecutive number
//! ```
//!
//! Two things differ from A.1 because this is a relay. Probation may be 0: the source address was
//! checked before, and swallowing the first packet of every call would be heard. And a stream does
//! not end with its SSRC: carriers change it without telling (DESIGN.md section 4), so the counters
//! of a leg run on over the change, while those that a report block describes start anew. A
//! candidate must speak twice in a row: while the source in force goes on, packets between it and
//! the candidate keep it out, so that two sources on one address do not take the stream from each
//! other twenty times a second.
//!
//! A far end that describes itself anew (a second offer or answer) may begin to count anywhere,
//! with another SSRC or the same: [`Receiver::restart`] says so, and the next packet is taken at
//! once.

use core::time::Duration;

use base::Mono;

use crate::header::{Header, Ssrc};
use crate::rtcp::ReportBlock;
use crate::ticks::{ahead_u16, ahead_u32, low_half, ticks, ticks_to_micros};

/// Largest gap that is taken for loss (RFC 3550 A.1: MAX_DROPOUT).
const DROPOUT_MAX: i16 = 3_000;
/// Largest step back that is taken for reordering (RFC 3550 A.1: MAX_MISORDER).
const MISORDER_MAX: i16 = 100;
/// A packet overtaken by this many others is late: at 20 ms a playout buffer has given it up.
const LATE_PACKETS: u32 = 5;
/// Numbers that the window remembers; more than [`MISORDER_MAX`].
const WINDOW_BITS: u32 = 128;
/// A step of the transit time of this many seconds is a new timestamp base, not jitter.
const REBASE_SECONDS: u32 = 2;

/// Packets after [`Receiver::restart`] in which stragglers of the time before are told from a
/// source that began to count anew: two seconds at 20 ms.
const SETTLING_PACKETS: u32 = 100;

/// How many packets in sequence make a source valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Probation {
    /// The first packet counts: the source address has been checked by other means.
    #[default]
    None,
    /// Two consecutive sequence numbers (RFC 3550 A.1: MIN_SEQUENTIAL).
    Two,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Accepted, the first of a new source: call [`crate::Sender::switch_source`] before forwarding
    /// it.
    Start,
    /// Accepted, the same SSRC began to count elsewhere: as [`Verdict::Start`].
    Restart,
    /// Accepted, newer than all before.
    Next,
    /// Accepted, older than the newest and not seen before.
    Reordered,
    /// Seen before: drop.
    Duplicate,
    /// Not accepted yet (probation, unknown SSRC, or an impossible jump): drop, the next may
    /// confirm it.
    Unconfirmed,
}

impl Verdict {
    /// Whether the packet may be forwarded.
    #[must_use]
    pub const fn is_accepted(self) -> bool {
        matches!(self, Self::Start | Self::Restart | Self::Next | Self::Reordered)
    }

    /// Whether the outgoing stream must be tied to new numbers first.
    #[must_use]
    pub const fn is_new_source(self) -> bool {
        matches!(self, Self::Start | Self::Restart)
    }
}

/// How loss was distributed: the input of a burst ratio (BurstR of ITU-T G.107).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LossCounters {
    /// Packets missing in the sequence now.
    pub lost: u32,
    /// Runs of consecutive missing packets.
    pub runs: u32,
    /// Longest gap seen, in packets, before anything late filled it.
    pub run_packets_max: u16,
}

/// One received stream.
///
/// The order of the fields is the order of cache lines: a packet in sequence touches the first one.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Receiver {
    window: [u64; 2],
    /// When the newest packet that is no duplicate came.
    last_arrival: Mono,
    /// Extended highest sequence number: cycles in the upper half.
    highest: u32,
    ssrc: Ssrc,
    /// Received from this source, duplicates included (RFC 3550 A.3).
    received: u32,
    clock_hz: u32,
    transit: u32,
    /// Timestamp that `transit` was taken from.
    timestamp: u32,
    /// Scaled by 16 (RFC 3550 A.8).
    jitter: u32,
    jitter_max: u32,
    /// The next packet is the first of its source whatever it says.
    is_fresh: bool,
    has_candidate: bool,
    has_transit: bool,
    probation: Probation,
    loss: LossCounters,
    duplicates: u32,
    reordered: u32,
    late: u32,
    /// Extended number before which the source did not exist.
    base: u32,
    expected_prior: u32,
    received_prior: u32,
    /// Expected and received of sources before this one.
    expected_before: u32,
    received_before: u32,
    candidate: Ssrc,
    /// The source before the restart, which does not come back while it settles.
    former: Ssrc,
    /// Extended number from which a restart settles.
    settles_from: u32,
    candidate_seq: u16,
    sources: u16,
    was_restarted: bool,
}

impl Receiver {
    /// A packet in sequence touches no more of it than so many bytes from its start.
    pub const USUAL_BYTES: usize = core::mem::offset_of!(Self, loss);

    /// A stream not yet heard, of `clock_hz` timestamp units a second.
    #[must_use]
    pub const fn new(clock_hz: u32, probation: Probation) -> Self {
        Self {
            window: [0; 2],
            last_arrival: Mono(0),
            highest: 0,
            ssrc: Ssrc(0),
            received: 0,
            clock_hz,
            transit: 0,
            timestamp: 0,
            jitter: 0,
            jitter_max: 0,
            is_fresh: true,
            has_candidate: false,
            has_transit: false,
            probation,
            loss: LossCounters { lost: 0, runs: 0, run_packets_max: 0 },
            duplicates: 0,
            reordered: 0,
            late: 0,
            base: 0,
            expected_prior: 0,
            received_prior: 0,
            expected_before: 0,
            received_before: 0,
            candidate: Ssrc(0),
            former: Ssrc(0),
            settles_from: 0,
            candidate_seq: 0,
            sources: 0,
            was_restarted: false,
        }
    }

    /// Takes one packet into account and says what to do with it.
    #[inline]
    pub fn handle(&mut self, header: &Header, arrival: Mono) -> Verdict {
        let verdict = self.judge(header);
        if verdict == Verdict::Unconfirmed {
            return verdict;
        }
        self.received = self.received.wrapping_add(1);
        if verdict != Verdict::Duplicate {
            self.last_arrival = arrival;
            self.measure_jitter(header.timestamp, arrival);
        }
        verdict
    }

    /// Whether a packet of this source and number is simply the next one: newer than all before, of
    /// the source in force. [`Receiver::take_next`] takes it then.
    #[must_use]
    #[inline]
    pub const fn is_next(&self, ssrc: Ssrc, seq: u16) -> bool {
        let ahead = ahead_u16(seq, low_half(self.highest));
        !self.is_fresh && self.ssrc.0 == ssrc.0 && 1 <= ahead && ahead <= DROPOUT_MAX
    }

    /// Takes a packet into account for which [`Receiver::is_next`] holds, as [`Receiver::handle`]
    /// would.
    #[inline]
    pub fn take_next(&mut self, seq: u16, timestamp: u32, arrival: Mono) {
        self.has_candidate = false;
        self.advance(u32::from(seq.wrapping_sub(low_half(self.highest))));
        self.received = self.received.wrapping_add(1);
        self.last_arrival = arrival;
        self.measure_jitter(timestamp, arrival);
    }

    /// The far end has described itself anew: its next packet is taken at once, whatever its number
    /// and its SSRC, unless it just goes on in sequence. What the source before still has under way
    /// does not come back. The counters of the leg run on.
    pub fn restart(&mut self) {
        if self.sources == 0 {
            return;
        }
        self.is_fresh = true;
        self.has_candidate = false;
        self.was_restarted = true;
        self.former = self.ssrc;
        self.settles_from = self.highest;
    }

    #[inline]
    fn judge(&mut self, header: &Header) -> Verdict {
        if self.is_fresh || header.ssrc != self.ssrc {
            return self.newcomer(header);
        }
        let ahead = ahead_u16(header.seq, low_half(self.highest));
        if (1..=DROPOUT_MAX).contains(&ahead) {
            self.has_candidate = false;
            self.advance(u32::from(ahead.unsigned_abs()));
            Verdict::Next
        } else if (-MISORDER_MAX..=0).contains(&ahead) {
            self.behind(header, u32::from(ahead.unsigned_abs()))
        } else if self.confirms(header) {
            self.begin(header);
            Verdict::Restart
        } else {
            Verdict::Unconfirmed
        }
    }

    /// A packet of a source that is not in force, or the first after a restart.
    fn newcomer(&mut self, header: &Header) -> Verdict {
        let ahead = ahead_u16(header.seq, low_half(self.highest));
        let is_same = self.sources > 0 && header.ssrc == self.ssrc;
        if is_same && (1..=MISORDER_MAX).contains(&ahead) {
            // The restart was none: the source goes on.
            self.is_fresh = false;
            self.advance(u32::from(ahead.unsigned_abs()));
            return Verdict::Next;
        }
        if !is_same && !self.is_fresh && self.is_settling() && header.ssrc == self.former {
            return Verdict::Unconfirmed;
        }
        let at_once = self.is_fresh && self.probation == Probation::None;
        if !at_once && !self.confirms(header) {
            return Verdict::Unconfirmed;
        }
        self.begin(header);
        if is_same { Verdict::Restart } else { Verdict::Start }
    }

    /// A packet at or below the highest number: late, seen before, or of a source that has begun to
    /// count anew just below where it was when it described itself anew.
    fn behind(&mut self, header: &Header, behind: u32) -> Verdict {
        let verdict = self.fill(behind);
        if verdict == Verdict::Duplicate && self.is_settling() && self.confirms(header) {
            self.begin(header);
            return Verdict::Restart;
        }
        verdict
    }

    /// Whether a restart is so recent that packets of the time before may still come.
    const fn is_settling(&self) -> bool {
        self.was_restarted && self.highest.wrapping_sub(self.settles_from) <= SETTLING_PACKETS
    }

    /// Whether the packet follows the candidate; it becomes the candidate if not.
    fn confirms(&mut self, header: &Header) -> bool {
        let follows = self.has_candidate
            && self.candidate == header.ssrc
            && self.candidate_seq.wrapping_add(1) == header.seq;
        self.candidate = header.ssrc;
        self.candidate_seq = header.seq;
        self.has_candidate = !follows;
        follows
    }

    /// A source begins with this packet.
    fn begin(&mut self, header: &Header) {
        if self.sources > 0 {
            self.expected_before = self.expected_before.wrapping_add(self.expected());
            self.received_before = self.received_before.wrapping_add(self.received);
        }
        self.sources = self.sources.saturating_add(1);
        self.ssrc = header.ssrc;
        self.highest = u32::from(header.seq);
        self.base = self.highest;
        self.settles_from = self.highest;
        self.is_fresh = false;
        self.received = 0;
        self.expected_prior = 0;
        self.received_prior = 0;
        self.has_transit = false;
        self.has_candidate = false;
        // What came before the first number is not missing.
        self.window = [u64::MAX; 2];
    }

    /// The highest number moves by `step` > 0; what was skipped is lost for now.
    fn advance(&mut self, step: u32) {
        self.highest = self.highest.wrapping_add(step);
        let window = join(self.window);
        self.window = split(window.checked_shl(step).unwrap_or(0) | 1);
        let skipped = step - 1;
        if skipped > 0 {
            self.loss.lost = self.loss.lost.wrapping_add(skipped);
            self.loss.runs = self.loss.runs.wrapping_add(1);
            let skipped = u16::try_from(skipped).unwrap_or(u16::MAX);
            self.loss.run_packets_max = self.loss.run_packets_max.max(skipped);
        }
    }

    /// A number `behind` the highest arrived. Filling a hole shortens, splits or closes a run.
    fn fill(&mut self, behind: u32) -> Verdict {
        let mut window = join(self.window);
        let bit = 1_u128 << behind;
        if window & bit != 0 {
            self.duplicates = self.duplicates.wrapping_add(1);
            return Verdict::Duplicate;
        }
        window |= bit;
        self.window = split(window);
        self.reordered = self.reordered.wrapping_add(1);
        if behind >= LATE_PACKETS {
            self.late = self.late.wrapping_add(1);
        }
        let newer = window & (bit >> 1) != 0;
        let older = behind + 1 >= WINDOW_BITS || window & (bit << 1) != 0;
        self.loss.lost = self.loss.lost.saturating_sub(1);
        match (older, newer) {
            (true, true) => self.loss.runs = self.loss.runs.saturating_sub(1),
            (false, false) => self.loss.runs = self.loss.runs.wrapping_add(1),
            _ => {}
        }
        Verdict::Reordered
    }

    /// RFC 3550 A.8. Packets that repeat a timestamp say nothing about transit (RFC 4733 digits
    /// keep the one of their start), and a step of seconds is a source that re-based its clock.
    fn measure_jitter(&mut self, timestamp: u32, arrival: Mono) {
        if self.has_transit && timestamp == self.timestamp {
            return;
        }
        let transit = ticks(Duration::from_nanos(arrival.0), self.clock_hz).wrapping_sub(timestamp);
        let step = ahead_u32(transit, self.transit).unsigned_abs();
        self.transit = transit;
        self.timestamp = timestamp;
        if !self.has_transit {
            self.has_transit = true;
            return;
        }
        if step >= self.clock_hz.saturating_mul(REBASE_SECONDS) {
            return;
        }
        // Saturating: the clock rate is the peer's word.
        let decay = self.jitter.saturating_add(8) >> 4;
        self.jitter = self.jitter.saturating_add(step).saturating_sub(decay);
        self.jitter_max = self.jitter_max.max(self.jitter >> 4);
    }

    /// The report block about this source, closing the interval since the last one (RFC 3550 A.3).
    /// None before any packet was accepted. `last_sr` and `delay_since_last_sr` come from
    /// [`crate::rtcp::Peer`].
    pub fn report(&mut self, last_sr: u32, delay_since_last_sr: u32) -> Option<ReportBlock> {
        if self.sources == 0 {
            return None;
        }
        let expected = self.expected();
        let expected_now = expected.wrapping_sub(self.expected_prior);
        let received_now = self.received.wrapping_sub(self.received_prior);
        self.expected_prior = expected;
        self.received_prior = self.received;
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: fraction(expected_now, received_now),
            cumulative_lost: clamp_24(i64::from(expected) - i64::from(self.received)),
            highest_sequence: self.highest,
            jitter: self.jitter >> 4,
            last_sr,
            delay_since_last_sr,
        })
    }

    /// Timestamp units a second changed with the codec; jitter starts anew.
    pub fn set_clock(&mut self, clock_hz: u32) {
        if clock_hz != self.clock_hz {
            self.clock_hz = clock_hz;
            self.jitter = 0;
            self.has_transit = false;
        }
    }

    /// The source in force, None before the first.
    #[must_use]
    pub fn ssrc(&self) -> Option<Ssrc> {
        (self.sources > 0).then_some(self.ssrc)
    }

    /// Whether the packet goes on where the source in force stopped: its SSRC, its next numbers.
    #[must_use]
    pub fn is_followed_by(&self, header: &Header) -> bool {
        let ahead = ahead_u16(header.seq, low_half(self.highest));
        self.sources > 0 && header.ssrc == self.ssrc && (1..=DROPOUT_MAX).contains(&ahead)
    }

    /// Packets accepted on this leg, duplicates included.
    #[must_use]
    pub fn packets(&self) -> u64 {
        u64::from(self.received_before) + u64::from(self.received)
    }

    /// When the last packet that is no duplicate was accepted; for media timeouts.
    #[must_use]
    pub const fn last_arrival(&self) -> Mono {
        self.last_arrival
    }

    /// Packets that all sources of this leg must have sent (RFC 3550 A.3).
    #[must_use]
    pub fn expected_total(&self) -> u64 {
        u64::from(self.expected()) + u64::from(self.expected_before)
    }

    /// Packets lost on this leg: expected less received, negative with many duplicates (RFC 3550
    /// A.3).
    #[must_use]
    pub fn lost_total(&self) -> i64 {
        let received = i64::from(self.received) + i64::from(self.received_before);
        i64::try_from(self.expected_total()).unwrap_or(i64::MAX) - received
    }

    /// Holes in the sequences, duplicates disregarded.
    #[must_use]
    pub const fn loss(&self) -> LossCounters {
        self.loss
    }

    #[must_use]
    pub const fn duplicates(&self) -> u32 {
        self.duplicates
    }

    #[must_use]
    pub const fn reordered(&self) -> u32 {
        self.reordered
    }

    /// Those of [`Receiver::reordered`] that five or more others had overtaken.
    #[must_use]
    pub const fn late(&self) -> u32 {
        self.late
    }

    /// Sources taken over, the first included, restarts of the same SSRC too.
    #[must_use]
    pub const fn sources(&self) -> u16 {
        self.sources
    }

    /// Extended highest sequence number of the source in force.
    #[must_use]
    pub const fn highest_sequence(&self) -> u32 {
        self.highest
    }

    /// Times that the sequence number of the source in force has wrapped.
    #[must_use]
    pub const fn cycles(&self) -> u16 {
        low_half(self.highest >> 16)
    }

    /// Interarrival jitter in timestamp units (RFC 3550 section 6.4.1).
    #[must_use]
    pub const fn jitter(&self) -> u32 {
        self.jitter >> 4
    }

    /// Interarrival jitter in microseconds.
    #[must_use]
    pub fn jitter_micros(&self) -> u64 {
        ticks_to_micros(self.jitter >> 4, self.clock_hz)
    }

    /// The largest value that the jitter estimate has had, in microseconds.
    #[must_use]
    pub fn jitter_max_micros(&self) -> u64 {
        ticks_to_micros(self.jitter_max, self.clock_hz)
    }

    /// Packets that the source in force must have sent.
    const fn expected(&self) -> u32 {
        if self.sources == 0 { 0 } else { self.highest.wrapping_sub(self.base).wrapping_add(1) }
    }
}

/// RFC 3550 A.3: loss of an interval in 1/256, 0 where duplicates outnumber losses.
fn fraction(expected: u32, received: u32) -> u8 {
    let lost = u64::from(expected.saturating_sub(received));
    let share = (lost << 8).checked_div(u64::from(expected)).unwrap_or(0);
    u8::try_from(share).unwrap_or(u8::MAX)
}

/// The 24-bit signed field saturates (RFC 3550 A.3).
fn clamp_24(lost: i64) -> i32 {
    i32::try_from(lost.clamp(-0x80_0000, 0x7f_ffff)).unwrap_or(0)
}

/// The window as one number; kept as two words so that the structure is aligned to 8.
fn join(window: [u64; 2]) -> u128 {
    (u128::from(window[1]) << 64) | u128::from(window[0])
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves together are the whole")]
const fn split(window: u128) -> [u64; 2] {
    [window as u64, (window >> 64) as u64]
}
