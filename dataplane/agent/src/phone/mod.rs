//! Phones: user agents with habits ([`Manner`]) that keep what they saw ([`Seen`], [`Heard`]), to
//! be compared with what the switch claims.

mod answer;
mod ask;
mod call;
mod change;
mod heard;
mod login;
mod manner;
mod media;
mod register;
mod reliable;
mod timer;

use std::net::{IpAddr, SocketAddr};

use base::{Mono, Now, Prng};
use sip::{Message, Method, Reply, reply_to};

use crate::signal::Room;
use crate::{Cx, Datagram, Outbox};

pub use call::{PhoneCall, Seen, State, Who};
pub use heard::{Heard, StreamHeard};
pub use login::Login;
pub use manner::{Action, Dial, Manner, Reinvite, Reliability, SessionTimer, Speaks};
pub use media::{GRACE, Media};
pub use register::{Account, Registered, Registration};

pub use crate::voice::{is_silence, payload};

/// Bytes of the largest message that a phone writes.
const MESSAGE_BYTES: usize = 8_192;

/// One address with a user agent behind it; it may have many calls.
#[derive(Debug)]
pub struct Agent {
    pub sip: SocketAddr,
    pub media_host: IpAddr,
    /// How it treats calls that come in.
    pub manner: Manner,
    pub calls: Vec<PhoneCall>,
    pub(crate) random: Prng,
    /// Who it is in what it says, where that is not the conversation's callee.
    pub voice: Option<u32>,
    /// Messages that belonged to no call.
    pub strays: u32,
    /// Off: it hears nothing and says nothing.
    pub dead: bool,
    /// Messages that no user agent may send.
    pub faults: Vec<String>,
    /// Where it registers, if it does.
    pub registration: Option<Registration>,
    room: Room,
}

impl Agent {
    #[must_use]
    pub fn new(sip: SocketAddr, manner: Manner, seed: u64) -> Self {
        Self {
            sip,
            media_host: sip.ip(),
            manner,
            calls: Vec::new(),
            random: Prng::new(seed),
            voice: None,
            strays: 0,
            dead: false,
            faults: Vec::new(),
            registration: None,
            room: Room::new(MESSAGE_BYTES),
        }
    }

    /// A SIP datagram came.
    pub fn handle_sip(&mut self, now: Now, datagram: &Datagram, out: &mut dyn Outbox) {
        let message = match Message::parse(&datagram.bytes) {
            Ok(message) => message,
            Err(malformed) => {
                return self.faults.push(format!("no SIP: {malformed:?}"));
            }
        };
        let mut room = std::mem::replace(&mut self.room, Room::new(0));
        let mut cx = Cx { now, out, room: &mut room };
        if message.is_request() {
            self.handle_request(&mut cx, datagram, &message);
        } else {
            let owns = |call: &&mut PhoneCall| call.signal.owns_response(&message);
            match self.calls.iter_mut().find(owns) {
                Some(call) => call.handle_response(&mut cx, &message),
                None => match self.registration.as_mut().filter(|it| it.owns(&message)) {
                    Some(registration) => registration.handle_response(&mut cx, &message),
                    None => self.strays += 1,
                },
            }
        }
        self.room = room;
    }

    fn handle_request(&mut self, cx: &mut Cx<'_>, datagram: &Datagram, message: &Message<'_>) {
        if let Err(refusal) = sip::validate_request(message) {
            return self.faults.push(format!("a broken request: {refusal:?}"));
        }
        let known = self.calls.iter_mut().find(|call| call.owns_request(message));
        if let Some(call) = known {
            return call.handle_request(cx, datagram, message);
        }
        let invite = message.method() == Some(Method::Invite) && message.to_tag().is_none();
        if !invite {
            self.strays += 1;
            if message.method() != Some(Method::Ack) {
                stray_reply(cx, self.sip, datagram, message);
            }
            return;
        }
        let mut call = self.fresh_call(Who::Callee, datagram.from);
        let voice = self.voice;
        call.ring(cx, datagram, message);
        if let Some(registration) = &self.registration {
            call.is_for(&registration.account);
        }
        call.stream = voice.unwrap_or(call.stream);
        self.calls.push(call);
    }

    /// Registers from `at` on.
    pub fn register(&mut self, account: Account, registrar: SocketAddr, at: Mono) {
        let seed = self.random.u64();
        let own = (self.sip, self.manner.transport());
        self.registration = Some(Registration::new(account, registrar, own, (at, seed)));
    }

    /// The connection to its registrar is lost.
    pub fn lose_connection(&mut self, now: Now) {
        if let Some(registration) = &mut self.registration {
            registration.lose(now);
        }
    }

    /// Dials. The call's number at this agent.
    pub fn dial(
        &mut self,
        now: Now,
        switch: SocketAddr,
        dial: &Dial,
        out: &mut dyn Outbox,
    ) -> usize {
        let mut call = self.fresh_call(Who::Caller, switch);
        if let Some(manner) = &dial.manner {
            call.manner_is(manner.clone());
        }
        call.dial(&mut Cx { now, out, room: &mut self.room }, dial);
        self.calls.push(call);
        self.calls.len() - 1
    }

    fn fresh_call(&mut self, who: Who, switch: SocketAddr) -> PhoneCall {
        let at = u16::try_from(self.calls.len() * 2).unwrap_or(0);
        let media = SocketAddr::new(self.media_host, 40_000 + at);
        let seed = self.random.u64();
        PhoneCall::new(who, (self.sip, media, switch), self.manner.clone(), seed)
    }

    /// A datagram on a media port came.
    pub fn handle_media(&mut self, now: Now, datagram: &Datagram) {
        let port = datagram.to.port();
        match self.calls.iter_mut().find(|call| call.takes_media(port)) {
            Some(call) => call.handle_media(now, datagram),
            None => self.strays += 1,
        }
    }

    /// When [`Agent::handle_tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        let calls = self.calls.iter().map(PhoneCall::deadline).min().unwrap_or(Mono::NEVER);
        calls.min(self.registration.as_ref().map_or(Mono::NEVER, Registration::deadline))
    }

    pub fn handle_tick(&mut self, now: Now, out: &mut dyn Outbox) {
        let mut cx = Cx { now, out, room: &mut self.room };
        for call in &mut self.calls {
            if call.deadline() <= now.mono {
                call.handle_tick(&mut cx);
            }
        }
        if let Some(registration) = &mut self.registration
            && registration.deadline() <= cx.now.mono
        {
            registration.handle_tick(&mut cx);
        }
    }
}

/// What a phone says to a request of no call: 481, to OPTIONS 200.
fn stray_reply(cx: &mut Cx<'_>, ours: SocketAddr, datagram: &Datagram, request: &Message<'_>) {
    let code = if request.method() == Some(Method::Options) { 200 } else { 481 };
    let reply = Reply::new(code, Some(b"stray"), Some(datagram.from));
    if let Ok(bytes) = reply_to(&mut cx.room.scratch, request, &reply).finish() {
        cx.out.put(ours, datagram.from, bytes);
    }
}
