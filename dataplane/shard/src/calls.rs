//! How legs are made: of an INVITE that begins a call, of a command, of a static route. Everything
//! that can refuse a call is asked before anything is spent on it.

use base::{CallId, Door, Frames, Hop, LegId, Now, Target, TlsName, Transport};
use sip::body::SdpBody;
use sip::dialog::{Dialog, DialogError};
use sip::key::TransactionKey;
use sip::{Message, Name};
use wire::command::Targets;
use wire::counter::Counter;
use wire::event::{Cause, Event, Party};
use wire::table::StaticRoute;
use wire::{Command, Originate};

use crate::Shard;
use crate::cx::{Core, Cx};
use crate::emergency::{counted_as, is_emergency};
use crate::failover::Tried;
use crate::handoff::PeerMessage;
use crate::leg::command::call_of;
use crate::leg::identity::{hides_caller, passes};
use crate::leg::parts::{NOT_PASSED, Passing, judge_parts};
use crate::leg::policy::Policy;
use crate::leg::reliable::Reliable;
use crate::leg::{Inbound, Leg, Outbound, Refused, Side, Taken, Timer, Way, call_id_text};
use crate::plan::ListenerPlan;
use crate::route::{Admits, RouteHandle, Search, is_anonymous};
use crate::spiral::{IN_A_CIRCLE, hops_left};
use crate::transaction::logins::Who;
use crate::transaction::{Begin, ClientId, ServerId};
use crate::transport::Datagram;
use crate::transport::far_end::FarEnd;
use crate::transport::guard::Standing;
use crate::transport::obeyed::Obeyed;
use crate::transport::reply::{response_hop, warning_of};
use crate::usage::{cut, emit_unmade, text};

/// How long an incoming call may stay unanswered, if the controlplane says nothing.
const SETUP: core::time::Duration = core::time::Duration::from_secs(180);

/// An INVITE that begins a call, with the keys of its transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewCall<'a> {
    pub(crate) datagram: &'a Datagram<'a>,
    pub(crate) message: &'a Message<'a>,
    pub(crate) key: TransactionKey,
    pub(crate) merge: Option<TransactionKey>,
    /// Whose it has proven to be; empty for nobody's.
    pub(crate) user: &'a str,
    /// The leg whose place it wants (RFC 3891); [`LegId::NONE`] for none.
    pub(crate) place: LegId,
}

impl<'m> Shard<'m> {
    /// A command of the controlplane.
    pub(crate) fn command(&mut self, now: Now, frames: &mut dyn Frames, command: &Command<'_>) {
        crate::faults::touch(crate::faults::Site::Command);
        match command {
            Command::Originate(wish) => {
                if let Err(refused) = self.try_originate(now, frames, wish) {
                    // No slot, no cell: nothing was used, but the director must hear of it.
                    emit_unmade(&mut self.cx(now, frames), wish, (refused.code, refused.cause));
                }
            }
            Command::Release { epoch, leg } => self.release(now, *epoch, *leg),
            Command::Drain { on } => self.draining = *on,
            Command::Verdict { id, verdict } => self.verdict(now, frames, *id, verdict),
            _ => {
                let call = call_of(command);
                match self.legs.of_call(call) {
                    Some(leg) => {
                        self.with_leg(now, frames, leg, |leg| leg.command(command));
                    }
                    None => self.cx(now, frames).emit_optional(&Event::Unknown { call }),
                }
            }
        }
    }

    /// An INVITE that begins a call.
    pub(crate) fn new_call(&mut self, now: Now, frames: &mut dyn Frames, call: &NewCall<'_>) {
        let NewCall { datagram, message, user, place, .. } = *call;
        match self.take_call(now, frames, call) {
            Ok(leg) => {
                self.with_leg(now, frames, leg, |leg| leg.begin(message, user));
                let done = self.contain(frames, |shard, frames| {
                    if place == LegId::NONE {
                        shard.follow_route(now, frames, leg, message);
                    }
                });
                if done.is_none() {
                    self.end_by_fault(now, frames, leg);
                }
            }
            Err(refused) => {
                let Refused { code, cause, why, min_se } = refused;
                let is_told = self.is_told(now, datagram, &refused);
                let is_stranger = datagram.standing == Standing::Stranger;
                let mut cx = self.cx(now, frames);
                let uri = cut(text(message.uri_raw()));
                let (at, source) = (now.wall, datagram.hop.to);
                if is_told {
                    cx.emit_optional(&Event::Refused { at, source, code, cause, uri, why });
                }
                cx.answer_with(datagram, message, code, |mut writer| {
                    if is_stranger && code != 422 {
                        return writer;
                    }
                    if matches!(code, 500 | 503) {
                        writer = writer.field(Name::RetryAfter, b"5");
                    }
                    if min_se > 0 {
                        writer = sip::session::TooSmall { min_se }.write(writer);
                    }
                    if why.is_empty() { writer } else { warning_of(writer, why) }
                });
            }
        }
    }

