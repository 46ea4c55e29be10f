//! Media ports: pairs (even RTP, odd RTCP) out of the blocks that are this shard's. A few pairs are
//! kept open and unused, so that a call gets its ports at once; a used pair rests before it is used
//! again, oldest first (DESIGN.md section 4), so that stragglers of one call are never heard in the
//! next.
//!
//! ```text
//!   closed --(refill)--> opening --(both opened)--> spare --> used --> resting (>= 2 s) --> spare
//!    ^  ^                    \--(refused)--> refused          |
//!    |  `----------------(later each time)------/              |
//!    `----------------------(more than a while needed)---------/
//! ```
//!
//! A port that the system refuses is somebody else's, or there is no descriptor or memory left:
//! neither lasts for ever. It is asked for again, a few at a time and later each time, as long as
//! spares are short. What is no matter of one port (no descriptor) holds up the whole address.

use std::collections::VecDeque;

use base::{Flow, FlowReport, LegId, MediaPort, Mono, Path};
use core::time::Duration;

use crate::plan::{Limits, MediaPlan};

/// How long a used pair rests.
const REST: Duration = Duration::from_secs(2);
/// When refused pairs are asked for again, at first and at last.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LAST: Duration = Duration::from_secs(5);
/// How many of them at a time, and how many at once while the system refuses.
const RETRY_PAIRS: usize = 256;
const CAREFUL: usize = 32;
/// Spares that nobody needed for so long are closed, but for twice those that are wanted, so many
/// at a look: after a busy hour descriptors and memory are given back.
const UNNEEDED: Duration = Duration::from_secs(5);
const CLOSED_AT_ONCE: usize = 8;
/// EADDRINUSE and EACCES: of this port. Everything else is of the address or the machine.
const OF_ONE_PORT: [i32; 2] = [98, 13];

#[derive(Debug)]
pub(crate) struct Ports {
    addresses: Vec<Address>,
    spare_wanted: usize,
    /// Pairs that the system has been asked for and has not refused; never more than the plan's.
    taken: usize,
    taken_max: usize,
    /// The last look at them.
    now: Mono,
}

#[derive(Debug)]
struct Address {
    /// Block number (port / 256) to the place of its owners, 0xffff for foreign blocks.
    blocks: Vec<u16>,
    /// Legs by place, one per pair; [`LegId::NONE`] for nobody.
    owners: Vec<LegId>,
    closed: VecDeque<u16>,
    /// (port, how many of the pair are open)
    opening: Vec<(u16, u8)>,
    spare: VecDeque<u16>,
    resting: VecDeque<(u16, Mono)>,
    /// The fewest spares since the last judgement of how many are needed, and when the next one is.
    fewest: usize,
    judged_at: Mono,
    /// Spares to be closed.
    unneeded: usize,
    refused: VecDeque<u16>,
    /// When refused ones are asked for again; NEVER if there are none.
    retry_at: Mono,
    retry_after: Duration,
    /// Nothing is to be had until then.
    is_shut: bool,
    path: Path,
}

const FOREIGN: u16 = u16::MAX;
const PAIRS: usize = 128;

impl Ports {
    /// `epoch`: a successor begins with other ports than its predecessor did, because the far ends
    /// of calls that died with it still send to theirs.
    pub(crate) fn new(media: &[MediaPlan], limits: &Limits, epoch: u32) -> Self {
        let spare_wanted = limits.spare_ports;
        let mut addresses: Vec<Address> = media.iter().map(Address::new).collect();
        for address in &mut addresses {
            let turn = epoch as usize * usize::from(spare_wanted.max(1));
            let pairs = address.closed.len().max(1);
            address.closed.rotate_left(turn % pairs);
        }
        Self {
            addresses,
            spare_wanted: usize::from(spare_wanted),
            taken: 0,
            taken_max: limits.port_pairs(media.len()),
            now: Mono(0),
        }
    }

    /// The leg that a port belongs to now.
    #[inline]
    pub(crate) fn owner(&self, port: MediaPort) -> Option<LegId> {
        let address = self.addresses.get(usize::from(port.address))?;
        let leg = *address.owners.get(address.place(port.port)?)?;
        (leg != LegId::NONE).then_some(leg)
    }

