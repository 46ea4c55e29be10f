//! The TLS sessions of one shard's connections.
//!
//! ```text
//!   accepted: Greeting --(handshake done)--> Up --> gone      bytes are plain from Up on
//!   opened:   Named --(connected)--> Greeting --> Up --> gone
//! ```
//!
//! Bytes that came wait in their session until [`Sessions::serve`] reads them: of those that stand
//! all, of those that still greet one at a time, known far ends before strangers. What a session
//! holds is bounded; who sends more than it may is cut off.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

use base::ConnectionId;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};

use wire::material::Client;

use crate::identity::Identity;

/// Bytes of a connection that wait to be read: four records, or a long handshake.
const INBOX_MAX: usize = 80 << 10;
/// Bytes of a far end before its session is up: a hello, a certificate chain.
const GREETING_MAX: usize = 24 << 10;
/// Those of all of them, a quarter of which is for known far ends.
const GREETINGS_MAX: usize = 8 << 20;
/// Bytes said before a session is up.
const EARLY_MAX: usize = 64 << 10;
/// Plain bytes handed over at a time: no record has more.
const PLAIN: usize = 16 << 10;

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Broken {
    /// Its far end has said so.
    #[error("closed by the far end")]
    Closed,
    #[error("more bytes than a session may hold")]
    TooMuch,
    #[error("no certificate serves this listener yet")]
    NoCertificate,
    #[error("the name that its far end must prove is forgotten, or is none")]
    NoName,
    #[error("{0}")]
    Tls(rustls::Error),
}

/// Where the bytes of sessions go.
pub trait Outlet {
    /// Sealed bytes for the network, in their order. False if they are lost: the session is over.
    fn sealed(&mut self, id: ConnectionId, bytes: &[u8]) -> bool;
    /// Plain bytes from the far end. False if they cannot be taken now: they are offered again.
    fn plain(&mut self, id: ConnectionId, bytes: &[u8]) -> bool;
    /// The handshake is done. `known_as`: what stands for the name that who connected has proven.
    fn up(&mut self, id: ConnectionId, known_as: Option<IpAddr>);
    /// It is over; nothing more comes of it. `greeted`: it was up.
    fn broken(&mut self, id: ConnectionId, greeted: bool, why: Broken);
}

#[derive(Debug)]
struct Session {
    id: ConnectionId,
    tls: Connection,
    is_up: bool,
    /// Whether it stands in one of the queues.
    is_queued: bool,
    is_stranger: bool,
    /// Came, and was not read yet.
    inbox: Vec<u8>,
    /// Read, and not handed over yet.
    plain: Vec<u8>,
    /// The far end has said its last.
    has_closed: bool,
    /// Bytes that came before it was up.
    greeted: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Sessions {
    identity: Option<Arc<Identity>>,
    /// By place.
    sessions: HashMap<u16, Session>,
    /// Those to be opened: what they are to prove.
    named: HashMap<ConnectionId, ServerName<'static>>,
    /// That stand and have bytes to be read.
    ready: VecDeque<ConnectionId>,
    /// That greet: known far ends, strangers.
    greeting: [VecDeque<ConnectionId>; 2],
    /// Bytes that sessions hold which are not up: of all, of strangers.
    greetings: usize,
    greetings_strange: usize,
    page: Box<[u8; PLAIN]>,
    sealed: Vec<u8>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            identity: None,
            sessions: HashMap::new(),
            named: HashMap::new(),
            ready: VecDeque::new(),
            greeting: [VecDeque::new(), VecDeque::new()],
            greetings: 0,
            greetings_strange: 0,
            page: Box::new([0; PLAIN]),
            sealed: Vec::new(),
        }
    }
}

impl Sessions {
    /// What sessions that begin from now on show and believe.
    pub fn identify(&mut self, identity: Arc<Identity>) {
        self.identity = Some(identity);
    }

