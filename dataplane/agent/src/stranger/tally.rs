//! What strangers sent and what came back, by kind of flood and by source.

use super::serial_of;

/// Milliseconds of one cell of a source's account.
const CELL_MS: u64 = 100;
/// A window is ten seconds (GOALS.md S4).
const WINDOW: usize = 100;
/// What was asked so many cells before a window may be answered in it.
const LATE: usize = 5;
/// Windows with fewer requests say nothing of a ratio: a first answer may be larger than its
/// request.
const REQUESTS_MIN: u64 = 4;

/// One flood: messages of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    pub sent: u64,
    pub sent_bytes: u64,
    pub answers: u64,
    pub answer_bytes: u64,
    /// Most datagrams that came back for one request.
    pub answers_max: u32,
    /// Largest answer against its request, bytes.
    pub ratio_max: f64,
    /// Answers that are about no request.
    pub strange: u64,
}

impl Count {
    /// Bytes that came back for each one sent.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn bytes_ratio(&self) -> f64 {
        self.answer_bytes as f64 / self.sent_bytes.max(1) as f64
    }
}

/// The source that got most back for what it sent, over ten seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Worst {
    pub source: usize,
    /// Bytes back for each one sent.
    pub ratio: f64,
    /// Bytes that it got beyond what it sent, most of all sources.
    pub excess: u64,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    flood: u32,
    bytes: u32,
    answers: u32,
}

/// Bytes and messages within [`CELL_MS`].
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    sent: u64,
    requests: u64,
    back: u64,
}

/// The account of all strangers. Times are milliseconds since any moment.
#[derive(Debug)]
pub struct Tally {
    floods: Vec<Count>,
    /// By serial number.
    requests: Vec<Request>,
    sources: Vec<Vec<Cell>>,
}

impl Tally {
    #[must_use]
    pub fn new(sources: usize) -> Self {
        Self { floods: Vec::new(), requests: Vec::new(), sources: vec![Vec::new(); sources] }
    }

    /// Another flood begins; its number.
    pub fn begin(&mut self) -> usize {
        self.floods.push(Count::default());
        self.floods.len() - 1
    }

    /// The serial number of the next request.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.requests.len() as u64
    }

    /// The next request was sent, in the flood that began last.
    pub fn sent(&mut self, source: usize, bytes: usize, at_ms: u64) {
        let Some(last) = self.floods.len().checked_sub(1) else { return };
        let flood = u32::try_from(last).unwrap_or(u32::MAX);
        let bytes32 = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.requests.push(Request { flood, bytes: bytes32, answers: 0 });
        self.floods[last].sent += 1;
        self.floods[last].sent_bytes += bytes as u64;
        if let Some(cell) = self.cell(source, at_ms) {
            cell.sent += bytes as u64;
            cell.requests += 1;
        }
    }

    /// Something came back. Answers are counted to the flood of their request.
    pub fn heard(&mut self, source: usize, answer: &[u8], at_ms: u64) {
        if let Some(cell) = self.cell(source, at_ms) {
            cell.back += answer.len() as u64;
        }
        let serial = serial_of(answer).and_then(|serial| usize::try_from(serial).ok());
        let request = serial.and_then(|serial| self.requests.get_mut(serial));
        let flood = match &request {
            Some(request) => usize::try_from(request.flood).ok(),
            None => self.floods.len().checked_sub(1),
        };
        let Some(count) = flood.and_then(|flood| self.floods.get_mut(flood)) else { return };
        count.answers += 1;
        count.answer_bytes += answer.len() as u64;
        let Some(request) = request else {
            count.strange += 1;
            return;
        };
        request.answers += 1;
        count.answers_max = count.answers_max.max(request.answers);
        let bytes = u32::try_from(answer.len()).unwrap_or(u32::MAX);
        count.ratio_max = count.ratio_max.max(f64::from(bytes) / f64::from(request.bytes));
    }

    /// What became of a flood so far.
    #[must_use]
    pub fn count(&self, flood: usize) -> Count {
        self.floods.get(flood).copied().unwrap_or_default()
    }

    /// The worst of all sources, over any ten seconds.
    #[must_use]
    pub fn worst(&self) -> Worst {
        let mut worst = Worst::default();
        for (source, cells) in self.sources.iter().enumerate() {
            for end in 1..=cells.len() {
                let from = end.saturating_sub(WINDOW);
                let asked = &cells[from.saturating_sub(LATE)..end];
                let back: u64 = cells[from..end].iter().map(|cell| cell.back).sum();
                let sent: u64 = asked.iter().map(|cell| cell.sent).sum();
                let requests: u64 = asked.iter().map(|cell| cell.requests).sum();
                worst.excess = worst.excess.max(back.saturating_sub(sent));
                #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
                let ratio = back as f64 / sent.max(1) as f64;
                if requests >= REQUESTS_MIN && ratio > worst.ratio {
                    (worst.source, worst.ratio) = (source, ratio);
                }
            }
        }
        worst
    }

    fn cell(&mut self, source: usize, at_ms: u64) -> Option<&mut Cell> {
        let cells = self.sources.get_mut(source)?;
        let at = usize::try_from(at_ms / CELL_MS).ok()?;
        if cells.len() <= at {
            cells.resize(at + 1, Cell::default());
        }
        cells.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(serial: u64, bytes: usize) -> Vec<u8> {
        let mut text = format!("SIP/2.0 404\r\nv: x;branch=z9hG4bKstranger{serial:x};r\r\n");
        text.extend(core::iter::repeat_n('x', bytes - text.len()));
        text.into_bytes()
    }

    #[test]
    fn answers_are_counted_to_their_requests() {
        let mut tally = Tally::new(2);
        let first = tally.begin();
        tally.sent(0, 100, 0);
        tally.sent(1, 100, 0);
        let second = tally.begin();
        tally.sent(1, 200, 50);
        for (serial, bytes) in [(0, 150), (0, 150), (2, 100)] {
            tally.heard(0, &answer(serial, bytes), 100);
        }
        tally.heard(1, b"?", 100);
        let count = tally.count(first);
        assert_eq!((count.sent, count.answers, count.answers_max), (2, 2, 2));
        assert!((count.ratio_max - 1.5).abs() < 1e-9);
        assert_eq!((tally.count(second).answers, tally.count(second).strange), (2, 1));
    }

    #[test]
    fn the_worst_ten_seconds_are_found() {
        let mut tally = Tally::new(2);
        let _ = tally.begin();
        for turn in 0..600 {
            tally.sent(0, 100, turn * 100);
            let serial = tally.serial() - 1;
            let loud = (300..400).contains(&turn);
            tally.heard(0, &answer(serial, if loud { 150 } else { 60 }), turn * 100 + 1);
        }
        let worst = tally.worst();
        assert_eq!(worst.source, 0);
        assert!((1.4..1.5).contains(&worst.ratio), "{worst:?}");
        assert!(worst.excess > 4_000, "{worst:?}");
    }
}
