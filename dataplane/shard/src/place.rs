//! Who may take whose place by Replaces (RFC 3891): what needs more than a leg. How it is taken is
//! `leg::place`'s.

use base::{Frames, LegId, Now};
use sip::message::replaces;
use sip::{Message, Name};
use wire::counter::Counter;
use wire::event::Cause;

use crate::Shard;
use crate::calls::{NewCall, search};
use crate::leg::place::{Claimant, DIALOG_BYTES};
use crate::leg::{Refused, Request};
use crate::route::Search;
use crate::transport::guard::Standing;
use crate::transport::reply::warning;

/// Why an INVITE is refused that wants a place.
pub(crate) type NoPlace = (u16, &'static str);

impl Shard<'_> {
    /// The leg of ours whose place an INVITE outside a dialog wants; [`LegId::NONE`] for one that
    /// wants none. Whether that leg has such a dialog the leg says.
    pub(crate) fn wanted_place(&mut self, message: &Message<'_>) -> Result<LegId, NoPlace> {
        let mut fields = message.headers_named(Name::Replaces);
        let Some(field) = fields.next() else {
            return match message.has(Name::Join) {
                // Nobody here mixes what would be joined (RFC 3911 section 4).
                true => Err((488, "calls cannot be joined here")),
                false => Ok(LegId::NONE),
            };
        };
        if fields.next().is_some() || message.has(Name::Join) || field.len() > DIALOG_BYTES {
            return Err((400, ""));
        }
        let said = replaces(field).ok_or((400, ""))?;
        let key = &self.core.plan.keys.token;
        let (shard, leg) = sip::token::read_tag(said.to_tag, key).ok_or((481, ""))?;
        let leg = LegId(leg);
        let is_here = shard == self.core.plan.shard && self.legs.get_mut(leg).is_some();
        let is_elsewhere = shard != self.core.plan.shard && shard < self.core.plan.shards;
        if is_here || is_elsewhere { Ok(leg) } else { Err((481, "")) }
    }

    /// The route of whoever wants a place and has proven nothing: one of the account whose leg it
    /// is, as far as that leg is here. Who is in nobody's list has no leg made for that.
    pub(crate) fn route_to_place(
        &mut self,
        now: Now,
        uri: &sip::Uri<'_>,
        call: &NewCall<'_>,
    ) -> Result<Option<usize>, Refused> {
        let named = self.legs.get_mut(call.place);
        let (account, by_route) = named.map_or((0, false), |leg| {
            let dialled = leg.outbound().is_some_and(|side| side.by_route);
            (leg.story.account, dialled || leg.route().is_some())
        });
        let account = (account != 0).then_some(account);
        let search = Search { account, ..search(now, uri, call.datagram) };
        let found = self.routes.of_source(&search, &mut self.core);
        let is_listed = matches!(call.datagram.standing, Standing::Trunk | Standing::Known);
        // What a route carries no application knows.
        if found.is_none() && (by_route || !is_listed && !self.routes.is_open()) {
            return Err(Refused::new(481, Cause::NotFound));
        }
        Ok(found)
    }

    /// Refuses an INVITE that wants a place which is not to be had.
    pub(crate) fn refuse_place(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        request: &Request<'_>,
        (code, why): NoPlace,
    ) {
        let Request { datagram, message, .. } = *request;
        self.core.counters.count(Counter::RefusedProtocol);
        let is_stranger = datagram.standing == Standing::Stranger;
        self.cx(now, frames).answer_with(datagram, message, code, |writer| {
            match why.is_empty() || is_stranger {
                true => writer,
                false => warning(writer, 399, why.as_bytes()),
            }
        });
    }

    /// Whether somebody may take a leg's place: its own account's, or from where some route of
    /// that account takes calls. To others it is not there.
    pub(crate) fn may_take_place(&mut self, leg: LegId, claimant: Claimant) -> bool {
        let Some(leg) = self.legs.get_mut(leg) else { return false };
        let account = leg.story.account;
        match claimant {
            Claimant::Account(its) => its == account && its != 0,
            Claimant::Source(source) => self.routes.takes_from(account, source),
        }
    }
}
