//! Offer and answer of a phone (RFC 3264, RFC 6337): what it offers inside a call, what becomes of
//! the offer, and what is in force afterwards.

use std::time::Duration;

use base::Now;
use sdp::{Direction, Session, Supported};
use sip::{Message, Method};

use super::call::{PhoneCall, State, Step, Who, body, dress};
use super::manner::Action;
use super::media::Media;
use crate::Cx;
use crate::describe::{self, DYNAMIC, Shape};

/// How an offer is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The INVITE that begins a call.
    Initial,
    Invite,
    Update,
    /// Our 2xx to an INVITE without an offer; the answer is in its ACK.
    Response,
}

/// An offer of ours that is open.
#[derive(Clone, Debug)]
pub(super) struct Offering {
    pub(super) shape: Shape,
    pub(super) text: Vec<u8>,
    pub(super) way: Way,
    pub(super) cseq: u32,
    /// A provisional response had an answer; the final one may have another.
    pub(super) answered: bool,
}

/// While something else is open, an offer waits so long.
const LATER: Duration = Duration::from_millis(100);

impl PhoneCall {
    pub(super) fn is_offering(&self) -> bool {
        self.offering.as_ref().is_some_and(|offering| !offering.answered)
    }

    /// What the action changes of what we say of ourselves, offered to the other side.
    pub(super) fn perform_change(&mut self, cx: &mut Cx<'_>, action: &Action) {
        let early = self.state == State::Ringing && matches!(action, Action::UpdateOffer(_));
        if self.state != State::Up && !early {
            return;
        }
        if self.must_wait() {
            return self.plan(cx.now.mono + LATER, action.clone());
        }
        let plain = Shape { nowhere: false, stopped: false, ..self.shape.clone() };
        let mut way = Way::Invite;
        let shape = match action {
            Action::Reinvite(direction) => Shape { direction: *direction, ..plain },
            Action::UpdateOffer(direction) => {
                way = Way::Update;
                Shape { direction: *direction, ..plain }
            }
            Action::HoldByAddress => Shape { nowhere: true, ..plain },
            Action::StopStream => Shape { stopped: true, ..plain },
            Action::ReinviteCodecs(codecs) => Shape { codecs: codecs.clone(), ..plain },
            Action::Renumber => Shape { codecs: self.renumbered(), ..self.shape.clone() },
            Action::MoveMedia => Shape { media: self.another_port(), ..self.shape.clone() },
            Action::ReinviteContact(uri) => {
                self.signal.contact = uri.clone().into_bytes();
                self.shape.clone()
            }
            Action::ReinviteEmpty => return self.ask_for_offer(cx),
            _ => return,
        };
        self.offer(cx, shape, way);
    }

    /// No offer may be made while another is open, nor an INVITE while one is (RFC 3261 section
    /// 14.1).
    fn must_wait(&self) -> bool {
        self.is_offering()
            || self.signal.is_inviting() && self.state == State::Up
            || self.offering.is_some() && self.signal.awaits_ack()
    }

    pub(super) fn offer(&mut self, cx: &mut Cx<'_>, shape: Shape, way: Way) {
        if !matches!(self.state, State::Up | State::Ringing) {
            return;
        }
        if self.must_wait() {
            let change = Box::new((self.shape.clone(), shape));
            self.todo.push((cx.now.mono + LATER, Step::Offer(change, way)));
            return;
        }
        let (shape, text) = self.write_offer(shape);
        let headers = self.timer_asked();
        let manner = &self.manner;
        let cseq = match way {
            Way::Update => self.signal.request(cx, Method::Update, |writer| {
                body(headers.write(dress(writer, manner, false)), &text)
            }),
            _ => self
                .signal
                .reinvite(cx, |writer| body(headers.write(dress(writer, manner, false)), &text)),
        };
        let Some(cseq) = cseq else { return };
        if shape.media != self.media_at {
            self.moved_from = Some(std::mem::replace(&mut self.media_at, shape.media));
        }
        if let Some(media) = &mut self.media {
            media.offer(Some(&shape));
        }
        self.offering = Some(Offering { shape, text, way, cseq, answered: false });
    }

    /// A re-INVITE without a description.
    fn ask_for_offer(&mut self, cx: &mut Cx<'_>) {
        let headers = self.timer_asked();
        let manner = &self.manner;
        self.signal.reinvite(cx, |writer| headers.write(dress(writer, manner, false)));
    }

