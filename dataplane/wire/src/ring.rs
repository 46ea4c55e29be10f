//! A single-producer single-consumer ring of records between two processes.
//!
//! Positions count 64-bit words from the ring's birth and never wrap in practice (2^64 words); a
//! word's slot is its position modulo the ring's size, a power of two. A record is one header word
//! (length in bytes, and a check of the position so that a torn or foreign word is noticed) and its
//! bytes, padded to words; it may wrap around the end because both sides copy word by word.
//!
//! ```text
//!   producer's region:  slots[], head            consumer's region:  read, released, sleeping
//!
//!   released ----------- read -------------- head ............... released + size
//!   |  read, not yet     |  published, not   |  free: the producer writes here,
//!   |  durable           |  yet read         |  then moves head (release)
//! ```
//!
//! Two consumer cursors: `read` lets scripts go on at once; `released`, moved after the journal's
//! fsync, is what the producer may overwrite. A consumer that comes back starts at `released`.
//!
//! A doorbell (eventfd) is rung only for a sleeper. The sleeper stores `sleeping = 1`, fences,
//! looks once more, sleeps; the producer publishes, fences, reads `sleeping`. One of them sees the
//! other.

use crate::sync::{AtomicU64, Ordering, fence};

/// The longest record a ring takes, in bytes.
pub const RECORD_BYTES_MAX: usize = crate::MESSAGE_BYTES_MAX;

const CHECK: u32 = 0x7a6d_5e91;

/// The producer's words: head and slots.
#[derive(Clone, Copy, Debug)]
pub struct Slots<'m> {
    pub head: &'m AtomicU64,
    /// A power of two of words.
    pub words: &'m [AtomicU64],
}

/// The consumer's words.
#[derive(Clone, Copy, Debug)]
pub struct Cursors<'m> {
    pub read: &'m AtomicU64,
    pub released: &'m AtomicU64,
    pub sleeping: &'m AtomicU64,
}

/// The writing end.
#[derive(Debug)]
pub struct Producer<'m> {
    slots: Slots<'m>,
    cursors: Cursors<'m>,
    head: u64,
    released_seen: u64,
}

/// The reading end.
#[derive(Debug)]
pub struct Consumer<'m> {
    slots: Slots<'m>,
    cursors: Cursors<'m>,
    read: u64,
    head_seen: u64,
}

/// The ring has no room for the record now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The words at the read position are no record: the other side broke the contract (or its memory
/// is damaged). [`Consumer::skip_to_head`] goes on with what is published from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

impl Slots<'_> {
    fn slot(&self, position: u64) -> &AtomicU64 {
        let mask = self.words.len() as u64 - 1;
        let index = usize::try_from(position & mask).unwrap_or(0);
        &self.words[index]
    }
}

/// Words a record of `len` bytes takes.
#[must_use]
pub fn record_words(len: usize) -> u64 {
    1 + len.div_ceil(8) as u64
}

fn header(position: u64, len: usize) -> u64 {
    let [.., a, b, c, d] = position.to_be_bytes();
    let low = u32::from_be_bytes([a, b, c, d]);
    u64::from(low ^ CHECK) << 32 | len as u64
}

impl<'m> Producer<'m> {
    /// Takes up the ring where its head stands: what a predecessor wrote beyond it was never
    /// published and is overwritten.
    ///
    /// # Panics
    /// If the number of words is no power of two or cannot hold the longest record twice.
    #[must_use]
    pub fn join(slots: Slots<'m>, cursors: Cursors<'m>) -> Self {
        assert!(slots.words.len().is_power_of_two());
        assert!(slots.words.len() as u64 >= 2 * record_words(RECORD_BYTES_MAX));
        let head = slots.head.load(Ordering::Acquire);
        Self { slots, cursors, head, released_seen: cursors.released.load(Ordering::Acquire) }
    }

    /// Words free now; looks at the consumer's cursor only when `wanted` does not fit what was
    /// seen.
    pub fn free_words(&mut self, wanted: u64) -> u64 {
        let size = self.slots.words.len() as u64;
        let used = |released: u64| self.head.wrapping_sub(released).min(size);
        if size - used(self.released_seen) < wanted {
            let released = self.cursors.released.load(Ordering::Acquire);
            // A consumer cannot release what was not written: a cursor outside is not believed.
            if self.head.wrapping_sub(released) <= size {
                self.released_seen = released;
            }
        }
        size - used(self.released_seen)
    }

