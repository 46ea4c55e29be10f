//! Where a description wants packets to go, if anywhere.

use core::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

/// Where the writer of a description wants one kind of packets (RTP or RTCP).
///
/// `c=0.0.0.0`, `c=::` and port 0 name no place: they are hold (RFC 3264 section 8.4) or a stopped
/// stream (section 8.2), in an offer, an answer, a late offer and a re-INVITE alike. A caller that
/// has a socket address in its hand therefore has one that can be sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaTarget(Option<Packed>);

/// A socket address in 23 bytes instead of 32, and at no alignment: each stream keeps several. The
/// flow information of IPv6, which is not part of where something is, is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Packed {
    ip: Ipv6Addr,
    scope: [u8; 4],
    port: [u8; 2],
    is_v6: bool,
}

const _: () = assert!(size_of::<MediaTarget>() == 23);

impl From<SocketAddr> for Packed {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => {
                let ip = v4.ip().to_ipv6_mapped();
                Self { ip, scope: [0; 4], port: v4.port().to_ne_bytes(), is_v6: false }
            }
            SocketAddr::V6(v6) => {
                let (scope, port) = (v6.scope_id().to_ne_bytes(), v6.port().to_ne_bytes());
                Self { ip: *v6.ip(), scope, port, is_v6: true }
            }
        }
    }
}

impl From<Packed> for SocketAddr {
    fn from(packed: Packed) -> Self {
        let (scope, port) = (u32::from_ne_bytes(packed.scope), u16::from_ne_bytes(packed.port));
        match packed.ip.to_ipv4_mapped() {
            Some(v4) if !packed.is_v6 => Self::new(v4.into(), port),
            _ => Self::V6(SocketAddrV6::new(packed.ip, port, 0, scope)),
        }
    }
}

impl core::fmt::Debug for Packed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        SocketAddr::from(*self).fmt(f)
    }
}

impl MediaTarget {
    /// Nothing is to be sent.
    pub const NOWHERE: Self = Self(None);

    /// What an address and port of a description mean; `::ffff:0.0.0.0` is no place either.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let is_somewhere = address.port() != 0 && !address.ip().to_canonical().is_unspecified();
        Self(is_somewhere.then(|| address.into()))
    }

    /// Whether it is this address, whatever its flow information says.
    #[must_use]
    #[inline]
    pub fn is_at(self, address: &SocketAddr) -> bool {
        let Some(packed) = self.0 else { return false };
        let same_host = match address {
            SocketAddr::V4(v4) => !packed.is_v6 && packed.ip == v4.ip().to_ipv6_mapped(),
            SocketAddr::V6(v6) => {
                let scope = v6.scope_id().to_ne_bytes();
                packed.is_v6 && packed.ip == *v6.ip() && packed.scope == scope
            }
        };
        same_host && packed.port == address.port().to_ne_bytes()
    }

    /// The address to send to; `None` for nowhere.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        self.0.map(SocketAddr::from)
    }

    /// Where RTCP goes that belongs to RTP sent here: the port behind it (RFC 3550 section 11),
    /// which for 65535 is none: then the same port.
    #[must_use]
    pub fn next_port(self) -> Self {
        let next =
            |address: SocketAddr| SocketAddr::new(address.ip(), address.port().saturating_add(1));
        Self(self.address().map(|address| next(address).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_is_no_place_however_it_is_spelt() {
        for text in ["0.0.0.0:4000", "[::]:4000", "[::ffff:0.0.0.0]:4000", "192.0.2.1:0", "[::1]:0"]
        {
            let target = MediaTarget::new(text.parse().unwrap());
            assert_eq!((target, target.address()), (MediaTarget::NOWHERE, None), "{text}");
            assert_eq!(target.next_port(), MediaTarget::NOWHERE);
        }
        let mapped = "[::ffff:192.0.2.1]:9";
        for (text, next) in [
            ("192.0.2.1:4000", 4_001),
            ("[2001:db8::1]:65535", 65_535),
            (mapped, 10),
            ("[fe80::1%3]:4000", 4_001),
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let target = MediaTarget::new(address);
            assert_eq!(target.address(), Some(address));
            let others = ["192.0.2.1:4000", "[2001:db8::1]:65535", mapped, "[fe80::1%4]:4000"];
            for other in others.into_iter().chain([text]) {
                let other = other.parse().unwrap();
                assert_eq!(target.is_at(&other), other == address, "{text} {other}");
            }
            assert_eq!(target.next_port().address().unwrap().port(), next);
        }
    }
}
