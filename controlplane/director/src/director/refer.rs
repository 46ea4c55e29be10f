//! Transfers by REFER of calls that applications answer. The dataplane has accepted the referral
//! and joins the legs; here is decided whether that may be, and whom the call goes to: dialled for
//! the leg that is referred, as a target of its own `<Dial>` would be, on its account.
//!
//! Two legs that a referral is tried between are none of their documents' any more: their scripts
//! wait for their ends, and the shards see to it that each ends with whom it talks with. Else the
//! referrer's end, which is what comes of every transfer, would end the document that holds the
//! other leg.

use base::{CallId, LegId, Now, ShardId, Wall};
use model::port::OwnedCommand;
use model::{Binding, Hook, party};
use sip::Scheme;
use wire::event::Cause;

use super::Director;
use super::trunk::Referral;
use crate::forwards::Forwards;
use crate::live::{Ending, Live};
use crate::script::{ChildSpec, Problem, Script, Target, Wait};

/// How long the target of a referral may ring.
const RING_MS: u32 = 60_000;
/// Parameters that an application is asked with.
const HEADERS_MAX: usize = 64;
/// How long the call with it may last.
const LIMIT_MS: u32 = 14_400_000;

/// The leg that a referral has dialled, while no shard tells its end: who referred.
#[derive(Clone, Copy, Debug)]
pub(super) struct Referrer {
    call: CallId,
    shard: ShardId,
    /// Who is referred.
    other: CallId,
    /// The flow of another phone that was asked has failed: the shard may wait for our word.
    awaits_word: bool,
}

impl Referrer {
    pub(super) fn call(&self) -> CallId {
        self.call
    }
}

impl Director {
    /// Who waits for what becomes of the legs that referrals have dialled, as their logs have it.
    pub(super) fn remember_referrers(&mut self) {
        let all = self.calls.all().filter(|live| !live.is_over());
        let referred = all.filter_map(|live| {
            let call = live.outgoing.as_ref()?.referrer?;
            let shard = self.calls.get(&call).map_or(live.shard, |referrer| referrer.shard);
            let other = live.row.parent?;
            Some((live.call(), Referrer { call, shard, other, awaits_word: false }))
        });
        self.referrers = referred.collect();
    }

    /// The far end of `call` refers that of `peer` to `to`; to nobody if the shards join the legs.
    pub(super) fn on_refer(
        &mut self,
        now: Now,
        (shard, call, peer): (ShardId, CallId, LegId),
        (at, to, by): (Wall, &str, &str),
        headers: &str,
    ) {
        let other = self.calls.of_leg(peer).map(Live::call);
        let Some(other) = other.filter(|_| self.calls.contains(&call)) else {
            if !to.is_empty() {
                self.command(shard, OwnedCommand::Referred { call, code: 603, binds: true });
            }
            return;
        };
        let referrer = Referrer { call, shard, other, awaits_word: false };
        if !to.is_empty() && self.calls.get(&call).is_some_and(|live| live.ending.is_some()) {
            return;
        }
        if !to.is_empty()
            && let Some(hook) = self.refer_hook(call, other)
        {
            return self.ask_for_referred(now, referrer, hook, (to, headers));
        }
        if !to.is_empty()
            && let Err(code) = self.may_refer(now, call, (to, by))
        {
            // Nothing comes of it: the documents go on, unless an earlier one has ended them.
            let binds = [call, other].into_iter().any(|it| self.is_released(it));
            if self.calls.get(&call).is_some_and(|live| !live.is_over()) {
                return self.command(shard, OwnedCommand::Referred { call, code, binds });
            }
            return self.refer_failed(now, referrer, code);
        }
        self.let_go(at, (call, other));
        if to.is_empty() {
            return;
        }
        // Told again to a successor, it is the same leg.
        let target = CallId::begun(at, call.0 ^ u128::from(at.0));
        let is_over = self.replay.as_ref().is_some_and(|it| it.bygone.contains_key(&target));
        if is_over || self.calls.contains(&target) {
            return;
        }
        match self.target_of(to) {
            Some(whom) => self.dial_referred(now, referrer, (target, whom), headers),
            None => self.refer_failed(now, referrer, 404),
        }
    }

    /// The address that the document of the two names for what is to become of a referral.
    fn refer_hook(&self, call: CallId, other: CallId) -> Option<Hook> {
        [call, other].into_iter().find_map(|it| {
            let script = self.calls.get(&it)?.script.as_ref()?;
            let Wait::Verb(state) = &script.wait else { return None };
            state.refer_hook(script.program.verbs.get(script.at), &script.base)
        })
    }

