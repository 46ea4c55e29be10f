//! Answers without state: the same request gets the same answer again.

use base::{Hop, Transport};
use core::net::SocketAddr;
use sip::check::{Core as Checks, Refusal, Why};
use sip::{Message, Method, Name, Part, Reply, Writer, reply_to};
use wire::counter::Counter;

use super::guard::Standing;
use super::{Datagram, Named};
use crate::cx::Cx;

/// What we take; everything else is 405 or 501.
const METHODS: [Method<'static>; 12] = [
    Method::Invite,
    Method::Ack,
    Method::Bye,
    Method::Cancel,
    Method::Options,
    Method::Info,
    Method::Update,
    Method::Prack,
    Method::Refer,
    Method::Register,
    Method::Message,
    Method::Notify,
];

/// The value of Allow: the methods that we take in a dialog.
pub(crate) const ALLOW: &[u8] =
    b"INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, MESSAGE, NOTIFY";

/// The same where the other far end takes no MESSAGE.
pub(crate) const ALLOW_NO_MESSAGE: &[u8] =
    b"INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY";

/// What we take outside a dialog, and in dialogs that begin here: nobody is called by a message.
pub(crate) const ALLOW_OUTSIDE: &[u8] =
    b"INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, REGISTER, NOTIFY";

/// The value of Supported: the extensions that we have (RFC 4028, RFC 3262, RFC 4488, RFC 3891).
pub(crate) const SUPPORTED: &[u8] = b"timer, 100rel, norefersub, replaces";

/// What a request must be like for us (RFC 3261 section 8.2).
pub(crate) const CHECKS: Checks<'static> = Checks {
    methods: &METHODS,
    options: &[b"timer", b"100rel", b"norefersub", b"replaces"],
    types: &[b"application/sdp", b"application/dtmf-relay", b"application/dtmf"],
};

/// What a REGISTER must be like (RFC 3327, RFC 5626).
pub(crate) const REGISTERS: Checks<'static> = Checks { options: &[b"path", b"outbound"], ..CHECKS };

impl Cx<'_, '_> {
    /// A response of this status and nothing more.
    pub(crate) fn answer(&mut self, datagram: &Datagram<'_>, message: &Message<'_>, code: u16) {
        self.answer_with(datagram, message, code, |writer| writer);
    }

    /// A response with more headers.
    pub(crate) fn answer_with(
        &mut self,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        code: u16,
        more: impl FnOnce(Writer<'_>) -> Writer<'_>,
    ) {
        let frame = self.compose(|out, core| {
            // A tag that is the same for every repetition, and no leg's.
            let call_id = message.call_id().unwrap_or_default();
            let hash = sip::key::call_hash(call_id, &core.plan.keys.token);
            let mut tag = [0; 16];
            hex(hash, &mut tag);
            let reply = Reply::new(code, Some(&tag), Some(datagram.hop.to));
            more(reply_to(out, message, &reply)).finish().ok().map(<[u8]>::len)
        });
        let Some(frame) = frame else { return };
        if datagram.standing == Standing::Stranger
            && !self.core.guard.pay(datagram.hop.to, datagram.bytes.len(), usize::from(frame.len))
        {
            return self.discard(frame, Counter::DiscardSipBudget);
        }
        self.send_sip(response_hop(message, datagram.hop), Some(frame));
    }

    /// A response inside a dialog that its request says all of but the status.
    pub(crate) fn compose_short(
        &mut self,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        code: u16,
    ) -> Option<base::Frame> {
        self.compose(|out, _| {
            let reply = Reply::new(code, None, Some(datagram.hop.to));
            reply_to(out, message, &reply).finish().ok().map(<[u8]>::len)
        })
    }

    /// The same again, for the same request.
    pub(crate) fn answer_again(
        &mut self,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        code: u16,
    ) {
        let frame = self.compose_short(datagram, message, code);
        if frame.is_some() {
            self.count(Counter::SipRetransmitted);
        }
        self.send_sip(response_hop(message, datagram.hop), frame);
    }

    /// A refusal by the rules, with the headers that go with it.
    pub(crate) fn refuse_by_rule(
        &mut self,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        refusal: Refusal,
    ) {
        let Refusal { code, why } = refusal;
        let is_stranger = datagram.standing == Standing::Stranger;
        let is_register = message.method() == Some(Method::Register);
        let checks = if is_register { &REGISTERS } else { &CHECKS };
        self.answer_with(datagram, message, code, |writer| match why {
            // In the short form, which a short request pays for.
            _ if is_stranger => writer,
            Why::MethodNotAllowed | Why::UnknownMethod => {
                let allow = if message.to_tag().is_some() { ALLOW } else { ALLOW_OUTSIDE };
                writer.field(Name::Allow, allow)
            }
            Why::MediaType => writer.field(Name::Accept, b"application/sdp"),
            Why::Extension => checks
                .unsupported(message)
                .fold(writer, |writer, tag| writer.field(Name::Unsupported, tag)),
            _ => writer,
        });
    }
}

/// Where a response goes (RFC 3261 section 18.2.2, RFC 3581): over UDP to the source's address, to
/// its port if `rport` was asked for, else to the Via's; by the connection that its request came
/// by, or, should that be gone, by a new one to the Via's port at the source's address.
pub(crate) fn response_hop(message: &Message<'_>, from: Hop) -> Hop {
    let Ok(via) = message.via() else { return from };
    if via.rport != sip::Rport::Absent && !from.is_reliable() {
        return from;
    }
    from.towards(SocketAddr::new(from.to.ip(), via.port.unwrap_or(5_060)))
}

/// 16 hexadecimal digits.
pub(crate) fn hex(value: u64, out: &mut [u8; 16]) {
    for (at, digit) in out.iter_mut().enumerate() {
        let nibble = (value >> (60 - 4 * at)) & 0xf;
        *digit = b"0123456789abcdef"[usize::try_from(nibble).unwrap_or(0)];
    }
}

/// `sip:address` of one of our listeners, as Contact.
pub(crate) fn contact(writer: Writer<'_>, ours: Named) -> Writer<'_> {
    let end: &[u8] = match ours.transport {
        _ if ours.secure => b">",
        Transport::Udp => b">",
        Transport::Tcp => b";transport=tcp>",
        Transport::Tls => b";transport=tls>",
        Transport::Ws | Transport::Wss => b";transport=ws>",
    };
    let scheme: &[u8] = if ours.secure { b"<sips:tandem@" } else { b"<sip:tandem@" };
    let parts = [Part::Bytes(scheme), Part::Socket(ours.address), Part::Bytes(end)];
    writer.header(Name::Contact, &parts)
}

/// Why nothing comes of a description, with the code that RFC 3261 section 20.43 has for it.
pub(crate) fn warning_of<'w>(writer: Writer<'w>, why: &str) -> Writer<'w> {
    const INCOMPATIBLE_FORMAT: u16 = 305;
    let code = if why == crate::leg::BadOffer::NO_CODEC.why { INCOMPATIBLE_FORMAT } else { 399 };
    warning(writer, code, why.as_bytes())
}

/// `Warning: 399 tandem "text"` (RFC 3261 section 20.43): why a person's call was refused.
pub(crate) fn warning<'w>(writer: Writer<'w>, code: u16, text: &[u8]) -> Writer<'w> {
    let parts = [
        Part::Number(u64::from(code)),
        Part::Bytes(b" tandem \""),
        Part::Bytes(text),
        Part::Bytes(b"\""),
    ];
    writer.header_text(b"Warning", &parts)
}
