//! Who cannot be reached: what the error queues of SIP sockets say (RFC 1122 section 4.1.3.3).
//!
//! ```text
//!   ICMP -> kernel: error queue, and "the next call on the socket fails" (sk_err)
//!        -> a receive or a send completes with the errno -> the listener is marked
//!        -> recvmsg(MSG_ERRQUEUE), outside the packet path -> reports, at most 64 a breath
//! ```
//!
//! **What the kernel guarantees, and what not.** It gives an ICMP error to the socket that the
//! quoted datagram's source address and port name. On a connected socket the quoted destination
//! must be its remote. On ours, which are not connected, *nothing* is compared: whoever can send
//! us an ICMP packet can name any destination, whether we sent there or not. A report therefore
//! carries the quote, and whoever acts on it looks there for what only we could have written (the
//! shard: the branch of the Via, with its MAC, and that the transaction went to that address). A
//! quote without it proves nothing. Nor does the socket of a group (SO_REUSEPORT) that hears the
//! error need to be the one that sent: the kernel chooses it by a hash of its own.
//!
//! **What hostile ICMP may cost.** An error on the socket fails whatever call is next, which may be
//! a datagram to somebody else: it is sent again (`sends`). A listener that hears more than
//! [`STORM`] errors in a second stops listening for them until the next second, which also empties
//! its queue: they share SO_RCVBUF with what is to be received.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use base::Mono;

use super::counters::is_unreachable;
use super::plan::LISTENERS_MAX;
use super::{Driver, ports};
use crate::sockaddr;

/// Errors read, and reports made, in one breath at most.
pub const REPORTS_MAX: usize = 64;
/// Bytes of a datagram of ours that a report gives back at most. A router quotes up to 576 bytes
/// of IPv4 (RFC 1812 section 4.3.2.3), of which these are left.
pub const QUOTE_BYTES_MAX: usize = 576;
/// Errors of one listener in one second before it stops listening for them.
const STORM: u32 = 512;
const SECOND: core::time::Duration = core::time::Duration::from_secs(1);

/// Nobody can be reached at an address that a listener of ours sent to, or is said to have sent to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Unreachable {
    /// Where the datagram was going.
    pub to: SocketAddr,
    origin: Origin,
    quote: [u8; QUOTE_BYTES_MAX],
    len: usize,
}

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Our own kernel refused to send: certain.
    Send,
    /// An ICMP packet: to be believed only if its quote proves it.
    Icmp,
}

impl Unreachable {
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The beginning of the datagram that could not be delivered, as the ICMP packet quotes it: at
    /// most [`QUOTE_BYTES_MAX`] bytes, none for [`Origin::Send`].
    #[must_use]
    pub fn quote(&self) -> &[u8] {
        &self.quote[..self.len]
    }
}

impl std::fmt::Debug for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unreachable({} by {:?}, {} bytes)", self.to, self.origin, self.len)
    }
}

/// What one listener has heard lately.
#[derive(Clone, Copy, Debug)]
struct Ear {
    /// The second that is counted began here.
    since: Mono,
    heard: u32,
}

#[derive(Debug)]
pub(super) struct Errors {
    reports: Vec<Unreachable>,
    /// By listener, a bit each: its error queue is to be read.
    pending: u32,
    /// By listener: something was in its queue since the sends were last settled.
    heard: u32,
    /// By listener: it does not listen for errors until its second is over.
    deaf: u32,
    ears: Box<[Ear]>,
}

const _: () = assert!(LISTENERS_MAX <= u32::BITS, "a listener is a bit of a word");

impl Errors {
    pub(super) fn new() -> Self {
        let ears = (0..LISTENERS_MAX).map(|_| Ear { since: Mono(0), heard: 0 });
        Self {
            reports: Vec::with_capacity(REPORTS_MAX),
            pending: 0,
            heard: 0,
            deaf: 0,
            ears: ears.collect(),
        }
    }

    /// A call on this listener's socket has failed: its queue is to be read in this breath.
    pub(super) fn mark(&mut self, listener: u32) {
        self.pending |= 1 << (listener & 31);
    }

    /// Queues are left to be read.
    pub(super) fn is_pending(&self) -> bool {
        self.pending != 0
    }

    pub(super) fn has_heard(&self, listener: u8) -> bool {
        self.heard & 1 << (listener & 31) != 0
    }

    pub(super) fn forget_heard(&mut self) {
        self.heard = 0;
    }

    pub(super) fn poll(&mut self) -> Option<Unreachable> {
        self.reports.pop()
    }

    pub(super) fn clear(&mut self) {
        self.reports.clear();
    }

    /// False if there was no room, or if it says what another report of this breath says.
    pub(super) fn report(&mut self, to: SocketAddr, origin: Origin, quote: &[u8]) -> bool {
        let same = |known: &Unreachable| {
            ports::is_same(known.to, to) && known.origin == origin && known.quote() == quote
        };
        if self.reports.len() == REPORTS_MAX || self.reports.iter().any(same) {
            return false;
        }
        let len = quote.len().min(QUOTE_BYTES_MAX);
        let mut report = Unreachable { to, origin, quote: [0; QUOTE_BYTES_MAX], len };
        report.quote[..len].copy_from_slice(&quote[..len]);
        self.reports.push(report);
        true
    }

    /// Counts an error; true if there were too many in this second.
    fn is_storm(&mut self, listener: u32, now: Mono) -> bool {
        let ear = &mut self.ears[listener as usize];
        if now >= ear.since + SECOND {
            *ear = Ear { since: now, heard: 0 };
        }
        ear.heard += 1;
        ear.heard > STORM
    }
}

