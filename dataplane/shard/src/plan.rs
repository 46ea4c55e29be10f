//! What a shard is told at birth: derived from the configuration by whoever makes the shard, never
//! changed afterwards.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use base::address::classify;
use base::{HashKey, ShardId, Target, Transport};
use sip::token::Key;

/// A shard's plan.
#[derive(Clone, Debug)]
pub struct Plan {
    pub shard: ShardId,
    /// Shards of this dataplane, at least 1.
    pub shards: u8,
    pub listeners: Vec<ListenerPlan>,
    pub media: Vec<MediaPlan>,
    pub limits: Limits,
    pub timers: Timers,
    pub guard: GuardPlan,
    pub keys: Keys,
    /// Credentials of trunks. They come with the plan and stand in no memory that is shared.
    pub logins: Vec<Login>,
    /// Seed of everything random that is no secret.
    pub seed: u64,
    /// Trunks that are registered at their carriers.
    pub registrations: Vec<Registration>,
}

/// What a trunk registers as, and where.
#[derive(Clone, PartialEq, Eq)]
pub struct Registration {
    pub trunk: String,
    /// Of the Request-URI and the address of record; empty for the target's address.
    pub host: String,
    pub user: String,
    pub password: String,
    /// The only realm that is answered; empty for any.
    pub realm: String,
    /// User part of the contact: what the carrier calls.
    pub contact: String,
    pub targets: Vec<Target>,
    /// What the certificates of targets must name; empty for their addresses.
    pub tls_name: String,
    /// Seconds that are asked for.
    pub expires: u32,
    /// The contact is taken back when the process stops.
    pub leaves: bool,
    /// The only hash that answers; None for the strongest that is asked for.
    pub digest: Option<sip::digest::Algorithm>,
    /// Index of the listener that it is sent from and that the contact names;
    /// [`wire::Originate::ANY_LISTENER`] for one of the target's transport and family.
    pub listener: u8,
}

impl core::fmt::Debug for Registration {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Registration").field("trunk", &self.trunk).finish_non_exhaustive()
    }
}

/// What a trunk's targets know us by.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The trunk's name, by which routes of the published table name it.
    pub trunk: String,
    pub user: String,
    pub password: String,
    /// The only realm that is answered; empty for the first that asks.
    pub realm: String,
    /// The only hash that answers; None for the strongest that is asked for.
    pub digest: Option<sip::digest::Algorithm>,
}

impl core::fmt::Debug for Login {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Login").field("trunk", &self.trunk).finish_non_exhaustive()
    }
}

/// A SIP listener (one socket of it per shard).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPlan {
    /// Where its sockets are.
    pub bound: SocketAddr,
    /// What Via and Contact say.
    pub advertised: SocketAddr,
    /// Index of the media address of its calls.
    pub media: u8,
    pub transport: Transport,
    /// The sites whose pages may connect by WebSocket; empty: all.
    pub origins: Vec<String>,
}

/// A media address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaPlan {
    /// Where its sockets are.
    pub bound: IpAddr,
    /// What SDP says.
    pub advertised: IpAddr,
    /// First ports of this shard's blocks of 256.
    pub blocks: Vec<u16>,
    /// First and last port of the blocks of all shards.
    pub ports: [u16; 2],
}

impl Plan {
    /// Whether this address is one of our own, as bound or as advertised: a SIP listener, or any
    /// port that media of some shard may have. Others on our hosts are not ours.
    pub(crate) fn is_ours(&self, address: SocketAddr) -> bool {
        self.is_own_media(address) || self.is_own_listener(address)
    }

    /// Any port that media of some shard may have.
    pub(crate) fn is_own_media(&self, address: SocketAddr) -> bool {
        self.media.iter().any(|media| {
            let [first, last] = media.ports;
            (first..=last).contains(&address.port())
                && (is_host(media.bound, address) || is_host(media.advertised, address))
        })
    }

    /// A SIP listener: what comes from there is a call of ours that came back (a spiral).
    pub(crate) fn is_own_listener(&self, address: SocketAddr) -> bool {
        let is = |own: SocketAddr| own.port() == address.port() && is_host(own.ip(), address);
        self.listeners.iter().any(|listener| is(listener.bound) || is(listener.advertised))
    }
}

fn is_host(own: IpAddr, address: SocketAddr) -> bool {
    let reached = classify(address.ip()).reached;
    if own.is_unspecified() { reached.is_loopback() } else { own == reached }
}

/// Sizes, per shard. They sum to [`Limits::footprint`], printed at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub legs: u32,
    pub transactions: u32,
    /// Bytes for dialogs, descriptions and messages kept for retransmission.
    pub arena_bytes: usize,
    /// Bytes for events that wait for the ring.
    pub event_bytes: usize,
    /// Bytes for messages that wait for one other shard.
    pub handoff_bytes: usize,
    /// Media ports kept open and unused, per media address.
    pub spare_ports: u16,
    /// Connections that are accepted, and that are opened, at most.
    pub connections: (u16, u16),
    /// A call's first INVITE of more bytes goes by TCP (RFC 3261 section 18.1.1); 0 for none.
    pub datagram_bytes: u16,
}

