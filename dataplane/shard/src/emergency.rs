//! Emergency calls (RFC 5031): no limit, flood or drain keeps one away, and it goes on whole.

use sip::Message;
use wire::table::{StaticRoute, Table};

use crate::cx::Core;
use crate::transport::guard::Standing;

/// Whose transactions a call's are: an emergency has the room that trunks have.
pub(crate) fn counted_as(message: &Message<'_>, standing: Standing) -> Standing {
    if is_emergency(message) { Standing::Trunk } else { standing }
}

pub(crate) fn is_emergency(message: &Message<'_>) -> bool {
    message.uri().is_ok_and(|uri| uri.is_emergency())
}

impl Core<'_> {
    /// Where a route leads to emergency services some legs stay free for them.
    pub(crate) fn reserve_legs(&mut self, table: &Table) {
        const PART: usize = 32;
        let is_one = |route: &StaticRoute| {
            sip::Uri::parse(route.prefix.as_bytes()).is_ok_and(|uri| uri.is_emergency())
        };
        let most = (self.plan.limits.legs as usize / PART).clamp(2, 16);
        self.emergency_legs = if table.routes.iter().any(is_one) { most } else { 0 };
    }
}
