//! A leg: one INVITE transaction, every dialog it begets, and its stream. One shard owns it for
//! life.
//!
//! ```text
//!   inbound:   Arrived --18x--> Ringing --2xx--> Answering --ACK--> Standing --\
//!                 \______________ final or CANCEL ________________________________> Closing --> Over
//!   outbound:  Wanting --offer--> Calling --2xx--> Standing ------------------ /
//! ```
//!
//! *Closing*: usage is closed and told, transactions still run out. *Over*: nothing is left but the
//! controlplane's release of the cell; then the slot is free.

mod dialog;
mod timers;
mod uac;
mod uas;

use arrayvec::ArrayVec;
use base::{Arena, CallId, LegId, Mono, Stored, Wall};
use core::net::SocketAddr;
use sip::dialog::Dialog;
use sip::txn::{Accepted2xx, Client, InviteClient};
use wire::command::Targets;
use wire::event::{Cause, Direction, Party};

use crate::signal::NONE;

pub(crate) use dialog::status_of;
pub(crate) use timers::{Deadlines, Timer};
pub(crate) use uac::call_id_text;
pub(crate) use uas::{Answer, TARGET_ROOM};

/// How often a standing leg's usage goes to its cell, and its silence is looked at.
pub(crate) const METER: core::time::Duration = core::time::Duration::from_secs(1);

/// A copy of a description on the stack, for the moment in which the arena is borrowed otherwise.
pub(crate) struct Text {
    bytes: [u8; TEXT_BYTES],
    len: usize,
}

/// The longest description we write or keep.
pub(crate) const TEXT_BYTES: usize = 4_096;

impl Text {
    /// Longer texts are cut: they were refused before.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut text = Self { bytes: [0; TEXT_BYTES], len: bytes.len().min(TEXT_BYTES) };
        text.bytes[..text.len].copy_from_slice(&bytes[..text.len]);
        text
    }
}

impl core::ops::Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Legs that one leg may have dialled for it at a time.
pub(crate) const CHILDREN_MAX: usize = 10;

/// Closed relay segments a leg keeps; later joins go on in the last one.
const RELAYS_MAX: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Arrived,
    Ringing,
    Answering,
    Wanting,
    Calling,
    Standing,
    Closing,
}

/// One leg.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) id: LegId,
    pub(crate) epoch: u32,
    pub(crate) call: CallId,
    pub(crate) parent: CallId,
    pub(crate) account: u64,
    pub(crate) direction: Direction,
    pub(crate) state: State,
    pub(crate) listener: u8,
    /// Where its signalling goes.
    pub(crate) remote: SocketAddr,
    pub(crate) created: Wall,
    pub(crate) answered: Wall,
    /// When its media began to be relayed for money; 0 before.
    pub(crate) joined_at: Wall,
    /// Relay segments of joins that are over.
    pub(crate) relays: ArrayVec<wire::Usage, RELAYS_MAX>,
    pub(crate) ended: Wall,
    pub(crate) code: u16,
    pub(crate) cause: Cause,
    pub(crate) by: Party,
    pub(crate) from_text: Stored,
    pub(crate) to_text: Stored,
    pub(crate) call_id: Stored,
    pub(crate) dialog: Option<Dialog>,
    pub(crate) dialog_text: Stored,
    /// The INVITE: received, until it is answered finally; sent, until its transaction ends.
    pub(crate) invite_text: Stored,
    /// Our first description and the far end's last one.
    pub(crate) local_sdp: Stored,
    pub(crate) remote_sdp: Stored,
    pub(crate) sdp_version: u32,
    /// Our 200 carried the offer: the ACK carries the answer.
    pub(crate) offered_late: bool,
    /// Index of the INVITE's server transaction, or [`NONE`].
    pub(crate) invite_server: u32,
    /// A 2xx of ours that waits for its ACK, and its text.
    pub(crate) accepted: Option<Accepted2xx>,
    pub(crate) accepted_text: Stored,
    /// Where it goes, as often as it goes (RFC 3261 section 13.3.1.4).
    pub(crate) accepted_to: SocketAddr,
    pub(crate) invite_client: Option<InviteClient>,
    pub(crate) cancel_client: Option<Client>,
    pub(crate) bye_client: Option<Client>,
    pub(crate) bye_text: Stored,
    /// Branch salt of the INVITE in force, and of the BYE.
    pub(crate) invite_salt: u32,
    pub(crate) bye_salt: u32,
    pub(crate) invite_cseq: u32,
    /// Display name and more headers for the INVITE to be sent.
    pub(crate) from_name: Stored,
    pub(crate) headers: Stored,
    pub(crate) max_forwards: u8,
    pub(crate) targets: Targets,
    pub(crate) target: u8,
    pub(crate) deadlines: Deadlines,
    pub(crate) ring_ms: u32,
    pub(crate) limit_ms: u32,
    /// Session-Expires in force, seconds; 0 for none.
    pub(crate) session_s: u32,
    /// The leg it was dialled for: it never outlives it.
    pub(crate) dialed_for: LegId,
    /// The leg it is joined with.
    pub(crate) partner: LegId,
    /// Legs dialled for this one.
    pub(crate) children: ArrayVec<LegId, CHILDREN_MAX>,
    pub(crate) pass_progress: bool,
    pub(crate) bridge: bool,
    /// Cancelled before a provisional response came: CANCEL must wait (RFC 3261 section 9.1).
    pub(crate) cancel_wanted: bool,
    /// The static route that this incoming call follows.
    pub(crate) route: Option<u16>,
    /// The controlplane has the usage.
    pub(crate) released: bool,
    /// A leg of an earlier run: nothing but its slot.
    pub(crate) ghost: bool,
}

