//! Offer and answer of one dialog as one value (RFC 3264, RFC 6337): what each side may send and
//! receive after *every* exchange, early dialogs and re-INVITEs included.
//!
//! An answer in a provisional response is taken for the media, but the offer stays open until the
//! final one: its direction and its codecs do not outlive it.

use base::{Arena, LegId, Stored};
use core::net::{IpAddr, SocketAddr};
use sdp::{Direction, MediaTarget, Plan, PtSet, SdpError, Session, Supported};
use wire::counter::Counter;
use wire::event::Cause;

use super::agree::{Codecs, is_carried, is_known};
use super::choose::{BOTH_LAWS, first_audio, is_stopped, listed, own_audio, speaks_law};
use super::exchange::{Exchange, Phase, next};
use super::{Leg, LegMut, Side};
use crate::cx::Core;
use crate::handoff::{DigitPath, Formats, LegFormat, View};
use crate::transport::policy::may_send_to;

/// What we speak ourselves, in order of preference.
const CODECS: [Supported<'static>; 3] =
    [Supported::PCMU, Supported::PCMA, Supported::TELEPHONE_EVENT];

/// The descriptions of a dialog.
#[derive(Debug, Default)]
pub(crate) struct OfferAnswer {
    /// Ours in force, or given as an early answer.
    ours: Option<Stored>,
    /// Our offer that waits for its answer.
    pending: Option<Stored>,
    /// The far end's last one.
    theirs: Option<Stored>,
    /// The formats that it lists: encoded `Formats`, so that a view needs no parsing.
    listed: Stored,
    /// Of our last description's o= line.
    version: u32,
    phase: Phase,
    /// What the far end wants to do itself, as it last said.
    pub(crate) wish: Direction,
    /// The same before it asked for an offer, until it answers that.
    wish_before: Option<Direction>,
    /// The direction that our last description said.
    told: Direction,
    /// The one that is in force while an offer of ours is open, and again if it is refused.
    told_before: Direction,
    /// The far end stopped its stream (`m=audio 0`): until it offers one we offer nothing.
    stopped: bool,
    /// The offer of ours that is open, or was the last, is about codecs; else about the direction.
    narrows: bool,
    /// It refused an offer of other codecs.
    pub(crate) fixed: bool,
    /// It refused an offer of another direction.
    unmoved: bool,
    /// Offers of ours since the far end or the other leg last changed something.
    pub(crate) attempts: u8,
    /// What an early answer agreed to was changed before the final one.
    updated: bool,
}

/// Why a description is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadOffer {
    pub(crate) code: u16,
    pub(crate) cause: Cause,
    /// For people: the Warning's text.
    pub(crate) why: &'static str,
}

impl BadOffer {
    const FULL: Self = Self { code: 500, cause: Cause::Internal, why: "no room" };
    const FORBIDDEN: Self =
        Self { code: 403, cause: Cause::Forbidden, why: "media address not allowed" };
    const OURS: Self =
        Self { code: 488, cause: Cause::Forbidden, why: "media address is this switch's own" };
    pub(crate) const NO_CODEC: Self =
        Self { code: 488, cause: Cause::NoCodec, why: "no common codec" };
}

impl From<SdpError> for BadOffer {
    fn from(error: SdpError) -> Self {
        let (code, cause) = match error.blame() {
            sdp::Blame::Malformed => (400, Cause::Protocol),
            sdp::Blame::Unsupported => (488, Cause::NoCodec),
            sdp::Blame::Misuse => (500, Cause::Internal),
        };
        Self { code, cause, why: error.reason() }
    }
}

/// Whether media may be described there: nowhere, or where we may send and are not ourselves. Our
/// own media ports may be only where the far end is ourselves, too: a call that comes back to the
/// switch (a spiral, RFC 3261 section 16.3 step 4), whose legs are no partners of each other.
/// `ours` is our media address towards the far end that signals from `hop`.
pub(crate) fn judge_target(
    core: &mut Core<'_>,
    target: MediaTarget,
    (hop, ours): (SocketAddr, IpAddr),
) -> Result<(), BadOffer> {
    let Some(described) = target.address() else { return Ok(()) };
    let is_spiral = core.plan.is_own_media(described) && core.plan.is_own_listener(hop);
    if core.plan.is_ours(described) && !is_spiral {
        core.counters.count(Counter::RefusedOwnAddress);
        return Err(BadOffer::OURS);
    }
    if may_send_to(described.ip(), ours) { Ok(()) } else { Err(BadOffer::FORBIDDEN) }
}

