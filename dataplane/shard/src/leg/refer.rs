//! A far end refers the other one of its join to somebody else (RFC 3515, RFC 3892, RFC 4488).
//!
//! ```text
//!   blind:   R, X joined          R's far end says REFER: 202, NOTIFY 100
//!            R -- Refer ---> X    somebody may take R's place from now on
//!            C dialled for X      its answer joins it with X, its end leaves all as it was
//!            R <- Referred - X    NOTIFY with what came of it; on success R ends behind that
//!
//!   attended: R, X joined and S, Y joined; REFER in R names S's dialog
//!            R -- Refer ---> X,   R -- Replace --> S,   S -- Takeover --> Y, S ends
//!            Y -- Join ----> X    as by command
//! ```
//!
//! The referrer may hang up as soon as it has its 202: X stays, hears ringing, and waits for C. Two
//! legs that a referral was tried between end with each other from then on, whatever document they
//! were in: nobody else would end them.

use base::LegId;
use core::net::IpAddr;
use core::time::Duration;
use sip::message::replaces;
use sip::{Message, Name, Part};
use wire::event::{Cause, Event, Party};

use super::timers::Timer;
use super::{LegMut, Request, State, identity};
use crate::handoff::PeerMessage;
use crate::refer::{Referral, Way, lines_of};
use crate::transaction::{ClientId, Outcome, Report, Sent};
use crate::transport::reply::contact;

/// How often one leg may be referred: two machines that refer to each other end some day.
const TRANSFERS_MAX: u8 = 20;
/// How long a referral may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long a leg waits for whom it was referred to when the referrer is gone.
const ALONE: Duration = Duration::from_secs(120);

/// Whose dialog a referral names, and who says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) other: LegId,
    pub(super) host: IpAddr,
    pub(super) account: u64,
    pub(super) dialog: &'a [u8],
}

impl LegMut<'_, '_> {
    /// A REFER of the far end.
    pub(super) fn refer(&mut self, request: &Request<'_>) {
        let Some(referral) = request.referral else {
            self.respond_short(request, 603);
            return;
        };
        if let Err(code) = self.may_be_referred(referral) {
            let busy = matches!(code, 491 | 503);
            return self.respond(request, code, |writer| match busy {
                true => writer.field(Name::RetryAfter, b"5"),
                false => writer,
            });
        }
        let id = request.message.cseq().map_or(0, |cseq| cseq.number);
        let quiet = request.message.header(Name::ReferSub).is_some_and(|value| {
            let word = value.split(|byte| *byte == b';').next().unwrap_or_default();
            word.trim_ascii().eq_ignore_ascii_case(b"false")
        });
        let until = self.cx.now.mono + PATIENCE;
        if !self.transactions.referrals.begin(self.leg.id, (id, quiet), until) {
            return self.respond(request, 503, |writer| writer.field(Name::RetryAfter, b"5"));
        }
        let ours = self.leg.named(self.cx.core);
        self.respond(request, 202, |writer| {
            let writer = contact(writer, ours);
            if quiet { writer.field(Name::ReferSub, b"false") } else { writer }
        });
        self.notify(100);
        self.referred_by(request.message, referral);
    }

    /// Whether a referral may begin now; the status that refuses it if not.
    fn may_be_referred(&mut self, referral: &Referral<'_>) -> Result<(), u16> {
        if let Way::Refused(code) = referral.way {
            return Err(code);
        }
        if self.leg.state != State::Standing || self.leg.links.partner == LegId::NONE {
            return Err(603);
        }
        match self.transactions.referrals.of(self.leg.id) {
            Some(_) => Err(491),
            None => Ok(()),
        }
    }