    /// Whether whom it concerns hears of a refusal. What strangers try at nobody's number concerns
    /// nobody; what they try at somebody's is told as a sample.
    fn is_told(&mut self, now: Now, datagram: &Datagram<'_>, refused: &Refused) -> bool {
        let is_stranger = datagram.standing == Standing::Stranger;
        let sampled = is_stranger || refused.cause == Cause::Forbidden && refused.why == NOT_FROM;
        match refused.cause {
            Cause::NoRoute if is_stranger => false,
            _ if sampled => self.core.guard.may_tell(now.mono),
            _ => true,
        }
    }

    /// Everything that can refuse a call before it costs anything: its slot, what it describes, its
    /// static route.
    fn admit_call<'c>(&mut self, now: Now, call: &NewCall<'c>) -> Result<Admitted<'c>, Refused> {
        let NewCall { datagram, message, .. } = *call;
        let uri = message.uri().map_err(|_| Refused::new(400, Cause::Protocol))?;
        let listed = match call.user {
            // It calls nobody, whatever it says.
            "" if call.place != LegId::NONE => self.route_to_place(now, &uri, call)?,
            "" => self.admission(now, &uri, datagram)?,
            // Who has proven whose he is may call from anywhere.
            _ => None,
        };
        let (is_emergency, is_urgent) = (uri.is_emergency(), self.is_urgent(&uri, listed));
        if self.draining && !is_urgent {
            self.core.counters.count(Counter::RefusedOverload);
            return Err(Refused::new(503, Cause::Overload));
        }
        if hops_left(&self.core.plan, message).is_none() {
            self.core.counters.count(Counter::RefusedProtocol);
            return Err(IN_A_CIRCLE);
        }
        let has_timer = listed.is_none_or(|at| self.routes.at_place(at).session_timer);
        let taken = judge(&mut self.core, datagram, (message, has_timer && !is_emergency))?;
        if listed.is_none() || call.place != LegId::NONE {
            // An application is no far end that its parts could be for.
            judge_parts(message, Passing::of(is_emergency, false)).map_err(|_| NO_PARTS)?;
        }
        let has_room = self.has_room(datagram.standing, is_urgent);
        let Some(place) = self.legs.vacant().filter(|_| has_room) else {
            self.core.counters.count(Counter::RefusedNoCell);
            return Err(Refused::new(503, Cause::Overload));
        };
        let route = match listed {
            // Another leg of the account's ends for it.
            Some(at) if call.place != LegId::NONE => {
                Some(self.routes.take_rate(at, now.mono).map_err(|(code, cause)| {
                    self.core.counters.count(Counter::RefusedOverload);
                    Refused { why: "the route is full", ..Refused::new(code, cause) }
                })?)
            }
            listed => self.take_route(now, (datagram, message, &uri), listed)?,
        };
        let is_trunk = datagram.standing == Standing::Trunk;
        if !self.core.guard.call(is_trunk, now.mono) && !is_urgent {
            self.core.counters.count(Counter::RefusedOverload);
            return Err(Refused::new(503, Cause::Overload));
        }
        let urgent = if is_urgent { self.callers(route) } else { 0 };
        Ok(Admitted { id: place.0, taken, route, urgent })
    }

    /// A call that may be taken has its leg.
    fn take_call(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        call: &NewCall<'_>,
    ) -> Result<LegId, Refused> {
        let NewCall { datagram, message, .. } = *call;
        let Admitted { id, taken, route, urgent } = self.admit_call(now, call)?;
        let Datagram { hop, source, .. } = *datagram;
        let side = Side::Inbound(Inbound { urgent, ..self.inbound(call, route) });
        let obeyed = self.obeyed(datagram.standing, source);
        let times = (now.wall, self.core.offset);
        let leg = self.making.insert(Leg::new(id, self.core.epoch, side, hop, times));
        leg.session.agreed = taken.session;
        leg.signalling.obeyed = obeyed;
        let media = self.core.media_index(hop.via);
        let mut cx = Cx { now, frames, core: &mut self.core };
        // An application's call has its port once it is accepted.
        if route.is_some() && !self.media.open(&mut cx, id, media, hop.to.ip()) {
            cx.count(Counter::RefusedNoPort);
            self.making = None;
            return Err(Refused { why: "no media port", ..Refused::new(503, Cause::NoPort) });
        }
        if leg.is_unlisted() {
            self.media.beware(id, !leg.is_unheard());
        }
        if let Some(route) = route.and_then(|route| self.routes.get(route)) {
            self.media.set_sources(id, route.media);
            leg.signalling.obeyed = Obeyed::by_route(route.signalling);
            leg.obey(Policy::of(route));
        }
        let filled = fill_incoming(&mut cx, leg, call, taken.offer);
        let server = filled.and_then(|()| {
            let begin = Begin {
                invite: true,
                key: call.key,
                merge: call.merge,
                hop: response_hop(message, hop),
                leg: id,
                standing: counted_as(urgent > 0, datagram.standing),
            };
            self.transactions.servers.begin(cx.core, &begin).ok_or(NO_TRANSACTION)
        });
        let server = match server {
            Ok(server) => server,
            Err(refused) => {
                if refused == NO_ROOM {
                    cx.count(Counter::DiscardNoRoom);
                }
                leg.free_texts(&mut cx.core.arena);
                self.media.close(&mut cx, id);
                self.making = None;
                return Err(refused);
            }
        };
        if let Side::Inbound(side) = &mut leg.side {
            side.invite = server;
        }
        crate::faults::touch(crate::faults::Site::Making);
        let Some(leg) = self.making.take() else { return Err(NO_ROOM) };
        let call = CallId::begun(now.wall, self.core.random.u128());
        // An application's account is known when it accepts the call.
        let account = route.and_then(|it| self.routes.get(it)).map_or(0, |it| it.account);
        self.register(now, frames, leg, call, account);
        self.core.remember_source(id, datagram);
        self.count_in(route, urgent);
        Ok(id)
    }

    /// Whether there is room for one more incoming leg. Calls of trunks may have all of it; the
    /// others leave them an eighth, and strangers leave half: whatever an application, a
    /// controlplane that is gone or a flood keeps, trunk calls go on.
    pub(crate) fn has_room(&self, standing: Standing, is_urgent: bool) -> bool {
        let limit = self.core.plan.limits.legs as usize;
        if is_urgent {
            return self.core.has_credit();
        }
        let limit = limit.saturating_sub(self.core.emergency_legs);
        let texts = self.core.arena.used() * 2 / self.core.plan.limits.arena_bytes.max(1);
        let most = match standing {
            Standing::Trunk => limit,
            Standing::Stranger if texts > 0 => 0,
            Standing::Stranger => limit.div_ceil(2),
            _ => limit - limit / 8,
        };
        self.legs.len() < most && self.core.has_credit()
    }

    /// Puts a leg into its slot: its cell is open, and its call finds it.
    fn register(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        mut leg: Leg,
        call: CallId,
        account: u64,
    ) {
        leg.story.call = call;
        leg.story.account = account;
        let id = leg.id;
        if let Some(cell) = self.core.cell(id) {
            cell.open(self.core.epoch, id, call, account);
        }
        crate::usage::record(&mut self.cx(now, frames), (&leg, leg.signalling.hop), b"");
        self.legs.insert(leg);
        self.legs.register(id, call);
        self.core.legs_taken = self.legs.len();
        self.core.counters.count(Counter::LegCreated);
    }

    /// The static route that fits, or none where an application may be asked. Refused is what no
    /// rule can allow.
    fn admission(
        &mut self,
        now: Now,
        uri: &sip::Uri<'_>,
        datagram: &Datagram<'_>,
    ) -> Result<Option<usize>, Refused> {
        let source = datagram.source;
        let search = search(now, uri, datagram);
        let listed = self.routes.choose(&search, &mut self.core);
        if listed.is_some() {
            return Ok(listed);
        }
        match self.routes.admits(uri, source) {
            Admits::Yes => Ok(None),
            Admits::NotFrom => {
                self.core.counters.count(Counter::RefusedSource);
                Err(Refused { why: NOT_FROM, ..Refused::new(403, Cause::Forbidden) })
            }
            Admits::Nobody => {
                self.core.counters.count(Counter::RefusedUnknown);
                Err(Refused { why: NOBODY, ..Refused::new(404, Cause::NoRoute) })
            }
        }
    }

    /// The route that was found, or the next one that is not full.
    fn take_route(
        &mut self,
        now: Now,
        (datagram, message, uri): (&Datagram<'_>, &Message<'_>, &sip::Uri<'_>),
        listed: Option<usize>,
    ) -> Result<Option<RouteHandle>, Refused> {
        let Some(at) = listed else { return Ok(None) };
        let mut tried = Tried::new();
        let search = search(now, uri, datagram);
        let first = (Some(at), self.is_urgent(uri, Some(at)));
        let taken = self.take_next(&search, &mut tried, first).map_err(|(code, cause)| {
            self.core.counters.count(Counter::RefusedOverload);
            Refused { why: "the route is full", ..Refused::new(code, cause) }
        })?;
        let refuses = !uri.is_emergency()
            && self.routes.get(taken).is_some_and(|it| it.policy.refuses_anonymous);
        let caller = message.from().ok().and_then(|from| from.uri().ok());
        if refuses && caller.is_some_and(|uri| is_anonymous(&uri)) {
            // RFC 5079.
            return Err(Refused { why: ANONYMOUS_NOT, ..Refused::new(433, Cause::Forbidden) });
        }
        Ok(Some(taken))
    }

    /// From where a far end there is obeyed that no static route is followed for.
    fn obeyed(&self, standing: Standing, source: FarEnd) -> Obeyed {
        let policy = (standing == Standing::Trunk).then(|| self.routes.signalling_of(source));
        policy.flatten().map_or_else(|| Obeyed::of(standing), Obeyed::by_route)
    }

    pub(crate) fn trusts(&self, route: Option<RouteHandle>, source: FarEnd) -> bool {
        let route = route.and_then(|route| self.routes.get(route));
        route.is_some_and(|route| source.is_in(&route.trusted))
    }

    /// A static route's leg is dialled; if it cannot be made, whoever waits for it hears so. `of`:
    /// another route than the one that the leg follows which it is dialled for.
    pub(crate) fn dial_for_route(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        wish: &Originate<'_>,
        of: Option<RouteHandle>,
    ) {
        let made = self.contain(frames, |shard, frames| {
            crate::faults::touch(crate::faults::Site::Dial);
            shard.try_originate(now, frames, wish)
        });
        let made = made.unwrap_or(Err(Refused::new(500, Cause::Internal)));
        if let Err(Refused { cause, .. }) = made {
            // No far end has said anything: the cause alone speaks.
            let ended = PeerMessage::Ended { code: 0, cause, reason: "" };
            self.cx(now, frames).send_to_peer(LegId::NONE, wish.peer, &ended);
            return;
        }
        // Both sides of a trunk's call follow its policy.
        let route = self.legs.get_mut(wish.peer).and_then(|leg| leg.inbound()?.route);
        let route = of.or(route);
        let route = route.and_then(|route| self.routes.get(route));
        if let (Some(route), Some(leg)) = (route, self.legs.of_call(wish.call)) {
            let login = self.trunk_login(&route.login);
            let media = route.media;
            if let Some(leg) = self.legs.get_mut(leg) {
                leg.dialed_by(route);
                if let Side::Outbound(side) = &mut leg.side {
                    side.by_route = true;
                }
            }
            if let Some(who) = login
                && !self.give_login(leg, who, &wish.targets)
            {
                // It is tried without: its targets may let it pass.
                self.core.counters.count(Counter::DiscardNoRoom);
            }
            self.media.set_sources(leg, media);
        }
    }

    /// The credentials of a trunk, by its name; none for an empty one.
    fn trunk_login(&self, name: &str) -> Option<Who<'static>> {
        let mut logins = self.core.plan.logins.iter();
        let place = logins.position(|login| login.trunk == name && !name.is_empty())?;
        u16::try_from(place).ok().map(Who::Trunk)
    }

    /// The leg's targets, and nobody else, may be shown these credentials. False if there is no
    /// room.
    fn give_login(&mut self, leg: LegId, who: Who<'_>, targets: &Targets) -> bool {
        let hosts = targets.iter().map(|target| target.address.ip()).collect();
        self.transactions.clients.logins.give(&mut self.core, leg, (who, hosts))
    }

    /// As [`Shard::originate`]; a fault while the leg is made is an error too.
    fn try_originate(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        wish: &Originate<'_>,
    ) -> Result<(), Refused> {
        let made = self.contain(frames, |shard, frames| shard.originate(now, frames, wish));
        match made {
            Some(made) => made,
            // It has a slot already, and tells its end itself.
            None if let Some(leg) = self.legs.of_call(wish.call) => {
                self.end_by_fault(now, frames, leg);
                Ok(())
            }
            None => Err(Refused::new(500, Cause::Internal)),
        }
    }

    /// Where an order leads, the best target first, and the way to that one.
    fn way_to(&mut self, now: Now, wish: &Originate<'_>) -> Result<(Targets, Hop), Refused> {
        let mut targets = self.core.named_targets(wish);
        let group = if wish.group == 0 { wish.account } else { wish.group };
        self.core.targets.order(group, &mut targets, now.mono);
        if wish.flow.is_some() {
            // It is where it registered, or nowhere.
            targets = wish.targets.clone();
            targets.truncate(1);
        }
        // Those that no listener of ours can reach are left out.
        let trunk = self.routes.named(wish.trunk).and_then(|route| route.policy.listener);
        let listener = match wish.listener {
            Originate::ANY_LISTENER => trunk.unwrap_or(Originate::ANY_LISTENER),
            listener => listener,
        };
        let core = &self.core;
        let hop_to = |target: &Target| match wish.flow {
            // Whatever its listener speaks (TLS, WebSocket): the connection stands, or nothing is
            // sent.
            Some(_) => Some(Hop::connection(wish.listener, target.address, TlsName::NONE)),
            None => core.hop_to(listener, *target),
        };
        targets.retain(|target| hop_to(target).is_some());
        let first = targets.first().and_then(hop_to);
        let Some(hop) = first else {
            self.core.counters.count(Counter::DiscardCommandMalformed);
            return Err(Refused::new(0, Cause::Unreachable));
        };
        Ok((targets, hop))
    }

    /// A new outgoing leg. An error if it could not even be made; else it ends as every leg does.
    fn originate(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        wish: &Originate<'_>,
    ) -> Result<(), Refused> {
        if self.legs.of_call(wish.call).is_some() || wish.call == CallId::NONE {
            self.core.counters.count(Counter::DiscardCommandMalformed);
            return Ok(());
        }
        let (targets, hop) = self.way_to(now, wish)?;
        let room = (self.core.plan.limits.legs as usize).saturating_sub(self.legs.len());
        let has_room = room > self.core.emergency_legs || self.is_for_urgent(wish.peer);
        let vacant = self.legs.vacant().filter(|_| self.core.has_credit() && has_room);
        let Some(place) = vacant else {
            self.core.counters.count(Counter::RefusedNoCell);
            return Err(Refused::new(503, Cause::Overload));
        };
        let id = place.0;
        let media = self.core.media_index(hop.via);
        let side = Side::Outbound(outbound(wish));
        let obeyed = self.obeyed(self.core.guard.standing(hop.to, now.mono), hop.to.ip().into());
        let times = (now.wall, self.core.offset);
        let leg = self.making.insert(Leg::new(id, self.core.epoch, side, hop, times));
        leg.signalling.obeyed = obeyed;
        let mut cx = Cx { now, frames, core: &mut self.core };
        if !self.media.open(&mut cx, id, media, hop.to.ip()) {
            cx.count(Counter::RefusedNoPort);
            self.making = None;
            return Err(Refused::new(503, Cause::NoPort));
        }
        if let Some(route) = self.routes.named(wish.trunk) {
            leg.dialed_by(route);
            self.media.set_sources(id, route.media);
        }
        crate::faults::touch(crate::faults::Site::Dialing);
        leg.story.parent = wish.parent;
        leg.links.dialed_for = wish.peer;
        leg.limit_ms = wish.limit_ms;
        let filled = fill_outgoing(cx.core, leg, wish, &targets).is_some();
        let Some(leg) = self.making.take() else { return Err(NO_ROOM) };
        let who = match self.trunk_login(wish.trunk) {
            None if wish.username.is_empty() => None,
            None => Some(Who::Own { user: wish.username, password: wish.password.0 }),
            trunk => trunk,
        };
        let filled = filled && who.is_none_or(|who| self.give_login(id, who, &targets));
        self.register(now, frames, leg, wish.call, wish.account);
        self.with_leg(now, frames, id, |leg| match filled {
            true => leg.dial(),
            false => leg.finish(Cause::Internal, Party::Switch),
        });
        Ok(())
    }

    fn inbound(&self, call: &NewCall<'_>, route: Option<RouteHandle>) -> Inbound {
        let NewCall { datagram, message, .. } = *call;
        let trusted = self.trusts(route, datagram.source);
        Inbound {
            invite: ServerId::NONE,
            text: base::Stored::default(),
            max_forwards: hops_left(&self.core.plan, message).unwrap_or_default(),
            route,
            trusted,
            hides: !is_emergency(message) && hides_caller(message, trusted),
            is_stranger: route.is_none() && datagram.standing == Standing::Stranger,
            is_unheard: datagram.standing == Standing::Stranger,
            is_unlisted: matches!(datagram.standing, Standing::Stranger | Standing::Proven),
            reliable: Reliable::of(message),
            place: call.place,
            is_emergency: is_emergency(message),
            urgent: 0,
        }
    }
}

