//! What a phone asks: INVITE, CANCEL, BYE and the small requests, and what the answers mean.

use sip::session::MIN_SE_SECONDS;
use sip::{Message, Method, Name};

use super::call::{PhoneCall, State, body, dress, mixed, sdp_of};
use super::change::{Offering, Way};
use super::manner::{Dial, Reliability};
use super::reliable::Reliable;
use crate::Cx;
use crate::signal::{Response, with_lines};

impl PhoneCall {
    /// Sends the INVITE.
    pub(super) fn dial(&mut self, cx: &mut Cx<'_>, dial: &Dial) {
        if !dial.call_id.is_empty() {
            self.call_id.clone_from(&dial.call_id);
            self.signal.call_id = dial.call_id.clone().into_bytes();
        }
        (self.group, self.stream) = (dial.group, dial.stream);
        self.uri.clone_from(&dial.to);
        self.peer.clone_from(&dial.to);
        self.from.clone_from(&dial.from);
        self.dial_headers.clone_from(&dial.headers);
        self.part.clone_from(&dial.part);
        self.seen.dialed_at = cx.now.mono;
        self.min_se = MIN_SE_SECONDS;
        if !dial.late_offer {
            let (shape, text) = self.write_offer(self.shape.clone());
            let (way, cseq) = (Way::Initial, 0);
            self.offering = Some(Offering { shape, text, way, cseq, answered: false });
        }
        self.send_invite(cx);
        let actions = self.manner.on_dial.clone();
        self.schedule(cx.now.mono, &actions);
    }

    /// The INVITE, or the same once more with another number (after a 422).
    fn send_invite(&mut self, cx: &mut Cx<'_>) {
        let headers = self.timer_asked();
        let (manner, more, given) = (&self.manner, &self.dial_headers, &self.credentials);
        let part = &self.part;
        let text = self.offering.as_ref().map_or(&b""[..], |offering| &offering.text);
        let (to, from) = (self.uri.as_bytes(), self.from.as_bytes());
        self.reliable = Reliable::default();
        let require = (manner.reliable == Reliability::Required).then_some(b"100rel");
        self.first_cseq = self.signal.invite(cx, to, from, |writer| {
            let writer = writer.with(require, |writer, tag| writer.field(Name::Require, tag));
            let writer = with_lines(with_lines(writer, more), given);
            let writer = headers.write(dress(writer, manner, true));
            mixed(writer, text, part)
        });
    }

    /// Answers a challenge of the INVITE, once but for nonces that were too old.
    fn answers_challenge(&mut self, message: &Message<'_>) -> bool {
        let Some(login) = &self.manner.login else { return false };
        let what = (Method::Invite, self.uri.as_bytes());
        let given = login.answer(message, what, &mut self.random);
        let Some(given) = given.filter(|it| self.credentials.is_empty() || it.stale) else {
            return false;
        };
        self.credentials = vec![given.line];
        true
    }

    pub(super) fn hang_up(&mut self, cx: &mut Cx<'_>) {
        if self.state != State::Up {
            return;
        }
        let reason = self.manner.reason.clone();
        self.signal.request(cx, Method::Bye, |writer| {
            writer.with(reason, |writer, reason| writer.field(Name::Reason, reason.as_bytes()))
        });
        self.over(cx.now, false);
    }

    /// A request inside the dialog, early or not.
    pub(super) fn request(
        &mut self,
        cx: &mut Cx<'_>,
        method: Method<'static>,
        kind: &[u8],
        content: &[u8],
    ) {
        if !matches!(self.state, State::Up | State::Ringing) {
            return;
        }
        self.signal.request(cx, method, |writer| {
            if content.is_empty() { writer } else { writer.content(kind, content) }
        });
    }

    pub(super) fn refer(&mut self, cx: &mut Cx<'_>, to: &str, quiet: bool) {
        if self.state != State::Up {
            return;
        }
        self.signal.request(cx, Method::Refer, |writer| {
            let writer = writer.address(Name::ReferTo, b"", to.as_bytes(), None);
            if quiet { writer.field(Name::ReferSub, b"false") } else { writer }
        });
    }

    /// A text to the other side.
    pub(super) fn say(&mut self, cx: &mut Cx<'_>, text: &str) {
        if self.state == State::Up {
            self.seen.said.push(text.to_owned());
            self.request(cx, Method::Message, b"text/plain", text.as_bytes());
        }
    }

