//! A leg: one INVITE transaction, every dialog it begets, and its stream. One shard owns it for
//! life. Its behaviour is [`LegMut`]'s: a leg with what it may use beside itself, reached through
//! one funnel (`legs`), which afterwards arms its timer and does what it owes.
//!
//! ```text
//!   inbound:   Arrived --18x--> Ringing --2xx--> Answering --ACK--> Standing --\
//!                 \______________ final or CANCEL ________________________________> Closing
//!   outbound:  Wanting --INVITE--> Calling --2xx--> Standing ------------------ /
//! ```
//!
//! *Closing*: usage is closed and told; the slot waits for an ACK that is due and for the
//! controlplane's release of the cell.
//!
//! | room | what it holds |
//! | --- | --- |
//! | `inbound`, `outbound` | the INVITE: answering it, sending it, its responses |
//! | `reliable`, `prack` | provisional responses that are acknowledged: ours, and theirs |
//! | `dialog` | requests inside the dialog, both ways |
//! | `offer`, `exchange` | descriptions: what each side may send |
//! | `agree`, `choose` | which formats, and when we offer anew |
//! | `session` | session timers and signs of life |
//! | `peer`, `command` | what other legs and the controlplane say |
//! | `redirect` | redirections of targets, and routes that failed |
//! | `refer` | far ends that refer each other to somebody else |
//! | `message` | MESSAGE, NOTIFY and OPTIONS in its dialog |
//! | `policy` | what its trunk says of reliable ringing, session timers and early media |
//! | `place` | INVITEs that take the place of another far end |
//! | `login` | requests that were sent again with our credentials |
//! | `relay` | a static route's leg in the hands of an application |
//! | `end`, `timers` | the end, and everything that time brings |

pub(crate) mod agree;
mod choose;
pub(crate) mod command;
mod dialog;
mod digits;
mod early;
pub(crate) mod end;
mod exchange;
pub(crate) mod given;
pub(crate) mod identity;
mod inbound;
mod legs;
mod login;
mod message;
mod offer;
mod outbound;
pub(crate) mod parts;
pub(crate) mod peer;
pub(crate) mod place;
pub(crate) mod policy;
mod prack;
mod redirect;
mod refer;
pub(crate) mod refusal;
pub(crate) mod relay;
pub(crate) mod reliable;
mod session;
mod state;
mod timers;

use arrayvec::ArrayVec;
use base::{Arena, CallId, ConnectionId, Hop, LegId, Mono, Stored, Target, Wall};
use sip::dialog::Dialog;
use sip::txn::Accepted2xx;
use wire::command::Targets;
use wire::event::{Cause, Direction, Party};
use wire::table::Digits;

pub(crate) use dialog::Request;
pub(crate) use inbound::{Answer, Refused, Taken, cause_text};
pub(crate) use legs::{Entry, Leftover, Legs};
pub(crate) use offer::{BadOffer, judge_target};
pub(crate) use outbound::{begin_invite, call_id_text};
pub(crate) use redirect::seconds_of;
pub(crate) use state::{Move, State};
pub(crate) use timers::{Deadlines, Timer};

use crate::cx::{Core, Cx};
use crate::media::Media;
use crate::route::RouteHandle;
use crate::transaction::logins::LINE_BYTES;
use crate::transaction::{ClientId, ServerId, Transactions};
use crate::transport::Named;
use crate::transport::guard::Bucket;
use crate::transport::obeyed::Obeyed;
use crate::transport::targets::Group;
use crate::usage::Joins;

/// Legs that one leg may have dialled for it at a time.
pub(crate) const CHILDREN_MAX: usize = 10;

/// One leg.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) id: LegId,
    pub(crate) state: State,
    pub(crate) story: Story,
    pub(crate) signalling: Signalling,
    pub(crate) offer: offer::OfferAnswer,
    pub(crate) session: session::Session,
    pub(crate) links: Links,
    pub(crate) side: Side,
    pub(crate) joins: Joins,
    /// Digits of its far end that its partner is still sending.
    pub(crate) digits: digits::Waiting,
    pub(crate) deadlines: Deadlines,
    /// Milliseconds from answer to a forced end; 0 for none.
    pub(crate) limit_ms: u32,
    /// What is left to be done of its end.
    pub(crate) owes: end::Owes,
    /// The controlplane has the usage.
    pub(crate) released: bool,
}