    /// Gives each codec its number and writes the offer.
    pub(super) fn write_offer(&mut self, mut shape: Shape) -> (Shape, Vec<u8>) {
        for at in 0..shape.codecs.len() {
            let Some(codec) = describe::codec(&shape.codecs[at]) else { continue };
            let (before, pt) = (&shape.codecs[..at], shape.codecs[at].pt);
            let other = |entry: &(u8, sdp::Codec)| entry.0 == pt && entry.1 != codec;
            let taken = before.iter().any(|it| it.pt == pt) || self.numbers.iter().any(other);
            if taken {
                shape.codecs[at].pt = self.free_number(before);
            }
        }
        let text = self.versioned(|version| Some(describe::offer(&shape, version)));
        let entry = |it: &Supported<'_>| Some((it.pt, describe::codec(it)?));
        self.remember(shape.codecs.iter().filter_map(entry).collect());
        (shape, text.unwrap_or_default())
    }

    /// Answers an offer; nothing if no audio format is in common.
    pub(super) fn write_answer(&mut self, offer: &[u8]) -> Option<Vec<u8>> {
        let (shape, single) = (self.shape.clone(), self.manner.single_codec);
        let text = self.versioned(|version| describe::answer(&shape, version, offer, single))?;
        let session = Session::parse(offer).ok()?;
        let audio = describe::audio_of(&session)?;
        let mut numbers = Vec::new();
        for format in &audio.formats() {
            let Some(codec) = format.codec() else { continue };
            // What they call it is what we offer it by from now on.
            let ours = self.shape.codecs.iter_mut();
            let ours = ours.filter(|ours| describe::codec(ours) == Some(codec));
            for ours in ours.take(1) {
                ours.pt = format.pt;
                numbers.push((format.pt, codec));
            }
        }
        self.remember(numbers);
        Some(text)
    }

    fn remember(&mut self, numbers: Vec<(u8, sdp::Codec)>) {
        for entry in numbers {
            if !self.numbers.contains(&entry) {
                self.numbers.push(entry);
            }
        }
    }

    /// The version counts up exactly when the text changes (RFC 3264 section 8).
    fn versioned(&mut self, write: impl Fn(u64) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        let mut text = write(self.version)?;
        if text != self.written && !self.written.is_empty() {
            self.version += 1;
            text = write(self.version)?;
        }
        self.written.clone_from(&text);
        Some(text)
    }

    fn free_number(&self, codecs: &[Supported<'_>]) -> u8 {
        let used = |pt: u8| {
            self.numbers.iter().any(|(number, _)| *number == pt)
                || codecs.iter().any(|codec| codec.pt == pt)
        };
        (DYNAMIC..=127).find(|pt| !used(*pt)).unwrap_or(127)
    }

    /// Every dynamic number is another one.
    fn renumbered(&self) -> Vec<Supported<'static>> {
        let mut codecs: Vec<Supported<'static>> = Vec::new();
        for codec in &self.shape.codecs {
            let pt = if codec.pt < DYNAMIC { codec.pt } else { self.free_number(&codecs) };
            codecs.push(Supported { pt, ..*codec });
        }
        codecs
    }

    fn another_port(&self) -> std::net::SocketAddr {
        let mut at = self.media_at;
        let port = at.port();
        at.set_port(if port >= 40_000 { port - 20_000 } else { port + 20_000 });
        at
    }

    /// Two descriptions are in force. False if they have no audio format in common.
    pub(super) fn put_in_force(&mut self, now: Now, ours: Vec<u8>, theirs: Vec<u8>) -> bool {
        self.inspect(&theirs);
        let Some(terms) = describe::agree(&ours, &theirs) else { return false };
        (self.ours, self.theirs) = (ours, theirs);
        let mut source = self.media_at;
        source.set_port(self.manner.nat_port.unwrap_or_else(|| source.port()));
        match &mut self.media {
            Some(media) => {
                media.agree(now, terms);
                if media.local != self.media_at {
                    (media.local, media.source) = (self.media_at, source);
                    media.new_ssrc(&mut self.random);
                }
            }
            None => {
                let (at, names) = ((self.media_at, source), (self.group, self.stream));
                let media = Media::new(at, terms, names, self.manner.speaks, &mut self.random);
                self.media = Some(media);
            }
        }
        true
    }

    /// What is wrong with a description by itself and after the one before.
    fn inspect(&mut self, theirs: &[u8]) {
        self.seen.direction_told = describe::direction_of(theirs);
        let numbers = |text: &[u8]| {
            let session = Session::parse(text).ok()?;
            let origin = session.origin()?;
            let version = std::str::from_utf8(origin.version).ok()?.parse::<u64>().ok()?;
            Some((origin.session_id.to_vec(), version))
        };
        let (Some(now), Some(before)) = (numbers(theirs), numbers(&self.theirs)) else { return };
        if now.0 != before.0 {
            self.complain("another session id in o= of the same dialog (RFC 3264 section 8)");
        } else if theirs != self.theirs && now.1 <= before.1 {
            self.complain("another description and no higher version (RFC 3264 section 8)");
        }
    }

