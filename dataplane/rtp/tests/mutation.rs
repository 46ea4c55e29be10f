//! Seeded bytes: no datagram panics, no stream goes back.

use base::Prng;
use rtp::fuzz;
use rtp::rtcp::{Report, ReportBlock, SenderInfo, write_bye};
use rtp::{Rewrite, Ssrc, write_header};

fn byte(random: &mut Prng) -> u8 {
    random.u64().to_le_bytes()[0]
}

fn below(random: &mut Prng, end: usize) -> usize {
    usize::try_from(random.below(end.max(1) as u64)).unwrap()
}

#[test]
fn forty_thousand_mutated_datagrams_do_no_harm() {
    let mut rtcp = vec![0; 512];
    let blocks = [ReportBlock { ssrc: Ssrc(1), last_sr: 5, ..ReportBlock::default() }; 3];
    let report = Report {
        ssrc: Ssrc(2),
        sender: Some(SenderInfo::default()),
        blocks: &blocks,
        cname: b"someone@192.0.2.1",
    };
    let length = write_bye(&report, &mut rtcp).unwrap();
    rtcp.truncate(length);
    let mut rtp = vec![0x55; 60];
    let fields = Rewrite { marker: true, pt: 101, seq: 1, timestamp: 2, ssrc: Ssrc(3) };
    write_header(&mut rtp, &fields).unwrap();
    let mut random = Prng::new(0x00c0_ffee);
    for round in 0..40_000 {
        let mut bytes = if round % 2 == 0 { rtp.clone() } else { rtcp.clone() };
        for _ in 0..=below(&mut random, 5) {
            let at = below(&mut random, bytes.len());
            match below(&mut random, 4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte(&mut random)),
                2 if !bytes.is_empty() => bytes[0] = 0x80 | (byte(&mut random) & 0x3f),
                _ if !bytes.is_empty() => bytes[at] = byte(&mut random),
                _ => {}
            }
        }
        fuzz::datagram(&bytes);
    }
}

#[test]
fn twenty_thousand_random_streams_go_upwards() {
    let mut random = Prng::new(0x005e_9d3e);
    for _ in 0..20_000 {
        let length = below(&mut random, 200);
        let bytes: Vec<u8> = (0..length).map(|_| byte(&mut random)).collect();
        fuzz::stream(&bytes);
    }
}
