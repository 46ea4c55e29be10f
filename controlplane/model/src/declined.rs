//! What a far end said beside the status by which it refused a call, or in ending it: as it is kept
//! in a CDR, and what of it a person wants to know. Where somebody on the way has blocked the call,
//! that is who he is, and where to complain: 608 (RFC 8688), and 603 "Network Blocked" in North
//! America.
//!
//! ```text
//!   603 Network Blocked
//!   Reason: Q.850;cause=21;text="v=analytics1;url=https://example.com/ask;tel=+15550100"
//!   Call-Info: <https://example.com/card>;purpose=jwscard
//! ```

use std::fmt::Write as _;

use sip::{Message, Name};

/// The first line of what ended a call that stood.
const ENDED: &str = "ended";

/// What was said, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declined {
    /// The values of Reason (RFC 3326), as they came.
    pub reason: String,
    /// The cause of ITU-T Q.850 among them.
    pub q850: Option<u16>,
    /// Who has blocked the call; None where nobody has.
    pub blocked: Option<Blocked>,
}

/// Who has blocked a call, and where to complain. All of it is the word of a far end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocked {
    /// What decided: `analytics1`.
    pub by: Option<String>,
    pub url: Option<String>,
    pub tel: Option<String>,
    pub email: Option<String>,
    /// Where his signed jCard is (RFC 8688).
    pub card: Option<String>,
}

/// As it is kept: the lines that a dataplane tells, behind the status and without carriage returns.
#[must_use]
pub fn kept(code: u16, said: &str) -> String {
    let (phrase, lines) = said.split_once("\r\n").unwrap_or((said, ""));
    let usual = sip::reason_phrase(code);
    let mut kept = match code {
        0 => ENDED.to_owned(),
        _ => format!("{code} {}", if phrase.is_empty() { usual } else { phrase }),
    };
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let _ = write!(kept, "\n{line}");
    }
    kept
}

impl Declined {
    /// What was kept; None for a text that is something else.
    #[must_use]
    pub fn read(kept: &str) -> Option<Self> {
        let (first, lines) = kept.split_once('\n').unwrap_or((kept, ""));
        let code = match first {
            ENDED => 200,
            _ => first.split(' ').next()?.parse().ok().filter(|code| (300..700).contains(code))?,
        };
        let is_blocked =
            code == 608 || code == 603 && first[3..].trim().eq_ignore_ascii_case("Network Blocked");
        let text = format!("SIP/2.0 {code} X\r\n{}\r\n\r\n", lines.replace('\n', "\r\n"));
        let Ok(message) = Message::parse(text.as_bytes()) else { return None };
        let q850 = message.reasons().find(|reason| reason.is(b"Q.850"));
        let values: Vec<_> = message.values(Name::Reason).map(String::from_utf8_lossy).collect();
        Some(Self {
            reason: values.join(", "),
            q850: q850.and_then(|reason| reason.cause),
            blocked: is_blocked.then(|| Blocked::of(&message)),
        })
    }

    /// Each thing that there is, by the name that callbacks and resources give it.
    #[must_use]
    pub fn named(self) -> Vec<(&'static str, String)> {
        let blocked = self.blocked.unwrap_or_default();
        let all = [
            ("SipReason", Some(self.reason).filter(|reason| !reason.is_empty())),
            ("Q850Cause", self.q850.map(|cause| cause.to_string())),
            ("BlockedBy", blocked.by),
            ("BlockedUrl", blocked.url),
            ("BlockedTel", blocked.tel),
            ("BlockedEmail", blocked.email),
            ("BlockedCard", blocked.card),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

impl Blocked {
    fn of(message: &Message<'_>) -> Self {
        let mut blocked = Self::default();
        for reason in message.reasons() {
            let mut room = [0; 2_048];
            let text = reason.text_value(&mut room).unwrap_or_default();
            for part in String::from_utf8_lossy(text).split(';') {
                let Some((key, value)) = part.trim().split_once('=') else { continue };
                let place = match key.trim().to_ascii_lowercase().as_str() {
                    "v" => &mut blocked.by,
                    "url" => &mut blocked.url,
                    "tel" => &mut blocked.tel,
                    "email" => &mut blocked.email,
                    _ => continue,
                };
                place.get_or_insert_with(|| value.trim().to_owned());
            }
        }
        let cards = message.addresses(Name::CallInfo).filter_map(Result::ok);
        let mut cards = cards.filter(|it| {
            let purpose = it.params.get(b"purpose").unwrap_or_default();
            purpose.eq_ignore_ascii_case(b"jwscard") || purpose.eq_ignore_ascii_case(b"card")
        });
        blocked.card = cards.next().map(|it| String::from_utf8_lossy(it.uri).into_owned());
        blocked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_blocked_a_call_and_where_to_complain_is_read() {
        let said = "Network Blocked\r\n\
                    Reason: SIP;cause=603;text=\"x\", Q.850;cause=21;text=\"v=analytics1;\
                    url=https://a.example/x?y=z;tel=+15550100;email=e@a.example\"\r\n";
        let text = kept(603, said);
        assert!(text.starts_with("603 Network Blocked\nReason: SIP;cause=603"), "{text}");
        let read = Declined::read(&text).unwrap();
        assert_eq!(read.q850, Some(21));
        let blocked = read.blocked.clone().unwrap();
        assert_eq!(blocked.by.as_deref(), Some("analytics1"));
        assert_eq!(blocked.url.as_deref(), Some("https://a.example/x?y=z"));
        assert_eq!(blocked.tel.as_deref(), Some("+15550100"));
        assert_eq!(blocked.email.as_deref(), Some("e@a.example"));
        let names: Vec<_> = read.named().into_iter().map(|(name, _)| name).collect();
        let all =
            ["SipReason", "Q850Cause", "BlockedBy", "BlockedUrl", "BlockedTel", "BlockedEmail"];
        assert_eq!(names, all);
    }

    #[test]
    fn the_card_of_who_rejects_is_found() {
        let said = "\r\nCall-Info: <http://x/icon>;purpose=icon, \
                    <https://block.example/card>;purpose=jwscard\r\n";
        let text = kept(608, said);
        assert!(text.starts_with("608 Rejected\nCall-Info"), "{text}");
        let blocked = Declined::read(&text).unwrap().blocked.unwrap();
        assert_eq!(blocked.card.as_deref(), Some("https://block.example/card"));
    }

    #[test]
    fn what_is_no_word_of_a_far_end_is_not_read() {
        for text in ["", "target-unresolved", "application: busy", "603", "99 x"] {
            let read = Declined::read(text);
            assert!(read.is_none_or(|read| read == Declined::default()), "{text}");
        }
        // An ordinary decline blocks nothing.
        let text = kept(603, "\r\nReason: Q.850;cause=17\r\n");
        let read = Declined::read(&text).unwrap();
        assert_eq!((read.q850, read.blocked), (Some(17), None));
        let ended = Declined::read(&kept(0, "\r\nReason: Q.850;cause=16\r\n")).unwrap();
        assert_eq!(ended.reason, "Q.850;cause=16");
    }
}