/// A call that may have a leg.
struct Admitted<'c> {
    id: LegId,
    taken: Taken<'c>,
    route: Option<RouteHandle>,
    urgent: u64,
}

fn outbound(wish: &Originate<'_>) -> Outbound {
    Outbound {
        invite: ClientId::NONE,
        way: base::Stored::default(),
        target: 0,
        cseq: 1,
        max_forwards: 70,
        ring_ms: wish.ring_ms,
        from_name: base::Stored::default(),
        headers: base::Stored::default(),
        min_se: 0,
        pass_progress: wish.pass_progress,
        bridge: wish.bridge,
        codecs: wire::policy::CodecOrder::default(),
        by_route: false,
        rings: false,
        branches: arrayvec::ArrayVec::new(),
        pracks: [ClientId::NONE; 4],
        described: 0,
        settled: 0,
    }
}

/// What an INVITE's description and session timer are worth.
fn judge<'d>(
    core: &mut Core<'_>,
    datagram: &Datagram<'_>,
    (message, has_timer): (&Message<'d>, bool),
) -> Result<Taken<'d>, Refused> {
    let wanted = u32::try_from(core.plan.timers.session.as_secs()).unwrap_or(u32::MAX);
    let session = sip::session::as_server(message, wanted, sip::session::MIN_SE_SECONDS);
    let session = match session {
        _ if !has_timer => None,
        Ok(session) => session,
        Err(small) => {
            return Err(Refused { min_se: small.min_se, ..Refused::new(422, Cause::Protocol) });
        }
    };
    let offer = match message.sdp() {
        SdpBody::None => None,
        SdpBody::Broken => {
            return Err(Refused { why: "unreadable body", ..Refused::new(400, Cause::Protocol) });
        }
        SdpBody::Sdp(text) => {
            judge_offer(core, datagram, text)?;
            Some(text)
        }
    };
    Ok(Taken { offer, session })
}

