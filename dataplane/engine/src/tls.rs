//! TLS between the ring and the shard: sealed bytes become plain ones before the shard is given
//! its batch, and what it says is sealed before it is queued. The shard sees connections; that
//! some of them are TLS it knows from their listeners.
//!
//! A connection that was accepted is the shard's at once: it counts for its source, and its time to
//! say something whole runs from the first byte of the handshake on. One that was opened is told
//! when its far end has proven its name.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base::{
    ConnectionId, ConnectionReport, ConnectionRequest, Frame, Frames, Local, Mono, Received,
    TlsName, Transmit,
};
use crossbeam_queue::ArrayQueue;
use net::Driver;
use secure::{Broken, Identity, Outlet, Sessions};
use wire::counter::Counter;

/// Between two lines about handshakes that fail.
const SAY_EVERY: core::time::Duration = core::time::Duration::from_secs(1);
/// Buffers of each size that what has come sealed leaves alone.
const RESERVE: usize = 32;
/// Bytes of a frame for the network.
const FRAME: usize = base::frame::LARGE_BYTES - base::frame::HEADROOM;

/// See the module.
pub(crate) struct Tls {
    /// By listener.
    seals: Vec<bool>,
    sessions: Sessions,
    /// Certificates that came meanwhile.
    fresh: Arc<ArrayQueue<Arc<Identity>>>,
    /// What is to be handed to the shard as if it had come so.
    plain: Vec<Received>,
    /// What is to be told to the shard.
    reports: Vec<ConnectionReport>,
    /// Connections by place, as long as it has no other use.
    places: Vec<Place>,
    scratch: Vec<u8>,
    counted: Vec<Counter>,
    said: Mono,
}

/// What is known of a connection.
#[derive(Clone, Copy)]
struct Place {
    remote: SocketAddr,
    /// Its bytes are sealed, whether it has a session (any more) or not: nothing plain comes from
    /// it or goes by it.
    sealed: Option<ConnectionId>,
}

/// What a session's bytes go through.
struct Ends<'t> {
    driver: &'t mut Driver,
    plain: &'t mut Vec<Received>,
    reports: &'t mut Vec<ConnectionReport>,
    places: &'t [Place],
    counted: &'t mut Vec<Counter>,
    said: &'t mut Mono,
    now: Mono,
}

const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED), 0);

impl Tls {
    /// `seals`: which listeners are TLS's; `places`: connections in all.
    pub(crate) fn new(
        seals: Vec<bool>,
        places: usize,
        fresh: Arc<ArrayQueue<Arc<Identity>>>,
    ) -> Self {
        let places = if seals.contains(&true) { places } else { 0 };
        Self {
            seals,
            sessions: Sessions::default(),
            fresh,
            plain: Vec::new(),
            reports: Vec::new(),
            places: vec![Place { remote: NOWHERE, sealed: None }; places],
            scratch: Vec::new(),
            counted: Vec::new(),
            said: Mono(0),
        }
    }

    fn seals(&self, listener: u8) -> bool {
        self.seals.get(usize::from(listener)).is_some_and(|seals| *seals)
    }

    /// A frame's bytes, out of it.
    fn take(&mut self, driver: &mut Driver, frame: Frame) {
        self.scratch.clear();
        self.scratch.extend_from_slice(driver.pool_mut().bytes(frame));
        driver.pool_mut().free(frame);
    }

