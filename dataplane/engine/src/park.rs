//! What outlives this process: regions, doorbells and SIP sockets, parked with the service manager
//! under a name and taken back by the successor. What is not there yet is made and parked.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use base::Transport;
use net::notify::Notify;
use net::{Doorbell, listen};
use wire::mapping;
use wire::region::{Region, SECRET_WORDS, Side, Sizes};

use crate::plan::{Bound, EnginePlan};
use crate::{Failure, epoch};

/// Everything parked, in our hands.
pub(crate) struct Parked {
    pub(crate) regions: Vec<ParkedRegion>,
    pub(crate) bells: Bells,
    /// Per shard, in the order of the listeners.
    pub(crate) listeners: Vec<Vec<SipSocket>>,
    /// This life's epoch, the same in all regions.
    pub(crate) epoch: u32,
    /// Of a predecessor.
    pub(crate) certificates: Option<OwnedFd>,
}

/// One shard's region.
pub(crate) struct ParkedRegion {
    pub(crate) fd: OwnedFd,
    pub(crate) words: &'static [AtomicU64],
}

/// A socket that SIP comes to.
#[derive(Debug)]
pub(crate) enum SipSocket {
    Datagrams(UdpSocket),
    Streams(TcpListener),
}

impl SipSocket {
    fn of(fd: OwnedFd, transport: Transport) -> Self {
        match transport {
            Transport::Udp => Self::Datagrams(fd.into()),
            _ => Self::Streams(fd.into()),
        }
    }

    fn is_at(&self, address: SocketAddr) -> bool {
        match self {
            Self::Datagrams(socket) => socket.local_addr(),
            Self::Streams(socket) => socket.local_addr(),
        }
        .is_ok_and(|local| local == address)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Datagrams(socket) => socket.as_fd(),
            Self::Streams(socket) => socket.as_fd(),
        }
    }
}

/// Doorbells: one per shard, one for the controlplane.
#[derive(Debug)]
pub(crate) struct Bells {
    pub(crate) shards: Vec<Doorbell>,
    pub(crate) controlplane: Doorbell,
}

impl Parked {
    pub(crate) fn open(
        plan: &mut EnginePlan,
        inherited: Vec<(String, OwnedFd)>,
        notify: &Notify,
    ) -> Result<Self, Failure> {
        let mut inherited: HashMap<String, OwnedFd> = inherited.into_iter().collect();
        let mut take = |name: &str| inherited.remove(name);
        let mut regions = Vec::new();
        for shard in 0..plan.shards {
            let name = format!("dp-region-{shard}");
            regions.push(region(&name, take(&name), plan.sizes, notify)?);
        }
        let epoch = raise_epoch(&plan.epoch_file, &regions)?;
        let secrets = secrets(&regions)?;
        plan.sign_as(secrets);
        let mut bell = |name: &str| -> Result<Doorbell, Failure> {
            if let Some(fd) = take(name) {
                return Ok(Doorbell::from_fd(fd));
            }
            let bell = Doorbell::new()?;
            notify.store(name, &[bell.as_fd()])?;
            Ok(bell)
        };
        let shards = (0..plan.shards).map(|shard| bell(&format!("dp-bell-{shard}")));
        let shards = shards.collect::<Result<_, _>>()?;
        let bells = Bells { shards, controlplane: bell("cp-bell")? };
        let listeners = sockets(plan, &mut take, notify)?;
        let certificates = take(crate::certificates::PARKED);
        if !inherited.is_empty() {
            tracing::warn!(names = ?inherited.keys(), "parked descriptors that nobody asks for");
        }
        Ok(Self { regions, bells, listeners, epoch, certificates })
    }
}

fn region(
    name: &str,
    parked: Option<OwnedFd>,
    sizes: Sizes,
    notify: &Notify,
) -> Result<ParkedRegion, Failure> {
    if let Some(fd) = parked {
        let words = mapping::map_shared(&fd, true)?;
        match Region::open(words, Side::Dataplane) {
            Ok(region) if region.sizes() == sizes => {
                tracing::info!(name, epoch = region.epoch(), "region of a predecessor taken over");
                return Ok(ParkedRegion { fd, words });
            }
            // Its cells are money: stop rather than lose them.
            Ok(region) => {
                return Err(format!(
                    "the parked region {name} has {} leg slots, `dataplane.limits.legs` asks for {}: \
                     set it back, or stop the service once so that the region is given up",
                    region.sizes().legs,
                    sizes.legs
                )
                .into());
            }
            Err(error) => return Err(format!("the parked region {name}: {error}").into()),
        }
    }
    let fd = mapping::create_sealed(name, sizes.words(Side::Dataplane))?;
    let words = mapping::map_shared(&fd, true)?;
    let _ = Region::create(words, Side::Dataplane, sizes, 0);
    notify.store(name, &[fd.as_fd()])?;
    Ok(ParkedRegion { fd, words })
}

