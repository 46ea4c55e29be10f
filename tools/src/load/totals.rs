//! What a role counts.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

/// Counts of one role over the run.
#[derive(Clone, Debug)]
pub(crate) struct Totals {
    pub(crate) attempted: u64,
    pub(crate) answered: u64,
    /// Final code (408 for no response) to count.
    pub(crate) failed: BTreeMap<u16, u64>,
    pub(crate) cancelled: u64,
    /// The answer crossed our CANCEL.
    pub(crate) cancel_crossed: u64,
    /// Cancelled because nobody answered in time.
    pub(crate) unanswered: u64,
    /// 200 sent, no ACK for 32 s.
    pub(crate) unacknowledged: u64,
    pub(crate) bye_unanswered: u64,
    pub(crate) bye_refused: BTreeMap<u16, u64>,
    pub(crate) ended_by_peer: u64,
    /// Calls of the callee that nobody had ended when the caller was through.
    pub(crate) left_standing: u64,
    pub(crate) without_sdp: u64,
    pub(crate) reinvites: u64,
    pub(crate) options: u64,
    pub(crate) messages: u64,
    pub(crate) retransmissions: u64,
    pub(crate) retransmissions_heard: u64,
    pub(crate) unparsed: u64,
    pub(crate) unknown_dialog: u64,
    /// Calls not placed because as many stood as were allowed.
    pub(crate) held_back: u64,
    /// Calls not placed because this tool was late.
    pub(crate) missed: u64,
    pub(crate) talk_ns: u128,
    /// Talk time with each call rounded up to the second.
    pub(crate) talk_s_ceil: u64,
    /// INVITE to 200, microseconds.
    pub(crate) setup_us: Histogram<u64>,
    /// INVITE to the first 18x, microseconds.
    pub(crate) ring_us: Histogram<u64>,
}

impl Totals {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, 600_000_000, 3);
        Ok(Self {
            attempted: 0,
            answered: 0,
            failed: BTreeMap::new(),
            cancelled: 0,
            cancel_crossed: 0,
            unanswered: 0,
            unacknowledged: 0,
            bye_unanswered: 0,
            bye_refused: BTreeMap::new(),
            ended_by_peer: 0,
            left_standing: 0,
            without_sdp: 0,
            reinvites: 0,
            options: 0,
            messages: 0,
            retransmissions: 0,
            retransmissions_heard: 0,
            unparsed: 0,
            unknown_dialog: 0,
            held_back: 0,
            missed: 0,
            talk_ns: 0,
            talk_s_ceil: 0,
            setup_us: histogram()?,
            ring_us: histogram()?,
        })
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}
