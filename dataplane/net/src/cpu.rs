//! Cores and limits of this process.

use std::io;
use std::mem;

use crate::error::NetError;

/// Cores this process may run on (its affinity mask, which a container or a unit may have cut).
#[must_use]
pub fn allowed() -> Vec<usize> {
    let Ok(set) = affinity() else { return vec![0] };
    let most = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    // SAFETY: `cpu` is below CPU_SETSIZE.
    (0..most).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// Shards by default: one core is left to everything else where there is more than one.
#[must_use]
pub fn shards_default() -> usize {
    allowed().len().saturating_sub(1).max(1)
}

/// Keeps the calling thread on one core.
pub fn pin(cpu: usize) -> Result<(), NetError> {
    if cpu >= usize::try_from(libc::CPU_SETSIZE).unwrap_or(0) {
        return Err(NetError::BadPlan("no such core"));
    }
    // SAFETY: all-zero bytes are the empty set; `cpu` is below CPU_SETSIZE.
    let set = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        set
    };
    // SAFETY: a valid set of the size given; 0 is the calling thread.
    let done = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if done == 0 { Ok(()) } else { Err(NetError::last("pinning the thread to its core")) }
}

/// The core the calling thread runs on now.
#[must_use]
pub fn current() -> Option<usize> {
    // SAFETY: no pointers.
    usize::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// Raises the soft limit of descriptors to what is needed, and the hard limit too if we may. An
/// error only if the limit stays below.
pub fn raise_nofile(needed: u64) -> Result<(), NetError> {
    let limit = nofile();
    if limit.rlim_cur >= needed {
        return Ok(());
    }
    let wanted = libc::rlimit { rlim_cur: needed, rlim_max: limit.rlim_max.max(needed) };
    // SAFETY: a valid rlimit.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) } == 0 {
        return Ok(());
    }
    let most = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: a valid rlimit. A refusal shows in the limit read below.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const most) };
    let limit = nofile().rlim_cur;
    if limit >= needed { Ok(()) } else { Err(NetError::TooFewDescriptors { needed, limit }) }
}

/// Leaves no core dump of this process, whose memory has secrets: a limit of one byte, which a
/// program that takes dumps is not started for either (core(5): 0 would let it). False if the
/// limit could not be set.
#[must_use]
pub fn forbid_core() -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid rlimit to write into.
    unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit) };
    let most = limit.rlim_max.min(1);
    let wanted = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: a valid rlimit.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const wanted) == 0 }
}

/// Descriptors allowed: (soft, hard).
#[must_use]
pub fn nofile_limit() -> (u64, u64) {
    let limit = nofile();
    (limit.rlim_cur, limit.rlim_max)
}

fn nofile() -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid rlimit to write into.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit
}

fn affinity() -> io::Result<libc::cpu_set_t> {
    // SAFETY: all-zero bytes are the empty set; the size given is the set's.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        let done = libc::sched_getaffinity(0, size_of_val(&set), &raw mut set);
        if done == 0 { Ok(set) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_core_is_left() {
        assert!(forbid_core() && forbid_core(), "once more is no matter");
        let mut limit = libc::rlimit { rlim_cur: 9, rlim_max: 9 };
        // SAFETY: a valid rlimit to write into.
        unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit) };
        assert!(limit.rlim_cur <= 1 && limit.rlim_max <= 1);
    }

    #[test]
    fn a_pinned_thread_runs_on_its_core() {
        let cores = allowed();
        assert!(!cores.is_empty());
        let last = *cores.last().unwrap();
        std::thread::spawn(move || {
            pin(last).unwrap();
            assert_eq!(current(), Some(last));
            assert_eq!(allowed(), [last]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_limit_beyond_the_kernels_own_is_refused_by_name() {
        let refused = raise_nofile(u64::MAX / 2).unwrap_err();
        assert!(refused.to_string().contains("LimitNOFILE="), "{refused}");
        raise_nofile(64).unwrap();
    }
}
