//! Where a SIP message goes or came from, and by which of our doors: the one answer to "how do I
//! reach whoever sent this". Transactions, dialogs and stateless answers all hold one.

use core::net::SocketAddr;

use crate::id::ShardId;

/// A connection: the shard that has it, its place there, and which use of the place it is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct ConnectionId {
    pub shard: ShardId,
    pub generation: u8,
    pub slot: u16,
}

/// What carries SIP messages.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    #[default]
    Udp,
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket (RFC 7118): clients connect, we do not.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

/// The name that the certificate of a far end must have, by its keyed hash: whoever holds the hash
/// knows where the text is kept. Two names at one address are two far ends. Means nothing where
/// the transport is not TLS.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct TlsName(pub u32);

/// Where a request may be sent. As text `192.0.2.1:5060`, or `192.0.2.1:5060;transport=tcp`; the
/// name is no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    pub address: SocketAddr,
    pub transport: Transport,
    /// Of a target by TLS.
    pub name: TlsName,
}

/// The door of ours that a message uses.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Door {
    /// A datagram listener, by its index in the plan.
    Datagram(u8),
    /// A connection that came to, or is made in the name of, a listener of streams. What is sent
    /// goes by this connection while it stands, else by another one to the same address and name.
    Connection { listener: u8, id: ConnectionId, name: TlsName },
}

/// A door and the address behind it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Hop {
    pub via: Door,
    pub to: SocketAddr,
}

impl Target {
    #[must_use]
    pub const fn udp(address: SocketAddr) -> Self {
        Self::by(Transport::Udp, address)
    }

    /// Whoever answers there.
    #[must_use]
    pub const fn by(transport: Transport, address: SocketAddr) -> Self {
        Self { address, transport, name: TlsName::NONE }
    }
}

impl TlsName {
    /// The far end's address is its name.
    pub const NONE: Self = Self(0);
    /// Nothing has been proven, and nothing will be: a connection that came to us.
    pub const UNPROVEN: Self = Self(u32::MAX);
}

impl core::str::FromStr for Target {
    type Err = core::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, transport) = Transport::split(text);
        Ok(Self::by(transport, address.parse()?))
    }
}

impl core::fmt::Display for Target {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}{}", self.address, self.transport.suffix())
    }
}

impl serde::Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match to.is_human_readable() {
            true => to.collect_str(self),
            false => (self.address, self.transport, self.name).serialize(to),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return from.deserialize_str(Text);
        }
        let (address, transport, name) = serde::Deserialize::deserialize(from)?;
        Ok(Self { address, transport, name })
    }
}

/// Reads a target's text.
struct Text;

impl serde::de::Visitor<'_> for Text {
    type Value = Target;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("an address and port, with `;transport=tcp` behind it or not")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Target, E> {
        text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

impl core::fmt::Display for Transport {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

impl Transport {
    /// Whether its bytes are sealed.
    #[must_use]
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether it carries frames of WebSocket.
    #[must_use]
    pub const fn is_web(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// As configurations have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// `host:port` and its transport, of `host:port` or `host:port;transport=tcp`.
    #[must_use]
    pub fn split(text: &str) -> (&str, Self) {
        let named = |transport: &Self| text.strip_suffix(transport.suffix());
        match [Self::Tcp, Self::Tls].into_iter().find(|transport| named(transport).is_some()) {
            Some(transport) => (named(&transport).unwrap_or(text), transport),
            None => (text.strip_suffix(";transport=udp").unwrap_or(text), Self::Udp),
        }
    }

    /// What [`Transport::split`] takes off.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
            // RFC 7118 section 5.5.1: of both.
            Self::Ws | Self::Wss => ";transport=ws",
        }
    }

    /// The port of a host that names none (RFC 3261 section 19.1.2).
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5_060,
            Self::Tls => 5_061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

impl ConnectionId {
    /// No connection in particular: whichever there is to the address, or a new one.
    pub const ANY: Self = Self { shard: ShardId::MAX, generation: 0, slot: u16::MAX };
}

impl Door {
    /// The listener that it is, or that a connection came to, by its index in the plan.
    #[must_use]
    pub const fn listener(self) -> u8 {
        match self {
            Self::Datagram(listener) | Self::Connection { listener, .. } => listener,
        }
    }
}

impl Hop {
    /// By a datagram listener.
    #[must_use]
    pub const fn datagram(listener: u8, to: SocketAddr) -> Self {
        Self { via: Door::Datagram(listener), to }
    }

    /// By whichever connection there is to this address and name, in the name of a listener of
    /// streams.
    #[must_use]
    pub const fn connection(listener: u8, to: SocketAddr, name: TlsName) -> Self {
        Self { via: Door::Connection { listener, id: ConnectionId::ANY, name }, to }
    }

    /// Whether the transport delivers or says that it cannot: no retransmission timers (RFC 3261
    /// section 17).
    #[must_use]
    pub const fn is_reliable(&self) -> bool {
        matches!(self.via, Door::Connection { .. })
    }

    /// The same door, another address.
    #[must_use]
    pub const fn towards(self, to: SocketAddr) -> Self {
        Self { via: self.via, to }
    }
}
