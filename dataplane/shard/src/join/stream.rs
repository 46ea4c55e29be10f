//! One leg's media: what comes from its far end and what goes there.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use base::{LegId, MediaPort, Mono, Path, Wall};
use rtp::telephone_event::Detector;
use rtp::{Probation, Receiver, Sender, Ssrc};
use sdp::limits::PLAN_FORMATS_MAX;
use sdp::{Plan, PtMap};
use wire::event::MediaSummary;

use crate::app::Play;

/// After answer (or an address change) a source other than the SDP's may be learned this long.
const LATCH_WINDOW: Duration = Duration::from_millis(400);
/// Packets taken from a source that is not locked yet.
pub(crate) const LATCH_PACKETS: u8 = 5;

/// Who hears what this leg's far end says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hears {
    Nobody,
    /// A leg of this shard, by index.
    Here(u32),
    /// Another shard's.
    Far(LegId),
}

/// Which source may speak (THREATS.md, RTP bleed and injection). The address in the SDP always may,
/// and speaking locks it. Another one is learned only if it is the host that the signalling comes
/// from (a phone behind a NAT), only in the first moments, a few packets, and is locked when the
/// window ends without a word from the SDP's address. A lock is final until the SDP changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Latch {
    /// Nobody spoke yet.
    Open,
    Learning {
        source: SocketAddr,
        until: Mono,
        packets: u8,
    },
    Locked(SocketAddr),
}

/// What becomes of a payload type of the far end: the plan and the join's map in one look, because
/// every packet asks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passes {
    /// Received, and as what it goes on; [`PtMap::DROP`] if it goes nowhere.
    pairs: [(u8, u8); PLAN_FORMATS_MAX],
    /// Bit per pair: it carries digits (RFC 4733).
    digits: u16,
    count: u8,
}

impl Passes {
    fn new(plan: &Plan, map: &PtMap, joined: bool) -> Self {
        let mut passes = Self::default();
        for (at, format) in plan.formats().iter().enumerate() {
            let pt = format.receive_pt;
            let to = map.map(pt).filter(|_| joined).unwrap_or(PtMap::DROP);
            passes.pairs[at] = (pt, to);
            passes.digits |= u16::from(format.codec.is_telephone_event()) << at;
            passes.count += 1;
        }
        passes
    }

    /// As what `pt` goes on, and whether it carries digits; None outside the answer.
    #[inline]
    pub(crate) fn find(&self, pt: u8) -> Option<(u8, bool)> {
        let pairs = self.pairs.get(..usize::from(self.count))?;
        let at = pairs.iter().position(|pair| pair.0 == pt)?;
        Some((pairs[at].1, self.digits >> at & 1 == 1))
    }
}

/// A leg's stream. Lives at the leg's index, kept apart from the leg because packets touch only
/// this.
///
/// The order of the fields is the order of cache lines: a relayed packet touches two lines of the
/// stream it leaves by and four of the one it came in by, whatever else a stream holds.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Stream {
    // Leaving.
    pub(crate) sender: Sender,
    /// Where RTP goes.
    pub(crate) target: SocketAddr,
    pub(crate) port: MediaPort,
    pub(crate) on: bool,
    /// The plan's direction, for packets.
    sends: bool,
    receives: bool,
    pub(crate) path: Path,
    pub(crate) relayed_bytes: u64,
    /// When its next report is due; here because it fills the line.
    pub(crate) rtcp_at: Mono,
    // Coming in.
    pub(crate) latch: Latch,
    pub(crate) hears: Hears,
    /// Taken from the far end and relayed.
    pub(crate) relayed: u64,
    /// Last packet taken from the far end, and when billing last saw media.
    pub(crate) heard: Mono,
    pub(crate) heard_wall: Wall,
    pub(crate) passes: Passes,
    pub(crate) receiver: Receiver,
    // Everything else.
    pub(crate) target_rtcp: SocketAddr,
    /// The host that signals for this leg.
    pub(crate) signalling: IpAddr,
    pub(crate) plan: Plan,
    pub(crate) rtcp: rtp::rtcp::Peer,
    pub(crate) digits: Detector,
    /// The formats of whoever hears it: with our own they say what passes, whichever changes.
    listener: Plan,
    pub(crate) play: Play,
    /// When the next packet of our own making is due: exactly, so that a tone keeps the wall's
    /// time.
    pub(crate) play_at: Mono,
    /// Number and timestamp of the next packet of our own making.
    pub(crate) play_seq: u16,
    pub(crate) play_timestamp: u32,
    /// Packets sent when the last report was written: an SR needs news.
    pub(crate) reported: u64,
}

