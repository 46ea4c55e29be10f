//! One call of a phone: what it plans to do, what is in force, and what it saw.

use std::net::SocketAddr;
use std::time::Duration;

use base::{Mono, Now, Prng};
use sdp::{Codec, Direction, PlanFormat};
use sip::{Message, Method, Name, Writer};

use super::change::{Offering, Way};
use super::manner::{Action, Manner};
use super::media::Media;
use super::reliable::Reliable;
use super::timer::Timing;
use crate::describe::Shape;
use crate::signal::{Signal, with_lines};
use crate::{Cx, Datagram};

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
    /// Requests of the other side inside the dialog, and what we answered, in order.
    pub asked: Vec<(String, u16)>,
    /// Nobody answered a request of ours.
    pub timeouts: u32,
    /// Times that a message of ours was sent again.
    pub repeats: u32,
    /// INVITEs received, repetitions included.
    pub invites: u32,
    pub byes: u32,
    pub cancels: u32,
    /// Direction in the last answer to our re-INVITE, as the switch wrote it.
    pub answered_direction: Option<Direction>,
    /// Direction that the switch's last description says of itself: inactive for m=audio 0, not
    /// receiving for c=0.0.0.0.
    pub direction_told: Option<Direction>,
    /// Retry-After of the final response.
    pub retry_after: Option<u32>,
    /// Session-Expires of the last 2xx that had one.
    pub session_expires: Option<u32>,
    /// X- headers of the INVITE that came.
    pub headers: Vec<String>,
    /// The INVITE that came (a callee), or its 2xx (a caller), as text.
    pub text: String,
    /// Methods in the switch's last Allow.
    pub allow: Vec<String>,
    /// Texts that came by MESSAGE, and those that were sent.
    pub texts: Vec<String>,
    pub said: Vec<String>,
    /// Digits that came by INFO.
    pub info_digits: String,
    /// First lines of what NOTIFYs said of a referral of ours.
    pub notified: Vec<String>,
    /// Reason of the CANCEL or BYE that came.
    pub reason: Option<String>,
    /// 491 received.
    pub glares: u32,
    /// 491 sent.
    pub glares_refused: u32,
    /// Session refreshes sent and received, and 422 received.
    pub refreshes: u32,
    pub refreshed: u32,
    pub too_brief: u32,
    /// The session timer ran out and the phone hung up.
    pub expired: bool,
    /// What the switch did that it must not, by the RFCs that the text names.
    pub complaints: Vec<String>,
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
    pub(super) from: String,
    pub(super) dial_headers: Vec<String>,
    /// What its INVITE has beside the description.
    pub(super) part: String,
    /// Credentials of its INVITE, once it was challenged.
    pub(super) credentials: Vec<String>,
    pub(super) signal: Signal,
    pub(super) media_at: SocketAddr,
    /// Where media was wanted before a move.
    pub(super) moved_from: Option<SocketAddr>,
    pub(super) shape: Shape,
    /// The descriptions in force.
    pub(super) ours: Vec<u8>,
    pub(super) theirs: Vec<u8>,
    pub(super) version: u64,
    pub(super) written: Vec<u8>,
    /// Payload types of ours, which mean the same codec as long as the call lasts.
    pub(super) numbers: Vec<(u8, Codec)>,
    /// An offer of ours that has no answer.
    pub(super) offering: Option<Offering>,
    /// The offer of the INVITE that came.
    pub(super) first_offer: Vec<u8>,
    /// CSeq number of the INVITE that began the call.
    pub(super) first_cseq: u32,
    /// Tag and description of the first answer to our INVITE's offer.
    pub(super) first_answer: Option<(Vec<u8>, Vec<u8>)>,
    /// An UPDATE has changed the session before it was answered.
    pub(super) updated: bool,
    /// The early description was not that of the answer.
    pub(super) early: Option<Shape>,
    /// Our tags of other branches, each ended by the BYE of its own dialog.
    pub(super) forks: Vec<Vec<u8>>,
    pub(super) todo: Vec<(Mono, Step)>,
    pub(super) cancel_wanted: bool,
    /// It gave the call up: should it be answered all the same, it hangs up at once.
    pub(super) gave_up: bool,
    pub(super) reliable: Reliable,
    pub(super) timing: Option<Timing>,
    /// The smallest interval that the other side has asked for.
    pub(super) min_se: u32,
    pub(super) peer_timer: bool,
    pub(super) random: Prng,
    pub(super) dead: bool,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Act(Action),
    /// An offer again: what it changed in the shape of that time (the first) it changes in the
    /// shape of then.
    Offer(Box<(Shape, Shape)>, Way),
}

