//! One io_uring: made disabled, restricted, then enabled on the thread that uses it.
//!
//! The crate `io-uring` gives the queues and the entries. The two system calls that a living ring
//! makes, `io_uring_enter` and the update of its file table, are made here: they go through the
//! ring's registered index (no descriptor lookup) and say exactly what they wait for.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use base::Mono;
use io_uring::register::Restriction;
use io_uring::squeue::Flags;
use io_uring::{IoUring, opcode, squeue};

use crate::error::NetError;

/// Operations the ring may perform, with the reason for each. Everything else completes with
/// EACCES.
pub(crate) const OPERATIONS: &[(u8, &str)] = &[
    (opcode::RecvMsgMulti::CODE, "datagrams with their source"),
    (opcode::RecvMulti::CODE, "datagrams of a locked port, whose source is known"),
    (opcode::Send::CODE, "datagrams, with or without an address"),
    (opcode::PollAdd::CODE, "doorbells"),
    (opcode::AcceptMulti::CODE, "connections that carry SIP"),
    (opcode::Connect::CODE, "connections that we open"),
    (opcode::AsyncCancel::CODE, "a port that closes or changes its use"),
];

/// Operations on the ring itself that stay possible once it is enabled.
pub(crate) const REGISTER_OPERATIONS: &[(u8, &str)] = &[
    (REGISTER_FILES_UPDATE, "sockets come and go with calls"),
    (UNREGISTER_RING_FDS, "the ring's own entry goes with it"),
];

const REGISTER_FILES_UPDATE: u8 = 6;
const REGISTER_RING_FDS: u8 = 20;
const UNREGISTER_RING_FDS: u8 = 21;

const ENTER_GETEVENTS: libc::c_uint = 1;
const ENTER_EXT_ARG: libc::c_uint = 1 << 3;
const ENTER_REGISTERED_RING: libc::c_uint = 1 << 4;

/// `struct io_uring_getevents_arg`.
#[repr(C)]
#[derive(Default)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_size: u32,
    min_wait_usec: u32,
    timespec: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanos: i64,
}

/// `struct io_uring_rsrc_update`: also the argument of the legacy files update (same layout).
#[repr(C)]
struct ResourceUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// How long an enter may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Submit only; completions of deferred work stay where they are.
    No,
    /// Submit, run what is due, return.
    Due,
    /// Submit, run what is due; if that gave no completion sleep until one comes or `Mono` is
    /// reached ([`Mono::NEVER`]: until one comes).
    Until { now: Mono, deadline: Mono },
}

pub(crate) struct Ring {
    ring: IoUring,
    /// Index in the task's table of registered rings, or the descriptor.
    enter_fd: RawFd,
    enter_flags: libc::c_uint,
}

impl Ring {
    /// A disabled ring with a sparse table of `files` and the restrictions above.
    pub(crate) fn new(entries: u32, completions: u32, files: u32) -> Result<Self, NetError> {
        let ring = setup(entries, completions)?;
        let enter_fd = ring.as_raw_fd();
        ring.submitter()
            .register_files_sparse(files)
            .map_err(NetError::system("registering the ring's file table"))?;
        Ok(Self { ring, enter_fd, enter_flags: 0 })
    }

    /// Registers a ring of provided buffers; only while the ring is disabled.
    ///
    /// # Safety
    ///
    /// `address` starts `entries` 16-byte entries that live as long as the ring.
    pub(crate) unsafe fn register_buffers(
        &self,
        address: u64,
        entries: u16,
        group: u16,
    ) -> Result<(), NetError> {
        // SAFETY: the caller's promise.
        unsafe { self.ring.submitter().register_buf_ring_with_flags(address, entries, group, 0) }
            .map_err(NetError::system("registering a ring of receive buffers"))
    }

    /// Restricts the ring, then enables it. From here on only the calling thread may use it.
    pub(crate) fn enable(&mut self) -> Result<(), NetError> {
        let mut allowed: Vec<Restriction> =
            OPERATIONS.iter().map(|(op, _)| Restriction::sqe_op(*op)).collect();
        allowed.extend(REGISTER_OPERATIONS.iter().map(|(op, _)| Restriction::register_op(*op)));
        let flags = Flags::FIXED_FILE | Flags::BUFFER_SELECT | Flags::SKIP_SUCCESS;
        allowed.push(Restriction::sqe_flags_allowed(flags.bits()));
        self.ring
            .submitter()
            .register_restrictions(&mut allowed)
            .map_err(NetError::system("restricting the ring's operations"))?;
        self.register_self();
        self.ring
            .submitter()
            .register_enable_rings()
            .map_err(NetError::system("enabling the ring on the shard's thread"))
    }

