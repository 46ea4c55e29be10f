//! Session timers (RFC 4028), from both ends and in both roles.

use std::time::Duration;

use base::{Mono, Now};
use sip::session::{Agreed, MIN_SE_SECONDS, Refresher, SessionExpires, min_se, session_expires};
use sip::{Message, Method, Name, Writer};

use super::call::{PhoneCall, State};
use super::change::Way;
use crate::Cx;

/// A session timer in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) seconds: u32,
    /// We refresh.
    pub(super) ours: bool,
    refresh_at: Mono,
    expire_at: Mono,
}

impl Timing {
    fn new(now: Now, seconds: u32, ours: bool) -> Self {
        let expires = Agreed { seconds, refresher_is_us: ours };
        let after = |seconds: u32| now.mono + Duration::from_secs(u64::from(seconds));
        let refresh_at = if ours { after(expires.seconds / 2) } else { Mono::NEVER };
        // Who refreshes gives up when the interval is over, the other a little before.
        let last = if ours { seconds } else { expires.expire_after() };
        Self { seconds, ours, refresh_at, expire_at: after(last) }
    }

    pub(super) fn deadline(&self) -> Mono {
        self.refresh_at.min(self.expire_at)
    }
}

/// The session timer's headers of a message of ours.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TimerHeaders {
    pub(super) expires: Option<SessionExpires>,
    min_se: u32,
    require: bool,
}

impl TimerHeaders {
    pub(super) fn write(self, mut writer: Writer<'_>) -> Writer<'_> {
        if let Some(expires) = self.expires {
            writer = expires.write(writer);
        }
        if self.min_se > MIN_SE_SECONDS {
            writer = writer.header(Name::MinSe, &[self.min_se.into()]);
        }
        if self.require {
            writer = writer.field(Name::Require, b"timer");
        }
        writer
    }
}

impl PhoneCall {
    /// For an INVITE or UPDATE of ours: the first asks for what the manner has, later ones keep
    /// their roles (section 7.4).
    pub(super) fn timer_asked(&self) -> TimerHeaders {
        let Some(timer) = self.manner.timer else { return TimerHeaders::default() };
        let least = self.min_se.max(MIN_SE_SECONDS);
        let (seconds, refresher) = match self.timing {
            Some(timing) => {
                let refresher = if timing.ours { Refresher::Uac } else { Refresher::Uas };
                (timing.seconds, Some(refresher))
            }
            None => (timer.seconds, timer.refresher),
        };
        let expires = Some(SessionExpires { seconds: seconds.max(least), refresher });
        TimerHeaders { expires, min_se: least.max(timer.min_se), require: false }
    }

    /// What we answer to an INVITE or UPDATE (section 9), or the Min-SE of our 422.
    pub(super) fn timer_answered(&self, request: &Message<'_>) -> Result<TimerHeaders, u32> {
        let Some(timer) = self.manner.timer else { return Ok(TimerHeaders::default()) };
        let supports =
            request.lists(Name::Supported, b"timer") || request.lists(Name::Require, b"timer");
        let least = timer.min_se.max(MIN_SE_SECONDS);
        let asked = session_expires(request).ok();
        if let Some(asked) = asked.filter(|asked| supports && asked.seconds < least) {
            return Err(least.max(asked.seconds));
        }
        let (seconds, refresher) = match (asked, self.timing) {
            (Some(asked), _) => (asked.seconds, asked.refresher.or(timer.refresher)),
            (None, Some(timing)) => {
                let role = if timing.ours { Refresher::Uas } else { Refresher::Uac };
                (timing.seconds, Some(role))
            }
            (None, None) => (timer.seconds.max(min_se(request)), timer.refresher),
        };
        let refresher = refresher.filter(|_| supports);
        let default = if supports { Refresher::Uac } else { Refresher::Uas };
        let refresher = refresher.unwrap_or(default);
        let expires = Some(SessionExpires { seconds, refresher: Some(refresher) });
        let require = refresher == Refresher::Uac;
        Ok(TimerHeaders { expires, min_se: 0, require })
    }

    /// Our 2xx with these headers has gone.
    pub(super) fn timer_given(&mut self, now: Now, headers: TimerHeaders) {
        self.timing = headers.expires.map(|expires| {
            let ours = expires.refresher == Some(Refresher::Uas);
            Timing::new(now, expires.seconds, ours)
        });
    }

    /// A 2xx to our INVITE or UPDATE came (section 7.2).
    pub(super) fn timer_told(&mut self, now: Now, message: &Message<'_>) {
        let told = session_expires(message).ok();
        if let Some(told) = told {
            self.seen.session_expires = Some(told.seconds);
        }
        // An answer that comes behind our BYE begins nothing.
        if self.manner.timer.is_none() || self.state == State::Over {
            return;
        }
        let Some(told) = told else {
            self.timing = None;
            return;
        };
        if told.refresher.is_none() {
            self.complain("a 2xx with Session-Expires names no refresher (RFC 4028 section 9)");
        }
        let ours = told.refresher != Some(Refresher::Uas);
        self.timing = Some(Timing::new(now, told.seconds, ours));
    }

    /// 422: the interval must be longer. True if one of ours can be.
    pub(super) fn too_brief(&mut self, message: &Message<'_>) -> bool {
        self.seen.too_brief += 1;
        let Ok(least) = message.number(Name::MinSe) else {
            self.complain("a 422 without Min-SE (RFC 4028 section 6)");
            return false;
        };
        let again = self.manner.timer.is_some() && least > self.min_se;
        self.min_se = self.min_se.max(least);
        if let Some(timing) = &mut self.timing {
            timing.seconds = timing.seconds.max(least);
        }
        again
    }

    pub(super) fn timing_tick(&mut self, cx: &mut Cx<'_>) {
        let Some(timing) = &mut self.timing else { return };
        if timing.expire_at <= cx.now.mono {
            self.timing = None;
            self.seen.expired = true;
            return self.hang_up(cx);
        }
        if timing.refresh_at > cx.now.mono {
            return;
        }
        timing.refresh_at = Mono::NEVER;
        self.refresh(cx);
    }

    /// UPDATE where the other side allows it, else a re-INVITE that changes nothing.
    pub(super) fn refresh(&mut self, cx: &mut Cx<'_>) {
        self.seen.refreshes += 1;
        if self.seen.allow.iter().any(|method| method == "UPDATE") {
            return self.refresh_by_update(cx);
        }
        let shape = self.shape.clone();
        self.offer(cx, shape, Way::Invite);
    }

    pub(super) fn refresh_by_update(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.state, State::Up | State::Ringing) {
            return;
        }
        let headers = self.timer_asked();
        let manner = &self.manner;
        self.signal.request(cx, Method::Update, |writer| {
            headers.write(super::call::dress(writer, manner, false))
        });
    }
}
