//! What goes to one shard, the own one included, in order.
//!
//! ```text
//!   datagrams, packets --pass--> [ lower half | upper half ] --> the other shard
//!   what legs say      --say---> [ lower half | upper half ] <-- [ later ]
//! ```
//!
//! What comes from outside may be lost, and has the lower half only (SIP half of that). A leg's
//! word to another may not: where the queue is full it waits outside of it, and a leg's *last*
//! word longest, since whoever never hears it stands, billed, with nobody at the other end.

use std::collections::VecDeque;

use base::Records;

use crate::handoff::Handoff;

/// Words that wait outside of the queue at most.
const LATER_MAX: usize = 4_096;
/// The same with last words, of which a leg has few.
const LAST_MAX: usize = 1 << 17;

#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Records,
    later: VecDeque<Vec<u8>>,
}

impl Outbox {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { queue: Records::new(bytes), later: VecDeque::new() }
    }

    /// A message that may be lost, at most `most` bytes encoded. False if there is no room.
    #[inline]
    pub(crate) fn pass(&mut self, message: &Handoff<'_>, most: usize) -> bool {
        // Media is not lost to what begins calls.
        let eighths = if matches!(message, Handoff::Sip { .. }) { 2 } else { 4 };
        self.pass_within(message, most, eighths)
    }

    /// The same of what goes before other messages from outside: it has some more room.
    pub(crate) fn pass_hurried(&mut self, message: &Handoff<'_>, most: usize) -> bool {
        self.pass_within(message, most, 3)
    }

    /// `eighths` of the queue may be used already.
    #[inline]
    fn pass_within(&mut self, message: &Handoff<'_>, most: usize, eighths: usize) -> bool {
        let used = self.queue.used();
        let room = self.later.is_empty() && used < self.queue.capacity() / 8 * eighths;
        room && self.queue.push_with(most, |out| encode(message, out))
    }

    /// A message whose sender does something else if there is no room.
    pub(crate) fn try_say(&mut self, message: &Handoff<'_>, most: usize) -> bool {
        self.later.is_empty() && self.queue.push_with(most, |out| encode(message, out))
    }

    /// What one leg says to another. False if it is lost.
    pub(crate) fn say(&mut self, message: &Handoff<'_>, most: usize) -> bool {
        if self.try_say(message, most) {
            return true;
        }
        let most_later = if is_last(message) { LAST_MAX } else { LATER_MAX };
        if self.later.len() >= most_later {
            return false;
        }
        let mut bytes = vec![0; most];
        let Some(len) = encode(message, &mut bytes) else { return false };
        bytes.truncate(len);
        self.later.push_back(bytes);
        true
    }

    pub(crate) fn front(&self) -> Option<&[u8]> {
        self.queue.front()
    }

    pub(crate) fn pop(&mut self) {
        self.queue.pop();
        while let Some(first) = self.later.front() {
            if !self.queue.push(first) {
                return;
            }
            self.later.pop_front();
        }
    }
}

/// What no ring between shards holds would stand in front of all that comes behind it for ever.
fn encode(message: &Handoff<'_>, out: &mut [u8]) -> Option<usize> {
    wire::encode(message, out).ok().filter(|len| *len <= wire::ring::RECORD_BYTES_MAX)
}

/// After it the speaker says nothing more to the hearer.
fn is_last(message: &Handoff<'_>) -> bool {
    let Handoff::Leg { message, .. } = message else { return false };
    message.is_last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::PeerMessage;
    use base::{LegId, Mono};
    use wire::event::Cause;

    fn say(outbox: &mut Outbox, number: u32, message: PeerMessage<'_>) -> bool {
        let most = message.bytes_max();
        let from = LegId::new(0, 1, number);
        outbox.say(&Handoff::Leg { to: LegId::new(1, 1, 0), from, at: Mono(0), message }, most)
    }

    #[test]
    fn a_word_that_no_ring_holds_stands_in_nobodys_way() {
        let mut outbox = Outbox::new(1 << 20);
        let sdp = vec![b'a'; wire::ring::RECORD_BYTES_MAX];
        let view = crate::handoff::View::default();
        let progress = PeerMessage::Progress { code: 183, sdp: &sdp, view };
        assert!(!say(&mut outbox, 1, progress), "it is lost, and its speaker knows");
        assert!(outbox.front().is_none());
        assert!(say(&mut outbox, 2, PeerMessage::Left));
        assert!(outbox.front().is_some_and(|front| front.len() < 64));
    }

    #[test]
    fn what_hurries_takes_no_room_of_media_or_of_words() {
        let mut outbox = Outbox::new(64 << 10);
        let bytes = [b'x'; 2_000];
        let hop = base::Hop::datagram(0, ([192, 0, 2, 1], 5_060).into());
        let sip = Handoff::Sip {
            hop,
            arrived: Mono(0),
            standing: crate::transport::guard::Standing::Known,
            by: 0,
            source: hop.to.ip().into(),
            bytes: &bytes,
        };
        let (mut passed, mut hurried) = (0, 0);
        while outbox.pass(&sip, 2_200) {
            passed += 1;
        }
        while outbox.pass_hurried(&sip, 2_200) {
            hurried += 1;
        }
        assert!(passed > 0 && (1..=passed).contains(&hurried), "{passed} {hurried}");
        let (to, from) = (LegId::new(1, 1, 0), LegId::new(0, 1, 0));
        let packet = Handoff::Media { to, from, starts: false, arrived: Mono(0), bytes: &[0; 160] };
        assert!(outbox.pass(&packet, 224), "media has room of its own");
        let digit = PeerMessage::Digit { digit: '1', duration_ms: 100 };
        assert!((0..4_096).all(|number| say(&mut outbox, number, digit.clone())));
    }

    #[test]
    fn a_full_queue_loses_packets_and_no_word() {
        let mut outbox = Outbox::new(4_096);
        let bytes = [0; 160];
        let (to, from) = (LegId::new(1, 1, 0), LegId::new(0, 1, 0));
        let packet = Handoff::Media { to, from, starts: false, arrived: Mono(0), bytes: &bytes };
        let mut passed = 0;
        while outbox.pass(&packet, 224) {
            passed += 1;
        }
        let digit = PeerMessage::Digit { digit: '1', duration_ms: 100 };
        let mut said = 0;
        while said < 10_000 && say(&mut outbox, said, digit.clone()) {
            said += 1;
        }
        assert!((LATER_MAX..10_000).contains(&(said as usize)), "bounded: {said}");
        let ended = PeerMessage::Ended { code: 0, cause: Cause::Normal, reason: "" };
        for number in said..said + 100 {
            assert!(say(&mut outbox, number, ended.clone()), "a last word waits");
        }
        assert!(!outbox.pass(&packet, 224), "nothing overtakes a word");
        let mut next = 0;
        while let Some(front) = outbox.front() {
            match wire::decode(front).unwrap() {
                Handoff::Media { .. } => passed -= 1,
                Handoff::Leg { from, .. } => {
                    assert_eq!(from.index(), next, "in order");
                    next += 1;
                }
                _ => panic!("nothing else was said"),
            }
            outbox.pop();
        }
        assert_eq!((passed, next), (0, said + 100));
    }
}
