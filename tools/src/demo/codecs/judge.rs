//! Was it heard, or said why not?

use core::fmt;
use std::time::Duration;

use agent::PhoneCall;
use anyhow::Result;
use serde_json::Value;

use super::rows::Row;
use crate::clock::mono;
use crate::rest::Rest;

/// What has come to one phone's ear.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ear {
    /// The call stood.
    pub(super) stood: bool,
    /// Packets of the other side, right for the codec they came in.
    pub(super) voice: u64,
    /// Damaged, in another codec than their payload type says, or of one that is not in force.
    pub(super) wrong: u64,
    /// Digits that came, by RFC 4733 or INFO.
    pub(super) digits: usize,
}

impl Ear {
    /// `stream`: the other side's conversation and number.
    pub(super) fn of(call: Option<&PhoneCall>, stream: (u32, u32)) -> Self {
        let Some(call) = call else { return Self::default() };
        let digits = call.seen.info_digits.len();
        let stood = call.seen.answered_at.is_some() && !call.is_over();
        let Some(media) = &call.media else { return Self { stood, digits, ..Self::default() } };
        let heard = &media.heard;
        Self {
            stood,
            voice: heard.streams.get(&stream).map_or(0, |stream| stream.packets),
            wrong: heard.damaged + heard.foreign_payload,
            digits: digits + heard.digits.len(),
        }
    }

    /// What has come since; digits and standing as they are now.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            voice: self.voice.saturating_sub(before.voice),
            wrong: self.wrong.saturating_sub(before.wrong),
            ..*self
        }
    }
}

impl fmt::Display for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.stood, self.wrong) {
            (false, _) => f.write_str("-"),
            (true, 0) => write!(f, "{} packets", self.voice),
            (true, wrong) => write!(f, "{} packets, {wrong} wrong", self.voice),
        }
    }
}

/// What the tenant can read about a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Causes of its legs' records.
    causes: Vec<String>,
    /// Reasons of its notifications.
    alerts: Vec<String>,
}

impl Told {
    /// Asks the API about the calls of this caller, until all are over and booked, at the latest
    /// until then.
    pub(super) fn ask(rest: &Rest, from: &str, until: u64) -> Result<Self> {
        loop {
            let calls = rest.list("Calls.json", "calls", &[("From", from)])?;
            let over = !calls.is_empty() && calls.iter().all(|call| !call["end_time"].is_null());
            if over || mono() > until {
                return Self::read(rest, &calls);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn read(rest: &Rest, calls: &[Value]) -> Result<Self> {
        let mut told = Self::default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        for call in calls {
            let sid = call["sid"].as_str().unwrap_or_default();
            let cdrs = rest.list(&format!("Calls/{sid}/Cdrs.json"), "cdrs", &[])?;
            told.causes.extend(cdrs.iter().filter_map(|cdr| text(&cdr["cause"])));
            let path = format!("Calls/{sid}/Notifications.json");
            let alerts = rest.list(&path, "notifications", &[])?;
            // What stands there for people, after the word for programs.
            let reason = |alert: &Value| {
                Some(format!("{} {}", text(&alert["reason"])?, text(&alert["message_text"])?))
            };
            told.alerts.extend(alerts.iter().filter_map(reason));
        }
        Ok(told)
    }

    /// The reason, if a record and a notification say that it is the codecs.
    fn reason(&self) -> Option<&str> {
        let has_cause = self.causes.iter().any(|cause| cause == "no-codec");
        let alert = self.alerts.iter().find(|alert| alert.to_lowercase().contains("codec"));
        alert.map(String::as_str).filter(|_| has_cause)
    }
}

/// How a row is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Heard,
    /// With status and reason.
    Refused(String),
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heard => f.write_str("both heard"),
            Self::Refused(reason) => f.write_str(reason),
        }
    }
}

/// `ears`: what B heard of A, what A heard of B, while it was listened.
///
/// # Errors
/// What is wrong: silence that stands, a digit that is lost or doubled, an end without a reason, a
/// refusal of what could have been.
pub(super) fn verdict(
    row: &Row,
    ears: (Ear, Ear),
    code: u16,
    told: &Told,
    heard_min: u64,
) -> Result<Right, String> {
    let (at_callee, at_caller) = ears;
    let is_heard = |ear: &Ear| ear.voice >= heard_min && ear.wrong == 0;
    if at_callee.stood && at_caller.stood {
        return match (is_heard(&at_callee), is_heard(&at_caller)) {
            (true, true) => match row.digit_to() {
                Some(to) => match [at_caller, at_callee][to].digits {
                    0 => Err("both heard, the digit lost".to_owned()),
                    1 => Ok(Right::Heard),
                    times => Err(format!("both heard, the digit {times} times")),
                },
                None => Ok(Right::Heard),
            },
            (false, true) => Err("B does not hear A".to_owned()),
            (true, false) => Err("A does not hear B".to_owned()),
            (false, false) => Err("nobody hears anybody".to_owned()),
        };
    }
    if at_callee.stood || at_caller.stood {
        return Err(format!("only one side's call stands (status {code})"));
    }
    let how = if code >= 300 { format!("refused, {code}") } else { "ended".to_owned() };
    let Some(reason) = told.reason() else {
        let (causes, alerts) = (told.causes.join(", "), told.alerts.join(", "));
        return Err(format!("{how} without a reason; records: {causes}; notifications: {alerts}"));
    };
    if row.has_common {
        return Err(format!("{how} ({reason}), though a codec is in common"));
    }
    Ok(Right::Refused(format!("{how}: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;

    fn ear(voice: u64) -> Ear {
        Ear { stood: true, voice, wrong: 0, digits: 1 }
    }

    #[test]
    fn silence_that_stands_is_wrong_and_a_reason_makes_a_refusal_right() {
        let rows = rows::all();
        let common = rows.iter().find(|row| row.has_common).expect("a row");
        let apart = rows.iter().find(|row| !row.has_common).expect("a row");
        let none = Told::default();
        let no_alert = Told { causes: vec!["no-codec".to_owned()], ..Told::default() };
        let no_codec = Told { alerts: vec!["no codec".to_owned()], ..no_alert.clone() };
        let over = (Ear::default(), Ear::default());
        assert_eq!(verdict(common, (ear(75), ear(75)), 200, &none, 60), Ok(Right::Heard));
        assert!(verdict(common, (ear(75), ear(0)), 200, &none, 60).is_err());
        assert!(verdict(apart, (ear(0), ear(0)), 200, &no_codec, 60).is_err());
        assert!(verdict(apart, over, 488, &none, 60).is_err());
        assert!(verdict(apart, over, 488, &no_alert, 60).is_err());
        assert!(matches!(verdict(apart, over, 488, &no_codec, 60), Ok(Right::Refused(_))));
        assert!(verdict(common, over, 488, &no_codec, 60).is_err());
    }

    #[test]
    fn a_packet_in_the_wrong_codec_is_not_heard() {
        let row = rows::all().swap_remove(0);
        let wrong = Ear { wrong: 3, ..ear(75) };
        assert!(verdict(&row, (wrong, ear(75)), 200, &Told::default(), 60).is_err());
    }
}
