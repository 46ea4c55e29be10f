//! Behaviours of the switch, one a file, in virtual time.

mod common;

mod apart;
mod attack;
mod babble;
mod cancel;
mod digits;
mod early_media;
mod families;
mod fault;
mod fork;
mod hearing;
mod hold;
mod late_offer;
mod limits;
mod media_rules;
mod raw;
mod refusal;
mod requests;
mod restart;
mod retransmission;
mod ring_bytes;
mod static_call;
mod timeouts;
mod tones;
