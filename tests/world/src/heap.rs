//! Frames in plain memory, with a book of who has been given what: a frame that is freed twice, or
//! touched after it was freed, is a fault of the shard and panics here.

use std::cell::Cell;

use base::frame::{HEADROOM, LARGE_BYTES, SMALL_BYTES};
use base::{Frame, Frames};

use crate::plane::is_within_shard;

/// What a shard does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Reads it.
    Read,
    /// Writes into it.
    Write,
    /// Asks for one that is as small as an RTP packet.
    Small,
}

/// One shard's frames.
#[derive(Debug)]
pub struct Heap {
    frames: Vec<Vec<u8>>,
    taken: Vec<bool>,
    free: [Vec<u32>; 2],
    made: [usize; 2],
    limits: [usize; 2],
    /// Frames out now.
    out: usize,
    /// A fault planted on purpose: the next frames, so many, that a shard asks for a
    /// SIP message panic.
    pub trips: u8,
    /// Another: the next such touch by a shard panics.
    pub plant: Cell<Option<Touch>>,
}

impl Heap {
    /// At most so many small and large frames.
    #[must_use]
    pub fn new(small: usize, large: usize) -> Self {
        let free = [Vec::with_capacity(small), Vec::with_capacity(large)];
        let limits = [small, large];
        Self {
            frames: Vec::new(),
            taken: Vec::new(),
            free,
            made: [0; 2],
            limits,
            out: 0,
            trips: 0,
            plant: Cell::new(None),
        }
    }

    /// Frames that are neither free nor transmitted.
    #[must_use]
    pub fn out(&self) -> usize {
        self.out
    }

    /// A frame with these bytes, as a receiver would hand it over. None when all are in use.
    pub fn receive(&mut self, bytes: &[u8]) -> Option<Frame> {
        let frame = self.alloc(bytes.len())?.resized(bytes.len());
        self.bytes_mut(frame).copy_from_slice(bytes);
        Some(frame)
    }

    /// Makes all frames now, so that nothing is allocated later.
    pub fn fill(&mut self) {
        for kind in 0..2 {
            while self.made[kind] < self.limits[kind] {
                let index = self.make(kind);
                self.taken[index as usize] = false;
                self.free[kind].push(index);
            }
        }
    }

    fn trip(&self, touch: Touch) {
        if self.plant.get() == Some(touch) && is_within_shard() {
            self.plant.set(None);
            panic!("planted: {touch:?}");
        }
    }

    fn make(&mut self, kind: usize) -> u32 {
        self.made[kind] += 1;
        self.frames.push(vec![0; if kind == 0 { SMALL_BYTES } else { LARGE_BYTES }]);
        self.taken.push(true);
        u32::try_from(self.frames.len() - 1).unwrap_or(u32::MAX)
    }
}

impl Frames for Heap {
    fn bytes(&self, frame: Frame) -> &[u8] {
        self.trip(Touch::Read);
        assert!(self.taken[frame.index as usize], "a freed frame is read");
        let start = usize::from(frame.start);
        &self.frames[frame.index as usize][start..start + usize::from(frame.len)]
    }

    fn bytes_mut(&mut self, frame: Frame) -> &mut [u8] {
        self.trip(Touch::Write);
        assert!(self.taken[frame.index as usize], "a freed frame is written");
        let start = usize::from(frame.start);
        &mut self.frames[frame.index as usize][start..start + usize::from(frame.len)]
    }

    fn alloc(&mut self, len: usize) -> Option<Frame> {
        let kind = usize::from(len > SMALL_BYTES - HEADROOM);
        // Longer than an RTP packet, and no room for an RTCP report: a SIP message.
        let is_sip = len > 200 && len != 512;
        if self.trips > 0 && is_sip && is_within_shard() {
            self.trips -= 1;
            panic!("planted: an allocation panics");
        }
        if len <= 200 {
            self.trip(Touch::Small);
        }
        if len > LARGE_BYTES - HEADROOM {
            return None;
        }
        let index = match self.free[kind].pop() {
            Some(index) => index,
            None if self.made[kind] < self.limits[kind] => self.make(kind),
            None => return None,
        };
        self.taken[index as usize] = true;
        self.out += 1;
        let start = u16::try_from(HEADROOM).unwrap_or(0);
        Some(Frame { index, start, len: u16::try_from(len).unwrap_or(0) })
    }

    fn free(&mut self, frame: Frame) {
        let index = frame.index as usize;
        assert!(core::mem::take(&mut self.taken[index]), "frame {index} is freed twice");
        let kind = usize::from(self.frames[index].len() == LARGE_BYTES);
        self.free[kind].push(frame.index);
        self.out -= 1;
    }
}
