//! Sockets: SIP datagrams in batches (recvmmsg, sendmmsg), RTP one by one with the kernel's receive
//! stamp.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, recvmsg, sendmmsg,
    setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock::S;

/// Datagrams per system call.
const BATCH: usize = 64;
/// Largest SIP message sent or received.
pub(crate) const SIP_BYTES_MAX: usize = 4_096;
/// Receive buffer asked for; what the kernel grants may be less.
const SIP_RECEIVE_BYTES: usize = 8 << 20;

/// A SIP socket with what waits to be sent.
pub(crate) struct SipSocket {
    socket: UdpSocket,
    pub(crate) local: SocketAddr,
    out: Vec<u8>,
    out_to: Vec<(usize, SocketAddr)>,
    headers: MultiHeaders<SockaddrStorage>,
    /// Datagrams the kernel did not take.
    pub(crate) send_errors: u64,
    /// Messages queued, those lost on purpose included.
    pub(crate) messages: u64,
    /// Out of 10,000 datagrams, how many are lost on purpose, each way.
    pub(crate) drop_per_10k: u32,
    dice: u64,
}

impl agent::Outbox for SipSocket {
    fn put(&mut self, _from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.send(to, |out| {
            let Some(out) = out.get_mut(..bytes.len()) else { return 0 };
            out.copy_from_slice(bytes);
            bytes.len()
        });
    }
}

/// Where a batch is received into; apart from the socket, so that messages can be answered while
/// they are borrowed.
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    lens: Vec<(usize, SocketAddr)>,
    headers: MultiHeaders<SockaddrStorage>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; BATCH * SIP_BYTES_MAX],
            lens: Vec::with_capacity(BATCH),
            headers: MultiHeaders::preallocate(BATCH, None),
        }
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        self.bytes
            .chunks_exact(SIP_BYTES_MAX)
            .zip(&self.lens)
            .map(|(bytes, (len, from))| (&bytes[..*len], *from))
    }
}

impl SipSocket {
    pub(crate) fn new(socket: UdpSocket, seed: u64) -> Result<Self> {
        let local = socket.local_addr()?;
        Ok(Self {
            socket,
            local,
            out: vec![0; BATCH * SIP_BYTES_MAX],
            out_to: Vec::with_capacity(BATCH),
            headers: MultiHeaders::preallocate(BATCH, None),
            send_errors: 0,
            messages: 0,
            drop_per_10k: 0,
            dice: seed | 1,
        })
    }

    /// Queues one message; `write` returns its length, 0 for none.
    pub(crate) fn send(&mut self, to: SocketAddr, write: impl FnOnce(&mut [u8]) -> usize) {
        if self.out_to.len() == BATCH {
            self.flush();
        }
        let at = self.out_to.len() * SIP_BYTES_MAX;
        let len = write(&mut self.out[at..at + SIP_BYTES_MAX]);
        self.messages += u64::from(len > 0);
        if len > 0 && !self.is_lost() {
            self.out_to.push((len, to));
        }
    }

    /// Hands what is queued to the kernel. What it does not take is lost, as on any network, and
    /// counted.
    pub(crate) fn flush(&mut self) {
        let count = self.out_to.len();
        let mut from = 0;
        while from < count {
            let slices: Vec<[IoSlice<'_>; 1]> = (from..count)
                .map(|n| {
                    let at = n * SIP_BYTES_MAX;
                    [IoSlice::new(&self.out[at..at + self.out_to[n].0])]
                })
                .collect();
            let addresses: Vec<Option<SockaddrStorage>> =
                self.out_to[from..].iter().map(|(_, to)| Some(to_nix(*to))).collect();
            let fd = self.socket.as_raw_fd();
            let flags = MsgFlags::MSG_DONTWAIT;
            match sendmmsg(fd, &mut self.headers, &slices, addresses, [], flags) {
                Ok(sent) => from += sent.count().max(1),
                Err(Errno::EINTR) => {}
                Err(_) => {
                    self.send_errors += 1;
                    from += 1;
                }
            }
        }
        self.out_to.clear();
    }

    /// Receives up to one batch; false when there was nothing.
    pub(crate) fn receive(&mut self, inbox: &mut Inbox) -> bool {
        inbox.lens.clear();
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            inbox.bytes.chunks_exact_mut(SIP_BYTES_MAX).map(|b| [IoSliceMut::new(b)]).collect();
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let Ok(messages) = recvmmsg(fd, &mut inbox.headers, slices.iter_mut(), flags, None) else {
            return false;
        };
        for message in messages {
            let from = message.address.as_ref().and_then(to_std);
            let dropped = from.is_none() || message.flags.contains(MsgFlags::MSG_TRUNC);
            let len = if dropped { 0 } else { message.bytes };
            inbox.lens.push((len, from.unwrap_or(self.local)));
        }
        if self.drop_per_10k > 0 {
            for at in 0..inbox.lens.len() {
                if self.is_lost() {
                    inbox.lens[at].0 = 0;
                }
            }
        }
        !inbox.lens.is_empty()
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn is_lost(&mut self) -> bool {
        if self.drop_per_10k == 0 {
            return false;
        }
        self.dice =
            self.dice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.dice >> 33) % 10_000 < u64::from(self.drop_per_10k)
    }
}

/// A SIP socket, before it goes to its thread.
pub(crate) fn bind_sip(address: SocketAddr) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Refused where net.core.rmem_max forbids it: what was granted is enough for small runs.
    let _ = socket.set_recv_buffer_size(SIP_RECEIVE_BYTES);
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &SIP_RECEIVE_BYTES);
    let _ = setsockopt(&socket, sockopt::SndBufForce, &SIP_RECEIVE_BYTES);
    socket
        .bind(&address.into())
        .with_context(|| format!("SIP address {address} cannot be bound"))?;
    Ok(socket.into())
}

/// An RTP socket of one leg at a time.
#[derive(Debug)]
pub(crate) struct RtpSocket {
    socket: UdpSocket,
    pub(crate) port: u16,
}

impl RtpSocket {
    pub(crate) fn bind(ip: std::net::IpAddr) -> Result<Self> {
        let socket = UdpSocket::bind((ip, 0)).context("no more RTP sockets")?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        let port = socket.local_addr()?.port();
        Ok(Self { socket, port })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn send(&self, bytes: &[u8], to: SocketAddr) -> bool {
        self.socket.send_to(bytes, to).is_ok()
    }

    /// One datagram: its length, its sender, and when the kernel received it (real-time clock,
    /// nanoseconds; 0 where the kernel did not say).
    pub(crate) fn receive(
        &self,
        buffer: &mut [u8],
        control: &mut [u8],
    ) -> Option<(usize, SocketAddr, u64)> {
        let mut slices = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(control),
            MsgFlags::MSG_DONTWAIT,
        )
        .ok()?;
        let stamp = message.cmsgs().ok().and_then(|mut all| {
            all.find_map(|one| match one {
                ControlMessageOwned::ScmTimestampns(time) => {
                    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
                    Some(seconds * S + u64::try_from(time.tv_nsec()).unwrap_or(0))
                }
                _ => None,
            })
        });
        let from = message.address.as_ref().and_then(to_std)?;
        Some((message.bytes, from, stamp.unwrap_or(0)))
    }
}

fn to_nix(address: SocketAddr) -> SockaddrStorage {
    match address {
        SocketAddr::V4(v4) => v4.into(),
        SocketAddr::V6(v6) => v6.into(),
    }
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::from((v4.ip(), v4.port())));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port())))
}