/// An offer of the far end with our answer to it: nothing has changed yet.
#[derive(Debug)]
pub(crate) struct Exchanged {
    ours: Stored,
    theirs: Stored,
    listed: Stored,
    plan: Plan,
    wish: Direction,
    stopped: bool,
    fresh: bool,
}

/// A description of the far end as it was read.
#[derive(Clone, Copy, Debug)]
struct Read {
    plan: Plan,
    fresh: bool,
    said: Direction,
    stopped: bool,
}

impl Exchanged {
    /// Our answer, to be sent.
    pub(crate) fn ours(&self) -> &Stored {
        &self.ours
    }
}

impl OfferAnswer {
    pub(crate) fn free(&mut self, arena: &mut Arena) {
        for text in [&mut self.ours, &mut self.pending, &mut self.theirs] {
            if let Some(mut text) = text.take() {
                arena.free(&mut text);
            }
        }
        arena.free(&mut self.listed);
    }

    /// Our description to be sent: the offer that is open, else what is in force.
    pub(crate) fn to_send(&self) -> Option<&Stored> {
        self.pending.as_ref().or(self.ours.as_ref())
    }

    /// What we have described, whether it is in force or not.
    pub(crate) fn is_described(&self) -> bool {
        self.ours.is_some()
    }

    pub(crate) fn theirs(&self) -> Option<&Stored> {
        self.theirs.as_ref()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether an offer of ours is out in a 2xx whose ACK brings the answer.
    pub(crate) fn is_open(&self) -> bool {
        self.pending.is_some()
    }

    /// Lends the open offer's text while a request is written from it.
    pub(crate) fn take_text(&mut self) -> Option<Stored> {
        self.pending.take()
    }

    pub(crate) fn give_text(&mut self, text: Option<Stored>) {
        self.pending = text;
    }

    fn advance(&mut self, event: Exchange) {
        let to = next(self.phase, event);
        assert!(to.is_some(), "{:?} on {event:?}", self.phase);
        self.phase = to.unwrap_or(Phase::Agreed);
        if event == Exchange::TheyAnswer || event == Exchange::TheyRefuse {
            self.wish_before = None;
        }
    }

    fn replace(slot: &mut Option<Stored>, text: Stored, arena: &mut Arena) {
        if let Some(mut old) = slot.replace(text) {
            arena.free(&mut old);
        }
    }

    /// The first offer of the far end.
    pub(crate) fn receive(&mut self, arena: &mut Arena, text: &[u8]) -> Option<()> {
        let session = Session::parse(text).ok()?;
        self.theirs = Some(arena.store(text)?);
        self.listed = listed(arena, &session);
        self.wish = session.audio().map_or(Direction::SendRecv, sdp::Media::direction_in_force);
        self.advance(Exchange::TheyOffer);
        Some(())
    }

    /// Another target is asked: what the one before described is void.
    pub(crate) fn forget_theirs(&mut self, arena: &mut Arena) {
        if let Some(mut text) = self.theirs.take() {
            arena.free(&mut text);
        }
        arena.free(&mut self.listed);
        self.updated = false;
    }

    /// What an early answer agreed to was changed since: descriptions of before are stale.
    pub(crate) fn is_updated(&self) -> bool {
        self.updated
    }

    /// The final response comes to what was agreed last, whatever it describes.
    pub(crate) fn close_updated(&mut self, arena: &mut Arena) {
        if let Some(mut offered) = self.pending.take() {
            arena.free(&mut offered);
        }
        self.updated = false;
        self.advance(Exchange::TheyAnswer);
    }

    /// Whoever asks for an offer is not on hold any more, as far as we know.
    fn asked(&mut self) {
        self.wish_before = Some(self.wish);
        self.wish = Direction::SendRecv;
    }

    /// There is something new to be offered.
    pub(crate) fn anew(&mut self) {
        (self.attempts, self.unmoved) = (0, false);
    }

    /// What it just refused it will not be offered again: other codecs as long as it says nothing
    /// new of itself, another direction until there is another one to be said.
    pub(crate) fn declined(&mut self) {
        match self.narrows {
            true => self.fixed = true,
            false => self.unmoved = true,
        }
    }

    /// Our offer was refused or never answered: what we said in it was never said.
    pub(crate) fn refused(&mut self, arena: &mut Arena) {
        if let Some(mut text) = self.pending.take() {
            arena.free(&mut text);
        }
        if self.phase == Phase::Reoffered {
            self.told = self.told_before;
            self.wish = self.wish_before.unwrap_or(self.wish);
            self.advance(Exchange::TheyRefuse);
        }
    }
}

impl Leg {
    /// A later offer may go out now: nothing is open on this dialog, and there is a stream.
    fn may_offer(&self) -> bool {
        self.has_nothing_open()
            && self.signalling.policy.session_timer
            && !self.offer.stopped
            && !self.deadlines.is_set(super::Timer::Offer)
    }
}

impl LegMut<'_, '_> {
    /// What another leg needs to know of this one's far end.
    pub(crate) fn view(&self) -> View {
        let offer = &self.leg.offer;
        let mut view = View {
            formats: Formats::new(),
            sends: offer.wish.sends(),
            receives: offer.wish.receives(),
            digits: DigitPath::None,
            fixed: offer.fixed || !self.leg.signalling.policy.session_timer,
        };
        let plan = self.plan();
        for format in plan.formats() {
            let _ = view.formats.try_push(LegFormat::new(&format, true));
        }
        let listed: Formats =
            wire::decode(self.cx.core.arena.get(&offer.listed)).unwrap_or_default();
        let known = |format: &LegFormat| plan.formats().any(|known| known.codec == format.codec());
        for format in listed.iter().filter(|format| !known(format)) {
            let _ = view.formats.try_push(*format);
        }
        view.digits = match (plan.telephone_event(), self.leg.signalling.allows_info) {
            (Some(_), _) => DigitPath::Event,
            (None, true) => DigitPath::Info,
            (None, false) => DigitPath::None,
        };
        view
    }

