//! What a leg uses, written into its cell so that another process can bill it whatever happens to
//! this one, and what is told when it is over. Segments of a leg: 0 is its SIP micro-service, the
//! others its relayed media, one a join.

mod close;
mod leftover;
mod meter;
mod record;
mod round;

pub(crate) use close::{close, emit_ended, emit_unmade};
pub(crate) use leftover::close_leftover_legs;
pub(crate) use meter::{Joins, end_join, metered, refresh};
pub(crate) use record::{CSEQ_AHEAD, ONCE, RESTARTED, record};
pub(crate) use round::{Metered, Round};

/// The longest texts a summary or record carries, bytes; longer ones are cut.
pub(crate) const TEXT_MAX: usize = 200;

/// Text from the wire: empty where it is no UTF-8 (SIP is UTF-8, RFC 3261 section 7).
pub(crate) fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or_default()
}

/// At most [`TEXT_MAX`] bytes, at a character's end.
pub(crate) fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
