//! May we send there, and where does a request inside a dialog go.

use base::Hop;
use core::net::{IpAddr, SocketAddr};

/// Whether packets may be sent there at all (THREATS.md, media relay as SSRF). `ours` is our own
/// address towards that side: loopback talks with loopback only.
pub(crate) fn may_send_to(address: IpAddr, ours: IpAddr) -> bool {
    let address = address.to_canonical();
    let special = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unspecified() || v6.segments()[0] & 0xffc0 == 0xfe80,
    };
    let loopback = address.is_loopback() && !ours.is_loopback();
    !(special || loopback || address.is_multicast())
}

/// Whether media may be described there: anywhere that may be sent to, or nowhere (`c=0.0.0.0`,
/// which is hold, RFC 3264 section 8.4).
pub(crate) fn may_describe(address: IpAddr, ours: IpAddr) -> bool {
    address.is_unspecified() || may_send_to(address, ours)
}

/// A URI's address, where its host is one.
pub(crate) fn address_of(uri: &[u8]) -> Option<SocketAddr> {
    let uri = sip::Uri::parse(uri).ok()?;
    Some(SocketAddr::new(uri.host.ip()?, uri.port_or_default()))
}

/// Where a request inside a dialog goes: to the next hop if its host is an address that can be
/// meant from here, else where the dialog's messages came from (a phone behind a NAT, a name).
pub(crate) fn towards(uri: &[u8], last: Hop) -> Hop {
    let Some(address) = address_of(uri) else { return last };
    let private = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.segments()[0] & 0xfe00 == 0xfc00,
    };
    let misleading = !may_send_to(address.ip(), last.to.ip())
        || (private(address.ip()) && !private(last.to.ip()));
    let same_family = address.is_ipv4() == last.to.is_ipv4();
    if misleading || !same_family || address.port() == 0 { last } else { last.towards(address) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nobody_is_sent_to_a_special_address() {
        let ours = ip("192.0.2.1");
        for address in ["0.0.0.0", "0.1.2.3", "255.255.255.255", "169.254.169.254", "224.0.0.1"] {
            assert!(!may_send_to(ip(address), ours), "{address}");
        }
        for address in ["::", "fe80::1", "ff02::1", "::ffff:169.254.1.1", "127.0.0.1", "::1"] {
            assert!(!may_send_to(ip(address), ours), "{address}");
        }
        assert!(may_send_to(ip("127.0.0.9"), ip("127.0.0.1")));
        assert!(may_send_to(ip("198.51.100.1"), ours) && may_send_to(ip("10.0.0.1"), ours));
        assert!(may_describe(ip("0.0.0.0"), ours) && may_describe(ip("::"), ours));
    }

    #[test]
    fn a_private_contact_behind_a_public_source_is_not_believed() {
        let last = Hop::datagram(0, "198.51.100.7:40000".parse().unwrap());
        assert_eq!(towards(b"sip:a@192.168.1.5:5060", last), last);
        assert_eq!(towards(b"sip:a@phone.example", last), last);
        let public = "sip:a@203.0.113.5:5080";
        assert_eq!(towards(public.as_bytes(), last).to, "203.0.113.5:5080".parse().unwrap());
    }
}
