//! What the end of a leg is called: by applications (a call status), by whoever called (a final SIP
//! status, from the table that static routes use too), and in an alert (a sentence for people).

use model::CallStatus;
use wire::event::{Cause, Direction, Party, Summary};
use wire::{Service, status};

use super::Trouble;
use crate::script::Outcome;

/// An answered leg that is silent for less is no news.
const SILENT_SECONDS_MIN: u32 = 3;
/// Packets refused that are worth a word where others were taken: half a second.
const REFUSED_PACKETS_MIN: u32 = 25;

/// Why a leg is over, as far as its call shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) cause: Cause,
    pub(super) code: u16,
    by: Party,
    direction: Direction,
    /// It was answered, and could be talked over.
    pub(super) answered: bool,
}

impl End {
    pub(super) fn of(summary: &Summary<'_>) -> Self {
        // The far end said 200 to a description that its caller cannot live with: nobody ever heard
        // anybody, the attempt has failed.
        let unheard = summary.cause == Cause::NoCodec
            && summary.direction == Direction::Outbound
            && !summary.usage.iter().any(|usage| usage.service == Service::MediaRelay);
        Self {
            cause: summary.cause,
            code: code(summary),
            by: summary.by,
            direction: summary.direction,
            answered: summary.answered.0 > 0 && !unheard,
        }
    }

    /// `dropped`: we asked for the end ourselves.
    pub(super) fn status(self, dropped: bool) -> CallStatus {
        if self.answered {
            return CallStatus::Completed;
        }
        let outbound = self.direction == Direction::Outbound;
        match self.cause {
            Cause::NoAnswer => CallStatus::NoAnswer,
            Cause::Canceled | Cause::OtherAnswered => CallStatus::Canceled,
            // Hung up before an answer.
            Cause::Normal if outbound && (dropped || self.by != Party::Remote) => {
                CallStatus::Canceled
            }
            Cause::Normal => CallStatus::Completed,
            // Its user has declined at another of his phones.
            Cause::Busy | Cause::Rejected if outbound && dropped && self.code == 487 => {
                CallStatus::Canceled
            }
            Cause::Busy => CallStatus::Busy,
            Cause::Rejected if outbound => of_code(self.code),
            // Refused by its own script.
            Cause::Rejected if self.code == 603 => CallStatus::NoAnswer,
            _ => CallStatus::Failed,
        }
    }
}

/// The final response of the leg's INVITE. One that our side gave up is answered by 487 (RFC 3261
/// section 9.2), after its end was told.
pub(super) fn code(summary: &Summary<'_>) -> u16 {
    let made = summary.direction == Direction::Outbound && summary.leg != base::LegId::NONE;
    match summary.cause {
        Cause::NoAnswer
        | Cause::Canceled
        | Cause::OtherAnswered
        | Cause::Normal
        | Cause::Busy
        | Cause::Rejected
            if made && summary.answered.0 == 0 && summary.code < 200 =>
        {
            487
        }
        _ => summary.code,
    }
}

/// What an application is told of a called party's final response. The response itself reaches it
/// as DialSipResponseCode.
fn of_code(code: u16) -> CallStatus {
    match code {
        486 | 600 | 603 => CallStatus::Busy,
        408 | 480 | 487 => CallStatus::NoAnswer,
        _ => CallStatus::Failed,
    }
}

/// The final response for a caller whose dial came to nothing, and its cause. 503 is not among
/// them: it would say that this switch is full.
pub(super) fn for_caller(outcome: Outcome) -> (u16, Cause) {
    let Outcome { status, code, cause } = outcome;
    match status {
        CallStatus::Busy => (if code < 300 { 486 } else { status::passed_on(code) }, Cause::Busy),
        // 487 answers the CANCEL that our ring time sent; this caller has not cancelled anything.
        CallStatus::NoAnswer | CallStatus::Canceled => (480, Cause::NoAnswer),
        _ => {
            let code = match (code, cause) {
                (_, Some(Cause::NoCodec)) => 488,
                (300.., _) => status::passed_on(code),
                (_, Some(Cause::NotFound)) => 404,
                (_, Some(Cause::Forbidden)) => 403,
                (_, Some(Cause::Unreachable) | None) => 480,
                _ => 500,
            };
            (code, cause.filter(|cause| tells(*cause)).unwrap_or(Cause::Rejected))
        }
    }
}

/// The cause says what became of the called party, and so what became of its caller.
fn tells(cause: Cause) -> bool {
    matches!(cause, Cause::NotFound | Cause::Unreachable | Cause::NoCodec | Cause::Forbidden)
}