    pub(crate) fn submission(&mut self) -> squeue::SubmissionQueue<'_> {
        self.ring.submission()
    }

    pub(crate) fn completion(&mut self) -> io_uring::cqueue::CompletionQueue<'_> {
        self.ring.completion()
    }

    pub(crate) fn submission_entries(&self) -> u32 {
        self.ring.params().sq_entries()
    }

    /// Hands `queued` entries to the kernel and waits as asked. Gives how many it took; a wait that
    /// ran out or was interrupted is not an error.
    pub(crate) fn enter(&mut self, queued: u32, wait: Wait) -> io::Result<u32> {
        let mut arg = GetEventsArg::default();
        let mut time = KernelTimespec { seconds: 0, nanos: 0 };
        let (wanted, mut flags) = match wait {
            Wait::No => (0, 0),
            Wait::Due => (0, ENTER_GETEVENTS),
            Wait::Until { now, deadline } => {
                if deadline != Mono::NEVER {
                    let rest = deadline.since(now);
                    time.seconds = i64::try_from(rest.as_secs()).unwrap_or(i64::MAX);
                    time.nanos = i64::from(rest.subsec_nanos());
                    arg.timespec = (&raw const time).addr() as u64;
                }
                (1, ENTER_GETEVENTS | ENTER_EXT_ARG)
            }
        };
        flags |= self.enter_flags;
        let (arg_address, arg_size) = if flags & ENTER_EXT_ARG == 0 {
            (ptr::null(), 0)
        } else {
            (&raw const arg, size_of::<GetEventsArg>())
        };
        // SAFETY: `arg` and the timespec it points to outlive the call; every queued entry's
        // pointers are kept alive by the driver until the kernel has taken it.
        let taken = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.enter_fd,
                queued,
                wanted,
                flags,
                arg_address,
                arg_size,
            )
        };
        if let Ok(taken) = u32::try_from(taken) {
            return Ok(taken);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR) => Ok(0),
            _ => Err(error),
        }
    }

    /// Puts a descriptor into the table (-1 empties the place).
    pub(crate) fn set_file(&self, place: u32, fd: RawFd) -> io::Result<()> {
        let fds = [fd];
        let update =
            ResourceUpdate { offset: place, reserved: 0, data: fds.as_ptr().addr() as u64 };
        // SAFETY: `update` and the one-element array it points to outlive the call.
        let done = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.ring.as_raw_fd(),
                libc::c_uint::from(REGISTER_FILES_UPDATE),
                &raw const update,
                1,
            )
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// A registration that the restrictions do not list.
    #[cfg(test)]
    pub(crate) fn register_eventfd_for_test(&self) -> io::Result<()> {
        self.ring.submitter().register_eventfd(self.ring.as_raw_fd())
    }

    /// As if the ring's descriptor were gone.
    #[cfg(test)]
    pub(crate) fn break_for_test(&mut self) {
        self.enter_fd = -1;
        self.enter_flags = 0;
    }

    /// Saves the descriptor lookup of each enter. Not needed for working, so a refusal is no error.
    fn register_self(&mut self) {
        let mut update = ResourceUpdate {
            offset: u32::MAX,
            reserved: 0,
            data: u64::from(self.ring.as_raw_fd().unsigned_abs()),
        };
        // SAFETY: `update` is valid for the kernel to read and to write the index into.
        let done = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.ring.as_raw_fd(),
                libc::c_uint::from(REGISTER_RING_FDS),
                &raw mut update,
                1,
            )
        };
        if let (1, Ok(index)) = (done, RawFd::try_from(update.offset)) {
            self.enter_fd = index;
            self.enter_flags = ENTER_REGISTERED_RING;
        }
    }
}

impl Drop for Ring {
    /// The task's table holds a reference: without this the ring would live until the thread ends.
    fn drop(&mut self) {
        if self.enter_flags & ENTER_REGISTERED_RING == 0 {
            return;
        }
        let update = ResourceUpdate { offset: self.enter_fd.unsigned_abs(), reserved: 0, data: 0 };
        // SAFETY: `update` outlives the call; on another thread than the ring's it finds no such
        // entry and changes nothing of ours.
        unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.ring.as_raw_fd(),
                libc::c_uint::from(UNREGISTER_RING_FDS),
                &raw const update,
                1,
            );
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("fd", &self.ring.as_raw_fd()).finish_non_exhaustive()
    }
}

/// The ring with all flags we like, or without the one that needs Linux 6.6.
fn setup(entries: u32, completions: u32) -> Result<IoUring, NetError> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_r_disabled()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(completions)
        .dontfork();
    let plain = builder.clone();
    match builder.setup_no_sqarray().build(entries) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => plain.build(entries),
        other => other,
    }
    .map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSYS) => NetError::RingAbsent,
        Some(libc::EPERM | libc::EACCES) => {
            NetError::RingForbidden { sysctl: crate::probe::io_uring_disabled() }
        }
        Some(libc::EINVAL) => NetError::KernelTooOld { release: crate::probe::kernel_release() },
        Some(libc::ENOMEM) => NetError::TooLittleLockedMemory {
            what: "io_uring",
            bytes: u64::from(entries) * 64 + u64::from(completions) * 16,
            limit: crate::probe::memlock_limit(),
        },
        _ => NetError::System { what: "io_uring_setup", source: error },
    })
}
