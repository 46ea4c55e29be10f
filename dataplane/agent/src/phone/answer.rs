//! What a phone answers: INVITE and re-INVITE, UPDATE, ACK, CANCEL, BYE and everything else.

use sdp::{Direction, Supported};
use sip::{Message, Method, Name};

use super::call::{PhoneCall, State, Who, body, dress, sdp_of};
use super::change::{Offering, Way};
use super::manner::{Reinvite, Reliability};
use super::register::Account;
use super::timer::TimerHeaders;
use crate::describe::Shape;
use crate::signal::{Answer, Request};
use crate::{Cx, Datagram};

/// The tag of [`super::Action::AnswerAgain`].
const OTHER_FORK: &[u8] = b"otherfork";

impl PhoneCall {
    /// An INVITE came for this phone.
    pub(super) fn ring(&mut self, cx: &mut Cx<'_>, datagram: &Datagram, message: &Message<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.first_cseq = self.signal.begin(cx, datagram.from, &datagram.bytes, message);
        self.call_id = text(&self.signal.call_id);
        self.uri = text(message.uri_raw());
        self.peer = message.from().map_or_else(|_| String::new(), |from| text(from.uri));
        // A conversation is named by its number in the user part, `g<group>`.
        self.group = group_of(&self.uri).unwrap_or(0);
        if self.uri.starts_with("urn:") {
            // Of a service: its caller names it, `c<group>`.
            self.group = group_of_caller(&self.peer).unwrap_or(0);
        }
        self.stream = self.group * 2 + 1;
        self.seen.dialed_at = cx.now.mono;
        self.seen.invites = 1;
        self.seen.text = text(&datagram.bytes);
        self.seen.headers = message
            .headers()
            .filter(|header| header.text.starts_with(b"X-"))
            .map(|header| format!("{}: {}", text(header.text), text(header.value)))
            .collect();
        self.learn(message);
        if self.signal.dialog.is_none() {
            self.complain("an INVITE that makes no dialog (RFC 3261 section 12.1.1)");
        }
        if !message.has(Name::Contact) {
            self.complain("an INVITE without Contact (RFC 3261 section 8.1.1.8)");
        }
        self.first_offer = sdp_of(message).to_vec();
        if self.manner.trying {
            self.answer_invite(cx, 100);
        }
        if let Some(unknown) = self.unsupported(message) {
            return self.refuse_extension(cx, (self.first_cseq, Method::Invite), &unknown);
        }
        if let Err(least) = self.timer_answered(message) {
            return self.refuse_timer(cx, least);
        }
        let actions = self.manner.on_ring.clone();
        self.schedule(cx.now.mono, &actions);
    }

    /// It came to a contact that the phone registered: the conversation is named by its caller,
    /// `c<group>`.
    pub(super) fn is_for(&mut self, account: &Account) {
        let of_caller = group_of_caller(&self.peer);
        if self.group == 0
            && let Some(group) = of_caller
        {
            (self.group, self.stream) = (group, group * 2 + 1);
        }
        let user = account.login.user.as_str();
        if !self.uri.contains(user) {
            self.complain("an INVITE whose URI is not the contact (RFC 3261 section 16.5)");
        }
    }

    /// An option tag in Require that we do not have.
    fn unsupported(&self, message: &Message<'_>) -> Option<Vec<u8>> {
        let known = |tag: &[u8]| {
            let timer = self.manner.timer.is_some() && tag == b"timer";
            let reliable = self.manner.reliable != Reliability::Unknown && tag == b"100rel";
            timer || reliable || self.manner.supported.iter().any(|own| own.as_bytes() == tag)
        };
        message.values(Name::Require).find(|tag| !known(tag)).map(<[u8]>::to_vec)
    }

