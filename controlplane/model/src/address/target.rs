//! Which addresses tenants may have INVITEs sent to.

use std::net::IpAddr;

use base::address::{Form, classify};
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
    let refused = !class.is_reachable() || class.is_inside();
    refused.then(|| class.kind.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::address::Kind;

    #[test]
    fn every_spelling_is_judged_by_what_it_reaches() {
        for (text, kind, form) in base::address::SPELLINGS {
            let inside = matches!(
                kind,
                Kind::Loopback
                    | Kind::Private
                    | Kind::Shared
                    | Kind::UniqueLocal
                    | Kind::SiteLocal
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
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.254",
            "192.168.1.1",
            "100.64.0.1",
            "fc00::1",
            "fec0::1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
        ] {
            assert!(refused(bad.parse().unwrap(), &[]).is_some(), "{bad}");
        }
        for fine in [
            "192.0.2.1",
            "172.32.0.1",
            "11.0.0.1",
            "100.128.0.1",
            "2001:db8::1",
            "64:ff9b::c000:201",
        ] {
            assert_eq!(refused(fine.parse().unwrap(), &[]), None, "{fine}");
        }
        let allow = [Network { address: "127.0.0.0".parse().unwrap(), bits: 8 }];
        assert_eq!(refused("127.0.0.1".parse().unwrap(), &allow), None);
        assert!(refused("::1".parse().unwrap(), &allow).is_some());
        let allow = [Network { address: "10.1.0.0".parse().unwrap(), bits: 16 }];
        assert_eq!(refused("10.1.2.3".parse().unwrap(), &allow), None);
        assert!(refused("10.2.0.1".parse().unwrap(), &allow).is_some());
    }

    /// Both doors have one idea of what is inside: what INVITEs may reach, webhooks may, too.
    #[test]
    fn webhooks_and_targets_agree_about_what_is_inside() {
        let webhooks = crate::address::webhook::Policy::default();
        for (text, ..) in base::address::SPELLINGS {
            let address: IpAddr = text.parse().unwrap();
            if classify(address).is_inside() {
                assert!(refused(address, &[]).is_some(), "{text}");
                assert!(webhooks.check((address, 443).into()).is_err(), "{text}");
            }
        }
    }
}
