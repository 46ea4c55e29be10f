//! The express way does what the general one does: the same packets through both leave the same
//! packets, streams and counters.

use core::net::SocketAddr;
use core::time::Duration;

use base::{LegId, Prng};
use sdp::Direction;
use wire::counter::Counter;

use super::bed::*;

/// A source whose packets are mostly in order.
struct Talker {
    seq: u16,
    timestamp: u32,
    ssrc: u32,
    source: SocketAddr,
}

impl Talker {
    /// Its next packet, or something that happens on the way.
    fn speak(&mut self, random: &mut Prng) -> (SocketAddr, Vec<u8>) {
        let step = match random.below(40) {
            0 => 0,
            1 => u16::MAX,
            2 => 3,
            3 => 0xfff0,
            4 => 5_000,
            _ => 1,
        };
        self.seq = self.seq.wrapping_add(step);
        self.timestamp = self.timestamp.wrapping_add(u32::from(step) * 160);
        if random.chance(1, 100) {
            self.ssrc += 1;
        }
        if random.chance(1, 100) {
            self.timestamp = random.u32();
        }
        let payload_type = [0, 0, 0, 0, 0, 0, 0, 8, 101, 72, 13];
        let pt = payload_type[usize::try_from(random.below(11)).unwrap()];
        let bytes = usize::try_from(random.below(40)).unwrap();
        let mut bytes = packet(pt, self.seq, self.ssrc, &vec![0x55; bytes]);
        bytes[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        match random.below(30) {
            0 => bytes[1] |= 0x80,
            // Padding, an extension, a source that contributes, another version.
            1 => bytes[0] |= 0x20,
            2 => bytes[0] |= 0x10,
            3 => bytes[0] |= 1,
            4 => bytes[0] = 0x40,
            5 => bytes.truncate(11),
            _ => {}
        }
        let stranger = SocketAddr::from(([198, 51, 100, 7], 4_000));
        (if random.chance(1, 30) { stranger } else { self.source }, bytes)
    }
}

fn beds() -> [Bed; 2] {
    [false, true].map(|is_general| {
        let formats = [(ULAW, 0), (ALAW, 8), (EVENT, 101)];
        let mut bed = Bed::joined(&formats);
        bed.is_general = is_general;
        bed
    })
}

fn talker(leg: LegId) -> Talker {
    Talker { seq: 65_000, timestamp: 7, ssrc: leg.index(), source: home(leg) }
}

#[test]
fn the_express_way_does_what_the_general_one_does() {
    let mut relayed = 0;
    for seed in 0..60 {
        let (mut random, mut beds) = (Prng::new(seed), beds());
        let mut talkers = [talker(A), talker(B)];
        for _ in 0..400 {
            let speaks = usize::from(random.chance(1, 2));
            let leg = [A, B][speaks];
            let (source, bytes) = talkers[speaks].speak(&mut random);
            let (joins, rests) = (random.chance(1, 60), random.chance(1, 60));
            let (described, millis) = (random.chance(1, 30), random.below(30));
            let fresh = random.chance(1, 2);
            // Back and forth: what is held for long passes nothing.
            let direction = match random.below(8) {
                0 => Direction::Inactive,
                1 => Direction::SendOnly,
                _ => Direction::SendRecv,
            };
            let sent = beds.each_mut().map(|bed| {
                if joins {
                    bed.join(A, B);
                }
                if rests {
                    bed.with(|media, _| media.disconnect(leg));
                }
                if described {
                    let formats = [(ULAW, 0), (EVENT, 101)];
                    let mut plan = plan_to(home(leg), &formats);
                    plan.direction = direction;
                    bed.describe(leg, plan, fresh);
                }
                bed.now = bed.now.later(Duration::from_millis(millis));
                bed.hear_from(source, leg, &bytes)
            });
            let [express, general] = sent.map(|sent| format!("{sent:?}"));
            assert_eq!(express, general, "seed {seed}: {bytes:?} from {source}");
            for leg in [A, B] {
                let [express, general] =
                    beds.each_ref().map(|bed| format!("{:?}", bed.media.stream(leg)));
                assert_eq!(express, general, "seed {seed}: {bytes:?} from {source}");
            }
        }
        let [express, general] = &beds;
        assert_eq!(format!("{:?}", express.core.counters), format!("{:?}", general.core.counters));
        relayed += express.counted(Counter::RtpRelayed);
    }
    assert!(relayed > 3_000, "{relayed}: hardly anything was passed on");
}
