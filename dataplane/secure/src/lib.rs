//! TLS as a byte filter between a connection and whoever reads and writes it: bytes in, bytes out,
//! no sockets, no clock of its own.
//!
//! ```text
//!   from the network --> Sessions::receive --> Sessions::serve --> Outlet::plain   to the shard
//!   to the network <---- Outlet::sealed <----- Sessions::send  <------------------ from the shard
//! ```
//!
//! A handshake costs as much as some thousand packets: of those whose bytes have come one is
//! served at a time ([`Sessions::serve`]), and whoever owns the ring looks at it in between.
#![forbid(unsafe_code)]

mod identity;
mod sessions;

pub use identity::{Asks, BadMaterial, Identity};
pub use sessions::{Broken, Outlet, Sessions};

#[cfg(test)]
mod tests;
