//! What a leg's record says: its story, for the CDR, and its last words, for its far end. It is
//! written when the INVITE comes or goes, when the leg is answered and ended, and whenever the
//! dialog's target, address or reserved CSeq numbers change; nothing is written a packet.

use base::Hop;
use sip::token::{Kind, make};
use sip::{Message, Name, Reply, reply_to};
use wire::WireError;
use wire::counter::Counter;
use wire::record::{FIELD_BYTES_MAX, LastWords, LegRecord};

use super::{cut, text};
use crate::cx::{Core, Cx};
use crate::leg::{Leg, Side, State, begin_invite};
use crate::transaction::{request_branch, via_of};

/// CSeq numbers that a record is ahead of its dialog, so that it is not written with each request.
pub(crate) const CSEQ_AHEAD: u32 = 64;

/// The Reason (RFC 3326, RFC 6432) of what ends a leg whose process died: "temporary failure"
/// (ITU-T Q.850).
pub(crate) const RESTARTED: &[u8] = b"Q.850;cause=41;text=\"Temporary failure\"";

/// Bytes of a dialog's numbers: seven ranges of two numbers, two CSeq numbers and four flags;
/// behind them header lines, as many as a record has room for.
const NUMBER_BYTES: usize = 7 * 2 * 3 + 2 * 5 + 4 + 1 + FIELD_BYTES_MAX;

/// Writes the leg's record, so that a successor can bill it and tell its far end. `asked`: by which
/// way its INVITE went, whose CANCEL goes there. `lines`: header lines that its BYE needs; where
/// there is no room for them, it goes without.
pub(crate) fn record(cx: &mut Cx<'_, '_>, (leg, asked): (&Leg, Hop), lines: &[u8]) {
    let Some(slot) = cx.core.region.record(leg.id.index()) else { return };
    let write = |lines: &[u8]| {
        let (mut page, mut numbers) = ([0; FIELD_BYTES_MAX], [0; NUMBER_BYTES]);
        let words = last_words(cx.core, (leg, asked), (&mut numbers, lines), &mut page)?;
        wire::record::write(slot, cx.core.epoch, &fields(cx.core, leg, words))
    };
    let mut written = write(lines);
    if written.is_err() && !lines.is_empty() {
        written = write(b"");
    }
    if written.is_err() {
        // The CDR comes first. Without words its texts, which are cut, always fit.
        cx.count(Counter::RecordTooLong);
        let fields = LegRecord { tls_name: "", ..fields(cx.core, leg, LastWords::None) };
        let _ = wire::record::write(slot, cx.core.epoch, &fields);
    }
}

fn fields<'a>(core: &'a Core<'_>, leg: &'a Leg, words: LastWords<'a>) -> LegRecord<'a> {
    let (story, arena) = (&leg.story, &core.arena);
    LegRecord {
        leg: leg.id,
        call: story.call,
        parent: story.parent,
        account: story.account,
        direction: leg.direction(),
        from: cut(text(arena.get(&story.from))),
        to: cut(text(arena.get(&story.to))),
        remote: leg.signalling.hop.to,
        call_id: cut(text(arena.get(&story.call_id))),
        created: story.created,
        answered: story.answered,
        ended: story.ended,
        code: story.code,
        cause: story.cause,
        by: story.by,
        words,
        tls_name: core.tls_name(leg.signalling.hop.via),
    }
}

/// In front of a response that is said once, to a source that has not shown that it hears us.
pub(crate) const ONCE: &[u8] = b"\r\n";

/// What its far end would have to be told if the leg ended now by itself.
fn last_words<'a>(
    core: &'a Core<'_>,
    (leg, asked): (&'a Leg, Hop),
    (numbers, lines): (&'a mut [u8; NUMBER_BYTES], &[u8]),
    page: &'a mut [u8; FIELD_BYTES_MAX],
) -> Result<LastWords<'a>, WireError> {
    let door = leg.signalling.hop.via;
    match (leg.state, &leg.side) {
        (State::Arrived | State::Ringing, Side::Inbound(side)) => {
            let invite = core.arena.get(&side.text);
            // Who may not be there is told once.
            let mark = if side.is_unheard { ONCE.len() } else { 0 };
            page[..mark].copy_from_slice(&ONCE[..mark]);
            let len = refusal(&mut page[mark..], core, leg, invite).ok_or(WireError::TooLong)?;
            Ok(LastWords::Refuse { door, response: &page[..mark + len] })
        }
        (State::Calling, Side::Outbound(side)) => {
            let key = &core.plan.keys.token;
            let tag = make(Kind::Tag, leg.id.0, key);
            let branch = request_branch(core, side.invite);
            let via = via_of(core, asked, &branch);
            let writer = begin_invite(page, core, (leg, side), (&via, &tag));
            let invite = writer.finish().map_err(|_| WireError::TooLong)?;
            Ok(LastWords::Cancel { door: asked.via, invite })
        }
        (State::Answering | State::Standing, _) => bye(core, leg, numbers, lines),
        // Its BYE waits for the ACK of its 2xx.
        (State::Closing, _) if leg.signalling.accepted.is_some() => bye(core, leg, numbers, lines),
        _ => Ok(LastWords::None),
    }
}

fn bye<'a>(
    core: &'a Core<'_>,
    leg: &'a Leg,
    numbers: &'a mut [u8; NUMBER_BYTES],
    lines: &[u8],
) -> Result<LastWords<'a>, WireError> {
    let Some(mut dialog) = leg.signalling.dialog else { return Ok(LastWords::None) };
    dialog.local_cseq = dialog.local_cseq.saturating_add(CSEQ_AHEAD);
    // The mark of who may not be there: behind the numbers, for those alone.
    let len = match leg.is_unheard() {
        true => wire::encode(&(&dialog, true), numbers)?,
        false if !lines.is_empty() => wire::encode(&(&dialog, false, lines), numbers)?,
        false => wire::encode(&dialog, numbers)?,
    };
    let door = leg.signalling.hop.via;
    let text = core.arena.get(&leg.signalling.text);
    Ok(LastWords::Bye { door, numbers: &numbers[..len], text })
}

/// The final response to an INVITE that nobody will answer any more.
fn refusal(out: &mut [u8], core: &Core<'_>, leg: &Leg, invite: &[u8]) -> Option<usize> {
    let message = Message::parse(invite).ok()?;
    let tag = make(Kind::Tag, leg.id.0, &core.plan.keys.token);
    let reply = Reply::new(500, Some(&tag), Some(leg.signalling.hop.to));
    let writer = reply_to(out, &message, &reply).field(Name::Reason, RESTARTED);
    writer.finish().ok().map(<[u8]>::len)
}