fn judge_offer(core: &mut Core<'_>, datagram: &Datagram<'_>, text: &[u8]) -> Result<(), Refused> {
    use crate::leg::{BadOffer, judge_target};
    let offer = sdp::Session::parse(text).map_err(BadOffer::from)?;
    let audio = offer.audio().map_err(|error| {
        let secure = offer.media().iter().any(|media| {
            media.kind() == sdp::Kind::Audio
                && media.protocol().is_rtp()
                && !media.protocol().is_plain()
        });
        let why = if secure { "secure media (SRTP) only" } else { error.reason() };
        Refused { why, ..Refused::new(488, Cause::NoCodec) }
    })?;
    let rtp = audio.rtp().map_err(BadOffer::from)?;
    let ours = core.media_address(core.media_index(datagram.hop.via));
    judge_target(core, rtp, (datagram.hop.to, ours)).map_err(Refused::from)
}

/// What is looked for where nothing was tried yet.
pub(crate) fn search<'s>(now: Now, uri: &'s sip::Uri<'s>, datagram: &Datagram<'_>) -> Search<'s> {
    let Datagram { source, standing, .. } = *datagram;
    Search { uri, source, standing, now, account: None, tried: &[], hidden: false }
}

/// The route takes no calls of who does not show himself.
const ANONYMOUS_NOT: &str = "callers must show themselves";
/// The source is in no list of whoever was called.
const NOT_FROM: &str = "this address may not call there";
/// No number, domain or route fits.
const NOBODY: &str = "nobody is there";
/// A part of its body is required.
const NO_PARTS: Refused = Refused { why: NOT_PASSED, ..Refused::new(415, Cause::Protocol) };
/// There is no room for what must be kept.
const NO_ROOM: Refused = Refused { why: "no room", ..Refused::new(503, Cause::Overload) };

