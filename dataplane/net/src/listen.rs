//! SIP listeners: one UDP socket per shard on the same address.
//!
//! With more than one shard the sockets share the address (SO_REUSEPORT) and a classic BPF program
//! chooses among them by a hash of the source address and port: one peer always arrives at the same
//! shard as long as the number of shards stays, whatever the NIC's queues do. Where the program is
//! refused the kernel's own hash is used, which does the same with a secret of its own; which of
//! the two it is, is reported.
//!
//! Sharing an address is open to every process of the same user. Before the group is bound, the
//! address is bound alone for a moment: so a second instance is told that the address is in use
//! instead of silently taking half of the calls.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::error::NetError;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;

/// What to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    /// SO_RCVBUF in bytes: bursts of SIP wait here. The kernel caps it at net.core.rmem_max.
    pub receive_buffer_bytes: usize,
    /// SO_SNDBUF in bytes: sends never wait, so that this is what a burst of our own may take.
    pub send_buffer_bytes: usize,
    /// An IPv6 wildcard that takes IPv4 as well (IPV6_V6ONLY off). Peers then appear as mapped
    /// addresses; two listeners, one per family, are the better choice.
    pub dual_stack: bool,
    /// Bind to this interface as well (SO_BINDTODEVICE).
    pub device: Option<String>,
    /// Differentiated services code point of signalling; 24 is CS3, 40 CS5 (RFC 4594).
    pub dscp: u8,
}

/// Who chooses the socket of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spread {
    /// One socket: nothing to choose.
    Single,
    /// Our program.
    Program,
    /// The kernel's own hash, because attaching our program failed with this errno.
    KernelHash { errno: i32 },
}

/// Bound sockets, in the order of the shards.
#[derive(Debug)]
pub struct Listening {
    pub sockets: Vec<UdpSocket>,
    pub spread: Spread,
    /// What SO_RCVBUF came out as (half of what the kernel reports); less than asked for means that
    /// net.core.rmem_max is too low.
    pub receive_buffer_bytes: usize,
}

