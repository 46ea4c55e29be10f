//! Counters of one driver, since boot. Every datagram that does not reach the shard, and every
//! frame that does not reach the wire, is in exactly one of them.

/// See the fields; all are monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams given to the shard, and their UDP payload bytes.
    pub receive_packets: u64,
    pub receive_bytes: u64,
    /// Dropped: longer than the buffer, on a media port.
    pub receive_truncated: u64,
    /// Longer than the buffer, on a listener: handed on without its end.
    pub receive_cut: u64,
    /// Dropped: queued on a media port when we stood still.
    pub receive_old: u64,
    /// Dropped: a locked port, another source (queued before the lock).
    pub receive_stray: u64,
    /// Dropped: for a use of the port that has ended.
    pub receive_late: u64,
    /// Dropped: no IP source address.
    pub receive_unreadable: u64,
    /// The kernel had no buffer for a waiting datagram (it stays in the socket until one is free).
    pub receive_no_buffer: u64,
    /// An ICMP error was reported by a receiving socket.
    pub receive_icmp_error: u64,
    /// Any other receive error.
    pub receive_error: u64,
    /// A receive operation had ended and was armed again.
    pub receive_rearmed: u64,
    /// Frames queued for sending, and their bytes. Those that failed are also counted below.
    pub send_packets: u64,
    pub send_bytes: u64,
    /// Not sent: the socket's send buffer or the device's queue is full.
    pub send_would_block: u64,
    /// Not sent: an ICMP error had come for the destination, or there is no route to it.
    pub send_icmp_error: u64,
    /// Not sent: longer than the path takes without fragments, or than UDP can be.
    pub send_too_long: u64,
    /// Not sent: the local firewall forbids it.
    pub send_denied: u64,
    /// Not sent: any other error.
    pub send_error: u64,
    /// Not sent: the local end is not open.
    pub send_no_local: u64,
    /// Not sent: the submission queue stayed full.
    pub send_queue_full: u64,
    /// Not sent: nobody held the frame (a defect of the caller).
    pub send_stale_frame: u64,
    /// Not sent: too many messages waited for a connection, which is closed by that.
    pub send_connection_full: u64,
    /// Connections closed at once: there was no place.
    pub connection_refused: u64,
    /// Connections that could not be opened or accepted.
    pub connection_failed: u64,
    /// Sent again: what failed may have been another datagram's ICMP error.
    pub send_retried: u64,
    /// Entries of listeners' error queues.
    pub errors_heard: u64,
    /// Reports made of those and of sends that failed.
    pub unreachable_reports: u64,
    /// A listener stopped listening for errors for a while: there were too many.
    pub errors_storms: u64,
    /// Sent from a locked port to another address than its remote.
    pub send_beside_lock: u64,
    pub port_opened: u64,
    pub port_refused: u64,
    pub port_closed: u64,
    /// connect(2) failed when locking; the source is filtered by us instead.
    pub port_lock_failed: u64,
    /// A flow named a port that is not open.
    pub port_unknown: u64,
    /// `io_uring_enter` calls, those of them that slept, and those that failed.
    pub enter_calls: u64,
    pub enter_sleeps: u64,
    pub enter_errors: u64,
    /// Doorbells heard.
    pub bell_rings: u64,
    pub bell_errors: u64,
}

impl Counters {
    /// A receive that ended with `errno`.
    pub(super) fn receive_failed(&mut self, errno: i32) {
        match errno {
            libc::ENOBUFS => self.receive_no_buffer += 1,
            _ if is_icmp(errno) => self.receive_icmp_error += 1,
            _ => self.receive_error += 1,
        }
    }

    /// A send that ended with `errno`.
    pub(super) fn send_failed(&mut self, errno: i32) {
        match errno {
            libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => self.send_would_block += 1,
            libc::EMSGSIZE => self.send_too_long += 1,
            libc::EPERM | libc::EACCES => self.send_denied += 1,
            _ if is_icmp(errno) => self.send_icmp_error += 1,
            _ => self.send_error += 1,
        }
    }
}

/// Errors that a datagram socket reports on behalf of ICMP, or for want of a route.
pub(super) fn is_icmp(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::EACCES
            | libc::EMSGSIZE
    )
}

/// Errors of an ICMP packet that say that nobody is there, or can be reached.
pub(super) fn is_unreachable(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EACCES
    )
}

/// Errors by which our own kernel says that it sends nothing there: no route, a rule of the
/// firewall, an address of the other family or that the local one cannot reach.
pub(super) fn is_refused_here(errno: i32) -> bool {
    matches!(
        errno,
        libc::EPERM
            | libc::EACCES
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::ENETDOWN
            | libc::EINVAL
            | libc::EAFNOSUPPORT
            | libc::EADDRNOTAVAIL
    )
}