    fn split<'t>(&'t mut self, driver: &'t mut Driver, now: Mono) -> (&'t mut Sessions, Ends<'t>) {
        let Self { sessions, plain, reports, places, counted, said, .. } = self;
        (sessions, Ends { driver, plain, reports, places, counted, said, now })
    }

    fn remember(&mut self, id: ConnectionId, remote: SocketAddr, is_sealed: bool) {
        if let Some(place) = self.places.get_mut(usize::from(id.slot)) {
            *place = Place { remote, sealed: is_sealed.then_some(id) };
        }
    }

    fn is_sealed(&self, id: ConnectionId) -> bool {
        self.places.get(usize::from(id.slot)).is_some_and(|place| place.sealed == Some(id))
    }

    /// A frame that belongs to a session that is over.
    fn discard(&mut self, driver: &mut Driver, frame: Frame) {
        driver.pool_mut().free(frame);
        self.counted.push(Counter::DiscardConnectionGone);
    }

    /// Whether something waits that needs no packet to go on.
    pub(crate) fn is_waiting(&self) -> bool {
        self.sessions.is_waiting() || !self.reports.is_empty()
    }

    /// Takes over certificates that have come.
    pub(crate) fn renew(&mut self) {
        while let Some(identity) = self.fresh.pop() {
            self.sessions.identify(identity);
        }
    }

    /// What came sealed is plain behind this, at the end of the batch.
    pub(crate) fn unseal(&mut self, driver: &mut Driver, received: &mut Vec<Received>, now: Mono) {
        let is_sealed = |one: &Received| match one.at {
            Local::Connection(id) => self.is_sealed(id),
            _ => false,
        };
        let first = if self.places.is_empty() { None } else { received.iter().position(is_sealed) };
        if let Some(first) = first {
            self.unseal_from(driver, received, (first, now));
        }
        if self.sessions.is_waiting() {
            let (sessions, mut ends) = self.split(driver, now);
            sessions.serve(&mut ends);
        }
        // A burst may have been read before, and its session have ended since.
        received.append(&mut self.plain);
    }

    /// What came sealed is given to its session.
    fn unseal_from(
        &mut self,
        driver: &mut Driver,
        received: &mut Vec<Received>,
        (first, now): (usize, Mono),
    ) {
        let mut kept = first;
        for at in first..received.len() {
            let one = received[at];
            match one.at {
                Local::Connection(id) if self.sessions.has(id) => {
                    self.take(driver, one.frame);
                    let bytes = core::mem::take(&mut self.scratch);
                    let (sessions, mut ends) = self.split(driver, now);
                    sessions.receive(id, &bytes, &mut ends);
                    self.scratch = bytes;
                }
                Local::Connection(id) if self.is_sealed(id) => self.discard(driver, one.frame),
                _ => {
                    received[kept] = one;
                    kept += 1;
                }
            }
        }
        received.truncate(kept);
    }

    /// Something of the shard's leaves.
    pub(crate) fn transmit(&mut self, driver: &mut Driver, transmit: Transmit, now: Mono) {
        let id = match transmit.from {
            Local::Connection(id) if self.sessions.has(id) => id,
            Local::Connection(id) if self.is_sealed(id) => {
                return self.discard(driver, transmit.frame);
            }
            _ => return driver.transmit(transmit),
        };
        self.take(driver, transmit.frame);
        let bytes = core::mem::take(&mut self.scratch);
        let (sessions, mut ends) = self.split(driver, now);
        sessions.send(id, &bytes, &mut ends);
        self.scratch = bytes;
    }

    /// What the shard asks of connections. `text`: of the name that the far end of one that is to
    /// be opened must prove.
    pub(crate) fn request(
        &mut self,
        driver: &mut Driver,
        request: ConnectionRequest,
        text: Option<&str>,
        now: Mono,
    ) {
        match request {
            ConnectionRequest::Open { id, listener, to, name } => {
                let is_sealed = self.seals(listener);
                self.remember(id, to, is_sealed);
                let address = to.ip().to_canonical().to_string();
                let text = if name == TlsName::NONE { Some(address.as_str()) } else { text };
                let opened = match text {
                    _ if !is_sealed => Ok(()),
                    Some(text) => self.sessions.open(id, text),
                    None => Err(Broken::NoName),
                };
                if let Err(why) = opened {
                    self.counted.push(Counter::TlsFailed);
                    self.reports.push(ConnectionReport::Closed { id });
                    return self.split(driver, now).1.say(id, &why);
                }
            }
            ConnectionRequest::Close { id } => {
                let (sessions, mut ends) = self.split(driver, now);
                sessions.close(id, &mut ends);
            }
        }
        driver.connection(request);
    }

    /// What became of a connection: what the shard is to hear of it. `is_stranger`: whether nobody
    /// knows who has connected.
    pub(crate) fn report(
        &mut self,
        driver: &mut Driver,
        report: ConnectionReport,
        is_stranger: impl FnOnce(SocketAddr) -> bool,
        now: Mono,
    ) -> Option<ConnectionReport> {
        match report {
            ConnectionReport::Accepted { id, listener, from } => {
                let is_sealed = self.seals(listener);
                self.remember(id, from, is_sealed);
                if is_sealed && let Err(why) = self.sessions.accept(id, listener, is_stranger(from))
                {
                    let (_, mut ends) = self.split(driver, now);
                    // The shard has not heard of it.
                    ends.say(id, &why);
                    ends.counted.push(Counter::TlsFailed);
                    ends.driver.connection(ConnectionRequest::Close { id });
                    return None;
                }
            }
            ConnectionReport::Connected { id } => {
                let (sessions, mut ends) = self.split(driver, now);
                if sessions.connected(id, &mut ends) {
                    return None;
                }
            }
            ConnectionReport::Closed { id } => self.sessions.forget(id),
            ConnectionReport::Proven { .. } => {}
        }
        Some(report)
    }

    /// What else the shard is to hear.
    pub(crate) fn poll_report(&mut self) -> Option<ConnectionReport> {
        (!self.reports.is_empty()).then(|| self.reports.remove(0))
    }

    pub(crate) fn poll_counted(&mut self) -> Option<Counter> {
        self.counted.pop()
    }
}