// With its stream, its texts and its cell half of what a standing call may take (GOALS.md).
const _: () = assert!(size_of::<Leg>() <= 1_008);

/// What the CDR wants.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) epoch: u32,
    pub(crate) call: CallId,
    pub(crate) parent: CallId,
    pub(crate) account: u64,
    /// How far the wall clock was before the monotonic one when the leg was made: all its times
    /// are of that clock, so that between two of them lies what passed, whoever sets the clock.
    pub(crate) offset: u64,
    pub(crate) created: Wall,
    pub(crate) answered: Wall,
    pub(crate) ended: Wall,
    /// The last moment of which something of it was told: nothing is told of an earlier one after.
    pub(crate) told: Wall,
    pub(crate) due: Due,
    /// Final status of its INVITE; 0 before.
    pub(crate) code: u16,
    pub(crate) cause: Cause,
    pub(crate) by: Party,
    pub(crate) from: Stored,
    pub(crate) to: Stored,
    pub(crate) call_id: Stored,
}

/// How long the far end was to speak since the answer: what was agreed last let it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// [`Mono::NEVER`] while it has agreed to be silent.
    since: Mono,
    /// Before that.
    before_ms: u32,
}

impl Due {
    pub(crate) const NOTHING: Self = Self { since: Mono::NEVER, before_ms: 0 };

    pub(crate) fn millis_until(self, now: Mono) -> u32 {
        let since = now.since(self.since).as_millis();
        self.before_ms.saturating_add(u32::try_from(since).unwrap_or(u32::MAX))
    }

    pub(crate) fn set(&mut self, speaks: bool, now: Mono) {
        self.before_ms = self.millis_until(now);
        self.since = if speaks { now } else { Mono::NEVER };
    }
}

/// How its far end is reached, and the dialog with it.
#[derive(Debug)]
pub(crate) struct Signalling {
    pub(crate) hop: Hop,
    /// The host that the dialog was made with: what it has of ours was sent there. The hop may move
    /// by whatever anybody says who knows the dialog.
    pub(crate) host: core::net::IpAddr,
    pub(crate) dialog: Option<Dialog>,
    pub(crate) text: Stored,
    /// From where it is obeyed inside the dialog.
    pub(crate) obeyed: Obeyed,
    /// A 2xx of ours that waits for its ACK.
    pub(crate) accepted: Option<Accepted>,
    /// A request of ours that changes the session and waits for its answer: there is one at most.
    pub(crate) asked: ClientId,
    /// How digits are brought to it.
    pub(crate) digits: Digits,
    /// What the far end's Allow says (RFC 3261 section 20.5).
    pub(crate) allows_info: bool,
    pub(crate) allows_update: bool,
    pub(crate) allows_message: bool,
    /// What its trunk says of it.
    pub(crate) policy: policy::Policy,
    /// When the far end last said something inside the dialog.
    pub(crate) spoke_at: Mono,
    /// The value of the Reason header that the far end ended with.
    pub(crate) reason: Stored,
    /// Transactions that may be taken for what the far end asks.
    pub(crate) share: Bucket,
}

/// A 2xx of ours to an INVITE, repeated until its ACK comes (RFC 3261 section 13.3.1.4).
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) machine: Accepted2xx,
    pub(crate) text: Stored,
    pub(crate) hop: Hop,
    /// The INVITE's transaction.
    pub(crate) server: ServerId,
    /// CSeq number of its INVITE, which the ACK repeats.
    pub(crate) cseq: u32,
    /// How often it was sent again.
    pub(crate) repeats: u8,
}