const _: () = assert!(core::mem::offset_of!(Stream, latch) == 128);
const _: () = assert!(core::mem::offset_of!(Stream, receiver) == 256);

impl Stream {
    /// Silent, at no port.
    pub(crate) fn idle() -> Self {
        let plan = Plan::default();
        Self {
            sender: Sender::new(Ssrc(0), 0, 0, 8_000),
            target: plan.remote_rtp,
            port: MediaPort { address: 0, port: 0 },
            on: false,
            sends: false,
            receives: false,
            path: Path::Socket,
            relayed_bytes: 0,
            latch: Latch::Open,
            hears: Hears::Nobody,
            relayed: 0,
            heard: Mono(0),
            heard_wall: Wall(0),
            passes: Passes::default(),
            receiver: Receiver::new(8_000, Probation::None),
            target_rtcp: plan.remote_rtcp,
            signalling: plan.remote_rtp.ip(),
            plan,
            rtcp: rtp::rtcp::Peer::default(),
            digits: Detector::new(8_000),
            listener: Plan::default(),
            play: Play::Nothing,
            play_at: Mono::NEVER,
            play_seq: 0,
            play_timestamp: 0,
            rtcp_at: Mono::NEVER,
            reported: 0,
        }
    }

    /// Who hears the far end from now on, and in which formats.
    pub(crate) fn join(&mut self, hears: Hears, listener: Plan) {
        self.hears = hears;
        self.listener = listener;
        self.plan_packets();
    }

    /// Nobody hears the far end any more.
    pub(crate) fn part(&mut self) {
        self.hears = Hears::Nobody;
        self.plan_packets();
    }

    /// What packets ask of the plan, where they find it.
    fn plan_packets(&mut self) {
        let map = sdp::pt_map(&self.plan, &self.listener);
        self.passes = Passes::new(&self.plan, &map, self.hears != Hears::Nobody);
        self.sends = self.plan.direction.sends();
        self.receives = self.plan.direction.receives();
    }

    /// Whether the far end may speak.
    #[inline]
    pub(crate) fn receives(&self) -> bool {
        self.receives
    }

    /// Reads a word of every line that a packet coming in will touch, so that they are fetched side
    /// by side before they are needed one after the other.
    #[inline]
    pub(crate) fn warm_in(&self) -> u64 {
        let hears = u64::from(self.hears == Hears::Nobody);
        hears + self.relayed + self.receiver.packets() + u64::from(self.receiver.sources())
    }

    /// The same for a packet that leaves.
    #[inline]
    pub(crate) fn warm_out(&self) -> u64 {
        self.sender.packets() + u64::from(self.on)
    }

    /// The far end's description is known or has changed: where to send, what may come.
    pub(crate) fn set_plan(&mut self, plan: Plan, now: Mono) {
        let clock = plan.audio().map_or(8_000, |format| format.codec.clock);
        if self.plan.address_changed(&plan) || !self.on {
            self.target = plan.remote_rtp;
            self.target_rtcp = plan.remote_rtcp;
            self.latch = Latch::Open;
        }
        if self.sender.clock_hz() != clock {
            self.sender.switch_clock(clock);
            self.receiver.set_clock(clock);
        }
        if plan.direction.sends() && !self.sends {
            // What was not sent while the far end held is no loss: the stream goes on where it
            // stopped.
            self.sender.switch_source();
        }
        self.plan = plan;
        self.plan_packets();
        self.heard = now;
        self.on = true;
    }

    /// May this source speak? Locks or learns by the rules of [`Latch`]. The second value tells
    /// that the lock is new.
    #[inline]
    pub(crate) fn may_speak(&mut self, source: SocketAddr, now: Mono) -> (bool, bool) {
        match self.latch {
            Latch::Locked(locked) => (locked == source, false),
            _ => self.latch_on(source, now),
        }
    }

