//! Where webhooks may go. A tenant chooses the URL, so every address is checked in the form in
//! which it will be connected to, after name resolution, and at each redirect again (THREATS.md,
//! SSRF).
//!
//! The rule is an allow rule: IPv4 outside the special-purpose registries (RFC 6890) and IPv6
//! inside 2000::/3 without the prefixes that carry an IPv4 address or mean something local. The
//! deployment may open networks by name; the control address stays shut even in them, unless it is
//! named itself.

use core::fmt;
use std::net::{IpAddr, SocketAddr};

use base::address::{Form, Kind, classify};

/// The longest URL of an application, bytes: as configured, as a document names it, as a redirect
/// leads to it. The parameters of a GET come on top of it.
pub const URL_BYTES_MAX: usize = 4_000;

/// What the client may connect to.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    networks: Vec<Network>,
    sockets: Vec<SocketAddr>,
    own: Vec<SocketAddr>,
}

/// An address and the number of leading bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Text that is neither `address/prefix`, nor an address, nor `address:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadNetwork(pub String);

/// Why an address is not connected to. The doc comment is the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// loopback address
    Loopback,
    /// private address
    Private,
    /// link-local address
    LinkLocal,
    /// cloud metadata address
    Metadata,
    /// multicast or broadcast address
    Multicast,
    /// unspecified address
    Unspecified,
    /// IPv6 address that embeds an IPv4 address
    Embedded,
    /// reserved or documentation address
    Reserved,
    /// the switch's own control address
    Own,
    /// port not allowed for webhooks
    Port,
}

impl Policy {
    /// `allow`: networks (`10.0.0.0/8`), addresses or single sockets (`127.0.0.1:8080`) that are
    /// open although the rule refuses them. `own`: the addresses this switch is controlled by; only
    /// a socket in `allow` opens one of them.
    ///
    /// # Errors
    /// [`BadNetwork`] with the first entry that cannot be read.
    pub fn new(allow: &[String], own: &[SocketAddr]) -> Result<Self, BadNetwork> {
        let mut policy = Self { own: own.to_vec(), ..Self::default() };
        for text in allow {
            if let Ok(socket) = text.parse() {
                policy.sockets.push(socket);
            } else {
                policy.networks.push(text.parse()?);
            }
        }
        Ok(policy)
    }

    /// # Errors
    /// The reason for which `target` must not be connected to.
    pub fn check(&self, target: SocketAddr) -> Result<(), Forbidden> {
        if is_bad_port(target.port()) {
            return Err(Forbidden::Port);
        }
        if self.sockets.contains(&target) {
            return Ok(());
        }
        if self.own.iter().any(|own| is_own(*own, target)) {
            return Err(Forbidden::Own);
        }
        if self.networks.iter().any(|network| network.contains(target.ip())) {
            return Ok(());
        }
        check_address(target.ip())
    }
}

/// A listener on an unspecified address is reached by every local one: on this machine that is
/// loopback for certain, and any address with its port where a network was opened.
fn is_own(own: SocketAddr, target: SocketAddr) -> bool {
    own.port() == target.port() && (own.ip().is_unspecified() || own.ip() == target.ip())
}

/// An address that carries another one is refused whatever it carries: nobody's web server needs
/// one.
fn check_address(address: IpAddr) -> Result<(), Forbidden> {
    let class = classify(address);
    if class.form != Form::Plain {
        return Err(Forbidden::Embedded);
    }
    Err(match class.kind {
        Kind::Public => return Ok(()),
        Kind::Private | Kind::Shared | Kind::UniqueLocal | Kind::SiteLocal => Forbidden::Private,
        Kind::Loopback => Forbidden::Loopback,
        Kind::LinkLocal => Forbidden::LinkLocal,
        Kind::Metadata => Forbidden::Metadata,
        Kind::Multicast | Kind::Broadcast => Forbidden::Multicast,
        Kind::Unspecified => Forbidden::Unspecified,
        Kind::Documentation | Kind::Benchmarking | Kind::Protocol | Kind::Reserved => {
            Forbidden::Reserved
        }
    })
}