    /// The application says how it goes on with whoever is left; the referrer is told that it does,
    /// and ended.
    fn ask_for_referred(
        &mut self,
        now: Now,
        referrer: Referrer,
        hook: Hook,
        (to, headers): (&str, &str),
    ) {
        let Referrer { call, shard, other, .. } = referrer;
        let own = headers.lines().filter(|line| !is_of_referral(line));
        let lines = own.filter_map(|line| line.split_once(':'));
        let header = |(name, value): (&str, &str)| {
            (format!("SipHeader_{}", name.trim()), value.trim().to_owned())
        };
        let target = ("ReferTransferTarget".to_owned(), to.to_owned());
        let params = core::iter::once(target).chain(lines.map(header)).take(HEADERS_MAX).collect();
        self.release(call);
        if let Some(mut live) = self.calls.get_mut(&call) {
            // Its shard ends it once it knows; told again to a successor, it is the same referral.
            live.ending = Some(Ending::Hangup(Cause::Normal));
            live.touch();
        }
        let Some(mut live) = self.calls.get_mut(&other) else { return };
        live.script.get_or_insert_with(Script::default).wait = Wait::Ready;
        live.volatile.wake = None;
        let own = live.shard;
        live.touch();
        self.command(own, OwnedCommand::Part { call: other });
        self.command(shard, OwnedCommand::Referred { call, code: 200, binds: false });
        self.start_fetch(now, other, hook, params, None);
    }

    /// Whether the far end of `call` may have somebody else called on this account.
    fn may_refer(&mut self, now: Now, call: CallId, (to, by): (&str, &str)) -> Result<(), u16> {
        let target = self.target_of(to).ok_or(404_u16)?;
        let of_trunk = self.calls.get(&call).and_then(|live| self.referral(live));
        if let Some(referral) = of_trunk {
            return self.may_refer_by(now, call, (referral, target), (to, by));
        }
        let right = self.calls.get(&call).map_or(Right::None, right_of);
        let why = match (right, target) {
            (Right::All, _) | (Right::Uris, Target::Sip(_)) => return Ok(()),
            (Right::Uris, Target::Number(_)) => "who was dialled by a URI may not refer to numbers",
            (Right::None, _) => "a carrier may not refer calls",
        };
        let message = format!("{by} wanted the call to go on to {to}: {why}");
        let problem = Problem { code: 13_802, reason: "refer-refused", message };
        self.problem(now, call, problem, true);
        Err(603)
    }

    /// The same of a call of a trunk's: what the trunk says.
    fn may_refer_by(
        &mut self,
        now: Now,
        call: CallId,
        (referral, target): (Referral, Target),
        (to, by): (&str, &str),
    ) -> Result<(), u16> {
        let why = match (referral, target) {
            (Referral::All, _) | (Referral::Uris, Target::Sip(_)) => return Ok(()),
            (Referral::Uris, Target::Number(_)) => "the trunk has transfers to SIP URIs alone",
            (Referral::Off, _) => "the trunk's TransferMode is disable-all",
            (Referral::Never, _) => "a carrier may not refer calls",
        };
        let message = format!("{by} wanted the call to go on to {to}: {why}");
        self.problem(now, call, referral.problem(message), true);
        Err(603)
    }

    fn dial_referred(
        &mut self,
        now: Now,
        referrer: Referrer,
        (call, target): (CallId, Target),
        headers: &str,
    ) {
        let Some(live) = self.calls.get(&referrer.other) else { return };
        let (own, account) = (live.row.from.clone(), live.row.account);
        // Whom the target talks with: the leg's far end, if it may be shown.
        let far = if live.outgoing.is_some() { live.row.to.clone() } else { own.clone() };
        let far = self.transferor(referrer.call).unwrap_or(far);
        let caller = if self.may_show(account, &far) { far } else { own };
        // A carrier hears whose place it is to give, and nothing of who says so.
        let is_number = matches!(target, Target::Number(_));
        let says = |line: &&str| is_of_referral(line) && !(is_number && is_referred_by(line));
        let referred = headers.lines().filter(says).flat_map(|line| [line, "\r\n"]).collect();
        let spec = ChildSpec {
            call,
            target,
            caller,
            ring_ms: RING_MS,
            limit_ms: LIMIT_MS,
            pass_progress: false,
            login: None,
            status: None,
            is_trunk: true,
            forwards: Forwards::default(),
            referred,
        };
        self.referrers.insert(call, referrer);
        self.spawn(now, referrer.other, spec);
    }

    /// Legs to these contacts beside the one that the referral has: the shards take the first that
    /// answers, and leave the others.
    pub(super) fn announce_referred(
        &mut self,
        now: Now,
        referrer: Referrer,
        (spec, to): (&ChildSpec, Vec<Binding>),
    ) -> Vec<(ChildSpec, Binding)> {
        let fork = |contact| {
            let call = CallId::begun(now.wall, self.rng.wide());
            self.referrers.insert(call, referrer);
            (ChildSpec { call, ..spec.clone() }, contact)
        };
        to.into_iter().map(fork).collect()
    }

    /// A leg that was dialled for a referral has come to nothing, and no shard knows of it.
    pub(super) fn referred_without_leg(&mut self, now: Now, call: CallId, code: u16) {
        if let Some(referrer) = self.referrers.remove(&call) {
            // Another phone of the same user rings still.
            if self.referrers.values().any(|it| it.call == referrer.call) {
                return;
            }
            self.refer_failed(now, referrer, if code < 300 { 480 } else { code });
        }
    }

