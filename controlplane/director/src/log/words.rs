//! What callbacks say again and again, by number: the names of parameters, and what stands in the
//! call's own row. The numbers belong to the version of the log: words are added at the end of
//! [`FIXED`] and none is taken out.

use std::borrow::Cow;

use super::{Reader, put_bytes, put_number};
use crate::live::Live;
use base::Wall;
use model::{StatusHook, stamp};

const FIXED: [&str; 52] = [
    "CallSid",
    "AccountSid",
    "From",
    "To",
    "Caller",
    "Called",
    "CallStatus",
    "ApiVersion",
    "Direction",
    "ForwardedFrom",
    "CallerName",
    "ParentCallSid",
    "SipDomain",
    "SipDomainSid",
    "SipSourceIp",
    "SipCallId",
    "SipResponseCode",
    "Timestamp",
    "CallbackSource",
    "SequenceNumber",
    "CallDuration",
    "Duration",
    "DialCallStatus",
    "DialCallSid",
    "DialCallDuration",
    "DialBridged",
    "DialSipResponseCode",
    "DialSipCallId",
    "2010-04-01",
    "call-progress-events",
    "queued",
    "initiated",
    "ringing",
    "in-progress",
    "completed",
    "busy",
    "failed",
    "no-answer",
    "canceled",
    "inbound",
    "outbound-api",
    "outbound-dial",
    "true",
    "false",
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "ErrorCode",
    "ErrorUrl",
];

/// Where the values among them begin.
const VALUES: usize = 28;
/// Numbers from here are a call's own words.
const OWN: usize = 64;
/// Behind this number stand the seconds of a time stamp.
const STAMP: usize = 126;
/// Behind this number a text stands written out.
const WRITTEN_OUT: usize = 127;

/// The words of one call.
pub(super) struct Words<'l>([Option<Cow<'l, str>>; 12]);

impl<'l> Words<'l> {
    pub(super) fn of(live: &'l Live) -> Self {
        let (row, facts) = (&live.row, &live.facts);
        let given = |text: &'l Option<String>| text.as_deref().map(Cow::Borrowed);
        let url = |hook: &'l Option<StatusHook>| {
            hook.as_ref().map(|hook| Cow::Borrowed(hook.hook.url.as_str()))
        };
        Self([
            Some(row.sid.to_string().into()),
            Some(row.account.to_string().into()),
            Some(row.from.as_str().into()),
            Some(row.to.as_str().into()),
            row.parent.map(|parent| parent.to_string().into()),
            given(&row.caller_name),
            given(&row.forwarded_from),
            Some(facts.sip_call_id.as_str().into()),
            given(&facts.domain),
            given(&facts.domain_sid),
            url(&live.status),
            url(&live.event_application),
        ])
    }

    /// `from`: where to look first among the fixed ones; parameters follow each other in one order.
    fn number(&self, text: &str, from: usize) -> usize {
        let own = || self.0.iter().position(|word| word.as_deref() == Some(text));
        let fixed = || {
            let (before, behind) = FIXED.split_at(from.min(FIXED.len()));
            let at = |word: &&str| *word == text;
            let behind = behind.iter().position(at).map(|place| place + before.len());
            behind.or_else(|| before.iter().position(at))
        };
        fixed().or_else(|| own().map(|at| OWN + at)).unwrap_or(WRITTEN_OUT)
    }

    fn word(&self, number: usize) -> Option<&str> {
        match number.checked_sub(OWN) {
            Some(own) => self.0.get(own)?.as_deref(),
            None => FIXED.get(number).copied(),
        }
    }

    /// Writes a text; its number.
    pub(super) fn put(&self, bytes: &mut Vec<u8>, text: &str, from: usize) -> usize {
        let number = self.number(text, from);
        let stamp = (number == WRITTEN_OUT).then(|| stamp::of_rfc2822(text)).flatten();
        // Numbers are read up to 35 bits; who calls writes what years he likes.
        if let Some(seconds) = stamp.and_then(|at| u32::try_from(at.seconds()).ok()) {
            put_number(bytes, STAMP);
            put_number(bytes, seconds as usize);
            return STAMP;
        }
        put_number(bytes, number);
        if number == WRITTEN_OUT {
            put_bytes(bytes, text.as_bytes());
        }
        number
    }

    pub(super) fn take(&self, reader: &mut Reader<'_>) -> Option<String> {
        match reader.number()? {
            STAMP => {
                let micros = (reader.number()? as u64).checked_mul(1_000_000)?;
                Some(stamp::rfc2822(Wall(micros)))
            }
            WRITTEN_OUT => String::from_utf8(reader.bytes()?.to_vec()).ok(),
            number => self.word(number).map(str::to_owned),
        }
    }

    pub(super) fn put_pairs(&self, bytes: &mut Vec<u8>, pairs: &[(String, String)]) {
        put_number(bytes, pairs.len());
        let mut next = 0;
        for (name, value) in pairs {
            let number = self.put(bytes, name, next);
            next = if number < FIXED.len() { number + 1 } else { next };
            self.put(bytes, value, VALUES);
        }
    }

    pub(super) fn take_pairs(&self, reader: &mut Reader<'_>) -> Option<Vec<(String, String)>> {
        let count = reader.number()?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((self.take(reader)?, self.take(reader)?));
        }
        Some(pairs)
    }
}
