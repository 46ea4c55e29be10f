//! Last words: what an earlier run could not say to the far ends of its legs. Each is told once
//! that its call is over, from its record, slowly enough that a full switch's legs are no flood:
//!
//! ```text
//!   answered              BYE, in a transaction without a leg
//!   its INVITE is out     CANCEL; the INVITE is taken over under its old name, so that whatever
//!                         comes of it is acknowledged, and ended if it is an answer
//!   its INVITE waits      500, repeated until its ACK comes
//! ```
//!
//! A source that had not shown that it hears us is told once, without a transaction: its address
//! may be somebody else's.
//!
//! The record is cleared before the words go out: who comes after us says nothing again.

use std::collections::VecDeque;

use base::{Door, Frames, Hop, LegId, Mono, Now};
use core::time::Duration;
use sip::dialog::Dialog;
use sip::key::TransactionKey;
use sip::{Message, Name, Writer};
use wire::counter::Counter;
use wire::record::{FIELD_BYTES_MAX, LastWords, LegRecord};

use crate::Shard;
use crate::cx::Cx;
use crate::transaction::{Begin, ClientId, Clients, Sent, Servers, lone_branch, via_of};
use crate::transport::guard::Standing;
use crate::transport::reply::response_hop;
use crate::usage::{ONCE, RESTARTED};

/// Between two legs' last words.
const PACE: Duration = Duration::from_millis(5);

/// Legs of an earlier run whose far ends are to be told.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    /// Their slots.
    untold: VecDeque<u32>,
    /// When the next one is.
    at: Mono,
}

impl Telling {
    /// Takes over the INVITEs that are to be cancelled: before anything else has their names.
    pub(crate) fn new(cx: &mut Cx<'_, '_>, clients: &mut Clients, untold: VecDeque<u32>) -> Self {
        for slot in &untold {
            let mut bytes = [0; FIELD_BYTES_MAX];
            let Some((_, record)) = read(cx, *slot, &mut bytes) else { continue };
            let LastWords::Cancel { door, invite } = record.words else { continue };
            let _ = cx.core.names.dial(0, record.tls_name);
            let hop = Hop { via: door, to: record.remote };
            if let Ok(invite) = Message::parse(invite)
                && let Some(id) = name_of(cx, &invite)
            {
                clients.adopt(cx, (id, hop), &invite, RESTARTED);
            }
        }
        Self { untold, at: cx.now.mono }
    }

    /// When the next leg's words are due.
    pub(crate) fn deadline(&self) -> Mono {
        if self.untold.is_empty() { Mono::NEVER } else { self.at }
    }

    /// The next slot whose turn it is.
    fn pop(&mut self, now: Mono) -> Option<u32> {
        if now < self.deadline() {
            return None;
        }
        self.at = now + PACE;
        self.untold.pop_front()
    }
}

impl Shard<'_> {
    /// Says all that is left to say, at once: the process is about to stop.
    pub(crate) fn tell_all(&mut self, now: Now, frames: &mut dyn Frames) {
        while self.telling.deadline() != Mono::NEVER {
            self.telling.at = now.mono;
            self.tell_next(now, frames);
        }
    }

    /// Says the next leg's last words, if they are due.
    pub(crate) fn tell_next(&mut self, now: Now, frames: &mut dyn Frames) {
        let Some(slot) = self.telling.pop(now.mono) else { return };
        let said = self.contain(frames, |shard, frames| {
            let mut cx = Cx { now, frames, core: &mut shard.core };
            let transactions = &mut shard.transactions;
            tell(&mut cx, slot, (&mut transactions.clients, &mut transactions.servers))
        });
        let said = said == Some(true);
        self.core.counters.count(if said { Counter::LegTold } else { Counter::LegUntold });
        self.legs.leftover_told(slot);
        self.core.legs_taken = self.legs.len();
    }
}

fn read<'b>(
    cx: &Cx<'_, '_>,
    slot: u32,
    bytes: &'b mut [u8; FIELD_BYTES_MAX],
) -> Option<(u32, LegRecord<'b>)> {
    wire::record::read(cx.core.region.record(slot)?, bytes).ok()
}

/// The transaction of ours that this request names.
fn name_of(cx: &Cx<'_, '_>, invite: &Message<'_>) -> Option<ClientId> {
    let plan = &cx.core.plan;
    let branch = invite.via().ok()?.branch?;
    let (shard, id, _) = sip::token::read_branch(branch, &plan.keys.token)?;
    (shard == plan.shard).then_some(ClientId(LegId(id)))
}

