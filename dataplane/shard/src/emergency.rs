//! Emergency calls (RFC 5031). Whatever its route is, one goes on whole. One that follows a route
//! which was made for them is *urgent*, too: no limit, drain or rate of calls keeps it away, while
//! no more than a share of the legs is urgent, and where several may call so no more than half of
//! that are calls of one of them.

use core::net::IpAddr;
use std::collections::BTreeMap;

use base::{HashKey, LegId};
use sip::{Message, Uri};
use wire::table::{StaticRoute, Table};

use crate::Shard;
use crate::cx::Core;
use crate::route::RouteHandle;
use crate::transport::guard::Standing;

/// Of the legs, those that may be of urgent calls beyond what others may have: an eighth.
const URGENT_SHARE: usize = 8;

/// Whose transactions a call's are: an urgent one has the room that trunks have.
pub(crate) fn counted_as(is_urgent: bool, standing: Standing) -> Standing {
    if is_urgent { Standing::Trunk } else { standing }
}

pub(crate) fn is_emergency(message: &Message<'_>) -> bool {
    message.uri().is_ok_and(|uri| uri.is_emergency())
}

/// Whether a route was made for emergency calls.
pub(crate) fn is_for_emergencies(route: &StaticRoute) -> bool {
    Uri::parse(route.prefix.as_bytes()).is_ok_and(|uri| uri.is_emergency())
}

/// Who may call by a route: its account, and from where. 0 is nobody's.
fn callers_of(route: &StaticRoute, key: &HashKey) -> u64 {
    let first = key.hash(&[&route.account.to_le_bytes()]);
    let callers = route.sources.iter().fold(first, |hash, network| {
        let address = match network.address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        key.hash(&[&hash.to_le_bytes(), &address.octets(), &[network.bits]])
    });
    callers.max(1)
}

/// Incoming legs of urgent calls.
#[derive(Debug, Default)]
pub(crate) struct Urgent {
    legs: usize,
    /// By whose they are; nobody's stand at none.
    of: BTreeMap<u64, usize>,
    /// Several may call so.
    is_shared: bool,
}

impl Urgent {
    pub(crate) const fn legs(&self) -> usize {
        self.legs
    }

    /// A call stands from now on; of `callers` 0 it is not urgent.
    pub(crate) fn enter(&mut self, callers: u64) {
        if callers > 0 {
            self.legs += 1;
            *self.of.entry(callers).or_default() += 1;
        }
    }

    pub(crate) fn leave(&mut self, callers: u64) {
        if let Some(count) = self.of.get_mut(&callers) {
            self.legs = self.legs.saturating_sub(1);
            *count -= 1;
            if *count == 0 {
                self.of.remove(&callers);
            }
        }
    }

    fn has_room(&self, callers: u64, most: usize) -> bool {
        let share = if self.is_shared { most.div_ceil(2) } else { most };
        self.legs < most && self.of.get(&callers).copied().unwrap_or(0) < share
    }
}

impl Shard<'_> {
    /// Whether a call by the route at this place passes by the limits of others.
    pub(crate) fn is_urgent(&self, uri: &Uri<'_>, listed: Option<usize>) -> bool {
        let route = listed.map(|at| self.routes.at_place(at)).filter(|it| is_for_emergencies(it));
        uri.is_emergency() && route.is_some_and(|route| self.core.may_be_urgent(route))
    }

    /// Whose an urgent call by this route is.
    pub(crate) fn callers(&self, route: Option<RouteHandle>) -> u64 {
        let route = route.and_then(|route| self.routes.get(route));
        route.map_or(0, |route| callers_of(route, &self.core.plan.keys.table))
    }

    /// A call stands from now on.
    pub(crate) fn count_in(&mut self, route: Option<RouteHandle>, urgent: u64) {
        if let Some(route) = route {
            self.routes.enter(route);
        }
        self.core.urgent.enter(urgent);
    }

    /// Whether a caller's leg is of an urgent call.
    pub(crate) fn is_for_urgent(&mut self, leg: LegId) -> bool {
        let side = self.legs.get_mut(leg).and_then(|leg| leg.inbound());
        side.is_some_and(|side| side.urgent > 0)
    }
}

impl Core<'_> {
    /// Where a route leads to emergency services some legs stay free for them, and whoever sends
    /// too much is heard with some more of them.
    pub(crate) fn reserve_legs(&mut self, table: &Table) {
        const PART: usize = 32;
        let most = (self.plan.limits.legs as usize / PART).clamp(2, 16);
        let mut callers = table.routes.iter().filter(|it| is_for_emergencies(it));
        let first = callers.next();
        let has_one = first.is_some();
        let is_its = |it: &StaticRoute| {
            first.is_some_and(|first| (it.account, &it.sources) == (first.account, &first.sources))
        };
        self.urgent.is_shared = !callers.all(is_its);
        self.emergency_legs = if has_one { most } else { 0 };
        self.guard.hears_emergencies(has_one);
    }

    fn may_be_urgent(&self, route: &StaticRoute) -> bool {
        let most = (self.plan.limits.legs as usize / URGENT_SHARE).max(self.emergency_legs);
        self.urgent.has_room(callers_of(route, &self.plan.keys.table), most)
    }
}
