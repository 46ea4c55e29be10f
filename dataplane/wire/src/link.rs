//! What the two processes say when they meet on the link socket (AF_UNIX, SEQPACKET, peer uid
//! checked). Afterwards they talk through the regions; the connection stays open so that each sees
//! the other's death, and for certificates.
//!
//! ```text
//! controlplane                                   dataplane
//!      | -- Hello { layout, pid } --------------->  |
//!      | <- Welcome { .. } + descriptors: read-only region per shard, doorbell per shard,
//!      |                                 the controlplane's doorbell
//!      | -- Attach { epoch } + descriptors: read-only region per shard
//!      | -- Certificates + a sealed memfd, now and whenever they change
//! ```

use serde::{Deserialize, Serialize};

/// The longest message.
pub const LINK_BYTES_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToDataplane {
    Hello {
        /// [`crate::region::layout_hash`] of the sender.
        layout: u64,
        pid: u32,
    },
    /// Carries one read-only descriptor per shard.
    Attach { epoch: u32 },
    /// Carries one descriptor: a memfd sealed against every change, which holds an encoded
    /// [`crate::material::Material`]. At any time after Attach, as often as it changes.
    Certificates,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToControlplane {
    /// Carries `2 * shards + 1` descriptors.
    Welcome {
        shards: u8,
        legs: u32,
        event_words: u64,
        command_words: u64,
        /// Epoch of this life of the dataplane, the same in all its regions.
        epoch: u32,
        node: u32,
        pid: u32,
    },
    /// The two binaries were built from different contracts.
    Refuse { found: u64, expected: u64 },
}