/// The legs around it.
#[derive(Debug)]
pub(crate) struct Links {
    /// The leg it was dialled for: it never outlives it.
    pub(crate) dialed_for: LegId,
    /// The leg it is joined with.
    pub(crate) partner: LegId,
    /// The leg that it was told to be joined with, and that has not answered yet.
    pub(crate) joining: LegId,
    /// The leg whose early media its far end hears.
    pub(crate) early: LegId,
    /// The leg it was dialled for has heard of its end.
    pub(crate) parent_left: bool,
    /// A referral was tried between it and its partner: it ends with whom it is joined with.
    pub(crate) bound: bool,
    /// Its partner's far end has referred its own: somebody dialled for it may take that place.
    pub(crate) referred: bool,
    /// How often that was so.
    pub(crate) transfers: u8,
    /// `joining` is to take the place of its partner, or of those that ring for it.
    pub(crate) yields: bool,
    /// Legs dialled for this one.
    pub(crate) children: ArrayVec<LegId, CHILDREN_MAX>,
    /// What the partner (or the early leg) last said of its far end: an encoded `View`.
    pub(crate) view: Stored,
    /// The controlplane wants ringback to be heard while nobody else is.
    pub(crate) ringback: bool,
}

/// What only one of the two kinds has.
#[derive(Debug)]
pub(crate) enum Side {
    Inbound(Inbound),
    Outbound(Outbound),
}

/// A leg whose INVITE came.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) invite: ServerId,
    /// The INVITE, until it is answered finally.
    pub(crate) text: Stored,
    pub(crate) max_forwards: u8,
    /// The static route that it follows.
    pub(crate) route: Option<RouteHandle>,
    /// Its source is in the route's trusted networks.
    pub(crate) trusted: bool,
    /// The caller must not be shown to the called side by us.
    pub(crate) hides: bool,
    /// Nobody knows its source, and no application has accepted it so far: it costs nothing but its
    /// leg, and is answered once.
    pub(crate) is_stranger: bool,
    /// Its source was nobody we know, and nothing that we sent there has come back so far.
    pub(crate) is_unheard: bool,
    /// Its source is in nobody's list, whether it has shown that it hears us or not.
    pub(crate) is_unlisted: bool,
    /// What of it is to be acknowledged before the answer.
    pub(crate) reliable: reliable::Reliable,
    /// The leg whose place it is to take (RFC 3891).
    pub(crate) place: LegId,
    /// It calls emergency services (RFC 5031): it is whole when it goes on.
    pub(crate) is_emergency: bool,
    /// Whose it is where it does by a route that was made for such calls; 0 for no such call.
    pub(crate) urgent: u64,
}

/// A leg whose INVITE we send.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// The INVITE in force.
    pub(crate) invite: ClientId,
    /// An encoded [`Way`], until it is answered.
    pub(crate) way: Stored,
    /// Index of the target whose turn it is.
    pub(crate) target: u8,
    /// CSeq number of the INVITE in force.
    pub(crate) cseq: u32,
    pub(crate) max_forwards: u8,
    pub(crate) ring_ms: u32,
    pub(crate) from_name: Stored,
    /// More header lines for the INVITE.
    pub(crate) headers: Stored,
    /// Min-SE that a 422 asked for, seconds (RFC 4028 section 6); no longer one is believed.
    pub(crate) min_se: u16,
    pub(crate) pass_progress: bool,
    pub(crate) bridge: bool,
    /// What the far end is offered, in order of preference.
    pub(crate) codecs: wire::policy::CodecOrder,
    /// A static route made it.
    pub(crate) by_route: bool,
    /// One of its targets has rung: the ring time, which is all of theirs together, runs.
    pub(crate) rings: bool,
    /// Early dialogs that were seen: branches of a forking proxy.
    pub(crate) branches: ArrayVec<prack::Branch, 4>,
    /// Our last PRACK in each.
    pub(crate) pracks: [ClientId; 4],
    /// The one of them whose early answer was taken last; 0 for none.
    pub(crate) described: u32,
    /// The one of them whose early answer we have acknowledged: its next offer may come; 0 for
    /// none.
    pub(crate) settled: u32,
}

