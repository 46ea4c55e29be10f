//! Dialog and transactions of one call, from one user agent's side: what was sent and is sent again
//! until it is answered, what came and is answered again when it comes again. It decides nothing:
//! what to ask and how to answer is its owner's.
//!
//! Its buffers stay with it ([`Signal::reset`]), so that a place of a busy agent allocates only for
//! its first calls.

mod client;
mod server;

use std::net::SocketAddr;

use base::{Mono, Now, Prng};
use sip::dialog::{Dialog, DialogError};
use sip::txn::{Accepted2xx, Client, InviteClient, InviteServer, Server, Timers};
use sip::{Message, Method, Transport, ViaOut, Writer};

use crate::Outbox;

pub use client::Response;
pub use server::{Answer, Request};

const TIMERS: Timers = Timers::RFC;
/// Largest text of a dialog: Call-ID, tags, addresses, routes and target.
const TEXT_BYTES: usize = 4_096;
const BRANCH_BYTES: usize = 23;

/// What the agent needs to act: the time, the way out, room to write a message in.
pub struct Cx<'a> {
    pub now: Now,
    pub out: &'a mut dyn Outbox,
    pub room: &'a mut Room,
}

/// Where the messages of all calls of an agent are written, and the buffers that none of them uses:
/// a busy agent allocates only while it has more calls than ever before.
#[derive(Debug)]
pub struct Room {
    /// As large as the largest message.
    pub(crate) scratch: Vec<u8>,
    spare: Vec<Vec<u8>>,
}

impl Room {
    /// For messages of so many bytes; 8 KiB will do.
    #[must_use]
    pub fn new(message_bytes: usize) -> Self {
        Self { scratch: vec![0; message_bytes], spare: Vec::new() }
    }

    fn give_back(&mut self, bytes: &mut Vec<u8>) {
        if bytes.capacity() > 0 {
            self.spare.push(std::mem::take(bytes));
        }
    }
}

/// A buffer that was used before, or a new one, with these bytes.
fn keep(spare: &mut Vec<Vec<u8>>, bytes: &[u8]) -> Vec<u8> {
    let mut kept = spare.pop().unwrap_or_default();
    kept.clear();
    kept.extend_from_slice(bytes);
    kept
}

impl core::fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Cx").field("now", &self.now).finish_non_exhaustive()
    }
}

/// A branch of ours.
type Branch = [u8; BRANCH_BYTES];

/// An INVITE that we sent, and its ACK once there is one.
#[derive(Debug)]
struct SentInvite {
    machine: InviteClient,
    bytes: Vec<u8>,
    branch: Branch,
    ack: Vec<u8>,
    cseq: u32,
    /// It began the call, it is no re-INVITE.
    initial: bool,
    /// A final response came.
    done: bool,
}

/// Another request that we sent.
#[derive(Debug)]
struct SentRequest {
    machine: Client,
    method: Method<'static>,
    bytes: Vec<u8>,
    branch: Branch,
    cseq: u32,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteServer),
    Other(Server),
}

/// A request that came, and our last response.
#[derive(Debug)]
struct Served {
    branch: Vec<u8>,
    method: Method<'static>,
    machine: Machine,
    response: Vec<u8>,
    request: Vec<u8>,
    source: SocketAddr,
    /// It began the call.
    initial: bool,
    cseq: u32,
}

/// A 2xx of ours that waits for its ACK; its bytes are those of the INVITE that was served.
#[derive(Debug)]
struct Accepted {
    machine: Accepted2xx,
    cseq: u32,
}

/// What the passing of time brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Nobody answered this INVITE (its CSeq number).
    pub invite: Option<u32>,
    /// The INVITE was the one that began the call.
    pub initial: bool,
    /// Nobody answered this other request.
    pub request: Option<(Method<'static>, u32)>,
    /// Our 2xx was never acknowledged.
    pub unacknowledged: bool,
    /// Transactions that gave up, ours and theirs.
    pub timeouts: u32,
    /// Messages that were sent again.
    pub repeats: u32,
}

/// The signalling of one call. See the module.
#[derive(Debug)]
pub struct Signal {
    pub ours: SocketAddr,
    /// Where requests go, whatever the dialog's target says: the phones' outbound proxy.
    pub peer: SocketAddr,
    pub call_id: Vec<u8>,
    /// Our tag.
    pub tag: Vec<u8>,
    /// URI of our Contact.
    pub contact: Vec<u8>,
    /// Display name in From of our INVITE.
    pub display: Vec<u8>,
    /// By what its messages go: over a connection nothing is sent again.
    pub transport: base::Transport,
    /// Forgets requests that are answered, also the one that began the call.
    pub lean: bool,
    /// Messages of the other side that came again.
    pub repeats_heard: u32,
    pub dialog: Option<Dialog>,
    /// Requests that the dialog refused by their CSeq number.
    pub out_of_order: u32,
    /// Messages that could not be written (too large, or a line end in a value).
    pub unwritten: u32,
    text: Vec<u8>,
    cseq: u32,
    random: Prng,
    invites: Vec<SentInvite>,
    requests: Vec<SentRequest>,
    served: Vec<Served>,
    accepted: Vec<Accepted>,
}

