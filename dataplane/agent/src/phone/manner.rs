//! How a phone behaves: what it does with a call, and when.

use std::time::Duration;

use sdp::{Direction, Supported};
use sip::session::Refresher;

use super::login::Login;

/// What a phone does at some moment of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// 180.
    Ring,
    /// 183 with a description; media is sent from now on.
    EarlyMedia,
    /// 183 with this direction and these codecs, which need not be those of the answer.
    Ring183(Direction, Vec<Supported<'static>>),
    /// 200.
    Answer,
    /// 200 with these codecs; from another branch of a fork (another tag) if true.
    AnswerWith(Vec<Supported<'static>>, bool),
    /// Another 200 to the same INVITE with another tag, as a forking proxy lets through.
    AnswerAgain,
    /// A final refusal.
    Refuse(u16),
    /// 302 to this URI.
    Redirect(String),
    /// BYE.
    HangUp,
    Cancel,
    /// Re-INVITE with this direction; whatever hold there was is over.
    Reinvite(Direction),
    /// Re-INVITE with c=0.0.0.0, the hold of RFC 2543.
    HoldByAddress,
    /// Re-INVITE with m=audio 0.
    StopStream,
    /// Re-INVITE with these codecs, which are the phone's from then on.
    ReinviteCodecs(Vec<Supported<'static>>),
    /// Re-INVITE with other numbers for the dynamic payload types.
    Renumber,
    /// Re-INVITE with another media port; media comes from there with a new SSRC.
    MoveMedia,
    /// Re-INVITE with this Contact URI and nothing else changed.
    ReinviteContact(String),
    /// Contact URI of what it says from now on; nothing is sent.
    Contact(String),
    /// What it does with offers from now on; nothing is sent.
    TakeOffers(Reinvite),
    /// Re-INVITE without a description.
    ReinviteEmpty,
    /// UPDATE without a description (session refresh).
    Update,
    /// UPDATE with an offer of this direction.
    UpdateOffer(Direction),
    /// OPTIONS inside the dialog.
    Options,
    /// MESSAGE inside the dialog, of plain text.
    Message(String),
    /// REFER to this URI; without a subscription (RFC 4488) if true.
    Refer(String, bool),
    /// A digit by RFC 4733.
    Digit(char),
    /// A digit by INFO (`application/dtmf-relay`).
    Info(char),
    /// A digit by INFO (`application/dtmf`), whose body is this text.
    InfoText(&'static str),
    /// Stop or go on sending media.
    Mute(bool),
    /// Media goes on with a new SSRC and new numbers.
    NewSsrc,
    /// Another of the formats in force is spoken from now on.
    Speak(Speaks),
    /// Falls silent for good: no SIP, no media, as a phone whose battery is empty.
    Die,
}

/// What a phone does with a re-INVITE or an UPDATE that offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reinvite {
    #[default]
    Answer,
    Refuse(u16),
    /// Says nothing at all.
    Ignore,
}

/// Which of the audio formats in force a phone speaks, in the other side's order of preference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speaks {
    #[default]
    First,
    Last,
    /// Counted from 0, modulo their number.
    Index(usize),
}

/// A session timer (RFC 4028).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimer {
    /// The interval asked for, at least 90.
    pub seconds: u32,
    /// Who is to refresh; `None` leaves it to the other side.
    pub refresher: Option<Refresher>,
    /// The smallest interval taken; a smaller one is refused with 422.
    pub min_se: u32,
}

/// What a phone has of acknowledged provisional responses (RFC 3262).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reliability {
    #[default]
    Unknown,
    /// A callee's with a description are acknowledged, where the other side supports it.
    Supported,
    /// All are: a caller's INVITE says so.
    Required,
}

/// A phone's habits.
#[derive(Clone, Debug)]
pub struct Manner {
    /// A callee: from the INVITE's arrival.
    pub on_ring: Vec<(Duration, Action)>,
    /// Both: from the answer.
    pub on_answer: Vec<(Duration, Action)>,
    /// A caller: from its INVITE.
    pub on_dial: Vec<(Duration, Action)>,
    /// A callee says 100 at once.
    pub trying: bool,
    pub codecs: Vec<Supported<'static>>,
    /// Between packets; zero sends no media at all. More than 20 ms is a sample.
    pub packet_every: Duration,
    /// Between RTCP reports; zero sends none.
    pub report_every: Duration,
    /// ACKs a 2xx.
    pub acks: bool,
    /// Answers requests and takes responses of the BYE.
    pub answers_bye: bool,
    /// Media leaves from this port instead of the one in the description (a NAT).
    pub nat_port: Option<u16>,
    /// Answers one audio format only.
    pub single_codec: bool,
    pub reinvite: Reinvite,
    pub speaks: Speaks,
    /// Methods in Allow; others are answered with 405. Empty: no Allow, everything is answered.
    pub allow: Vec<&'static str>,
    /// INFO is in Allow and is answered with 200; else 405.
    pub info: bool,
    /// Option tags in Supported, beside `timer`.
    pub supported: Vec<&'static str>,
    /// Session timers are supported, and asked for.
    pub timer: Option<SessionTimer>,
    pub reliable: Reliability,
    /// More header lines of the INVITE and of its 2xx, without line ends.
    pub headers: Vec<String>,
    /// Reason of its CANCEL and BYE.
    pub reason: Option<String>,
    /// To the letter of RFC 3261 section 13.2.1: the first description in a dialog is the answer to
    /// the INVITE's offer, and later ones of the same dialog are ignored. Else the latest counts.
    pub first_answer_counts: bool,
    /// Speaks SIP by connections: nothing is sent again.
    pub by_tcp: bool,
    /// By connections over TLS.
    pub by_tls: bool,
    /// By a WebSocket over TLS: nobody can connect to it.
    pub by_web: bool,
    /// Answers challenges of its INVITE.
    pub login: Option<Login>,
}

