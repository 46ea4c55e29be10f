//! Which source may speak (THREATS.md, RTP bleed and injection), and where it is answered.
//!
//! The address in the SDP always may, and speaking locks it. Another one is learned if the policy
//! of the trunk lets its host speak: by default the SDP's own host (a gateway that sends from
//! another port) and the host that the signalling comes from (a phone behind a NAT). It is heard
//! from its first packet on, because nobody can know better; as long as the SDP's address says
//! nothing, the first one learned keeps every other one out.
//!
//! ```text
//!   Open --(SDP's address)----------------------------------------> Locked to it
//!     \---(a host allowed)--> Learning --(window over)--> Locked, learned
//!   Learning --(SDP's address)------------------------------------> Locked to it
//!   Learning --(silent for 1 s, a host allowed)-------------------> Learning another
//!   Locked, learned --(SDP's address, 5 packets in a row)---------> Locked to it
//!   Locked --(silent for 1 s, then another port of its host with
//!             the same SSRC and the next numbers)-----------------> Locked, learned
//! ```
//!
//! The packet paths are told of a lock to the SDP's address while it speaks: then nobody else's
//! packets come up to here at all.
//!
//! A lock is opened by another address in the SDP and by nothing else; then the source before is
//! not learned in the first moments, because what comes from there was under way.
//!
//! Being heard is not being sent to: media goes to the SDP's address (RFC 3264 section 5.1), unless
//! that is an address of another network that nobody can reach from here, and then to whoever was
//! learned.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use base::Mono;
use base::address::classify;
use rtp::{Header, Receiver, Ssrc};
use sdp::MediaTarget;
use wire::table::MediaSources;

/// How long a learned source gives way to the SDP's address at its first packet.
const LATCH_WINDOW: Duration = Duration::from_millis(400);
/// How long the source before a change of address is not learned again: five packets.
const FORMER: Duration = Duration::from_millis(100);
/// Packets in a row: of a learned source until it is answered, of the SDP's address until it takes
/// a learned lock.
const LATCH_PACKETS: u8 = 5;
/// A source that says nothing for so long may be followed by another.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);

/// A leg's lock: what every packet asks. The rest is in [`Known`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Latch {
    /// Who is heard.
    source: MediaTarget,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody spoke yet.
    Open,
    Learning,
    /// To the SDP's address.
    Locked,
    /// To another one.
    Learned,
}

/// What is known of a far end's addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// What the SDP said last that was an address to send to.
    pub(crate) described: MediaTarget,
    /// The host that signals for this leg.
    pub(crate) signalling: IpAddr,
    /// Which hosts may be learned.
    pub(crate) sources: MediaSources,
    /// Locked under the description before, if anybody was, and until when it is not learned again.
    pub(crate) former: MediaTarget,
    pub(crate) former_until: Mono,
    /// Who was heard before the SDP's address spoke, under this description, and how many packets
    /// were heard until then.
    pub(crate) ousted: MediaTarget,
    pub(crate) ousted_after: u32,
    /// What the SDP's address has said against whom we listen to.
    pub(crate) claim: Claim,
    /// Of the source that is being learned: until when it is, and its packets so far.
    pub(crate) learning_until: Mono,
    pub(crate) learning_packets: u8,
    /// Whoever describes itself here may have forged its address, or described somebody else's.
    pub(crate) is_wary: bool,
    /// Nothing has shown yet that what we would send is wanted where it would go: nothing is sent.
    pub(crate) is_unheard: bool,
}

/// Packets in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Claim {
    ssrc: Ssrc,
    seq: u16,
    packets: u8,
}

/// A packet that asks to be heard, and what was heard before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    pub(crate) source: SocketAddr,
    pub(crate) ssrc: Ssrc,
    pub(crate) seq: u16,
    /// It goes on where the stream stopped.
    pub(crate) follows: bool,
    /// How long nothing was heard.
    pub(crate) silent: Duration,
    /// How many packets were heard so far, modulo 2^32.
    pub(crate) packets: u32,
}

/// May a source speak?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    No,
    Yes,
    /// Yes, and it is answered from now on.
    Settles,
    /// Yes, and it is locked by this.
    Locks,
}

