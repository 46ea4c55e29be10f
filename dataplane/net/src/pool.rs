//! The memory behind frames: one mapping with buffers of two sizes.
//!
//! ```text
//!  index: 0 .......... | ............ | ............... | ............ |
//!         small receive  small own      large receive     large own
//!         (2048 B)       (2048 B)       (16 KiB)          (16 KiB)
//!
//!              Kernel --received--> Held --transmit--> Sending
//!                ^                   |                    |
//!                +------ free -------+------ sent --------+      (receive buffers)
//!              Free --alloc--> Held, and back to Free            (own buffers)
//! ```
//!
//! A receive buffer belongs to the kernel until a datagram lies in it; whoever holds the frame then
//! transmits or frees it, and the buffer goes back to the kernel. Packets of our own come from
//! buffers that the kernel never gets: a burst that comes in cannot keep us from sending, and a
//! burst of our own cannot keep us from receiving. Running out of either is counted.
//!
//! Each buffer's state is kept in a byte of its own, and the bytes of a buffer are shown only while
//! it is held. That makes a stale frame a panic of the leg that used it, never a look into memory
//! that the kernel is writing.

use std::io;
use std::ptr::{self, NonNull};

use base::frame::{HEADROOM, LARGE_BYTES, SMALL_BYTES};
use base::{Frame, Frames};

use crate::bufring::BufRing;
use crate::error::NetError;
use crate::ring::Ring;

/// How many buffers of each kind. Memory is (small * 2 KiB) + (large * 16 KiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolPlan {
    /// Media datagrams that may be under way at once: at most 32768.
    pub small_receive: u32,
    /// Media packets of our own (RTCP, tones, mixes).
    pub small_own: u32,
    /// SIP datagrams that may be under way at once: at most 32768.
    pub large_receive: u32,
    /// SIP messages of our own.
    pub large_own: u32,
    /// Keep it out of swap (mlock). Refusal is reported by [`Pool::is_locked`], not an error.
    pub lock: bool,
    /// Ask for huge pages (MADV_HUGEPAGE); the kernel may ignore it.
    pub huge: bool,
}

/// Buffer group of media.
pub(crate) const GROUP_SMALL: u16 = 0;
/// Buffer group of SIP.
pub(crate) const GROUP_LARGE: u16 = 1;

/// The kernel's view of a receive buffer starts here, so that what we hand on has its headroom even
/// without the kernel's own header in front.
const RECEIVE_OFFSET: usize = HEADROOM;

/// What is refused or ran out, since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounters {
    /// No small buffer of our own; a large one was given instead, or none.
    pub small_exhausted: u64,
    /// No large buffer of our own.
    pub large_exhausted: u64,
    /// More bytes asked for than a large buffer holds.
    pub oversized: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// In a receive ring, or being written by the kernel.
    Kernel,
    /// Handed out.
    Held,
    /// Queued for sending.
    Sending,
    /// An own buffer, unused.
    Free,
}

/// See the module. Not shared between threads: each shard has its own.
pub struct Pool {
    area: Area,
    plan: PoolPlan,
    small_total: u32,
    locked: bool,
    states: Box<[State]>,
    small_free: Vec<u32>,
    large_free: Vec<u32>,
    /// Receive buffers in the kernel's hands.
    in_kernel: [u32; 2],
    rings: Option<[BufRing; 2]>,
    counters: PoolCounters,
}