/// Where an INVITE of ours goes.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Way<'a> {
    pub(crate) targets: Targets,
    /// By this connection alone.
    pub(crate) flow: Option<ConnectionId>,
    /// Request-URI; empty for what To says.
    pub(crate) uri: &'a str,
    /// Value of Route; empty for none.
    pub(crate) route: &'a str,
    /// After which refusals the next target is asked.
    pub(crate) failover: wire::policy::Failover,
    /// Whose share of what is known of targets it uses.
    pub(crate) group: Group,
    /// Where redirections led, behind the targets.
    pub(crate) contacts: ArrayVec<Contact<'a>, CONTACTS_MAX>,
}

/// Where a redirection leads.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Contact<'a> {
    pub(crate) target: Target,
    /// Request-URI.
    pub(crate) uri: &'a str,
}

/// Contacts of redirections that one call may try.
pub(crate) const CONTACTS_MAX: usize = 5;

impl Way<'_> {
    /// The target at this place; None behind the last one.
    pub(crate) fn target(&self, place: u8) -> Option<Target> {
        let place = usize::from(place);
        let contact = || Some(self.contacts.get(place.checked_sub(self.targets.len())?)?.target);
        self.targets.get(place).copied().or_else(contact)
    }

    /// The places of the contacts.
    pub(crate) fn places(&self) -> core::ops::Range<u8> {
        let from = u8::try_from(self.targets.len()).unwrap_or(u8::MAX);
        from..from.saturating_add(u8::try_from(self.contacts.len()).unwrap_or(u8::MAX))
    }

    /// The Request-URI for it; empty for what To says.
    pub(crate) fn uri(&self, place: u8) -> &str {
        let place = usize::from(place).checked_sub(self.targets.len());
        place.and_then(|place| self.contacts.get(place)).map_or(self.uri, |contact| contact.uri)
    }
}

/// A leg and what it may use: everything that a handler of its behaviour needs.
pub(crate) struct LegMut<'a, 'm> {
    pub(crate) leg: &'a mut Leg,
    pub(crate) media: &'a mut Media,
    pub(crate) transactions: &'a mut Transactions,
    pub(crate) cx: Cx<'a, 'm>,
}

impl Leg {
    /// What Via and Contact say to its far end.
    pub(crate) fn named(&self, core: &Core<'_>) -> Named {
        let secure = match (&self.signalling.dialog, &self.side) {
            (Some(dialog), _) => dialog.is_secure(),
            (None, Side::Outbound(side)) => {
                side.is_secure(&core.arena, core.arena.get(&self.story.to))
            }
            (None, Side::Inbound(_)) => false,
        };
        core.named(self.signalling.hop.via).secure(secure)
    }

    pub(crate) fn new(id: LegId, epoch: u32, side: Side, hop: Hop, now: (Wall, u64)) -> Self {
        let state = match side {
            Side::Inbound(_) => State::Arrived,
            Side::Outbound(_) => State::Wanting,
        };
        Self {
            id,
            state,
            story: Story::new(epoch, now),
            signalling: Signalling::new(hop),
            offer: offer::OfferAnswer::default(),
            session: session::Session::default(),
            links: Links::default(),
            side,
            joins: Joins::default(),
            digits: digits::Waiting::default(),
            deadlines: Deadlines::default(),
            limit_ms: 0,
            owes: end::Owes::Nothing,
            released: false,
        }
    }

    pub(crate) fn direction(&self) -> Direction {
        match self.side {
            Side::Inbound(_) => Direction::Inbound,
            Side::Outbound(_) => Direction::Outbound,
        }
    }

    pub(crate) fn inbound(&self) -> Option<&Inbound> {
        match &self.side {
            Side::Inbound(side) => Some(side),
            Side::Outbound(_) => None,
        }
    }

    pub(crate) fn inbound_mut(&mut self) -> Option<&mut Inbound> {
        match &mut self.side {
            Side::Inbound(side) => Some(side),
            Side::Outbound(_) => None,
        }
    }

    pub(crate) fn outbound(&self) -> Option<&Outbound> {
        match &self.side {
            Side::Outbound(side) => Some(side),
            Side::Inbound(_) => None,
        }
    }

