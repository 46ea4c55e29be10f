//! Phones: the user agents of the crate [`agent`] on both ends of the switch. They know nothing of
//! it; what they saw is kept in [`Seen`], and the invariants compare it with what the switch
//! claims.

pub use agent::Media;
pub use agent::phone::{
    Action, Agent, Dial, GRACE, Heard, Manner, PhoneCall, Reinvite, Reliability, Seen,
    SessionTimer, Speaks, State, StreamHeard, Who, is_silence, payload,
};
