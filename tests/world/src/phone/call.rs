//! One call of a phone: its dialog, its transactions, what it plans to do, and what it saw.

use std::net::SocketAddr;
use std::time::Duration;

use base::{Mono, Now, Prng};
use sdp::{Direction, Plan};
use sip::dialog::Dialog;
use sip::txn::{Accepted2xx, Client, InviteClient, InviteServer, Server, Timers};
use sip::{Message, Method, Transport, ViaOut};

use super::manner::{Action, Manner};
use super::media::Media;
use crate::network::Datagram;

pub(super) const TIMERS: Timers = Timers::RFC;

/// Which end of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Caller,
    Callee,
}

/// How far the call is, as this phone sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// INVITE sent or received.
    Trying,
    Ringing,
    Up,
    /// Over: BYE sent or received, refused, or given up.
    Over,
}

/// What a phone saw of a call.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub dialed_at: Mono,
    pub provisional: Vec<u16>,
    /// Final status of the INVITE.
    pub code: u16,
    /// When the 2xx was sent or came.
    pub answered_at: Option<Mono>,
    /// When the BYE was sent or came, or the call ended otherwise.
    pub ended_at: Option<Mono>,
    /// The other side ended it.
    pub ended_by_peer: bool,
    /// ACKs received for our 2xx.
    pub acks: u32,
    /// Final responses that came to requests of ours inside the dialog, in order.
    pub answers: Vec<(String, u16)>,
    /// Nobody answered a request of ours.
    pub timeouts: u32,
    /// Times that a request of ours was sent again.
    pub repeats: u32,
    /// INVITEs received, repetitions included.
    pub invites: u32,
    pub byes: u32,
    pub cancels: u32,
    /// Direction in the last answer to our re-INVITE, as the switch wrote it.
    pub answered_direction: Option<Direction>,
    /// Retry-After of the final response.
    pub retry_after: Option<u32>,
    pub session_expires: Option<u32>,
    /// X- headers of the INVITE that came.
    pub headers: Vec<String>,
}

/// An INVITE that we sent, and its ACK once there is one.
#[derive(Debug)]
pub(super) struct SentInvite {
    pub(super) machine: InviteClient,
    pub(super) bytes: Vec<u8>,
    pub(super) branch: Vec<u8>,
    pub(super) ack: Vec<u8>,
    pub(super) cseq: u32,
    pub(super) done: bool,
}

/// Another request that we sent.
#[derive(Debug)]
pub(super) struct SentRequest {
    pub(super) machine: Client,
    pub(super) method: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) branch: Vec<u8>,
    pub(super) to: SocketAddr,
}

#[derive(Debug)]
pub(super) enum Machine {
    Invite(InviteServer),
    Other(Server),
}

/// A request that came, and our last response.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) branch: Vec<u8>,
    pub(super) invite: bool,
    pub(super) machine: Machine,
    pub(super) response: Vec<u8>,
    pub(super) to: SocketAddr,
    pub(super) request: Vec<u8>,
    pub(super) source: SocketAddr,
    /// It began the call, it is no re-INVITE.
    pub(super) first: bool,
}

/// One call.
#[derive(Debug)]
pub struct PhoneCall {
    pub who: Who,
    pub state: State,
    pub seen: Seen,
    pub media: Option<Media>,
    pub call_id: String,
    pub manner: Manner,
    /// Conversation and speaker, said in every packet.
    pub group: u32,
    pub stream: u32,
    /// Request-URI: dialled, or as it came.
    pub uri: String,
    /// The other side as From or To names it.
    pub peer: String,
    pub(super) ours: SocketAddr,
    pub(super) media_at: SocketAddr,
    pub(super) switch: SocketAddr,
    pub(super) tag: String,
    pub(super) cseq: u32,
    pub(super) dialog: Option<Dialog>,
    pub(super) text: Vec<u8>,
    pub(super) local_sdp: Vec<u8>,
    pub(super) remote_sdp: Vec<u8>,
    pub(super) sdp_version: u64,
    pub(super) late_offer: bool,
    pub(super) invites: Vec<SentInvite>,
    pub(super) requests: Vec<SentRequest>,
    pub(super) served: Vec<Served>,
    pub(super) accepted: Option<(Accepted2xx, Vec<u8>, SocketAddr)>,
    pub(super) todo: Vec<(Mono, Action)>,
    pub(super) cancel_wanted: bool,
    /// It gave the call up: should it be answered all the same, it hangs up at once.
    pub(super) gave_up: bool,
    pub(super) random: Prng,
    pub(super) dead: bool,
}

