//! Server transactions and everything that is sent in answer to a request. The machines are
//! `sip::txn`'s; here is their storage: the last response of each, kept for the retransmissions of
//! its request.

use base::{Frame, Frames, LegId, Local, Mono, Now, Stored, Transmit};
use core::net::{IpAddr, SocketAddr};
use sip::check::{Core, Refusal, Why};
use sip::key::TransactionKey;
use sip::txn::{Actions, InviteServer, Server};
use sip::{Message, Method, Name, Part, Reply, Writer, reply_to};
use wire::counter::Counter;
use wire::event::Cause;

use crate::demux::Datagram;
use crate::discard::discard;
use crate::{Io, Shard};

/// The largest message we write.
pub(crate) const MESSAGE_BYTES: usize = 8 * 1_024;
/// No transaction, no leg.
pub(crate) const NONE: u32 = u32::MAX;

/// What we take; everything else is 405 or 501.
const METHODS: [Method<'static>; 7] = [
    Method::Invite,
    Method::Ack,
    Method::Bye,
    Method::Cancel,
    Method::Options,
    Method::Info,
    Method::Update,
];
pub(crate) const ALLOW: &[u8] = b"INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE";
const CORE: Core<'static> = Core {
    methods: &METHODS,
    options: &[b"timer"],
    types: &[b"application/sdp", b"application/dtmf-relay", b"application/dtmf"],
};

/// A request that came, and how it was answered.
#[derive(Debug)]
pub(crate) struct ServerTransaction {
    key: TransactionKey,
    /// The same request that came another way (RFC 3261 section 8.2.2.2); INVITE only.
    merge: Option<TransactionKey>,
    machine: Machine,
    /// Last response sent.
    response: Stored,
    listener: u8,
    to: SocketAddr,
    /// The leg it is for, while there is one.
    leg: LegId,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteServer),
    Other(Server),
}