impl PhoneCall {
    pub(super) fn new(
        who: Who,
        (ours, media_at, switch): (SocketAddr, SocketAddr, SocketAddr),
        manner: Manner,
        seed: u64,
    ) -> Self {
        let mut random = Prng::new(seed);
        let call_id = format!("{:016x}@phone", random.u64());
        let tag = format!("{:08x}", random.u32());
        let cseq = u32::from_be_bytes([0, 0, 1, random.u64().to_be_bytes()[0]]);
        let mut signal = Signal::new(ours, switch, cseq, random.u64());
        signal.call_id = call_id.clone().into_bytes();
        signal.tag = tag.into_bytes();
        signal.go_by(manner.transport());
        let shape = Shape {
            codecs: manner.codecs.clone(),
            direction: Direction::SendRecv,
            nowhere: false,
            stopped: false,
            media: media_at,
            session_id: u64::from(media_at.port()),
        };
        Self {
            who,
            state: State::Trying,
            seen: Seen::default(),
            media: None,
            call_id,
            manner,
            group: 0,
            stream: 0,
            uri: String::new(),
            peer: String::new(),
            from: String::new(),
            dial_headers: Vec::new(),
            part: String::new(),
            credentials: Vec::new(),
            signal,
            media_at,
            moved_from: None,
            shape,
            ours: Vec::new(),
            theirs: Vec::new(),
            version: 1,
            written: Vec::new(),
            numbers: Vec::new(),
            offering: None,
            first_offer: Vec::new(),
            first_cseq: 0,
            first_answer: None,
            updated: false,
            early: None,
            forks: Vec::new(),
            todo: Vec::new(),
            cancel_wanted: false,
            gave_up: false,
            reliable: Reliable::default(),
            timing: None,
            min_se: 0,
            peer_timer: false,
            random,
            dead: false,
        }
    }

    pub(super) fn manner_is(&mut self, manner: Manner) {
        self.shape.codecs.clone_from(&manner.codecs);
        self.manner = manner;
    }

    /// Where the description says media is wanted.
    #[must_use]
    pub fn media_address(&self) -> SocketAddr {
        self.media_at
    }

    /// Whether this port is one of the call's: the one described, the one before a move, that of
    /// the NAT, and the RTCP ports above them.
    #[must_use]
    pub fn takes_media(&self, port: u16) -> bool {
        let moved = self.moved_from.map(|at| at.port());
        let own = [Some(self.media_at.port()), moved, self.manner.nat_port];
        own.into_iter().flatten().any(|own| own == port || own + 1 == port)
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

    /// The formats in force, with the numbers that each side asked for; none before an answer and
    /// while the stream is stopped.
    #[must_use]
    pub fn in_force(&self) -> Vec<(Codec, u8, u8)> {
        let entry = |it: &PlanFormat| (it.codec, it.receive_pt, it.send_pt);
        self.media.iter().flat_map(|media| &media.plan.formats).map(entry).collect()
    }

    /// An offer or an INVITE of ours is open.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.is_offering() || self.signal.is_inviting()
    }

    /// The switch's last description that counted.
    #[must_use]
    pub fn description_told(&self) -> &[u8] {
        &self.theirs
    }