impl Listener {
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            receive_buffer_bytes: 8 << 20,
            send_buffer_bytes: 4 << 20,
            dual_stack: false,
            device: None,
            dscp: 24,
        }
    }

    /// Binds one socket per shard. With port 0 all get the same port, chosen by the kernel.
    pub fn open(&self, shards: usize) -> Result<Listening, NetError> {
        let alone = self.bind(self.address, false)?;
        if shards <= 1 {
            return Ok(listening(vec![alone], Spread::Single));
        }
        let address = alone
            .local_addr()
            .ok()
            .and_then(|address| address.as_socket())
            .ok_or_else(|| NetError::last("reading back a listener's address"))?;
        drop(alone);
        let mut sockets = Vec::with_capacity(shards);
        for _ in 0..shards {
            sockets.push(self.bind(address, true)?);
        }
        let count = u32::try_from(shards).map_err(|_| NetError::BadPlan("too many shards"))?;
        let spread = match attach(&sockets[0], self.address.is_ipv6(), count) {
            Ok(()) => Spread::Program,
            Err(error) => Spread::KernelHash { errno: error.raw_os_error().unwrap_or(0) },
        };
        Ok(listening(sockets, spread))
    }

    /// The same for streams: one listening socket per shard, among which the kernel chooses by each
    /// connection's four numbers.
    pub fn open_streams(&self, shards: usize) -> Result<Vec<TcpListener>, NetError> {
        let alone = self.bind_as(Type::STREAM, self.address, false)?;
        let bound = alone.local_addr().ok().and_then(|address| address.as_socket());
        let address = bound.ok_or_else(|| NetError::last("reading back a listener's address"))?;
        let sockets = if shards <= 1 {
            vec![alone]
        } else {
            drop(alone);
            let shared = (0..shards).map(|_| self.bind_as(Type::STREAM, address, true));
            shared.collect::<Result<_, _>>()?
        };
        for socket in &sockets {
            socket.listen(BACKLOG).map_err(NetError::system("listening for SIP connections"))?;
        }
        Ok(sockets.into_iter().map(Into::into).collect())
    }

    /// Gives a socket that was opened by another life of the process the code point of this one.
    pub fn mark(&self, socket: BorrowedFd<'_>) -> Result<(), NetError> {
        let socket = SockRef::from(&socket);
        self.set_class(&socket, self.address).map_err(NetError::system("marking a SIP socket"))
    }

    fn set_class(&self, socket: &Socket, address: SocketAddr) -> io::Result<()> {
        let class = u32::from(self.dscp) << 2;
        match address.is_ipv6() {
            true => socket.set_tclass_v6(class),
            false => socket.set_tos_v4(class),
        }
    }

    fn bind(&self, address: SocketAddr, is_shared: bool) -> Result<Socket, NetError> {
        self.bind_as(Type::DGRAM, address, is_shared)
    }

    fn bind_as(
        &self,
        kind: Type,
        address: SocketAddr,
        is_shared: bool,
    ) -> Result<Socket, NetError> {
        let made = if kind == Type::STREAM { self.stream(address) } else { self.socket(address) };
        let socket = made.map_err(NetError::system("making a SIP socket"))?;
        if is_shared {
            socket.set_reuse_port(true).map_err(NetError::system("SO_REUSEPORT"))?;
        }
        match socket.bind(&address.into()) {
            Ok(()) => Ok(socket),
            Err(error) => Err(match error.raw_os_error() {
                Some(libc::EADDRINUSE) => NetError::AddressInUse { address },
                Some(libc::EADDRNOTAVAIL) => NetError::AddressAbsent { address },
                Some(libc::EACCES | libc::EPERM) => NetError::AddressForbidden { address },
                _ => NetError::System { what: "binding a SIP socket", source: error },
            }),
        }
    }

    fn stream(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Connections of an earlier run that are not quite over do not keep us away.
        socket.set_reuse_address(true)?;
        self.dress(&socket, address)?;
        Ok(socket)
    }

    /// What sockets of both kinds have.
    fn dress(&self, socket: &Socket, address: SocketAddr) -> io::Result<()> {
        if address.is_ipv6() {
            socket.set_only_v6(!self.dual_stack)?;
        }
        self.set_class(socket, address)?;
        if let Some(device) = &self.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        Ok(())
    }

    fn socket(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        self.dress(&socket, address)?;
        force_buffer(&socket, libc::SO_RCVBUFFORCE, self.receive_buffer_bytes)
            .or_else(|_| socket.set_recv_buffer_size(self.receive_buffer_bytes))?;
        force_buffer(&socket, libc::SO_SNDBUFFORCE, self.send_buffer_bytes)
            .or_else(|_| socket.set_send_buffer_size(self.send_buffer_bytes))?;
        Ok(socket)
    }
}

fn listening(sockets: Vec<Socket>, spread: Spread) -> Listening {
    let receive_buffer_bytes =
        sockets.first().and_then(|socket| socket.recv_buffer_size().ok()).unwrap_or(0) / 2;
    let sockets = sockets.into_iter().map(Into::into).collect();
    Listening { sockets, spread, receive_buffer_bytes }
}

/// Beyond rmem_max, for those who have CAP_NET_ADMIN.
fn force_buffer(socket: &Socket, option: libc::c_int, bytes: usize) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    set_option(socket, option, &value)
}

/// Offset that makes a classic BPF load count from the network header.
const SKF_NET_OFF: i32 = -0x10_0000;
/// Multiplier of Fibonacci hashing: 2^32 divided by the golden ratio.
const FIBONACCI: u32 = 0x9e37_79b1;

/// A = hash(source address, source port) mod `count`, in classic BPF. For packets without IP
/// options or extension headers the word after the fixed header is the two UDP ports; for others it
/// is something else that is equal for equal peers.
fn program(is_ipv6: bool, count: u32) -> Vec<libc::sock_filter> {
    let words: &[i32] = if is_ipv6 { &[8, 12, 16, 20, 40] } else { &[12, 20] };
    let mut code = Vec::with_capacity(32);
    let mut emit = |class: u32, value: u32| {
        let code_word = u16::try_from(class).unwrap_or(0);
        code.push(libc::sock_filter { code: code_word, jt: 0, jf: 0, k: value });
    };
    emit(libc::BPF_LD | libc::BPF_IMM, 0);
    emit(libc::BPF_MISC | libc::BPF_TAX, 0);
    for (index, word) in words.iter().enumerate() {
        emit(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (SKF_NET_OFF + word).cast_unsigned());
        if index + 1 == words.len() {
            // Of the two ports the source: the upper half.
            emit(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 16);
        }
        emit(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0);
        emit(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, FIBONACCI);
        emit(libc::BPF_MISC | libc::BPF_TAX, 0);
    }
    // The upper bits of the product depend on all lower ones.
    emit(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 16);
    emit(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, count);
    emit(libc::BPF_RET | BPF_A, 0);
    code
}

