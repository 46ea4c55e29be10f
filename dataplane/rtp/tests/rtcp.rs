//! Compound packets: written, read back, refused when broken; round trip and interval.

use std::time::Duration;

use base::{Mono, Prng, Wall};
use rtp::rtcp::{
    self, Packet, Peer, Report, ReportBlock, RtcpError, SenderInfo, interval, ntp, parse,
    write_bye, write_report,
};
use rtp::{PacketKind, Ssrc, classify};

const BLOCK: ReportBlock = ReportBlock {
    ssrc: Ssrc(0x1111_2222),
    fraction_lost: 63,
    cumulative_lost: -5,
    highest_sequence: 0x0001_fffe,
    jitter: 80,
    last_sr: 0xaabb_ccdd,
    delay_since_last_sr: 0x0001_8000,
};

const INFO: SenderInfo =
    SenderInfo { ntp: 0x0102_0304_0506_0708, timestamp: 9, packets: 10, octets: 1_600 };

fn report(sender: Option<SenderInfo>, blocks: &[ReportBlock]) -> Report<'_> {
    Report { ssrc: Ssrc(7), sender, blocks, cname: b"tandem" }
}

#[test]
fn a_sender_report_reads_back() {
    let mut out = [0; 256];
    let written = write_report(&report(Some(INFO), &[BLOCK]), &mut out).unwrap();
    let bytes = &out[..written];
    assert_eq!(classify(bytes), PacketKind::Rtcp);
    assert_eq!(&bytes[..4], [0x81, 200, 0, 12], "V=2, one block, SR, 13 words");
    let packets: Vec<Packet<'_>> = parse(bytes).unwrap().collect();
    let [Packet::SenderReport { ssrc, info, blocks }, Packet::Sdes(chunks)] = packets[..] else {
        panic!("{packets:?}")
    };
    assert_eq!((ssrc, info), (Ssrc(7), INFO));
    assert_eq!(blocks.about(Ssrc(0x1111_2222)), Some(BLOCK));
    assert_eq!(blocks.about(Ssrc(1)), None);
    assert_eq!(rtcp::cname(chunks, Ssrc(7)), Some(&b"tandem"[..]));
    assert_eq!(rtcp::cname(chunks, Ssrc(8)), None);
}

#[test]
fn a_receiver_report_and_a_bye_read_back() {
    let mut out = [0; 256];
    let written = write_bye(&report(None, &[]), &mut out).unwrap();
    let packets: Vec<Packet<'_>> = parse(&out[..written]).unwrap().collect();
    assert!(matches!(packets[0], Packet::ReceiverReport { ssrc: Ssrc(7), .. }));
    assert!(packets[2].ends(Ssrc(7)) && !packets[2].ends(Ssrc(8)));
    assert!(!packets[0].ends(Ssrc(7)));
}

#[test]
fn every_cname_length_is_padded_to_a_word() {
    let name = [b'x'; 256];
    for length in 0..=255 {
        let mut out = [0; 512];
        let cname = &name[..length];
        let one = Report { ssrc: Ssrc(7), sender: None, blocks: &[], cname };
        let written = write_report(&one, &mut out).unwrap();
        assert_eq!(written % 4, 0);
        let Some(Packet::Sdes(chunks)) = parse(&out[..written]).unwrap().nth(1) else { panic!() };
        assert_eq!(rtcp::cname(chunks, Ssrc(7)), Some(cname));
        assert_eq!(write_report(&one, &mut out[..written - 1]), None, "no room");
    }
    let too_long = Report { ssrc: Ssrc(7), sender: None, blocks: &[], cname: &name };
    assert_eq!(write_report(&too_long, &mut [0; 512]), None);
    assert_eq!(write_report(&report(None, &[BLOCK; 32]), &mut [0; 2_048]), None);
    assert!(write_report(&report(None, &[BLOCK; 31]), &mut [0; 2_048]).is_some());
}