    fn plan(&self) -> Plan {
        let stream = self.media.stream(self.leg.id).filter(|stream| stream.on);
        stream.map_or_else(Plan::default, |stream| stream.plan)
    }

    /// What the other leg last said of its far end; one without formats that wants everything where
    /// there is none.
    pub(crate) fn peer_view(&self) -> View {
        let text = self.cx.core.arena.get(&self.leg.links.view);
        wire::decode(text).unwrap_or_else(|_| View {
            sends: true,
            receives: true,
            ..View::default()
        })
    }

    pub(crate) fn set_peer_view(&mut self, view: Option<&View>) {
        let arena = &mut self.cx.core.arena;
        arena.free(&mut self.leg.links.view);
        let mut bytes = [0; 1_024];
        if let Some(view) = view
            && let Ok(len) = wire::encode(view, &mut bytes)
        {
            self.leg.links.view = arena.store(&bytes[..len]).unwrap_or_default();
        }
    }

    /// Our side of the leg's description.
    fn local(&mut self, version: u32) -> sdp::Local {
        let port = self.media.describe(self.leg.id);
        sdp::Local {
            rtp: SocketAddr::new(self.media_address(), port),
            rtcp: sdp::Rtcp::NextPort,
            session_id: self.leg.id.0 & 0x7fff_ffff_ffff_ffff,
            version: u64::from(version),
        }
    }

    /// Lets `write` write our next description. The version of its o= line is above the last one's
    /// if its text differs (RFC 3264 section 8).
    fn describe(
        &mut self,
        write: impl Fn(&Self, &sdp::Local, &mut [u8]) -> Result<usize, SdpError>,
    ) -> Result<Stored, BadOffer> {
        let mut page = core::mem::take(&mut self.cx.core.page);
        let stored = self.describe_on(&mut page, write);
        self.cx.core.page = page;
        stored
    }

