//! Media ports of the socket tier: one UDP socket each.
//!
//! A port's socket has a *place*, which is its index in the ring's file table and in `slots`. A
//! place's *generation* counts its uses; completions carry it, so that what belongs to an earlier
//! use is recognised however late it comes. A place is used again only after every queued operation
//! that names it has been taken by the kernel.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use base::MediaPort;
use socket2::{Domain, Protocol, Socket, Type};

use super::plan::{DriverPlan, MediaAddress};
use crate::sockaddr::RawAddress;

/// Generations are 24 bits wide, as in the completion's user data.
const GENERATION_MASK: u32 = 0x00ff_ffff;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) socket: Option<OwnedFd>,
    pub(super) generation: u32,
    pub(super) port: MediaPort,
    /// connect(2) has been done: plain sends go to `remote`.
    pub(super) connected: bool,
    /// The armed receive is the plain one: all that is queued comes from `remote`.
    pub(super) plain: bool,
    /// Whom the port talks with, if it is locked.
    pub(super) remote: Option<SocketAddr>,
}

#[derive(Debug)]
pub(super) struct Ports {
    addresses: Vec<MediaAddress>,
    receive_buffer_bytes: u32,
    slots: Box<[Slot]>,
    free: Vec<u32>,
    /// Per address, port -> place + 1 (0: not open). 256 KiB of address space each, of which only
    /// the pages in use become memory.
    tables: Vec<Box<[u32]>>,
}

impl Ports {
    pub(super) fn new(plan: &DriverPlan) -> Self {
        let slots = (0..plan.ports_max).map(|_| Slot {
            socket: None,
            generation: 0,
            port: MediaPort { address: 0, port: 0 },
            connected: false,
            plain: false,
            remote: None,
        });
        Self {
            addresses: plan.addresses.clone(),
            receive_buffer_bytes: plan.receive_buffer_bytes,
            slots: slots.collect(),
            free: (0..plan.ports_max).rev().collect(),
            tables: plan.addresses.iter().map(|_| vec![0; 65_536].into_boxed_slice()).collect(),
        }
    }

    /// The place of an open port.
    #[inline]
    pub(super) fn place(&self, port: MediaPort) -> Option<u32> {
        let table = self.tables.get(usize::from(port.address))?;
        table[usize::from(port.port)].checked_sub(1)
    }

    #[inline]
    pub(super) fn slot(&self, place: u32) -> &Slot {
        &self.slots[place as usize]
    }

    /// The slot, if it is in the use that `generation` names.
    #[inline]
    pub(super) fn current(&self, place: u32, generation: u32) -> Option<&Slot> {
        let slot = self.slots.get(place as usize)?;
        (slot.generation == generation && slot.socket.is_some()).then_some(slot)
    }