    /// The referral is taken: the other leg may be joined with somebody else from now on.
    fn referred_by(&mut self, message: &Message<'_>, referral: &Referral<'_>) {
        let partner = self.leg.links.partner;
        self.leg.links.bound = true;
        if let Way::Nowhere(code) = referral.way {
            return self.referral_over(code);
        }
        self.tell_peer(partner, &PeerMessage::Refer { begins: true, binds: true });
        let by_controlplane = match referral.way {
            Way::Leg(replaced) => {
                let host = self.leg.signalling.hop.to.ip();
                let (account, dialog) = (self.leg.story.account, referral.replaces);
                let replace = PeerMessage::Replace { other: partner, host, account, dialog };
                self.tell_peer(replaced, &replace);
                true
            }
            way => way == Way::Application,
        };
        if by_controlplane {
            // Whom the call is to go to, or nobody: then those two are none of a document's.
            let dials = referral.way == Way::Application;
            let to = if dials { crate::usage::text(referral.uri) } else { "" };
            let by = message.from().map_or("", |from| crate::usage::text(from.uri));
            let mut lines = [0; 2_048];
            // What the target is to hear, and behind it what the application is.
            let len = if dials { lines_of(message, referral, &mut lines) } else { None };
            let len = len.unwrap_or(0);
            let len = len + identity::extension_headers(message, &mut lines[len..]);
            self.emit_refer(to, by, crate::usage::text(&lines[..len]));
        }
    }

    fn emit_refer(&mut self, to: &str, by: &str, headers: &str) {
        let (call, peer) = (self.leg.story.call, self.leg.links.partner);
        let at = self.stamp();
        self.cx.emit_optional(&Event::Refer { call, peer, at, to, by, headers });
    }

    /// Says to the far end what a referral of its has come to so far.
    fn notify(&mut self, code: u16) {
        let Some(referral) = self.transactions.referrals.of(self.leg.id).copied() else { return };
        if referral.quiet {
            return;
        }
        let mut body = [0; 128];
        let Some(len) = fragment(code, &mut body) else { return };
        let state: &[u8] =
            if code < 200 { b"active;expires=180" } else { b"terminated;reason=noresource" };
        let sent = self.ask(Sent::Notify, |writer, _| {
            let id = [Part::Bytes(b"refer;id="), Part::Number(u64::from(referral.id))];
            let writer = writer.header(Name::Event, &id).field(Name::SubscriptionState, state);
            let writer = writer.content(b"message/sipfrag;version=2.0", &body[..len]);
            writer.finish().ok().map(<[u8]>::len)
        });
        if let Some(referral) = self.transactions.referrals.of(self.leg.id) {
            referral.notify = sent.unwrap_or(ClientId::NONE);
            referral.quiet |= sent.is_none();
        }
    }

    /// What has become of the referral of this leg's far end.
    pub(crate) fn referral_over(&mut self, code: u16) {
        self.referral_ended(code, true);
    }

    /// The same; where it does not bind, the call is its document's as before.
    pub(super) fn referral_ended(&mut self, code: u16, binds: bool) {
        let Some(referral) = self.transactions.referrals.of(self.leg.id) else { return };
        if referral.code != 0 {
            return;
        }
        referral.code = code;
        if code >= 300 {
            let partner = self.leg.links.partner;
            self.leg.links.bound &= binds;
            self.tell_peer(partner, &PeerMessage::Refer { begins: false, binds });
        }
        self.notify(code);
        let referral = self.transactions.referrals.of(self.leg.id);
        if referral.is_some_and(|referral| referral.quiet) {
            self.referral_told();
        }
    }

    /// Whom it was about goes its own way, as its controlplane says: the referrer is told, and
    /// left.
    pub(super) fn referral_taken(&mut self, code: u16) {
        let referral = self.transactions.referrals.of(self.leg.id);
        let Some(referral) = referral.filter(|it| it.code == 0) else { return };
        referral.code = code;
        let links = &mut self.leg.links;
        let partner = links.partner;
        links.bound = false;
        if partner != LegId::NONE {
            links.children.retain(|child| *child != partner);
            if links.dialed_for == partner {
                links.dialed_for = LegId::NONE;
            }
            self.tell_peer(partner, &PeerMessage::Refer { begins: false, binds: false });
            self.leave_join();
        }
        self.notify(code);
        let referral = self.transactions.referrals.of(self.leg.id);
        if referral.is_some_and(|referral| referral.quiet) {
            self.referral_told();
        }
    }