    fn describe_on(
        &mut self,
        page: &mut [u8],
        write: impl Fn(&Self, &sdp::Local, &mut [u8]) -> Result<usize, SdpError>,
    ) -> Result<Stored, BadOffer> {
        let version = self.leg.offer.version.max(1);
        let mut len = {
            let local = self.local(version);
            let len = write(self, &local, page)?;
            self.stripped(page, len)?
        };
        let last = self.leg.offer.to_send().map(|text| self.cx.core.arena.get(text));
        let changed = last.is_some_and(|last| last != &page[..len]);
        let version = if changed { version + 1 } else { version };
        if changed {
            len = {
                let local = self.local(version);
                let len = write(self, &local, page)?;
                self.stripped(page, len)?
            };
        }
        let stored = self.cx.core.arena.store(&page[..len]).ok_or(BadOffer::FULL)?;
        self.leg.offer.version = version;
        Ok(stored)
    }

    /// The policies for its digits and its codecs go before what others would offer or take.
    fn stripped(&self, page: &mut [u8], len: usize) -> Result<usize, SdpError> {
        let by_info = self.leg.signalling.digits == wire::table::Digits::Info;
        let len = if by_info { sdp::strip_events(page, len) } else { len };
        match self.leg.codecs() {
            Some(order) => sdp::order_formats(page, len, order),
            None => Ok(len),
        }
    }

    fn theirs_text(&self) -> &[u8] {
        self.leg.offer.theirs.as_ref().map_or(b"", |text| self.cx.core.arena.get(text))
    }

    /// Keeps a description of ours as an offer that is to be sent.
    fn keep_offer(&mut self, offer: Stored, told: Direction) {
        let state = &mut self.leg.offer;
        OfferAnswer::replace(&mut state.pending, offer, &mut self.cx.core.arena);
        (state.told_before, state.told) = (state.told, told);
        state.narrows = false;
        state.advance(Exchange::WeOffer);
    }

    /// An offer of what we speak ourselves.
    pub(crate) fn offer_own(&mut self) -> Result<(), BadOffer> {
        self.offer_own_in(false)
    }

    /// The same; `again`: in the lines that the far end described before.
    fn offer_own_in(&mut self, again: bool) -> Result<(), BadOffer> {
        let direction = Direction::SendRecv;
        let offer = sdp::Offer { codecs: &CODECS, direction, ptime_ms: 20 };
        let text = self.describe(|leg, local, out| {
            if !again {
                return sdp::write_offer(&offer, local, out);
            }
            let described = Session::parse(leg.theirs_text())?;
            sdp::write_offer_in(&described, &offer, local, out)
        })?;
        self.keep_offer(text, direction);
        Ok(())
    }

    /// An offer from what another far end described: what it speaks now first, then the rest, then
    /// the other law of G.711, and digits if they can be brought to the other far end.
    pub(crate) fn offer_from(&mut self, sdp: &[u8], view: &View) -> Result<(), BadOffer> {
        let in_force = |format: &&LegFormat| format.in_force && format.codec().id.is_audio();
        let first = view.formats.iter().find(in_force).map(LegFormat::codec);
        let received = Session::parse(sdp)?;
        let said = received.audio().map(sdp::Media::direction_in_force)?;
        let said = self.leg.signalling.policy.passed_on(said);
        let laws = BOTH_LAWS.into_iter().filter(|_| speaks_law(&received));
        let digits = (view.digits != DigitPath::None).then_some(Supported::TELEPHONE_EVENT);
        let more: arrayvec::ArrayVec<_, 3> = laws.chain(digits).collect();
        let how = sdp::Reoffer { first, more: &more, direction: Some(said), ..sdp::Reoffer::ALL };
        let text = self.describe(|_, local, out| sdp::relay_offer(&received, local, &how, out))?;
        self.keep_offer(text, said);
        Ok(())
    }

