//! Errors of boot: each names the cause and the cure. After boot nothing here is returned; what
//! goes wrong with a packet or a port is counted or reported.

use std::io;
use std::net::SocketAddr;

/// The machine does not give what was asked for. The text is for the operator: cause, then cure.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Another socket has the address.
    #[error(
        "UDP {address} is already in use; `ss -lunp 'sport = :{port}'` names the process that has \
         it, stop that one or configure another address", port = address.port()
    )]
    AddressInUse { address: SocketAddr },
    /// No interface of this machine has the address.
    #[error(
        "no interface has the address {address}; `ip -br address` lists what there is, and \
         net.ipv4.ip_nonlocal_bind=1 allows to bind before it arrives"
    )]
    AddressAbsent { address: SocketAddr },
    /// Ports below 1024 and the like.
    #[error(
        "no permission to bind {address}; a port below net.ipv4.ip_unprivileged_port_start needs \
         CAP_NET_BIND_SERVICE"
    )]
    AddressForbidden { address: SocketAddr },
    /// `io_uring_setup` gave ENOSYS.
    #[error(
        "this kernel has no io_uring, or the container's seccomp profile hides it: use Linux 6.1 or \
         later, or allow io_uring_setup, io_uring_enter and io_uring_register in the profile"
    )]
    RingAbsent,
    /// `io_uring_setup` gave EPERM.
    #[error(
        "io_uring is forbidden here: kernel.io_uring_disabled is {sysctl} (0 allows it to all, 1 to \
         kernel.io_uring_group); if it is 0 a container's seccomp profile denies io_uring_setup, \
         which Docker's default profile does"
    )]
    RingForbidden { sysctl: String },
    /// `io_uring_setup` gave EINVAL for the flags we need.
    #[error(
        "this kernel ({release}) cannot run a ring with SINGLE_ISSUER, DEFER_TASKRUN and \
         restrictions; Linux 6.1 or later can"
    )]
    KernelTooOld { release: String },
    /// RLIMIT_NOFILE is below what the plan needs, and could not be raised.
    #[error(
        "{needed} file descriptors are needed (one per media port) but the limit is {limit}; set \
         LimitNOFILE={needed} in the unit, or `ulimit -n {needed}`"
    )]
    TooFewDescriptors { needed: u64, limit: u64 },
    /// ENOMEM from registering rings or buffers, which is what a low RLIMIT_MEMLOCK gives.
    #[error(
        "{what} needs {bytes} bytes of locked memory, RLIMIT_MEMLOCK allows {limit}; set \
         LimitMEMLOCK=infinity in the unit, or `ulimit -l unlimited`"
    )]
    TooLittleLockedMemory { what: &'static str, bytes: u64, limit: u64 },
    /// `io_uring_enter` fails, and not for a reason that passes.
    #[error(
        "io_uring_enter failed: {source}; the shard can neither receive nor send. A seccomp profile \
         that changed, or a fault of ours or the kernel's"
    )]
    RingBroken {
        #[source]
        source: io::Error,
    },
    /// We were misused: the plan's numbers do not fit together.
    #[error("the plan does not fit: {0}")]
    BadPlan(&'static str),
    /// What has no own variant.
    #[error("{what}: {source}")]
    System {
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

impl NetError {
    /// The error of a system call that has just failed.
    pub(crate) fn last(what: &'static str) -> Self {
        Self::System { what, source: io::Error::last_os_error() }
    }

    /// For `map_err`.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// The errno behind it, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } | Self::RingBroken { source } => source.raw_os_error(),
            Self::AddressInUse { .. } => Some(libc::EADDRINUSE),
            Self::AddressAbsent { .. } => Some(libc::EADDRNOTAVAIL),
            Self::AddressForbidden { .. } => Some(libc::EACCES),
            Self::RingAbsent => Some(libc::ENOSYS),
            Self::RingForbidden { .. } => Some(libc::EPERM),
            Self::TooFewDescriptors { .. } => Some(libc::EMFILE),
            Self::TooLittleLockedMemory { .. } => Some(libc::ENOMEM),
            Self::KernelTooOld { .. } | Self::BadPlan(_) => None,
        }
    }
}