/// The transactions are all under way.
const NO_TRANSACTION: Refused =
    Refused { why: "no room for another transaction", ..Refused::new(503, Cause::Overload) };

/// Keeps what the leg needs of its INVITE: an error if there is no room for it, or if it makes no
/// dialog.
fn fill_incoming(
    cx: &mut Cx<'_, '_>,
    leg: &mut Leg,
    call: &NewCall<'_>,
    offer: Option<&[u8]>,
) -> Result<(), Refused> {
    let message = call.message;
    let key = &cx.core.plan.keys.token;
    let tag = sip::token::make(sip::token::Kind::Tag, leg.id.0, key);
    let cseq = cx.core.random.u32() >> 8;
    let mut block = [0; 4_096];
    let dialog = Dialog::uas(&mut block, message, &tag, cseq).map_err(|error| match error {
        // Its own doing: we are not full.
        DialogError::TooLarge => {
            Refused { why: "headers too long", ..Refused::new(513, Cause::Protocol) }
        }
        DialogError::Header(_) | DialogError::NoDialog => Refused::new(400, Cause::Protocol),
    })?;
    keep_incoming(cx, leg, call, (&block, dialog), offer).ok_or(NO_ROOM)
}

fn keep_incoming(
    cx: &mut Cx<'_, '_>,
    leg: &mut Leg,
    call: &NewCall<'_>,
    (block, dialog): (&[u8], Dialog),
    offer: Option<&[u8]>,
) -> Option<()> {
    let NewCall { datagram, message, .. } = *call;
    let arena = &mut cx.core.arena;
    leg.signalling.text = arena.store(&block[..dialog.text_len()])?;
    leg.signalling.dialog = Some(dialog.by_flow(!call.user.is_empty()));
    leg.signalling.spoke_at = cx.now.mono;
    leg.signalling.allows_info = message.allows(sip::Method::Info).unwrap_or(false);
    leg.signalling.allows_update = message.allows(sip::Method::Update).unwrap_or(false);
    leg.signalling.allows_message = message.allows(sip::Method::Message).unwrap_or(false);
    if let Side::Inbound(side) = &mut leg.side {
        side.text = arena.store(datagram.bytes)?;
    }
    leg.story.from = arena.store(message.from().ok()?.uri)?;
    leg.story.to = arena.store(message.uri_raw())?;
    leg.story.call_id = arena.store(message.call_id().ok()?)?;
    if let Some(offer) = offer {
        leg.offer.receive(arena, offer)?;
    }
    leg.deadlines.set(Timer::Hold, cx.now.mono + cx.core.plan.timers.hold);
    leg.deadlines.set(Timer::Setup, cx.now.mono + SETUP);
    Some(())
}