impl Leg {
    pub(crate) fn new(id: LegId, epoch: u32, direction: Direction, now: Wall) -> Self {
        Self {
            id,
            epoch,
            call: CallId::NONE,
            parent: CallId::NONE,
            account: 0,
            direction,
            state: match direction {
                Direction::Inbound => State::Arrived,
                Direction::Outbound => State::Wanting,
            },
            listener: 0,
            remote: SocketAddr::from(([0, 0, 0, 0], 0)),
            created: now,
            answered: Wall(0),
            joined_at: Wall(0),
            relays: ArrayVec::new(),
            ended: Wall(0),
            code: 0,
            cause: Cause::Normal,
            by: Party::Switch,
            from_text: Stored::default(),
            to_text: Stored::default(),
            call_id: Stored::default(),
            dialog: None,
            dialog_text: Stored::default(),
            invite_text: Stored::default(),
            local_sdp: Stored::default(),
            remote_sdp: Stored::default(),
            sdp_version: 1,
            offered_late: false,
            invite_server: NONE,
            accepted: None,
            accepted_text: Stored::default(),
            accepted_to: SocketAddr::from(([0, 0, 0, 0], 0)),
            invite_client: None,
            cancel_client: None,
            bye_client: None,
            bye_text: Stored::default(),
            invite_salt: 0,
            bye_salt: 0,
            invite_cseq: 1,
            from_name: Stored::default(),
            headers: Stored::default(),
            max_forwards: 70,
            targets: Targets::new(),
            target: 0,
            deadlines: Deadlines::default(),
            ring_ms: 0,
            limit_ms: 0,
            session_s: 0,
            dialed_for: LegId::NONE,
            partner: LegId::NONE,
            children: ArrayVec::new(),
            pass_progress: false,
            bridge: false,
            cancel_wanted: false,
            route: None,
            released: false,
            ghost: false,
        }
    }

    /// What an earlier run left: over, waiting for its release.
    pub(crate) fn ghost(epoch: u32, id: LegId, call: CallId, now: Wall) -> Self {
        let mut leg = Self::new(id, epoch, Direction::Inbound, now);
        leg.call = call;
        leg.state = State::Closing;
        leg.ghost = true;
        leg
    }

    /// Its usage is closed and told.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Closing
    }

    /// It was answered and its end was not told yet.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Answering | State::Standing)
    }

    /// An incoming leg without a final response.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Arrived | State::Ringing)
    }

    /// Nothing of its own runs any more.
    pub(crate) fn is_quiet(&self) -> bool {
        let invite_done = self.invite_client.is_none_or(|client| {
            matches!(
                client.state(),
                sip::txn::invite_client::State::Accepted
                    | sip::txn::invite_client::State::Terminated
            )
        });
        let clients = self.cancel_client.is_none() && self.bye_client.is_none();
        invite_done && clients && self.accepted.is_none()
    }

    pub(crate) fn free_texts(&mut self, arena: &mut Arena) {
        for text in [
            &mut self.from_text,
            &mut self.to_text,
            &mut self.call_id,
            &mut self.dialog_text,
            &mut self.invite_text,
            &mut self.local_sdp,
            &mut self.remote_sdp,
            &mut self.accepted_text,
            &mut self.bye_text,
            &mut self.from_name,
            &mut self.headers,
        ] {
            arena.free(text);
        }
    }

    /// The next moment at which something of it is due.
    pub(crate) fn deadline(&self) -> Mono {
        let clients = [
            self.invite_client.map_or(Mono::NEVER, |client| client.deadline()),
            self.cancel_client.map_or(Mono::NEVER, |client| client.deadline()),
            self.bye_client.map_or(Mono::NEVER, |client| client.deadline()),
            self.accepted.map_or(Mono::NEVER, |accepted| accepted.deadline()),
        ];
        clients.into_iter().min().unwrap_or(Mono::NEVER).min(self.deadlines.next())
    }
}