#[test]
fn cumulative_loss_keeps_its_sign_and_saturates() {
    for (written, read) in
        [(0, 0), (-1, -1), (0x7f_ffff, 0x7f_ffff), (0x80_0000, 0x7f_ffff), (-0x90_0000, -0x80_0000)]
    {
        let mut out = [0; 256];
        let block = ReportBlock { cumulative_lost: written, ..BLOCK };
        let length = write_report(&report(None, &[block]), &mut out).unwrap();
        let Some(Packet::ReceiverReport { blocks, .. }) = parse(&out[..length]).unwrap().next()
        else {
            panic!()
        };
        let got = blocks.iter().next().unwrap();
        assert_eq!((got.cumulative_lost, got.fraction_lost), (read, 63));
    }
}

#[test]
fn packets_we_do_not_terminate_are_passed_over() {
    let mut bytes = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
    bytes.extend([0x80, 207, 0, 2, 0, 0, 0, 7, 1, 2, 3, 4]);
    bytes.extend([0x81, 205, 0, 3, 0, 0, 0, 7, 0, 0, 0, 8, 0, 1, 0, 0]);
    bytes.extend([0x81, 206, 0, 2, 0, 0, 0, 7, 0, 0, 0, 8]);
    bytes.extend([0x81, 204, 0, 2, 0, 0, 0, 7, b'n', b'a', b'm', b'e']);
    bytes.extend([0xa1, 203, 0, 3, 0, 0, 0, 7, 2, b'o', b'k', 0, 0, 0, 0, 4]);
    let packets: Vec<Packet<'_>> = parse(&bytes).unwrap().collect();
    assert_eq!(packets.len(), 6);
    assert!(matches!(packets[1], Packet::Extended { ssrc: Ssrc(7), blocks: [1, 2, 3, 4] }));
    assert!(matches!(packets[2], Packet::Feedback { payload_specific: false, format: 1, .. }));
    assert!(matches!(packets[3], Packet::Feedback { payload_specific: true, .. }));
    assert!(matches!(packets[4], Packet::Other { packet_type: 204, .. }));
    assert!(matches!(packets[5], Packet::Bye { reason: b"ok", .. }), "padding is not reason");
}

#[test]
fn broken_compounds_are_refused_whole() {
    let rr = [0x80, 201, 0, 1, 0, 0, 0, 7];
    let with = |tail: &[u8]| [&rr[..], tail].concat();
    let table = [
        (vec![], RtcpError::Short),
        (vec![0x80, 201, 0], RtcpError::Short),
        (vec![0x80, 201, 0, 2, 0, 0, 0, 7], RtcpError::Short),
        (vec![0x40, 201, 0, 0], RtcpError::BadVersion),
        (vec![0x80, 100, 0, 0], RtcpError::BadType),
        (with(&[0x80, 201]), RtcpError::Short),
        (with(&[0x80, 191, 0, 0]), RtcpError::BadType),
        ([&[0x81, 202, 0, 1, 0, 0, 0, 7][..], &rr].concat(), RtcpError::BadType),
        (vec![0x81, 201, 0, 1, 0, 0, 0, 7], RtcpError::BadCount),
        (vec![0x80, 200, 0, 1, 0, 0, 0, 7], RtcpError::BadCount),
        (vec![0x82, 203, 0, 1, 0, 0, 0, 7], RtcpError::BadCount),
        (vec![0x80, 201, 0, 0], RtcpError::BadCount),
        (vec![0xa0, 201, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0], RtcpError::BadPadding),
        (vec![0xa0, 201, 0, 2, 0, 0, 0, 7, 0, 0, 0, 3], RtcpError::BadPadding),
        (vec![0xa0, 201, 0, 2, 0, 0, 0, 7, 0, 0, 0, 12], RtcpError::BadPadding),
        (vec![0xa0, 201, 0, 0], RtcpError::BadPadding),
        ([&[0xa0, 201, 0, 2, 0, 0, 0, 7, 0, 0, 0, 4][..], &rr].concat(), RtcpError::BadPadding),
    ];
    for (bytes, error) in table {
        assert_eq!(parse(&bytes).err(), Some(error), "{bytes:02x?}");
    }
    assert!(parse(&[0x81, 206, 0, 2, 0, 0, 0, 7, 0, 0, 0, 8]).is_ok(), "reduced size (RFC 5506)");
}