/// `BPF_A`: return the accumulator.
const BPF_A: u32 = 0x10;

fn attach(socket: &Socket, is_ipv6: bool, count: u32) -> io::Result<()> {
    let mut code = program(is_ipv6, count);
    let len = u16::try_from(code.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: code.as_mut_ptr() };
    set_option(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

fn set_option<T>(socket: &Socket, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `value` is a valid T of the size given, and T is what the option takes (int, or a
    // sock_fprog whose filter outlives the call).
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const *value).cast(),
            len,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_is_told_who_can_be_asked() {
        let first = Listener::new("127.0.0.1:0".parse().unwrap()).open(2).unwrap();
        let address = first.sockets[0].local_addr().unwrap();
        for shards in [1, 2] {
            let refused = Listener::new(address).open(shards).unwrap_err();
            let text = refused.to_string();
            assert!(text.contains("ss -lunp"), "{text}");
            assert!(text.contains(&address.to_string()), "{text}");
        }
    }

    #[test]
    fn sockets_are_marked_as_the_listener_says() {
        for (local, dscp) in [("127.0.0.1:0", 26), ("[::1]:0", 40)] {
            let mut listener = Listener { dscp, ..Listener::new(local.parse().unwrap()) };
            let class = |socket: SockRef<'_>| match local.starts_with('[') {
                true => socket.tclass_v6().unwrap(),
                false => socket.tos_v4().unwrap(),
            };
            let open = listener.open(2).unwrap().sockets;
            for socket in &open {
                assert_eq!(class(SockRef::from(socket)), u32::from(dscp) << 2);
            }
            let streams = listener.open_streams(1).unwrap();
            assert_eq!(class(SockRef::from(&streams[0])), u32::from(dscp) << 2);
            // Another life of the process has them, and another configuration.
            listener.dscp = 10;
            listener.mark(std::os::fd::AsFd::as_fd(&open[0])).unwrap();
            assert_eq!(class(SockRef::from(&open[0])), 40);
        }
    }

    #[test]
    fn an_absent_address_is_named() {
        let refused = Listener::new("192.0.2.1:5060".parse().unwrap()).open(1).unwrap_err();
        assert!(matches!(refused, NetError::AddressAbsent { .. }), "{refused}");
    }

    /// Each peer stays with its socket, and many peers reach every socket.
    #[test]
    fn peers_are_spread_and_stay_where_they_are() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let listening = Listener::new(local.parse().unwrap()).open(3).unwrap();
            assert_eq!(listening.spread, Spread::Program);
            let to = listening.sockets[0].local_addr().unwrap();
            for socket in &listening.sockets {
                socket.set_nonblocking(true).unwrap();
                assert_eq!(socket.local_addr().unwrap(), to);
            }
            let mut per_socket = [0; 3];
            for _ in 0..60 {
                let from: SocketAddr = local.parse().unwrap();
                let peer = Socket::new(Domain::for_address(from), Type::DGRAM, None).unwrap();
                peer.bind(&from.into()).unwrap();
                for _ in 0..3 {
                    peer.send_to(b"x", &to.into()).unwrap();
                }
                let mut bytes = [0; 8];
                let counts: Vec<usize> = listening
                    .sockets
                    .iter()
                    .map(|socket| std::iter::from_fn(|| socket.recv_from(&mut bytes).ok()).count())
                    .collect();
                let chosen = counts.iter().position(|count| *count == 3);
                per_socket[chosen.expect("all three at one socket")] += 1;
            }
            assert!(per_socket.iter().all(|count| *count >= 5), "{per_socket:?}");
        }
    }
}
