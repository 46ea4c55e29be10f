//! One leg's media: what comes from its far end and what goes there.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use base::{LegId, MediaPort, Mono, Path, fetch};
use rtp::telephone_event::{Detector, EventQueue};
use rtp::{Probation, Receiver, Sender, Ssrc};
use sdp::limits::PLAN_FORMATS_MAX;
use sdp::{MediaTarget, Plan, PlanFormat};
use wire::event::{MediaSummary, RtpRefused};

use super::Source;
use super::app::Play;
use super::latch::{Known, Latch};
use super::passes::{Passes, Special, Specials, Usual, Way};
use super::police::Police;
use super::transcode::is_g711;

/// Clock of everything that does not say otherwise, in timestamp units a second.
pub(crate) const CLOCK_HZ: u32 = 8_000;
/// Packet times that we send, in milliseconds, whatever the far end asks for.
const PTIME_MS: core::ops::RangeInclusive<u8> = 10..=60;

/// Bytes that memory is fetched in.
const LINE: usize = 64;

/// Whether relayed packets may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// The far end wants nothing, or there is none yet.
    Hold,
    /// A digit of ours is on its way: its timestamp stands still, so nothing else goes.
    Event,
}

/// A leg's stream. Lives at the leg's index, kept apart from the leg because packets touch only
/// this.
///
/// The order of the fields is the order of cache lines: a relayed packet touches two lines of the
/// stream it leaves by and two of the one it came in by, whatever else a stream holds.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Stream {
    // Leaving.
    pub(crate) sender: Sender,
    /// Where RTP goes.
    pub(crate) target: SocketAddr,
    /// Whose stream this is; [`LegId::NONE`] while it is idle.
    pub(crate) leg: LegId,
    /// The only leg whose far end may be heard here; [`LegId::NONE`] if none.
    source: LegId,
    pub(crate) port: MediaPort,
    gate: Gate,
    pub(crate) path: Path,
    /// The far end was told our port.
    pub(crate) is_told: bool,
    /// The digit under way was told at its start.
    pub(crate) is_digit_told: bool,
    // Coming in.
    pub(crate) latch: Latch,
    /// The sound that came last and goes on as it is; none while the far end may not speak.
    pub(crate) usual: Usual,
    /// A packet that began a source was lost on its way to another shard: the next one begins it.
    pub(crate) owes_start: bool,
    /// The packet time that the police goes by, in ms.
    pub(crate) pace: u8,
    /// Packets of speech taken whose payload the listener cannot hear, since the formats are as
    /// they are: billed silence if it goes on.
    pub(crate) undeliverable: u32,
    pub(crate) police: Police,
    /// Who hears the far end; [`LegId::NONE`] if nobody.
    listener: LegId,
    /// Taken from the far end and passed on: packets, and bytes of payload.
    pub(crate) relayed: u64,
    pub(crate) relayed_bytes: u64,
    pub(crate) receiver: Receiver,
    // Everything else; first what the meter asks for each second.
    /// The far end's last sign of life that was no RTP: RTCP that was taken, or a description.
    pub(crate) heard_at: Mono,
    /// When its next report is due.
    pub(crate) rtcp_at: Mono,
    /// The far end's description is known.
    pub(crate) on: bool,
    /// The plan's direction, for packets coming in.
    pub(crate) receives: bool,
    /// The packet paths know of the lock.
    pub(crate) is_lock_told: bool,
    /// The far end is another leg of this switch: its packets come from a port of ours.
    pub(crate) is_spiral: bool,
    /// Packets sent when the last report was written, modulo 2^32: an SR needs news.
    pub(crate) reported: u32,
    pub(crate) rtcp_police: Police,
    pub(crate) rtcp: rtp::rtcp::Peer,
    pub(crate) known: Known,
    /// Digits heard from the far end.
    pub(crate) tap: Detector,
    pub(crate) feed: Feed,
    /// Packets of speech whose payload was turned into another codec, likewise.
    pub(crate) converted: u32,
    pub(crate) refused: Refused,
    pub(crate) target_rtcp: MediaTarget,
    pub(crate) plan: Plan,
    pub(crate) passes: Passes,
    pub(crate) specials: Specials,
    /// Which of the plan's formats is the audio that its listener has too; past them all if none
    /// is, or nobody listens.
    carried: u8,
}

/// Media that came and was not taken, as [`RtpRefused`] tells it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Refused {
    pub(crate) source: u32,
    pub(crate) payload: u32,
    pub(crate) rate: u32,
    pub(crate) looped: u32,
    pub(crate) foreign: MediaTarget,
}