    /// The far end knows, as far as it ever will: a referrer is not needed any more. A BYE before
    /// that would end the dialog that the NOTIFY is in.
    fn referral_told(&mut self) {
        let Some(referral) = self.transactions.referrals.end(self.leg.id) else { return };
        if (200..300).contains(&referral.code) {
            self.hang_up(Cause::Normal, Party::Switch);
        }
    }

    /// What became of a NOTIFY of ours.
    pub(super) fn notify_outcome(&mut self, outcome: &Outcome) {
        let referral = self.transactions.referrals.of(self.leg.id);
        let Some(referral) = referral.filter(|it| it.notify == outcome.id) else { return };
        match outcome.report {
            Report::Response(..200) => return,
            Report::Response(200..300) => {}
            // Nobody there has a subscription (RFC 3515 section 2.4.5).
            _ => referral.quiet = true,
        }
        if referral.code != 0 {
            self.referral_told();
        }
    }

    /// Nobody hears of its referral any more.
    pub(super) fn forget_referral(&mut self) {
        if let Some(referral) = self.transactions.referrals.end(self.leg.id) {
            self.transactions.clients.orphan(self.cx.core, referral.notify);
        }
    }
}

/// The other leg of the join.
impl LegMut<'_, '_> {
    /// The partner's far end has referred ours, or nothing comes of that.
    pub(super) fn on_peer_refer(&mut self, from: LegId, begins: bool, binds: bool) {
        let links = &mut self.leg.links;
        if !begins {
            let is_anothers = links.partner != from;
            links.referred &= is_anothers;
            links.bound &= is_anothers || binds;
            return;
        }
        if links.partner != from || links.referred || links.transfers >= TRANSFERS_MAX {
            return self.tell_peer(from, &PeerMessage::Referred { code: 603 });
        }
        links.transfers += 1;
        (links.referred, links.bound) = (true, true);
    }

    /// Whom our far end was referred to has answered: the referrer is told, and left.
    pub(super) fn leave_referrer(&mut self, by: LegId) {
        self.leg.links.referred = false;
        self.leg.deadlines.clear(Timer::Ring);
        self.leg.links.ringback = false;
        let referrer = self.leg.links.partner;
        let others = self.leg.links.children.clone().into_iter();
        for other in others.filter(|other| *other != referrer && *other != by) {
            self.tell_peer(other, &PeerMessage::Refused { cause: Cause::OtherAnswered });
        }
        self.leg.links.children.retain(|child| *child == referrer || *child == by);
        if referrer == LegId::NONE {
            return;
        }
        self.leg.links.children.retain(|child| *child != referrer);
        if self.leg.links.dialed_for == referrer {
            self.leg.links.dialed_for = LegId::NONE;
        }
        self.leave_join();
        self.tell_peer(referrer, &PeerMessage::Referred { code: 200 });
    }

    /// A leg around one that was referred is over. False if that is as for any other leg.
    pub(super) fn on_peer_ended_bound(
        &mut self,
        from: LegId,
        (code, cause): (u16, Cause),
        reason: &str,
    ) -> bool {
        let links = &mut self.leg.links;
        if !links.bound {
            return false;
        }
        let is_partner = from == links.partner && from != LegId::NONE;
        let dialled = from == LegId::NONE || links.children.contains(&from);
        let joining = from == links.joining && from != LegId::NONE;
        links.children.retain(|child| *child != from);
        if is_partner && links.referred {
            self.wait_alone(from);
        } else if links.referred && dialled {
            // Another phone of whom it was referred to may still take it; and where a flow has
            // failed, its controlplane tries another one of that phone's, or says what came of it.
            let partner = links.partner;
            let is_flow_lost = code == 430 || cause == Cause::Unreachable;
            let is_waiting = is_flow_lost && self.is_applications();
            let links = &mut self.leg.links;
            if links.children.iter().all(|child| *child == partner) && !is_waiting {
                self.target_refused(code, cause);
            }
        } else if is_partner || joining {
            self.leg.signalling.reason_from(&mut self.cx.core.arena, reason);
            self.hang_up(Cause::Normal, Party::Peer);
        }
        true
    }