impl Ends<'_> {
    fn remote(&self, id: ConnectionId) -> SocketAddr {
        self.places.get(usize::from(id.slot)).map_or(NOWHERE, |place| place.remote)
    }

    /// Now and then: whoever wants to can make handshakes fail all day.
    fn say(&mut self, id: ConnectionId, why: &Broken) {
        if self.now < *self.said + SAY_EVERY {
            return;
        }
        *self.said = self.now;
        tracing::warn!(remote = %self.remote(id), %why, "a TLS handshake failed");
    }
}

impl Outlet for Ends<'_> {
    fn sealed(&mut self, id: ConnectionId, bytes: &[u8]) -> bool {
        let to = self.remote(id);
        bytes.chunks(FRAME).all(|piece| {
            let pool = self.driver.pool_mut();
            let Some(frame) = pool.alloc(piece.len()) else { return false };
            let frame = frame.resized(piece.len());
            pool.bytes_mut(frame).copy_from_slice(piece);
            self.driver.transmit(Transmit { frame, from: Local::Connection(id), to });
            true
        })
    }

    fn plain(&mut self, id: ConnectionId, bytes: &[u8]) -> bool {
        let source = self.remote(id);
        // What comes must not keep us from saying anything.
        let (small, large) = self.driver.pool().allocatable();
        if small < RESERVE || large < RESERVE {
            return false;
        }
        let mut taken = Vec::new();
        for piece in bytes.chunks(FRAME) {
            let pool = self.driver.pool_mut();
            let Some(frame) = pool.alloc(piece.len()) else {
                taken.into_iter().for_each(|frame| pool.free(frame));
                return false;
            };
            let frame = frame.resized(piece.len());
            pool.bytes_mut(frame).copy_from_slice(piece);
            taken.push(frame);
        }
        let (at, arrived) = (Local::Connection(id), self.now);
        let received = |frame| Received { frame, at, source, arrived, is_cut: false };
        self.plain.extend(taken.into_iter().map(received));
        true
    }

    fn up(&mut self, id: ConnectionId, known_as: Option<IpAddr>) {
        self.counted.push(Counter::TlsUp);
        // The shard does not know it yet if it is one of ours; else it means nothing to it.
        self.reports.push(ConnectionReport::Connected { id });
        self.reports.extend(known_as.map(|known_as| ConnectionReport::Proven { id, known_as }));
    }

    fn broken(&mut self, id: ConnectionId, greeted: bool, why: Broken) {
        if !greeted {
            self.say(id, &why);
            self.counted.push(Counter::TlsFailed);
        } else if why != Broken::Closed {
            self.counted.push(Counter::TlsBroken);
        }
        self.driver.connection(ConnectionRequest::Close { id });
        self.reports.push(ConnectionReport::Closed { id });
    }
}
