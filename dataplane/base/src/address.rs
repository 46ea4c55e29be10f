//! What an IP address is, judged once for everybody who sends somewhere because another one says
//! so: SIP targets, the media of a description, webhooks (THREATS.md, media relay as SSRF). Tables
//! that each of them keeps apart come to disagree.
//!
//! An IPv6 address that carries an IPv4 one is judged as the IPv4 address that it reaches. Which
//! kinds somebody sends to is that one's decision; two decisions that more than one takes are made
//! here: [`Class::is_reachable`] and [`Class::is_global`].

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is for (RFC 6890 and the IANA registries of special-purpose addresses).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody's on the Internet.
    Public,
    /// 10/8, 172.16/12, 192.168/16 (RFC 1918).
    Private,
    /// 100.64/10, behind a carrier's NAT (RFC 6598).
    Shared,
    /// fc00::/7 (RFC 4193).
    UniqueLocal,
    /// fec0::/10 (RFC 3879).
    SiteLocal,
    /// 127/8, ::1
    Loopback,
    /// 169.254/16, fe80::/10
    LinkLocal,
    /// Where clouds tell a machine its secrets.
    Metadata,
    /// 224/4, ff00::/8
    Multicast,
    /// 255.255.255.255
    Broadcast,
    /// 0.0.0.0, ::
    Unspecified,
    /// 192.0.2/24, 198.51.100/24, 203.0.113/24, 2001:db8::/32, 3fff::/20
    Documentation,
    /// 198.18/15 (RFC 2544), 2001:2::/48 (RFC 5180).
    Benchmarking,
    /// 192.0.0/24, 192.88.99/24, 2001::/23: of the IETF's protocols.
    Protocol,
    /// 0/8, 240/4, IPv6 that is nobody's yet.
    Reserved,
}

/// How an address is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As itself.
    Plain,
    /// An IPv4 address in IPv6's clothes that no packet carries: mapped ::ffff/96, compatible ::/96
    /// (RFC 4291 section 2.5.5), translated ::ffff:0/96 (RFC 2765).
    Alias,
    /// A translator or tunnel leads to the IPv4 address: NAT64 64:ff9b::/96 and 64:ff9b:1::/48 (RFC
    /// 6052, RFC 8215), 6to4 2002::/16 (RFC 3056), Teredo 2001::/32 (RFC 4380), ISATAP (RFC 5214).
    Tunnel,
}

/// An address judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    pub kind: Kind,
    pub form: Form,
    /// What it reaches: the IPv4 address inside, or itself.
    pub reached: IpAddr,
}

/// What an address is.
#[must_use]
pub const fn classify(address: IpAddr) -> Class {
    let v6 = match address {
        IpAddr::V4(v4) => return Class { kind: kind_v4(v4), form: Form::Plain, reached: address },
        IpAddr::V6(v6) => v6,
    };
    match embedded(v6.segments()) {
        Some((form, v4)) => Class { kind: kind_v4(v4), form, reached: IpAddr::V4(v4) },
        None => Class { kind: kind_v6(v6), form: Form::Plain, reached: address },
    }
}

impl Class {
    /// Whether SIP and media may be sent there at all, loopback aside, which is the sender's own
    /// matter: an address that a packet can carry, of one host, that is no cloud's metadata.
    #[must_use]
    pub const fn is_reachable(self) -> bool {
        !matches!(self.form, Form::Alias)
            && !matches!(
                self.kind,
                Kind::LinkLocal
                    | Kind::Metadata
                    | Kind::Multicast
                    | Kind::Broadcast
                    | Kind::Unspecified
                    | Kind::Reserved
            )
    }

    /// Whether it is in a network of the operator's own, or on this machine: what somebody outside
    /// names reaches nothing there unless the operator opens it.
    #[must_use]
    pub const fn is_inside(self) -> bool {
        matches!(
            self.kind,
            Kind::Loopback | Kind::Private | Kind::Shared | Kind::UniqueLocal | Kind::SiteLocal
        )
    }

    /// Whether it means the same host from everywhere. One that does not, in a message that came
    /// from elsewhere, is a private network's own view.
    #[must_use]
    pub const fn is_global(self) -> bool {
        matches!(self.kind, Kind::Public) && !matches!(self.form, Form::Alias)
    }

    /// Whether both are of one network in which addresses that are not global may be meant: the
    /// same kind, and for RFC 1918 the same of its three blocks.
    #[must_use]
    pub fn shares_network_with(self, other: Self) -> bool {
        self.kind == other.kind && block(self.reached) == block(other.reached)
    }
}

/// Whether an address means the same host from everywhere.
#[must_use]
pub const fn is_global(address: IpAddr) -> bool {
    classify(address).is_global()
}

impl Kind {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Shared => "shared",
            Self::UniqueLocal => "unique-local",
            Self::SiteLocal => "site-local",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Metadata => "metadata",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Unspecified => "unspecified",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Protocol => "protocol",
            Self::Reserved => "reserved",
        }
    }
}