    /// Makes and binds the socket; gives its place. The caller puts it into the file table.
    pub(super) fn open(&mut self, port: MediaPort) -> io::Result<u32> {
        let Some(address) = self.addresses.get(usize::from(port.address)) else {
            return Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
        };
        if self.place(port).is_some() {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        let Some(&place) = self.free.last() else {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        };
        let socket = media_socket(address, port.port, self.receive_buffer_bytes)?;
        self.free.pop();
        let slot = &mut self.slots[place as usize];
        slot.socket = Some(socket.into());
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        slot.port = port;
        slot.connected = false;
        slot.plain = false;
        slot.remote = None;
        self.tables[usize::from(port.address)][usize::from(port.port)] = place + 1;
        Ok(place)
    }

    /// Ends the port's use: nothing is received or sent for it any more. The socket and the place
    /// stay taken until [`Self::release`].
    pub(super) fn retire(&mut self, place: u32) -> Option<OwnedFd> {
        let slot = &mut self.slots[place as usize];
        let port = slot.port;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        slot.connected = false;
        slot.plain = false;
        slot.remote = None;
        self.tables[usize::from(port.address)][usize::from(port.port)] = 0;
        slot.socket.take()
    }

    pub(super) fn release(&mut self, place: u32) {
        self.free.push(place);
    }

    /// connect(2): the kernel lets only `remote` in, and the route is kept.
    pub(super) fn lock(&mut self, place: u32, remote: SocketAddr) -> io::Result<()> {
        let slot = &mut self.slots[place as usize];
        slot.remote = Some(remote);
        slot.connected = false;
        connect(slot, &RawAddress::of(remote))?;
        slot.connected = true;
        Ok(())
    }

    /// Back to anyone. What is queued in the socket is thrown away; gives how many datagrams.
    pub(super) fn unlock(&mut self, place: u32) -> u64 {
        let slot = &mut self.slots[place as usize];
        slot.remote = None;
        if slot.connected {
            // Disconnecting keeps address and port, because both were bound by name.
            let _ = connect(slot, &RawAddress::UNSPECIFIED);
        }
        slot.connected = false;
        slot.plain = false;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        drain(slot)
    }

    /// Throws away what is queued on all open ports; gives how many datagrams.
    pub(super) fn drain(&self) -> u64 {
        self.slots.iter().map(drain).sum()
    }

    /// A locked port gets another remote: what its plain receive still brings is of the old one.
    pub(super) fn leave_plain(&mut self, place: u32) {
        let slot = &mut self.slots[place as usize];
        slot.plain = false;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
    }

    /// Whether a connected port's queue holds nothing from before it was connected: then every
    /// datagram to come is of its remote. Marks it so.
    pub(super) fn settle(&mut self, place: u32) -> bool {
        let slot = &mut self.slots[place as usize];
        if slot.connected && !slot.plain && is_empty(slot) {
            slot.plain = true;
            return true;
        }
        false
    }
}

/// Compares as the wire does: flow label and scope of IPv6 are no part of who somebody is.
#[inline]
pub(super) fn is_same(left: SocketAddr, right: SocketAddr) -> bool {
    left.port() == right.port() && left.ip() == right.ip()
}

fn media_socket(
    address: &MediaAddress,
    port: u16,
    receive_buffer_bytes: u32,
) -> io::Result<Socket> {
    let local = SocketAddr::new(address.bind, port);
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    let class = u32::from(address.dscp) << 2;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(class)?;
    } else {
        socket.set_tos_v4(class)?;
    }
    if receive_buffer_bytes != 0 {
        socket.set_recv_buffer_size(receive_buffer_bytes as usize)?;
    }
    if let Some(device) = &address.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    socket.bind(&local.into())?;
    Ok(socket)
}

fn connect(slot: &Slot, to: &RawAddress) -> io::Result<()> {
    let Some(socket) = &slot.socket else {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    };
    // SAFETY: `to` holds `len` valid bytes for the duration of the call.
    let done = unsafe { libc::connect(socket.as_raw_fd(), to.as_ptr(), to.len()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn is_empty(slot: &Slot) -> bool {
    let Some(socket) = &slot.socket else { return false };
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: no bytes are written: the buffer has length zero.
    let got = unsafe { libc::recv(socket.as_raw_fd(), std::ptr::null_mut(), 0, flags) };
    got < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

/// Receives into nothing until the queue is empty. Bounded by what a socket buffer can hold, so
/// that a flood cannot keep us here.
fn drain(slot: &Slot) -> u64 {
    let Some(socket) = &slot.socket else { return 0 };
    let mut dropped = 0;
    for _ in 0..4096 {
        // SAFETY: no bytes are written: the buffer has length zero.
        let got =
            unsafe { libc::recv(socket.as_raw_fd(), std::ptr::null_mut(), 0, libc::MSG_DONTWAIT) };
        if got >= 0 {
            dropped += 1;
        } else if matches!(
            io::Error::last_os_error().raw_os_error(),
            Some(libc::EAGAIN | libc::EBADF | libc::ENOTSOCK)
        ) {
            break;
        }
    }
    dropped
}
