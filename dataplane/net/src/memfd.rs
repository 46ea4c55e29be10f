//! Sealed shared memory.
//!
//! A region is a memfd whose size can never change again (GROW, SHRINK) and whose seals can never
//! change either (SEAL): a mapping of it cannot be pulled away under its user. It is *not* sealed
//! against writing: one process writes it, and after a crash its successor does. Everybody else
//! gets a descriptor opened read-only, and since the file's mode is 0600 and its owner the writer's
//! user, a read-only descriptor cannot be turned into a writable one by another user.
//!
//! What is mapped is handed out as atomic words, never as a reference to plain memory: another
//! process may change it at any time, and atomics are how Rust says that.

use std::ffi::CStr;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use crate::error::NetError;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// The seals every region has.
const SEALS: libc::c_int = libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;

/// A sealed memfd.
#[derive(Debug)]
pub struct Region {
    fd: OwnedFd,
    bytes: usize,
}

impl Region {
    /// A zeroed region of `bytes`, rounded up to whole pages. `name` shows in /proc/self/maps.
    pub fn create(name: &CStr, bytes: usize) -> Result<Self, NetError> {
        let bytes = bytes.max(1).next_multiple_of(page_bytes());
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: a valid C string. NOEXEC_SEAL (Linux 6.3) is asked for first.
        let mut fd = unsafe { libc::memfd_create(name.as_ptr(), flags | libc::MFD_NOEXEC_SEAL) };
        if fd < 0 {
            // SAFETY: as above.
            fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
        }
        if fd < 0 {
            return Err(NetError::last("memfd_create"));
        }
        // SAFETY: the descriptor was just made and is nobody else's.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(bytes as u64).map_err(NetError::system("sizing a region"))?;
        file.set_permissions(Permissions::from_mode(0o600))
            .map_err(NetError::system("restricting a region to its owner"))?;
        // SAFETY: no pointers.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, SEALS) } != 0 {
            return Err(NetError::last("sealing a region"));
        }
        Ok(Self { fd: file.into(), bytes })
    }

    /// A region that came from elsewhere. Refused unless it carries our seals: without them its
    /// sender could shrink it and kill us with SIGBUS.
    pub fn adopt(fd: OwnedFd) -> Result<Self, NetError> {
        // SAFETY: no pointers.
        let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
        if seals < 0 {
            return Err(NetError::last("reading a region's seals"));
        }
        if seals & SEALS != SEALS {
            return Err(NetError::System {
                what: "a region that is not sealed against changing its size",
                source: io::Error::from_raw_os_error(libc::EPERM),
            });
        }
        let file = File::from(fd);
        let len = file.metadata().map_err(NetError::system("reading a region's size"))?.len();
        let bytes = usize::try_from(len).map_err(|_| NetError::BadPlan("region too large"))?;
        Ok(Self { fd: file.into(), bytes })
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A descriptor that cannot be mapped writable, for the other side.
    pub fn read_only(&self) -> Result<OwnedFd, NetError> {
        File::open(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
            .map(OwnedFd::from)
            .map_err(NetError::system("opening a region read-only (is /proc mounted?)"))
    }

    /// One more handle with the same rights.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, bytes: self.bytes })
    }

    /// Maps it for the one process that writes it.
    pub fn map_writable(&self) -> Result<Mapping, NetError> {
        self.map(libc::PROT_READ | libc::PROT_WRITE)
    }

    /// Maps it for a reader. A store through these words is a fault that ends the process; no
    /// function of this type stores.
    pub fn map_readable(&self) -> Result<Mapping, NetError> {
        self.map(libc::PROT_READ)
    }

    fn map(&self, prot: libc::c_int) -> Result<Mapping, NetError> {
        let fd = self.fd.as_raw_fd();
        // SAFETY: a mapping at an address of the kernel's choice touches nothing of ours.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), self.bytes, prot, libc::MAP_SHARED, fd, 0) };
        match NonNull::new(start.cast::<AtomicU64>()) {
            Some(found) if start != libc::MAP_FAILED => Ok(Mapping {
                start: found,
                words: self.bytes / WORD,
                is_writable: prot & libc::PROT_WRITE != 0,
            }),
            _ => Err(NetError::last("mapping a region")),
        }
    }
}

impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Region> for OwnedFd {
    fn from(region: Region) -> Self {
        region.fd
    }
}

/// A mapped region. The words live as long as it does.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<AtomicU64>,
    words: usize,
    is_writable: bool,
}

// SAFETY: a mapping is words that are only accessed atomically.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// All words.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page aligned, `words` long, sealed against shrinking, and lives as
        // long as `self`; every access, also by other processes, is atomic.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    /// The words for the rest of the process's life: regions are mapped at boot and never unmapped.
    #[must_use]
    pub fn leak(self) -> &'static [AtomicU64] {
        let mapping = std::mem::ManuallyDrop::new(self);
        // SAFETY: as in `words`; the mapping is never undone.
        unsafe { std::slice::from_raw_parts(mapping.start.as_ptr(), mapping.words) }
    }

    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.is_writable
    }

    /// Kept out of core dumps, and out of a child: for keys and credentials.
    pub fn keep_private(&self) -> Result<(), NetError> {
        for advice in [libc::MADV_DONTDUMP, libc::MADV_DONTFORK] {
            // SAFETY: the range is our own mapping; the advice changes none of its contents.
            let done =
                unsafe { libc::madvise(self.start.as_ptr().cast(), self.words * WORD, advice) };
            if done != 0 {
                return Err(NetError::last("keeping a region out of core dumps"));
            }
        }
        Ok(())
    }

    /// Into memory for good, if the limit allows it.
    #[must_use]
    pub fn lock(&self) -> bool {
        // SAFETY: the range is our own mapping.
        unsafe { libc::mlock(self.start.as_ptr().cast(), self.words * WORD) == 0 }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is our own mapping and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.words * WORD) };
    }
}

fn page_bytes() -> usize {
    // SAFETY: no pointers.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_the_writer_stores_the_reader_loads() {
        let region = Region::create(c"test", 10_000).unwrap();
        let writer = region.map_writable().unwrap();
        let reader = Region::adopt(region.read_only().unwrap()).unwrap();
        assert_eq!(reader.bytes(), 12_288);
        let reader = reader.map_readable().unwrap();
        writer.words()[1535].store(42, Ordering::Release);
        assert_eq!(reader.words()[1535].load(Ordering::Acquire), 42);
        assert!(writer.is_writable() && !reader.is_writable());
        writer.keep_private().unwrap();
    }

    #[test]
    fn a_read_only_descriptor_cannot_be_mapped_writable() {
        let region = Region::create(c"test", 1).unwrap();
        let reader = Region::adopt(region.read_only().unwrap()).unwrap();
        let refused = reader.map_writable().unwrap_err();
        assert_eq!(refused.errno(), Some(libc::EACCES));
    }

    #[test]
    fn a_region_keeps_its_size_and_its_mode() {
        let region = Region::create(c"test", 1).unwrap();
        let file = File::from(OwnedFd::from(region));
        assert!(file.set_len(0).is_err());
        assert!(file.set_len(1 << 20).is_err());
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn memory_that_its_sender_could_shrink_is_refused() {
        // SAFETY: a valid C string; the descriptor is ours.
        let loose = unsafe {
            let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
            OwnedFd::from_raw_fd(libc::memfd_create(c"loose".as_ptr(), flags))
        };
        assert!(Region::adopt(loose).is_err());
        let pipe = io::pipe().unwrap().0;
        assert!(Region::adopt(pipe.into()).is_err());
    }

    #[test]
    fn leaked_words_stay() {
        let words = Region::create(c"test", 1).unwrap().map_writable().unwrap().leak();
        words[0].store(7, Ordering::Relaxed);
        assert_eq!(words[0].load(Ordering::Relaxed), 7);
    }
}