    /// Answers the far end's offer for ourselves: with one codec, so that what is dialled later can
    /// be offered that one first. What we cannot speak ourselves is accepted too: whoever joins
    /// will.
    pub(crate) fn answer_alone(&mut self) -> Result<(), BadOffer> {
        let how = sdp::Answer {
            codecs: &CODECS,
            direction: Direction::SendRecv,
            ptime_ms: 0,
            prefer_ours: false,
            single: true,
        };
        let text = self.describe(|leg, local, out| {
            let offer = Session::parse(leg.theirs_text())?;
            match sdp::answer(&offer, &how, local, out) {
                Err(SdpError::NoCommonCodec) => {
                    let allow = first_audio(&offer)?;
                    sdp::relay_reanswer(&offer, local, (allow, Direction::SendRecv), out)
                }
                written => written,
            }
        })?;
        self.answer_first(text)
    }

    /// Answers the far end's offer with what the dialled far end answered. `early`: in a
    /// provisional response, whose direction must not outlive it.
    pub(crate) fn answer_relayed(
        &mut self,
        sdp: &[u8],
        view: &View,
        early: bool,
    ) -> Result<(), BadOffer> {
        let answered = Session::parse(sdp)?;
        let stays = early || !self.leg.signalling.policy.session_timer;
        let most = stays.then_some(Direction::SendRecv);
        // Events that its far end has not are turned into INFO for it.
        let digits = view.digits == DigitPath::Info;
        let text = self.describe(|leg, local, out| {
            let offer = Session::parse(leg.theirs_text())?;
            match sdp::relay_answer(&offer, &answered, local, (most, digits), out) {
                Err(SdpError::NoCommonCodec) => {
                    let allow = leg.allowed(&offer, |codec| is_carried(codec, view))?;
                    let direction = most.unwrap_or_else(|| view.wish());
                    sdp::relay_reanswer(&offer, local, (allow, direction), out)
                }
                written => written,
            }
        })?;
        self.answer_first(text)
    }

    /// The answer to the first offer is written: the plan follows from both.
    fn answer_first(&mut self, mut ours: Stored) -> Result<(), BadOffer> {
        let arena = &self.cx.core.arena;
        let plan = plan_of(arena.get(&ours), self.theirs_text());
        let plan = plan.and_then(|plan| self.judge(plan));
        let plan = match plan {
            Ok(plan) => plan,
            Err(bad) => {
                self.cx.core.arena.free(&mut ours);
                return Err(bad);
            }
        };
        let state = &mut self.leg.offer;
        OfferAnswer::replace(&mut state.ours, ours, &mut self.cx.core.arena);
        // An answer says what the offer left of it, which is what the plan does.
        state.told = plan.direction;
        state.advance(Exchange::WeAnswer);
        self.set_plan(plan, true);
        Ok(())
    }

    /// The stream follows this plan, and what its listener takes as it last said.
    pub(crate) fn set_plan(&mut self, plan: Plan, fresh: bool) {
        let stream = self.media.stream(self.leg.id);
        let is_heard = stream.is_some_and(|stream| stream.listener() != LegId::NONE);
        let heard_by = is_heard.then(|| self.peer_view().plan());
        self.leg.story.due.set(plan.direction.receives(), self.cx.now.mono);
        self.media.set_plan(&mut self.cx, self.leg.id, plan, heard_by.as_ref(), fresh);
    }

    /// A plan whose addresses may be sent to.
    pub(super) fn judge(&mut self, plan: Plan) -> Result<Plan, BadOffer> {
        let (ours, hop) = (self.media_address(), self.leg.signalling.hop);
        judge_target(self.cx.core, plan.remote_rtp, (hop.to, ours))?;
        let described = plan.remote_rtp.address();
        let is_own = |described| self.cx.core.plan.is_own_media(described);
        self.media.set_spiral(self.leg.id, described.is_some_and(is_own));
        Ok(plan)
    }