impl Signal {
    /// A call between these two addresses. `cseq` is the number of its first request.
    #[must_use]
    pub fn new(ours: SocketAddr, peer: SocketAddr, cseq: u32, seed: u64) -> Self {
        Self {
            ours,
            peer,
            call_id: Vec::new(),
            tag: Vec::new(),
            contact: format!("sip:phone@{ours}").into_bytes(),
            display: Vec::new(),
            transport: base::Transport::Udp,
            lean: false,
            repeats_heard: 0,
            dialog: None,
            out_of_order: 0,
            unwritten: 0,
            text: Vec::new(),
            cseq,
            random: Prng::new(seed),
            invites: Vec::new(),
            requests: Vec::new(),
            served: Vec::new(),
            accepted: Vec::new(),
        }
    }

    fn is_reliable(&self) -> bool {
        self.transport != base::Transport::Udp
    }

    /// What carries the call from now on.
    pub(crate) fn go_by(&mut self, transport: base::Transport) {
        self.transport = transport;
        if transport.is_web() {
            // A browser knows no address of its own (RFC 7118 section 5).
            self.contact = b"sip:phone@df7jal23ls0d.invalid".to_vec();
        }
        self.contact.extend_from_slice(transport.suffix().as_bytes());
    }

    /// Forgets the call and gives its buffers back for the next one.
    pub fn reset(&mut self, cseq: u32, room: &mut Room) {
        for it in &mut self.invites {
            room.give_back(&mut it.bytes);
            room.give_back(&mut it.ack);
        }
        for it in &mut self.requests {
            room.give_back(&mut it.bytes);
        }
        for it in &mut self.served {
            room.give_back(&mut it.response);
            room.give_back(&mut it.request);
        }
        self.invites.clear();
        self.requests.clear();
        self.served.clear();
        self.accepted.clear();
        self.call_id.clear();
        self.tag.clear();
        (self.dialog, self.cseq) = (None, cseq);
    }

    /// The text that belongs to [`Signal::dialog`].
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// When [`Signal::handle_timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        let invites = self.invites.iter().map(|it| it.machine.deadline());
        let requests = self.requests.iter().map(|it| it.machine.deadline());
        let served = self.served.iter().map(|it| it.machine.deadline());
        let accepted = self.accepted.iter().map(|it| it.machine.deadline());
        let all = invites.chain(requests).chain(served).chain(accepted);
        all.min().unwrap_or(Mono::NEVER)
    }

    /// Sends again what is due, and tells what nobody answered.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) -> Expired {
        let mut expired = Expired::default();
        self.client_timeouts(cx, &mut expired);
        self.server_timeouts(cx, &mut expired);
        expired
    }

    /// Takes the new target of a dialog, however long.
    fn refresh_target(&mut self, message: &Message<'_>) {
        let Some(dialog) = &mut self.dialog else { return };
        if dialog.refresh_target(&mut self.text, message) == Err(DialogError::TooLarge) {
            self.text.resize(TEXT_BYTES, 0);
            let _ = dialog.refresh_target(&mut self.text, message);
        }
    }

    /// Keeps of the text in `block` what the dialog uses, and a little room for its target.
    fn keep_text(&mut self, dialog: Option<Dialog>, block: &[u8]) {
        let used = dialog.map_or(0, |dialog| dialog.text_len());
        self.text.clear();
        self.text.extend_from_slice(block.get(..used + 32).unwrap_or(block));
        self.dialog = dialog;
    }

    fn branch(&mut self) -> Branch {
        let mut branch = *b"z9hG4bK0000000000000000";
        let mut number = self.random.u64();
        for byte in &mut branch[7..] {
            *byte = b"0123456789abcdef"[usize::try_from(number & 0xf).unwrap_or(0)];
            number >>= 4;
        }
        branch
    }
}

impl Machine {
    fn deadline(&self) -> Mono {
        match self {
            Self::Invite(machine) => machine.deadline(),
            Self::Other(machine) => machine.deadline(),
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.state() == sip::txn::invite_server::State::Terminated,
            Self::Other(machine) => machine.state() == sip::txn::server::State::Terminated,
        }
    }
}

/// A Via with our address.
#[must_use]
pub(crate) fn via(
    (sent_by, transport): (SocketAddr, base::Transport),
    branch: &[u8],
) -> ViaOut<'_> {
    let transport = match transport {
        base::Transport::Udp => Transport::Udp,
        base::Transport::Tcp => Transport::Tcp,
        base::Transport::Tls => Transport::Tls,
        base::Transport::Ws => Transport::Ws,
        base::Transport::Wss => Transport::Wss,
    };
    ViaOut { transport, sent_by, branch, rport: true }
}

/// Header lines, without line ends, into a message.
#[must_use]
pub fn with_lines<'b>(mut writer: Writer<'b>, lines: &[String]) -> Writer<'b> {
    for line in lines {
        if let Some((name, value)) = line.split_once(':') {
            let value = [value.trim().as_bytes().into()];
            writer = writer.header_text(name.trim().as_bytes(), &value);
        }
    }
    writer
}

/// The methods that an agent knows; others are `None`.
fn known(method: Method<'_>) -> Option<Method<'static>> {
    Some(match method {
        Method::Invite => Method::Invite,
        Method::Ack => Method::Ack,
        Method::Bye => Method::Bye,
        Method::Cancel => Method::Cancel,
        Method::Options => Method::Options,
        Method::Info => Method::Info,
        Method::Update => Method::Update,
        Method::Prack => Method::Prack,
        Method::Refer => Method::Refer,
        Method::Notify => Method::Notify,
        Method::Subscribe => Method::Subscribe,
        Method::Message => Method::Message,
        _ => return None,
    })
}

fn branch_of<'a>(message: &Message<'a>) -> &'a [u8] {
    message.via().ok().and_then(|via| via.branch).unwrap_or_default()
}