    /// Writes one record, not yet visible to the consumer: [`Producer::publish`] shows a batch.
    ///
    /// # Errors
    /// [`Full`] if it does not fit, or is longer than [`RECORD_BYTES_MAX`].
    pub fn push(&mut self, record: &[u8]) -> Result<(), Full> {
        let words = record_words(record.len());
        if record.len() > RECORD_BYTES_MAX || self.free_words(words) < words {
            return Err(Full);
        }
        self.slots.slot(self.head).store(header(self.head, record.len()), Ordering::Relaxed);
        let mut position = self.head.wrapping_add(1);
        for chunk in record.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.slots.slot(position).store(u64::from_le_bytes(word), Ordering::Relaxed);
            position = position.wrapping_add(1);
        }
        self.head = position;
        Ok(())
    }

    /// Shows everything pushed. True if the consumer sleeps and its doorbell must be rung.
    pub fn publish(&mut self) -> bool {
        if self.slots.head.load(Ordering::Relaxed) == self.head {
            return false;
        }
        self.slots.head.store(self.head, Ordering::Release);
        fence(Ordering::SeqCst);
        self.cursors.sleeping.load(Ordering::Relaxed) != 0
    }

    /// True if the consumer sleeps and has not read all: its doorbell was not rung, because what
    /// was shown could wait.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.cursors.sleeping.load(Ordering::Relaxed) != 0
            && self.cursors.read.load(Ordering::Acquire) != self.head
    }
}

impl<'m> Consumer<'m> {
    /// Takes up the ring at `released`: what was read but never made durable is read again.
    ///
    /// # Panics
    /// If the number of words is no power of two.
    #[must_use]
    pub fn join(slots: Slots<'m>, cursors: Cursors<'m>) -> Self {
        assert!(slots.words.len().is_power_of_two());
        let read = cursors.released.load(Ordering::Acquire);
        cursors.read.store(read, Ordering::Release);
        cursors.sleeping.store(0, Ordering::Relaxed);
        Self { slots, cursors, read, head_seen: read }
    }

    /// The next record, copied into `into`; None if there is none now.
    ///
    /// # Errors
    /// [`Corrupt`] if what stands there is no record.
    pub fn pop<'b>(&mut self, into: &'b mut [u8]) -> Result<Option<&'b [u8]>, Corrupt> {
        if self.read == self.head_seen {
            self.head_seen = self.slots.head.load(Ordering::Acquire);
            if self.read == self.head_seen {
                return Ok(None);
            }
        }
        let size = self.slots.words.len() as u64;
        let available = self.head_seen.wrapping_sub(self.read);
        let word = self.slots.slot(self.read).load(Ordering::Relaxed);
        let len = usize::try_from(word & 0xffff_ffff).map_err(|_| Corrupt)?;
        if available > size
            || word != header(self.read, len)
            || len > into.len().min(RECORD_BYTES_MAX)
            || record_words(len) > available
        {
            return Err(Corrupt);
        }
        let mut position = self.read.wrapping_add(1);
        for chunk in into[..len].chunks_mut(8) {
            let bytes = self.slots.slot(position).load(Ordering::Relaxed).to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
            position = position.wrapping_add(1);
        }
        self.read = position;
        self.cursors.read.store(position, Ordering::Release);
        Ok(Some(&into[..len]))
    }

    /// The position up to which everything was read, to hand to [`Consumer::release`] later.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.read
    }

    /// Everything before `position` is durable; the producer may overwrite it.
    pub fn release(&mut self, position: u64) {
        debug_assert!(position <= self.read);
        self.cursors.released.store(position.min(self.read), Ordering::Release);
    }

    /// Gives up on what is published so far (after [`Corrupt`]); returns the words skipped.
    pub fn skip_to_head(&mut self) -> u64 {
        self.head_seen = self.slots.head.load(Ordering::Acquire);
        let skipped = self.head_seen.wrapping_sub(self.read);
        self.read = self.head_seen;
        self.cursors.read.store(self.read, Ordering::Release);
        skipped
    }

    /// True if nothing is published beyond what was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.head.load(Ordering::Acquire) == self.read
    }

    /// Announces sleep. False if something arrived meanwhile: do not sleep then.
    pub fn prepare_sleep(&mut self) -> bool {
        self.cursors.sleeping.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.is_empty() {
            return true;
        }
        self.cursors.sleeping.store(0, Ordering::Relaxed);
        false
    }

    /// Awake again.
    pub fn wake(&mut self) {
        self.cursors.sleeping.store(0, Ordering::Relaxed);
    }
}