fn fill_outgoing(
    core: &mut Core<'_>,
    leg: &mut Leg,
    wish: &Originate<'_>,
    targets: &Targets,
) -> Option<()> {
    let mut call_id = [0; 32];
    call_id_text(wish.call, &mut call_id);
    // The ring is another process's memory: what is written into a message is checked here.
    let is_uri = |text: &str| sip::Uri::parse(text.as_bytes()).is_ok();
    let sound = passes(wish.headers)
        && is_uri(wish.uri)
        && is_uri(wish.from)
        && (wish.to.is_empty() || is_uri(wish.to))
        && wish.route.bytes().all(|byte| byte >= b' ' && byte != 0x7f);
    let arena = &mut core.arena;
    let to = if wish.to.is_empty() { wish.uri } else { wish.to };
    leg.story.to = arena.store(to.as_bytes())?;
    leg.story.from = arena.store(wish.from.as_bytes())?;
    leg.story.call_id = arena.store(&call_id)?;
    let side = leg.outbound_mut()?;
    side.from_name = arena.store(wish.from_name.as_bytes())?;
    side.headers = arena.store(wish.headers.as_bytes())?;
    let mut encoded = [0; 4_096];
    let uri = if wish.to.is_empty() { "" } else { wish.uri };
    let way = Way {
        targets: targets.clone(),
        flow: wish.flow,
        uri,
        route: wish.route,
        failover: wish.failover,
        group: if wish.group == 0 { wish.account } else { wish.group },
        contacts: arrayvec::ArrayVec::new(),
    };
    let len = wire::encode(&way, &mut encoded).ok()?;
    side.way = arena.store(&encoded[..len])?;
    sound.then_some(())
}