    /// Somebody has connected to a listener.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub fn accept(
        &mut self,
        id: ConnectionId,
        listener: u8,
        is_stranger: bool,
    ) -> Result<(), Broken> {
        let servers = self.identity.as_ref().map(|identity| &identity.servers);
        let config = servers.and_then(|servers| servers.get(usize::from(listener))?.as_ref());
        let config = Arc::clone(config.ok_or(Broken::NoCertificate)?);
        let tls = ServerConnection::new(config).map_err(Broken::Tls)?;
        self.put(id, tls.into(), is_stranger);
        Ok(())
    }

    /// A connection is to be opened; its far end must prove this name (or address).
    ///
    /// # Errors
    /// Nothing can be called so.
    pub fn open(&mut self, id: ConnectionId, name: &str) -> Result<(), Broken> {
        let name = ServerName::try_from(name.to_owned());
        self.named.insert(id, name.map_err(|_| Broken::NoName)?);
        Ok(())
    }

    /// A connection that was opened stands: the handshake begins. False if it is none of ours.
    pub fn connected(&mut self, id: ConnectionId, outlet: &mut dyn Outlet) -> bool {
        let Some(name) = self.named.remove(&id) else { return false };
        let config = self.identity.as_ref().map(|identity| Arc::clone(&identity.client));
        let made = config
            .ok_or(Broken::NoCertificate)
            .and_then(|config| ClientConnection::new(config, name).map_err(Broken::Tls));
        match made {
            Ok(tls) => {
                self.put(id, tls.into(), false);
                self.flush(id, outlet);
            }
            Err(why) => outlet.broken(id, false, why),
        }
        true
    }

    fn put(&mut self, id: ConnectionId, mut tls: Connection, is_stranger: bool) {
        tls.set_buffer_limit(Some(EARLY_MAX));
        let session = Session {
            id,
            tls,
            is_up: false,
            is_queued: false,
            is_stranger,
            inbox: Vec::new(),
            plain: Vec::new(),
            has_closed: false,
            greeted: 0,
        };
        self.sessions.insert(id.slot, session);
    }

    fn get(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.sessions.get_mut(&id.slot).filter(|session| session.id == id)
    }

    /// Whether its bytes are sealed.
    #[must_use]
    pub fn has(&self, id: ConnectionId) -> bool {
        self.sessions.get(&id.slot).is_some_and(|session| session.id == id)
    }

    /// Bytes came. False if the connection has no session: they are plain.
    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8], outlet: &mut dyn Outlet) -> bool {
        let Some(session) = self.get(id) else { return false };
        let (is_up, is_full) = (session.is_up, session.inbox.len() + bytes.len() > INBOX_MAX);
        if is_up && is_full {
            // Whoever stands is read at once before he is cut off.
            self.read(id, outlet);
        }
        let may = is_up || self.may_greet(id, bytes.len());
        let Some(session) = self.get(id) else { return true };
        if !may || session.inbox.len() + bytes.len() > INBOX_MAX {
            self.end(id, Broken::TooMuch, outlet);
            return true;
        }
        session.inbox.extend_from_slice(bytes);
        self.queue(id);
        true
    }

    /// Counts so many bytes of a far end that greets; false if they are too many.
    fn may_greet(&mut self, id: ConnectionId, len: usize) -> bool {
        let most_strange = GREETINGS_MAX - GREETINGS_MAX / 4;
        let (all, strange) = (self.greetings + len, self.greetings_strange + len);
        let Some(session) = self.get(id) else { return false };
        let is_stranger = session.is_stranger;
        if session.greeted + len > GREETING_MAX
            || all > GREETINGS_MAX
            || is_stranger && strange > most_strange
        {
            return false;
        }
        session.greeted += len;
        self.greetings = all;
        if is_stranger {
            self.greetings_strange = strange;
        }
        true
    }

    /// It greets no more.
    fn forget_greeting(&mut self, id: ConnectionId) {
        let Some(session) = self.get(id) else { return };
        let (len, is_stranger) = (core::mem::take(&mut session.greeted), session.is_stranger);
        self.greetings -= len;
        if is_stranger {
            self.greetings_strange -= len;
        }
    }

    fn queue(&mut self, id: ConnectionId) {
        let Some(session) = self.get(id).filter(|session| !session.is_queued) else { return };
        session.is_queued = true;
        match (session.is_up, session.is_stranger) {
            (true, _) => self.ready.push_back(id),
            (false, false) => self.greeting[0].push_back(id),
            (false, true) => self.greeting[1].push_back(id),
        }
    }

    /// Whether bytes wait to be read: then the next turn must not wait.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.ready.is_empty() || self.greeting.iter().any(|queue| !queue.is_empty())
    }

    /// Reads what has come: of those that stand, and of one that greets.
    pub fn serve(&mut self, outlet: &mut dyn Outlet) {
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else { break };
            self.read(id, outlet);
        }
        let [known, strangers] = &mut self.greeting;
        if let Some(id) = known.pop_front().or_else(|| strangers.pop_front()) {
            self.read(id, outlet);
        }
    }

    fn read(&mut self, id: ConnectionId, outlet: &mut dyn Outlet) {
        let Some(session) = self.sessions.get_mut(&id.slot).filter(|it| it.id == id) else {
            return;
        };
        session.is_queued = false;
        let mut inbox = core::mem::take(&mut session.inbox);
        let clients = self.identity.as_ref().map_or(&[][..], |identity| &identity.clients);
        let (page, sealed) = (&mut self.page, &mut self.sealed);
        let outcome = session.read(&mut inbox, (page, sealed), clients, outlet);
        let (is_up, is_done) = (session.is_up, session.plain.is_empty() && inbox.is_empty());
        if is_up {
            self.forget_greeting(id);
        }
        let Some(session) = self.get(id) else { return };
        match outcome {
            Ok(()) if is_done => {}
            Ok(()) => {
                session.inbox = inbox;
                self.queue(id);
            }
            Err(why) => self.end(id, why, outlet),
        }
    }

    /// Says something: sealed, once the handshake is done. False if there is no such session.
    pub fn send(&mut self, id: ConnectionId, bytes: &[u8], outlet: &mut dyn Outlet) -> bool {
        let Some(session) = self.get(id) else { return false };
        let taken = session.tls.writer().write(bytes);
        if taken.is_ok_and(|taken| taken == bytes.len()) {
            self.flush(id, outlet);
        } else {
            self.end(id, Broken::TooMuch, outlet);
        }
        true
    }

    fn flush(&mut self, id: ConnectionId, outlet: &mut dyn Outlet) {
        let Some(session) = self.sessions.get_mut(&id.slot).filter(|it| it.id == id) else {
            return;
        };
        if let Err(why) = session.flush(&mut self.sealed, outlet) {
            self.end(id, why, outlet);
        }
    }

    /// We close it: the far end is told that nothing was cut off (close_notify).
    pub fn close(&mut self, id: ConnectionId, outlet: &mut dyn Outlet) {
        self.named.remove(&id);
        if let Some(session) = self.get(id) {
            session.tls.send_close_notify();
            self.flush(id, outlet);
        }
        self.forget(id);
    }

    /// The connection is gone.
    pub fn forget(&mut self, id: ConnectionId) {
        self.named.remove(&id);
        self.forget_greeting(id);
        if self.has(id) {
            self.sessions.remove(&id.slot);
        }
    }

    fn end(&mut self, id: ConnectionId, why: Broken, outlet: &mut dyn Outlet) {
        let Some(session) = self.sessions.get_mut(&id.slot).filter(|it| it.id == id) else {
            return;
        };
        let is_up = session.is_up;
        // An alert that says why may wait to be sent.
        let _ = session.flush(&mut self.sealed, outlet);
        self.forget(id);
        outlet.broken(id, is_up, why);
    }
}