/// The figures of RFC 3550 section 6.4.1, figure 2: the answer is 6.125 s.
#[test]
fn round_trip_of_the_rfcs_example() {
    // A = 0xb710:8000 (46864.500 s) less LSR 0xb705:2000 (46853.125 s) less DLSR 5.250 s.
    let block = ReportBlock { last_sr: 0xb705_2000, delay_since_last_sr: 0x0005_4000, ..BLOCK };
    let seconds_1900 = (0x1_0000_u64 * 50_000) + 0xb710;
    let wall = Wall((seconds_1900 - 2_208_988_800) * 1_000_000 + 500_000);
    assert_eq!(rtcp::ntp_middle(ntp(wall)), 0xb710_8000);
    assert_eq!(block.round_trip(wall), Some(Duration::from_millis(6_125)));
    assert_eq!(ReportBlock { last_sr: 0, ..block }.round_trip(wall), None);
    let future = ReportBlock { delay_since_last_sr: 0x0100_0000, ..block };
    assert_eq!(future.round_trip(wall), None, "an echo from the future is no measurement");
}

#[test]
fn two_ends_measure_the_round_trip_between_them() {
    let one_way = Duration::from_millis(40);
    let start = Wall(1_790_000_000_000_000);
    let wall = |passed: Duration| Wall(start.0 + u64::try_from(passed.as_micros()).unwrap());
    let (mut a, mut b) = (Peer::default(), Peer::default());
    assert_eq!(b.last_sr(Mono(5)), (0, 0));
    let mut out = [0; 256];
    let sr = SenderInfo { ntp: ntp(start), ..INFO };
    let length = write_report(&report(Some(sr), &[]), &mut out).unwrap();
    let arrived = Mono(0) + one_way;
    b.handle(parse(&out[..length]).unwrap(), Ssrc(9), None, (arrived, wall(one_way)));
    let hold = Duration::from_millis(1_500);
    let (last_sr, delay_since_last_sr) = b.last_sr(arrived + hold);
    let block = ReportBlock { ssrc: Ssrc(7), last_sr, delay_since_last_sr, ..BLOCK };
    let answer = Report { ssrc: Ssrc(9), sender: None, blocks: &[block], cname: b"b" };
    let length = write_bye(&answer, &mut out).unwrap();
    let back = one_way * 2 + hold;
    let at = (Mono(0) + back, wall(back));
    assert!(a.handle(parse(&out[..length]).unwrap(), Ssrc(7), Some(Ssrc(9)), at), "BYE seen");
    let trip = a.round_trip().unwrap();
    let error = trip.abs_diff(one_way * 2);
    assert!(error < Duration::from_micros(50), "{trip:?}");
    assert_eq!(a.report().unwrap().fraction_lost, 63);
    assert_eq!(b.report(), None);
}

#[test]
fn the_interval_is_five_seconds_spread_by_half() {
    let ms = Duration::from_millis;
    assert_eq!(interval(0), ms(2_500));
    assert!(interval(u64::MAX) < ms(7_500) && interval(u64::MAX) > ms(7_499));
    assert_eq!(interval(1 << 63), ms(5_000));
    let mut random = Prng::new(3);
    let sum: Duration = (0..10_000).map(|_| interval(random.u64())).sum();
    assert!(sum.abs_diff(ms(5_000) * 10_000) < ms(50) * 10_000);
}

#[test]
fn ntp_counts_from_1900() {
    assert_eq!(ntp(Wall(0)), 2_208_988_800 << 32);
    assert_eq!(ntp(Wall(500_000)) & 0xffff_ffff, 1 << 31);
    let era_1 = Wall(2_085_978_496_000_000);
    assert_eq!(ntp(era_1), 0, "2036-02-07 06:28:16 UTC");
}