impl Shard<'_> {
    /// A request whose place is here. `leg`: the leg that our tag in To names.
    pub(crate) fn request(
        &mut self,
        io: &mut Io<'_>,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        leg: Option<LegId>,
    ) {
        if leg.is_none() && !self.guard.source(datagram.source, io.now.mono) {
            self.counters.count(Counter::DiscardSipRate);
            return;
        }
        let Ok(key) = TransactionKey::server(message, &self.plan.keys.token) else {
            return self.answer_unless_ack(io, datagram, message, 400);
        };
        let method = message.method();
        if let Some(index) = self.transaction_by_key(key) {
            if self.repeated(io, index, message) {
                // The ACK of a 2xx with its INVITE's branch (RFC 2543 peers do that).
                self.ack(io, leg, message);
            }
            return;
        }
        if method == Some(Method::Ack) {
            return self.ack(io, leg, message);
        }
        if let Err(refusal) = CORE.check(message) {
            self.counters.count(Counter::RefusedProtocol);
            return self.refuse_stateless(io, datagram, message, refusal);
        }
        if method == Some(Method::Cancel) {
            return self.cancel(io, datagram, message);
        }
        match leg.map(|leg| self.leg_of(leg)) {
            Some(Some(index)) => {
                self.guarded(io, index, |shard, io| shard.in_dialog(io, index, datagram, message));
            }
            // A dialog of ours that is over, or of somebody else.
            Some(None) => self.answer_stateless(io, datagram, message, 481),
            None if message.to_tag().is_some() => {
                self.answer_stateless(io, datagram, message, 481);
            }
            None => self.out_of_dialog(io, datagram, message, key),
        }
    }

    fn out_of_dialog(
        &mut self,
        io: &mut Io<'_>,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        key: TransactionKey,
    ) {
        match message.method() {
            Some(Method::Invite) => {
                let merge = TransactionKey::merge(message, &self.plan.keys.token).ok();
                if merge.is_some_and(|merge| self.transaction_by_merge(merge).is_some()) {
                    return self.answer_stateless(io, datagram, message, 482);
                }
                self.new_call(io, datagram, message, (key, merge));
            }
            Some(Method::Options) => {
                self.answer_with(io, datagram, message, &Reply::new(200, None, None), |writer| {
                    writer.field(Name::Allow, ALLOW).field(Name::Accept, b"application/sdp")
                });
            }
            // Deny by default: a method that only makes sense inside a dialog.
            _ => self.answer_stateless(io, datagram, message, 481),
        }
    }

    /// A retransmission, or the ACK of a refusal. True if it is an ACK for the leg.
    fn repeated(&mut self, io: &mut Io<'_>, index: u32, message: &Message<'_>) -> bool {
        let timers = self.sip_timers();
        let Some(transaction) = self.transactions.get_mut(index) else { return false };
        let now = io.now.mono;
        let actions = match &mut transaction.machine {
            Machine::Invite(machine) if message.method() == Some(Method::Ack) => {
                machine.handle_ack(now, &timers)
            }
            Machine::Invite(machine) => machine.handle_request(now, &timers),
            Machine::Other(machine) => machine.handle_request(now, &timers),
        };
        self.transaction_actions(io, index, actions);
        actions.has(Actions::PASS) && message.method() == Some(Method::Ack)
    }

    fn cancel(&mut self, io: &mut Io<'_>, datagram: &Datagram<'_>, message: &Message<'_>) {
        let key = TransactionKey::cancelled(message, &self.plan.keys.token);
        let Some(index) = key.ok().and_then(|key| self.transaction_by_key(key)) else {
            return self.answer_stateless(io, datagram, message, 481);
        };
        let leg = self.transactions.get(index).map_or(LegId::NONE, |transaction| transaction.leg);
        self.answer_stateless(io, datagram, message, 200);
        if let Some(index) = self.leg_of(leg) {
            self.guarded(io, index, |shard, io| shard.leg_canceled(io, index));
        }
    }

    /// Begins a server transaction. None if the table is full.
    pub(crate) fn begin_transaction(
        &mut self,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        (key, merge): (TransactionKey, Option<TransactionKey>),
        leg: LegId,
    ) -> Option<u32> {
        let machine = match message.method() {
            Some(Method::Invite) => Machine::Invite(InviteServer::new(false)),
            _ => Machine::Other(Server::new(false)),
        };
        let to = response_address(message, datagram.source);
        let listener = datagram.listener;
        let response = Stored::default();
        let transaction = ServerTransaction { key, merge, machine, response, listener, to, leg };
        let index = self.transactions.insert(transaction)?;
        self.transaction_keys.insert(key.short(), index);
        if let Some(merge) = merge {
            self.transaction_keys.insert(merge.short(), index);
        }
        Some(index)
    }

    /// Sends a response in its transaction: `frame` holds it.
    pub(crate) fn send_in_transaction(
        &mut self,
        io: &mut Io<'_>,
        index: u32,
        code: u16,
        frame: Frame,
    ) {
        let timers = self.sip_timers();
        let Some(transaction) = self.transactions.get_mut(index) else {
            io.frames.free(frame);
            return;
        };
        let now = io.now.mono;
        let actions = match &mut transaction.machine {
            Machine::Invite(machine) => machine.send(code, now, &timers),
            Machine::Other(machine) => machine.send(code, now, &timers),
        };
        if !actions.has(Actions::SEND) {
            // A final response is out already: this one comes too late.
            io.frames.free(frame);
            return;
        }
        self.arena.free(&mut transaction.response);
        // Without room the response goes out once; the peer asks again and is told again by the
        // leg.
        transaction.response = self.arena.store(io.frames.bytes(frame)).unwrap_or_default();
        let (listener, to) = (transaction.listener, transaction.to);
        self.transmit_sip(listener, to, frame);
        self.transaction_actions(io, index, actions);
    }

    pub(crate) fn transaction_timeout(&mut self, io: &mut Io<'_>, index: u32) {
        let timers = self.sip_timers();
        let Some(transaction) = self.transactions.get_mut(index) else { return };
        let now = io.now.mono;
        let actions = match &mut transaction.machine {
            Machine::Invite(machine) => machine.handle_timeout(now, &timers),
            Machine::Other(machine) => machine.handle_timeout(now, &timers),
        };
        self.transaction_actions(io, index, actions);
    }

    fn transaction_actions(&mut self, io: &mut Io<'_>, index: u32, actions: Actions) {
        if actions.has(Actions::RESEND) {
            let Some(transaction) = self.transactions.get(index) else { return };
            let (listener, to) = (transaction.listener, transaction.to);
            let bytes = self.arena.get(&transaction.response);
            if !bytes.is_empty() {
                let frame = frame_of(io.frames, bytes);
                self.counters.count(Counter::SipRetransmitted);
                self.put(listener, to, frame);
            }
        }
        if actions.has(Actions::END) {
            return self.end_transaction(index);
        }
        let Some(transaction) = self.transactions.get(index) else { return };
        let deadline = match &transaction.machine {
            Machine::Invite(machine) => machine.deadline(),
            Machine::Other(machine) => machine.deadline(),
        };
        self.transaction_timers.set(index, deadline);
    }

    pub(crate) fn end_transaction(&mut self, index: u32) {
        let Some(mut transaction) = self.transactions.remove(index) else { return };
        self.arena.free(&mut transaction.response);
        self.transaction_keys.remove(transaction.key.short(), index);
        if let Some(merge) = transaction.merge {
            self.transaction_keys.remove(merge.short(), index);
        }
        self.transaction_timers.cancel(index);
    }

    /// A fault came between a request of this leg and its answer: its repetition begins anew.
    #[cold]
    pub(crate) fn end_unanswered(&mut self, leg: u32) {
        let Some(id) = self.legs.get(leg).map(|leg| leg.id) else { return };
        let open = |shard: &Self| {
            let of_leg = |entry: &ServerTransaction| entry.leg == id && entry.response.is_empty();
            shard.transactions.iter().find(|(_, entry)| of_leg(entry)).map(|(index, _)| index)
        };
        while let Some(index) = open(self) {
            self.end_transaction(index);
        }
    }

    fn transaction_by_key(&self, key: TransactionKey) -> Option<u32> {
        let is = |index: u32| self.transactions.get(index).is_some_and(|entry| entry.key == key);
        self.transaction_keys.find(key.short(), is)
    }

    fn transaction_by_merge(&self, merge: TransactionKey) -> Option<u32> {
        let is = |index: u32| {
            self.transactions.get(index).is_some_and(|entry| entry.merge == Some(merge))
        };
        self.transaction_keys.find(merge.short(), is)
    }

    pub(crate) fn sip_timers(&self) -> sip::txn::Timers {
        sip::txn::Timers { t1: self.plan.timers.t1, ..sip::txn::Timers::RFC }
    }

    fn answer_unless_ack(
        &mut self,
        io: &mut Io<'_>,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        code: u16,
    ) {
        if message.method() != Some(Method::Ack) {
            self.answer_stateless(io, datagram, message, code);
        }
    }

    /// A response without state: the same request gets the same answer again.
    pub(crate) fn answer_stateless(
        &mut self,
        io: &mut Io<'_>,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        code: u16,
    ) {
        let reply = Reply::new(code, None, None);
        self.answer_with(io, datagram, message, &reply, |writer| writer);
    }

    pub(crate) fn answer_with<'r>(
        &mut self,
        io: &mut Io<'_>,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        reply: &Reply<'r>,
        more: impl FnOnce(Writer<'_>) -> Writer<'_>,
    ) {
        // A tag that is the same for every repetition, and no leg's.
        let call_id = message.call_id().unwrap_or_default();
        let hash = sip::key::call_hash(call_id, &self.plan.keys.token);
        let mut tag = [0; 16];
        hex(hash, &mut tag);
        let source = Some(datagram.source);
        let reply = Reply { to_tag: reply.to_tag.or(Some(&tag)), source, ..*reply };
        let frame = compose(io.frames, |out| {
            more(reply_to(out, message, &reply)).finish().ok().map(<[u8]>::len)
        });
        let to = response_address(message, datagram.source);
        self.put(datagram.listener, to, frame);
    }

    fn refuse_stateless(
        &mut self,
        io: &mut Io<'_>,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        refusal: Refusal,
    ) {
        let Refusal { code, why } = refusal;
        if message.method() == Some(Method::Invite) {
            let uri = message.uri_raw();
            self.tell_refused(io.now, datagram.source, code, Cause::Protocol, uri);
        }
        let reply = Reply::new(code, None, None);
        self.answer_with(io, datagram, message, &reply, |writer| match why {
            Why::MethodNotAllowed | Why::UnknownMethod => writer.field(Name::Allow, ALLOW),
            Why::MediaType => writer.field(Name::Accept, b"application/sdp"),
            Why::Extension => CORE
                .unsupported(message)
                .fold(writer, |writer, tag| writer.field(Name::Unsupported, tag)),
            _ => writer,
        });
    }

    /// Queues a composed message, or counts that there was nothing to write into.
    pub(crate) fn put(&mut self, listener: u8, to: SocketAddr, frame: Option<Frame>) {
        match frame {
            Some(frame) => self.transmit_sip(listener, to, frame),
            None => self.counters.count(Counter::DiscardNoFrame),
        }
    }

    pub(crate) fn transmit_sip(&mut self, listener: u8, to: SocketAddr, frame: Frame) {
        self.counters.count(Counter::SipSent);
        self.transmits.push_back(Transmit { frame, from: Local::Listener(listener), to });
    }

    /// Where the responses of a transaction go.
    pub(crate) fn transaction_to(&self, index: u32) -> Option<SocketAddr> {
        self.transactions.get(index).map(|transaction| transaction.to)
    }

    /// Drops a composed message.
    pub(crate) fn drop_frame(&mut self, frames: &mut dyn Frames, frame: Frame) {
        discard(&mut self.counters, frames, frame, Counter::DiscardNoRoom);
    }

    /// A leg is gone: its transaction answers retransmissions alone from now on.
    pub(crate) fn orphan_transaction(&mut self, index: u32) {
        let Some(transaction) = self.transactions.get_mut(index) else { return };
        transaction.leg = LegId::NONE;
        let unanswered = matches!(&transaction.machine, Machine::Invite(machine)
            if machine.state() == sip::txn::invite_server::State::Proceeding);
        if unanswered {
            // No final response could be written: it has no timer of its own and would stand for
            // ever.
            self.end_transaction(index);
        }
    }

    pub(crate) fn touch(&mut self, index: u32, now: Now, deadline: Mono) {
        self.leg_timers.set(index, deadline.max(now.mono));
    }
}

