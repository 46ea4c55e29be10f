//! Values that several tables have, and what they are where nothing is said.

use serde::{Deserialize, Serialize};

/// Text that no log has: its `Debug` says nothing.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// CS3 (RFC 4594 section 4.2).
pub(crate) fn signalling_dscp() -> u8 {
    24
}

/// EF (RFC 4594 section 4.1).
pub(crate) fn media_dscp() -> u8 {
    46
}