/// Says a leg's last words. False if they could not be said.
fn tell(cx: &mut Cx<'_, '_>, slot: u32, (clients, servers): (&mut Clients, &mut Servers)) -> bool {
    let mut bytes = [0; FIELD_BYTES_MAX];
    let Some((epoch, record)) = read(cx, slot, &mut bytes) else { return false };
    let words = record.words;
    if let Some(slot) = cx.core.region.record(slot) {
        let record = LegRecord { words: LastWords::None, ..record.clone() };
        let _ = wire::record::write(slot, epoch, &record);
    }
    // Its hash is the one that the door has: their key outlives us.
    let _ = cx.core.names.dial(0, record.tls_name);
    let hop = |via: Door| Hop { via, to: record.remote };
    let said = match words {
        LastWords::None => None,
        LastWords::Bye { door, numbers, text } => {
            say_bye(cx, clients, (record.leg, hop(door)), (numbers, text))
        }
        LastWords::Cancel { door, invite } => say_cancel(cx, clients, hop(door), invite),
        LastWords::Refuse { door, response } => say_refusal(cx, servers, hop(door), response),
    };
    said.is_some()
}

fn say_bye(
    cx: &mut Cx<'_, '_>,
    clients: &mut Clients,
    (leg, last): (LegId, Hop),
    (numbers, text): (&[u8], &[u8]),
) -> Option<()> {
    let heard = wire::decode::<Dialog>(numbers).ok();
    let marked = || wire::decode::<(Dialog, bool)>(numbers).ok().map(|(dialog, _)| dialog);
    // Behind a mark that says nothing: what the BYE has to show whoever knows us by credentials.
    let known = wire::decode::<(Dialog, bool, &[u8])>(numbers).ok();
    let lines = known.map_or(&b""[..], |(_, _, lines)| lines);
    let heard = heard.or_else(|| known.map(|(dialog, ..)| dialog));
    let mut dialog = heard.or_else(marked)?;
    let hop = cx.core.way_in(&dialog, text, last);
    let cseq = dialog.local_cseq.saturating_add(1);
    let mut again = dialog;
    let asked = heard.and_then(|_| {
        clients.begin(cx, (Sent::Bye, LegId::NONE, hop, cseq), |out, _, via| {
            let writer = dialog.request(text, out, sip::Method::Bye, via);
            ended(lines_of(lines).fold(writer, |writer, (name, value)| {
                writer.header_text(name, &[sip::Part::Bytes(value)])
            }))
        })
    });
    if asked.is_some() {
        return Some(());
    }
    // Nobody may be there, or there is no room for a transaction: said once is better than not at
    // all.
    let frame = cx.compose(|out, core| {
        let branch = lone_branch(core, leg);
        ended(again.request(text, out, sip::Method::Bye, &via_of(core, hop, &branch)))
    })?;
    cx.send_sip(hop, Some(frame));
    Some(())
}

/// Header lines of a record: names and values.
fn lines_of(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pair = |line: &'_ [u8]| line.iter().position(|byte| *byte == b':');
    lines.split(|byte| *byte == b'\n').filter_map(move |line| {
        let (name, value) = line.split_at(pair(line)?);
        Some((name, value[1..].trim_ascii()))
    })
}

fn say_cancel(cx: &mut Cx<'_, '_>, clients: &mut Clients, hop: Hop, invite: &[u8]) -> Option<()> {
    let message = Message::parse(invite).ok()?;
    if let Some(id) = name_of(cx, &message).filter(|id| clients.text(*id).is_some()) {
        clients.cancel(cx, id, RESTARTED);
        return Some(());
    }
    // Its name was not to be had again.
    let frame = cx.compose(|out, _| ended(sip::cancel_for(out, &message).ok()?))?;
    cx.send_sip(hop, Some(frame));
    Some(())
}

fn say_refusal(
    cx: &mut Cx<'_, '_>,
    servers: &mut Servers,
    hop: Hop,
    response: &[u8],
) -> Option<()> {
    let unmarked = response.strip_prefix(ONCE);
    let (response, once) = (unmarked.unwrap_or(response), unmarked.is_some());
    let message = Message::parse(response).ok()?;
    // The top Via of a response is its request's.
    let key = TransactionKey::cancelled(&message, &cx.core.plan.keys.token).ok()?;
    if servers.find(key).is_some() {
        // The INVITE came again and was taken for a new call: that one is answered by itself.
        return Some(());
    }
    let hop = response_hop(&message, hop);
    let begin =
        Begin { invite: true, key, merge: None, hop, leg: LegId::NONE, standing: Standing::Trunk };
    let server = (!once).then(|| servers.begin(cx.core, &begin)).flatten();
    let frame = crate::cx::frame_of(cx.frames, &mut cx.core.in_hand, response);
    match (server, frame) {
        (Some(server), Some(frame)) => servers.send(cx, server, 500, frame).map(|_| ()),
        (None, Some(frame)) => {
            cx.send_sip(hop, Some(frame));
            Some(())
        }
        (server, None) => {
            cx.count(Counter::DiscardNoFrame);
            if let Some(server) = server {
                servers.end(cx.core, server);
            }
            None
        }
    }
}

/// The end of a request, with why.
fn ended(writer: Writer<'_>) -> Option<usize> {
    writer.field(Name::Reason, RESTARTED).finish().ok().map(<[u8]>::len)
}