impl Manner {
    /// What carries what it says.
    #[must_use]
    pub const fn transport(&self) -> base::Transport {
        match (self.by_web, self.by_tls, self.by_tcp) {
            (true, ..) => base::Transport::Wss,
            (false, true, _) => base::Transport::Tls,
            (false, false, true) => base::Transport::Tcp,
            (false, false, false) => base::Transport::Udp,
        }
    }
}

/// A call to be made.
#[derive(Clone, Debug, Default)]
pub struct Dial {
    /// Request-URI.
    pub to: String,
    /// From URI.
    pub from: String,
    /// Its own Call-ID; empty for a random one.
    pub call_id: String,
    /// More header lines, without line ends.
    pub headers: Vec<String>,
    /// INVITE without a description.
    pub late_offer: bool,
    /// A part of its body beside the description: its header fields, an empty line, its bytes.
    /// Empty for none.
    pub part: String,
    /// What its media says: which conversation it belongs to, and who in it speaks.
    pub group: u32,
    pub stream: u32,
    /// Instead of the agent's manner.
    pub manner: Option<Manner>,
}

const SECOND: Duration = Duration::from_secs(1);

impl Default for Manner {
    /// Rings after 50 ms, answers after a second.
    fn default() -> Self {
        Self {
            on_ring: vec![(SECOND / 20, Action::Ring), (SECOND, Action::Answer)],
            on_answer: Vec::new(),
            on_dial: Vec::new(),
            trying: true,
            codecs: vec![Supported::PCMU, Supported::PCMA, Supported::TELEPHONE_EVENT],
            packet_every: SECOND,
            report_every: Duration::from_secs(5),
            acks: true,
            answers_bye: true,
            nat_port: None,
            single_codec: false,
            reinvite: Reinvite::Answer,
            speaks: Speaks::First,
            allow: vec!["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "UPDATE"],
            info: true,
            supported: Vec::new(),
            timer: None,
            reliable: Reliability::Unknown,
            headers: Vec::new(),
            reason: None,
            first_answer_counts: false,
            by_tcp: false,
            by_tls: false,
            by_web: false,
            login: None,
        }
    }
}

impl Manner {
    /// Refuses with this status after half a second.
    #[must_use]
    pub fn refusing(code: u16) -> Self {
        let on_ring = vec![(SECOND / 20, Action::Ring), (SECOND / 2, Action::Refuse(code))];
        Self { on_ring, ..Self::default() }
    }

    /// Rings and never answers.
    #[must_use]
    pub fn ringing() -> Self {
        Self { on_ring: vec![(SECOND / 20, Action::Ring)], ..Self::default() }
    }

    /// Says nothing at all.
    #[must_use]
    pub fn silent() -> Self {
        Self { on_ring: Vec::new(), trying: false, ..Self::default() }
    }

    /// Real audio: a packet each 20 ms.
    #[must_use]
    pub fn with_audio(mut self) -> Self {
        self.packet_every = Duration::from_millis(20);
        self
    }

    /// Does this so long after the answer.
    #[must_use]
    pub fn after_answer(mut self, after: Duration, action: Action) -> Self {
        self.on_answer.push((after, action));
        self
    }

    /// Does this so long after dialling.
    #[must_use]
    pub fn after_dial(mut self, after: Duration, action: Action) -> Self {
        self.on_dial.push((after, action));
        self
    }

    /// Answers after this time.
    #[must_use]
    pub fn answering(after: Duration) -> Self {
        Self {
            on_ring: vec![(Duration::ZERO, Action::Ring), (after, Action::Answer)],
            ..Self::default()
        }
    }

    /// With these codecs.
    #[must_use]
    pub fn with_codecs(mut self, codecs: &[Supported<'static>]) -> Self {
        self.codecs = codecs.to_vec();
        self
    }

    /// Whether it answers requests of this method.
    #[must_use]
    pub fn allows(&self, method: &str) -> bool {
        if method == "INFO" {
            return self.info;
        }
        self.allow.is_empty() || self.allow.contains(&method)
    }

    /// The value of Allow; empty for no header.
    #[must_use]
    pub fn allow_value(&self) -> String {
        let info = (self.info && !self.allow.is_empty()).then_some("INFO");
        self.allow.iter().copied().chain(info).collect::<Vec<_>>().join(", ")
    }

    /// The value of Supported; empty for no header.
    #[must_use]
    pub(crate) fn supported_value(&self) -> String {
        let timer = self.timer.map(|_| "timer");
        let reliable = (self.reliable != Reliability::Unknown).then_some("100rel");
        let own = self.supported.iter().copied();
        own.chain(timer).chain(reliable).collect::<Vec<_>>().join(", ")
    }
}
