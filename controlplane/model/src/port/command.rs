//! Commands that own their text until they are written to a ring.

use base::{CallId, ConnectionId, LegId};
use wire::command::{Command, Originate, Secret, Targets, Verdict};
use wire::event::Cause;
use wire::policy::Failover;

use crate::account::SipLogin;

/// [`wire::Command`] with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedCommand {
    Accept { call: CallId, account: u64, setup_ms: u32 },
    Answer { call: CallId, limit_ms: u32 },
    Reject { call: CallId, code: u16, reason: String, retry_after: u32, cause: Cause },
    Hangup { call: CallId, cause: Cause },
    Originate(Box<OwnedOriginate>),
    Join { call: CallId, b: LegId },
    Part { call: CallId },
    Ringback { call: CallId, on: bool },
    Limit { call: CallId, remaining_ms: u32 },
    Release { epoch: u32, leg: LegId },
    Take { call: CallId },
    GiveBack { call: CallId },
    Referred { call: CallId, code: u16, binds: bool },
    Verdict { id: u64, verdict: OwnedVerdict },
    TakePlace { call: CallId },
    Refer { call: CallId, to: String },
    Cancel { call: CallId, cause: Cause },
    PassOn { call: CallId, code: u16, cause: Cause },
}

/// [`wire::command::Verdict`] with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedVerdict {
    Wrong,
    Proven { user: String },
    Answer { code: u16, retry_after: u32, headers: String },
}

/// [`wire::Originate`] with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedOriginate {
    pub call: CallId,
    pub account: u64,
    pub parent: CallId,
    pub peer: LegId,
    pub listener: u8,
    pub targets: Targets,
    pub uri: String,
    pub to: String,
    pub route: String,
    pub flow: Option<ConnectionId>,
    pub from: String,
    pub from_name: String,
    pub headers: String,
    pub ring_ms: u32,
    pub limit_ms: u32,
    pub pass_progress: bool,
    pub bridge: bool,
    /// As many as the targets.
    pub tls_names: Vec<String>,
    pub login: Option<SipLogin>,
    pub failover: Failover,
    pub group: u64,
}

impl OwnedCommand {
    /// As the wire has it, ready for [`wire::encode`].
    #[must_use]
    pub fn view(&self) -> Command<'_> {
        match *self {
            Self::Accept { call, account, setup_ms } => Command::Accept { call, account, setup_ms },
            Self::Answer { call, limit_ms } => Command::Answer { call, limit_ms },
            Self::Reject { call, code, ref reason, retry_after, cause } => {
                Command::Reject { call, code, reason, retry_after, cause }
            }
            Self::Hangup { call, cause } => Command::Hangup { call, cause },
            Self::Originate(ref originate) => Command::Originate(originate.view()),
            Self::Join { call, b } => Command::Join { call, b },
            Self::Part { call } => Command::Part { call },
            Self::Ringback { call, on } => Command::Ringback { call, on },
            Self::Limit { call, remaining_ms } => Command::Limit { call, remaining_ms },
            Self::Release { epoch, leg } => Command::Release { epoch, leg },
            Self::Take { call } => Command::Take { call },
            Self::GiveBack { call } => Command::GiveBack { call },
            Self::Referred { call, code, binds } => Command::Referred { call, code, binds },
            Self::Verdict { id, ref verdict } => Command::Verdict { id, verdict: verdict.view() },
            Self::TakePlace { call } => Command::TakePlace { call },
            Self::Refer { call, ref to } => Command::Refer { call, to },
            Self::Cancel { call, cause } => Command::Cancel { call, cause },
            Self::PassOn { call, code, cause } => Command::PassOn { call, code, cause },
        }
    }
}

impl OwnedVerdict {
    fn view(&self) -> Verdict<'_> {
        match *self {
            Self::Wrong => Verdict::Wrong,
            Self::Proven { ref user } => Verdict::Proven { user },
            Self::Answer { code, retry_after, ref headers } => {
                Verdict::Answer { code, retry_after, headers }
            }
        }
    }
}

impl OwnedOriginate {
    #[must_use]
    pub fn view(&self) -> Originate<'_> {
        let (username, password, trunk) = match &self.login {
            Some(SipLogin::Own { username, password }) => (username.as_str(), &*password.0, ""),
            Some(SipLogin::Trunk(name)) => ("", "", name.as_str()),
            None => ("", "", ""),
        };
        Originate {
            call: self.call,
            account: self.account,
            parent: self.parent,
            peer: self.peer,
            listener: self.listener,
            targets: self.targets.clone(),
            uri: &self.uri,
            to: &self.to,
            route: &self.route,
            flow: self.flow,
            from: &self.from,
            from_name: &self.from_name,
            headers: &self.headers,
            ring_ms: self.ring_ms,
            limit_ms: self.limit_ms,
            pass_progress: self.pass_progress,
            bridge: self.bridge,
            tls_names: self.tls_names.iter().take(4).map(String::as_str).collect(),
            username,
            password: Secret(password),
            trunk,
            failover: self.failover,
            group: self.group,
        }
    }
}
