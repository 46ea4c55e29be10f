//! The account of one leg's media, and how two of them make the account of a direction.

use std::time::Duration;

use rtp::LossCounters;
use rtp::quality::{CodecImpairment, Observation, rate};

use super::media::TAIL;
use crate::clock::MS;

/// Packets sent this shortly before a hang-up may be overtaken by it.
const CUT_NS: u64 = 30 * MS;
const PTIME: Duration = Duration::from_millis(20);

/// What one leg sent and heard.
#[derive(Clone, Debug)]
pub(crate) struct LegRecord {
    pub(crate) stream: u32,
    /// The stream it heard; 0 for none.
    pub(crate) heard: u32,
    pub(crate) sent: u64,
    pub(crate) send_errors: u64,
    /// When the last packets were sent, by number modulo its length.
    pub(crate) tail: [u64; TAIL],
    /// One past the highest number heard.
    pub(crate) next: u32,
    pub(crate) unique: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupt: u64,
    pub(crate) foreign: u64,
    pub(crate) rtcp: u64,
    /// Loss by RTP sequence numbers: its runs make the burst ratio.
    pub(crate) rtp_gaps: LossCounters,
    pub(crate) jitter_us: u64,
    pub(crate) jitter_max_us: u64,
    pub(crate) delay_mean_ns: u64,
    /// SSRCs accepted; more than one means that the switch did not keep the stream continuous.
    pub(crate) sources: u16,
    /// When the call ended for this leg (BYE sent or received), real-time clock; 0 if it did not.
    pub(crate) ended_ns: u64,
    /// From answer to end.
    pub(crate) talked_ns: u64,
}

/// One direction of one call, told from both ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Heard {
    pub(crate) lost: u64,
    /// Sent while the call was being hung up, and not arrived.
    pub(crate) cut: u64,
    pub(crate) mos: f64,
}

/// Judges what `ear` heard of `mouth`. Without the mouth's account what was lost behind the last
/// packet heard cannot be known.
pub(crate) fn judge(ear: &LegRecord, mouth: Option<&LegRecord>) -> Heard {
    let gaps = u64::from(ear.next).saturating_sub(ear.unique);
    let (mut lost, mut cut) = (gaps, 0);
    if let Some(mouth) = mouth {
        let behind = mouth.sent.saturating_sub(u64::from(ear.next));
        cut = behind.min(sent_at_the_end(mouth, ear));
        lost += behind - cut;
    }
    let loss = LossCounters {
        lost: u32::try_from(lost).unwrap_or(u32::MAX),
        runs: ear.rtp_gaps.runs.max(u32::from(lost > 0)),
        run_packets_max: ear.rtp_gaps.run_packets_max,
    };
    let seen = Observation {
        expected: ear.unique + lost,
        loss,
        jitter: Duration::from_micros(ear.jitter_us),
        one_way: Duration::from_nanos(ear.delay_mean_ns) + PTIME,
    };
    Heard { lost, cut, mos: rate(&seen, CodecImpairment::G711).mos }
}

/// How many of the mouth's last packets left when the call was already ending.
fn sent_at_the_end(mouth: &LegRecord, ear: &LegRecord) -> u64 {
    let end = [mouth.ended_ns, ear.ended_ns].into_iter().filter(|&at| at > 0).min();
    let Some(end) = end else { return 0 };
    let from = end.saturating_sub(CUT_NS);
    mouth.tail.iter().filter(|&&at| at >= from).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(sent: u64, next: u32, unique: u64) -> LegRecord {
        LegRecord {
            stream: 1,
            heard: 2,
            sent,
            send_errors: 0,
            tail: [0; TAIL],
            next,
            unique,
            duplicates: 0,
            reordered: 0,
            corrupt: 0,
            foreign: 0,
            rtcp: 0,
            rtp_gaps: LossCounters { lost: 0, runs: 0, run_packets_max: 0 },
            jitter_us: 0,
            jitter_max_us: 0,
            delay_mean_ns: 0,
            sources: 1,
            ended_ns: 0,
            talked_ns: 0,
        }
    }

    #[test]
    fn what_a_hangup_cut_off_is_not_lost() {
        let mut mouth = leg(100, 0, 0);
        mouth.tail[0] = 1_000 * MS;
        mouth.tail[1] = 980 * MS;
        mouth.tail[2] = 960 * MS;
        let mut ear = leg(0, 97, 97);
        ear.ended_ns = 1_001 * MS;
        let heard = judge(&ear, Some(&mouth));
        assert_eq!((heard.lost, heard.cut), (1, 2));
        assert_eq!(judge(&ear, None).lost, 0);
    }

    #[test]
    fn clean_speech_has_the_best_score() {
        let heard = judge(&leg(0, 500, 500), Some(&leg(500, 0, 0)));
        assert_eq!((heard.lost, heard.cut), (0, 0));
        assert!(heard.mos > 4.3, "{heard:?}");
    }
}
