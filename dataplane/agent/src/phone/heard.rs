//! What a phone heard.

use std::collections::{BTreeMap, BTreeSet};

use base::Mono;
use rtp::Header;

use crate::voice::{Said, Sound};

/// What one speaker's packets looked like when they arrived.
#[derive(Clone, Debug, Default)]
pub struct StreamHeard {
    pub packets: u64,
    /// Number of the newest packet.
    pub newest: u32,
    /// Packets that came after a newer one.
    pub late: u64,
    /// Packets that came again.
    pub again: u64,
    pub first_at: Mono,
    pub last_at: Mono,
    /// Numbers seen, the newest 64.
    seen: u64,
}

/// Everything a phone heard.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// By (group, stream).
    pub streams: BTreeMap<(u32, u32), StreamHeard>,
    pub packets: u64,
    /// G.711 silence.
    pub silence: u64,
    /// Neither silence nor a phone: tones.
    pub tone: u64,
    /// Packets whose content was not what was sent, or not in the codec of their payload type.
    pub damaged: u64,
    /// Of the damaged: a phone's packets in another coding than their payload type says.
    pub wrong_codec: u64,
    /// Packets from elsewhere than the description said.
    pub foreign: u64,
    /// Packets whose payload type was not in force.
    pub foreign_payload: u64,
    /// The same.
    pub bad_payload_type: u64,
    /// Packets that came while this side's direction did not receive.
    pub unwanted: u64,
    /// Comfort noise (RFC 3389).
    pub comfort: u64,
    pub ssrcs: Vec<u32>,
    /// Sequence numbers that were skipped, and times that ran backwards, in the outgoing stream as
    /// a whole.
    pub sequence_jumps: u64,
    pub timestamp_backwards: u64,
    pub payload_types: BTreeSet<u8>,
    pub sender_reports: u64,
    pub receiver_reports: u64,
    /// By RFC 4733.
    pub digits: String,
    pub last_at: Mono,
    last: Option<(u16, u32)>,
}

impl Heard {
    pub(super) fn numbers(&mut self, header: &Header) {
        self.packets += 1;
        self.payload_types.insert(header.pt);
        if !self.ssrcs.contains(&header.ssrc.0) {
            self.ssrcs.push(header.ssrc.0);
        }
        if let Some((seq, timestamp)) = self.last {
            self.sequence_jumps += u64::from(header.seq != seq.wrapping_add(1));
            let step = header.timestamp.wrapping_sub(timestamp);
            self.timestamp_backwards += u64::from(step > u32::MAX / 2);
        }
        self.last = Some((header.seq, header.timestamp));
    }

    pub(super) fn sound(&mut self, now: Mono, sound: Sound) {
        match sound {
            Sound::Voice(Said { group, stream, index }) => {
                self.streams.entry((group, stream)).or_default().take(index, now);
            }
            Sound::OtherCodec(_) => {
                self.damaged += 1;
                self.wrong_codec += 1;
            }
            Sound::Silence => self.silence += 1,
            Sound::Tone => self.tone += 1,
            Sound::Damaged => self.damaged += 1,
        }
    }

    /// Packets of other phones.
    #[must_use]
    pub fn voice(&self) -> u64 {
        self.streams.values().map(|stream| stream.packets).sum()
    }
}

impl StreamHeard {
    fn take(&mut self, index: u32, now: Mono) {
        if self.packets == 0 {
            (self.first_at, self.newest, self.seen) = (now, index, 1);
        } else if index > self.newest {
            let step = index - self.newest;
            self.seen = self.seen.checked_shl(step).unwrap_or(0) | 1;
            self.newest = index;
        } else {
            let back = self.newest - index;
            let bit = 1_u64.checked_shl(back).unwrap_or(0);
            self.again += u64::from(self.seen & bit != 0);
            self.late += u64::from(self.seen & bit == 0);
            self.seen |= bit;
        }
        self.packets += 1;
        self.last_at = now;
    }
}