const fn block(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) if v4.is_private() => v4.octets()[0],
        _ => 0,
    }
}

const fn kind_v4(v4: Ipv4Addr) -> Kind {
    match v4.octets() {
        [0, 0, 0, 0] => Kind::Unspecified,
        [127, ..] => Kind::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Kind::Private,
        [100, 100, 100, 200] | [168, 63, 129, 16] => Kind::Metadata,
        [169, 254, 169, 254] | [169, 254, 170, 2] => Kind::Metadata,
        [100, 64..=127, ..] => Kind::Shared,
        [169, 254, ..] => Kind::LinkLocal,
        [192, 0, 0, _] | [192, 88, 99, _] => Kind::Protocol,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Kind::Documentation,
        [198, 18..=19, ..] => Kind::Benchmarking,
        [224..=239, ..] => Kind::Multicast,
        [255, 255, 255, 255] => Kind::Broadcast,
        [0 | 240..=255, ..] => Kind::Reserved,
        _ => Kind::Public,
    }
}

const fn kind_v6(v6: Ipv6Addr) -> Kind {
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Kind::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Loopback,
        [0xfd00, 0x0ec2, ..] => Kind::Metadata,
        [0xfc00..=0xfdff, ..] => Kind::UniqueLocal,
        [0xfe80..=0xfebf, ..] => Kind::LinkLocal,
        [0xfec0..=0xfeff, ..] => Kind::SiteLocal,
        [0xff00..=0xffff, ..] => Kind::Multicast,
        [0x2001, 2, 0, ..] => Kind::Benchmarking,
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Kind::Documentation,
        [0x2001, 0..=0x01ff, ..] => Kind::Protocol,
        [0x2000..=0x3fff, ..] => Kind::Public,
        _ => Kind::Reserved,
    }
}

/// The IPv4 address inside an IPv6 one.
const fn embedded(s: [u16; 8]) -> Option<(Form, Ipv4Addr)> {
    let last = v4_of(s[6], s[7]);
    Some(match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => return None,
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => (Form::Alias, last),
        // RFC 6052 section 2.2: behind a prefix of 48 bits it stands around the octet 8.
        [0x64, 0xff9b, 1, high, low, rest, 0, 0] if low < 0x100 => {
            (Form::Tunnel, v4_of(high, low << 8 | rest >> 8))
        }
        [0x64, 0xff9b, 0 | 1, ..] => (Form::Tunnel, last),
        [0x2002, high, low, ..] => (Form::Tunnel, v4_of(high, low)),
        // Teredo's client, its bits turned (RFC 4380 section 4).
        [0x2001, 0, ..] => (Form::Tunnel, v4_of(!s[6], !s[7])),
        [0x2000..=0x3fff, _, _, _, 0 | 0x0200, 0x5efe, ..] => (Form::Tunnel, last),
        _ => return None,
    })
}

