//! Calls: what the controlplane commands, what a static route says, and what the legs of a call say
//! to each other. A leg never reaches into another one; it says something to it, so that it does
//! not matter which shard owns it.

use base::{CallId, LegId, Mono, Now};
use core::net::SocketAddr;
use core::time::Duration;
use sdp::{PtSet, Supported};
use sip::Message;
use wire::counter::Counter;
use wire::event::{Cause, Direction, Event, Party};
use wire::{Command, Originate};

use crate::app::Play;
use crate::handoff::{Formats, Say};
use crate::leg::{Answer, Leg, State, Text, Timer};
use crate::signal::may_send_to;
use crate::{Io, Shard};

/// What we speak ourselves, in order of preference.
const CODECS: [Supported<'static>; 3] =
    [Supported::PCMU, Supported::PCMA, Supported::TELEPHONE_EVENT];

impl Shard<'_> {
    /// A command of the controlplane.
    pub(crate) fn command(&mut self, io: &mut Io<'_>, command: &Command<'_>) {
        let now = io.now;
        match command {
            Command::Originate(wish) => {
                if let Err((code, cause)) = self.originate(io, wish) {
                    // No slot, no cell: nothing was used, but the director must hear of it.
                    self.tell_unmade(now, wish, code, cause);
                }
                return;
            }
            Command::Release { epoch, leg } => return self.release(now, *epoch, *leg),
            Command::Drain { on } => {
                self.draining = *on;
                return;
            }
            _ => {}
        }
        let call = call_of(command);
        let Some(index) = self.leg_of_call(call) else {
            return self.tell_optional(&Event::Unknown { call });
        };
        self.guarded(io, index, |shard, io| shard.command_leg(io, index, command));
    }

    fn command_leg(&mut self, io: &mut Io<'_>, index: u32, command: &Command<'_>) {
        match command {
            Command::Accept { account, setup_ms, .. } => {
                self.accepted_by(io, index, *account, *setup_ms);
            }
            Command::Progress { code, .. } if (101..200).contains(code) => {
                self.progress(io, index, *code, b"");
            }
            Command::Answer { limit_ms, .. } => self.answer_alone(io, index, *limit_ms),
            Command::Reject { code, reason, retry_after, cause, .. }
                if (300..700).contains(code) =>
            {
                let answer = Answer { code: *code, reason, retry_after: *retry_after, sdp: b"" };
                self.refuse(io, index, &answer, (*cause, Party::Application));
            }
            Command::Hangup { cause, .. } => self.hang_up(io, index, *cause, Party::Application),
            Command::Join { b, .. } => self.join(io.now, index, *b),
            Command::Part { .. } => self.part(io.now, index),
            Command::Ringback { on, .. } => {
                let joined = self.legs.get(index).is_none_or(|leg| leg.partner != LegId::NONE);
                if !joined && self.streams[index as usize].on {
                    let play = if *on { Play::Ringback(0) } else { Play::Silence };
                    self.set_play(io.now.mono, index, play);
                }
            }
            Command::Limit { remaining_ms, .. } => self.limit(io.now, index, *remaining_ms),
            _ => self.counters.count(Counter::DiscardCommandMalformed),
        }
    }

    fn accepted_by(&mut self, io: &mut Io<'_>, index: u32, account: u64, setup_ms: u32) {
        let Some(leg) = self.legs.get_mut(index).filter(|leg| leg.is_waiting()) else { return };
        leg.account = account;
        leg.deadlines.clear(Timer::Hold);
        let setup = Duration::from_millis(u64::from(setup_ms.max(1_000)));
        leg.deadlines.set(Timer::Setup, io.now.mono + setup);
        let deadline = leg.deadline();
        self.touch(index, io.now, deadline);
        if let Some(cell) = self.cell(index) {
            cell.set_account(account);
        }
        self.record(index);
    }

    fn limit(&mut self, now: Now, index: u32, remaining_ms: u32) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        let at = match remaining_ms {
            0 => Mono::NEVER,
            ms => now.mono + Duration::from_millis(u64::from(ms)),
        };
        leg.deadlines.set(Timer::Limit, at);
        let deadline = leg.deadline();
        self.touch(index, now, deadline);
    }

    /// A provisional response, with a description if there is one.
    fn progress(&mut self, io: &mut Io<'_>, index: u32, code: u16, sdp: &[u8]) {
        let Some(leg) = self.legs.get_mut(index).filter(|leg| leg.is_waiting()) else { return };
        leg.state = State::Ringing;
        self.reply_invite(io, index, &Answer::new(code, sdp));
    }

    /// Answers an incoming leg for itself: it stands alone and hears silence.
    fn answer_alone(&mut self, io: &mut Io<'_>, index: u32, limit_ms: u32) {
        let Some(leg) = self.legs.get_mut(index).filter(|leg| leg.is_waiting()) else { return };
        leg.limit_ms = limit_ms;
        let mut out = [0; crate::leg::TEXT_BYTES];
        let written = {
            let leg = self.legs.get(index);
            let offer = leg.map_or(&b""[..], |leg| self.arena.get(&leg.remote_sdp));
            self.own_description(index, offer, &CODECS, &mut out)
        };
        let Some(len) = written else {
            let answer = Answer::new(488, b"");
            return self.refuse(io, index, &answer, (Cause::NoCodec, Party::Switch));
        };
        if !self.plan_incoming(io.now, index, &out[..len]) {
            let answer = Answer::new(488, b"");
            return self.refuse(io, index, &answer, (Cause::NoCodec, Party::Switch));
        }
        self.answer_incoming(io, index, &out[..len]);
        self.arm_session(io.now, index);
        self.stand_alone(io.now.mono, index);
    }

    /// Answers `offer` by ourselves; without one, makes one.
    fn own_description(
        &self,
        index: u32,
        offer: &[u8],
        codecs: &[Supported<'_>],
        out: &mut [u8],
    ) -> Option<usize> {
        let local = self.local(index, 1);
        let direction = sdp::Direction::SendRecv;
        if offer.is_empty() {
            let offer = sdp::Offer { codecs, direction, ptime_ms: 20 };
            return sdp::write_offer(&offer, &local, out).ok();
        }
        let offer = sdp::Session::parse(offer).ok()?;
        let how =
            sdp::Answer { codecs, direction, ptime_ms: 20, prefer_ours: false, single: false };
        sdp::answer(&offer, &how, &local, out).ok()
    }

    /// The plan of an incoming leg from its offer and our answer. True where there is no offer yet.
    fn plan_incoming(&mut self, now: Now, index: u32, answer: &[u8]) -> bool {
        let Some(leg) = self.legs.get(index) else { return false };
        let offer = self.arena.get(&leg.remote_sdp);
        if offer.is_empty() {
            return true;
        }
        let plan = sdp::Session::parse(offer).and_then(|offer| {
            let answer = sdp::Session::parse(answer)?;
            sdp::Plan::negotiate(&answer, &offer)
        });
        let ours = self.media_address(leg.listener);
        match plan {
            Ok(plan)
                if plan.remote_rtp.ip().is_unspecified()
                    || may_send_to(plan.remote_rtp.ip(), ours) =>
            {
                self.plan_stream(now.mono, index, plan);
                true
            }
            _ => false,
        }
    }

    /// Nobody is joined with the leg: it hears silence.
    pub(crate) fn stand_alone(&mut self, now: Mono, index: u32) {
        self.disconnect(index);
        if self.legs.get(index).is_some_and(Leg::is_up) {
            self.set_play(now, index, Play::Silence);
        }
    }

    /// A new outgoing leg. An error if it could not even be made; else it ends as every leg does.
    fn originate(&mut self, io: &mut Io<'_>, wish: &Originate<'_>) -> Result<(), (u16, Cause)> {
        if self.leg_of_call(wish.call).is_some() || wish.call == CallId::NONE {
            self.counters.count(Counter::DiscardCommandMalformed);
            return Ok(());
        }
        let known = usize::from(wish.listener) < self.plan.listeners.len();
        if wish.listener != Originate::ANY_LISTENER && !known {
            self.counters.count(Counter::DiscardCommandMalformed);
            return Err((0, Cause::Internal));
        }
        let listener = match wish.listener {
            Originate::ANY_LISTENER => self.listener_for(wish.targets.first()),
            listener => listener,
        };
        let index = self.admit(io.now, Direction::Outbound, listener)?;
        if self.fill_outgoing(index, wish, listener).is_some() {
            self.guarded(io, index, |shard, io| shard.dial(io, index));
        } else {
            self.register(index, wish.call, wish.account);
            self.finish(io, index, Cause::Internal, Party::Switch);
        }
        Ok(())
    }

    fn fill_outgoing(&mut self, index: u32, wish: &Originate<'_>, listener: u8) -> Option<()> {
        let mut call_id = [0; 32];
        crate::leg::call_id_text(wish.call, &mut call_id);
        let leg = self.legs.get_mut(index)?;
        leg.parent = wish.parent;
        leg.listener = listener;
        leg.dialed_for = wish.peer;
        leg.targets = wish.targets.clone();
        leg.remote = wish.targets.first().copied()?;
        leg.ring_ms = wish.ring_ms;
        leg.limit_ms = wish.limit_ms;
        leg.pass_progress = wish.pass_progress;
        leg.bridge = wish.bridge;
        leg.to_text = self.arena.store(wish.uri.as_bytes())?;
        leg.from_text = self.arena.store(wish.from.as_bytes())?;
        leg.from_name = self.arena.store(wish.from_name.as_bytes())?;
        leg.headers = self.arena.store(wish.headers.as_bytes())?;
        leg.call_id = self.arena.store(&call_id)?;
        // The ring is another process's memory: what is written into a message is checked here.
        let is_uri = |text: &str| sip::Uri::parse(text.as_bytes()).is_ok();
        if !(passes(wish.headers) && is_uri(wish.uri) && is_uri(wish.from)) {
            return None;
        }
        self.register(index, wish.call, wish.account);
        self.record(index);
        Some(())
    }

    /// Gets the offer: the other leg's, or our own.
    fn dial(&mut self, io: &mut Io<'_>, index: u32) {
        let Some(leg) = self.legs.get(index) else { return };
        let (id, peer) = (leg.id, leg.dialed_for);
        if peer != LegId::NONE {
            // Its answer may be lost with its shard's ring: the ring timer runs from here.
            let ring = Duration::from_millis(u64::from(leg.ring_ms.max(1_000)));
            if let Some(leg) = self.legs.get_mut(index) {
                leg.deadlines.set(Timer::Ring, io.now.mono + ring);
                let deadline = leg.deadline();
                self.touch(index, io.now, deadline);
            }
            return self.say(id, peer, &Say::Want);
        }
        self.invite_with_own_offer(io, index);
    }

    fn invite_with_own_offer(&mut self, io: &mut Io<'_>, index: u32) {
        let mut out = [0; crate::leg::TEXT_BYTES];
        match self.own_description(index, b"", &CODECS, &mut out) {
            Some(len) => self.invite(io, index, &out[..len]),
            None => self.finish(io, index, Cause::Internal, Party::Switch),
        }
    }

    fn listener_for(&self, target: Option<&SocketAddr>) -> u8 {
        let fits = |address: SocketAddr| {
            target.is_none_or(|target| {
                target.is_ipv4() == address.is_ipv4()
                    && (target.ip().is_loopback() == address.ip().is_loopback()
                        || address.ip().is_unspecified())
            })
        };
        let same_family =
            |address: SocketAddr| target.is_none_or(|target| target.is_ipv4() == address.is_ipv4());
        let listeners = || (0_u8..).zip(&self.plan.listeners);
        let exact = listeners().find(|(_, listener)| fits(listener.advertised));
        let some = || listeners().find(|(_, listener)| same_family(listener.advertised));
        exact.or_else(some).map_or(0, |(index, _)| index)
    }

    /// The static route of a call: the first whose domain, prefix and source fit. Over its limits:
    /// refused.
    pub(crate) fn route_for(
        &mut self,
        message: &Message<'_>,
        source: SocketAddr,
        now: Now,
    ) -> Result<Option<u16>, (u16, Cause)> {
        if self.table.routes.is_empty() {
            return Ok(None);
        }
        let uri = message.uri().map_err(|_| (400, Cause::Protocol))?;
        let user = uri.user;
        let host = host_text(message.uri_raw());
        let found = self.table.routes.iter().position(|route| {
            let domain =
                route.domain.is_empty() || host.eq_ignore_ascii_case(route.domain.as_bytes());
            let from = || route.sources.iter().any(|network| network.contains(source.ip()));
            domain && user.starts_with(route.prefix.as_bytes()) && from()
        });
        let Some(at) = found else { return Ok(None) };
        let route = &self.table.routes[at];
        let full = route.calls_max > 0 && self.route_calls[at] >= route.calls_max;
        let burst = route.rate_max.max(1);
        if full || !self.route_rates[at].take(route.rate_max, burst, now.mono) {
            self.counters.count(Counter::RefusedOverload);
            return Err((503, Cause::Overload));
        }
        Ok(u16::try_from(at).ok())
    }

    /// Dials the target of a static route for an incoming leg, without asking anybody.
    pub(crate) fn follow_route(&mut self, io: &mut Io<'_>, index: u32, route: u16) {
        let Some(route) = self.table.routes.get(usize::from(route)) else { return };
        let Some(leg) = self.legs.get_mut(index) else { return };
        leg.account = route.account;
        let mut uri = [0; 512];
        let Some(len) = route_uri(route, self.arena.get(&leg.to_text), &mut uri) else {
            let answer = Answer::new(404, b"");
            return self.refuse(io, index, &answer, (Cause::NoRoute, Party::Switch));
        };
        let call = CallId(self.random.u128());
        let from = Text::of(self.arena.get(&leg.from_text));
        let originate = Originate {
            call,
            account: route.account,
            parent: leg.call,
            peer: leg.id,
            listener: leg.listener,
            targets: route.targets.iter().take(4).copied().collect(),
            uri: crate::tell::text(&uri[..len]),
            from: crate::tell::text(&from),
            from_name: "",
            headers: "",
            ring_ms: u32::from(route.ring_s) * 1_000,
            limit_ms: 0,
            pass_progress: true,
            bridge: true,
        };
        if let Some(cell) = self.region.cell(index).map(wire::cell::CellWriter::new) {
            cell.set_account(route.account);
        }
        let family = |target: &SocketAddr, local: SocketAddr| target.is_ipv4() == local.is_ipv4();
        let local = self.plan.listeners.get(usize::from(originate.listener));
        let fits = local.is_some_and(|local| {
            originate.targets.first().is_some_and(|target| family(target, local.advertised))
        });
        let listener = if fits { originate.listener } else { Originate::ANY_LISTENER };
        self.record(index);
        if let Err((code, cause)) = self.originate(io, &Originate { listener, ..originate }) {
            self.refuse(io, index, &Answer::new(code, b""), (cause, Party::Switch));
        }
    }

    /// Another leg says something to this one.
    pub(crate) fn hear(&mut self, io: &mut Io<'_>, index: u32, from: LegId, say: &Say<'_>) {
        let over = self.legs.get(index).is_none_or(Leg::is_over);
        if over {
            let Some(to) = self.legs.get(index).map(|leg| leg.id) else { return };
            return self.hear_nobody(to, from, say);
        }
        match say {
            Say::Want => self.hear_want(index, from),
            Say::Offer { sdp, allow, max_forwards, .. } => {
                self.hear_offer(io, index, from, (sdp, *allow, *max_forwards));
            }
            Say::Progress { code, sdp, formats } => {
                self.hear_progress(io, index, from, *code, sdp, formats);
            }
            Say::Answer { call, sdp, formats } => {
                self.hear_answer(io, index, from, (*call, sdp, formats));
            }
            Say::Joined { formats, .. } => self.hear_joined(io.now, index, from, formats),
            Say::Refused { cause } => self.hang_up(io, index, *cause, Party::Peer),
            Say::Join { call, formats } => self.hear_join(io.now, index, from, *call, formats),
            Say::Part => self.hear_part(io.now, index, from),
            Say::Over { code, cause } => self.hear_over(io, index, from, *code, *cause),
        }
    }

    /// A leg that is no more was spoken to: who waits for an answer gets one.
    pub(crate) fn hear_nobody(&mut self, to: LegId, from: LegId, say: &Say<'_>) {
        if matches!(say, Say::Want | Say::Answer { .. } | Say::Join { .. }) {
            self.say(to, from, &Say::Over { code: 487, cause: Cause::Canceled });
        }
    }

    fn hear_want(&mut self, index: u32, from: LegId) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        if leg.children.try_push(from).is_err() {
            let id = leg.id;
            return self.say(id, from, &Say::Refused { cause: Cause::Overload });
        }
        let (id, call, max_forwards) = (leg.id, leg.call, leg.max_forwards);
        let sdp = Text::of(self.arena.get(&leg.remote_sdp));
        let stream = &self.streams[index as usize];
        let allow = if stream.on { stream.plan.receive_set() } else { PtSet::ALL };
        let max_forwards = max_forwards.saturating_sub(1);
        self.say(id, from, &Say::Offer { call, sdp: &sdp, allow: allow.0, max_forwards });
    }

    fn hear_offer(
        &mut self,
        io: &mut Io<'_>,
        index: u32,
        from: LegId,
        (sdp, allow, max_forwards): (&[u8], u128, u8),
    ) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        if leg.state != State::Wanting || leg.dialed_for != from {
            return;
        }
        if max_forwards == 0 {
            leg.code = 483;
            return self.finish(io, index, Cause::Protocol, Party::Switch);
        }
        leg.max_forwards = max_forwards;
        if sdp.is_empty() {
            return self.invite_with_own_offer(io, index);
        }
        let mut out = [0; crate::leg::TEXT_BYTES];
        let local = self.local(index, 1);
        let written = sdp::Session::parse(sdp)
            .and_then(|theirs| sdp::relay_offer(&theirs, &local, PtSet(allow), &mut out));
        match written {
            Ok(len) => self.invite(io, index, &out[..len]),
            Err(_) => self.finish(io, index, Cause::NoCodec, Party::Switch),
        }
    }

    /// The dialled leg rings, or has early media for us.
    fn hear_progress(
        &mut self,
        io: &mut Io<'_>,
        index: u32,
        from: LegId,
        code: u16,
        sdp: &[u8],
        formats: &Formats,
    ) {
        let Some(leg) = self.legs.get(index).filter(|leg| leg.is_waiting()) else { return };
        let (id, call) = (leg.id, leg.call);
        let settled = !leg.local_sdp.is_empty();
        if sdp.is_empty() || settled {
            return self.progress(io, index, code, b"");
        }
        let mut out = [0; crate::leg::TEXT_BYTES];
        match self.relayed_answer(index, sdp, &mut out) {
            Some(len) if self.plan_incoming(io.now, index, &out[..len]) => {
                if let Some(leg) = self.legs.get_mut(index) {
                    leg.local_sdp = self.arena.store(&out[..len]).unwrap_or_default();
                }
                self.progress(io, index, 183, &out[..len]);
                self.connect(io.now.mono, index, from, formats);
                let formats = self.formats(index);
                self.say(id, from, &Say::Joined { call, formats });
            }
            _ => self.progress(io, index, code, b""),
        }
    }

    /// Our answer to this leg's far end, out of what the dialled leg's far end answered.
    fn relayed_answer(&self, index: u32, sdp: &[u8], out: &mut [u8]) -> Option<usize> {
        let leg = self.legs.get(index)?;
        let offer = self.arena.get(&leg.remote_sdp);
        let local = self.local(index, leg.sdp_version);
        let answer = sdp::Session::parse(sdp).ok()?;
        if offer.is_empty() {
            // A late offer: what the dialled side took is what we offer now.
            return sdp::relay_offer(&answer, &local, PtSet::ALL, out).ok();
        }
        let offer = sdp::Session::parse(offer).ok()?;
        sdp::relay_answer(&offer, &answer, &local, out).ok()
    }

    /// The dialled leg was answered: this one is answered too, if it is not yet, and the two are
    /// joined.
    fn hear_answer(
        &mut self,
        io: &mut Io<'_>,
        index: u32,
        from: LegId,
        (call, sdp, formats): (CallId, &[u8], &Formats),
    ) {
        let Some(leg) = self.legs.get(index) else { return };
        let (id, own_call, waiting) = (leg.id, leg.call, leg.is_waiting());
        if leg.partner != LegId::NONE && leg.partner != from {
            return self.say(id, from, &Say::Refused { cause: Cause::OtherAnswered });
        }
        if waiting {
            let mut out = [0; crate::leg::TEXT_BYTES];
            let len = if leg.local_sdp.is_empty() {
                self.relayed_answer(index, sdp, &mut out)
            } else {
                let early = self.arena.get(&leg.local_sdp);
                out[..early.len()].copy_from_slice(early);
                Some(early.len())
            };
            let planned = len.is_some_and(|len| {
                self.streams[index as usize].on || self.plan_incoming(io.now, index, &out[..len])
            });
            let Some(len) = len.filter(|_| planned) else {
                return self.say(id, from, &Say::Refused { cause: Cause::NoCodec });
            };
            self.answer_incoming(io, index, &out[..len]);
            self.arm_session(io.now, index);
        } else if self.streams[index as usize].on
            && sdp::pt_map(&self.streams[index as usize].plan, &crate::handoff::plan_of(formats))
                .is_empty()
        {
            return self.say(id, from, &Say::Refused { cause: Cause::NoCodec });
        }
        self.make_join(io.now, index, from, formats);
        let formats = self.formats(index);
        self.say(id, from, &Say::Joined { call: own_call, formats });
        self.tell(&Event::Joined { call: own_call, peer: call, at: io.now.wall });
    }

    fn hear_joined(&mut self, now: Now, index: u32, from: LegId, formats: &Formats) {
        let Some(leg) = self.legs.get(index) else { return };
        let expected = leg.dialed_for == from || leg.partner == from;
        if !expected {
            return;
        }
        if leg.is_up() {
            self.make_join(now, index, from, formats);
        } else {
            // Early media.
            self.connect(now.mono, index, from, formats);
        }
    }

    /// Joins an answered leg with another: from now on its media is relayed, and billed.
    fn make_join(&mut self, now: Now, index: u32, other: LegId, formats: &Formats) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        leg.partner = other;
        if leg.joined_at.0 == 0 {
            leg.joined_at = now.wall;
        }
        self.connect(now.mono, index, other, formats);
    }

    /// The controlplane joins this leg with `other`.
    fn join(&mut self, now: Now, index: u32, other: LegId) {
        let Some(leg) = self.legs.get(index).filter(|leg| leg.is_up()) else { return };
        let (id, call, partner) = (leg.id, leg.call, leg.partner);
        if partner != LegId::NONE && partner != other {
            self.part(now, index);
        }
        let formats = self.formats(index);
        self.say(id, other, &Say::Join { call, formats });
    }

    fn hear_join(&mut self, now: Now, index: u32, from: LegId, peer: CallId, formats: &Formats) {
        let Some(leg) = self.legs.get(index).filter(|leg| leg.is_up()) else { return };
        let (id, call, partner) = (leg.id, leg.call, leg.partner);
        if partner != LegId::NONE && partner != from {
            self.part(now, index);
        }
        if let Some(leg) = self.legs.get_mut(index) {
            leg.partner = from;
        }
        self.make_join(now, index, from, formats);
        let formats = self.formats(index);
        // The other side expects us: it is joined by this.
        self.say(id, from, &Say::Answer { call, sdp: b"", formats });
        let _ = peer;
    }

    /// A join is over: what was relayed in it is billed to now, not to the end of the leg.
    fn end_relay(&mut self, now: Now, index: u32) {
        let Some(leg) = self.legs.get_mut(index).filter(|leg| !leg.relays.is_full()) else {
            return;
        };
        let stream = &mut self.streams[index as usize];
        let Some(usage) = crate::meter::relay(leg, stream, now.wall, false) else { return };
        if let Some(cell) = self.region.cell(index).map(wire::cell::CellWriter::new) {
            cell.set_usage(&usage);
        }
        leg.relays.push(usage);
        leg.joined_at = base::Wall(0);
        stream.relayed = 0;
        stream.relayed_bytes = 0;
    }

    /// This leg leaves its join.
    fn part(&mut self, now: Now, index: u32) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        let partner = core::mem::replace(&mut leg.partner, LegId::NONE);
        let (id, call) = (leg.id, leg.call);
        if partner == LegId::NONE {
            return;
        }
        self.say(id, partner, &Say::Part);
        self.end_relay(now, index);
        self.stand_alone(now.mono, index);
        self.tell(&Event::Parted { call, at: now.wall });
    }

    fn hear_part(&mut self, now: Now, index: u32, from: LegId) {
        let Some(leg) = self.legs.get_mut(index).filter(|leg| leg.partner == from) else { return };
        leg.partner = LegId::NONE;
        let call = leg.call;
        self.end_relay(now, index);
        self.stand_alone(now.mono, index);
        self.tell(&Event::Parted { call, at: now.wall });
    }

    /// A leg around this one is over. Dialled for it: so are we. Dialled by us on a static route:
    /// so are we. Else we stand alone, and the controlplane says how it goes on.
    fn hear_over(&mut self, io: &mut Io<'_>, index: u32, from: LegId, code: u16, cause: Cause) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        leg.children.retain(|child| *child != from);
        let joined = leg.partner == from;
        if leg.dialed_for == from {
            // "Canceled" ends a ringing leg, "normal" a standing one.
            let cause = if leg.is_up() { Cause::Normal } else { Cause::Canceled };
            return self.hang_up(io, index, cause, Party::Peer);
        }
        if leg.route.is_some() {
            if leg.is_waiting() {
                let status = if code >= 300 { code } else { crate::leg::status_of(cause) };
                let answer = Answer::new(status, b"");
                return self.refuse(io, index, &answer, (cause, Party::Peer));
            }
            return self.hang_up(io, index, Cause::Normal, Party::Peer);
        }
        if joined {
            leg.partner = LegId::NONE;
        }
        let hears = self.streams[index as usize].hears;
        let fed_by = hears == crate::join::Hears::Far(from)
            || (from.shard() == self.plan.shard && hears == crate::join::Hears::Here(from.index()));
        if joined {
            self.end_relay(io.now, index);
        }
        if joined || fed_by {
            self.stand_alone(io.now.mono, index);
        }
    }
}

