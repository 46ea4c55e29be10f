//! Frames: packets named by where they lie, so that a received packet is rewritten in place and
//! sent from the same buffer. The memory belongs to whoever implements [`Frames`] (`net` on a real
//! machine, the simulated world in tests); everybody else passes [`Frame`]s around by value.
//!
//! ```text
//!  buffer: | headroom | bytes .................. | tailroom |
//!          0          start            start+len            capacity
//! ```
//!
//! Ownership: whoever is handed a frame transmits it, hands it over, or frees it; exactly one of
//! them.

use core::net::{IpAddr, SocketAddr};

use crate::hop::{ConnectionId, TlsName};
use crate::time::Mono;

/// Bytes of a small buffer: an Ethernet MTU with room to spare. Media uses these.
pub const SMALL_BYTES: usize = 2048;
/// Bytes of a large buffer: a SIP datagram as large as UDP carries in practice.
pub const LARGE_BYTES: usize = 16 * 1024;
/// Bytes kept free in front of a received packet.
pub const HEADROOM: usize = 64;

/// A packet in a buffer: which buffer, where it starts, how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub index: u32,
    pub start: u16,
    pub len: u16,
}

/// The memory behind frames.
pub trait Frames {
    /// The packet's bytes.
    fn bytes(&self, frame: Frame) -> &[u8];
    /// The packet's bytes, to rewrite in place.
    fn bytes_mut(&mut self, frame: Frame) -> &mut [u8];
    /// A buffer for a packet of our own of up to `len` bytes (at most [`LARGE_BYTES`] less
    /// [`HEADROOM`]); its contents are whatever was there. None when all are in use.
    fn alloc(&mut self, len: usize) -> Option<Frame>;
    /// Gives the buffer back.
    fn free(&mut self, frame: Frame);
}

/// A media port of ours: an entry of the plan's address table and a UDP port on it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct MediaPort {
    /// Index into the plan's media addresses.
    pub address: u8,
    /// UDP port, host byte order.
    pub port: u16,
}

/// Where a datagram came in or goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Local {
    /// A SIP listener, by its index in the plan.
    Listener(u8),
    /// A media port.
    Media(MediaPort),
    /// A connection: the frame holds the next bytes of its stream.
    Connection(ConnectionId),
}

/// What the shard asks of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionRequest {
    /// Connect from the address of a listener of streams. Answered by
    /// [`ConnectionReport::Connected`] or [`ConnectionReport::Closed`].
    Open { id: ConnectionId, listener: u8, to: SocketAddr, name: TlsName },
    /// Close it once what was sent has left; nothing is reported of it any more.
    Close { id: ConnectionId },
}

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionReport {
    /// Somebody has connected to a listener of streams.
    Accepted { id: ConnectionId, listener: u8, from: SocketAddr },
    /// A connection that was asked for stands.
    Connected { id: ConnectionId },
    /// It could not be made, or is over: nothing comes from it any more, nothing can be sent.
    Closed { id: ConnectionId },
    /// Who has connected has proven a name by its certificate: lists of networks know it as this
    /// address.
    Proven { id: ConnectionId, known_as: IpAddr },
}

/// A datagram that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub frame: Frame,
    pub at: Local,
    pub source: SocketAddr,
    /// When the system received it, as far as that is known; never later than the turn at which it
    /// is handed on. A process that stood still finds datagrams that are older than its turn.
    pub arrived: Mono,
    /// Its end is missing: it was longer than a buffer. Only SIP is handed on so, to be answered.
    pub is_cut: bool,
}

/// A datagram to send; the frame returns to its pool once it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    pub frame: Frame,
    pub from: Local,
    pub to: SocketAddr,
}

/// Which path carries a stream. Reported, never guessed (DESIGN.md section 4, "no silent
/// fallback").
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[repr(u8)]
pub enum Path {
    Xdp = 0,
    AfXdp = 1,
    Packet = 2,
    Socket = 3,
}

/// What the shard asks of the packet paths. One interface for all tiers: the shard never learns
/// how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Make the port receive. Answered by [`FlowReport::Opened`] or [`FlowReport::Refused`].
    Open { port: MediaPort },
    /// From now on this port talks with `remote` only: what comes from elsewhere may be dropped
    /// below us. Sending to another address stays possible until then, not after.
    Lock { port: MediaPort, remote: SocketAddr },
    /// The port talks with anyone again; packets queued for its last use are gone.
    Unlock { port: MediaPort },
    /// Stop receiving and give the port back to the system.
    Close { port: MediaPort },
}

/// What the packet paths say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowReport {
    Opened {
        port: MediaPort,
        path: Path,
    },
    /// The system has no such port for us (somebody else's, or no descriptor left).
    Refused {
        port: MediaPort,
        errno: i32,
    },
}

impl Frame {
    /// The same buffer with another extent.
    #[must_use]
    pub fn resized(self, len: usize) -> Self {
        Self { len: u16::try_from(len).unwrap_or(u16::MAX), ..self }
    }
}

impl core::fmt::Display for Path {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Xdp => "xdp",
            Self::AfXdp => "af_xdp",
            Self::Packet => "packet",
            Self::Socket => "socket",
        })
    }
}
