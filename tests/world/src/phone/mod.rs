//! Phones: user agents on both ends of the switch, built on the same parser, writer and transaction
//! machines that the switch uses, but knowing nothing of it. What a phone saw is kept in [`Seen`];
//! the invariants compare it with what the switch claims.

mod call;
mod manner;
mod media;
mod uac;
mod uas;

use std::net::{IpAddr, SocketAddr};

use base::{Mono, Now, Prng};
use sip::Message;

pub use call::{PhoneCall, Seen, State, Who};
pub use manner::{Action, Dial, Manner};
pub use media::{Heard, Media, StreamHeard, is_silence, payload};

use crate::network::Datagram;

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
    /// Requests that belonged to no call.
    pub strays: u32,
    /// Off: it hears nothing and says nothing.
    pub dead: bool,
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
        }
    }

    /// A SIP datagram came.
    pub fn handle_sip(&mut self, now: Now, datagram: &Datagram, out: &mut Vec<Datagram>) {
        let message = match Message::parse(&datagram.bytes) {
            Ok(message) => message,
            Err(malformed) => panic!("the switch sent no SIP: {malformed:?}"),
        };
        let call_id = message.call_id().unwrap_or_default();
        if !message.is_request() {
            let call = self.calls.iter_mut().find(|call| call.owns_branch(&message));
            return match call {
                Some(call) => call.handle_response(now, &message, out),
                None => self.strays += 1,
            };
        }
        sip::validate_request(&message)
            .unwrap_or_else(|refusal| panic!("the switch sent a broken request: {refusal:?}"));
        let known = self.calls.iter_mut().find(|call| call.owns_request(call_id, &message));
        match known {
            Some(call) => call.handle_request(now, datagram, &message, out),
            None => self.new_request(now, datagram, &message, out),
        }
    }

    fn new_request(
        &mut self,
        now: Now,
        datagram: &Datagram,
        message: &Message<'_>,
        out: &mut Vec<Datagram>,
    ) {
        let invite = message.method() == Some(sip::Method::Invite) && message.to_tag().is_none();
        if !invite {
            self.strays += 1;
            if message.method() != Some(sip::Method::Ack) {
                out.push(uas::stray_reply(self.sip, datagram, message));
            }
            return;
        }
        let mut call = self.fresh_call(Who::Callee, datagram.from);
        call.ring(now, datagram, message, out);
        call.stream = self.voice.unwrap_or(call.stream);
        self.calls.push(call);
    }

    /// Dials. The call's number at this agent.
    pub fn dial(
        &mut self,
        now: Now,
        switch: SocketAddr,
        dial: &Dial,
        out: &mut Vec<Datagram>,
    ) -> usize {
        let mut call = self.fresh_call(Who::Caller, switch);
        if let Some(manner) = &dial.manner {
            call.manner = manner.clone();
        }
        call.dial(now, dial, out);
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
        let even = datagram.to.port() & !1;
        let call = self.calls.iter_mut().find(|call| call.media_address().port() == even);
        match call {
            Some(call) => call.handle_media(now, datagram),
            None => self.strays += 1,
        }
    }

    /// When [`Agent::handle_tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        self.calls.iter().map(PhoneCall::deadline).min().unwrap_or(Mono::NEVER)
    }

    pub fn handle_tick(&mut self, now: Now, out: &mut Vec<Datagram>) {
        for call in &mut self.calls {
            if call.deadline() <= now.mono {
                call.handle_tick(now, out);
            }
        }
    }
}
