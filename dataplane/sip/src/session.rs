//! Session timers (RFC 4028): what is asked, what is agreed, who refreshes and when.
//!
//! ```text
//!  our INVITE      Wanted::write        -> 2xx: as_client   -> Agreed
//!                  (422: Wanted::raised_by, then again)
//!  their INVITE    as_server            -> our 2xx: Agreed::write_response
//!                  (TooSmall: 422 with Min-SE)
//!  refresh         Agreed::write_request in a re-INVITE or UPDATE, each of which agrees anew
//! ```
//!
//! All is stated anew in every refresh, by the same functions: `uac` and `uas` are the roles in
//! that request, not those of the call.

use crate::lex::{Cursor, number_u32};
use crate::message::{Bad, Message};
use crate::name::Name;
use crate::params::Params;
use crate::write::Writer;

/// Smallest session interval in seconds that RFC 4028 section 4 allows.
pub const MIN_SE_SECONDS: u32 = 90;

/// Who sends the refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    Uac,
    Uas,
}

/// A Session-Expires value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    /// Interval in seconds.
    pub seconds: u32,
    /// Who refreshes; must be named in a response.
    pub refresher: Option<Refresher>,
}

/// The session timer that a request of ours asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Interval in seconds, at least `min_se`.
    pub seconds: u32,
    /// Smallest interval in seconds that we would take, at least [`MIN_SE_SECONDS`].
    pub min_se: u32,
}

/// The session timer in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Interval in seconds, at least [`MIN_SE_SECONDS`].
    pub seconds: u32,
    /// We send the refresh; else we wait for it.
    pub refresher_is_us: bool,
}

/// A request asks for an interval below ours: 422 with this Min-SE (section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// What Min-SE must say, in seconds.
    pub min_se: u32,
}

/// Session-Expires of a message.
///
/// # Errors
/// [`Bad`] when missing or broken.
pub fn session_expires(message: &Message<'_>) -> Result<SessionExpires, Bad> {
    let name = Name::SessionExpires;
    let value = message.header(name).ok_or(Bad::Missing(name))?;
    parse(value).ok_or(Bad::Syntax(name))
}

/// Min-SE of a message in seconds; the RFC's minimum when absent or broken.
#[must_use]
pub fn min_se(message: &Message<'_>) -> u32 {
    message.number(Name::MinSe).unwrap_or(MIN_SE_SECONDS).max(MIN_SE_SECONDS)
}

/// The sender speaks session timers: `timer` in Supported or Require.
#[must_use]
pub fn supports_timer(message: &Message<'_>) -> bool {
    message.lists(Name::Supported, b"timer") || message.lists(Name::Require, b"timer")
}

/// What our 2xx to this INVITE or UPDATE says (section 9, table 2). `wanted` is the interval we
/// would ask for ourselves (0 for none), `min_se` the smallest that we take, both in seconds.
///
/// | sender lists `timer` | it asks             | our 2xx                                        |
/// |----------------------|---------------------|------------------------------------------------|
/// | yes                  | for a refresher     | that interval, that refresher                  |
/// | yes                  | for none            | that interval, `uac`                           |
/// | yes                  | nothing             | `wanted` (not below its Min-SE), `uac`         |
/// | no                   | by a proxy's hand   | that interval, `uas`: it could not refresh     |
/// | no                   | nothing             | nothing                                        |
///
/// A longer interval than `wanted` is shortened to that, but not below the sender's Min-SE.
/// `None` is a session without a timer. A Session-Expires that cannot be read asks nothing. A
/// sender without `timer` would not understand a 422: its too small interval is left alone.
///
/// # Errors
/// [`TooSmall`].
pub fn as_server(
    request: &Message<'_>,
    wanted: u32,
    min_se: u32,
) -> Result<Option<Agreed>, TooSmall> {
    let min_se = min_se.max(MIN_SE_SECONDS);
    let supports = supports_timer(request);
    let Ok(asked) = session_expires(request) else {
        let seconds = wanted.max(min_se).max(self::min_se(request));
        let ask = supports && wanted > 0;
        return Ok(ask.then_some(Agreed { seconds, refresher_is_us: false }));
    };
    if asked.seconds < min_se {
        return if supports { Err(TooSmall { min_se }) } else { Ok(None) };
    }
    let refresher_is_us = !supports || asked.refresher == Some(Refresher::Uas);
    let ours = if wanted > 0 { wanted.max(min_se).max(self::min_se(request)) } else { u32::MAX };
    Ok(Some(Agreed { seconds: asked.seconds.min(ours), refresher_is_us }))
}

/// What a 2xx to our INVITE or UPDATE has agreed to (section 7.2); `None` is a session without a
/// timer. It counts whether we asked or not. A refresher that is not named, which it must be, is
/// the `uac`, us: refreshing once too often ends no call. An interval below [`MIN_SE_SECONDS`] is
/// taken for that, so that nobody makes us send a request a second.
#[must_use]
pub fn as_client(response: &Message<'_>) -> Option<Agreed> {
    let accepted = response.status().is_some_and(|code| (200..300).contains(&code));
    let said = session_expires(response).ok().filter(|said| accepted && said.seconds > 0)?;
    Some(Agreed {
        seconds: said.seconds.max(MIN_SE_SECONDS),
        refresher_is_us: said.refresher != Some(Refresher::Uas),
    })
}

