//! TLS between the ring and the shard: sealed bytes become plain ones before the shard is given
//! its batch, and what it says is sealed before it is queued. The shard sees connections; that
//! some of them are TLS it knows from their listeners.
//!
//! A connection that was accepted is the shard's at once: it counts for its source, and its time to
//! say something whole runs from the first byte of the handshake on. One that was opened is told
//! when its far end has proven its name.

use std::net::SocketAddr;
use std::sync::Arc;

use base::{
    ConnectionId, ConnectionReport, ConnectionRequest, Frame, Frames, Local, Mono, Received,
    Transmit,
};
use crossbeam_queue::ArrayQueue;
use net::Driver;
use secure::{Broken, Identity, Outlet, Sessions};
use wire::counter::Counter;

/// Between two lines about handshakes that fail.
const SAY_EVERY: core::time::Duration = core::time::Duration::from_secs(1);
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
    /// Far ends by place.
    remotes: Vec<SocketAddr>,
    scratch: Vec<u8>,
    counted: Vec<Counter>,
    said: Mono,
}

/// What a session's bytes go through.
struct Ends<'t> {
    driver: &'t mut Driver,
    plain: &'t mut Vec<Received>,
    reports: &'t mut Vec<ConnectionReport>,
    remotes: &'t [SocketAddr],
    counted: &'t mut Vec<Counter>,
    said: &'t mut Mono,
    now: Mono,
}

const NOWHERE: SocketAddr =
    SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED), 0);

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
            remotes: vec![NOWHERE; places],
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
        let Self { sessions, plain, reports, remotes, counted, said, .. } = self;
        (sessions, Ends { driver, plain, reports, remotes, counted, said, now })
    }

    fn remember(&mut self, id: ConnectionId, remote: SocketAddr) {
        if let Some(place) = self.remotes.get_mut(usize::from(id.slot)) {
            *place = remote;
        }
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
        if self.sessions.is_empty() {
            return;
        }
        let mut kept = 0;
        for at in 0..received.len() {
            let one = received[at];
            match one.at {
                Local::Connection(id) if self.sessions.has(id) => {
                    self.take(driver, one.frame);
                    let bytes = core::mem::take(&mut self.scratch);
                    let (sessions, mut ends) = self.split(driver, now);
                    sessions.receive(id, &bytes, &mut ends);
                    self.scratch = bytes;
                }
                _ => {
                    received[kept] = one;
                    kept += 1;
                }
            }
        }
        received.truncate(kept);
        let (sessions, mut ends) = self.split(driver, now);
        sessions.serve(&mut ends);
        received.append(&mut self.plain);
    }

    /// Something of the shard's leaves.
    pub(crate) fn transmit(&mut self, driver: &mut Driver, transmit: Transmit, now: Mono) {
        let id = match transmit.from {
            Local::Connection(id) if self.sessions.has(id) => id,
            _ => return driver.transmit(transmit),
        };
        self.take(driver, transmit.frame);
        let bytes = core::mem::take(&mut self.scratch);
        let (sessions, mut ends) = self.split(driver, now);
        sessions.send(id, &bytes, &mut ends);
        self.scratch = bytes;
    }

    /// What the shard asks of connections. `name`: what the far end of one that is to be opened
    /// must prove; None for its address.
    pub(crate) fn request(
        &mut self,
        driver: &mut Driver,
        request: ConnectionRequest,
        name: Option<&str>,
        now: Mono,
    ) {
        match request {
            ConnectionRequest::Open { id, listener, to, .. } if self.seals(listener) => {
                self.remember(id, to);
                let address = to.ip().to_canonical().to_string();
                let opened = self.sessions.open(id, name.unwrap_or(&address));
                if opened.is_err() {
                    self.counted.push(Counter::TlsFailed);
                    return self.reports.push(ConnectionReport::Closed { id });
                }
            }
            ConnectionRequest::Open { .. } => {}
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
            ConnectionReport::Accepted { id, listener, from } if self.seals(listener) => {
                self.remember(id, from);
                if let Err(why) = self.sessions.accept(id, listener, is_stranger(from)) {
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
            ConnectionReport::Accepted { .. } => {}
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
        self.remotes.get(usize::from(id.slot)).copied().unwrap_or(NOWHERE)
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

    fn up(&mut self, id: ConnectionId) {
        self.counted.push(Counter::TlsUp);
        // The shard does not know it yet if it is one of ours; else it means nothing to it.
        self.reports.push(ConnectionReport::Connected { id });
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