    /// Its dialog, as a Refer-To names it for another one to take its place (RFC 3891), escaped.
    #[must_use]
    pub fn replaces(&self) -> String {
        let Some(dialog) = &self.signal.dialog else { return String::new() };
        let id = dialog.id(self.signal.text());
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (call, theirs, ours) = (text(id.call_id), text(id.remote_tag), text(id.local_tag));
        format!("{}%3Bto-tag%3D{theirs}%3Bfrom-tag%3D{ours}", call.replace('@', "%40"))
    }

    /// CANCEL, as soon as a provisional response allows it.
    pub(super) fn cancel(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.state, State::Trying | State::Ringing) {
            return;
        }
        self.gave_up = true;
        let reason = self.manner.reason.clone();
        let sent = self.signal.cancel(cx, |writer| {
            writer.with(reason, |writer, reason| writer.field(Name::Reason, reason.as_bytes()))
        });
        self.cancel_wanted = !sent;
    }

    pub(super) fn handle_response(&mut self, cx: &mut Cx<'_>, message: &Message<'_>) {
        if self.dead {
            return;
        }
        match self.signal.handle_response(cx, message) {
            Response::Nothing => {}
            Response::Provisional { code, .. } => self.provisional(cx, code, message),
            Response::Accepted { cseq, initial: true } => self.answered(cx, cseq, message),
            Response::Accepted { cseq, initial: false } => self.reanswered(cx, cseq, message),
            Response::Refused { code, initial: true, .. } => self.refused(cx, code, message),
            Response::Refused { cseq, code, initial: false } => {
                self.seen.answers.push(("INVITE".to_owned(), code));
                self.change_refused(cx, Way::Invite, cseq, (code, message));
            }
            Response::Final { method, cseq, code } => {
                let name = String::from_utf8_lossy(method.bytes()).into_owned();
                self.seen.answers.push((name, code));
                if method == Method::Update {
                    self.updated_by_us(cx, cseq, code, message);
                }
            }
        }
    }

    fn provisional(&mut self, cx: &mut Cx<'_>, code: u16, message: &Message<'_>) {
        self.seen.provisional.push(code);
        if self.state == State::Up {
            // Of a re-INVITE.
            return;
        }
        if code > 100 && self.state == State::Trying {
            self.state = State::Ringing;
        }
        self.learn(message);
        if code > 100 && !self.is_over() && !self.acknowledge(cx, message) {
            return;
        }
        if self.answer_to_invite(cx, message) {
            self.start_media(cx.now);
        }
        if self.cancel_wanted && self.signal.may_cancel() {
            self.cancel(cx);
        }
    }

    /// An answer to the offer in our INVITE, if the message has one that counts: the first of each
    /// dialog, or every one. True if media may flow.
    fn answer_to_invite(&mut self, cx: &Cx<'_>, message: &Message<'_>) -> bool {
        let answer = sdp_of(message);
        let Some(offering) = self.offering.clone() else { return false };
        if answer.is_empty() || offering.way != Way::Initial {
            return false;
        }
        let tag = message.to_tag().unwrap_or_default();
        if let Some((of, first)) = &self.first_answer
            && of == tag
            && first != answer
        {
            self.complain("another answer in the same dialog (RFC 3261 section 13.2.1)");
            if self.manner.first_answer_counts {
                return true;
            }
        } else if self.first_answer.as_ref().is_some_and(|(of, _)| of != tag) {
            // Another branch of a fork is another dialog, with an o= line of its own.
            self.theirs.clear();
        }
        if self.first_answer.as_ref().is_none_or(|(of, _)| of != tag) {
            self.first_answer = Some((tag.to_vec(), answer.to_vec()));
        }
        self.check_answer(&offering.text, answer);
        self.shape = offering.shape;
        if let Some(offering) = &mut self.offering {
            offering.answered = true;
        }
        self.put_in_force(cx.now, offering.text, answer.to_vec())
    }

    /// The 2xx of the INVITE that began the call.
    fn answered(&mut self, cx: &mut Cx<'_>, cseq: u32, message: &Message<'_>) {
        self.learn(message);
        self.seen.code = message.status().unwrap_or(0);
        self.seen.text = String::from_utf8_lossy(message.bytes()).into_owned();
        self.timer_told(cx.now, message);
        if self.signal.dialog.is_none() {
            self.complain("a 2xx that makes no dialog (RFC 3261 section 12.1.2)");
            return self.over(cx.now, false);
        }
        if !message.has(Name::Contact) {
            self.complain("a 2xx to INVITE without Contact (RFC 3261 section 12.1.1)");
        }
        let late = self.offering.is_none() && !self.updated;
        let answer = if late { self.answer_late(cx.now, message) } else { None };
        let usable = if late { answer.is_some() } else { self.settle(cx, message) };
        self.note_direction(message);
        if self.manner.acks {
            let text = answer.unwrap_or_default();
            self.signal.ack(cx, cseq, |writer| body(writer, &text));
        }
        self.up(cx.now);
        if !usable {
            self.complain("the description of the 2xx cannot be used");
            self.hang_up(cx);
        }
    }

    /// The 2xx ends the offer of our INVITE.
    fn settle(&mut self, cx: &Cx<'_>, message: &Message<'_>) -> bool {
        if self.updated {
            // An UPDATE has come in between; the answer was in a provisional response.
            self.offering = None;
            return true;
        }
        if sdp_of(message).is_empty() {
            self.complain("a 2xx without the answer (RFC 3261 section 13.2.1)");
        }
        let usable = self.answer_to_invite(cx, message);
        let early = self.offering.take().is_some_and(|offering| offering.answered);
        usable || sdp_of(message).is_empty() && early
    }

    fn note_direction(&mut self, message: &Message<'_>) {
        let session = sdp::Session::parse(sdp_of(message)).ok();
        let audio = session.as_ref().and_then(crate::describe::audio_of);
        if let Some(audio) = audio {
            self.seen.answered_direction = Some(audio.direction());
        }
    }

    /// The 2xx of a re-INVITE.
    fn reanswered(&mut self, cx: &mut Cx<'_>, cseq: u32, message: &Message<'_>) {
        self.learn(message);
        self.seen.answers.push(("INVITE".to_owned(), 200));
        if self.state == State::Over {
            // It crossed our BYE: owed is its ACK, no more.
            return self.signal.ack(cx, cseq, |writer| writer);
        }
        self.timer_told(cx.now, message);
        let offered = self
            .offering
            .as_ref()
            .is_some_and(|offering| offering.way == Way::Invite && offering.cseq == cseq);
        let answer = if offered { None } else { self.answer_late(cx.now, message) };
        let usable = match offered {
            true => self.take_answer(cx.now, sdp_of(message)),
            false => answer.is_some(),
        };
        self.note_direction(message);
        if self.manner.acks {
            let text = answer.unwrap_or_default();
            self.signal.ack(cx, cseq, |writer| body(writer, &text));
        }
        if !usable {
            self.complain("the description of a re-INVITE's 2xx cannot be used");
            self.hang_up(cx);
        }
    }

    fn updated_by_us(&mut self, cx: &mut Cx<'_>, cseq: u32, code: u16, message: &Message<'_>) {
        if code >= 300 {
            return self.change_refused(cx, Way::Update, cseq, (code, message));
        }
        self.timer_told(cx.now, message);
        let offered = self
            .offering
            .as_ref()
            .is_some_and(|offering| offering.way == Way::Update && offering.cseq == cseq);
        if !offered {
            return;
        }
        self.updated |= self.state == State::Ringing;
        if !self.take_answer(cx.now, sdp_of(message)) {
            self.complain("the answer to an UPDATE cannot be used (RFC 3311 section 5.1)");
            self.hang_up(cx);
        }
        self.note_direction(message);
    }

    fn change_refused(
        &mut self,
        cx: &mut Cx<'_>,
        way: Way,
        cseq: u32,
        (code, message): (u16, &Message<'_>),
    ) {
        self.offer_failed(cx, way, cseq, code);
        if code == 422 && self.too_brief(message) && self.state == State::Up {
            self.refresh(cx);
        }
    }

    fn refused(&mut self, cx: &mut Cx<'_>, code: u16, message: &Message<'_>) {
        if code == 422 && self.too_brief(message) && !self.gave_up {
            return self.send_invite(cx);
        }
        if !self.gave_up && self.answers_challenge(message) {
            return self.send_invite(cx);
        }
        self.seen.code = code;
        self.seen.retry_after = message.number(Name::RetryAfter).ok();
        self.over(cx.now, true);
    }
}
