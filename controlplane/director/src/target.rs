//! Which addresses tenants may have INVITEs sent to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::table::Network;

/// Why a tenant may not have an INVITE sent there; None if it may. IPv4 addresses hidden in IPv6
/// ones are judged as what they are.
pub(crate) fn refused(address: IpAddr, allow: &[Network]) -> Option<&'static str> {
    if allow.iter().any(|network| network.contains(address)) {
        return None;
    }
    match address {
        IpAddr::V4(v4) => v4_refused(v4),
        IpAddr::V6(v6) => v6_refused(v6),
    }
}

fn v4_refused(v4: Ipv4Addr) -> Option<&'static str> {
    let [a, ..] = v4.octets();
    if v4.is_loopback() {
        Some("loopback")
    } else if v4.is_link_local() {
        Some("link-local")
    } else if v4.is_multicast() {
        Some("multicast")
    } else if a == 0 {
        Some("unspecified")
    } else if v4.is_broadcast() || a >= 240 {
        Some("reserved")
    } else {
        None
    }
}

fn v6_refused(v6: Ipv6Addr) -> Option<&'static str> {
    let s = v6.segments();
    // Metadata services of clouds that speak IPv6.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    if v6.is_loopback() {
        Some("loopback")
    } else if v6.is_unspecified() {
        Some("unspecified")
    } else if v6.is_multicast() {
        Some("multicast")
    } else if s[0] & 0xffc0 == 0xfe80 {
        Some("link-local")
    } else if v6 == METADATA {
        Some("metadata")
    } else if v6.to_ipv4_mapped().is_some() {
        Some("v4-mapped")
    } else if s[..6] == [0; 6] {
        Some("v4-compatible")
    } else if s[0] == 0x64 && s[1] == 0xff9b {
        let [a, b] = s[6].to_be_bytes();
        let [c, d] = s[7].to_be_bytes();
        v4_refused(Ipv4Addr::new(a, b, c, d))
    } else if s[0] == 0x2002 {
        let [a, b] = s[1].to_be_bytes();
        let [c, d] = s[2].to_be_bytes();
        v4_refused(Ipv4Addr::new(a, b, c, d))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_inside_are_refused_in_every_spelling() {
        for bad in [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "239.1.2.3",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "fd00:ec2::254",
        ] {
            assert!(refused(bad.parse().unwrap(), &[]).is_some(), "{bad}");
        }
        for fine in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "64:ff9b::c000:201"] {
            assert_eq!(refused(fine.parse().unwrap(), &[]), None, "{fine}");
        }
        let allow = [Network { address: "127.0.0.0".parse().unwrap(), bits: 8 }];
        assert_eq!(refused("127.0.0.1".parse().unwrap(), &allow), None);
        assert!(refused("::1".parse().unwrap(), &allow).is_some());
    }
}