/// What the tenant reads of an end that nobody wanted; None for ends that explain themselves.
pub(super) fn trouble(summary: &Summary<'_>) -> Option<Trouble<'static>> {
    let (code, warning, words) = match summary.cause {
        // What was dialled has the limit that its document gave it; a call that came in, the
        // deployment's.
        Cause::TimeLimit if summary.direction == Direction::Inbound => {
            (32_011, true, "it lasted as long as a call may")
        }
        // A far end that is full says so itself: that is its answer.
        Cause::Overload if summary.by != Party::Switch => return None,
        cause => told_of(cause)?,
    };
    // Who was asked for an end knows of it; of two legs that end together, the one with the trouble
    // speaks. A dialled leg that its caller's side could not live with is such a one.
    let own = match summary.by {
        Party::Remote | Party::Switch => true,
        Party::Peer => summary.cause == Cause::NoCodec && summary.direction == Direction::Outbound,
        Party::Application => false,
    };
    let (way, party) = match summary.direction {
        Direction::Inbound => ("from", summary.from),
        Direction::Outbound => ("to", summary.to),
    };
    let response = match summary.code {
        code @ 300.. => format!(" (SIP {code})"),
        _ => String::new(),
    };
    let message = format!("call {} {way} {party} ended: {words}{response}", summary.call);
    let reason = summary.cause.name();
    own.then(|| Trouble { warning, code, reason, message, ..Trouble::default() })
}

/// What the tenant reads of the media of a leg that was answered: that nothing came of it, or not
/// from whom it was described. None where all is well, and where the end itself says as much.
pub(super) fn media_trouble(summary: &Summary<'_>) -> Option<Trouble<'static>> {
    let media = summary.media.filter(|_| summary.answered.0 > 0)?;
    // What it had agreed to, such as hold, is no trouble.
    let seconds = summary.due_ms / 1_000;
    let silent = media.received == 0
        && seconds >= SILENT_SECONDS_MIN
        && summary.cause != Cause::MediaTimeout;
    let enough = |count: u32| count >= REFUSED_PACKETS_MIN || count > 0 && media.received == 0;
    let (foreign, looped) = (enough(media.refused.source), enough(media.refused.looped));
    let reason = match (foreign, looped, silent) {
        (true, ..) => "media-source-refused",
        (_, true, _) => "media-looped",
        (.., true) => "no-audio",
        _ => return None,
    };
    let (way, party) = match summary.direction {
        Direction::Inbound => ("from", summary.from),
        Direction::Outbound => ("to", summary.to),
    };
    let mut message = format!("call {} {way} {party}", summary.call);
    if silent {
        message.push_str(&format!(": answered, and nothing was heard in {seconds} s"));
    }
    if foreign {
        let count = media.refused.source;
        message.push_str(&format!(": {count} packets from a host that may not speak were refused"));
        if let Some(host) = media.refused.foreign {
            message.push_str(&format!(" (the first from {host})"));
        }
    }
    if looped {
        let count = media.refused.looped;
        message.push_str(&format!(": {count} packets of our own came back and were refused"));
    }
    Some(Trouble { warning: true, code: 32_014, reason, message, ..Trouble::default() })
}

/// The number under which applications know a trouble, whether it is a mere warning, and what it is
/// in words.
pub(super) fn told_of(cause: Cause) -> Option<(u32, bool, &'static str)> {
    Some(match cause {
        Cause::NoCodec => (32_102, false, "the two sides have no codec in common"),
        Cause::MediaTimeout => {
            (32_014, true, "no audio and no other sign of life came within the media timeout")
        }
        Cause::SessionExpired => {
            (32_011, true, "the session timer ran out: the far end did not refresh the session")
        }
        Cause::Unreachable => {
            (32_011, true, "the far end did not answer at all, or there is no way to it")
        }
        Cause::Protocol => (32_103, false, "the far end broke the protocol"),
        Cause::Forbidden => (32_203, false, "the far end or a rule of this switch forbids it"),
        Cause::Credentials => (
            32_202,
            false,
            "the far end wants credentials of us: there are none for it, or it does not take them",
        ),
        Cause::NoAck => {
            (32_022, false, "the far end never acknowledged our response (no ACK, or no PRACK)")
        }
        Cause::NoPort => (32_011, false, "this switch had no media port free"),
        Cause::Internal => (12_400, false, "a fault inside this switch"),
        Cause::Restart => {
            (12_400, false, "the switch's media process died; its successor ended the call")
        }
        Cause::Overload => {
            (32_013, true, "this switch has reached a limit: a rate or a number of calls")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: CallStatus, code: u16, cause: Cause) -> Outcome {
        Outcome { status, code, cause: Some(cause) }
    }

    #[test]
    fn a_caller_never_hears_that_we_are_full_nor_what_is_not_for_him() {
        for code in 300..700 {
            let (said, _) = for_caller(outcome(of_code(code), code, Cause::Rejected));
            assert!((400..700).contains(&said), "{code} -> {said}");
            assert!(!matches!(said, 401 | 407 | 422 | 487 | 503), "{code} -> {said}");
        }
    }

    #[test]
    fn what_a_code_means_to_an_application_and_to_its_caller() {
        for (code, called, said) in [
            (302, CallStatus::Failed, 480),
            (401, CallStatus::Failed, 403),
            (403, CallStatus::Failed, 403),
            (404, CallStatus::Failed, 404),
            (408, CallStatus::NoAnswer, 480),
            (422, CallStatus::Failed, 500),
            (480, CallStatus::NoAnswer, 480),
            (486, CallStatus::Busy, 486),
            (487, CallStatus::NoAnswer, 480),
            (488, CallStatus::Failed, 488),
            (503, CallStatus::Failed, status::passed_on(503)),
            (600, CallStatus::Busy, 600),
            (603, CallStatus::Busy, 603),
            (604, CallStatus::Failed, 604),
        ] {
            assert_eq!(of_code(code), called, "{code}");
            assert_eq!(for_caller(outcome(called, code, Cause::Rejected)).0, said, "{code}");
        }
    }

    #[test]
    fn ends_without_a_response_have_one_all_the_same() {
        for (cause, code, said) in [
            (Cause::NoCodec, 200, (488, Cause::NoCodec)),
            (Cause::Unreachable, 0, (480, Cause::Unreachable)),
            (Cause::NotFound, 0, (404, Cause::NotFound)),
            (Cause::Internal, 0, (500, Cause::Rejected)),
        ] {
            assert_eq!(for_caller(outcome(CallStatus::Failed, code, cause)), said);
        }
        let none = Outcome { status: CallStatus::Busy, code: 0, cause: None };
        assert_eq!(for_caller(none), (486, Cause::Busy));
    }
}