impl Pool {
    /// Maps the memory and touches every page of it, so that no packet meets a page fault.
    pub fn new(plan: PoolPlan) -> Result<Self, NetError> {
        let small_total = add(plan.small_receive, plan.small_own)?;
        let large_total = add(plan.large_receive, plan.large_own)?;
        let total = add(small_total, large_total)?;
        if plan.small_receive == 0 || plan.large_receive == 0 {
            return Err(NetError::BadPlan("each buffer group needs a receive buffer"));
        }
        let bytes = small_total as usize * SMALL_BYTES + large_total as usize * LARGE_BYTES;
        let area = Area::new(bytes, plan.huge)?;
        let locked = plan.lock && area.lock();
        let mut pool = Self {
            area,
            plan,
            small_total,
            locked,
            states: vec![State::Free; total as usize].into_boxed_slice(),
            small_free: (plan.small_receive..small_total).rev().collect(),
            large_free: (small_total + plan.large_receive..total).rev().collect(),
            in_kernel: [0; 2],
            rings: None,
            counters: PoolCounters::default(),
        };
        for index in (0..plan.small_receive).chain(small_total..small_total + plan.large_receive) {
            pool.states[index as usize] = State::Held;
        }
        Ok(pool)
    }

    /// Bytes mapped.
    #[must_use]
    pub fn footprint_bytes(&self) -> usize {
        self.area.len
    }

    /// Whether the memory is locked (the plan asked for it and the limit allowed it).
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    #[must_use]
    pub fn counters(&self) -> PoolCounters {
        self.counters
    }

    /// Receive buffers that the kernel can fill now: (small, large).
    #[must_use]
    pub fn receivable(&self) -> (u32, u32) {
        (self.in_kernel[0], self.in_kernel[1])
    }

    /// Own buffers that are unused: (small, large).
    #[must_use]
    pub fn allocatable(&self) -> (usize, usize) {
        (self.small_free.len(), self.large_free.len())
    }

    /// Makes the two receive rings and fills them.
    pub(crate) fn attach(&mut self, ring: &Ring) -> Result<(), NetError> {
        self.rings = Some([
            BufRing::new(ring, GROUP_SMALL, self.plan.small_receive)?,
            BufRing::new(ring, GROUP_LARGE, self.plan.large_receive)?,
        ]);
        let large = self.small_total..self.small_total + self.plan.large_receive;
        for index in (0..self.plan.small_receive).chain(large) {
            self.release(index);
        }
        self.publish();
        Ok(())
    }

    /// Shows the kernel the buffers that came back since the last time.
    pub(crate) fn publish(&mut self) {
        if let Some(rings) = &mut self.rings {
            rings[0].publish();
            rings[1].publish();
        }
    }

    /// The kernel has filled buffer `id` of `group`: it is held from now on. None for an id that we
    /// never gave.
    pub(crate) fn take(&mut self, group: u16, id: u16) -> Option<u32> {
        let index =
            if group == GROUP_SMALL { u32::from(id) } else { self.small_total + u32::from(id) };
        let state = self.states.get_mut(index as usize)?;
        if *state != State::Kernel {
            return None;
        }
        *state = State::Held;
        self.in_kernel[usize::from(group)] -= 1;
        Some(index)
    }

    /// Where in buffer `index` the kernel began to write.
    pub(crate) const fn receive_offset() -> usize {
        RECEIVE_OFFSET
    }

    /// The first `len` bytes that the kernel wrote into the held buffer `index`.
    pub(crate) fn kernel_bytes(&self, index: u32, len: usize) -> &[u8] {
        let (offset, capacity) = self.extent(index);
        assert!(self.states[index as usize] == State::Held && RECEIVE_OFFSET + len <= capacity);
        // SAFETY: the range lies inside the buffer, which is ours while held (checked), and the
        // area was zeroed when mapped, so that all bytes are initialised.
        unsafe {
            std::slice::from_raw_parts(self.area.start().as_ptr().add(offset + RECEIVE_OFFSET), len)
        }
    }

    /// A held frame becomes one that is being sent: where it lies. None if it is not held.
    pub(crate) fn begin_send(&mut self, frame: Frame) -> Option<*const u8> {
        if self.states.get(frame.index as usize) != Some(&State::Held) {
            return None;
        }
        let bytes = self.bytes(frame).as_ptr();
        self.states[frame.index as usize] = State::Sending;
        Some(bytes)
    }