    pub(crate) fn outbound_mut(&mut self) -> Option<&mut Outbound> {
        match &mut self.side {
            Side::Outbound(side) => Some(side),
            Side::Inbound(_) => None,
        }
    }

    /// An incoming leg of a stranger that no application has accepted.
    pub(crate) fn is_stranger(&self) -> bool {
        self.inbound().is_some_and(|side| side.is_stranger)
    }

    /// An incoming leg of a stranger that has not shown that it hears us.
    pub(crate) fn is_unheard(&self) -> bool {
        self.inbound().is_some_and(|side| side.is_unheard)
    }

    /// An incoming leg whose source is in nobody's list.
    pub(crate) fn is_unlisted(&self) -> bool {
        self.inbound().is_some_and(|side| side.is_unlisted)
    }

    /// The static route that it follows.
    pub(crate) fn route(&self) -> Option<RouteHandle> {
        self.inbound().and_then(|side| side.route)
    }

    /// Its usage is closed and told.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Closing
    }

    /// It was answered and its end was not told yet.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Answering | State::Standing)
    }

    /// An incoming leg without a final response.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Arrived | State::Ringing)
    }

    /// It stands and nothing is open on its dialog: no offer, no answer, no 2xx without its ACK.
    pub(crate) fn has_nothing_open(&self) -> bool {
        self.state == State::Standing
            && self.signalling.accepted.is_none()
            && self.signalling.asked == ClientId::NONE
            && self.offer.phase() == exchange::Phase::Agreed
    }

    /// The next moment at which something of it is due.
    pub(crate) fn deadline(&self) -> Mono {
        let accepted = self.signalling.accepted.as_ref();
        let accepted = accepted.map_or(Mono::NEVER, |accepted| accepted.machine.deadline());
        let reliable = self.inbound().map_or(Mono::NEVER, |side| side.reliable.deadline());
        accepted.min(reliable).min(self.deadlines.next())
    }

    /// Moves to the next state.
    ///
    /// # Panics
    /// If the figure has no such arrow: a fault of ours, which ends this leg.
    pub(crate) fn advance(&mut self, step: Move) {
        let next = state::next(self.state, step);
        assert!(next.is_some(), "{:?} on {step:?}", self.state);
        self.state = next.unwrap_or(State::Closing);
    }

    /// Gives back everything it keeps in the arena.
    pub(crate) fn free_texts(&mut self, arena: &mut Arena) {
        let Self { story, signalling, links, offer, side, digits, .. } = self;
        for text in [
            &mut story.from,
            &mut story.to,
            &mut story.call_id,
            &mut signalling.text,
            &mut signalling.reason,
            &mut links.view,
        ] {
            arena.free(text);
        }
        if let Some(accepted) = &mut signalling.accepted {
            arena.free(&mut accepted.text);
        }
        offer.free(arena);
        digits.free(arena);
        match side {
            Side::Inbound(side) => {
                arena.free(&mut side.text);
                side.reliable.free(arena);
            }
            Side::Outbound(side) => side.free_texts(arena),
        }
    }
}

impl Outbound {
    /// The target at this place; None behind the last one, and once the leg is answered.
    pub(crate) fn target_at(&self, arena: &Arena, place: u8) -> Option<Target> {
        self.way(arena)?.target(place)
    }

    /// The target whose turn it is, and whose share of what is known of targets it is in.
    pub(crate) fn target_now(&self, arena: &Arena) -> Option<(Group, Target)> {
        let way = self.way(arena)?;
        Some((way.group, way.target(self.target)?))
    }

    /// None once the leg is answered.
    pub(crate) fn way<'a>(&self, arena: &'a Arena) -> Option<Way<'a>> {
        wire::decode(arena.get(&self.way)).ok()
    }

    /// It is called by a `sips:` URI; false once the leg is answered.
    pub(crate) fn is_secure(&self, arena: &Arena, to: &[u8]) -> bool {
        let way = self.way(arena);
        let uri = way.as_ref().map(|way| way.uri(self.target).as_bytes());
        let uri = uri.filter(|uri| !uri.is_empty()).unwrap_or(to);
        uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
    }

    /// A phone is called that registered; false once the leg is answered.
    pub(crate) fn is_registered(&self, arena: &Arena) -> bool {
        self.way(arena).is_some_and(|way| !way.uri.is_empty())
    }

    /// Gives back what only an INVITE is written from: nothing is sent to another target any more.
    pub(crate) fn free_texts(&mut self, arena: &mut Arena) {
        for text in [&mut self.from_name, &mut self.headers, &mut self.way] {
            arena.free(text);
        }
    }
}