/// Packets of our own making.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) play: Option<Play>,
    /// Where the cadence is, in samples.
    pub(crate) sample: u32,
    pub(crate) events: EventQueue,
    /// When the next packet is due: exactly, so that a tone keeps the wall's time.
    pub(crate) at: Mono,
    /// Number and timestamp of the next packet.
    pub(crate) seq: u16,
    pub(crate) timestamp: u32,
}

const _: () = assert!(core::mem::offset_of!(Stream, path) < 128);
const _: () = assert!(core::mem::offset_of!(Stream, latch) == LINE * 2);
const _: () = assert!(core::mem::offset_of!(Stream, receiver) == LINE * 3);
const _: () = assert!(Receiver::USUAL_BYTES <= LINE);
const _: () = assert!(size_of::<Stream>() == 960);

impl Refused {
    fn told(self) -> RtpRefused {
        let Self { source, payload, rate, looped, foreign } = self;
        RtpRefused { source, payload, rate, looped, foreign: foreign.address() }
    }
}

impl Stream {
    /// Silent, at no port, nobody's.
    pub(crate) fn idle() -> Self {
        let plan = Plan::default();
        let nowhere = SocketAddr::from(([0; 4], 0));
        Self {
            sender: Sender::new(Ssrc(0), 0, 0, CLOCK_HZ),
            target: nowhere,
            leg: LegId::NONE,
            source: LegId::NONE,
            port: MediaPort { address: 0, port: 0 },
            gate: Gate::Hold,
            path: Path::Socket,
            latch: Latch::OPEN,
            listener: LegId::NONE,
            heard_at: Mono(0),
            relayed: 0,
            relayed_bytes: 0,
            police: Police::new(),
            pace: plan.ptime_ms,
            usual: Usual::NONE,
            receives: false,
            owes_start: false,
            passes: Passes::NONE,
            receiver: Receiver::new(CLOCK_HZ, Probation::None),
            specials: [Special::NONE; PLAN_FORMATS_MAX],
            on: false,
            is_told: false,
            is_spiral: false,
            undeliverable: 0,
            converted: 0,
            known: Known::nothing(),
            refused: Refused::default(),
            is_lock_told: false,
            is_digit_told: false,
            target_rtcp: MediaTarget::NOWHERE,
            plan,
            carried: u8::MAX,
            rtcp: rtp::rtcp::Peer::default(),
            rtcp_police: Police::new(),
            rtcp_at: Mono::NEVER,
            reported: 0,
            tap: Detector::new(CLOCK_HZ),
            feed: Feed {
                play: None,
                sample: 0,
                events: EventQueue::default(),
                at: Mono::NEVER,
                seq: 0,
                timestamp: 0,
            },
        }
    }

    /// A new leg's stream: its port and path, the random beginning of its numbers (RFC 3550 section
    /// 5.1), the host that signals for it.
    pub(crate) fn open(
        &mut self,
        leg: LegId,
        (port, path): (MediaPort, Path),
        sender: Sender,
        signalling: IpAddr,
    ) {
        *self = Self { leg, port, path, sender, ..Self::idle() };
        self.known.signalling = signalling;
    }

    /// What the far end hears.
    pub(crate) fn source(&self) -> Source {
        match (self.feed.play, self.source) {
            (Some(play), _) => Source::Player(play),
            (None, LegId::NONE) => Source::Nothing,
            (None, leg) => Source::Leg(leg),
        }
    }

    /// The far end's last sign of life: RTP or RTCP that was taken, or a description.
    pub(crate) fn alive(&self) -> Mono {
        self.heard_at.max(self.receiver.last_arrival())
    }

    /// Who hears the far end; [`LegId::NONE`] if nobody.
    #[inline]
    pub(crate) fn listener(&self) -> LegId {
        self.listener
    }

    /// What the far end hears from now on: the stream is tied anew if that is news.
    pub(crate) fn set_source(&mut self, source: Source) {
        if self.source() == source {
            return;
        }
        (self.source, self.feed.play) = match source {
            Source::Nothing => (LegId::NONE, None),
            Source::Leg(leg) => (leg, None),
            Source::Player(play) => (LegId::NONE, Some(play)),
        };
        self.feed.sample = 0;
        self.retie();
        self.set_clocks();
    }

    /// Who hears the far end from now on, and in which formats; [`LegId::NONE`] for nobody.
    pub(crate) fn set_listener(&mut self, listener: LegId, formats: &Plan) {
        self.listener = listener;
        self.plan_packets((listener != LegId::NONE).then_some(formats));
        self.set_clocks();
    }

