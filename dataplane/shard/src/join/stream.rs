//! One leg's media: what comes from its far end and what goes there.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use base::{LegId, MediaPort, Mono, Path, Wall};
use rtp::telephone_event::Detector;
use rtp::{Probation, Receiver, Sender, Ssrc};
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

/// Which source may speak (THREATS.md, RTP bleed and injection). The address in the SDP always may, and
/// speaking locks it. Another one is learned only if it is the host that the signalling comes from (a
/// phone behind a NAT), only in the first moments, a few packets, and is locked when the window ends
/// without a word from the SDP's address. A lock is final until the SDP changes.
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

/// A leg's stream. Lives at the leg's index, kept apart from the leg because packets touch only this.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) on: bool,
    pub(crate) port: MediaPort,
    pub(crate) path: Path,
    /// Where RTP goes.
    pub(crate) target: SocketAddr,
    pub(crate) target_rtcp: SocketAddr,
    pub(crate) latch: Latch,
    /// The host that signals for this leg.
    pub(crate) signalling: IpAddr,
    pub(crate) plan: Plan,
    pub(crate) receiver: Receiver,
    pub(crate) sender: Sender,
    pub(crate) rtcp: rtp::rtcp::Peer,
    pub(crate) digits: Detector,
    pub(crate) hears: Hears,
    pub(crate) map: PtMap,
    pub(crate) play: Play,
    /// Number and timestamp of the next packet of our own making.
    pub(crate) play_seq: u16,
    pub(crate) play_timestamp: u32,
    /// Last packet taken from the far end, and when billing last saw media.
    pub(crate) heard: Mono,
    pub(crate) heard_wall: Wall,
    /// Taken from the far end and relayed.
    pub(crate) relayed: u64,
    pub(crate) relayed_bytes: u64,
    pub(crate) rtcp_at: Mono,
    /// Packets sent when the last report was written: an SR needs news.
    pub(crate) reported: u64,
}

impl Stream {
    /// Silent, at no port.
    pub(crate) fn idle() -> Self {
        let plan = Plan::default();
        Self {
            on: false,
            port: MediaPort { address: 0, port: 0 },
            path: Path::Socket,
            target: plan.remote_rtp,
            target_rtcp: plan.remote_rtcp,
            latch: Latch::Open,
            signalling: plan.remote_rtp.ip(),
            plan,
            receiver: Receiver::new(8_000, Probation::None),
            sender: Sender::new(Ssrc(0), 0, 0, 8_000),
            rtcp: rtp::rtcp::Peer::default(),
            digits: Detector::new(8_000),
            hears: Hears::Nobody,
            map: PtMap::default(),
            play: Play::Nothing,
            play_seq: 0,
            play_timestamp: 0,
            heard: Mono(0),
            heard_wall: Wall(0),
            relayed: 0,
            relayed_bytes: 0,
            rtcp_at: Mono::NEVER,
            reported: 0,
        }
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
        self.plan = plan;
        self.heard = now;
        self.on = true;
    }

    /// May this source speak? Locks or learns by the rules of [`Latch`]. The second value tells that the
    /// lock is new.
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
        self.plan.direction.sends() && self.target.port() != 0
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