impl Asking {
    pub(crate) fn new(source: SocketAddr, header: &Header, receiver: &Receiver, now: Mono) -> Self {
        Self {
            source,
            ssrc: header.ssrc,
            seq: header.seq,
            follows: receiver.is_followed_by(header),
            silent: now.since(receiver.last_arrival()),
            packets: u32::try_from(receiver.packets() & u64::from(u32::MAX)).unwrap_or(0),
        }
    }
}

impl Known {
    /// Of a leg that nothing is known of.
    pub(crate) fn nothing() -> Self {
        Self {
            described: MediaTarget::NOWHERE,
            signalling: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            sources: MediaSources::default(),
            former: MediaTarget::NOWHERE,
            former_until: Mono(0),
            ousted: MediaTarget::NOWHERE,
            ousted_after: 0,
            claim: Claim::default(),
            learning_until: Mono(0),
            learning_packets: 0,
            is_wary: false,
            is_unheard: false,
        }
    }

    /// Whether a host may be learned.
    fn allows(&self, host: IpAddr) -> bool {
        let host = host.to_canonical();
        let signalling = self.signalling.to_canonical();
        let described = self.described.address();
        described.is_some_and(|described| host == described.ip().to_canonical())
            || match self.sources {
                MediaSources::Described => false,
                MediaSources::Signalling => host == signalling,
                MediaSources::Network => network(host) == network(signalling),
            }
    }

    /// Where media goes when this source is locked or learned.
    pub(crate) fn target(&self, source: SocketAddr) -> SocketAddr {
        let Some(described) = self.described.address() else { return source };
        let (class, reached) = (classify(described.ip()), classify(source.ip()));
        let is_there = described.ip() == source.ip()
            || class.is_global()
            || class.shares_network_with(reached);
        if is_there { described } else { source }
    }

    /// Whether the SDP says that RTP is wanted there: the far end's own port, mostly.
    pub(crate) fn is_described(&self, source: SocketAddr) -> bool {
        self.described.address() == Some(source)
    }

    /// Whether it was ousted by a few packets of the SDP's address, behind which nothing came.
    fn may_return(&self, asking: &Asking) -> bool {
        let since = asking.packets.wrapping_sub(self.ousted_after);
        self.ousted.is_at(&asking.source) && since < u32::from(LATCH_PACKETS)
    }

    /// Another address was described.
    pub(crate) fn move_to(&mut self, described: MediaTarget, was: Option<SocketAddr>, now: Mono) {
        self.described = described;
        self.former = was.map_or(MediaTarget::NOWHERE, MediaTarget::new);
        self.former_until = now + FORMER;
        self.ousted = MediaTarget::NOWHERE;
        self.claim = Claim::default();
    }
}

/// The block that a host's neighbours share: /24, /64.
pub(crate) fn network(host: IpAddr) -> (bool, u128) {
    match host {
        IpAddr::V4(v4) => (false, u128::from(v4.to_bits() >> 8)),
        IpAddr::V6(v6) => (true, v6.to_bits() >> 64),
    }
}

impl Claim {
    /// One more packet: true if they are enough.
    fn goes_on(&mut self, asking: &Asking) -> bool {
        let follows =
            self.packets > 0 && self.ssrc == asking.ssrc && self.seq.wrapping_add(1) == asking.seq;
        let packets = if follows { self.packets + 1 } else { 1 };
        *self = Self { ssrc: asking.ssrc, seq: asking.seq, packets };
        packets >= LATCH_PACKETS
    }
}

impl Latch {
    pub(crate) const OPEN: Self = Self { source: MediaTarget::NOWHERE, state: State::Open };

    pub(super) fn locked_to(source: SocketAddr) -> Self {
        Self { source: MediaTarget::new(source), state: State::Locked }
    }

    pub(super) fn learned(source: SocketAddr) -> Self {
        Self { source: MediaTarget::new(source), state: State::Learned }
    }

    fn learning(source: SocketAddr) -> Self {
        Self { source: MediaTarget::new(source), state: State::Learning }
    }

    /// The only source that may speak now.
    pub(crate) fn locked(&self) -> Option<SocketAddr> {
        match self.state {
            State::Locked | State::Learned => self.source.address(),
            State::Open | State::Learning => None,
        }
    }

