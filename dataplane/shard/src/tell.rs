//! What the shard says to the controlplane, and to its own legs. Events are encoded at once into a
//! queue that has room for the last words of every leg: a leg is admitted only with that room.

use base::{CallId, LegId, Now, Wall};
use core::net::SocketAddr;
use wire::cell::{Cell, CellState};
use wire::counter::Counter;
use wire::event::{Cause, Event, Party, Summary};
use wire::record::LegRecord;

use crate::handoff::{Handoff, Say};
use crate::leg::Leg;
use crate::plan::CLOSING_BYTES;
use crate::{Shard, meter};

/// The longest texts a summary or record carries; longer ones are cut.
pub(crate) const TEXT_MAX: usize = 200;

impl Shard<'_> {
    /// Whether the event queue has room for one more leg's words.
    pub(crate) fn has_credit(&self) -> bool {
        let room = self.events.capacity() - self.events.used();
        room > (self.legs.len() + 1) * CLOSING_BYTES + wire::MESSAGE_BYTES_MAX
    }

    /// An event that is within its leg's credit.
    pub(crate) fn tell(&mut self, event: &Event<'_>) {
        let most = match event {
            Event::Incoming(incoming) => incoming.headers.len() + 2_048,
            Event::Ended(_) => CLOSING_BYTES,
            Event::Refused { uri, .. } => uri.len() + 128,
            _ => 128,
        };
        if !self.events.push_with(most, |out| wire::encode(event, out).ok()) {
            self.counters.count(Counter::DiscardNoRoom);
        }
    }

    /// An event that may be left out when room is short (its absence is counted).
    pub(crate) fn tell_optional(&mut self, event: &Event<'_>) {
        if self.has_credit() {
            self.tell(event);
        } else {
            self.counters.count(Counter::DiscardNoRoom);
        }
    }

    /// A refusal before there was a leg.
    pub(crate) fn tell_refused(
        &mut self,
        now: Now,
        source: SocketAddr,
        code: u16,
        cause: Cause,
        uri: &[u8],
    ) {
        let uri = &text(uri)[..text(uri).len().min(TEXT_MAX)];
        self.tell_optional(&Event::Refused { at: now.wall, source, code, cause, uri, why: "" });
    }

    /// An outgoing leg that could not even be made: told as over, with nothing used.
    pub(crate) fn tell_unmade(
        &mut self,
        now: Now,
        wish: &wire::Originate<'_>,
        code: u16,
        cause: Cause,
    ) {
        let remote = wish.targets.first().copied();
        self.tell(&Event::Ended(Summary {
            epoch: self.epoch,
            leg: LegId::NONE,
            call: wish.call,
            parent: wish.parent,
            account: wish.account,
            direction: wire::event::Direction::Outbound,
            from: cut(wish.from),
            to: cut(wish.uri),
            remote: remote.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0))),
            call_id: "",
            created: now.wall,
            answered: Wall(0),
            ended: now.wall,
            code,
            cause,
            by: Party::Switch,
            media: None,
            usage: arrayvec::ArrayVec::new(),
        }));
    }

    /// Says something to another leg, of whatever shard.
    pub(crate) fn say(&mut self, from: LegId, to: LegId, say: &Say<'_>) {
        let shard = usize::from(to.shard());
        let Some(queue) = self.handoffs.get_mut(shard).filter(|_| to != LegId::NONE) else {
            return;
        };
        let most = 1_024
            + match say {
                Say::Offer { sdp, .. } | Say::Progress { sdp, .. } | Say::Answer { sdp, .. } => {
                    sdp.len()
                }
                _ => 0,
            };
        let message = Handoff::Leg { to, from, say: say.clone() };
        if !queue.push_with(most, |out| wire::encode(&message, out).ok()) {
            self.counters.count(Counter::DiscardHandoffFull);
        }
    }

    /// Writes the leg's record, so that a successor can end and bill it.
    pub(crate) fn record(&mut self, index: u32) {
        let (Some(slot), Some(leg)) = (self.region.record(index), self.legs.get(index)) else {
            return;
        };
        let from = text(self.arena.get(&leg.from_text));
        let to = text(self.arena.get(&leg.to_text));
        let call_id = text(self.arena.get(&leg.call_id));
        let record = record_of(leg, cut(from), cut(to), cut(call_id));
        // Texts are cut, so it always fits.
        let _ = wire::record::write(slot, self.epoch, &record);
    }

    /// The leg is over: closes the cell, then tells. In this order, so that the event is only the
    /// doorbell of a fact that stands.
    pub(crate) fn close(&mut self, now: Now, index: u32) {
        self.record(index);
        let Some(leg) = self.legs.get(index) else { return };
        let stream = &self.streams[index as usize];
        let mut usage = arrayvec::ArrayVec::new();
        usage.push(meter::signalling(leg, now.wall, false));
        usage.extend(leg.relays.iter().copied());
        usage.extend(meter::relay(leg, stream, now.wall, false));
        if let Some(cell) = self.region.cell(index).map(wire::cell::CellWriter::new) {
            for usage in &usage {
                cell.set_usage(usage);
            }
            cell.close(now.wall);
        }
        let media = stream.on.then(|| stream.summary());
        let from = text(self.arena.get(&leg.from_text));
        let to = text(self.arena.get(&leg.to_text));
        let call_id = text(self.arena.get(&leg.call_id));
        let summary = Summary {
            epoch: self.epoch,
            leg: leg.id,
            call: leg.call,
            parent: leg.parent,
            account: leg.account,
            direction: leg.direction,
            from: cut(from),
            to: cut(to),
            remote: leg.remote,
            call_id: cut(call_id),
            created: leg.created,
            answered: leg.answered,
            ended: now.wall,
            code: leg.code,
            cause: leg.cause,
            by: leg.by,
            media,
            usage,
        };
        let event = Event::Ended(summary);
        if !self.events.push_with(CLOSING_BYTES, |out| wire::encode(&event, out).ok()) {
            // The cell is the fact; the controlplane's sweep finds it.
            self.counters.count(Counter::DiscardNoRoom);
        }
        self.counters.count(Counter::LegEnded);
    }

    /// Ends what an earlier run of this region left standing, billed to its last activity, and
    /// keeps the slots of what is not released yet.
    pub(crate) fn bury_predecessors(&mut self, now: Now) {
        for index in 0..self.plan.limits.legs {
            let Some(words) = self.region.cell(index) else { continue };
            let Some(cell) = Cell::read(words).filter(|cell| cell.state != CellState::Free) else {
                continue;
            };
            self.bury(now, index, &cell);
        }
    }

    fn bury(&mut self, now: Now, index: u32, cell: &Cell) {
        let mut bytes = [0; wire::record::FIELD_BYTES_MAX];
        let slot = self.region.record(index);
        let record = slot.and_then(|slot| wire::record::read(slot, &mut bytes).ok());
        let record = record.map(|(_, record)| record).filter(|record| record.leg == cell.leg);
        let last = cell.usage.iter().map(|usage| usage.last).max().unwrap_or(Wall(0));
        let record = record.unwrap_or_else(|| unknown_record(cell, last));
        let was_open = cell.state == CellState::Open;
        let ended = if was_open { last.max(record.created) } else { cell.ended };
        let mut usage: arrayvec::ArrayVec<_, { wire::cell::SEGMENTS_MAX }> =
            cell.usage.iter().copied().collect();
        if usage.is_empty() {
            let direction = record.direction;
            usage.push(meter::attempt(direction, ended));
        }
        for usage in &mut usage {
            usage.open = false;
        }
        if let Some(writer) = self.cell(index).filter(|_| was_open) {
            usage.iter().for_each(|usage| writer.set_usage(usage));
            writer.close(ended);
        }
        let (cause, by) =
            if was_open { (Cause::Restart, Party::Switch) } else { (record.cause, record.by) };
        if let Some(slot) = slot.filter(|_| was_open) {
            let record = LegRecord { ended, cause, by, ..record.clone() };
            let _ = wire::record::write(slot, cell.epoch, &record);
        }
        self.legs.occupy(index, Leg::ghost(cell.epoch, cell.leg, cell.call, now.wall));
        self.tell(&Event::Ended(Summary {
            epoch: cell.epoch,
            leg: cell.leg,
            call: cell.call,
            parent: record.parent,
            account: cell.account,
            direction: record.direction,
            from: record.from,
            to: record.to,
            remote: record.remote,
            call_id: record.call_id,
            created: record.created,
            answered: record.answered,
            ended,
            code: record.code,
            cause,
            by,
            media: None,
            usage,
        }));
    }
}