    fn refuse_extension(
        &mut self,
        cx: &mut Cx<'_>,
        (cseq, method): (u32, Method<'_>),
        unknown: &[u8],
    ) {
        self.complain("a request requires what we do not support (RFC 3261 section 8.2.2.3)");
        self.signal.respond(cx, cseq, method, 420.into(), |writer| {
            writer.field(Name::Unsupported, unknown)
        });
        if matches!(self.state, State::Trying | State::Ringing) {
            self.seen.code = 420;
            self.over(cx.now, false);
        }
    }

    pub(super) fn handle_request(
        &mut self,
        cx: &mut Cx<'_>,
        datagram: &Datagram,
        message: &Message<'_>,
    ) {
        if self.dead {
            return;
        }
        let invite = message.method() == Some(Method::Invite);
        self.seen.invites += u32::from(invite);
        if message.to_tag().is_some_and(|tag| tag != self.signal.tag) {
            return self.of_fork(cx, datagram, message);
        }
        let asked = self.signal.handle_request(cx, datagram.from, &datagram.bytes, message);
        match asked {
            Request::Nothing | Request::AckOfRefusal => {}
            Request::Ack { cseq, awaited } => self.acknowledged(cx, cseq, awaited, message),
            Request::New(cseq) => self.serve(cx, cseq, message),
        }
    }

    /// Of a dialog that another branch of our fork made: only its end is awaited.
    fn of_fork(&self, cx: &mut Cx<'_>, datagram: &Datagram, message: &Message<'_>) {
        let code = match message.method() {
            Some(Method::Ack) => return,
            Some(Method::Bye) => 200,
            _ => 481,
        };
        let reply = sip::Reply::new(code, None, Some(datagram.from));
        if let Ok(bytes) = sip::reply_to(&mut cx.room.scratch, message, &reply).finish() {
            cx.out.put(self.signal.ours, datagram.from, bytes);
        }
    }

    fn serve(&mut self, cx: &mut Cx<'_>, cseq: u32, message: &Message<'_>) {
        let Some(method) = message.method() else { return };
        self.learn(message);
        if let Some(unknown) = self.unsupported(message) {
            return self.refuse_extension(cx, (cseq, method), &unknown);
        }
        let name = String::from_utf8_lossy(method.bytes()).into_owned();
        match method {
            Method::Bye => {
                self.seen.byes += 1;
                self.note_reason(message);
                if self.manner.answers_bye {
                    self.signal.respond(cx, cseq, method, 200.into(), |writer| writer);
                }
                self.signal.stop_accepted();
                self.over(cx.now, true);
            }
            Method::Cancel => self.canceled(cx, cseq, message),
            Method::Invite => self.reinvited(cx, cseq, message),
            Method::Prack => self.acknowledged_early(cx, cseq, message),
            Method::Notify => {
                let line = message.body().split(|byte| *byte == b'\r').next();
                let line = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
                self.seen.notified.push(line);
                if !message.body().ends_with(b"\r\n") {
                    self.complain("a fragment whose line does not end (RFC 3420)");
                }
                self.signal.respond(cx, cseq, method, 200.into(), |writer| writer);
            }
            _ if !self.manner.allows(&name) => {
                let allow = self.manner.allow_value();
                self.seen.asked.push((name, 405));
                self.signal.respond(cx, cseq, method, 405.into(), |writer| {
                    writer.field(Name::Allow, allow.as_bytes())
                });
            }
            Method::Message => {
                self.seen.texts.push(String::from_utf8_lossy(message.body()).into_owned());
                self.seen.asked.push((name, 200));
                self.signal.respond(cx, cseq, method, 200.into(), |writer| writer);
            }
            Method::Update => self.updated_by_peer(cx, cseq, message),
            Method::Info => {
                let digit = digit_of(message);
                let code = if digit.is_some() || message.body().is_empty() { 200 } else { 415 };
                self.seen.info_digits.extend(digit);
                self.seen.asked.push((name, code));
                self.signal.respond(cx, cseq, method, code.into(), |writer| writer);
            }
            _ => {
                self.seen.asked.push((name, 200));
                let manner = &self.manner;
                self.signal
                    .respond(cx, cseq, method, 200.into(), |writer| dress(writer, manner, false));
            }
        }
    }

    fn note_reason(&mut self, message: &Message<'_>) {
        let reason = message.header(Name::Reason);
        self.seen.reason = reason.map(|reason| String::from_utf8_lossy(reason).into_owned());
    }

    fn canceled(&mut self, cx: &mut Cx<'_>, cseq: u32, message: &Message<'_>) {
        self.seen.cancels += 1;
        self.note_reason(message);
        self.signal.respond(cx, cseq, Method::Cancel, 200.into(), |writer| writer);
        if matches!(self.state, State::Trying | State::Ringing) {
            self.answer_invite(cx, 487);
            self.over(cx.now, true);
        }
    }

    fn acknowledged(&mut self, cx: &mut Cx<'_>, cseq: u32, awaited: bool, message: &Message<'_>) {
        self.seen.acks += 1;
        let ours = |it: &Offering| it.way == Way::Response && it.cseq == cseq;
        if !awaited || !self.offering.as_ref().is_some_and(ours) {
            return;
        }
        let answer = sdp_of(message);
        if answer.is_empty() {
            self.complain("an ACK without the answer (RFC 3261 section 13.2.2.4)");
        }
        if self.take_answer(cx.now, answer) {
            return self.start_media(cx.now);
        }
        self.complain("the answer in the ACK cannot be used");
        self.hang_up(cx);
    }

    /// 183 with a description that need not be that of the answer.
    pub(super) fn ring_with(
        &mut self,
        cx: &mut Cx<'_>,
        direction: Direction,
        codecs: &[Supported<'static>],
    ) {
        if !matches!(self.state, State::Trying | State::Ringing) {
            return;
        }
        if self.early.is_none() {
            self.early = Some(self.shape.clone());
        }
        self.shape = Shape { direction, codecs: codecs.to_vec(), ..self.shape.clone() };
        self.answer_invite(cx, 183);
    }

    /// 200 with these codecs, maybe of another branch.
    pub(super) fn answer_with(
        &mut self,
        cx: &mut Cx<'_>,
        codecs: &[Supported<'static>],
        other: bool,
    ) {
        if !matches!(self.state, State::Trying | State::Ringing) {
            return;
        }
        if other {
            let tag = format!("{:08x}", self.random.u32()).into_bytes();
            self.forks.push(self.signal.tag.clone());
            self.signal.fork(&tag);
            self.shape.session_id += 1_000_000;
            (self.version, self.updated) = (1, false);
            self.written.clear();
            self.theirs.clear();
            self.offering = None;
        }
        if let Some(shape) = self.early.take() {
            self.shape.direction = shape.direction;
        }
        self.shape.codecs = codecs.to_vec();
        self.answer_invite(cx, 200);
    }

    /// Answers the INVITE that began the call.
    pub(super) fn answer_invite(&mut self, cx: &mut Cx<'_>, code: u16) {
        if !matches!(self.state, State::Trying | State::Ringing) || self.who == Who::Caller {
            return;
        }
        let mut text = Vec::new();
        let mut timer = TimerHeaders::default();
        if code == 200 || code == 183 {
            if code == 200
                && let Some(early) = self.early.take()
            {
                self.shape = Shape { media: self.shape.media, ..early };
            }
            text = self.describe(cx).unwrap_or_default();
        }
        if code == 200 {
            timer = self.first_timer();
            if text.is_empty() {
                return self.refuse(cx, 488);
            }
        }
        if code >= 300 {
            return self.refuse(cx, code);
        }
        let rseq = self.begin_reliable(cx.now, code, !text.is_empty());
        let (cseq, manner) = (self.first_cseq, &self.manner);
        self.signal.respond(cx, cseq, Method::Invite, code.into(), |mut writer| {
            writer = writer.with(rseq, |writer, rseq| {
                writer.field(Name::Require, b"100rel").header(Name::RSeq, &[rseq.into()])
            });
            if code > 100 {
                writer = timer.write(dress(writer, manner, code == 200));
            }
            body(writer, &text)
        });
        match code {
            180 | 183 => self.state = State::Ringing,
            200 => {
                self.seen.code = 200;
                self.timer_given(cx.now, timer);
                self.up(cx.now);
            }
            _ => {}
        }
        if code == 183 {
            self.start_media(cx.now);
        }
    }

    fn refuse(&mut self, cx: &mut Cx<'_>, code: u16) {
        let cseq = self.first_cseq;
        self.signal.respond(cx, cseq, Method::Invite, code.into(), |writer| writer);
        self.seen.code = code;
        self.over(cx.now, code == 487);
    }

    /// Whoever calls is sent elsewhere.
    pub(super) fn redirect(&mut self, cx: &mut Cx<'_>, to: &str) {
        if !matches!(self.state, State::Trying | State::Ringing) || self.who == Who::Caller {
            return;
        }
        let cseq = self.first_cseq;
        self.signal
            .respond(cx, cseq, Method::Invite, 302.into(), |writer| writer.contact(to.as_bytes()));
        self.seen.code = 302;
        self.over(cx.now, false);
    }

    fn first_timer(&self) -> TimerHeaders {
        let request = self.signal.first_request().and_then(|bytes| Message::parse(bytes).ok());
        request.and_then(|request| self.timer_answered(&request).ok()).unwrap_or_default()
    }

    fn refuse_timer(&mut self, cx: &mut Cx<'_>, least: u32) {
        let cseq = self.first_cseq;
        self.signal.respond(cx, cseq, Method::Invite, 422.into(), |writer| {
            writer.header(Name::MinSe, &[least.into()])
        });
        self.seen.code = 422;
        self.over(cx.now, false);
    }

    /// Our description for the INVITE that began the call: the answer to its offer, or our offer.
    fn describe(&mut self, cx: &Cx<'_>) -> Option<Vec<u8>> {
        if self.first_offer.is_empty() {
            let open = self.offering.as_ref().filter(|it| it.shape.codecs == self.shape.codecs);
            if let Some(offering) = open {
                return Some(offering.text.clone());
            }
            let (shape, text) = self.write_offer(self.shape.clone());
            let (way, cseq) = (Way::Response, self.first_cseq);
            let sent = text.clone();
            self.offering = Some(Offering { shape, text, way, cseq, answered: false });
            return Some(sent);
        }
        if self.updated {
            return Some(self.ours.clone());
        }
        let offer = self.first_offer.clone();
        let text = self.write_answer(&offer)?;
        self.put_in_force(cx.now, text.clone(), offer).then_some(text)
    }

    /// The same INVITE answered once more, from another branch of a fork.
    pub(super) fn answer_again(&mut self, cx: &mut Cx<'_>) {
        let contact = format!("sip:fork@{}", self.signal.ours);
        let text = &self.ours;
        self.signal.respond_again(cx, OTHER_FORK, contact.as_bytes(), |writer| body(writer, text));
        self.forks.push(OTHER_FORK.to_vec());
    }

    fn reinvited(&mut self, cx: &mut Cx<'_>, cseq: u32, message: &Message<'_>) {
        let code = match self.manner.reinvite {
            _ if message.to_tag().is_none() => 482,
            Reinvite::Ignore => return,
            Reinvite::Refuse(code) => code,
            Reinvite::Answer if self.state == State::Over => 481,
            Reinvite::Answer if self.state != State::Up => 500,
            Reinvite::Answer if self.is_asking() => 491,
            Reinvite::Answer => 200,
        };
        self.change_asked(cx, (cseq, Method::Invite), code, message);
    }

    fn updated_by_peer(&mut self, cx: &mut Cx<'_>, cseq: u32, message: &Message<'_>) {
        let offers = !sdp_of(message).is_empty();
        // RFC 3311 section 5.2: who has an offer of the other side to answer says 500, who waits
        // for an answer 491.
        let unanswered = self.state != State::Up && self.ours.is_empty() && self.offering.is_none();
        let code = match self.manner.reinvite {
            _ if !offers => 200,
            Reinvite::Ignore => return,
            Reinvite::Refuse(code) => code,
            Reinvite::Answer if self.is_offering() => 491,
            Reinvite::Answer if unanswered => 500,
            Reinvite::Answer => 200,
        };
        self.change_asked(cx, (cseq, Method::Update), code, message);
    }

    /// Answers a re-INVITE or an UPDATE with this code, or with what its offer makes of 200.
    fn change_asked(
        &mut self,
        cx: &mut Cx<'_>,
        (cseq, method): (u32, Method<'_>),
        mut code: u16,
        message: &Message<'_>,
    ) {
        let offer = sdp_of(message);
        let (mut text, mut timer) = (Vec::new(), TimerHeaders::default());
        let mut least = 0;
        match self.timer_answered(message) {
            Ok(headers) => timer = headers,
            Err(min_se) if code == 200 => (code, least) = (422, min_se),
            Err(_) => {}
        }
        if code == 200 && !offer.is_empty() {
            match self.take_offer(cx.now, offer) {
                Ok(answer) => text = answer,
                Err(refused) => code = refused,
            }
            self.updated |= self.state == State::Ringing;
        } else if code == 200 && method == Method::Invite {
            let (shape, offered) = self.write_offer(self.shape.clone());
            text.clone_from(&offered);
            if let Some(media) = &mut self.media {
                media.offer(Some(&shape));
            }
            let way = Way::Response;
            self.offering = Some(Offering { shape, text: offered, way, cseq, answered: false });
        }
        self.seen.glares_refused += u32::from(code == 491);
        self.seen.asked.push((String::from_utf8_lossy(method.bytes()).into_owned(), code));
        let manner = &self.manner;
        let answer = Answer { code, tag: None, request: Some(message) };
        self.signal.respond(cx, cseq, method, answer, |writer| match code {
            200 => body(timer.write(dress(writer, manner, false)), &text),
            422 => writer.header(Name::MinSe, &[least.into()]),
            500 => writer.header(Name::RetryAfter, &[1_u32.into()]),
            _ => writer,
        });
        if code == 200 {
            self.seen.refreshed += 1;
            self.timer_given(cx.now, timer);
        }
    }
}

/// The digit of an INFO: `Signal=5`, or the digit alone.
fn digit_of(message: &Message<'_>) -> Option<char> {
    let text = std::str::from_utf8(message.body()).ok()?;
    let (kind, _) = message.content_type().ok()?;
    let value = match kind {
        kind if kind.eq_ignore_ascii_case(b"application/dtmf-relay") => {
            let signal = |line: &str| {
                let (name, value) = line.split_once('=')?;
                name.trim().eq_ignore_ascii_case("signal").then(|| value.trim().to_owned())
            };
            text.lines().find_map(signal)?
        }
        kind if kind.eq_ignore_ascii_case(b"application/dtmf") => text.trim().to_owned(),
        _ => return None,
    };
    value.chars().next().filter(|digit| rtp::telephone_event::code(*digit).is_some())
}

/// The number in a user part `g<number>`.
fn group_of(uri: &str) -> Option<u32> {
    let user = uri.split_once(':')?.1.split_once('@')?.0;
    user.strip_prefix('g')?.parse().ok()
}

/// The number in the user part of who calls, `c<number>`.
fn group_of_caller(peer: &str) -> Option<u32> {
    let user = peer.rsplit_once(':')?.1.strip_prefix('c')?;
    user.split('@').next()?.parse().ok()
}