impl PhoneCall {
    pub(super) fn new(
        who: Who,
        (ours, media_at, switch): (SocketAddr, SocketAddr, SocketAddr),
        manner: Manner,
        seed: u64,
    ) -> Self {
        let mut random = Prng::new(seed);
        Self {
            who,
            state: State::Trying,
            seen: Seen::default(),
            media: None,
            call_id: format!("{:016x}@phone", random.u64()),
            manner,
            group: 0,
            stream: 0,
            uri: String::new(),
            peer: String::new(),
            ours,
            media_at,
            switch,
            tag: format!("{:08x}", random.u32()),
            cseq: u32::from_be_bytes([0, 0, 1, random.u64().to_be_bytes()[0]]),
            dialog: None,
            text: vec![0; 4_096],
            local_sdp: Vec::new(),
            remote_sdp: Vec::new(),
            sdp_version: 1,
            late_offer: false,
            invites: Vec::new(),
            requests: Vec::new(),
            served: Vec::new(),
            accepted: None,
            todo: Vec::new(),
            cancel_wanted: false,
            gave_up: false,
            random,
            dead: false,
        }
    }

    /// Where the description says media is wanted.
    #[must_use]
    pub fn media_address(&self) -> SocketAddr {
        self.media_at
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// How long it was connected, as this phone saw it.
    #[must_use]
    pub fn connected(&self) -> Duration {
        match (self.seen.answered_at, self.seen.ended_at) {
            (Some(answered), Some(ended)) => ended.since(answered),
            _ => Duration::ZERO,
        }
    }

    /// The direction this side has in force.
    #[must_use]
    pub fn direction(&self) -> Option<Direction> {
        self.media.as_ref().map(|media| media.plan.direction)
    }

    /// Does something at `now`.
    pub fn act(&mut self, now: Now, action: Action) {
        self.todo.push((now.mono, action));
    }

    /// Does something later.
    pub fn plan(&mut self, at: Mono, action: Action) {
        self.todo.push((at, action));
    }

    pub(super) fn schedule(&mut self, from: Mono, actions: &[(Duration, Action)]) {
        self.todo.extend(actions.iter().map(|(after, action)| (from + *after, action.clone())));
    }

    pub(super) fn deadline(&self) -> Mono {
        if self.dead {
            return Mono::NEVER;
        }
        let invites = self.invites.iter().map(|invite| invite.machine.deadline());
        let requests = self.requests.iter().map(|request| request.machine.deadline());
        let served = self.served.iter().map(|served| match &served.machine {
            Machine::Invite(machine) => machine.deadline(),
            Machine::Other(machine) => machine.deadline(),
        });
        let todo = self.todo.iter().map(|(at, _)| *at);
        let accepted = self.accepted.iter().map(|(accepted, ..)| accepted.deadline());
        let media = self.media.iter().map(Media::deadline);
        let all = invites.chain(requests).chain(served).chain(todo).chain(accepted).chain(media);
        all.min().unwrap_or(Mono::NEVER)
    }

    pub(super) fn handle_tick(&mut self, now: Now, out: &mut Vec<Datagram>) {
        self.client_ticks(now, out);
        self.server_ticks(now, out);
        loop {
            let due = self.todo.iter().enumerate().filter(|(_, (at, _))| *at <= now.mono);
            let Some(at) = due.min_by_key(|(_, (at, _))| *at).map(|(index, _)| index) else {
                break;
            };
            let (_, action) = self.todo.remove(at);
            self.perform(now, &action, out);
        }
        if let Some(media) = self.media.as_mut().filter(|_| !self.dead) {
            media.handle_tick(now, out);
        }
    }

    fn perform(&mut self, now: Now, action: &Action, out: &mut Vec<Datagram>) {
        match action {
            Action::Ring => self.answer_invite(now, 180, out),
            Action::EarlyMedia => self.answer_invite(now, 183, out),
            Action::Answer => self.answer_invite(now, 200, out),
            Action::AnswerAgain => self.answer_again(out),
            Action::Refuse(code) => self.answer_invite(now, *code, out),
            Action::HangUp => self.hang_up(now, out),
            Action::Cancel => self.cancel(now, out),
            Action::Reinvite(direction) => self.reinvite(now, Some(*direction), out),
            Action::ReinviteEmpty => self.reinvite(now, None, out),
            Action::Update => self.request(now, Method::Update, (b"", b""), out),
            Action::Options => self.request(now, Method::Options, (b"", b""), out),
            Action::Info(digit) => {
                let body = format!("Signal={digit}\r\nDuration=160\r\n");
                let body = (&b"application/dtmf-relay"[..], body.as_bytes());
                self.request(now, Method::Info, body, out);
            }
            Action::Digit(digit) => {
                if let Some(media) = &mut self.media {
                    media.digit(*digit);
                }
            }
            Action::Mute(muted) => {
                if let Some(media) = &mut self.media {
                    media.muted = *muted;
                }
            }
            Action::NewSsrc => {
                if let Some(media) = &mut self.media {
                    media.new_ssrc(&mut self.random);
                }
            }
            Action::Die => self.dead = true,
        }
    }

    /// Whether the response answers a request of this call.
    pub(super) fn owns_branch(&self, response: &Message<'_>) -> bool {
        let branch = response.via().ok().and_then(|via| via.branch).unwrap_or_default();
        self.invites.iter().any(|invite| invite.branch == branch)
            || self.requests.iter().any(|request| request.branch == branch)
    }

    /// Whether the request belongs to this call.
    pub(super) fn owns_request(&self, call_id: &[u8], request: &Message<'_>) -> bool {
        let tag = request.to_tag();
        self.call_id.as_bytes() == call_id && tag.is_none_or(|tag| tag == self.tag.as_bytes())
    }

    pub(super) fn handle_media(&mut self, now: Now, datagram: &Datagram) {
        if let Some(media) = self.media.as_mut().filter(|_| !self.dead) {
            media.handle(now, datagram);
        }
    }

    /// The call was answered: media flows, plans are made.
    pub(super) fn up(&mut self, now: Now) {
        if self.state == State::Over || self.seen.answered_at.is_some() {
            return;
        }
        self.state = State::Up;
        self.seen.answered_at = Some(now.mono);
        self.start_media(now);
        if self.gave_up {
            return self.act(now, Action::HangUp);
        }
        let actions = self.manner.on_answer.clone();
        self.schedule(now.mono, &actions);
    }

    pub(super) fn start_media(&mut self, now: Now) {
        let (every, report) = (self.manner.packet_every, self.manner.report_every);
        if let Some(media) = &mut self.media {
            media.start(now, every, report);
        }
    }

    /// The call is over for this phone.
    pub(super) fn over(&mut self, now: Now, by_peer: bool) {
        if self.state == State::Over {
            return;
        }
        self.state = State::Over;
        self.seen.ended_at = Some(now.mono);
        self.seen.ended_by_peer = by_peer;
        self.todo.clear();
        if let Some(media) = &mut self.media {
            media.stop();
        }
    }

    /// Local and remote description make a plan.
    pub(super) fn negotiate(&mut self) -> bool {
        let plan = sdp::Session::parse(&self.local_sdp).and_then(|local| {
            let remote = sdp::Session::parse(&self.remote_sdp)?;
            Plan::negotiate(&local, &remote)
        });
        let Ok(plan) = plan else { return false };
        match &mut self.media {
            Some(media) => media.plan = plan,
            None => {
                let mut source = self.media_at;
                source.set_port(self.manner.nat_port.unwrap_or_else(|| source.port()));
                let names = (self.group, self.stream);
                let media = Media::new(self.media_at, source, plan, names, &mut self.random);
                self.media = Some(media);
            }
        }
        true
    }

    pub(super) fn local(&self) -> sdp::Local {
        sdp::Local {
            rtp: self.media_at,
            rtcp: sdp::Rtcp::NextPort,
            session_id: u64::from(self.media_at.port()),
            version: self.sdp_version,
        }
    }

    pub(super) fn make_offer(&mut self, direction: Direction) {
        let offer = sdp::Offer { codecs: &self.manner.codecs, direction, ptime_ms: 20 };
        let mut out = vec![0; 4_096];
        let len = sdp::write_offer(&offer, &self.local(), &mut out);
        out.truncate(len.unwrap_or_else(|error| panic!("our own offer: {error:?}")));
        self.local_sdp = out;
    }

    /// Answers what stands in `remote_sdp`. False if nothing is in common.
    pub(super) fn make_answer(&mut self) -> bool {
        let Ok(offer) = sdp::Session::parse(&self.remote_sdp) else { return false };
        let how = sdp::Answer {
            codecs: &self.manner.codecs,
            direction: Direction::SendRecv,
            ptime_ms: 20,
            prefer_ours: false,
            single: false,
        };
        let mut out = vec![0; 4_096];
        let Ok(len) = sdp::answer(&offer, &how, &self.local(), &mut out) else { return false };
        out.truncate(len);
        self.local_sdp = out;
        true
    }

    pub(super) fn branch(&mut self) -> Vec<u8> {
        format!("z9hG4bK{:016x}", self.random.u64()).into_bytes()
    }

    pub(super) fn contact(&self) -> Vec<u8> {
        format!("sip:phone@{}", self.ours).into_bytes()
    }

    pub(super) fn put(&self, to: SocketAddr, bytes: Vec<u8>, out: &mut Vec<Datagram>) {
        out.push(Datagram { from: self.ours, to, bytes });
    }

    /// Nothing of the call runs any more.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.deadline() == Mono::NEVER
    }
}

pub(super) fn via(sent_by: SocketAddr, branch: &[u8]) -> ViaOut<'_> {
    ViaOut { transport: Transport::Udp, sent_by, branch, rport: true }
}
