//! What a trunk's far ends are offered and asked for beside the media.

use wire::table::{EarlyMedia, ReliableRinging, StaticRoute};

use super::{Leg, Side};

/// See [`StaticRoute`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) reliable: ReliableRinging,
    /// Session timers are spoken, and the session may be changed by us at all.
    pub(crate) session_timer: bool,
    pub(crate) early_media: EarlyMedia,
}

impl Default for Policy {
    fn default() -> Self {
        let (reliable, early_media) = (ReliableRinging::Offer, EarlyMedia::Pass);
        Self { reliable, session_timer: true, early_media }
    }
}

impl Policy {
    pub(crate) fn of(route: &StaticRoute) -> Self {
        let StaticRoute { reliable, session_timer, early_media, .. } = *route;
        Self { reliable, session_timer, early_media }
    }

    /// The value of Supported.
    pub(crate) fn supported(self) -> &'static [u8] {
        match (self.session_timer, self.reliable != ReliableRinging::Off) {
            (true, true) => crate::transport::reply::SUPPORTED,
            (true, false) => b"timer, norefersub, replaces",
            (false, true) => b"100rel, norefersub, replaces",
            (false, false) => b"norefersub, replaces",
        }
    }
}

impl Leg {
    /// What the trunk says that an incoming leg came by.
    pub(crate) fn obey(&mut self, policy: Policy) {
        self.signalling.policy = policy;
        if let Side::Inbound(side) = &mut self.side {
            side.reliable.obey(policy.reliable);
        }
    }
}
