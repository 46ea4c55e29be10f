//! Behaviours of the switch, one a file, in virtual time.

mod by_hand;
mod common;

mod apart;
mod asked_for_offer;
mod attack;
mod cancel;
mod digits;
mod digits_across;
mod early_answer;
mod early_dialog;
mod early_media;
mod families;
mod fault;
mod fork;
mod hearing;
mod hold;
mod hold_passed_on;
mod late_offer;
mod limits;
mod media_rules;
mod moving;
mod offers_of_ours;
mod old_ack;
mod refusal;
mod requests;
mod restart;
mod retransmission;
mod ring_bytes;
mod signs_of_life;
mod static_call;
mod stopped_stream;
mod timeouts;
mod tones;
mod transcoding;
mod unreachable;