impl Session {
    /// Reads all of the inbox that can be handed over.
    fn read(
        &mut self,
        inbox: &mut Vec<u8>,
        (page, sealed): (&mut [u8; PLAIN], &mut Vec<u8>),
        clients: &[Client],
        outlet: &mut dyn Outlet,
    ) -> Result<(), Broken> {
        if !self.plain.is_empty() {
            if !outlet.plain(self.id, &self.plain) {
                return Ok(());
            }
            self.plain = Vec::new();
            if !self.hand_over(page, outlet) {
                return Ok(());
            }
            if self.has_closed {
                return Err(Broken::Closed);
            }
        }
        let mut at = 0;
        let outcome = loop {
            let mut rest = &inbox[at..];
            if rest.is_empty() {
                break Ok(());
            }
            match self.tls.read_tls(&mut rest) {
                Ok(taken) => at += taken,
                Err(_) => break Err(Broken::TooMuch),
            }
            let state = match self.tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => break Err(Broken::Tls(error)),
            };
            self.has_closed |= state.peer_has_closed();
            if let Err(why) = self.flush(sealed, outlet) {
                break Err(why);
            }
            if !self.is_up && !self.tls.is_handshaking() {
                self.is_up = true;
                outlet.up(self.id, self.known_as(clients));
            }
            let is_taken = self.hand_over(page, outlet);
            if !is_taken {
                break Ok(());
            }
            if self.has_closed {
                break Err(Broken::Closed);
            }
        };
        inbox.drain(..at);
        if inbox.is_empty() {
            *inbox = Vec::new();
        }
        outcome
    }

    /// What stands for the first of these names that its far end's certificate has, which was
    /// verified as the listener says.
    fn known_as(&self, clients: &[Client]) -> Option<IpAddr> {
        let Connection::Server(_) = &self.tls else { return None };
        let shown = self.tls.peer_certificates()?.first()?;
        let shown = webpki::EndEntityCert::try_from(shown).ok()?;
        // As they are written: who has a wildcard is none of those whom it fits (RFC 5922 section
        // 7.2).
        let has =
            |it: &&Client| shown.valid_dns_names().any(|own| own.eq_ignore_ascii_case(&it.name));
        clients.iter().find(has).map(|it| it.known_as)
    }

    /// Hands over what is plain by now. False if it was not taken: what is left is kept.
    fn hand_over(&mut self, page: &mut [u8; PLAIN], outlet: &mut dyn Outlet) -> bool {
        loop {
            match self.tls.reader().read(page) {
                Ok(len) if len > 0 => {
                    if !outlet.plain(self.id, &page[..len]) {
                        self.plain = page[..len].to_vec();
                        return false;
                    }
                }
                _ => return true,
            }
        }
    }

    fn flush(&mut self, sealed: &mut Vec<u8>, outlet: &mut dyn Outlet) -> Result<(), Broken> {
        sealed.clear();
        while self.tls.wants_write() {
            if self.tls.write_tls(sealed).is_err() {
                break;
            }
        }
        match sealed.is_empty() || outlet.sealed(self.id, sealed) {
            true => Ok(()),
            false => Err(Broken::TooMuch),
        }
    }
}
