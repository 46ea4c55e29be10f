//! What of a target's early media is heard (`early_media` of its trunk; P-Early-Media, RFC 5009).
//! What it describes is its answer in any case: a far end that has described itself in a reliable
//! response may leave that out of its 2xx (RFC 3262 section 5). While the gate is closed the plan
//! of it is stopped.

use base::LegId;
use sip::{Message, Name};
use wire::table::EarlyMedia;

use super::LegMut;
use super::offer::plan_of;
use crate::handoff::PeerMessage;

/// Whether what a target sends before its answer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// It was closed, or nothing was there to be heard.
    Opens,
    Closed,
}

impl LegMut<'_, '_> {
    /// What a response of a target says of its early media (RFC 5009 section 8): what is not
    /// allowed is not heard, any more. One that says nothing leaves it as it was. Nothing of a
    /// branch that was overtaken by a younger one is heard.
    pub(super) fn early_gate(&self, message: &Message<'_>, is_current: bool) -> Gate {
        let heard = self.media.stream(self.leg.id).filter(|stream| stream.on);
        let is_open = heard.is_some_and(|stream| stream.plan.direction.receives());
        let mut said = message.values(Name::PEarlyMedia).filter_map(early_media_of);
        let passes = match self.leg.signalling.policy.early_media {
            EarlyMedia::Pass => return Gate::Open,
            EarlyMedia::Ring => false,
            EarlyMedia::Gated if !is_current => false,
            EarlyMedia::Gated => said.next().unwrap_or(is_open),
        };
        match (passes, is_open) {
            (true, true) => Gate::Open,
            (true, false) => Gate::Opens,
            (false, _) => Gate::Closed,
        }
    }

    /// What is described so far is heard, or not.
    pub(super) fn keep_gate(&mut self, gate: Gate) {
        let early = self.media.stream(self.leg.id).filter(|stream| stream.on);
        let Some(plan) = early.map(|stream| stream.plan) else { return };
        match gate {
            Gate::Open => {}
            Gate::Opens => self.resume_plan(),
            Gate::Closed => self.set_plan(plan.stopped(), true),
        }
    }

    /// What the far end has described so far is in force, whatever was stopped of it.
    pub(super) fn resume_plan(&mut self) {
        let arena = &self.cx.core.arena;
        let text = |stored: Option<&base::Stored>| stored.map_or(&b""[..], |it| arena.get(it));
        let offer = &self.leg.offer;
        let Ok(plan) = plan_of(text(offer.to_send()), text(offer.theirs())) else { return };
        let known = self.media.stream(self.leg.id).filter(|stream| stream.on);
        if known.is_some_and(|stream| stream.plan.direction == plan.direction) {
            return;
        }
        if let Ok(plan) = self.judge(plan) {
            self.set_plan(plan, true);
        }
    }

    /// The other leg hears what the target has described before.
    pub(super) fn tell_early(&mut self, peer: LegId, code: u16) {
        let mut page = core::mem::take(&mut self.cx.core.page);
        let sdp = self.leg.offer.theirs().map_or(&b""[..], |text| self.cx.core.arena.get(text));
        let len = sdp.len().min(page.len());
        page[..len].copy_from_slice(&sdp[..len]);
        let view = self.view();
        self.tell_peer(peer, &PeerMessage::Progress { code, sdp: &page[..len], view });
        self.cx.core.page = page;
    }
}

/// Whether a value of P-Early-Media lets what its sender sends through; None for one that says
/// nothing of that.
fn early_media_of(value: &[u8]) -> Option<bool> {
    let passes = [&b"sendrecv"[..], b"sendonly"];
    let stays = [&b"recvonly"[..], b"inactive"];
    let is_one = |names: [&[u8]; 2]| names.iter().any(|name| value.eq_ignore_ascii_case(name));
    match (is_one(passes), is_one(stays)) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}
