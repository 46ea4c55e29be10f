//! Which networks are known: looked up for every message of a source, by prefix length, so that ten
//! thousand networks cost what ten do.

use core::net::IpAddr;

use wire::table::Network;

use super::guard::Standing;

/// A network of fewer bits than this in somebody's list is open to the world: whoever calls from
/// there is a stranger all the same.
const OPEN_BITS_V4: u8 = 8;
const OPEN_BITS_V6: u8 = 8;

/// All networks of one length and family.
#[derive(Debug)]
struct Level {
    is_v4: bool,
    bits: u8,
    /// Their addresses' leading bits, sorted.
    prefixes: Vec<u128>,
}

/// Whose messages are whose.
#[derive(Debug)]
pub(crate) struct Networks {
    /// Nothing is known of who is known: everybody is.
    everybody: bool,
    trunks: Vec<Level>,
    known: Vec<Level>,
}

impl Networks {
    pub(crate) fn new(trunks: &[Network], known: &[Network]) -> Self {
        Self { everybody: false, trunks: levels(trunks), known: levels(known) }
    }

    /// Before anybody has said who is known, and where nobody does.
    pub(crate) fn everybody(trunks: &[Network]) -> Self {
        Self { everybody: true, ..Self::new(trunks, &[]) }
    }

    /// What is known of an address by its network.
    pub(crate) fn standing(&self, address: IpAddr) -> Standing {
        let address = address.to_canonical();
        if contain(&self.trunks, address) {
            Standing::Trunk
        } else if self.everybody || contain(&self.known, address) {
            Standing::Known
        } else {
            Standing::Stranger
        }
    }
}

fn levels(networks: &[Network]) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::new();
    for network in networks.iter().filter(|network| !is_open(network)) {
        let is_v4 = network.address.is_ipv4();
        let bits = network.bits;
        let prefix = prefix(network.address, bits);
        match levels.iter_mut().find(|level| level.is_v4 == is_v4 && level.bits == bits) {
            Some(level) => level.prefixes.push(prefix),
            None => levels.push(Level { is_v4, bits, prefixes: vec![prefix] }),
        }
    }
    for level in &mut levels {
        level.prefixes.sort_unstable();
        level.prefixes.dedup();
    }
    levels
}

fn contain(levels: &[Level], address: IpAddr) -> bool {
    let is_v4 = address.is_ipv4();
    levels
        .iter()
        .filter(|level| level.is_v4 == is_v4)
        .any(|level| level.prefixes.binary_search(&prefix(address, level.bits)).is_ok())
}

pub(crate) fn is_open(network: &Network) -> bool {
    let least = if network.address.is_ipv4() { OPEN_BITS_V4 } else { OPEN_BITS_V6 };
    network.bits < least
}

/// The leading bits of an address.
fn prefix(address: IpAddr, bits: u8) -> u128 {
    let (value, width) = match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    value.checked_shr(width - u32::from(bits).min(width)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_the_networks_that_hold_it() {
        let parse = |texts: &[&str]| -> Vec<Network> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let trunks = parse(&["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"]);
        let known = parse(&["10.0.0.0/8", "fd00::/8", "0.0.0.0/0", "2001:db8:1::5"]);
        let networks = Networks::new(&trunks, &known);
        let cases = [
            ("192.0.2.200", Standing::Trunk),
            ("::ffff:192.0.2.1", Standing::Trunk),
            ("2001:db8:1::5", Standing::Trunk),
            ("198.51.100.7", Standing::Trunk),
            ("198.51.100.8", Standing::Stranger),
            ("10.200.1.1", Standing::Known),
            ("11.0.0.1", Standing::Stranger),
            ("fd00::1", Standing::Known),
            ("2001:db9::1", Standing::Stranger),
        ];
        for (address, standing) in cases {
            assert_eq!(networks.standing(address.parse().unwrap()), standing, "{address}");
        }
        let everybody = Networks::everybody(&trunks);
        assert_eq!(everybody.standing("11.0.0.1".parse().unwrap()), Standing::Known);
        assert_eq!(everybody.standing("192.0.2.1".parse().unwrap()), Standing::Trunk);
    }
}