const fn v4_of(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

/// Addresses in their spellings and what each is: the table that every user of this module is
/// tested with.
pub const SPELLINGS: &[(&str, Kind, Form)] = &[
    ("8.8.8.8", Kind::Public, Form::Plain),
    ("100.63.255.255", Kind::Public, Form::Plain),
    ("100.128.0.0", Kind::Public, Form::Plain),
    ("172.15.255.255", Kind::Public, Form::Plain),
    ("172.32.0.0", Kind::Public, Form::Plain),
    ("192.0.1.1", Kind::Public, Form::Plain),
    ("198.17.255.255", Kind::Public, Form::Plain),
    ("198.20.0.0", Kind::Public, Form::Plain),
    ("223.255.255.255", Kind::Public, Form::Plain),
    ("2606:4700::1111", Kind::Public, Form::Plain),
    ("10.0.0.1", Kind::Private, Form::Plain),
    ("10.255.255.255", Kind::Private, Form::Plain),
    ("172.16.0.1", Kind::Private, Form::Plain),
    ("172.31.255.255", Kind::Private, Form::Plain),
    ("192.168.0.1", Kind::Private, Form::Plain),
    ("100.64.0.1", Kind::Shared, Form::Plain),
    ("100.127.255.255", Kind::Shared, Form::Plain),
    ("fc00::1", Kind::UniqueLocal, Form::Plain),
    ("fdff:ffff::1", Kind::UniqueLocal, Form::Plain),
    ("fec0::1", Kind::SiteLocal, Form::Plain),
    ("feff::1", Kind::SiteLocal, Form::Plain),
    ("127.0.0.1", Kind::Loopback, Form::Plain),
    ("127.255.255.254", Kind::Loopback, Form::Plain),
    ("::1", Kind::Loopback, Form::Plain),
    ("169.254.0.1", Kind::LinkLocal, Form::Plain),
    ("169.254.255.255", Kind::LinkLocal, Form::Plain),
    ("fe80::1", Kind::LinkLocal, Form::Plain),
    ("febf::1", Kind::LinkLocal, Form::Plain),
    ("fe80::5efe:10.0.0.1", Kind::LinkLocal, Form::Plain),
    ("169.254.169.254", Kind::Metadata, Form::Plain),
    ("169.254.170.2", Kind::Metadata, Form::Plain),
    ("100.100.100.200", Kind::Metadata, Form::Plain),
    ("168.63.129.16", Kind::Metadata, Form::Plain),
    ("fd00:ec2::254", Kind::Metadata, Form::Plain),
    ("224.0.0.1", Kind::Multicast, Form::Plain),
    ("239.255.255.255", Kind::Multicast, Form::Plain),
    ("ff02::1", Kind::Multicast, Form::Plain),
    ("255.255.255.255", Kind::Broadcast, Form::Plain),
    ("0.0.0.0", Kind::Unspecified, Form::Plain),
    ("::", Kind::Unspecified, Form::Plain),
    ("192.0.2.1", Kind::Documentation, Form::Plain),
    ("198.51.100.1", Kind::Documentation, Form::Plain),
    ("203.0.113.1", Kind::Documentation, Form::Plain),
    ("2001:db8::1", Kind::Documentation, Form::Plain),
    ("3fff::1", Kind::Documentation, Form::Plain),
    ("198.18.0.1", Kind::Benchmarking, Form::Plain),
    ("198.19.255.255", Kind::Benchmarking, Form::Plain),
    ("2001:2::1", Kind::Benchmarking, Form::Plain),
    ("192.0.0.1", Kind::Protocol, Form::Plain),
    ("192.88.99.1", Kind::Protocol, Form::Plain),
    ("2001:20::1", Kind::Protocol, Form::Plain),
    ("0.1.2.3", Kind::Reserved, Form::Plain),
    ("240.0.0.1", Kind::Reserved, Form::Plain),
    ("255.255.255.254", Kind::Reserved, Form::Plain),
    ("4000::1", Kind::Reserved, Form::Plain),
    ("::2:0:0:0", Kind::Reserved, Form::Plain),
    ("::ffff:8.8.8.8", Kind::Public, Form::Alias),
    ("::ffff:127.0.0.1", Kind::Loopback, Form::Alias),
    ("::ffff:7f00:1", Kind::Loopback, Form::Alias),
    ("0:0:0:0:0:ffff:a9fe:a9fe", Kind::Metadata, Form::Alias),
    ("::127.0.0.1", Kind::Loopback, Form::Alias),
    ("::8.8.8.8", Kind::Public, Form::Alias),
    ("::ffff:0:10.0.0.1", Kind::Private, Form::Alias),
    ("64:ff9b::8.8.8.8", Kind::Public, Form::Tunnel),
    ("64:ff9b::7f00:1", Kind::Loopback, Form::Tunnel),
    ("64:ff9b::169.254.169.254", Kind::Metadata, Form::Tunnel),
    ("64:ff9b::f000:1", Kind::Reserved, Form::Tunnel),
    ("64:ff9b:1::127.0.0.1", Kind::Loopback, Form::Tunnel),
    ("64:ff9b:1:7f00:0:100::", Kind::Loopback, Form::Tunnel),
    ("2002:7f00:1::", Kind::Loopback, Form::Tunnel),
    ("2002:a9fe:a9fe::1", Kind::Metadata, Form::Tunnel),
    ("2002:e000:1::", Kind::Multicast, Form::Tunnel),
    ("2002:808:808::1", Kind::Public, Form::Tunnel),
    ("2001::80ff:fffe", Kind::Loopback, Form::Tunnel),
    ("2001:0:808:808::f7f7:f7f7", Kind::Public, Form::Tunnel),
    ("2606:4700::5efe:10.0.0.1", Kind::Private, Form::Tunnel),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_what_it_is() {
        assert!(SPELLINGS.len() >= 60);
        for (text, kind, form) in SPELLINGS {
            let class = classify(text.parse().unwrap());
            assert_eq!((class.kind, class.form), (*kind, *form), "{text}");
            assert_eq!(class.form == Form::Plain, class.reached == text.parse::<IpAddr>().unwrap());
        }
    }

    #[test]
    fn an_address_that_is_not_global_is_believed_in_its_own_network_only() {
        let class = |text: &str| classify(text.parse().unwrap());
        assert!(class("10.0.0.1").shares_network_with(class("10.9.0.1")));
        for (one, other) in
            [("10.0.0.1", "192.168.0.1"), ("100.64.0.1", "8.8.8.8"), ("fd00::1", "10.0.0.1")]
        {
            assert!(!class(one).shares_network_with(class(other)), "{one} {other}");
        }
        assert!(is_global("64:ff9b::8.8.8.8".parse().unwrap()));
        assert!(!is_global("::ffff:8.8.8.8".parse().unwrap()));
    }
}