    /// The same if it is the SDP's address.
    pub(crate) fn locked_as_described(&self) -> Option<SocketAddr> {
        self.locked().filter(|_| self.state == State::Locked)
    }

    /// Whether this is the only source that may speak now.
    #[inline]
    pub(crate) fn is_locked_to(&self, from: &SocketAddr) -> bool {
        matches!(self.state, State::Locked | State::Learned) && self.source.is_at(from)
    }

    /// Nobody has spoken under the description in force. The source locked before.
    pub(crate) fn open(&mut self) -> Option<SocketAddr> {
        core::mem::replace(self, Self::OPEN).locked()
    }

    /// Locks or learns by the rules above; not asked for the source that is locked.
    pub(crate) fn judge(&mut self, asking: &Asking, known: &mut Known, now: Mono) -> Judgement {
        let source = asking.source;
        if MediaTarget::new(source) == MediaTarget::NOWHERE {
            // Nobody has port 0: it is forged, and could not be answered.
            return Judgement::No;
        }
        if known.is_described(source) {
            return self.described_speaks(asking, known);
        }
        let is_former = known.former.is_at(&source) && now < known.former_until;
        if is_former || !known.allows(source.ip()) {
            return Judgement::No;
        }
        match self.state {
            State::Locked | State::Learned => {
                if !(asking.follows || known.may_return(asking)) || asking.silent < SILENCE {
                    return Judgement::No;
                }
                *self = Self::learned(source);
                Judgement::Locks
            }
            State::Learning if self.source.is_at(&source) && now >= known.learning_until => {
                *self = Self::learned(source);
                Judgement::Locks
            }
            State::Learning if self.source.is_at(&source) => {
                let packets = known.learning_packets.saturating_add(1);
                known.learning_packets = packets;
                if packets == LATCH_PACKETS { Judgement::Settles } else { Judgement::Yes }
            }
            // Another one is being learned and has not fallen silent.
            State::Learning if asking.silent < SILENCE => Judgement::No,
            State::Open | State::Learning => {
                *self = Self::learning(source);
                (known.learning_until, known.learning_packets) = (now + LATCH_WINDOW, 1);
                Judgement::Yes
            }
        }
    }

