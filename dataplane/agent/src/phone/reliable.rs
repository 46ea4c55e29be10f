//! Provisional responses that are acknowledged (RFC 3262), from both ends.

use base::{Mono, Now};
use sip::txn::{Accepted2xx, Actions, Timers};
use sip::{Message, Method, Name};

use super::call::{PhoneCall, Who, body, sdp_of};
use super::manner::{Action, Reliability};
use crate::Cx;

/// How far they are.
#[derive(Debug, Default)]
pub(super) struct Reliable {
    /// RSeq of the last one, ours or theirs; 0 for none.
    rseq: u32,
    /// Ours waits for its PRACK.
    waiting: Option<Accepted2xx>,
}

impl Reliable {
    pub(super) fn deadline(&self) -> Mono {
        self.waiting.map_or(Mono::NEVER, |waiting| waiting.deadline())
    }
}

impl PhoneCall {
    /// Acknowledges a provisional response that wants to be (section 4). False for one that came
    /// before.
    pub(super) fn acknowledge(&mut self, cx: &mut Cx<'_>, message: &Message<'_>) -> bool {
        let reliable = message.lists(Name::Require, b"100rel");
        match self.manner.reliable {
            Reliability::Unknown if reliable => {
                self.complain("a reliable response that nobody asked for (RFC 3262 section 3)");
            }
            Reliability::Required if !reliable => {
                self.complain("an unreliable response (RFC 3262 section 3)");
            }
            _ => {}
        }
        let Ok(rseq) = message.number(Name::RSeq) else { return true };
        let last = self.reliable.rseq;
        if !reliable || last != 0 && rseq <= last {
            return !reliable;
        }
        if last != 0 && rseq != last + 1 {
            self.complain("RSeq is not one more (RFC 3262 section 3)");
        }
        let mut answer = Vec::new();
        if self.offering.is_none() && !self.updated {
            // The first one brings the offer (RFC 3261 section 13.2.1); later ones change nothing.
            answer = self.answer_late(cx.now, message).unwrap_or_default();
            self.updated = true;
        }
        let rack = format!("{rseq} {} INVITE", self.first_cseq);
        let sent = self.signal.request(cx, Method::Prack, |writer| {
            body(writer.field(Name::RAck, rack.as_bytes()), &answer)
        });
        if sent.is_none() {
            self.complain("a reliable response that makes no dialog (RFC 3262 section 3)");
        }
        self.reliable.rseq = rseq;
        true
    }

    /// The RSeq of a provisional response of ours; None for one that is not acknowledged.
    pub(super) fn begin_reliable(&mut self, now: Now, code: u16, described: bool) -> Option<u32> {
        let wanted = match self.manner.reliable {
            Reliability::Unknown => false,
            Reliability::Supported => described,
            Reliability::Required => true,
        };
        let invite = self.signal.first_request().and_then(|bytes| Message::parse(bytes).ok());
        let supports = invite.is_some_and(|invite| invite.lists(Name::Supported, b"100rel"));
        if !(101..200).contains(&code) || !wanted || !supports {
            return None;
        }
        self.reliable.rseq += 1;
        self.reliable.waiting = Some(Accepted2xx::provisional(now.mono, &Timers::RFC));
        Some(self.reliable.rseq)
    }

    /// What is said of the INVITE waits for the PRACK of what was said before.
    pub(super) fn waits_for_prack(&self, action: &Action) -> bool {
        let answers = matches!(
            action,
            Action::Ring
                | Action::EarlyMedia
                | Action::Ring183(..)
                | Action::Answer
                | Action::AnswerWith(..)
        );
        answers && self.who == Who::Callee && self.reliable.waiting.is_some()
    }

    pub(super) fn reliable_tick(&mut self, cx: &mut Cx<'_>) {
        let Some(waiting) = &mut self.reliable.waiting else { return };
        let actions = waiting.handle_timeout(cx.now.mono, &Timers::RFC);
        if actions.has(Actions::RESEND) {
            self.seen.repeats += 1;
            self.signal.repeat_first(cx);
        }
        if actions.has(Actions::TIMEOUT) {
            self.reliable.waiting = None;
            self.answer_invite(cx, 504);
        }
    }

    /// A PRACK came (section 3).
    pub(super) fn acknowledged_early(&mut self, cx: &mut Cx<'_>, cseq: u32, message: &Message<'_>) {
        let rack = message.rack().ok();
        let is_it = rack.is_some_and(|rack| {
            rack.rseq == self.reliable.rseq
                && rack.cseq.number == self.first_cseq
                && rack.cseq.method == Method::Invite
        });
        let code = if is_it && self.reliable.waiting.take().is_some() { 200 } else { 481 };
        if code == 481 && !self.is_over() {
            self.complain("a PRACK of nothing (RFC 3262 section 4)");
        }
        if !sdp_of(message).is_empty() {
            self.complain("a PRACK with a description that nobody asked for");
        }
        self.seen.asked.push(("PRACK".to_owned(), code));
        self.signal.respond(cx, cseq, Method::Prack, code.into(), |writer| writer);
    }
}