impl Driver {
    /// Who cannot be reached, as this breath has found: see [`Unreachable`]. What is not taken
    /// before the next breath is forgotten.
    pub fn poll_unreachable(&mut self) -> Option<Unreachable> {
        self.errors.poll()
    }

    /// Reads the error queues of the listeners that are marked, as far as a breath may.
    #[inline]
    pub(super) fn hear_errors(&mut self, now: Mono) {
        if self.errors.deaf != 0 {
            self.listen_again(now);
        }
        if self.errors.is_pending() {
            self.read_errors(now);
        }
    }

    fn read_errors(&mut self, now: Mono) {
        let Self { errors, listeners, counters, .. } = self;
        let mut budget = REPORTS_MAX;
        let mut quote = [0; QUOTE_BYTES_MAX];
        while errors.pending != 0 && budget > 0 {
            let listener = errors.pending.trailing_zeros();
            let Some(socket) = &listeners[listener as usize] else {
                errors.pending &= !(1 << listener);
                continue;
            };
            let Some(error) = read(socket, &mut quote) else {
                errors.pending &= !(1 << listener);
                continue;
            };
            budget -= 1;
            errors.heard |= 1 << listener;
            counters.errors_heard += 1;
            if let (true, Some(to)) = (is_unreachable(error.errno), error.to) {
                let is_new = errors.report(to, Origin::Icmp, &quote[..error.len]);
                counters.unreachable_reports += u64::from(is_new);
            }
            if errors.is_storm(listener, now) {
                // The kernel empties the queue with this.
                let _ = listen(socket, false);
                errors.deaf |= 1 << listener;
                errors.pending &= !(1 << listener);
                counters.errors_storms += 1;
            }
        }
    }

    fn listen_again(&mut self, now: Mono) {
        for listener in 0..LISTENERS_MAX {
            let is_over = now >= self.errors.ears[listener as usize].since + SECOND;
            if self.errors.deaf & 1 << listener == 0 || !is_over {
                continue;
            }
            self.errors.deaf &= !(1 << listener);
            if let Some(socket) = &self.listeners[listener as usize] {
                let _ = listen(socket, true);
            }
        }
    }
}

/// Lets a socket keep what ICMP says of its datagrams (IP_RECVERR, IPV6_RECVERR), or not.
pub(super) fn listen(socket: &UdpSocket, on: bool) -> io::Result<()> {
    let is_ipv6 = socket.local_addr()?.is_ipv6();
    if is_ipv6 {
        set(socket, libc::SOL_IPV6, libc::IPV6_RECVERR, on)?;
    }
    // An IPv6 socket needs it for the IPv4 peers that it may have.
    set(socket, libc::SOL_IP, libc::IP_RECVERR, on)
}

pub(super) fn set(socket: &UdpSocket, level: i32, option: i32, on: bool) -> io::Result<()> {
    let value = libc::c_int::from(on);
    let len = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    // SAFETY: `value` is a valid int of the size given, which is what these options take.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), len)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One entry of an error queue.
struct Entry {
    errno: i32,
    /// None if the kernel does not say.
    to: Option<SocketAddr>,
    /// How much of the datagram is quoted.
    len: usize,
}

/// Room for control data: a `sock_extended_err` and the address of who reported it, with their
/// header, are 72 bytes at most.
#[repr(align(8))]
struct Control([u8; 128]);

/// Takes the oldest entry; never waits. None if there is none.
fn read(socket: &UdpSocket, quote: &mut [u8; QUOTE_BYTES_MAX]) -> Option<Entry> {
    let mut name = [0_u8; sockaddr::SPACE];
    let mut control = Control([0; 128]);
    let mut vector = libc::iovec { iov_base: quote.as_mut_ptr().cast(), iov_len: quote.len() };
    // SAFETY: all-zero bytes are a valid msghdr: null pointers with length zero.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = libc::socklen_t::try_from(name.len()).ok()?;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len();
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: name, vector, quote and control outlive the call, and their lengths are true.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let len = usize::try_from(got).ok()?;
    let written = control.0.get(..header.msg_controllen).unwrap_or_default();
    let to = match header.msg_namelen {
        0 => None,
        _ => sockaddr::decode(&name),
    };
    Some(Entry { errno: errno_of(written).unwrap_or(0), to, len })
}

/// The errno in the control data: `{ len usize, level i32, type i32 }`, then a `sock_extended_err`
/// `{ errno u32, origin u8, .. }`. None if ICMP is not where it comes from.
fn errno_of(control: &[u8]) -> Option<i32> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    const _: () = assert!(HEADER == 16, "cmsghdr as 64-bit Linux has it");
    let mut rest = control;
    while let Some((head, data)) = rest.split_first_chunk::<HEADER>() {
        let len = usize::from_ne_bytes(*head.first_chunk()?);
        let level = i32::from_ne_bytes(*head[8..].first_chunk()?);
        let kind = i32::from_ne_bytes(*head[12..].first_chunk()?);
        if matches!(
            (level, kind),
            (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
        ) {
            let errno = u32::from_ne_bytes(*data.first_chunk()?);
            let is_icmp =
                matches!(*data.get(4)?, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6);
            return is_icmp.then(|| i32::try_from(errno).unwrap_or(0));
        }
        rest = rest.get(len.max(HEADER).next_multiple_of(8)..)?;
    }
    None
}