    /// A pair for a leg: its RTP port.
    pub(crate) fn take(&mut self, address: u8, leg: LegId) -> Option<(MediaPort, Path)> {
        let entry = self.addresses.get_mut(usize::from(address))?;
        let port = entry.spare.pop_front()?;
        entry.fewest = entry.fewest.min(entry.spare.len());
        let place = entry.place(port)?;
        entry.owners[place] = leg;
        Some((MediaPort { address, port }, entry.path))
    }

    /// The leg is over; the pair rests.
    pub(crate) fn give(&mut self, port: MediaPort, now: Mono, flows: &mut VecDeque<Flow>) {
        let Some(address) = self.addresses.get_mut(usize::from(port.address)) else { return };
        if let Some(place) = address.place(port.port) {
            address.owners[place] = LegId::NONE;
            address.resting.push_back((port.port, now + REST));
            flows.push_back(Flow::Unlock { port });
        }
    }

    /// A pair that no far end was told of: nothing will come for it.
    pub(crate) fn give_untold(&mut self, port: MediaPort) {
        let Some(address) = self.addresses.get_mut(usize::from(port.address)) else { return };
        if let Some(place) = address.place(port.port) {
            address.owners[place] = LegId::NONE;
            address.spare.push_front(port.port);
        }
    }

    /// Wakes rested pairs and asks for more where spares are few.
    pub(crate) fn refill(&mut self, now: Mono, flows: &mut VecDeque<Flow>) {
        self.now = now;
        for (index, address) in (0..).zip(&mut self.addresses) {
            if now >= address.retry_at {
                address.ask_again(now);
            }
            while let Some((port, until)) = address.resting.front().copied() {
                if until > now {
                    break;
                }
                address.resting.pop_front();
                address.spare.push_back(port);
            }
            while self.taken < self.taken_max && address.may_open(self.spare_wanted) {
                let Some(port) = address.closed.pop_front() else { break };
                self.taken += 1;
                address.opening.push((port, 0));
                flows.push_back(Flow::Open { port: MediaPort { address: index, port } });
                let port = MediaPort { address: index, port: port + 1 };
                flows.push_back(Flow::Open { port });
            }
        }
    }

    /// Closes some of the spares that nobody needs any more.
    pub(crate) fn shrink(&mut self, now: Mono, flows: &mut VecDeque<Flow>) {
        let wanted = self.spare_wanted * 2;
        for (index, address) in (0..).zip(&mut self.addresses) {
            if now >= address.judged_at {
                address.judged_at = now + UNNEEDED;
                address.unneeded = address.fewest.saturating_sub(wanted);
                address.fewest = address.spare.len();
            }
            for _ in 0..CLOSED_AT_ONCE.min(address.unneeded) {
                // The ones that rested last: those that come next are the oldest.
                let Some(port) = address.spare.pop_back() else { break };
                address.unneeded -= 1;
                address.fewest = address.fewest.min(address.spare.len());
                address.closed.push_back(port);
                self.taken -= 1;
                for port in [port, port + 1] {
                    flows.push_back(Flow::Close { port: MediaPort { address: index, port } });
                }
            }
        }
    }

    pub(crate) fn handle_report(&mut self, report: FlowReport, flows: &mut VecDeque<Flow>) {
        let (port, refused) = match report {
            FlowReport::Opened { port, path } => {
                if let Some(address) = self.addresses.get_mut(usize::from(port.address)) {
                    address.path = path;
                }
                (port, None)
            }
            FlowReport::Refused { port, errno } => (port, Some(errno)),
        };
        let Some(address) = self.addresses.get_mut(usize::from(port.address)) else { return };
        let even = port.port & !1;
        let Some(at) = address.opening.iter().position(|entry| entry.0 == even) else {
            // The other half was refused before: close this one too.
            if refused.is_none() {
                flows.push_back(Flow::Close { port });
            }
            return;
        };
        if let Some(errno) = refused {
            let open = address.opening.swap_remove(at).1;
            self.taken -= 1;
            address.refuse(even, errno, self.now);
            if open > 0 {
                let other = MediaPort { port: port.port ^ 1, ..port };
                flows.push_back(Flow::Close { port: other });
            }
            return;
        }
        address.opening[at].1 += 1;
        if address.opening[at].1 == 2 {
            address.opening.swap_remove(at);
            address.spare.push_back(even);
            address.retry_after = RETRY_FIRST;
        }
    }

