//! A bounded queue of byte records in memory taken once: what a value says until its driver drains
//! it.

use alloc::vec::Vec;

#[derive(Debug)]
pub struct Records {
    memory: Vec<u8>,
    head: usize,
    tail: usize,
    /// Where the records before a jump to the start end; `memory.len()` if there is no jump.
    wrap: usize,
    len: usize,
    used: usize,
}

const LENGTH: usize = 4;

impl Records {
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { memory: alloc::vec![0; bytes], head: 0, tail: 0, wrap: bytes, len: 0, used: 0 }
    }

    /// Records waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes in use, of [`Records::capacity`].
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Lets `write` fill up to `most` bytes; it says how many, or None to take nothing. False if
    /// there is no room.
    pub fn push_with(
        &mut self,
        most: usize,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> bool {
        let Some(at) = self.place(LENGTH + most) else { return false };
        let Some(len) = write(&mut self.memory[at + LENGTH..at + LENGTH + most]) else {
            return false;
        };
        let len = len.min(most);
        if at == 0 && self.tail != 0 && self.len > 0 {
            self.wrap = self.tail;
        } else if self.len == 0 {
            self.head = at;
            self.wrap = self.memory.len();
        }
        let written = u32::try_from(len).unwrap_or(u32::MAX);
        self.memory[at..at + LENGTH].copy_from_slice(&written.to_le_bytes());
        self.tail = at + LENGTH + len;
        self.len += 1;
        self.used += LENGTH + len;
        true
    }

    pub fn push(&mut self, record: &[u8]) -> bool {
        self.push_with(record.len(), |into| {
            into.copy_from_slice(record);
            Some(record.len())
        })
    }

    /// The oldest record.
    #[must_use]
    pub fn front(&self) -> Option<&[u8]> {
        if self.len == 0 {
            return None;
        }
        let (at, len) = self.front_at();
        Some(&self.memory[at + LENGTH..at + LENGTH + len])
    }

    /// Drops the oldest record.
    pub fn pop(&mut self) {
        if self.len == 0 {
            return;
        }
        let (at, len) = self.front_at();
        self.head = at + LENGTH + len;
        self.len -= 1;
        self.used -= LENGTH + len;
        if at < self.wrap && self.head > self.tail && self.head >= self.wrap {
            self.head = 0;
            self.wrap = self.memory.len();
        }
        if self.len == 0 {
            (self.head, self.tail, self.wrap) = (0, 0, self.memory.len());
        }
    }

    fn front_at(&self) -> (usize, usize) {
        let at = if self.head >= self.wrap { 0 } else { self.head };
        let mut len = [0; LENGTH];
        len.copy_from_slice(&self.memory[at..at + LENGTH]);
        (at, u32::from_le_bytes(len) as usize)
    }

    /// Where `bytes` in one piece fit.
    fn place(&self, bytes: usize) -> Option<usize> {
        if self.len == 0 {
            return (bytes <= self.memory.len()).then_some(0);
        }
        if self.tail > self.head {
            if self.tail + bytes <= self.memory.len() {
                return Some(self.tail);
            }
            return (bytes <= self.head).then_some(0);
        }
        (self.tail + bytes <= self.head).then_some(self.tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;
    use alloc::collections::VecDeque;

    #[test]
    fn first_in_first_out_within_its_memory() {
        let mut random = Prng::new(9);
        let mut records = Records::new(1_000);
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        let mut refused = 0;
        for round in 0..50_000_u32 {
            if random.chance(1, 2) {
                let len = usize::try_from(random.below(120)).unwrap();
                let record = alloc::vec![u8::try_from(round % 251).unwrap(); len];
                if records.push(&record) {
                    model.push_back(record);
                } else {
                    refused += 1;
                }
            } else {
                records.pop();
                model.pop_front();
            }
            assert_eq!(records.len(), model.len());
            assert_eq!(records.front(), model.front().map(Vec::as_slice));
        }
        assert!(refused > 0, "the test must reach the limit");
        assert!(model.len() < 1_000);
    }
}