    /// Does something at `now`.
    pub fn act(&mut self, now: Now, action: Action) {
        self.plan(now.mono, action);
    }

    /// Does something later.
    pub fn plan(&mut self, at: Mono, action: Action) {
        self.todo.push((at, Step::Act(action)));
    }

    pub(super) fn schedule(&mut self, from: Mono, actions: &[(Duration, Action)]) {
        let step =
            |(after, action): &(Duration, Action)| (from + *after, Step::Act(action.clone()));
        self.todo.extend(actions.iter().map(step));
    }

    pub(super) fn complain(&mut self, what: &str) {
        self.seen.complaints.push(what.to_owned());
    }

    pub(super) fn deadline(&self) -> Mono {
        if self.dead {
            return Mono::NEVER;
        }
        let todo = self.todo.iter().map(|(at, _)| *at).min().unwrap_or(Mono::NEVER);
        let media = self.media.as_ref().map_or(Mono::NEVER, Media::deadline);
        let timing = self.timing.as_ref().map_or(Mono::NEVER, Timing::deadline);
        let own = todo.min(media).min(timing).min(self.reliable.deadline());
        self.signal.deadline().min(own)
    }

    pub(super) fn handle_tick(&mut self, cx: &mut Cx<'_>) {
        self.handle_expired(cx);
        self.reliable_tick(cx);
        loop {
            let due = self.todo.iter().enumerate().filter(|(_, (at, _))| *at <= cx.now.mono);
            let Some(at) = due.min_by_key(|(_, (at, _))| *at).map(|(index, _)| index) else {
                break;
            };
            let (_, step) = self.todo.remove(at);
            match step {
                Step::Act(action) => self.perform(cx, &action),
                Step::Offer(change, way) => {
                    let shape = self.shape.with_change(&change.0, &change.1);
                    self.offer(cx, shape, way);
                }
            }
        }
        self.timing_tick(cx);
        if let Some(media) = self.media.as_mut().filter(|_| !self.dead) {
            media.handle_tick(cx.now, cx.out);
        }
    }

    fn handle_expired(&mut self, cx: &mut Cx<'_>) {
        let expired = self.signal.handle_timeout(cx);
        self.seen.repeats += expired.repeats;
        self.seen.timeouts += expired.timeouts;
        if let Some(cseq) = expired.invite {
            if expired.initial {
                self.over(cx.now, true);
            } else {
                self.offer_failed(cx, Way::Invite, cseq, 408);
            }
        }
        if let Some((method, cseq)) = expired.request
            && method == Method::Update
        {
            self.offer_failed(cx, Way::Update, cseq, 408);
        }
        if expired.unacknowledged {
            // RFC 3261 section 13.3.1.4: the session is ended.
            self.hang_up(cx);
        }
    }

    fn perform(&mut self, cx: &mut Cx<'_>, action: &Action) {
        if self.waits_for_prack(action) {
            return self.plan(cx.now.mono + Duration::from_millis(50), action.clone());
        }
        match action {
            Action::Ring => self.answer_invite(cx, 180),
            Action::EarlyMedia => self.answer_invite(cx, 183),
            Action::Ring183(direction, codecs) => self.ring_with(cx, *direction, codecs),
            Action::Answer => self.answer_invite(cx, 200),
            Action::AnswerWith(codecs, other) => self.answer_with(cx, codecs, *other),
            Action::AnswerAgain => self.answer_again(cx),
            Action::Refuse(code) => self.answer_invite(cx, *code),
            Action::Redirect(to) => self.redirect(cx, to),
            Action::HangUp => self.hang_up(cx),
            Action::Cancel => self.cancel(cx),
            Action::Update => self.refresh_by_update(cx),
            Action::Options => self.request(cx, Method::Options, b"", b""),
            Action::Refer(to, quiet) => self.refer(cx, to, *quiet),
            Action::Message(text) => self.say(cx, text),
            Action::Info(digit) => {
                let body = format!("Signal={digit}\r\nDuration=160\r\n");
                self.request(cx, Method::Info, b"application/dtmf-relay", body.as_bytes());
            }
            Action::InfoText(text) => {
                self.request(cx, Method::Info, b"application/dtmf", text.as_bytes());
            }
            Action::Contact(uri) => self.signal.contact = uri.clone().into_bytes(),
            Action::TakeOffers(how) => self.manner.reinvite = *how,
            Action::Die => self.dead = true,
            Action::Digit(_) | Action::Mute(_) | Action::NewSsrc | Action::Speak(_) => {
                self.perform_media(action);
            }
            change => self.perform_change(cx, change),
        }
    }

