//! May we send there, and where does a request inside a dialog go. What an address is says
//! [`base::address`].

use base::address::{Form, Kind, classify};
use base::{Door, Hop};
use core::net::{IpAddr, SocketAddr};
use sip::dialog::Dialog;

use crate::cx::Core;

/// Whether packets may be sent there at all (THREATS.md, media relay as SSRF). `ours` is our own
/// address towards that side: loopback talks with loopback only.
pub(crate) fn may_send_to(address: IpAddr, ours: IpAddr) -> bool {
    let class = classify(address);
    let loopback = class.kind == Kind::Loopback;
    let beside = class.form == Form::Plain && ours.is_loopback();
    class.is_reachable() && (!loopback || beside)
}

/// A URI's address, where its host is one.
pub(crate) fn address_of(uri: &[u8]) -> Option<SocketAddr> {
    let uri = sip::Uri::parse(uri).ok()?;
    Some(SocketAddr::new(uri.host.ip()?, uri.port_or_default()))
}

/// Where a request goes whose next hop this is: there, if its host is an address that can be
/// meant from here, else where the dialog's messages came from (a phone behind a NAT, a name). An
/// address that is not globally routable is only meant in the network that the messages came from.
fn towards(uri: &[u8], last: Hop) -> Hop {
    let Some(address) = address_of(uri) else { return last };
    let (named, source) = (classify(address.ip()), classify(last.to.ip()));
    let misleading = !may_send_to(address.ip(), last.to.ip())
        || !(named.is_global() || named.shares_network_with(source));
    let same_family = address.is_ipv4() == last.to.is_ipv4();
    if misleading || !same_family || address.port() == 0 { last } else { last.towards(address) }
}

impl Core<'_> {
    /// Where a request inside this dialog goes, whose messages came from `last`.
    pub(crate) fn way_in(&self, dialog: &Dialog, text: &[u8], last: Hop) -> Hop {
        let stands = match last.via {
            Door::Datagram(_) => true,
            Door::Connection { id, .. } => {
                id.shard != self.plan.shard || self.connections.is_standing(id)
            }
        };
        match dialog.is_by_flow() && !dialog.has_routes() && stands {
            true => last,
            false => towards(dialog.next_hop(text), last),
        }
    }
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
    }

    #[test]
    fn every_spelling_is_judged_by_what_it_reaches() {
        let ours = ip("192.0.2.1");
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
            let refused = inside || *form == Form::Alias;
            assert_eq!(may_send_to(ip(text), ours), !refused, "{text}");
        }
    }

    #[test]
    fn a_contact_of_another_network_than_the_source_is_only_believed_if_it_is_global() {
        for source in ["8.8.8.8:5060", "10.0.0.9:5060", "192.168.7.1:5060", "100.64.0.1:5060"] {
            let last = Hop::datagram(0, source.parse().unwrap());
            for contact in ["172.16.0.1", "198.18.0.1", "192.0.0.1", "203.0.113.5", "127.0.0.1"] {
                let uri = format!("sip:a@{contact}:5060");
                assert_eq!(towards(uri.as_bytes(), last), last, "{contact} from {source}");
            }
            assert_ne!(towards(b"sip:a@9.9.9.9:5060", last), last);
        }
        let last = Hop::datagram(0, "10.0.0.9:5060".parse().unwrap());
        assert_ne!(towards(b"sip:a@10.0.0.10:5060", last), last, "a proxy that left the route");
        let last = Hop::datagram(0, "[2606:4700::1]:5060".parse().unwrap());
        assert_eq!(towards(b"sip:a@[fd00::1]:5060", last), last);
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