/// What signs our tags and branches and places calls on shards, kept in the regions: what a
/// predecessor wrote into its messages is known again, and finds the same shard. The controlplane
/// could read it there; it commands every call anyway.
fn secrets(regions: &[ParkedRegion]) -> Result<[u64; SECRET_WORDS], Failure> {
    let mut secrets = [0; SECRET_WORDS];
    for region in regions {
        let kept = Region::open(region.words, Side::Dataplane)?.secrets();
        for (secret, word) in secrets.iter_mut().zip(kept) {
            let word = word.load(Ordering::Relaxed);
            *secret = if *secret == 0 { word } else { *secret };
        }
    }
    for secret in &mut secrets {
        if *secret == 0 {
            *secret = getrandom::u64()?;
        }
    }
    for region in regions {
        let kept = Region::open(region.words, Side::Dataplane)?.secrets();
        for (secret, word) in secrets.iter().zip(kept) {
            word.store(*secret, Ordering::Relaxed);
        }
    }
    Ok(secrets)
}

/// Above every epoch of this node.
fn raise_epoch(kept: &Path, regions: &[ParkedRegion]) -> Result<u32, Failure> {
    let seconds = u32::try_from(net::sample().wall.seconds())?;
    let mut before = None;
    for region in regions {
        before = before.max(Some(Region::open(region.words, Side::Dataplane)?.epoch()));
    }
    let epoch = epoch::next(kept, seconds, before).ok_or("every epoch was used")?;
    for region in regions {
        let _ = Region::succeed(region.words, Side::Dataplane, epoch)?;
        let opened = Region::open(region.words, Side::Dataplane)?;
        opened.pid().store(u64::from(std::process::id()), Ordering::Relaxed);
        opened.pulse().store(0, Ordering::Relaxed);
    }
    Ok(epoch)
}

fn sockets(
    plan: &EnginePlan,
    take: &mut impl FnMut(&str) -> Option<OwnedFd>,
    notify: &Notify,
) -> Result<Vec<Vec<SipSocket>>, Failure> {
    let mut by_shard: Vec<Vec<SipSocket>> = (0..plan.shards).map(|_| Vec::new()).collect();
    for (index, bound) in plan.listeners.iter().enumerate() {
        let Bound { address, transport, .. } = bound;
        let name = |shard: u8| match transport {
            Transport::Udp => format!("sip-{shard}-{index}"),
            _ => format!("sip-{transport}-{shard}-{index}"),
        };
        let parked: Vec<SipSocket> = (0..plan.shards)
            .filter_map(|shard| take(&name(shard)).map(|fd| SipSocket::of(fd, *transport)))
            .filter(|socket| socket.is_at(*address))
            .collect();
        let sockets = if parked.len() == usize::from(plan.shards) {
            for socket in &parked {
                listener_at(bound).mark(socket.as_fd())?;
            }
            parked
        } else {
            // Another number of shards or another address: the old group is given up whole.
            drop(parked);
            let sockets = open(bound, usize::from(plan.shards))?;
            for (shard, socket) in (0_u8..).zip(&sockets) {
                notify.store(&name(shard), &[socket.as_fd()])?;
            }
            sockets
        };
        for (list, socket) in by_shard.iter_mut().zip(sockets) {
            list.push(socket);
        }
    }
    Ok(by_shard)
}

fn listener_at(bound: &Bound) -> listen::Listener {
    listen::Listener { dscp: bound.dscp, ..listen::Listener::new(bound.address) }
}

fn open(bound: &Bound, shards: usize) -> Result<Vec<SipSocket>, Failure> {
    let Bound { address, transport, .. } = *bound;
    let listener = listener_at(bound);
    Ok(match transport {
        Transport::Udp => {
            let listening = listener.open(shards)?;
            tracing::info!(%address, spread = ?listening.spread, "SIP listener");
            listening.sockets.into_iter().map(SipSocket::Datagrams).collect()
        }
        _ => {
            let sockets = listener.open_streams(shards)?;
            tracing::info!(%address, %transport, "SIP listener");
            sockets.into_iter().map(SipSocket::Streams).collect()
        }
    })
}
