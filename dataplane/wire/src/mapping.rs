//! Shared memory for regions: a sealed memfd, mapped as 64-bit atomic words. The one place of this
//! crate with `unsafe`: mapping memory has no safe form.
//!
//! A mapping lives as long as the process. That is what regions need (parked, joined once, never
//! given back), and it makes the words a plain `&'static [AtomicU64]`.

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// The seals every region carries: its size is final. FUTURE_WRITE is left open, it would lock out
/// a successor.
const SEALS: SealFlags = SealFlags::GROW.union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// A memfd of `words` zero words, mode 0600, sealed against growing and shrinking.
///
/// # Errors
/// What the system says.
pub fn create_sealed(name: &str, words: usize) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create(name, flags)?;
    rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::ftruncate(&fd, (words as u64).saturating_mul(8))?;
    rustix::fs::fcntl_add_seals(&fd, SEALS)?;
    Ok(fd)
}

/// Another descriptor of the same memory that can only be mapped for reading: what the other
/// process gets.
///
/// # Errors
/// What the system says; ENOENT without /proc.
pub fn reopen_readonly(fd: impl AsFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Maps the whole memfd for the rest of the process's life. With `writable` false a store to the
/// words is a fault (SIGSEGV): the caller keeps to reading.
///
/// # Errors
/// InvalidData if the descriptor is not sealed as [`create_sealed`] does (its owner could cut it
/// off under us, and a read would be a fault) or is no whole number of words; else what the system
/// says.
#[allow(unsafe_code)]
pub fn map_shared(fd: impl AsFd, writable: bool) -> io::Result<&'static [AtomicU64]> {
    let seals = rustix::fs::fcntl_get_seals(&fd)?;
    let bytes = usize::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(0);
    if !seals.contains(SEALS) || bytes == 0 || bytes % 8 != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a sealed region"));
    }
    let access = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
    // SAFETY: a new shared mapping at an address of the kernel's choice overlaps nothing. There is
    // no safe call that maps a file.
    let start = unsafe {
        rustix::mm::mmap(core::ptr::null_mut(), bytes, access, MapFlags::SHARED, &fd, 0)?
    };
    let start: NonNull<c_void> =
        NonNull::new(start).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
    // SAFETY: the mapping is page-aligned, `bytes` long, sealed against shrinking (so that every
    // word stays backed) and never unmapped; atomics may be changed by other processes at any time,
    // and are the only way anyone reaches these words. Memory that is mapped read-only is only
    // loaded from, which is a plain 64-bit load on the platforms we build for.
    Ok(unsafe { core::slice::from_raw_parts(start.cast::<AtomicU64>().as_ptr(), bytes / 8) })
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_one_mapping_writes_the_other_reads() {
        let fd = create_sealed("tandem-test", 1024).unwrap();
        let readonly = reopen_readonly(&fd).unwrap();
        let ours = map_shared(&fd, true).unwrap();
        let theirs = map_shared(&readonly, false).unwrap();
        assert_eq!((ours.len(), theirs.len()), (1024, 1024));
        ours[1000].store(77, Ordering::Release);
        assert_eq!(theirs[1000].load(Ordering::Acquire), 77);
        assert!(map_shared(&readonly, true).is_err(), "a read-only descriptor stays read-only");
        assert!(rustix::fs::ftruncate(&fd, 8).is_err(), "sealed");
    }

    #[test]
    fn an_unsealed_descriptor_is_refused() {
        let fd = rustix::fs::memfd_create("tandem-test", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&fd, 4096).unwrap();
        assert_eq!(map_shared(&fd, true).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