    /// A frame that is being sent, once more: where it lies. None if it is not being sent.
    pub(crate) fn send_again(&self, frame: Frame) -> Option<*const u8> {
        if self.states.get(frame.index as usize) != Some(&State::Sending) {
            return None;
        }
        let (offset, capacity) = self.extent(frame.index);
        let start = usize::from(frame.start);
        assert!(start + usize::from(frame.len) <= capacity, "a frame longer than its buffer");
        // SAFETY: the buffer lies inside the area, and the frame inside the buffer (checked).
        Some(unsafe { self.area.start().as_ptr().add(offset + start) })
    }

    /// A held receive buffer whose datagram is not wanted.
    pub(crate) fn give_back(&mut self, index: u32) {
        debug_assert_eq!(self.states[index as usize], State::Held);
        self.release(index);
    }

    /// The buffer has left: it goes back to where it belongs.
    pub(crate) fn end_send(&mut self, index: u32) {
        debug_assert_eq!(self.states[index as usize], State::Sending);
        self.release(index);
    }

    fn release(&mut self, index: u32) {
        let (offset, capacity) = self.extent(index);
        let (group, id, receive) = if index < self.small_total {
            (0, index, index < self.plan.small_receive)
        } else {
            let id = index - self.small_total;
            (1, id, id < self.plan.large_receive)
        };
        let state = &mut self.states[index as usize];
        if !receive {
            *state = State::Free;
            let free = if group == 0 { &mut self.small_free } else { &mut self.large_free };
            free.push(index);
            return;
        }
        let (Some(rings), Ok(id), Ok(length)) =
            (&mut self.rings, u16::try_from(id), u32::try_from(capacity - RECEIVE_OFFSET))
        else {
            return;
        };
        *state = State::Kernel;
        let address = self.area.address() + offset + RECEIVE_OFFSET;
        rings[group].push(address as u64, length, id);
        self.in_kernel[group] += 1;
    }

    /// (offset in the area, capacity) of a buffer.
    fn extent(&self, index: u32) -> (usize, usize) {
        if index < self.small_total {
            (index as usize * SMALL_BYTES, SMALL_BYTES)
        } else {
            let large = (index - self.small_total) as usize * LARGE_BYTES;
            (self.small_total as usize * SMALL_BYTES + large, LARGE_BYTES)
        }
    }

    /// The frame's bytes, checked to be held and inside their buffer.
    fn locate(&self, frame: Frame) -> (NonNull<u8>, usize) {
        let (offset, capacity) = self.extent(frame.index);
        let (start, len) = (usize::from(frame.start), usize::from(frame.len));
        assert!(self.states[frame.index as usize] == State::Held, "a frame that nobody holds");
        assert!(start + len <= capacity, "a frame longer than its buffer");
        // SAFETY: the buffer lies inside the area (the index was in bounds of `states`).
        (unsafe { self.area.start().add(offset + start) }, len)
    }
}

impl Frames for Pool {
    fn bytes(&self, frame: Frame) -> &[u8] {
        let (start, len) = self.locate(frame);
        // SAFETY: held buffers are touched by nobody but us; `&self` keeps writers away; the memory
        // was zeroed when mapped.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
    }

    fn bytes_mut(&mut self, frame: Frame) -> &mut [u8] {
        let (start, len) = self.locate(frame);
        // SAFETY: as above, and `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) }
    }

    fn alloc(&mut self, len: usize) -> Option<Frame> {
        let (Ok(wanted), Ok(start)) = (u16::try_from(len), u16::try_from(HEADROOM)) else {
            self.counters.oversized += 1;
            return None;
        };
        let mut index = None;
        if len <= SMALL_BYTES - HEADROOM {
            index = self.small_free.pop();
            self.counters.small_exhausted += u64::from(index.is_none());
        } else if len > LARGE_BYTES - HEADROOM {
            self.counters.oversized += 1;
            return None;
        }
        if index.is_none() {
            index = self.large_free.pop();
            self.counters.large_exhausted += u64::from(index.is_none());
        }
        let index = index?;
        self.states[index as usize] = State::Held;
        Some(Frame { index, start, len: wanted })
    }

