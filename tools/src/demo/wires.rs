//! Connections of phones: TCP, and TLS over it, whose far end must be the switch by its
//! certificate.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use base::ConnectionId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secure::{Broken, Identity, Outlet, Sessions};
use sip::framing::{Framed, next};
use socket2::{Domain, Socket, Type};
use wire::material::Material;

/// The one session of a connection.
const ONE: ConnectionId = ConnectionId { shard: 0, generation: 0, slot: 0 };
/// Bytes that are read at a time.
const TURN: usize = 16 << 10;

/// A connection to the switch.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    /// Whose it is.
    pub(super) phone: usize,
    pub(super) own: SocketAddr,
    pub(super) far: SocketAddr,
    tls: Option<Sessions>,
    ends: Ends,
    is_over: bool,
}

/// What has come and what waits to go.
#[derive(Debug, Default)]
struct Ends {
    sealed: Vec<u8>,
    plain: Vec<u8>,
    broken: Option<Broken>,
}

impl Outlet for Ends {
    fn sealed(&mut self, _: ConnectionId, bytes: &[u8]) -> bool {
        self.sealed.extend_from_slice(bytes);
        true
    }

    fn plain(&mut self, _: ConnectionId, bytes: &[u8]) -> bool {
        self.plain.extend_from_slice(bytes);
        true
    }

    fn up(&mut self, _: ConnectionId, _: Option<IpAddr>) {}

    fn broken(&mut self, _: ConnectionId, _: bool, why: Broken) {
        self.broken = Some(why);
    }
}

/// Whom phones believe: whoever shows the certificate in this file.
pub(super) fn believed(file: &Path) -> Result<Arc<Identity>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{} cannot be read", file.display()))?;
    let lines = text.lines().skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
    let body: String = lines.take_while(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(body).with_context(|| format!("{} is no PEM", file.display()))?;
    let material = Material { authorities: vec![der], ..Material::default() };
    Ok(Arc::new(Identity::new(&material, &[])?))
}

impl Wire {
    /// From this host to the switch; by TLS with those who are believed.
    pub(super) fn open(
        (own, far): (IpAddr, SocketAddr),
        phone: usize,
        believes: Option<&Arc<Identity>>,
    ) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(far), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(own, 0).into())?;
        socket.connect(&far.into()).with_context(|| format!("{far} takes no connection"))?;
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let (own, ends) = (stream.local_addr()?, Ends::default());
        let mut wire = Self { stream, phone, own, far, tls: None, ends, is_over: false };
        if let Some(identity) = believes {
            let mut sessions = Sessions::default();
            sessions.identify(Arc::clone(identity));
            sessions.open(ONE, &far.ip().to_string())?;
            sessions.connected(ONE, &mut wire.ends);
            wire.tls = Some(sessions);
            wire.flush()?;
        }
        Ok(wire)
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// It breaks, without a word.
    pub(super) fn cut(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        self.is_over = true;
    }

    /// Says something. What cannot be said is lost with the connection.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.tls {
            Some(sessions) => drop(sessions.send(ONE, bytes, &mut self.ends)),
            None => self.ends.sealed.extend_from_slice(bytes),
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        let mut sent = 0;
        while sent < self.ends.sealed.len() && !self.is_over {
            match self.stream.write(&self.ends.sealed[sent..]) {
                Ok(0) => self.is_over = true,
                Ok(more) => sent += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.is_over = true,
            }
        }
        self.ends.sealed.drain(..sent);
        match self.ends.broken.take() {
            Some(Broken::Closed) | None => Ok(()),
            Some(why) => bail!("TLS to {}: {why}", self.far),
        }
    }

    /// The messages that have come.
    pub(super) fn receive(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut buffer = [0; TURN];
        loop {
            let len = match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.is_over = true;
                    break;
                }
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.is_over = true;
                    break;
                }
            };
            let Some(sessions) = &mut self.tls else {
                self.ends.plain.extend_from_slice(&buffer[..len]);
                continue;
            };
            sessions.receive(ONE, &buffer[..len], &mut self.ends);
            while sessions.is_waiting() {
                sessions.serve(&mut self.ends);
            }
        }
        self.flush()?;
        let mut messages = Vec::new();
        loop {
            match next(&self.ends.plain, sip::limits::MESSAGE_BYTES_MAX) {
                Framed::Message(len) => messages.push(self.ends.plain.drain(..len).collect()),
                Framed::KeepAlive { len, .. } => drop(self.ends.plain.drain(..len)),
                Framed::Partial { .. } => return Ok(messages),
                Framed::Broken { fault, .. } => bail!("the switch's stream is broken: {fault:?}"),
            }
        }
    }
}
