//! Joins: who hears whom. A join of two legs is `relay`: no decoding, the receiver's stream
//! rewritten into the one continuous stream of the other leg.

mod relay;
mod stream;

pub(crate) use relay::{Admitted, admit};
pub(crate) use stream::{Hears, Latch, Stream};
