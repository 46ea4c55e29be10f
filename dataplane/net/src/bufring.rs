//! A ring of provided buffers: our stores, the kernel's loads. One per buffer group.
//!
//! Entry i is `{ address u64, length u32, id u16, reserved u16 }`; the reserved half-word of entry
//! 0 is the tail. We write entries, then move the tail with release; the kernel takes from its own
//! head.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::error::NetError;
use crate::pool::Area;
use crate::ring::Ring;

#[repr(C)]
struct Entry {
    address: u64,
    length: u32,
    id: u16,
    tail: AtomicU16,
}

/// The kernel's limit on entries.
pub(crate) const ENTRIES_MAX: u32 = 32_768;

pub(crate) struct BufRing {
    area: Area,
    mask: u16,
    tail: u16,
    published: u16,
}

impl BufRing {
    /// Room for `buffers`, registered as `group`.
    pub(crate) fn new(ring: &Ring, group: u16, buffers: u32) -> Result<Self, NetError> {
        let entries = buffers.max(1).next_power_of_two();
        if entries > ENTRIES_MAX {
            return Err(NetError::BadPlan("a buffer group holds at most 32768 buffers"));
        }
        let area = Area::new(entries as usize * size_of::<Entry>(), false)?;
        let Ok(mask) = u16::try_from(entries - 1) else {
            return Err(NetError::BadPlan("a buffer group holds at most 32768 buffers"));
        };
        // SAFETY: the area holds exactly these entries; the driver drops the ring before the
        // area (field order), and the kernel pins the pages as long as it uses them.
        unsafe { ring.register_buffers(area.address() as u64, mask + 1, group)? };
        Ok(Self { area, mask, tail: 0, published: 0 })
    }

    /// Gives a buffer to the kernel with the next [`Self::publish`].
    pub(crate) fn push(&mut self, address: u64, length: u32, id: u16) {
        let entry = self.entry(self.tail & self.mask);
        // SAFETY: `entry` is one of ours; the kernel does not look at entries between its head and
        // the published tail that we have not published, and there are no more buffers than
        // entries, so this one is not in its hands. The tail word of entry 0 is left alone.
        unsafe {
            (&raw mut (*entry).address).write(address);
            (&raw mut (*entry).length).write(length);
            (&raw mut (*entry).id).write(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see what was pushed.
    pub(crate) fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        self.published = self.tail;
        let entry = self.entry(0);
        // SAFETY: entry 0 is valid memory of ours and its tail word is only accessed atomically.
        unsafe { (*entry).tail.store(self.tail, Ordering::Release) };
    }

    fn entry(&self, index: u16) -> *mut Entry {
        let first: NonNull<Entry> = self.area.start().cast();
        // SAFETY: index <= mask < number of entries the area was made for.
        unsafe { first.as_ptr().add(usize::from(index)) }
    }
}

impl std::fmt::Debug for BufRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BufRing").field("tail", &self.tail).finish_non_exhaustive()
    }
}