    /// A leg that was dialled for a referral has ended. If by a flow that has failed, another one
    /// of its phone's is tried under the same referral; without any, the shards wait to hear so
    /// when the last of its legs is over, whichever of them that is.
    pub(super) fn referred_leg_over(&mut self, now: Now, call: CallId, referrer: Referrer) {
        let Some(live) = self.calls.get(&call).filter(|live| !live.is_answered()) else { return };
        let (code, is_lost) = (live.row.sip_code, super::tiers::is_flow_lost(&live.row));
        let next = self.flow_after(call).and_then(|(spec, flow)| Some((spec, flow?)));
        let Some((spec, flow)) = next else {
            let awaits = is_lost || referrer.awaits_word;
            let others = self.referrers.values_mut().filter(|it| it.call == referrer.call);
            let others = others.map(|it| it.awaits_word |= awaits).count();
            if awaits && others == 0 {
                let code = if code < 300 { 480 } else { wire::status::passed_on(code) };
                self.refer_failed(now, referrer, code);
            }
            return;
        };
        let spec = ChildSpec { call: CallId::begun(now.wall, self.rng.wide()), ..spec };
        let next = spec.call;
        self.referrers.insert(next, referrer);
        self.spawn_contact(now, referrer.other, spec, Some(&flow));
        if !self.calls.contains(&next) {
            // The account has no room for it.
            self.referred_without_leg(now, next, 503);
        }
    }

    /// The referrer is told, and the call stands as it was; if there is nobody but who was
    /// referred, it ends.
    fn refer_failed(&mut self, now: Now, referrer: Referrer, code: u16) {
        let Referrer { call, shard, other, .. } = referrer;
        if self.calls.get(&call).is_some_and(|live| !live.is_over()) {
            return self.command(shard, OwnedCommand::Referred { call, code, binds: true });
        }
        let shard = self.calls.get(&other).filter(|live| !live.is_over()).map(|live| live.shard);
        if let Some(shard) = shard {
            self.command(shard, OwnedCommand::Hangup { call: other, cause: Cause::Normal });
            self.watch_orphan(now, other);
        }
    }

    fn is_released(&self, call: CallId) -> bool {
        let script = self.calls.get(&call).and_then(|live| live.script.as_ref());
        script.is_some_and(|script| matches!(script.wait, Wait::Over))
    }

    /// The two are none of their documents' any more, as `call` has told at that moment. Told again
    /// to a successor it is done: they may have other documents since.
    fn let_go(&mut self, at: Wall, (call, other): (CallId, CallId)) {
        let Some(mut live) = self.calls.get_mut(&call).filter(|live| live.once.referred < at)
        else {
            return;
        };
        live.once.referred = at;
        live.touch();
        for call in [call, other] {
            self.release(call);
        }
    }

    /// The call is none of its document's any more.
    fn release(&mut self, call: CallId) {
        let Some(mut live) = self.calls.get_mut(&call) else { return };
        if let Some(script) = live.script.as_mut() {
            script.wait = Wait::Over;
            live.volatile.wake = None;
            live.touch();
        }
    }

    /// Whom a Refer-To means: a number where it names one of our hosts, else the URI's own.
    pub(super) fn target_of(&self, to: &str) -> Option<Target> {
        let uri = sip::Uri::parse(to.as_bytes()).ok()?;
        let number = sip::Number::from_uri(&uri).map(|number| number.to_string());
        let here = self.settings.is_here(&party::host(&uri), uri.port);
        let is_ours = uri.scheme == Scheme::Tel || here;
        match number.filter(|_| is_ours) {
            Some(number) => Some(Target::Number(number)),
            None if is_ours => None,
            None => Some(Target::Sip(to.to_owned())),
        }
    }
}

/// What a referral says to whoever is called for it (RFC 3892, RFC 3891), and to nobody else.
/// What a leg says of the referral that it was dialled for.
pub(super) fn lines_of_referral(headers: &str) -> String {
    let lines = headers.lines().filter(|line| is_of_referral(line));
    lines.flat_map(|line| [line, "\r\n"]).collect()
}

fn is_of_referral(line: &str) -> bool {
    is_referred_by(line) || line.starts_with("Replaces: ")
}

fn is_referred_by(line: &str) -> bool {
    line.starts_with("Referred-By: ")
}

/// Whom a far end may refer others to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// Whomever the account may call: a phone of the account's, which called one of its domains or
    /// has registered there.
    All,
    /// Whoever is reached by a URI: it was dialled by one, and is somebody else's. A number would
    /// be a call on the account's bill that its owner has not asked for.
    Uris,
    /// Nobody: a carrier's.
    None,
}

fn right_of(live: &Live) -> Right {
    match &live.outgoing {
        Some(outgoing) if outgoing.contact.is_some() => Right::All,
        Some(outgoing) if outgoing.trusted => Right::None,
        Some(_) => Right::Uris,
        None if live.facts.domain.is_some() => Right::All,
        None => Right::None,
    }
}