    /// The far end's description is known or has changed: where to send, what may come. `fresh`: it
    /// described itself anew; `heard_by`: the formats of whoever hears it. True if a lock that the
    /// packet paths know of is gone by this.
    pub(crate) fn set_plan(
        &mut self,
        plan: Plan,
        heard_by: Option<&Plan>,
        fresh: bool,
        now: Mono,
    ) -> bool {
        let mut unlocked = false;
        // A hold of the old kind (c=0.0.0.0) says nothing of where the far end is.
        let described = plan.remote_rtp.address();
        let moved = described.filter(|_| self.known.described != plan.remote_rtp);
        if let Some(described) = moved {
            self.target = described;
            let was = self.latch.open();
            self.known.move_to(plan.remote_rtp, was, now);
            unlocked = core::mem::take(&mut self.is_lock_told);
            self.known.is_unheard |= self.known.is_wary && described.ip() != self.known.signalling;
        }
        if moved.is_some() || self.plan.remote_rtcp != plan.remote_rtcp {
            self.target_rtcp = plan.remote_rtcp;
        }
        if fresh {
            self.receiver.restart();
        }
        let before = self.gate;
        self.on = true;
        self.plan = plan;
        self.heard_at = now;
        self.plan_packets(heard_by.filter(|_| self.listener != LegId::NONE));
        self.set_clocks();
        if self.gate == Gate::Open && before != Gate::Open {
            // What was not sent while the far end held is no loss: the stream goes on where it
            // stopped.
            self.sender.switch_source();
        }
        unlocked
    }

    /// What packets ask of the plan and of the formats of whoever hears it, where they find it.
    fn plan_packets(&mut self, listener: Option<&Plan>) {
        (self.passes, self.specials) = Passes::new(&self.plan, listener);
        self.usual = Usual::NONE;
        (self.undeliverable, self.converted) = (0, 0);
        let carried = self.specials.iter().zip(self.plan.formats());
        let carried = carried.zip(0..).find(|((it, _), _)| it.is_audio() && it.way != Way::Drop);
        self.carried = carried.map_or(u8::MAX, |(_, at)| at);
        let ptime = listener.map_or(u8::MAX, |listener| listener.ptime_ms);
        self.pace = self.plan.ptime_ms.min(ptime);
        self.receives = self.on && self.plan.direction.receives();
        if !self.wants() || self.plan.telephone_event().is_none() {
            self.feed.events.clear();
        }
        self.set_gate();
    }

    fn set_gate(&mut self) {
        self.gate = if !self.wants() {
            Gate::Hold
        } else if self.feed.events.is_empty() {
            Gate::Open
        } else {
            Gate::Event
        };
    }

    /// Begins or ends the time in which only a digit of ours is sent.
    pub(crate) fn set_event(&mut self) {
        let was = self.gate;
        self.set_gate();
        if self.gate != was {
            self.sender.switch_source();
        }
    }

    /// Another source feeds the stream from now on. Behind a digit under way it is tied anew
    /// anyway, and must not be before.
    fn retie(&mut self) {
        if self.gate != Gate::Event {
            self.sender.switch_source();
        }
    }

    /// The clocks of what goes out and what comes in, as far as the plans tell.
    fn set_clocks(&mut self) {
        let outgoing = match self.source() {
            Source::Player(_) => self.tone_format(),
            Source::Leg(_) => self.carried_format(),
            Source::Nothing => self.plan.audio(),
        };
        let outgoing = outgoing.map_or_else(|| self.sender.clock_hz(), |format| format.codec.clock);
        if self.sender.clock_hz() != outgoing {
            self.feed.events.clear();
            self.set_gate();
            self.sender.switch_clock(outgoing);
        }
        let incoming = self.carried_format().map_or(CLOCK_HZ, |format| format.codec.clock);
        self.receiver.set_clock(incoming);
    }

    /// The audio format in use: the most preferred one that the other leg has too.
    fn carried_format(&self) -> Option<PlanFormat> {
        let shared = self.plan.formats().nth(usize::from(self.carried));
        shared.or_else(|| self.plan.audio())
    }

    /// The format that tones are played in: G.711 or nothing.
    pub(crate) fn tone_format(&self) -> Option<PlanFormat> {
        self.plan.formats().find(|format| is_g711(format.codec))
    }

    /// The format that digits are sent in, at the clock of the stream where there are several.
    pub(crate) fn event_format(&self) -> Option<PlanFormat> {
        let clock = self.sender.clock_hz();
        let mut digits = self.plan.formats().filter(|f| f.codec.is_telephone_event());
        digits.clone().find(|format| format.codec.clock == clock).or_else(|| digits.next())
    }

