//! Session timers (RFC 4028): Session-Expires and Min-SE, and who refreshes.

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

    /// Seconds after which the refresher sends its refresh: half the interval (section 7.2).
    #[must_use]
    pub const fn refresh_after(&self) -> u32 {
        self.seconds / 2
    }

    /// Seconds after which the other side hangs up: the interval less the smaller of 32 and a third
    /// of it (section 10).
    #[must_use]
    pub const fn expire_after(&self) -> u32 {
        let third = self.seconds / 3;
        self.seconds - if third < 32 { third } else { 32 }
    }

    /// The answer of a UAS to this offer (section 9): `None` to let the session run without a timer
    /// is not expressed here; an interval below `min_se` is a 422 with Min-SE.
    ///
    /// # Errors
    /// The Min-SE to put into the 422.
    pub fn answer(self, min_se: u32, peer_supports: bool) -> Result<Self, u32> {
        if self.seconds < min_se {
            return Err(min_se);
        }
        // A UAC that does not support timers cannot refresh (section 9, table 2).
        let asked = self.refresher.unwrap_or(Refresher::Uac);
        let refresher = if peer_supports { asked } else { Refresher::Uas };
        Ok(Self { seconds: self.seconds, refresher: Some(refresher) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_moments() {
        let se = parse(b"1800 ; Refresher=UAS").unwrap();
        assert_eq!(se, SessionExpires { seconds: 1800, refresher: Some(Refresher::Uas) });
        assert_eq!((se.refresh_after(), se.expire_after()), (900, 1768));
        let short = parse(b"90").unwrap();
        assert_eq!((short.refresh_after(), short.expire_after()), (45, 60));
        assert_eq!(short.answer(120, true), Err(120));
        assert_eq!(short.answer(90, false).unwrap().refresher, Some(Refresher::Uas));
        assert_eq!(short.answer(90, true).unwrap().refresher, Some(Refresher::Uac));
        assert_eq!(parse(b"90;refresher=me"), None);
        assert_eq!(parse(b"-90"), None);
    }
}
