//! The Call resource and the hooks of a call. Every leg is a call of its own; a dialled leg names
//! its parent.

use base::{CallId, Wall};
use serde::{Deserialize, Serialize};
use wire::event::Cause;

use crate::money::{Currency, Nanos};
use crate::sid::{AccountSid, NumberSid, TrunkSid};

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum CallStatus {
    /// Made by the API, its INVITE not sent yet.
    #[default]
    Queued,
    /// The INVITE was sent.
    Initiated,
    Ringing,
    InProgress,
    Completed,
    Busy,
    Failed,
    NoAnswer,
    Canceled,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallDirection {
    #[default]
    Inbound,
    OutboundApi,
    OutboundDial,
    /// A call to a number of a trunk, and one that the trunk's switch makes: both of its legs.
    TrunkingOriginating(TrunkSid),
    TrunkingTerminating(TrunkSid),
}

/// A call as the API shows it (2010-04-01 Call resource).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRow {
    pub sid: CallId,
    pub account: AccountSid,
    pub parent: Option<CallId>,
    pub date_created: Wall,
    pub date_updated: Wall,
    pub to: String,
    pub from: String,
    pub caller_name: Option<String>,
    pub forwarded_from: Option<String>,
    /// The number or domain's number through which it came in.
    pub phone_number: Option<NumberSid>,
    pub status: CallStatus,
    pub direction: CallDirection,
    /// When it came in, or when its INVITE was sent.
    pub start_time: Option<Wall>,
    /// When it was answered.
    pub answer_time: Option<Wall>,
    pub end_time: Option<Wall>,
    /// Seconds from answer to end, rounded to the nearest; None while it stands.
    pub duration: Option<u32>,
    /// Charge, negative; None while it stands or where no price is set.
    pub price: Option<Nanos>,
    pub price_unit: Currency,
    /// Milliseconds between the API's request and the INVITE.
    pub queue_time_ms: u32,
    /// Once ended: why, and the final SIP status (0 for none).
    pub cause: Option<Cause>,
    pub sip_code: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[default]
    Post,
    Get,
}

/// A URI to be asked. `url` as configured, with its `#rc=..` fragment if it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    pub url: String,
    pub method: Method,
}

/// A URI to be told of a call's events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusHook {
    pub hook: Hook,
    pub events: Events,
}

/// What a call's followers can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallEvent {
    Initiated,
    Ringing,
    Answered,
    Completed,
}

/// A set of [`CallEvent`]s. The default is `completed` alone, as for a hook that names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Events(pub u8);

impl CallStatus {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Initiated => "initiated",
            Self::Ringing => "ringing",
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::NoAnswer => "no-answer",
            Self::Canceled => "canceled",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "queued" => Self::Queued,
            "initiated" => Self::Initiated,
            "ringing" => Self::Ringing,
            "in-progress" => Self::InProgress,
            "completed" => Self::Completed,
            "busy" => Self::Busy,
            "failed" => Self::Failed,
            "no-answer" => Self::NoAnswer,
            "canceled" => Self::Canceled,
            _ => return None,
        })
    }

    /// The call is over.
    #[must_use]
    pub fn is_final(self) -> bool {
        self >= Self::Completed
    }
}

impl CallDirection {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::OutboundApi => "outbound-api",
            Self::OutboundDial => "outbound-dial",
            Self::TrunkingOriginating(_) => "trunking-originating",
            Self::TrunkingTerminating(_) => "trunking-terminating",
        }
    }

    /// The trunk of a trunk's call.
    #[must_use]
    pub fn trunk(self) -> Option<TrunkSid> {
        match self {
            Self::TrunkingOriginating(trunk) | Self::TrunkingTerminating(trunk) => Some(trunk),
            Self::Inbound | Self::OutboundApi | Self::OutboundDial => None,
        }
    }
}

impl Method {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Get => "GET",
        }
    }

    /// `GET` or `POST` in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("POST") {
            Some(Self::Post)
        } else if name.eq_ignore_ascii_case("GET") {
            Some(Self::Get)
        } else {
            None
        }
    }
}

impl Hook {
    #[must_use]
    pub fn post(url: impl Into<String>) -> Self {
        Self { url: url.into(), method: Method::Post }
    }
}

impl CallEvent {
    pub const ALL: [Self; 4] = [Self::Initiated, Self::Ringing, Self::Answered, Self::Completed];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Initiated => "initiated",
            Self::Ringing => "ringing",
            Self::Answered => "answered",
            Self::Completed => "completed",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }
}

impl Events {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(15);

    #[must_use]
    pub fn with(self, event: CallEvent) -> Self {
        Self(self.0 | 1 << event as u8)
    }

    #[must_use]
    pub fn has(self, event: CallEvent) -> bool {
        self.0 >> event as u8 & 1 == 1
    }

    /// Names separated by spaces; None if one is unknown. No name at all is the default set.
    #[must_use]
    pub fn parse(names: &str) -> Option<Self> {
        let mut events = Self::NONE;
        for name in names.split([' ', ',']).filter(|name| !name.is_empty()) {
            events = events.with(CallEvent::from_name(name)?);
        }
        Some(if events == Self::NONE { Self::default() } else { events })
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::NONE.with(CallEvent::Completed)
    }
}