    /// Packet time of what we make ourselves: as the far end asks, within reason.
    pub(crate) fn packet_time(&self) -> Duration {
        let most = match self.plan.maxptime_ms {
            0 => *PTIME_MS.end(),
            most => most,
        };
        let millis = self.plan.ptime_ms.min(most).clamp(*PTIME_MS.start(), *PTIME_MS.end());
        Duration::from_millis(u64::from(millis))
    }

    /// Whether a packet of the far end of `from` may not leave here.
    #[inline]
    pub(crate) fn refuses(&self, to: LegId, from: LegId) -> bool {
        self.gate != Gate::Open || self.source != from || self.leg != to
    }

    pub(crate) fn gate(&self) -> Gate {
        self.gate
    }

    /// Whether packets of `from` are what the far end of `to` hears.
    pub(crate) fn hears(&self, to: LegId, from: LegId) -> bool {
        self.source == from && self.leg == to
    }

    /// The far end speaks something that its listener does not.
    pub(crate) fn is_strange(&self) -> bool {
        self.undeliverable > 0 || self.converted >= super::LOST_TOLD
    }

    /// Whether the far end wants to hear us, and can be reached.
    pub(crate) fn wants(&self) -> bool {
        let is_somewhere = self.plan.remote_rtp != MediaTarget::NOWHERE;
        self.on && self.plan.direction.sends() && is_somewhere && !self.known.is_unheard
    }

    /// The far end is in nobody's list: nothing is sent until it shows that it hears us where it
    /// says it is. `hears`: its signalling host has shown so already.
    pub(crate) fn beware(&mut self, hears: bool) {
        (self.known.is_wary, self.known.is_unheard) = (true, !hears);
    }

    /// What we sent to the signalling host came back: media may go there.
    pub(crate) fn signalling_hears(&mut self) {
        let described = self.known.described.address();
        if described.is_some_and(|described| described.ip() == self.known.signalling) {
            self.set_heard();
        }
    }

    /// A source that knows our port speaks where we would send to.
    pub(crate) fn target_speaks(&mut self, source: SocketAddr) {
        if self.target.ip() == source.ip() {
            self.set_heard();
        }
    }

    pub(crate) fn is_unheard(&self) -> bool {
        self.known.is_unheard
    }

    fn set_heard(&mut self) {
        if !core::mem::take(&mut self.known.is_unheard) {
            return;
        }
        let before = self.gate;
        self.set_gate();
        if self.gate == Gate::Open && before != Gate::Open {
            self.sender.switch_source();
        }
    }

    /// Fetches every line that a packet coming in will touch.
    #[inline]
    pub(crate) fn fetch_in(&self) {
        fetch::ahead(&self.latch);
        fetch::ahead(&self.receiver);
    }

    /// The same for a packet that leaves.
    #[inline]
    pub(crate) fn fetch_out(&self) {
        fetch::ahead(&self.sender);
        fetch::ahead(&self.leg);
    }

    /// The same for a leg that is metered.
    pub(crate) fn fetch_meter(&self) {
        self.fetch_in();
        fetch::ahead(&self.heard_at);
    }

    /// What it heard is too old to be passed on, but a sign of life.
    #[cold]
    pub(crate) fn outlive(&mut self, source: SocketAddr, now: Mono) {
        if self.latch.is_locked_to(&source) {
            self.heard_at = now;
        }
    }

    pub(crate) fn summary(&self) -> MediaSummary {
        let codec = self.carried_format().and_then(|format| format.codec.id.name()).unwrap_or("");
        let ptime = Duration::from_millis(u64::from(self.plan.ptime_ms));
        let seen = rtp::quality::Observation::of(&self.receiver, self.rtcp.round_trip(), ptime);
        let quality = rtp::quality::rate(&seen, rtp::quality::CodecImpairment::of(codec));
        let heard = self.receiver.packets() > 0;
        let micros = |trip: Duration| u32::try_from(trip.as_micros()).unwrap_or(u32::MAX);
        MediaSummary {
            path: self.path,
            received: self.receiver.packets(),
            lost: u64::from(seen.loss.lost),
            jitter_us: u32::try_from(self.receiver.jitter_micros()).unwrap_or(u32::MAX),
            mos_centi: if heard { quality.mos_centi() } else { 0 },
            sent: self.sender.packets(),
            rtt_us: self.rtcp.round_trip().map_or(0, micros),
            reported_loss: self.rtcp.report().map_or(0, |block| block.fraction_lost),
            refused: self.refused.told(),
        }
    }
}
