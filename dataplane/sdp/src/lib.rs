//! SDP as a voice switch needs it (RFC 4566/8866 and the offer/answer model of RFC 3264).
//!
//! ```text
//!   bytes --Session::parse--> Session<'a> --+--> relay_offer, relay_answer --> for the other leg
//!                                           +--> relay_reanswer, answer    --> for the same leg
//!                                           +--> Plan::negotiate           --> one leg's media
//!   Local, codecs ----------write_offer--------------------------------------> for a new leg
//! ```
//!
//! The reader borrows: it keeps the text and looks things up in it; nothing is copied and nothing
//! is allocated. The writers fill a buffer that the caller owns and say how much they wrote. A
//! [`Plan`] is the only thing that survives a negotiation; it is small, `Copy` and free of borrows.
//!
//! The two relay functions are the switch's main use: a B2BUA terminates each hop, so what
//! describes the *hop* (addresses, ports, keys, ICE, RTCP arrangements, bundling) is replaced or
//! removed, and what describes the *conversation* (codecs, their parameters, packet time,
//! direction, attributes that we do not know) is carried over.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod attribute;
mod codec;
mod error;
mod events;
pub mod fuzz;
pub mod limits;
mod media;
mod order;
mod own;
mod plan;
mod relay;
mod scan;
mod session;
mod target;
mod write;

pub use codec::{Codec, CodecId, Format, Formats, PtSet, Supported};
pub use error::{Blame, SdpError};
pub use events::strip_events;
pub use media::{Attribute, Direction, Kind, Media, Protocol, Setup};
pub use order::order_formats;
pub use own::{Answer, Offer, answer, reject, write_offer, write_offer_in};
pub use plan::{Plan, PlanFormat, PtMap, pt_map};
pub use relay::{Reoffer, relay_answer, relay_offer, relay_reanswer};
pub use session::{Change, Origin, Session, Stamp};
pub use target::MediaTarget;
pub use write::{Local, Rtcp};