fn record_of<'r>(leg: &Leg, from: &'r str, to: &'r str, call_id: &'r str) -> LegRecord<'r> {
    LegRecord {
        leg: leg.id,
        call: leg.call,
        parent: leg.parent,
        account: leg.account,
        direction: leg.direction,
        from,
        to,
        remote: leg.remote,
        call_id,
        created: leg.created,
        answered: leg.answered,
        ended: leg.ended,
        code: leg.code,
        cause: leg.cause,
        by: leg.by,
    }
}

/// For a cell whose record cannot be read: what the cell itself knows.
fn unknown_record(cell: &Cell, last: Wall) -> LegRecord<'static> {
    let answered = cell.usage.iter().map(|usage| usage.start).max().unwrap_or(Wall(0));
    let egress = |usage: &wire::Usage| usage.service == wire::Service::SipEgress;
    LegRecord {
        leg: cell.leg,
        call: cell.call,
        parent: CallId::NONE,
        account: cell.account,
        direction: if cell.usage.iter().any(egress) {
            wire::event::Direction::Outbound
        } else {
            wire::event::Direction::Inbound
        },
        from: "",
        to: "",
        remote: SocketAddr::from(([0, 0, 0, 0], 0)),
        call_id: "",
        created: if answered.0 == 0 { last } else { answered },
        answered,
        ended: cell.ended,
        code: 0,
        cause: Cause::Restart,
        by: Party::Switch,
    }
}

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