/// Min-SE of a 422 in seconds; `None` when it is another response or names none.
#[must_use]
pub fn min_se_of_422(response: &Message<'_>) -> Option<u32> {
    let named = response.status() == Some(422) && response.number(Name::MinSe).is_ok();
    named.then(|| min_se(response))
}

impl Wanted {
    /// What to ask again after a 422 (section 7.3); `None` when it names no interval above the one
    /// that was refused: asking again would be refused again.
    #[must_use]
    pub fn raised_by(self, response: &Message<'_>) -> Option<Self> {
        let min_se = min_se_of_422(response).filter(|&min_se| min_se > self.seconds)?;
        Some(Self { seconds: min_se, min_se })
    }

    /// Writes what an INVITE asks: Session-Expires and Min-SE (section 7.1); its Supported, which
    /// the caller writes, lists `timer`. No refresher is named: the other side may choose.
    #[must_use]
    pub fn write<'b>(&self, writer: Writer<'b>) -> Writer<'b> {
        let min_se = self.min_se.max(MIN_SE_SECONDS);
        let seconds = self.seconds.max(min_se);
        let writer = SessionExpires { seconds, refresher: None }.write(writer);
        writer.header(Name::MinSe, &[min_se.into()])
    }
}

impl Agreed {
    /// Seconds after which the refresher sends its refresh: half the interval (section 7.2).
    #[must_use]
    pub const fn refresh_after(&self) -> u32 {
        self.seconds / 2
    }

    /// Seconds after which whoever waits for a refresh hangs up: the interval less the smaller of
    /// 32 and a third of it (section 10).
    #[must_use]
    pub const fn expire_after(&self) -> u32 {
        let third = self.seconds / 3;
        self.seconds - if third < 32 { third } else { 32 }
    }

    /// Writes what our next request in the dialog says: Supported, and Session-Expires with the
    /// roles kept (section 7.4). `min_se` in seconds.
    #[must_use]
    pub fn write_request<'b>(&self, writer: Writer<'b>, min_se: u32) -> Writer<'b> {
        let refresher = if self.refresher_is_us { Refresher::Uac } else { Refresher::Uas };
        let writer = writer.field(Name::Supported, b"timer");
        let said = SessionExpires { seconds: self.seconds, refresher: Some(refresher) };
        said.write(writer).header(Name::MinSe, &[min_se.max(MIN_SE_SECONDS).into()])
    }

    /// Writes what our 2xx says: Session-Expires, and where the other side is to refresh
    /// `Require: timer` (section 9); it is asked to only when it supports timers.
    #[must_use]
    pub fn write_response<'b>(&self, writer: Writer<'b>) -> Writer<'b> {
        let refresher = if self.refresher_is_us { Refresher::Uas } else { Refresher::Uac };
        let said = SessionExpires { seconds: self.seconds, refresher: Some(refresher) };
        let require = (!self.refresher_is_us).then_some(b"timer");
        said.write(writer).with(require, |w, timer| w.field(Name::Require, timer))
    }
}

impl TooSmall {
    /// Writes the Min-SE of the 422.
    #[must_use]
    pub fn write<'b>(&self, writer: Writer<'b>) -> Writer<'b> {
        writer.header(Name::MinSe, &[self.min_se.into()])
    }
}

impl SessionExpires {
    /// Writes the header.
    #[must_use]
    pub fn write<'b>(&self, writer: Writer<'b>) -> Writer<'b> {
        let who: &[u8] = match self.refresher {
            None => b"",
            Some(Refresher::Uac) => b";refresher=uac",
            Some(Refresher::Uas) => b";refresher=uas",
        };
        writer.header(Name::SessionExpires, &[self.seconds.into(), who.into()])
    }

    /// [`Agreed::expire_after`] of this interval.
    #[must_use]
    pub const fn expire_after(&self) -> u32 {
        Agreed { seconds: self.seconds, refresher_is_us: false }.expire_after()
    }
}

fn parse(value: &[u8]) -> Option<SessionExpires> {
    let mut cursor = Cursor::new(value);
    let seconds = number_u32(cursor.take_while(|c| c.is_ascii_digit()))?;
    let refresher = match Params::parse(cursor.rest())?.get(b"refresher") {
        None => None,
        Some(who) if who.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
        Some(who) if who.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
        Some(_) => return None,
    };
    Some(SessionExpires { seconds, refresher })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_moments() {
        let se = parse(b"1800 ; Refresher=UAS").unwrap();
        assert_eq!(se, SessionExpires { seconds: 1800, refresher: Some(Refresher::Uas) });
        let long = Agreed { seconds: 1800, refresher_is_us: true };
        assert_eq!((long.refresh_after(), long.expire_after()), (900, 1768));
        let short = Agreed { seconds: 90, refresher_is_us: true };
        assert_eq!((short.refresh_after(), short.expire_after()), (45, 60));
        assert_eq!(parse(b"90").unwrap().refresher, None);
        assert_eq!(parse(b"90;refresher=me"), None);
        assert_eq!(parse(b"-90"), None);
    }
}