fn call_of(command: &Command<'_>) -> CallId {
    match command {
        Command::Accept { call, .. }
        | Command::Progress { call, .. }
        | Command::Answer { call, .. }
        | Command::Reject { call, .. }
        | Command::Hangup { call, .. }
        | Command::Join { call, .. }
        | Command::Part { call }
        | Command::Ringback { call, .. }
        | Command::Limit { call, .. } => *call,
        Command::Originate(originate) => originate.call,
        Command::Release { .. } | Command::Drain { .. } => CallId::NONE,
    }
}

/// Header lines that may go out: extensions and User-to-User (RFC 7433), nothing that means
/// something to a proxy.
fn passes(headers: &str) -> bool {
    headers.lines().filter(|line| !line.is_empty()).all(|line| {
        let name = line.split_once(':').map_or("", |(name, _)| name.trim_ascii());
        let extension = name.len() > 2 && name.as_bytes()[..2].eq_ignore_ascii_case(b"X-");
        extension || name.eq_ignore_ascii_case("User-to-User")
    })
}

/// The Request-URI that a static route makes of the one that came.
fn route_uri(route: &wire::table::StaticRoute, received: &[u8], out: &mut [u8]) -> Option<usize> {
    let uri = sip::Uri::parse(received).ok()?;
    let user = uri.user;
    let rest = user.get(usize::from(route.strip)..)?;
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        let room = out.get_mut(at..at + bytes.len())?;
        room.copy_from_slice(bytes);
        at += bytes.len();
        Some(())
    };
    put(b"sip:")?;
    if !(route.prepend.is_empty() && rest.is_empty()) {
        put(route.prepend.as_bytes())?;
        put(rest)?;
        put(b"@")?;
    }
    if route.host.is_empty() {
        let target = route.targets.first()?;
        let mut text = [0; 64];
        let len = {
            use std::io::Write;
            let mut cursor = std::io::Cursor::new(&mut text[..]);
            write!(cursor, "{target}").ok()?;
            usize::try_from(cursor.position()).ok()?
        };
        put(&text[..len])?;
    } else {
        put(route.host.as_bytes())?;
    }
    Some(at)
}

/// The host of a SIP URI as written, without port.
fn host_text(uri: &[u8]) -> &[u8] {
    let rest = uri.iter().position(|byte| *byte == b':').map_or(uri, |at| &uri[at + 1..]);
    let rest = rest.iter().position(|byte| *byte == b'@').map_or(rest, |at| &rest[at + 1..]);
    let end = if rest.first() == Some(&b'[') {
        rest.iter().position(|byte| *byte == b']').map_or(rest.len(), |at| at + 1)
    } else {
        rest.iter().position(|byte| matches!(byte, b':' | b';' | b'?')).unwrap_or(rest.len())
    };
    &rest[..end]
}
