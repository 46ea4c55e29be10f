//! What a driver is made for. All numbers are fixed for its life.

use std::net::IpAddr;

use base::ShardId;

use crate::error::NetError;
use crate::pool::PoolPlan;

/// SIP listeners of one driver at most.
pub const LISTENERS_MAX: u32 = 32;
/// Doorbells of one driver at most: tokens are bits of a word.
pub const BELLS_MAX: u32 = 64;

/// A local address that media ports are bound on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaAddress {
    /// What sockets are bound to. Unspecified addresses work but let the kernel choose the source.
    pub bind: IpAddr,
    /// Bind to this interface as well (SO_BINDTODEVICE): for VRFs, and for link-local addresses.
    pub device: Option<String>,
    /// Differentiated services code point of its media, 0..=63. 46 is EF (RFC 4594 section 4.1).
    pub dscp: u8,
}

/// See the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverPlan {
    /// Whose driver it is: its connections are named so.
    pub shard: ShardId,
    /// Submission queue entries; more than a breath transmits, or it is submitted in parts.
    pub entries: u32,
    /// Completion queue entries; what does not fit is not lost but costs more.
    pub completions: u32,
    /// Media ports open at once: each costs a descriptor and 2.7 kB of kernel memory.
    pub ports_max: u32,
    /// Media addresses; `MediaPort::address` is an index into them.
    pub addresses: Vec<MediaAddress>,
    /// SIP connections that are accepted, and that are opened, at most.
    pub connections: (u16, u16),
    pub pool: PoolPlan,
    /// SO_RCVBUF of a media port in bytes (the kernel doubles it); 0 leaves the system's default.
    pub receive_buffer_bytes: u32,
    /// [`base::Flow::Lock`] connects the port's socket, so that the kernel drops what comes from
    /// elsewhere, unseen and uncounted. It saves nothing that can be measured
    /// (`examples/relay.rs`), so it is off: what is injected into a call is counted, and a far end
    /// that moves to another port is heard as soon as the rules allow it.
    pub connects: bool,
    /// Microseconds to poll before sleeping. 0 on a machine that has other work to do.
    pub spin_us: u32,
}

impl DriverPlan {
    /// Enough for `ports_max` media ports on one shard with buffers for some 20 ms of full load.
    #[must_use]
    pub fn for_ports(ports_max: u32, addresses: Vec<MediaAddress>) -> Self {
        Self {
            shard: 0,
            entries: 1024,
            completions: 8192,
            ports_max,
            addresses,
            connections: (1_024, 256),
            pool: PoolPlan {
                small_receive: 8192,
                small_own: 2048,
                large_receive: 512,
                large_own: 512,
                lock: true,
                huge: true,
            },
            receive_buffer_bytes: 32 * 1024,
            connects: false,
            spin_us: 0,
        }
    }

    /// Descriptors that one driver needs: media ports, listeners, doorbells, connections, its ring.
    #[must_use]
    pub fn descriptors(&self) -> u64 {
        u64::from(self.files()) + 1
    }

    /// Places of the ring's table: media ports, listeners of datagrams, doorbells, listeners of
    /// streams, connections.
    pub(crate) fn files(&self) -> u32 {
        let (accepted, opened) = self.connections;
        self.ports_max + LISTENERS_MAX * 2 + BELLS_MAX + u32::from(accepted) + u32::from(opened)
    }

    pub(crate) fn check(&self) -> Result<(), NetError> {
        if self.addresses.len() > 256 {
            return Err(NetError::BadPlan("a media port names its address with 8 bits"));
        }
        if self.addresses.iter().any(|address| address.dscp > 63) {
            return Err(NetError::BadPlan("a DSCP has 6 bits"));
        }
        if self.entries == 0 || self.completions < self.entries {
            return Err(NetError::BadPlan("completions must be at least entries, and not zero"));
        }
        Ok(())
    }
}
