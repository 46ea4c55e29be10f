//! A call that a static route carries: whom it dials, and as whom, without asking anybody.

use base::{CallId, Frames, LegId, Now, Target, Transport};
use sip::Message;
use wire::Originate;
use wire::command::Targets;
use wire::counter::Counter;
use wire::event::{Cause, Party};
use wire::table::StaticRoute;

use crate::Shard;
use crate::calls::listener_of;
use crate::handoff::Handoff;
use crate::leg::identity::{ANONYMOUS, ANONYMOUS_NAME};
use crate::leg::parts::{Passing, judge_parts};
use crate::leg::{Answer, Inbound};
use crate::route::{caller_uri, route_uri};
use crate::usage::text;

/// Whoever is called by `sips:` is not to be called without TLS (RFC 5630 section 5.3).
const SIPS_NOT_ALLOWED: &str = "SIPS Not Allowed: no target of the route is reached by TLS";

impl Shard<'_> {
    /// Dials the target of a static route for an incoming leg; where that cannot be, the next
    /// route's, or the leg is refused.
    pub(crate) fn follow_route(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        id: LegId,
        message: &Message<'_>,
    ) {
        let mut dialled = self.dial_route(now, id, message);
        // Bounded by the routes that one call tries.
        while dialled.is_err() && self.take_other_route(now, id, message) {
            dialled = self.dial_route(now, id, message);
        }
        if let Err((answer, cause)) = dialled {
            self.with_leg(now, frames, id, |leg| leg.refuse(&answer, cause, Party::Switch));
        }
    }

    /// Dials the target of a leg's static route without asking anybody: by a message to self, as
    /// everything that one leg has another do. An error if nobody can be dialled by it.
    pub(crate) fn dial_route(
        &mut self,
        now: Now,
        id: LegId,
        message: &Message<'_>,
    ) -> Result<(), (Answer<'static>, Cause)> {
        let Some(leg) = self.legs.get_mut(id) else { return Ok(()) };
        let Some(&Inbound { route: Some(handle), hides: hidden, is_emergency, .. }) = leg.inbound()
        else {
            return Ok(());
        };
        crate::faults::touch(crate::faults::Site::Route);
        let Some(route) = self.routes.get(handle) else { return Ok(()) };
        judge_parts(message, Passing::of(is_emergency, route.policy.body_parts && !hidden))?;
        let mut uri = [0; 768];
        let Some(uri) = route_uri(route, message.uri_raw(), &mut uri) else {
            return Err((Answer::new(404), Cause::NoRoute));
        };
        let mut name = [0; 256];
        let from = message.from();
        let shown = from.as_ref().ok().filter(|_| !hidden);
        let name = shown.and_then(|from| from.display_value(&mut name)).map(text);
        let from = shown.map_or(ANONYMOUS.as_bytes(), |from| from.uri);
        let mut caller = [0; 768];
        let from = text(caller_uri(route, from, &mut caller).unwrap_or(from));
        let targets = targets_of(route, leg.named(&self.core).secure)?;
        let tls_names = targets.iter().map(|_| route.tls_name.as_str()).collect();
        let originate = Originate {
            call: CallId::begun(now.wall, self.core.random.u128()),
            account: route.account,
            parent: leg.story.call,
            peer: id,
            listener: listener_of(&self.core, (route, leg.signalling.hop.via), &targets),
            targets,
            uri: text(uri),
            to: "",
            route: "",
            flow: None,
            from,
            from_name: if hidden { ANONYMOUS_NAME } else { name.unwrap_or_default() },
            headers: "",
            ring_ms: u32::from(route.ring_s) * 1_000,
            limit_ms: 0,
            pass_progress: true,
            bridge: true,
            tls_names,
            username: "",
            password: wire::command::Secret::default(),
            trunk: "",
            failover: route.policy.failover,
            group: self.routes.group_of(handle),
        };
        let texts = uri.len() + from.len() + originate.from_name.len() + route.tls_name.len() * 4;
        let most = texts + 512;
        let dial = Handoff::Dial(originate);
        let own = usize::from(self.core.plan.shard);
        let queued = self.core.handoffs[own].try_say(&dial, most);
        drop(dial);
        if !queued {
            self.core.counters.count(Counter::DiscardHandoffFull);
            return Err((Answer::new(503), Cause::Overload));
        }
        Ok(())
    }
}

/// Whom a route's call is sent to, in order. Nothing that is to stay on TLS is sent on without
/// (RFC 5630 section 5.3).
fn targets_of(route: &StaticRoute, secure: bool) -> Result<Targets, (Answer<'static>, Cause)> {
    let fits = |target: &&Target| !secure || target.transport == Transport::Tls;
    let targets: Targets = route.targets.iter().filter(fits).take(4).copied().collect();
    if targets.is_empty() {
        let answer = Answer { why: SIPS_NOT_ALLOWED, ..Answer::new(480) };
        return Err((answer, Cause::NoRoute));
    }
    Ok(targets)
}