    /// Pairs that the system refused when they were last asked for.
    pub(crate) fn refused(&self) -> u64 {
        self.addresses.iter().map(|address| address.refused.len() as u64).sum()
    }

    pub(crate) fn spare(&self) -> u64 {
        self.addresses.iter().map(|address| address.spare.len() as u64).sum()
    }

    /// Pairs that belong to a leg now.
    pub(crate) fn used(&self) -> usize {
        let used =
            |address: &Address| address.owners.iter().filter(|leg| **leg != LegId::NONE).count();
        self.addresses.iter().map(used).sum()
    }

    /// When something is to be done for spares that are short: at once, when the next resting pair
    /// wakes, when a refused one is asked for again.
    pub(crate) fn deadline(&self) -> Mono {
        let room = self.taken < self.taken_max;
        let can = |address: &Address| {
            room && address.may_open(self.spare_wanted) && !address.closed.is_empty()
        };
        if self.addresses.iter().any(can) {
            return Mono(0);
        }
        let short = self.addresses.iter().filter(|address| address.spare.len() < self.spare_wanted);
        let next = |address: &Address| {
            let wakes = address.resting.front().map_or(Mono::NEVER, |entry| entry.1);
            wakes.min(if room { address.retry_at } else { Mono::NEVER })
        };
        short.map(next).min().unwrap_or(Mono::NEVER)
    }
}

impl Address {
    fn new(plan: &MediaPlan) -> Self {
        let mut blocks = vec![FOREIGN; 256];
        for (place, first) in (0..FOREIGN).zip(&plan.blocks) {
            blocks[usize::from(first >> 8)] = place;
        }
        let pairs = |first: &u16| {
            (0..PAIRS).map({
                let first = *first;
                move |pair| first + u16::try_from(pair * 2).unwrap_or(0)
            })
        };
        let closed = plan.blocks.iter().flat_map(pairs).collect();
        Self {
            blocks,
            owners: vec![LegId::NONE; plan.blocks.len() * PAIRS],
            closed,
            opening: Vec::new(),
            spare: VecDeque::with_capacity(plan.blocks.len() * PAIRS),
            resting: VecDeque::with_capacity(plan.blocks.len() * PAIRS),
            fewest: 0,
            judged_at: Mono(0),
            unneeded: 0,
            refused: VecDeque::with_capacity(plan.blocks.len() * PAIRS),
            retry_at: Mono::NEVER,
            retry_after: RETRY_FIRST,
            is_shut: false,
            path: Path::Socket,
        }
    }

    /// Spares are short, and the system may be asked.
    fn may_open(&self, spare_wanted: usize) -> bool {
        let at_once = if self.retry_after == RETRY_FIRST { usize::MAX } else { CAREFUL };
        self.spare.len() + self.opening.len() < spare_wanted
            && self.opening.len() < at_once
            && !self.is_shut
    }

    /// The system does not give this pair now.
    fn refuse(&mut self, port: u16, errno: i32, now: Mono) {
        self.refused.push_back(port);
        self.is_shut |= !OF_ONE_PORT.contains(&errno);
        if self.retry_at == Mono::NEVER {
            self.retry_at = now + self.retry_after;
            self.retry_after = (self.retry_after * 2).min(RETRY_LAST);
        }
    }

    fn ask_again(&mut self, now: Mono) {
        let again = self.refused.len().min(RETRY_PAIRS);
        self.closed.extend(self.refused.drain(..again));
        self.is_shut = false;
        self.retry_at = if self.refused.is_empty() { Mono::NEVER } else { now + self.retry_after };
    }

