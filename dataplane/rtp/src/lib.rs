//! RTP and RTCP for a switch that relays (RFC 3550, RFC 3551, RFC 4733, RFC 5761).
//!
//! ```text
//!   datagram --classify--> RTP --Header::parse--> Receiver (statistics, verdict)
//!                 |                                  |  Start, Restart: switch_source
//!                 |                                  v
//!                 |         in place:             Sender (one continuous stream) --> rewrite
//!                 +------> RTCP --rtcp::parse--> Peer (round trip)
//!                               rtcp::write_* <-- Receiver, Sender
//! ```
//!
//! Everything here is a plain value: no clock (arrival times are passed in as [`base::Mono`]), no
//! I/O, no allocation. A leg has one [`Receiver`], one [`Sender`] and one [`rtcp::Peer`]; digits
//! that it sends wait in a [`telephone_event::EventQueue`].
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod demux;
pub mod fuzz;
mod header;
pub mod quality;
mod receiver;
pub mod rtcp;
mod sender;
pub mod telephone_event;
mod ticks;

pub use demux::{PacketKind, classify};
pub use header::{
    FIXED_HEADER_BYTES, Header, HeaderFields, PlainHeader, Rewrite, RtpError, Ssrc, rewrite,
    set_marker, set_payload_type, set_sequence, set_ssrc, set_timestamp, write_header,
};
pub use receiver::{LossCounters, Probation, Receiver, Verdict};
pub use sender::{Sender, Stamped};
pub use ticks::{ticks, ticks_to_micros};