    fn free(&mut self, frame: Frame) {
        let state = self.states.get(frame.index as usize);
        assert!(state == Some(&State::Held), "a frame freed that nobody holds");
        self.release(frame.index);
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("plan", &self.plan)
            .field("in_kernel", &self.in_kernel)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

fn add(left: u32, right: u32) -> Result<u32, NetError> {
    left.checked_add(right).ok_or(NetError::BadPlan("more buffers than an index can name"))
}

/// Anonymous zeroed memory, page aligned, mapped for the area's life.
pub(crate) struct Area {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the area owns its memory like a Box<[u8]> does; moving it to another thread moves that.
unsafe impl Send for Area {}

impl Area {
    pub(crate) fn new(bytes: usize, huge: bool) -> Result<Self, NetError> {
        let len = bytes.max(1).next_multiple_of(4096);
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing of
        // ours.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, prot, flags, -1, 0) };
        let start = match NonNull::new(start.cast::<u8>()) {
            Some(found) if start != libc::MAP_FAILED => found,
            _ => return Err(NetError::last("mapping packet memory")),
        };
        let area = Self { start, len };
        area.prepare(huge);
        Ok(area)
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn address(&self) -> usize {
        self.start.as_ptr().addr()
    }

    /// Advice only: huge pages, not inherited by a child (the kernel writes here), all present.
    fn prepare(&self, huge: bool) {
        let advices = [
            Some(libc::MADV_DONTFORK),
            huge.then_some(libc::MADV_HUGEPAGE),
            Some(libc::MADV_POPULATE_WRITE),
        ];
        for advice in advices.into_iter().flatten() {
            // SAFETY: the range is our own mapping; none of these changes its contents.
            unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, advice) };
        }
    }

    fn lock(&self) -> bool {
        // SAFETY: the range is our own mapping.
        let done = unsafe { libc::mlock(self.start.as_ptr().cast(), self.len) };
        if done != 0 {
            let _refused = io::Error::last_os_error();
        }
        done == 0
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the range is our own mapping and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: PoolPlan = PoolPlan {
        small_receive: 4,
        small_own: 2,
        large_receive: 2,
        large_own: 1,
        lock: false,
        huge: false,
    };

    #[test]
    fn own_buffers_come_small_first_and_run_out_counted() {
        let mut pool = Pool::new(PLAN).unwrap();
        let first = pool.alloc(100).unwrap();
        let second = pool.alloc(100).unwrap();
        let third = pool.alloc(100).unwrap();
        assert!(third.index >= 6, "the third one is a large buffer");
        assert_eq!(pool.alloc(100), None);
        assert_eq!(pool.alloc(LARGE_BYTES), None);
        let counters = pool.counters();
        assert_eq!((counters.small_exhausted, counters.large_exhausted), (2, 1));
        assert_eq!(counters.oversized, 1);
        pool.bytes_mut(first).fill(7);
        assert_eq!(pool.bytes(first), [7; 100]);
        for frame in [first, second, third] {
            pool.free(frame);
        }
        assert_eq!(pool.allocatable(), (2, 1));
    }

    #[test]
    #[should_panic(expected = "nobody holds")]
    fn a_stale_frame_shows_nothing() {
        let mut pool = Pool::new(PLAN).unwrap();
        let frame = pool.alloc(10).unwrap();
        pool.free(frame);
        let _ = pool.bytes(frame);
    }

    #[test]
    #[should_panic(expected = "longer than its buffer")]
    fn a_frame_ends_inside_its_buffer() {
        let mut pool = Pool::new(PLAN).unwrap();
        let frame = pool.alloc(10).unwrap();
        let _ = pool.bytes(frame.resized(SMALL_BYTES));
    }
}
