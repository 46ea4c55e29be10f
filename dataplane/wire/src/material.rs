//! What identifies this switch on TLS connections and whom it believes: read from files by the
//! controlplane, given to the dataplane in a sealed memfd over the link socket
//! ([`crate::link::ToDataplane::Certificates`]), and kept there under the service manager's hand
//! for its successors.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The longest encoded material: the authorities of a system and a thousand certificates.
pub const MATERIAL_BYTES_MAX: usize = 16 << 20;

/// Everything at once; what comes later replaces it whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Material {
    /// The first one that serves a listener is shown to whoever names nothing that is served.
    pub certificates: Vec<Certificate>,
    /// Whose signatures are believed, DER.
    pub authorities: Vec<Vec<u8>>,
    /// Far ends that are known by what their certificates name, wherever they connect from.
    pub clients: Vec<Client>,
}

/// A far end that is known by its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// A host name, lower case.
    pub name: String,
    /// The address that stands for it in lists of networks; see [`is_identifier`].
    pub known_as: IpAddr,
}

/// Whether an address stands for a name: the leading bits are those of hashes that look like
/// addresses and are nobody's (ORCHIDv2, RFC 7343). Nothing comes from one.
#[must_use]
pub fn is_identifier(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.to_bits() >> 100 == IDENTIFIERS >> 100,
    }
}

/// 2001:20::/28.
pub const IDENTIFIERS: u128 = 0x2001_0020 << 96;

/// A certificate of ours.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// PEM: the certificate, then those between it and its authority.
    pub chain: Vec<u8>,
    /// PEM: its private key.
    pub key: Vec<u8>,
    /// Indices of the listeners that show it; empty for all.
    pub listeners: Vec<u8>,
}

impl core::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Certificate({} bytes, listeners {:?})", self.chain.len(), self.listeners)
    }
}