    /// Payload types of the far end's offer that may be answered: audio that passes `audio`,
    /// digits, and comfort noise where the other far end takes it.
    fn allowed(
        &self,
        offer: &Session<'_>,
        audio: impl Fn(sdp::Codec) -> bool,
    ) -> Result<PtSet, SdpError> {
        let mut allow = PtSet::NONE;
        let other = self.peer_view();
        let mut any = false;
        for format in &offer.audio()?.formats() {
            let Some(codec) = format.codec() else { continue };
            let takes = || other.formats.iter().any(|f| f.in_force && f.codec() == codec);
            let passes = match codec.id.is_audio() {
                true => audio(codec),
                false => codec.is_telephone_event() || takes(),
            };
            any |= passes && codec.id.is_audio();
            if passes {
                allow.insert(format.pt);
            }
        }
        if any { Ok(allow) } else { Err(SdpError::NoCommonCodec) }
    }

    /// Our answer to a later offer of the far end (re-INVITE, UPDATE), and what would follow from
    /// it. Nothing is changed yet: [`LegMut::adopt`] does that once the answer is on its way.
    pub(crate) fn take_offer(&mut self, sdp: &[u8]) -> Result<Exchanged, BadOffer> {
        let offer = Session::parse(sdp)?;
        if is_stopped(&offer) {
            return self.take_stop(&offer, sdp);
        }
        let other = self.peer_view();
        let alone = other.formats.is_empty();
        let passed_on = self.leg.signalling.policy.passed_on(other.wish());
        let ours = self.describe(|leg, local, out| {
            let allow = match alone {
                true => own_audio(&offer).or_else(|_| first_audio(&offer)),
                false => leg
                    .allowed(&offer, |codec| is_carried(codec, &other))
                    .or_else(|_| leg.allowed(&offer, |codec| is_known(codec, &other))),
            };
            sdp::relay_reanswer(&offer, local, (allow?, passed_on), out)
        })?;
        let plan = plan_of(self.cx.core.arena.get(&ours), sdp).and_then(|plan| self.judge(plan));
        let said = offer.audio().map_or(Direction::SendRecv, sdp::Media::direction_in_force);
        // A refresh repeats what answered the other one's hold (RFC 4028 section 7.4): no new wish.
        let wish = if self.theirs_text() == sdp { self.leg.offer.wish } else { said };
        let fresh = self.is_news(&offer);
        self.exchanged(ours, (&offer, sdp), plan, (wish, false, fresh))
    }

    /// `m=audio 0`: the stream stops, the call stands (RFC 3264 section 8.2).
    fn take_stop(&mut self, offer: &Session<'_>, sdp: &[u8]) -> Result<Exchanged, BadOffer> {
        let ours = self.describe(|_, local, out| sdp::reject(offer, local, out))?;
        let plan = self.plan().stopped();
        self.exchanged(ours, (offer, sdp), Ok(plan), (Direction::Inactive, true, true))
    }