    /// The answer to our open offer came. False if it cannot be used.
    pub(super) fn take_answer(&mut self, now: Now, answer: &[u8]) -> bool {
        let Some(offering) = self.offering.take() else { return false };
        self.check_answer(&offering.text, answer);
        self.shape = offering.shape;
        self.put_in_force(now, offering.text, answer.to_vec())
    }

    /// Every format of an answer was offered (RFC 3264 section 6.1).
    pub(super) fn check_answer(&mut self, offer: &[u8], answer: &[u8]) {
        let formats = |text: &[u8]| {
            let session = Session::parse(text).ok()?;
            let audio = describe::audio_of(&session)?;
            let of = |format: &sdp::Format<'_>| Some((format.pt, format.codec()?));
            let codecs = audio.formats().iter().filter_map(of).collect::<Vec<_>>();
            Some((audio.port(), codecs, audio.direction()))
        };
        let (Some(offered), Some(answered)) = (formats(offer), formats(answer)) else {
            return self.complain("an answer without the audio stream (RFC 3264 section 6)");
        };
        let foreign = |it: &(u8, sdp::Codec)| !offered.1.iter().any(|other| other.1 == it.1);
        if answered.0 != 0 && answered.1.iter().any(foreign) {
            self.complain("an answer with a format that was not offered (RFC 3264 section 6.1)");
        }
        if offered.0 == 0 && answered.0 != 0 {
            self.complain("an answer opens a stream that was offered closed (RFC 3264 section 6)");
        }
        // What c=0.0.0.0 means need not be repeated in the answer's attribute.
        let narrowed = answered.2.and(offered.2.reversed());
        if answered.0 != 0 && narrowed != answered.2 {
            self.complain("an answer goes beyond the offered direction (RFC 3264 section 6.1)");
        }
    }

    /// Our offer, or an INVITE without one, was refused: what was in force stays.
    pub(super) fn offer_failed(&mut self, cx: &mut Cx<'_>, way: Way, cseq: u32, code: u16) {
        let mine = |it: &&Offering| it.way == way && it.cseq == cseq;
        let offering = self.offering.as_ref().filter(mine).cloned();
        if let Some(offering) = &offering {
            self.offering = None;
            if let Some(media) = &mut self.media {
                media.offer(None);
            }
            if offering.shape.media != self.shape.media {
                self.media_at = self.shape.media;
            }
        }
        match (code, offering) {
            (491, offering) => {
                self.seen.glares += 1;
                let at = cx.now.mono + self.glare_wait();
                let again = match offering {
                    Some(offering) => {
                        Step::Offer(Box::new((self.shape.clone(), offering.shape)), way)
                    }
                    None => Step::Act(Action::ReinviteEmpty),
                };
                if way == Way::Invite || self.state == State::Up {
                    self.todo.push((at, again));
                }
            }
            (481, _) => self.over(cx.now, true),
            (408, _) => self.hang_up(cx),
            _ => {}
        }
    }

    /// RFC 3261 section 14.1: who made the Call-ID waits 2.1 to 4 s, the other 0 to 2 s, in steps
    /// of 10 ms.
    fn glare_wait(&mut self) -> Duration {
        let (from, steps) = match self.who {
            Who::Caller => (2_100, 191),
            Who::Callee => (0, 201),
        };
        Duration::from_millis(from + 10 * self.random.below(steps))
    }

    /// An offer of the other side inside the call: its answer, or the code that refuses it.
    pub(super) fn take_offer(&mut self, now: Now, offer: &[u8]) -> Result<Vec<u8>, u16> {
        let Some(text) = self.write_answer(offer) else { return Err(488) };
        if self.put_in_force(now, text.clone(), offer.to_vec()) { Ok(text) } else { Err(488) }
    }

    /// The description in a 2xx to our INVITE without an offer is an offer: the answer for the ACK,
    /// which refuses the stream if there is no other way.
    pub(super) fn answer_late(&mut self, now: Now, message: &Message<'_>) -> Option<Vec<u8>> {
        let offer = super::call::sdp_of(message);
        if offer.is_empty() {
            self.complain("a 2xx to an INVITE without offer has none (RFC 3261 section 13.2.1)");
            return None;
        }
        self.take_offer(now, offer).ok()
    }

    /// It says c=0.0.0.0: nobody can tell where it is.
    #[must_use]
    pub fn is_nowhere(&self) -> bool {
        self.shape.nowhere
    }

    /// The direction that the phone wishes, as it last said.
    #[must_use]
    pub fn wish(&self) -> Direction {
        match &self.shape {
            shape if shape.stopped => Direction::Inactive,
            // c=0.0.0.0 takes nothing.
            shape if shape.nowhere => shape.direction.and(Direction::SendOnly),
            shape => shape.direction,
        }
    }
}