/// Lets `write` fill a fresh frame; None if there is none or it does not fit.
pub(crate) fn compose(
    frames: &mut dyn Frames,
    write: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Option<Frame> {
    // Most messages fit a small buffer; the large ones are few.
    let mut out = [0; MESSAGE_BYTES];
    let len = write(&mut out)?;
    frame_of(frames, &out[..len])
}

/// A frame with these bytes.
pub(crate) fn frame_of(frames: &mut dyn Frames, bytes: &[u8]) -> Option<Frame> {
    if bytes.is_empty() {
        return None;
    }
    let frame = frames.alloc(bytes.len())?.resized(bytes.len());
    frames.bytes_mut(frame).copy_from_slice(bytes);
    Some(frame)
}

/// Where a response goes over UDP (RFC 3261 section 18.2.2, RFC 3581): to the source's address; to
/// its port if `rport` was asked for, else to the Via's.
fn response_address(message: &Message<'_>, source: SocketAddr) -> SocketAddr {
    let Ok(via) = message.via() else { return source };
    if via.rport != sip::Rport::Absent {
        return source;
    }
    SocketAddr::new(source.ip(), via.port.unwrap_or(5_060))
}

/// A URI's address, where its host is one.
pub(crate) fn address_of(uri: &[u8]) -> Option<SocketAddr> {
    let uri = sip::Uri::parse(uri).ok()?;
    Some(SocketAddr::new(uri.host.ip()?, uri.port_or_default()))
}

/// Whether packets may be sent there at all (THREATS.md, media relay as SSRF). `ours` is our own
/// media address: loopback talks with loopback only.
pub(crate) fn may_send_to(address: IpAddr, ours: IpAddr) -> bool {
    let address = address.to_canonical();
    let special = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unspecified() || v6.segments()[0] & 0xffc0 == 0xfe80,
    };
    let loopback = address.is_loopback() && !ours.is_loopback();
    !(special || loopback || address.is_multicast())
}

pub(crate) fn hex(value: u64, out: &mut [u8; 16]) {
    for (at, digit) in out.iter_mut().enumerate() {
        let nibble = (value >> (60 - 4 * at)) & 0xf;
        *digit = b"0123456789abcdef"[usize::try_from(nibble).unwrap_or(0)];
    }
}

/// `sip:address` of one of our listeners, as Contact.
pub(crate) fn contact(writer: Writer<'_>, address: SocketAddr) -> Writer<'_> {
    let parts = [Part::Bytes(b"<sip:tandem@"), Part::Socket(address), Part::Bytes(b">")];
    writer.header(Name::Contact, &parts)
}