    fn exchanged(
        &mut self,
        mut ours: Stored,
        (offer, sdp): (&Session<'_>, &[u8]),
        plan: Result<Plan, BadOffer>,
        (wish, stopped, fresh): (Direction, bool, bool),
    ) -> Result<Exchanged, BadOffer> {
        let theirs = self.cx.core.arena.store(sdp);
        match (plan, theirs) {
            (Ok(plan), Some(theirs)) => {
                let listed = listed(&mut self.cx.core.arena, offer);
                Ok(Exchanged { ours, theirs, listed, plan, wish, stopped, fresh })
            }
            (plan, theirs) => {
                let arena = &mut self.cx.core.arena;
                arena.free(&mut ours);
                if let Some(mut theirs) = theirs {
                    arena.free(&mut theirs);
                }
                Err(plan.err().unwrap_or(BadOffer::FULL))
            }
        }
    }

    /// Whether the far end describes itself anew, or only repeats itself.
    fn is_news(&self, offer: &Session<'_>) -> bool {
        let known = Session::parse(self.theirs_text());
        known.map_or(true, |known| known.stamp().change(&offer.stamp()) != sdp::Change::Unchanged)
    }

    /// What [`LegMut::take_offer`] found holds from now on.
    pub(crate) fn adopt(&mut self, exchanged: Exchanged) {
        let Exchanged { ours, theirs, listed, plan, wish, stopped, fresh } = exchanged;
        let state = &mut self.leg.offer;
        let arena = &mut self.cx.core.arena;
        OfferAnswer::replace(&mut state.ours, ours, arena);
        OfferAnswer::replace(&mut state.theirs, theirs, arena);
        arena.free(&mut state.listed);
        state.listed = listed;
        state.updated = state.phase == Phase::Offered;
        state.advance(Exchange::TheyOffer);
        (state.wish, state.told, state.stopped) = (wish, plan.direction, stopped);
        state.fixed = false;
        state.anew();
        self.set_plan(plan, fresh);
        self.changed();
    }

    /// Nothing of [`LegMut::take_offer`] holds: the answer could not be sent.
    pub(crate) fn abandon(&mut self, exchanged: Exchanged) {
        let Exchanged { mut ours, mut theirs, mut listed, .. } = exchanged;
        for text in [&mut ours, &mut theirs, &mut listed] {
            self.cx.core.arena.free(text);
        }
    }

    /// The far end's answer to our offer; empty where a final answer relies on an early one.
    /// `last`: in a final response (or the ACK of a late offer), after which the offer is closed.
    pub(crate) fn take_answer(&mut self, sdp: &[u8], last: bool) -> Result<(), BadOffer> {
        if sdp.is_empty() {
            if self.leg.offer.theirs.is_none() {
                return Err(BadOffer::NO_CODEC);
            }
        } else {
            let answer = Session::parse(sdp)?;
            let read = self.read_answer(&answer)?;
            self.keep_answer(&answer, read)?;
        }
        if last {
            let state = &mut self.leg.offer;
            if let Some(pending) = state.pending.take() {
                OfferAnswer::replace(&mut state.ours, pending, &mut self.cx.core.arena);
            }
            state.advance(Exchange::TheyAnswer);
        }
        Ok(())
    }

    fn read_answer(&mut self, answer: &Session<'_>) -> Result<Read, BadOffer> {
        let state = &self.leg.offer;
        let said = answer.audio().map_or(Direction::Inactive, sdp::Media::direction_in_force);
        let stopped = is_stopped(answer);
        if stopped && state.phase == Phase::Reoffered {
            return Ok(Read { plan: self.plan().stopped(), fresh: true, said, stopped });
        }
        let ours = state.to_send().map_or(&b""[..], |text| self.cx.core.arena.get(text));
        let plan = Plan::negotiate(&Session::parse(ours)?, answer)?;
        let plan = self.judge(plan)?;
        Ok(Read { plan, fresh: self.is_news(answer), said, stopped })
    }

    /// The answer holds: the stream follows it.
    fn keep_answer(&mut self, answer: &Session<'_>, read: Read) -> Result<(), BadOffer> {
        let arena = &mut self.cx.core.arena;
        let stored = arena.store(answer.text()).ok_or(BadOffer::FULL)?;
        let state = &mut self.leg.offer;
        arena.free(&mut state.listed);
        state.listed = listed(arena, answer);
        OfferAnswer::replace(&mut state.theirs, stored, arena);
        // It says what the far end wants only where our offer let it choose.
        let (told, wish) = (state.told, state.wish);
        let sends = if told.receives() { read.said.sends() } else { wish.sends() };
        let receives = if told.sends() { read.said.receives() } else { wish.receives() };
        state.wish = Direction::new(sends, receives);
        state.stopped = read.stopped;
        self.set_plan(read.plan, read.fresh);
        Ok(())
    }

    /// What the far end takes or wants is another thing: the partner (or the leg whose early media
    /// it hears) is told, and we see to it that both hear each other.
    pub(crate) fn changed(&mut self) {
        self.tell_view();
        self.align();
    }

    /// The direction that our description must say: what the other far end wants, as far as ours
    /// lets it.
    fn direction_wanted(&self) -> Direction {
        let wish = self.leg.signalling.policy.passed_on(self.peer_view().wish());
        wish.and(self.leg.offer.wish.reversed())
    }

    /// Whether the direction that we said is not the one to be said, and may be. What the far end
    /// itself does not want need not be taken back by us.
    pub(crate) fn direction_differs(&self) -> bool {
        let offer = &self.leg.offer;
        let is_fixed = offer.unmoved || !self.leg.signalling.policy.session_timer;
        !is_fixed && offer.told.and(offer.wish.reversed()) != self.direction_wanted()
    }

    /// Whether an offer of ours may go out now.
    pub(crate) fn may_offer(&self) -> bool {
        self.leg.may_offer()
    }

    /// A later offer of ours: these codecs of what the far end described (all it has in force where
    /// none is named), in the direction that the other far end wants.
    pub(crate) fn reoffer(&mut self, codecs: Option<&Codecs>) -> Result<(), BadOffer> {
        let direction = self.direction_wanted();
        let plan = self.plan();
        let text = self.describe(|leg, local, out| {
            let described = Session::parse(leg.theirs_text())?;
            let allow = leg.allowed(&described, |codec| match codecs {
                Some(codecs) => codecs.contains(&codec),
                None => plan.formats().any(|format| format.codec == codec),
            })?;
            let direction = Some(direction);
            let how = sdp::Reoffer { allow, direction, ..sdp::Reoffer::ALL };
            sdp::relay_offer(&described, local, &how, out)
        })?;
        self.keep_offer(text, direction);
        self.leg.offer.narrows = codecs.is_some();
        self.leg.offer.attempts = self.leg.offer.attempts.saturating_add(1);
        Ok(())
    }

    /// What is in force, offered once more: a refresh (RFC 4028 section 7.4).
    pub(crate) fn offer_unchanged(&mut self) -> Result<(), BadOffer> {
        let Some(ours) = self.leg.offer.ours.as_ref() else { return Err(BadOffer::NO_CODEC) };
        let mut page = core::mem::take(&mut self.cx.core.page);
        let text = self.cx.core.arena.get(ours);
        let len = text.len().min(page.len());
        page[..len].copy_from_slice(&text[..len]);
        let copy = self.cx.core.arena.store(&page[..len]);
        self.cx.core.page = page;
        let told = self.leg.offer.told;
        self.keep_offer(copy.ok_or(BadOffer::FULL)?, told);
        Ok(())
    }

    /// An offer in answer to a re-INVITE without one (RFC 6337 section 5.1: what we want now): all
    /// that the far end described and the other one takes.
    pub(crate) fn offer_again(&mut self) -> Result<(), BadOffer> {
        let known = self.leg.offer.theirs.is_some();
        if !known || self.leg.offer.stopped {
            // There is nothing to offer it anew from.
            self.leg.offer.asked();
            return self.offer_own_in(known);
        }
        let (view, other) = (self.view(), self.peer_view());
        let takes = |format: &LegFormat| {
            let codec = format.codec();
            other.formats.is_empty() || is_carried(codec, &other)
        };
        let audio = view.formats.iter().filter(|format| format.codec().id.is_audio());
        let codecs: Codecs = audio.filter(|f| takes(f)).map(LegFormat::codec).collect();
        self.leg.offer.asked();
        let offered = self.reoffer((!codecs.is_empty()).then_some(&codecs));
        self.leg.offer.anew();
        offered
    }

    /// A late offer: to a far end that described nothing, from what the dialled one answered.
    pub(crate) fn offer_late(&mut self, sdp: &[u8]) -> Result<(), BadOffer> {
        let answered = Session::parse(sdp)?;
        let direction = answered.audio().map(sdp::Media::direction_in_force)?;
        let direction = self.leg.signalling.policy.passed_on(direction);
        let more: &[Supported<'_>] = if speaks_law(&answered) { &BOTH_LAWS } else { &[] };
        let how = sdp::Reoffer { more, direction: Some(direction), ..sdp::Reoffer::ALL };
        let text = self.describe(|_, local, out| sdp::relay_offer(&answered, local, &how, out))?;
        self.keep_offer(text, direction);
        Ok(())
    }

    /// The far end sent no description in its INVITE.
    pub(crate) fn is_offerless(&self) -> bool {
        matches!(self.leg.side, Side::Inbound(_)) && self.leg.offer.theirs.is_none()
    }
}

/// The plan of two descriptions.
pub(super) fn plan_of(ours: &[u8], theirs: &[u8]) -> Result<Plan, BadOffer> {
    let (ours, theirs) = (Session::parse(ours)?, Session::parse(theirs)?);
    Ok(Plan::negotiate(&ours, &theirs)?)
}