/// Times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// RFC 3261 T1.
    pub t1: Duration,
    /// How long a new call waits for the controlplane.
    pub hold: Duration,
    /// Without media in this time an answered leg is ended; zero for never.
    pub media_timeout: Duration,
    /// Session-Expires we ask for; zero for none (RFC 4028).
    pub session: Duration,
    /// How long a target may say nothing at all before the next one is tried.
    pub target: Duration,
}

/// Rates at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardPlan {
    /// Messages per second from one source outside dialogs, 0 for no limit.
    pub source_rate: u32,
    pub source_burst: u32,
    /// New calls per second, 0 for no limit.
    pub call_rate: u32,
    /// Messages per second of all sources together that nobody knows, 0 for no limit.
    pub stranger_rate: u32,
}

impl GuardPlan {
    /// No limits at all.
    pub const NONE: Self = Self { source_rate: 0, source_burst: 0, call_rate: 0, stranger_rate: 0 };

    /// What one of them may send of it: messages per second, and at once.
    pub(crate) fn stranger_source(&self) -> (u32, u32) {
        match self.stranger_rate {
            0 => (0, 0),
            rate => ((rate / 8).max(1), (rate / 8).max(1)),
        }
    }

    /// Refusals of strangers that are told, a second.
    pub(crate) fn told_rate(&self) -> u32 {
        self.stranger_rate.min(2)
    }
}

/// Secrets of this run, shared by its shards.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Signs tags and branches.
    pub token: Key,
    /// Places calls on shards.
    pub placement: Key,
    /// Hashes tables that strangers feed.
    pub table: HashKey,
}

impl Limits {
    /// For so many legs; everything else in proportion.
    #[must_use]
    pub fn for_legs(legs: u32, transactions: u32) -> Self {
        let (legs_bytes, messages) = (legs as usize * 3_072, transactions as usize * 512);
        Self {
            legs,
            transactions,
            arena_bytes: legs_bytes + messages,
            // Every leg's closing event, and a second of others.
            event_bytes: legs as usize * CLOSING_BYTES + (1 << 20),
            handoff_bytes: 1 << 20,
            spare_ports: SPARE_PORTS,
            connections: (CONNECTIONS, CONNECTIONS / 4),
            datagram_bytes: 1_300,
        }
    }

    /// Media port pairs open at once at most, on so many addresses: a pair a leg, and the spares.
    #[must_use]
    pub fn port_pairs(&self, addresses: usize) -> usize {
        self.legs as usize + usize::from(self.spare_ports) * addresses
    }

    /// Of `transactions`, those for requests of ours. A call that is relayed has two on the side
    /// that asks us, its INVITE and its BYE, and one that lasts on the other: the INVITE; a BYE of
    /// ours is over with its answer.
    #[must_use]
    pub(crate) fn client_transactions(&self) -> u32 {
        self.transactions.div_ceil(2).max(1_024).min(self.transactions)
    }

    /// Bytes taken at birth, about.
    #[must_use]
    pub fn footprint(&self, shards: u8) -> usize {
        let per_leg = size_of::<crate::leg::Entry>()
            + size_of::<crate::media::Stream>()
            + crate::transaction::logins::LEG_BYTES
            + 88;
        // With their timers, places in the list of the finished ones, and (servers) two keys.
        let server = size_of::<crate::transaction::ServerTransaction>() + 8 + 36 + 64;
        let client = size_of::<crate::transaction::ClientTransaction>() + 8 + 36;
        self.legs as usize * per_leg
            + self.transactions as usize * server
            + self.client_transactions() as usize * client
            + self.arena_bytes
            + self.event_bytes
            + self.handoff_bytes * usize::from(shards)
            + self.handoff_bytes / 4
            + (usize::from(self.connections.0) + usize::from(self.connections.1))
                * crate::transport::connections::Connections::BYTES
    }
}

/// Datagrams that a shard is given at a time at most. Between two such batches the ports that the
/// first has used up are replaced ([`crate::Shard::handle_ports`]): both legs of every call in one
/// fit into the spares.
pub const BATCH_MAX: usize = 128;

/// Spare ports per address: what a batch may take at once, and as much again.
const SPARE_PORTS: u16 = 512;

/// Connections accepted by one shard at most, unless another number is given.
const CONNECTIONS: u16 = 1_024;

const _: () = assert!(SPARE_PORTS as usize >= 2 * BATCH_MAX);

/// Room kept in the event queue for the last words of a leg.
pub(crate) const CLOSING_BYTES: usize = 1_024;

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            hold: Duration::from_secs(2),
            media_timeout: Duration::from_secs(60),
            session: Duration::from_secs(1_800),
            target: Duration::from_secs(4),
        }
    }
}