    fn place(&self, port: u16) -> Option<usize> {
        let block = self.blocks[usize::from(port >> 8)];
        let pair = usize::from(port & 0xff) / 2;
        (block != FOREIGN).then(|| usize::from(block) * PAIRS + pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv4Addr};

    fn ports() -> (Ports, VecDeque<Flow>) {
        let media = MediaPlan {
            bound: IpAddr::V4(Ipv4Addr::LOCALHOST),
            advertised: IpAddr::V4(Ipv4Addr::LOCALHOST),
            blocks: vec![0x4000, 0x4200],
            ports: [0x4000, 0x42ff],
        };
        let limits = Limits { spare_ports: 2, ..Limits::for_legs(100, 100) };
        (Ports::new(&[media], &limits, 0), VecDeque::new())
    }

    /// Answers every wish: refused with this errno, or opened. How many were for a port to be
    /// opened.
    fn answer(ports: &mut Ports, flows: &mut VecDeque<Flow>, errno: Option<i32>) -> usize {
        let mut opens = 0;
        while let Some(flow) = flows.pop_front() {
            let Flow::Open { port } = flow else { continue };
            opens += 1;
            let report = match errno {
                Some(errno) => FlowReport::Refused { port, errno },
                None => FlowReport::Opened { port, path: Path::Socket },
            };
            ports.handle_report(report, flows);
        }
        opens
    }

    /// So long, at every deadline; how many opens were asked for.
    fn pass(
        ports: &mut Ports,
        flows: &mut VecDeque<Flow>,
        (now, time): (&mut Mono, Duration),
        errno: Option<i32>,
    ) -> usize {
        let (end, mut opens) = (*now + time, 0);
        loop {
            let next = ports.deadline().max(*now);
            if next > end {
                *now = end;
                return opens;
            }
            *now = next;
            ports.refill(*now, flows);
            opens += answer(ports, flows, errno);
        }
    }

    #[test]
    fn ports_that_others_hold_are_asked_for_again_until_they_are_free() {
        for errno in [98, 13, 24, 23, 12, 105, 99] {
            let (mut ports, mut flows) = ports();
            let mut now = Mono(1_000);
            let minute = Duration::from_secs(60);
            let opens = pass(&mut ports, &mut flows, (&mut now, minute), Some(errno));
            // 256 pairs, at 0, 0.5, 1.5, 3.5, 7.5 s and every 5 s then.
            assert!((8..=8_000).contains(&opens), "{errno}: {opens}");
            assert!(ports.refused() > 0 && ports.spare() == 0);
            let opens = pass(&mut ports, &mut flows, (&mut now, RETRY_LAST), None);
            assert!((2..=4).contains(&opens), "{errno}: {opens}");
            assert_eq!(ports.spare(), 2, "{errno}: what is free is had within 5 s");
            assert!(ports.take(0, leg(1)).is_some());
        }
    }

    #[test]
    fn want_of_descriptors_holds_up_the_address_and_not_each_port() {
        let (mut ports, mut flows) = ports();
        let mut now = Mono(1_000);
        let minute = Duration::from_secs(60);
        let opens = pass(&mut ports, &mut flows, (&mut now, minute), Some(24));
        assert!(opens <= 80, "{opens} attempts in a minute");
    }

    /// The driver has places for so many: what it would refuse is not asked for.
    #[test]
    fn no_more_is_asked_for_than_the_plan_has() {
        let media = MediaPlan {
            bound: IpAddr::V4(Ipv4Addr::LOCALHOST),
            advertised: IpAddr::V4(Ipv4Addr::LOCALHOST),
            blocks: vec![0x4000, 0x4200],
            ports: [0x4000, 0x42ff],
        };
        let limits = Limits { spare_ports: 4, ..Limits::for_legs(10, 100) };
        let mut ports = Ports::new(&[media], &limits, 0);
        let (mut flows, mut now, mut opens) = (VecDeque::new(), Mono(0), 0);
        for index in 0..40 {
            opens += pass(&mut ports, &mut flows, (&mut now, Duration::ZERO), None);
            let Some((port, _)) = ports.take(0, leg(index)) else { break };
            ports.give(port, now, &mut flows);
        }
        assert_eq!(opens, 2 * (10 + 4));
        assert_eq!(limits.port_pairs(1), 14);
    }

    fn leg(index: u32) -> LegId {
        LegId::new(0, 1, index)
    }

    fn open_all(ports: &mut Ports, flows: &mut VecDeque<Flow>) {
        while let Some(flow) = flows.pop_front() {
            if let Flow::Open { port } = flow {
                ports.handle_report(FlowReport::Opened { port, path: Path::Socket }, flows);
            }
        }
    }

    #[test]
    fn a_used_pair_rests_and_others_come_first() {
        let (mut ports, mut flows) = ports();
        let now = Mono(0);
        ports.refill(now, &mut flows);
        assert_eq!(flows.len(), 4);
        open_all(&mut ports, &mut flows);
        let (first, _) = ports.take(0, leg(7)).unwrap();
        assert_eq!(first.port, 0x4000);
        assert_eq!(ports.owner(MediaPort { port: 0x4001, ..first }), Some(leg(7)));
        ports.give(first, now, &mut flows);
        assert_eq!(ports.owner(first), None);
        let (second, _) = ports.take(0, leg(8)).unwrap();
        assert_eq!(second.port, 0x4002);
        assert!(ports.take(0, leg(9)).is_none(), "the first one rests");
        ports.refill(now + REST, &mut flows);
        assert_eq!(ports.take(0, leg(9)).unwrap().0, first);
    }

    #[test]
    fn a_port_that_is_somebody_elses_is_left_alone() {
        let (mut ports, mut flows) = ports();
        ports.refill(Mono(0), &mut flows);
        flows.clear();
        let port = |port| MediaPort { address: 0, port };
        let opened = |port| FlowReport::Opened { port, path: Path::Socket };
        ports.handle_report(opened(port(0x4000)), &mut flows);
        ports.handle_report(FlowReport::Refused { port: port(0x4001), errno: 98 }, &mut flows);
        assert_eq!(flows.pop_front(), Some(Flow::Close { port: port(0x4000) }));
        ports.handle_report(FlowReport::Refused { port: port(0x4002), errno: 98 }, &mut flows);
        ports.handle_report(opened(port(0x4003)), &mut flows);
        assert_eq!(flows.pop_front(), Some(Flow::Close { port: port(0x4003) }));
        ports.refill(Mono(0), &mut flows);
        open_all(&mut ports, &mut flows);
        assert_eq!(ports.take(0, leg(1)).unwrap().0.port, 0x4004);
    }

    /// Serves the flows: how many sockets are open, where so many were.
    fn served(ports: &mut Ports, flows: &mut VecDeque<Flow>, mut open: usize) -> usize {
        while let Some(flow) = flows.pop_front() {
            match flow {
                Flow::Open { port } => {
                    open += 1;
                    let report = FlowReport::Opened { port, path: Path::Socket };
                    ports.handle_report(report, flows);
                }
                Flow::Close { .. } => open -= 1,
                _ => {}
            }
        }
        open
    }

    #[test]
    fn what_a_busy_hour_opened_is_closed_again_and_a_steady_need_is_not() {
        let (mut ports, mut flows) = ports();
        let at = |ms: u64| Mono(1_000_000_000 + ms * 1_000_000);
        let (mut open, mut now) = (0, 0);
        let mut pass = |ports: &mut Ports, open: usize| {
            now += 100;
            ports.refill(at(now), &mut flows);
            ports.shrink(at(now), &mut flows);
            (served(ports, &mut flows, open), at(now))
        };
        // Sixty calls come and go, again and again.
        let mut standing = Vec::new();
        for _ in 0..3 {
            while standing.len() < 60 {
                open = pass(&mut ports, open).0;
                standing.extend(ports.take(0, leg(1)).map(|taken| taken.0));
            }
            for port in standing.drain(..) {
                let (still, now) = pass(&mut ports, open);
                open = still;
                ports.give(port, now, &mut VecDeque::new());
            }
            for _ in 0..30 {
                open = pass(&mut ports, open).0;
            }
            assert!(open >= 2 * 50, "{open}: they are needed again and again");
        }
        for _ in 0..300 {
            open = pass(&mut ports, open).0;
        }
        assert_eq!((ports.used(), ports.spare(), open), (0, 4, 8), "twice those that are wanted");
        // And there are as many as before when they are needed.
        for _ in 0..60 {
            open = pass(&mut ports, open).0;
            assert!(ports.take(0, leg(1)).is_some());
        }
        assert!(open >= 2 * 60);
    }
}
