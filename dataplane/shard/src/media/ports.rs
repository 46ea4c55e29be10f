//! Media ports: pairs (even RTP, odd RTCP) out of the blocks that are this shard's. A few pairs are
//! kept open and unused, so that a call gets its ports at once; a used pair rests before it is used
//! again, oldest first (DESIGN.md section 4), so that stragglers of one call are never heard in the
//! next.
//!
//! ```text
//!   closed --(refill)--> opening --(both opened)--> spare --> used --> resting (>= 2 s) --> spare
//!                            \--(refused: somebody else's)--> never again in this run
//! ```

use std::collections::VecDeque;

use base::{Flow, FlowReport, LegId, MediaPort, Mono, Path};
use core::time::Duration;

use crate::plan::MediaPlan;

/// How long a used pair rests.
const REST: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Ports {
    addresses: Vec<Address>,
    spare_wanted: usize,
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
    path: Path,
}

const FOREIGN: u16 = u16::MAX;
const PAIRS: usize = 128;

impl Ports {
    /// `epoch`: a successor begins with other ports than its predecessor did, because the far ends
    /// of calls that died with it still send to theirs.
    pub(crate) fn new(media: &[MediaPlan], spare_wanted: u16, epoch: u32) -> Self {
        let mut addresses: Vec<Address> = media.iter().map(Address::new).collect();
        for address in &mut addresses {
            let turn = epoch as usize * usize::from(spare_wanted.max(1));
            let pairs = address.closed.len().max(1);
            address.closed.rotate_left(turn % pairs);
        }
        Self { addresses, spare_wanted: usize::from(spare_wanted) }
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

    /// Wakes rested pairs and asks for more where spares are few.
    pub(crate) fn refill(&mut self, now: Mono, flows: &mut VecDeque<Flow>) {
        for (index, address) in (0..).zip(&mut self.addresses) {
            while let Some((port, until)) = address.resting.front().copied() {
                if until > now {
                    break;
                }
                address.resting.pop_front();
                address.spare.push_back(port);
            }
            while address.spare.len() + address.opening.len() < self.spare_wanted {
                let Some(port) = address.closed.pop_front() else { break };
                address.opening.push((port, 0));
                flows.push_back(Flow::Open { port: MediaPort { address: index, port } });
                let port = MediaPort { address: index, port: port + 1 };
                flows.push_back(Flow::Open { port });
            }
        }
    }

    pub(crate) fn handle_report(&mut self, report: FlowReport, flows: &mut VecDeque<Flow>) {
        let (port, opened) = match report {
            FlowReport::Opened { port, path } => {
                if let Some(address) = self.addresses.get_mut(usize::from(port.address)) {
                    address.path = path;
                }
                (port, true)
            }
            FlowReport::Refused { port, .. } => (port, false),
        };
        let Some(address) = self.addresses.get_mut(usize::from(port.address)) else { return };
        let even = port.port & !1;
        let Some(at) = address.opening.iter().position(|entry| entry.0 == even) else {
            // The other half was refused before: close this one too.
            if opened {
                flows.push_back(Flow::Close { port });
            }
            return;
        };
        if !opened {
            let open = address.opening.swap_remove(at).1;
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
        }
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

    /// When the next resting pair wakes, if spares are short.
    pub(crate) fn deadline(&self) -> Mono {
        let short = |address: &&Address| {
            let coming = address.spare.len() + address.opening.len();
            coming < self.spare_wanted && !address.closed.is_empty()
        };
        if self.addresses.iter().any(|address| short(&address)) {
            return Mono(0);
        }
        self.addresses
            .iter()
            .filter(|address| address.spare.len() < self.spare_wanted)
            .filter_map(|address| address.resting.front().map(|entry| entry.1))
            .min()
            .unwrap_or(Mono::NEVER)
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
            path: Path::Socket,
        }
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
        (Ports::new(&[media], 2, 0), VecDeque::new())
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
}