/// The listener that a route names, else the one that a call came by, if the route's target can be
/// reached from there.
pub(crate) fn listener_of(
    core: &Core<'_>,
    (route, via): (&StaticRoute, Door),
    targets: &Targets,
) -> u8 {
    if let Some(listener) = route.policy.listener {
        return listener;
    }
    let local = core.plan.listeners.get(usize::from(via.listener()));
    let fits = local.zip(targets.first()).is_some_and(|(local, target)| {
        local.advertised.is_ipv4() == target.address.is_ipv4()
            && local.transport == target.transport
    });
    if fits { via.listener() } else { Originate::ANY_LISTENER }
}

impl Core<'_> {
    fn remember_source(&mut self, leg: LegId, datagram: &Datagram<'_>) {
        if let Some(proven) = datagram.source.proven {
            self.proven.insert(leg, proven);
        }
    }

    /// Whom lists of networks know as a leg's far end.
    pub(crate) fn source_of(&self, leg: &Leg) -> FarEnd {
        let proven = self.proven.get(&leg.id).copied();
        FarEnd { address: leg.signalling.hop.to.ip(), proven }
    }

    /// The targets of an order, each with what its certificate must name: its address where nothing
    /// is said. One whose name can be none is left out.
    fn named_targets(&mut self, wish: &Originate<'_>) -> Targets {
        let names = wish.tls_names.iter().copied().chain(core::iter::repeat(""));
        let named = |(target, name): (&Target, &str)| {
            let is_named = target.transport == Transport::Tls && !name.is_empty();
            let name = if is_named { self.names.dial(wish.account, name)? } else { TlsName::NONE };
            Some(Target { name, ..*target })
        };
        wish.targets.iter().zip(names).filter_map(named).collect()
    }

    /// The way to a target: from the listener that is preferred, if it can be reached from there,
    /// else from another one of its transport and family. None if there is none.
    pub(crate) fn hop_to(&self, preferred: u8, target: Target) -> Option<Hop> {
        let to = target.address;
        let can = |listener: &ListenerPlan| {
            listener.transport == target.transport && listener.advertised.is_ipv4() == to.is_ipv4()
        };
        let near = |listener: &ListenerPlan| {
            let ours = listener.advertised.ip();
            to.ip().is_loopback() == ours.is_loopback() || ours.is_unspecified()
        };
        let all = || (0_u8..).zip(&self.plan.listeners).filter(|(_, listener)| can(listener));
        let wanted = all().find(|(index, _)| *index == preferred);
        let found = wanted.or_else(|| all().find(|(_, it)| near(it))).or_else(|| all().next());
        found.map(|(index, _)| match target.transport {
            Transport::Udp => Hop::datagram(index, to),
            _ => Hop::connection(index, to, target.name),
        })
    }
}