    fn perform_media(&mut self, action: &Action) {
        let Some(media) = &mut self.media else { return };
        match action {
            Action::Digit(digit) => media.digit(*digit),
            Action::Mute(muted) => media.muted = *muted,
            Action::NewSsrc => media.new_ssrc(&mut self.random),
            Action::Speak(speaks) => media.speaks = *speaks,
            _ => {}
        }
    }

    /// Whether the request belongs to this call: by tag, or, where it has none of ours, because it
    /// is a repetition, a CANCEL, or merged with what we have.
    pub(super) fn owns_request(&self, request: &Message<'_>) -> bool {
        if request.call_id() != Ok(&self.signal.call_id[..]) {
            return false;
        }
        match request.to_tag() {
            Some(tag) => tag == self.signal.tag || self.forks.iter().any(|fork| fork == tag),
            None => !self.is_over() || self.signal.knows_request(request),
        }
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
        (self.timing, self.offering) = (None, None);
        self.reliable = Reliable::default();
        if let Some(media) = &mut self.media {
            media.stop();
        }
    }

    /// What a message of the other side says of what it can do.
    pub(super) fn learn(&mut self, message: &Message<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if message.has(Name::Allow) {
            self.seen.allow = message.values(Name::Allow).map(text).collect();
        }
        self.peer_timer |= message.lists(Name::Supported, b"timer");
    }

    /// Nothing of the call runs any more.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.deadline() == Mono::NEVER
    }
}

/// Allow, Supported and the phone's own header lines, as a manner has them.
pub(super) fn dress<'b>(mut writer: Writer<'b>, manner: &Manner, own: bool) -> Writer<'b> {
    let (allow, supported) = (manner.allow_value(), manner.supported_value());
    if !allow.is_empty() {
        writer = writer.field(Name::Allow, allow.as_bytes());
    }
    if !supported.is_empty() {
        writer = writer.field(Name::Supported, supported.as_bytes());
    }
    if own { with_lines(writer, &manner.headers) } else { writer }
}

/// A description as the message's body, if there is one.
pub(super) fn body<'b>(writer: Writer<'b>, text: &[u8]) -> Writer<'b> {
    if text.is_empty() { writer } else { writer.content(b"application/sdp", text) }
}

/// The same with another part beside it; the description alone where there is none.
pub(super) fn mixed<'b>(writer: Writer<'b>, text: &[u8], part: &str) -> Writer<'b> {
    const DELIMITER: &str = "part-of-a-phone";
    if part.is_empty() {
        return body(writer, text);
    }
    let mut bytes = Vec::new();
    if !text.is_empty() {
        bytes.extend(format!("--{DELIMITER}\r\nContent-Type: application/sdp\r\n\r\n").bytes());
        bytes.extend_from_slice(text);
        bytes.extend(b"\r\n");
    }
    bytes.extend(format!("--{DELIMITER}\r\n{part}\r\n--{DELIMITER}--\r\n").bytes());
    writer.content(format!("multipart/mixed;boundary={DELIMITER}").as_bytes(), &bytes)
}

/// The description in a message, alone or among other parts; empty for none.
pub(super) fn sdp_of<'a>(message: &Message<'a>) -> &'a [u8] {
    match message.is_sdp() {
        true => message.body(),
        false => message.sdp().readable().unwrap_or_default(),
    }
}