    fn described_speaks(&mut self, asking: &Asking, known: &mut Known) -> Judgement {
        let is_held = self.locked().is_some() && asking.silent < SILENCE;
        if is_held && !known.claim.goes_on(asking) {
            // One forged packet must not take a call away from whom it has listened to.
            return Judgement::No;
        }
        // Who was heard until then may come back: the packet may have been forged all the same.
        (known.ousted, known.ousted_after) = (self.source, asking.packets);
        known.claim = Claim::default();
        *self = Self::locked_to(asking.source);
        Judgement::Locks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn known() -> Known {
        Known {
            described: MediaTarget::new("192.168.1.5:4000".parse().unwrap()),
            signalling: "198.51.100.7".parse().unwrap(),
            sources: MediaSources::Signalling,
            ..Known::nothing()
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A latch, what it knows, and the stream that it lets through.
    struct Door {
        latch: Latch,
        known: Known,
        heard: Option<(Ssrc, u16, Mono)>,
        packets: u32,
    }

    impl Door {
        fn new(known: Known) -> Self {
            Self { latch: Latch::OPEN, known, heard: None, packets: 0 }
        }

        fn described(&self) -> SocketAddr {
            self.known.described.address().unwrap()
        }

        fn ask(&mut self, source: SocketAddr, (ssrc, seq): (u32, u16), at: u64) -> Judgement {
            let now = Mono(1_000_000 * MS + at * MS);
            let ssrc = Ssrc(ssrc);
            if self.latch.locked() == Some(source) {
                self.heard = Some((ssrc, seq, now));
                self.packets += 1;
                return Judgement::Yes;
            }
            let follows = self.heard.is_some_and(|(last, at, _)| last == ssrc && at < seq);
            let silent = self.heard.map_or(Duration::MAX, |(_, _, at)| now.since(at));
            let packets = self.packets;
            let asking = Asking { source, ssrc, seq, follows, silent, packets };
            let judgement = self.latch.judge(&asking, &mut self.known, now);
            if judgement != Judgement::No {
                self.packets += 1;
                self.heard = Some((ssrc, seq, now));
            }
            judgement
        }

        /// So many packets, 20 ms apart, from `at` ms on: how many are heard.
        fn talk(&mut self, source: SocketAddr, ssrc: u32, at: u64, count: u16) -> usize {
            let packets = (0..count).filter(|packet| {
                let at = at + u64::from(*packet) * 20;
                self.ask(source, (ssrc, *packet), at) != Judgement::No
            });
            packets.count()
        }
    }

    #[test]
    fn what_comes_from_no_place_is_not_learned() {
        let mut door = Door::new(known());
        assert_eq!(door.talk(address("198.51.100.7:0"), 6, 0, 10), 0);
        assert_eq!(door.talk(address("198.51.100.7:61000"), 1, 10, 100), 100);
    }

    #[test]
    fn the_sdp_address_locks_and_nobody_else_speaks_then() {
        let mut door = Door::new(known());
        let (sdp, attacker) = (door.described(), address("203.0.113.9:4000"));
        assert_eq!(door.ask(attacker, (6, 0), 0), Judgement::No);
        assert_eq!(door.ask(sdp, (1, 0), 0), Judgement::Locks);
        assert_eq!(door.talk(attacker, 6, 0, 100), 0);
        assert_eq!(door.talk(address("198.51.100.7:4000"), 7, 0, 100), 0);
        assert_eq!(door.talk(address("192.168.1.5:4002"), 8, 0, 100), 0);
    }

    #[test]
    fn a_phone_behind_a_nat_loses_nothing_and_is_answered_after_five_packets() {
        let mut door = Door::new(known());
        let phone = address("198.51.100.7:61000");
        let first: Vec<_> =
            (0..5).map(|seq| door.ask(phone, (1, seq), u64::from(seq) * 20)).collect();
        assert_eq!(first[..4], [Judgement::Yes; 4]);
        assert_eq!(first[4], Judgement::Settles);
        assert_eq!(door.known.target(phone), phone);
        assert_eq!(door.talk(phone, 1, 100, 95), 95);
        assert_eq!(door.latch, Latch::learned(phone));
    }

    #[test]
    fn a_gateway_that_sends_from_another_port_is_heard_and_sent_to_where_it_said() {
        for described in ["198.51.100.7:4000", "9.9.9.9:4000", "198.51.100.99:4000"] {
            let described = address(described);
            let known = Known { described: MediaTarget::new(described), ..known() };
            let mut door = Door::new(known);
            let gateway = address("198.51.100.7:61000");
            assert_eq!(door.talk(gateway, 1, 0, 100), 100);
            assert_eq!(door.known.target(gateway), described);
        }
    }

    #[test]
    fn a_second_source_at_the_signalling_host_does_not_take_the_audio_away() {
        for gap in [20, 900] {
            let mut door = Door::new(known());
            let (phone, attacker) = (address("198.51.100.7:61000"), address("198.51.100.7:61002"));
            for seq in 0..20 {
                let at = u64::from(seq) * gap;
                assert_ne!(door.ask(phone, (1, seq), at), Judgement::No);
                for injected in 1..gap / 20 {
                    let asked = (6, u16::try_from(injected).unwrap());
                    assert_eq!(door.ask(attacker, asked, at + injected * 20), Judgement::No);
                }
            }
        }
    }

    #[test]
    fn the_sdp_address_wins_at_once_while_another_is_learned_and_by_five_packets_later() {
        let neighbour = address("198.51.100.7:61000");
        for (packets, heard) in [(5, 20), (100, 16)] {
            let mut door = Door::new(known());
            let sdp = door.described();
            assert_eq!(door.talk(neighbour, 6, 0, packets), usize::from(packets));
            assert_eq!(door.talk(sdp, 1, u64::from(packets) * 20, 20), heard);
            assert_eq!(door.talk(neighbour, 6, 4_000, 100), 0, "never again");
        }
    }

    #[test]
    fn single_forged_packets_of_the_sdp_address_do_not_displace_a_learned_lock() {
        let mut door = Door::new(known());
        let (phone, sdp) = (address("198.51.100.7:61000"), door.described());
        for seq in 0..100 {
            assert_ne!(door.ask(phone, (1, seq), u64::from(seq) * 20), Judgement::No);
            if seq > 30 {
                assert_eq!(door.ask(sdp, (6, seq * 7), u64::from(seq) * 20 + 1), Judgement::No);
            }
        }
        assert_eq!(door.latch.locked(), Some(phone));
    }

    #[test]
    fn a_new_port_of_the_same_host_goes_on_with_the_stream_after_a_second_of_silence() {
        let mut door = Door::new(known());
        let (old, new) = (address("198.51.100.7:61000"), address("198.51.100.7:62000"));
        door.talk(old, 1, 0, 50);
        assert_eq!(door.ask(new, (1, 50), 1_000), Judgement::No, "the old one spoke just now");
        assert_eq!(door.ask(new, (6, 100), 2_100), Judgement::No, "somebody else");
        assert_eq!(door.ask(new, (1, 20), 2_100), Judgement::No, "a repetition");
        assert_eq!(door.ask(address("203.0.113.9:9"), (1, 100), 2_100), Judgement::No, "a host");
        assert_eq!(door.ask(new, (1, 100), 2_100), Judgement::Locks);
        assert_eq!(door.known.target(new), new);
        assert_eq!(door.ask(old, (1, 101), 2_120), Judgement::No);
    }

    #[test]
    fn another_host_that_the_policy_allows_goes_on_with_the_stream_after_a_second_of_silence() {
        let known = Known { sources: MediaSources::Network, ..known() };
        let mut door = Door::new(known);
        let (old, new) = (address("198.51.100.7:61000"), address("198.51.100.99:62000"));
        door.talk(old, 1, 0, 50);
        assert_eq!(door.ask(new, (1, 50), 1_000), Judgement::No, "the old one spoke just now");
        assert_eq!(door.ask(new, (6, 100), 2_100), Judgement::No, "somebody else");
        assert_eq!(door.ask(new, (1, 100), 2_100), Judgement::Locks);
    }

    #[test]
    fn whom_a_forged_packet_of_the_sdp_address_has_ousted_is_heard_again_a_second_later() {
        // While it is learned, and when it has been silent for a while.
        for (packets, at) in [(3, 70), (50, 3_000)] {
            let mut door = Door::new(known());
            let (phone, sdp) = (address("198.51.100.7:61000"), door.described());
            assert_eq!(door.talk(phone, 1, 0, packets), usize::from(packets));
            assert_eq!(door.ask(sdp, (6, 9), at), Judgement::Locks, "it may be the gateway's own");
            assert_eq!(door.ask(phone, (1, 200), at + 500), Judgement::No);
            assert_eq!(door.ask(address("198.51.100.7:9"), (1, 201), at + 1_100), Judgement::No);
            assert_eq!(door.ask(phone, (1, 202), at + 1_100), Judgement::Locks);
            assert_eq!(door.ask(sdp, (6, 10), at + 1_120), Judgement::No, "not by one more");
        }
    }

    #[test]
    fn which_hosts_are_learned_says_the_policy() {
        use MediaSources as M;
        let cases = [
            ("198.51.100.7:9", [false, true, true]),
            ("198.51.100.99:9", [false, false, true]),
            ("198.51.101.7:9", [false, false, false]),
            ("192.168.1.5:9", [true, true, true]),
        ];
        for (source, expected) in cases {
            for (sources, expected) in
                [M::Described, M::Signalling, M::Network].into_iter().zip(expected)
            {
                let mut door = Door::new(Known { sources, ..known() });
                let heard = door.talk(address(source), 1, 0, 100);
                assert_eq!(heard, if expected { 100 } else { 0 }, "{source} {sources:?}");
            }
        }
    }

    #[test]
    fn what_the_old_port_has_under_way_is_not_learned_again() {
        let mut door = Door::new(known());
        let old = address("198.51.100.7:61000");
        door.talk(old, 1, 0, 50);
        let was = door.latch.open();
        assert_eq!(was, Some(old));
        door.known.move_to(
            MediaTarget::new(address("192.168.1.5:5000")),
            was,
            Mono(1_001_000 * MS),
        );
        assert_eq!(door.ask(old, (1, 50), 1_010), Judgement::No);
        assert_eq!(door.latch, Latch::OPEN);
        // A phone that really stayed there loses five packets by it.
        assert_eq!(door.ask(old, (1, 55), 1_100), Judgement::Yes);
    }
}