impl Story {
    fn new(epoch: u32, (created, offset): (Wall, u64)) -> Self {
        Self {
            epoch,
            call: CallId::NONE,
            parent: CallId::NONE,
            account: 0,
            offset,
            created,
            answered: Wall(0),
            ended: Wall(0),
            told: created,
            due: Due::NOTHING,
            code: 0,
            cause: Cause::Normal,
            by: Party::Switch,
            from: Stored::default(),
            to: Stored::default(),
            call_id: Stored::default(),
        }
    }
}

impl Signalling {
    fn new(hop: Hop) -> Self {
        Self {
            hop,
            host: hop.to.ip().to_canonical(),
            obeyed: Obeyed::Anywhere,
            dialog: None,
            text: Stored::default(),
            accepted: None,
            asked: ClientId::NONE,
            digits: Digits::Auto,
            allows_info: false,
            allows_update: false,
            allows_message: false,
            policy: policy::Policy::default(),
            spoke_at: Mono(0),
            reason: Stored::default(),
            share: Bucket::full(dialog::SHARE_BURST, Mono(0)),
        }
    }
}

impl Default for Links {
    fn default() -> Self {
        Self {
            dialed_for: LegId::NONE,
            partner: LegId::NONE,
            joining: LegId::NONE,
            early: LegId::NONE,
            parent_left: false,
            bound: false,
            referred: false,
            transfers: 0,
            yields: false,
            children: ArrayVec::new(),
            view: Stored::default(),
            ringback: false,
        }
    }
}

impl LegMut<'_, '_> {
    /// Says something to another leg.
    pub(crate) fn tell_peer(&mut self, to: LegId, message: &crate::handoff::PeerMessage<'_>) {
        self.cx.send_to_peer(self.leg.id, to, message);
    }

    /// The moment of what is told of the leg now.
    pub(crate) fn stamp(&mut self) -> Wall {
        self.leg.story.told = self.cx.now.wall;
        self.cx.now.wall
    }

    /// The leg's tag in its dialog.
    pub(crate) fn tag(&self) -> sip::token::Token {
        let key = &self.cx.core.plan.keys.token;
        sip::token::make(sip::token::Kind::Tag, self.leg.id.0, key)
    }

    /// Writes the leg's record, so that a successor can end and bill it.
    pub(crate) fn record(&mut self) {
        let mut lines = [0; LINE_BYTES];
        let len = self.last_lines(&mut lines);
        let invite = self.leg.outbound().map_or(ClientId::NONE, |side| side.invite);
        let hop = self.transactions.clients.hop(invite).unwrap_or(self.leg.signalling.hop);
        crate::usage::record(&mut self.cx, (self.leg, hop), &lines[..len]);
    }

    /// The leg's media port, taken now if it has none. False if there is none to be had.
    pub(crate) fn take_port(&mut self) -> bool {
        if self.media.stream(self.leg.id).is_some() {
            return true;
        }
        let hop = self.leg.signalling.hop;
        let address = self.cx.core.media_index(hop.via);
        let opened = self.media.open(&mut self.cx, self.leg.id, address, hop.to.ip());
        if opened && self.leg.is_unlisted() {
            self.media.beware(self.leg.id, !self.leg.is_unheard());
        }
        opened
    }

    /// Our own address towards its far end.
    pub(crate) fn media_address(&self) -> core::net::IpAddr {
        let media = self.cx.core.media_index(self.leg.signalling.hop.via);
        self.cx.core.media_address(media)
    }
}

impl core::fmt::Debug for LegMut<'_, '_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LegMut").field("leg", &self.leg.id).finish_non_exhaustive()
    }
}
