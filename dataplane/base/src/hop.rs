//! Where a SIP message goes or came from, and by which of our doors: the one answer to "how do I
//! reach whoever sent this". Transactions, dialogs and stateless answers all hold one.

use core::net::SocketAddr;

/// The door of ours that a message uses.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Door {
    /// A datagram listener, by its index in the plan.
    Datagram(u8),
    /// A connection, by its number on its shard.
    Stream(u32),
}

/// A door and the address behind it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Hop {
    pub via: Door,
    pub to: SocketAddr,
}

impl Hop {
    /// By a datagram listener.
    #[must_use]
    pub const fn datagram(listener: u8, to: SocketAddr) -> Self {
        Self { via: Door::Datagram(listener), to }
    }

    /// Whether the transport delivers or says that it cannot: no retransmission timers (RFC 3261
    /// section 17).
    #[must_use]
    pub const fn is_reliable(&self) -> bool {
        matches!(self.via, Door::Stream(_))
    }

    /// The same door, another address.
    #[must_use]
    pub const fn towards(self, to: SocketAddr) -> Self {
        Self { via: self.via, to }
    }
}
