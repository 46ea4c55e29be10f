//! How a phone behaves: what it does with a call, and when.

use std::time::Duration;

use sdp::{Direction, Supported};

/// What a phone does at some moment of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// 180.
    Ring,
    /// 183 with a description; media is sent from now on.
    EarlyMedia,
    /// 200.
    Answer,
    /// Another 200 to the same INVITE with another tag, as a forking proxy lets through.
    AnswerAgain,
    /// A final refusal.
    Refuse(u16),
    /// BYE.
    HangUp,
    Cancel,
    /// Re-INVITE with this direction.
    Reinvite(Direction),
    /// Re-INVITE without a description.
    ReinviteEmpty,
    /// UPDATE without a description (session refresh).
    Update,
    /// OPTIONS inside the dialog.
    Options,
    /// A digit by RFC 4733.
    Digit(char),
    /// A digit by INFO (`application/dtmf-relay`).
    Info(char),
    /// Stop or go on sending media.
    Mute(bool),
    /// Media goes on with a new SSRC and new numbers.
    NewSsrc,
    /// Falls silent for good: no SIP, no media, as a phone whose battery is empty.
    Die,
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
}