/// Port 0 and the ports of services that answer to bytes inside an HTTP request (the Fetch
/// standard's list of bad ports): mail, shells, SIP, printers, IRC.
fn is_bad_port(port: u16) -> bool {
    const BAD: [u16; 82] = [
        0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95,
        101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179,
        389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601,
        636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566,
        6665, 6666, 6667, 6668, 6669, 6697, 10080,
    ];
    BAD.binary_search(&port).is_ok()
}

impl Network {
    /// An IPv4 network never contains an IPv6 address that embeds one of its addresses.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl core::str::FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| bad())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.trim().parse::<u8>().map_err(|_| bad())?,
            None => longest,
        };
        if prefix > longest { Err(bad()) } else { Ok(Self { address, prefix }) }
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback address",
            Self::Private => "private address",
            Self::LinkLocal => "link-local address",
            Self::Metadata => "cloud metadata address",
            Self::Multicast => "multicast or broadcast address",
            Self::Unspecified => "unspecified address",
            Self::Embedded => "IPv6 address that embeds an IPv4 address",
            Self::Reserved => "reserved or documentation address",
            Self::Own => "the switch's own control address",
            Self::Port => "port not allowed for webhooks",
        })
    }
}

impl fmt::Display for BadNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no network, address or address:port", self.0)
    }
}

impl core::error::Error for Forbidden {}
impl core::error::Error for BadNetwork {}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().expect("a socket address")
    }

    #[test]
    fn public_addresses_pass() {
        let policy = Policy::default();
        for text in ["8.8.8.8:80", "172.15.0.1:443", "[2606:4700::1111]:443", "100.63.0.1:8443"] {
            assert_eq!(policy.check(socket(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn only_public_addresses_in_their_own_spelling_pass() {
        let policy = Policy::default();
        for (text, kind, form) in base::address::SPELLINGS {
            let target = SocketAddr::new(text.parse().expect("an address"), 443);
            let public = *kind == Kind::Public && *form == Form::Plain;
            assert_eq!(policy.check(target).is_ok(), public, "{text}");
        }
    }

    #[test]
    fn bad_ports_are_sorted_and_refused() {
        assert_eq!(Policy::default().check(socket("8.8.8.8:25")), Err(Forbidden::Port));
        assert_eq!(Policy::default().check(socket("8.8.8.8:10080")), Err(Forbidden::Port));
        assert!((0..=u16::MAX).filter(|port| is_bad_port(*port)).count() == 82);
    }

    #[test]
    fn networks_open_what_they_name_and_no_more() {
        let allow = ["127.0.0.0/8".to_owned(), "fd00:1::/32".to_owned(), "10.1.2.3".to_owned()];
        let own = socket("127.0.0.1:8080");
        let policy = Policy::new(&allow, &[own]).expect("networks");
        assert_eq!(policy.check(socket("127.9.9.9:8080")), Ok(()));
        assert_eq!(policy.check(socket("[fd00:1::5]:80")), Ok(()));
        assert_eq!(policy.check(socket("10.1.2.3:80")), Ok(()));
        assert_eq!(policy.check(socket("10.1.2.4:80")), Err(Forbidden::Private));
        assert_eq!(policy.check(socket("[::ffff:127.0.0.1]:80")), Err(Forbidden::Embedded));
        assert_eq!(policy.check(own), Err(Forbidden::Own));
        let named = Policy::new(&["127.0.0.1:8080".to_owned()], &[own]).expect("a socket");
        assert_eq!(named.check(own), Ok(()));
        assert_eq!(named.check(socket("127.0.0.1:8081")), Err(Forbidden::Loopback));
    }

    #[test]
    fn an_unspecified_control_address_guards_its_port() {
        let policy = Policy::new(&["0.0.0.0/0".to_owned()], &[socket("0.0.0.0:8080")]);
        let policy = policy.expect("networks");
        assert_eq!(policy.check(socket("192.168.1.1:8080")), Err(Forbidden::Own));
        assert_eq!(policy.check(socket("192.168.1.1:8081")), Ok(()));
    }

    #[test]
    fn bad_networks_are_named() {
        for text in ["", "10.0.0.0/33", "::/129", "localhost", "10.0.0/8", "10.0.0.0/x"] {
            assert_eq!(text.parse::<Network>(), Err(BadNetwork(text.to_owned())));
        }
    }
}
