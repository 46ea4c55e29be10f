//! Socket addresses as the kernel has them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes we keep room for: a `sockaddr_in6` (28) rounded up to keep what follows aligned.
pub(crate) const SPACE: usize = 32;

/// A `sockaddr_in` or `sockaddr_in6`, written once and stable while the kernel reads it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct RawAddress {
    bytes: [u8; SPACE],
    len: u32,
}

impl RawAddress {
    pub(crate) const EMPTY: Self = Self { bytes: [0; SPACE], len: 0 };

    /// `AF_UNSPEC`: what disconnects a datagram socket.
    pub(crate) const UNSPECIFIED: Self = Self { bytes: [0; SPACE], len: 16 };

    pub(crate) fn of(address: SocketAddr) -> Self {
        let mut raw = Self::EMPTY;
        let bytes = &mut raw.bytes;
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                bytes[0..2].copy_from_slice(&FAMILY_V4.to_ne_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                raw.len = 16;
            }
            SocketAddr::V6(v6) => {
                bytes[0..2].copy_from_slice(&FAMILY_V6.to_ne_bytes());
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                raw.len = 28;
            }
        }
        raw
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        self.bytes.as_ptr().cast()
    }

    pub(crate) fn len(&self) -> libc::socklen_t {
        self.len
    }
}

const FAMILY_V4: u16 = 2;
const FAMILY_V6: u16 = 10;
const _: () = assert!(FAMILY_V4 as i32 == libc::AF_INET && FAMILY_V6 as i32 == libc::AF_INET6);

/// Reads what the kernel wrote; None for a family that is not IP.
pub(crate) fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match u16::from_ne_bytes(*bytes.first_chunk()?) {
        FAMILY_V4 => {
            let octets: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
            Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(octets), port)))
        }
        FAMILY_V6 => {
            let octets: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            let flow = u32::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
            let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
            let v6 = SocketAddrV6::new(Ipv6Addr::from(octets), port, flow, scope);
            Some(SocketAddr::V6(v6))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_to_the_kernel_and_back() {
        for text in ["192.0.2.7:5060", "[2001:db8::7]:5061", "[fe80::1%3]:40000"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(decode(&RawAddress::of(address).bytes), Some(address));
        }
        assert_eq!(decode(&[0; SPACE]), None);
        assert_eq!(decode(&[2]), None);
    }
}
