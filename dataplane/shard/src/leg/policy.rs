//! What a trunk's far ends are offered and asked for beside the media.

use sdp::{CodecId, Direction};
use wire::table::{Digits, EarlyMedia, ReliableRinging, StaticRoute};

use super::{Leg, Side};
use crate::transport::obeyed::Obeyed;

/// See [`StaticRoute`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) reliable: ReliableRinging,
    /// Session timers are spoken, and the session may be changed by us at all.
    pub(crate) session_timer: bool,
    pub(crate) early_media: EarlyMedia,
    /// Parts of a body beside the description go on.
    pub(crate) body_parts: bool,
}

impl Default for Policy {
    fn default() -> Self {
        let (reliable, early_media) = (ReliableRinging::Offer, EarlyMedia::Pass);
        Self { reliable, session_timer: true, early_media, body_parts: false }
    }
}

impl Policy {
    pub(crate) fn of(route: &StaticRoute) -> Self {
        let StaticRoute { reliable, session_timer, early_media, .. } = *route;
        Self { reliable, session_timer, early_media, body_parts: route.policy.body_parts }
    }

    /// What the far end is told of the other one's wish: nothing where no offer of ours may ever
    /// take a hold back. What it sends meanwhile goes no further.
    pub(crate) fn passed_on(self, wish: Direction) -> Direction {
        if self.session_timer { wish } else { Direction::SendRecv }
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
    /// What the trunk says that the leg is dialled by.
    pub(crate) fn dialed_by(&mut self, route: &StaticRoute) {
        let signalling = &mut self.signalling;
        signalling.obeyed = Obeyed::by_route(route.signalling);
        signalling.digits = route.dtmf;
        signalling.policy = Policy::of(route);
        signalling.allows_info = route.dtmf == Digits::Info;
        if let Side::Outbound(side) = &mut self.side {
            side.codecs = route.policy.codecs;
        }
    }

    /// Which codecs the far end may hear of, the preferred one first; None for all.
    pub(crate) fn codecs(&self) -> Option<impl Iterator<Item = CodecId>> {
        let codecs = self.outbound().map(|side| side.codecs)?;
        let of = |name: &'static str| CodecId::of(name.as_bytes());
        (!codecs.is_empty()).then(|| codecs.names().map(of))
    }

    /// What the trunk says that an incoming leg came by.
    pub(crate) fn obey(&mut self, policy: Policy) {
        self.signalling.policy = policy;
        if let Side::Inbound(side) = &mut self.side {
            side.reliable.obey(policy.reliable);
        }
    }
}