    #[cold]
    fn latch_on(&mut self, source: SocketAddr, now: Mono) -> (bool, bool) {
        if source == self.plan.remote_rtp {
            self.latch = Latch::Locked(source);
            self.target = source;
            return (true, true);
        }
        if source.ip().to_canonical() != self.signalling.to_canonical() {
            return (false, false);
        }
        match self.latch {
            Latch::Open => {
                self.latch = Latch::Learning { source, until: now + LATCH_WINDOW, packets: 1 };
                (true, false)
            }
            Latch::Learning { source: learned, until, packets } if learned == source => {
                if now >= until {
                    self.latch = Latch::Locked(source);
                    self.target = source;
                    return (true, true);
                }
                let packets = packets.saturating_add(1);
                self.latch = Latch::Learning { source, until, packets };
                (packets <= LATCH_PACKETS, false)
            }
            // The one being learned fell silent: the window opens anew.
            Latch::Learning { until, .. } if now >= until => {
                self.latch = Latch::Learning { source, until: now + LATCH_WINDOW, packets: 1 };
                (true, false)
            }
            _ => (false, false),
        }
    }

    /// May RTCP come from here? From the locked host, or where the SDP says.
    pub(crate) fn may_report(&self, source: SocketAddr) -> bool {
        let host = match self.latch {
            Latch::Locked(locked) => locked.ip(),
            _ => self.plan.remote_rtp.ip(),
        };
        source == self.plan.remote_rtcp || source.ip() == host
    }

    /// Whether the far end wants to hear us.
    #[inline]
    pub(crate) fn wants(&self) -> bool {
        self.sends && self.target.port() != 0
    }

    pub(crate) fn summary(&self) -> MediaSummary {
        let codec = self.plan.audio().and_then(|format| format.codec.id.name()).unwrap_or("");
        let ptime = Duration::from_millis(u64::from(self.plan.ptime_ms));
        let seen = rtp::quality::Observation::of(&self.receiver, self.rtcp.round_trip(), ptime);
        let quality = rtp::quality::rate(&seen, rtp::quality::CodecImpairment::of(codec));
        let heard = self.receiver.packets() > 0;
        MediaSummary {
            path: self.path,
            received: self.receiver.packets(),
            lost: u64::from(seen.loss.lost),
            jitter_us: u32::try_from(self.receiver.jitter_micros()).unwrap_or(u32::MAX),
            mos_centi: if heard { quality.mos_centi() } else { 0 },
            sent: self.sender.packets(),
            rtt_us: self
                .rtcp
                .round_trip()
                .map_or(0, |trip| u32::try_from(trip.as_micros()).unwrap_or(u32::MAX)),
            reported_loss: self.rtcp.report().map_or(0, |block| block.fraction_lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        let sdp: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        let mut stream = Stream::idle();
        stream.signalling = "198.51.100.7".parse().unwrap();
        stream.set_plan(Plan::fixed(sdp, sdp, &[]), Mono(0));
        stream
    }

    #[test]
    fn the_sdp_address_locks_and_nobody_else_speaks_then() {
        let mut stream = stream();
        let attacker = "203.0.113.9:4000".parse().unwrap();
        assert_eq!(stream.may_speak(attacker, Mono(0)), (false, false));
        let sdp = stream.plan.remote_rtp;
        assert_eq!(stream.may_speak(sdp, Mono(0)), (true, true));
        assert_eq!(stream.may_speak(sdp, Mono(0)), (true, false));
        assert_eq!(stream.may_speak(attacker, Mono(0)), (false, false));
        let neighbour = "198.51.100.7:4000".parse().unwrap();
        assert_eq!(stream.may_speak(neighbour, Mono(0)), (false, false));
    }

    #[test]
    fn a_phone_behind_a_nat_is_learned_after_the_window() {
        let mut stream = stream();
        let phone: SocketAddr = "198.51.100.7:61000".parse().unwrap();
        let mut taken = 0;
        for packet in 0..20_u64 {
            let (may, _) = stream.may_speak(phone, Mono(packet * 20_000_000));
            taken += u8::from(may);
        }
        assert_eq!(taken, LATCH_PACKETS);
        assert_eq!(stream.may_speak(phone, Mono(400_000_000)), (true, true));
        assert_eq!(stream.target, phone);
    }

    #[test]
    fn the_sdp_address_wins_over_a_learned_one() {
        let mut stream = stream();
        let neighbour = "198.51.100.7:61000".parse().unwrap();
        for _ in 0..50 {
            stream.may_speak(neighbour, Mono(0));
        }
        let sdp = stream.plan.remote_rtp;
        assert_eq!(stream.may_speak(sdp, Mono(1)), (true, true));
        assert_eq!(stream.may_speak(neighbour, Mono(2_000_000_000)), (false, false));
    }
}
