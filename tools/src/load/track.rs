//! What one direction of one call received, judged by content: the numbers inside the payload are
//! the sender's own and pass a switch unchanged, whatever it does with RTP sequence numbers and
//! SSRCs.

const WINDOW: u32 = 1_024;
const WORDS: usize = WINDOW as usize / 64;

/// Counts content numbers: each once, seen again, out of order.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    /// One past the highest number heard; 0 before any.
    pub(crate) next: u32,
    pub(crate) unique: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    seen: [u64; WORDS],
}

impl Track {
    pub(crate) const fn new() -> Self {
        Self { next: 0, unique: 0, duplicates: 0, reordered: 0, seen: [0; WORDS] }
    }

    pub(crate) fn hear(&mut self, sequence: u32) {
        if sequence >= self.next {
            let skipped = sequence - self.next;
            for number in (0..skipped.min(WINDOW)).map(|n| sequence - 1 - n) {
                self.mark(number, false);
            }
            self.mark(sequence, true);
            self.next = sequence.saturating_add(1);
            self.unique += 1;
            return;
        }
        if self.next - sequence > WINDOW || self.is_marked(sequence) {
            self.duplicates += 1;
            return;
        }
        self.mark(sequence, true);
        self.unique += 1;
        self.reordered += 1;
    }

    fn mark(&mut self, number: u32, value: bool) {
        let (word, bit) = place(number);
        self.seen[word] = (self.seen[word] & !bit) | if value { bit } else { 0 };
    }

    fn is_marked(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        self.seen[word] & bit != 0
    }
}

fn place(number: u32) -> (usize, u64) {
    let at = number % WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_gaps_copies_and_disorder() {
        let mut track = Track::new();
        for number in [0, 1, 2, 5, 4, 4, 7, 7] {
            track.hear(number);
        }
        assert_eq!((track.unique, track.duplicates, track.reordered), (6, 2, 1));
        assert_eq!(track.next, 8);
    }

    #[test]
    fn numbers_wrap_the_window_cleanly() {
        let mut track = Track::new();
        for number in 0..5_000 {
            track.hear(number);
        }
        track.hear(9_000);
        track.hear(8_999);
        assert_eq!((track.unique, track.duplicates, track.reordered), (5_002, 0, 1));
        assert_eq!(track.next, 9_001);
    }
}
