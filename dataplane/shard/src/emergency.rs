//! Emergency calls (RFC 5031). Whatever its route is, one goes on whole. One that follows a route
//! which was made for them is *urgent*, too: no limit, drain or rate of calls keeps it away, while
//! no more than a share of the legs is urgent.

use base::LegId;
use sip::{Message, Uri};
use wire::table::{StaticRoute, Table};

use crate::Shard;
use crate::cx::Core;
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

impl Shard<'_> {
    /// Whether a call by the route at this place passes by the limits of others.
    pub(crate) fn is_urgent(&self, uri: &Uri<'_>, listed: Option<usize>) -> bool {
        let made_for = |at: usize| is_for_emergencies(self.routes.at_place(at));
        uri.is_emergency() && listed.is_some_and(made_for) && self.core.may_be_urgent()
    }

    /// Whether a caller's leg is of an urgent call.
    pub(crate) fn is_for_urgent(&mut self, leg: LegId) -> bool {
        let side = self.legs.get_mut(leg).and_then(|leg| leg.inbound());
        side.is_some_and(|side| side.is_urgent)
    }
}

impl Core<'_> {
    /// Where a route leads to emergency services some legs stay free for them, and whoever sends
    /// too much is heard with some more of them.
    pub(crate) fn reserve_legs(&mut self, table: &Table) {
        const PART: usize = 32;
        let most = (self.plan.limits.legs as usize / PART).clamp(2, 16);
        let has_one = table.routes.iter().any(is_for_emergencies);
        self.emergency_legs = if has_one { most } else { 0 };
        self.guard.hears_emergencies(has_one);
    }

    pub(crate) fn may_be_urgent(&self) -> bool {
        let most = (self.plan.limits.legs as usize / URGENT_SHARE).max(self.emergency_legs);
        self.urgent_legs < most
    }
}
