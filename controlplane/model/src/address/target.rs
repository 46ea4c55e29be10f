//! Which addresses tenants may have INVITEs sent to.

use std::net::IpAddr;

use base::address::{Form, Kind, classify};
use wire::table::Network;

/// Why a tenant may not have an INVITE sent there; None if it may. IPv4 addresses hidden in IPv6
/// ones are judged as what they are.
pub fn refused(address: IpAddr, allow: &[Network]) -> Option<&'static str> {
    let class = classify(address);
    if class.form == Form::Alias {
        return Some("v4-mapped");
    }
    if allow.iter().any(|network| network.contains(address)) {
        return None;
    }
    let refused = !class.is_reachable() || class.kind == Kind::Loopback;
    refused.then(|| class.kind.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_judged_by_what_it_reaches() {
        for (text, kind, form) in base::address::SPELLINGS {
            let inside = matches!(
                kind,
                Kind::Loopback
                    | Kind::LinkLocal
                    | Kind::Metadata
                    | Kind::Multicast
                    | Kind::Broadcast
                    | Kind::Unspecified
                    | Kind::Reserved
            );
            let judged = refused(text.parse().unwrap(), &[]);
            assert_eq!(judged.is_some(), inside || *form == Form::Alias, "{text}");
        }
    }

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