    /// The referrer hung up before there was an answer (RFC 5589 section 6.1 has it so).
    fn wait_alone(&mut self, referrer: LegId) {
        let links = &mut self.leg.links;
        links.partner = LegId::NONE;
        if links.dialed_for == referrer {
            links.dialed_for = LegId::NONE;
        }
        links.ringback = true;
        self.leg.deadlines.set(Timer::Ring, self.cx.now.mono + ALONE);
        self.left_join();
    }

    /// Whom our far end was referred to does not take the call.
    fn target_refused(&mut self, code: u16, cause: Cause) {
        self.leg.links.referred = false;
        let partner = self.leg.links.partner;
        if partner == LegId::NONE {
            return self.hang_up(cause, Party::Peer);
        }
        let code = match code {
            300.. => wire::status::passed_on(code),
            _ => super::end::status_of(cause),
        };
        self.tell_peer(partner, &PeerMessage::Referred { code });
    }

    /// A referral names this leg's dialog: its far end is who refers, and what it talks with is
    /// joined with `other`.
    pub(super) fn on_peer_replace(&mut self, from: LegId, named: Named<'_>) {
        let partner = self.leg.links.partner;
        let stands = self.leg.state == State::Standing && partner != LegId::NONE;
        if self.is_alone() && self.leg.id != named.other && self.is_named(named) {
            return self.tell_alone(from);
        }
        let apart = partner != named.other && partner != from && self.leg.id != named.other;
        if !stands || !apart || self.leg.links.referred || !self.is_named(named) {
            return self.tell_peer(from, &PeerMessage::Referred { code: 481 });
        }
        // Those two are none of a document's any more.
        self.emit_refer("", "", "");
        self.tell_peer(partner, &PeerMessage::Takeover { by: named.other });
        self.hang_up(Cause::Normal, Party::Switch);
    }

    /// Whether an application has the leg: it talks with nobody, or is not answered yet.
    fn is_alone(&self) -> bool {
        let links = &self.leg.links;
        let is_there = self.leg.is_waiting() || self.leg.state == State::Standing;
        let is_free = links.partner == LegId::NONE && !links.referred && !links.bound;
        let is_bare = links.joining == LegId::NONE && !self.is_held() && !self.is_given();
        is_there && is_free && is_bare && self.is_applications()
    }

    /// Whether that is this leg's dialog, whichever side's tags are named first, and the referrer
    /// one of its far end's: of its host, or of its account.
    fn is_named(&self, named: Named<'_>) -> bool {
        let signalling = &self.leg.signalling;
        let own = signalling.dialog.map(|it| it.id(self.cx.core.arena.get(&signalling.text)));
        let (Some(own), Some(said)) = (own, replaces(named.dialog)) else { return false };
        let tags = (own.local_tag, own.remote_tag);
        let fits = own.call_id == said.call_id
            && (tags == (said.to_tag, said.from_tag) || tags == (said.from_tag, said.to_tag));
        let host = signalling.hop.to.ip().to_canonical();
        let account = self.leg.story.account;
        let is_its = host == named.host.to_canonical() || account != 0 && account == named.account;
        fits && is_its && (account == named.account || account == 0 || named.account == 0)
    }

    /// The partner leaves: our far end goes on with another one.
    pub(super) fn on_peer_takeover(&mut self, from: LegId, by: LegId) {
        if self.leg.links.partner != from {
            return;
        }
        let links = &mut self.leg.links;
        links.bound = true;
        links.children.retain(|child| *child != from);
        if links.dialed_for == from {
            links.dialed_for = LegId::NONE;
        }
        self.leave_join();
        self.join(by);
    }
}

/// What a NOTIFY of a referral has in it (RFC 3420).
fn fragment(code: u16, out: &mut [u8]) -> Option<usize> {
    use std::io::Write;
    let room = out.len();
    let mut rest = &mut *out;
    write!(rest, "SIP/2.0 {code} {}\r\n", sip::reason_phrase(code)).ok()?;
    let left = rest.len();
    Some(room - left)
}
