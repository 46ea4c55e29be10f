//! The room's rules, one behaviour a test.

use core::net::SocketAddr;
use core::time::Duration;

use base::{Flow, LegId, MediaPort, Mono};
use rtp::telephone_event::{Event, code};
use sdp::{Codec, Direction, MediaTarget};
use wire::counter::Counter;

use super::bed::*;
use super::latch::Latch;
use super::{Notice, Play, Source, Stream};
use crate::handoff::Handoff;

const SECOND: Duration = Duration::from_secs(1);
const PTIME: Duration = Duration::from_millis(20);

fn stream(bed: &Bed, leg: LegId) -> &Stream {
    bed.media.stream(leg).unwrap()
}

/// The description of a leg at home, with a change.
fn changed(leg: LegId, formats: &[(Codec, u8)], change: impl FnOnce(&mut sdp::Plan)) -> sdp::Plan {
    let mut plan = plan_to(home(leg), formats);
    change(&mut plan);
    plan
}

/// A packet of a digit: event `code`, this long so far.
fn event(code: u8, end: bool, duration: u16, seq: u16) -> Vec<u8> {
    let mut bytes = packet(101, seq, 7, &Event { code, end, volume: 10, duration }.to_bytes());
    rtp::set_timestamp(&mut bytes, 9_000);
    bytes
}

fn digits_of(sent: &[Sent]) -> Vec<(u16, Event)> {
    let read = |sent: &Sent| {
        let header = sent.header();
        (header.pt == 101).then(|| (header.seq, Event::parse(sent.payload()).unwrap()))
    };
    sent.iter().filter_map(read).collect()
}

mod joins {
    use super::*;

    #[test]
    fn two_legs_hear_each_other_as_one_continuous_stream() {
        let mut bed = Bed::joined(&[(ULAW, 0)]);
        let sent = bed.speak(A, 0, 500, 10);
        assert_eq!(sent.len(), 10);
        let first = sent[0].header();
        assert!(first.marker);
        for (at, sent) in (0..).zip(&sent) {
            let header = sent.header();
            assert_eq!(header.seq, first.seq + at);
            assert_eq!(header.timestamp, first.timestamp + u32::from(at) * 160);
            assert_eq!(header.ssrc, first.ssrc);
            assert_eq!((sent.to, sent.from), (home(B), stream(&bed, B).port));
        }
        assert_eq!(bed.speak(B, 0, 9, 10).len(), 10);
        let a = stream(&bed, A);
        assert_eq!((a.relayed, a.relayed_bytes), (10, 1_600));
        assert_eq!(bed.frames_out(), 0);
    }

    #[test]
    fn an_ended_legs_slot_hears_nothing_of_its_predecessors_join() {
        let mut bed = Bed::joined(&[(ULAW, 0)]);
        bed.with(|media, cx| media.close(cx, B));
        assert!(bed.speak(A, 0, 0, 3).is_empty());
        let next = LegId::new(0, 2, B.index());
        bed.open(next, &[(ULAW, 0)]);
        assert!(bed.speak(A, 0, 3, 3).is_empty());
        // Not even if it is to hear A: A has not said that it speaks to it.
        bed.connect(next, A);
        assert!(bed.speak(A, 0, 6, 3).is_empty());
        assert_eq!(bed.counted(Counter::DiscardRtpForeign), 9);
        assert_eq!(stream(&bed, A).relayed, 0);
        bed.connect(A, next);
        assert_eq!(bed.speak(A, 0, 9, 3).len(), 3);
    }

    #[test]
    fn a_leg_hears_one_source_only() {
        let mut bed = Bed::joined(&[(ULAW, 0)]);
        bed.open(C, &[(ULAW, 0)]);
        bed.connect(C, A);
        // C speaks to A, who hears B.
        assert!(bed.speak(C, 0, 0, 3).is_empty());
        assert_eq!(bed.speak(B, 0, 0, 3).len(), 3);
        bed.connect(A, C);
        assert!(bed.speak(B, 0, 3, 3).is_empty());
        assert_eq!(bed.speak(C, 0, 3, 3).len(), 3);
        assert_eq!(stream(&bed, A).source(), Source::Leg(C));
    }

    #[test]
    fn an_id_of_an_earlier_leg_touches_nothing() {
        let mut bed = Bed::joined(&[(ULAW, 0)]);
        let old = LegId::new(0, 9, A.index());
        bed.with(|media, cx| {
            media.close(cx, old);
            media.disconnect(old);
            media.play(cx, old, Play::Ringback);
            assert!(!media.send_digit(cx, old, '1', 100));
            media.set_plan(cx, old, sdp::Plan::default(), None, true);
        });
        assert!(bed.media.stream(old).is_none() && bed.media.summary(old).is_none());
        assert!(bed.media.stream(LegId::NONE).is_none());
        assert_eq!(bed.speak(A, 0, 0, 3).len(), 3);
        assert_eq!(bed.speak(B, 0, 0, 3).len(), 3);
    }

    #[test]
    fn a_disconnected_leg_neither_speaks_nor_hears() {
        let mut bed = Bed::joined(&[(ULAW, 0)]);
        bed.with(|media, _| media.disconnect(A));
        assert!(bed.speak(A, 0, 0, 3).is_empty() && bed.speak(B, 0, 0, 3).is_empty());
        assert_eq!(bed.counted(Counter::DiscardRtpUnjoined), 3);
        assert_eq!(stream(&bed, A).source(), Source::Nothing);
    }

    #[test]
    fn a_leg_of_another_shard_is_sent_copies_and_sends_what_it_is_sent() {
        let mut bed = Bed::new();
        bed.open(A, &[(ULAW, 0)]);
        let theirs = plan(&[(ALAW, 8)]);
        bed.with(|media, _| media.connect(A, FAR, &theirs));
        assert!(bed.speak(A, 0, 70, 1).is_empty());
        let copy = bed.core.handoffs[1].front().unwrap().to_vec();
        let Handoff::Media { to, from, starts, arrived, bytes } = wire::decode(&copy).unwrap()
        else {
            panic!("no media")
        };
        assert_eq!((to, from, starts, bytes.len()), (FAR, A, true, 172));
        assert_eq!(arrived, bed.now.mono - Duration::from_millis(20));
        let header = rtp::Header::parse(bytes).unwrap();
        // Payload type and payload are the receiver's already.
        assert_eq!((header.pt, header.seq, bytes[12]), (8, 70, 0xf3));
        let back = packet(0, 5, 1, &[0; 160]);
        bed.with(|media, cx| media.handle_far(cx, (A, FAR), true, arrived, &back));
        assert_eq!(bed.sent().len(), 1);
        let other = LegId::new(1, 1, 1);
        bed.with(|media, cx| media.handle_far(cx, (A, other), true, arrived, &back));
        assert!(bed.sent().is_empty());
        bed.pass(Duration::from_secs(2));
        bed.with(|media, cx| media.handle_far(cx, (A, FAR), true, arrived, &back));
        assert_eq!(bed.counted(Counter::DiscardRtpOld), 1, "it waited too long on its way");
        assert_eq!(bed.counted(Counter::DiscardRtpForeign), 1);
        assert_eq!(bed.frames_out(), 0);
    }

    #[test]
    fn a_source_whose_first_packet_was_lost_between_shards_begins_with_the_next() {
        let mut bed = Bed::new();
        bed.open(A, &[(ULAW, 0)]);
        let theirs = plan(&[(ULAW, 0)]);
        bed.with(|media, _| media.connect(A, FAR, &theirs));
        let (to, from, bytes) = (FAR, A, &[0; 172]);
        let packet = Handoff::Media { to, from, starts: false, arrived: Mono(0), bytes };
        while bed.core.handoffs[1].pass(&packet, 236) {}
        bed.speak(A, 0, 0, 2);
        assert_eq!(bed.counted(Counter::DiscardHandoffFull), 2);
        assert_eq!(stream(&bed, A).relayed, 0);
        while bed.core.handoffs[1].front().is_some() {
            bed.core.handoffs[1].pop();
        }
        bed.speak(A, 0, 2, 2);
        let begins = |bytes: &[u8]| match wire::decode(bytes) {
            Ok(Handoff::Media { starts, .. }) => starts,
            _ => panic!("no media"),
        };
        assert!(begins(bed.core.handoffs[1].front().unwrap()));
        bed.core.handoffs[1].pop();
        assert!(!begins(bed.core.handoffs[1].front().unwrap()));
    }

    #[test]
    fn a_port_rests_when_its_leg_is_over() {
        let mut bed = Bed::new();
        let spare = bed.media.spare();
        bed.open(A, &[(ULAW, 0)]);
        let port = stream(&bed, A).port;
        assert_eq!((bed.media.used(), bed.media.spare()), (1, spare - 1));
        bed.with(|media, cx| media.close(cx, A));
        assert_eq!(bed.media.used(), 0);
        bed.hear_at(home(A), port, &packet(0, 0, 1, &[0; 160]));
        assert_eq!(bed.counted(Counter::DiscardRtpPort), 1);
    }

    #[test]
    fn no_port_no_stream() {
        let mut bed = Bed::new();
        let opened = (0..8)
            .filter(|index| {
                let leg = LegId::new(0, 1, *index);
                bed.with(|media, cx| media.open(cx, leg, 0, home(leg).ip()))
            })
            .count();
        assert_eq!(opened, 4);
        let elsewhere = bed.with(|media, cx| media.open(cx, FAR, 0, home(FAR).ip()));
        assert!(!elsewhere);
    }
}

mod formats {
    use super::*;

    #[test]
    fn payload_types_are_translated_and_foreign_ones_dropped() {
        let mut bed = Bed::new();
        bed.open(A, &[(ULAW, 0), (G722, 9)]);
        bed.open(B, &[(G722, 96), (ULAW, 0)]);
        bed.join(A, B);
        assert_eq!(bed.speak(A, 9, 0, 1)[0].header().pt, 96);
        assert!(bed.speak(A, 18, 1, 1).is_empty());
        assert_eq!(bed.counted(Counter::DiscardRtpPayload), 1);
        assert_eq!(stream(&bed, A).undeliverable, 0);
    }

    #[test]
    fn the_two_laws_are_turned_into_each_other_payload_only() {
        let mut bed = Bed::new();
        bed.open(A, &[(ULAW, 0)]);
        bed.open(B, &[(ALAW, 8)]);
        bed.join(A, B);
        // One CSRC, an extension of one word, four bytes of padding: none of them is sound.
        let mut bytes = packet(0, 1, 1, &[]);
        bytes[0] |= 0x31;
        bytes.extend([0xff; 4]);
        bytes.extend([0xbe, 0xde, 0, 1, 0xff, 0xff, 0xff, 0xff]);
        bytes.extend([0xff, 0x80, 0x00]);
        bytes.extend([0xff, 0xff, 0xff, 4]);
        let sent = bed.hear(A, &bytes);
        assert_eq!(sent[0].header().pt, 8);
        assert_eq!(sent[0].bytes[12..24], bytes[12..24]);
        assert_eq!(sent[0].payload(), [0xd5, 0xaa, 0x2a]);
        assert_eq!(sent[0].bytes[27..], bytes[27..]);
        // The second packet goes the plain way no more than the first did.
        assert_eq!(bed.hear(A, &packet(0, 2, 1, &[0xff; 160]))[0].payload(), [0xd5; 160]);
        assert_eq!(bed.speak(B, 8, 0, 2)[1].payload(), [0xfe; 160]);
        assert_eq!(stream(&bed, A).relayed, 2);
    }

    #[test]
    fn sound_that_the_listener_cannot_hear_is_counted_as_undeliverable() {
        let mut bed = Bed::new();
        bed.open(A, &[(G722, 9), (ULAW, 0), (EVENT, 101)]);
        bed.open(B, &[(ULAW, 0)]);
        bed.join(A, B);
        assert!(bed.speak(A, 9, 0, 7).is_empty());
        bed.hear(A, &event(1, false, 160, 7));
        let a = stream(&bed, A);
        assert_eq!((a.undeliverable, a.relayed), (7, 0));
        assert_eq!(bed.speak(A, 0, 8, 2).len(), 2);
        // Other formats, another count.
        bed.connect(A, B);
        assert_eq!(stream(&bed, A).undeliverable, 0);
    }

    #[test]
    fn the_stream_runs_at_the_clock_of_the_format_in_use() {
        let mut bed = Bed::new();
        bed.open(A, &[(OPUS, 111), (ULAW, 0), (EVENT_48, 110), (EVENT, 101)]);
        assert_eq!(stream(&bed, A).sender.clock_hz(), 48_000);
        bed.open(B, &[(ULAW, 0)]);
        bed.join(A, B);
        assert_eq!(stream(&bed, A).sender.clock_hz(), 8_000);
        bed.with(|media, _| media.disconnect(A));
        bed.with(|media, cx| media.play(cx, A, Play::Ringback));
        let sent = bed.pass(SECOND);
        assert_eq!(sent[0].header().pt, 0);
        assert_eq!(sent[9].header().timestamp - sent[0].header().timestamp, 9 * 160);
    }
}

mod descriptions {
    use super::*;

    fn moved(port: u16) -> SocketAddr {
        SocketAddr::new(home(A).ip(), port)
    }

    #[test]
    fn a_restart_with_the_same_ssrc_at_number_0_costs_at_most_five_packets() {
        for last in [0, 4, 50, 99, 3_000, 65_000] {
            let mut bed = Bed::joined(&[(ULAW, 0)]);
            bed.speak(A, 0, u16::saturating_sub(last, 20), 20);
            bed.describe(A, plan_to(home(A), &[(ULAW, 0)]), true);
            let sent = bed.speak(A, 0, 0, 20);
            assert!(sent.len() >= 15, "{last}: {}", sent.len());
            let numbers: Vec<u16> = sent.iter().map(|sent| sent.header().seq).collect();
            assert!(numbers.is_sorted_by(|a, b| a.wrapping_add(1) == *b), "{last}");
        }
    }

    #[test]
    fn an_unchanged_address_keeps_its_lock() {
        let mut bed = Bed::joined(&[(ULAW, 0)]);
        bed.speak(A, 0, 0, 3);
        let locked = Latch::locked_to(home(A));
        assert_eq!(stream(&bed, A).latch, locked);
        bed.core.flows.clear();
        bed.describe(A, plan_to(home(A), &[(ULAW, 0), (G722, 9)]), true);
        assert_eq!(stream(&bed, A).latch, locked);
        assert!(bed.core.flows.is_empty());
    }

    #[test]
    fn a_changed_address_opens_the_latch_and_the_old_port_does_not_come_back() {
        let mut bed = Bed::joined(&[(ULAW, 0)]);
        bed.speak(A, 0, 0, 3);
        bed.describe(A, plan_to(moved(5_000), &[(ULAW, 0)]), true);
        let port = stream(&bed, A).port;
        assert!(bed.core.flows.contains(&Flow::Unlock { port }));
        // Under way from the old port when the new description came.
        for seq in 3..6 {
            assert!(bed.hear(A, &packet(0, seq, 0xa000, &[0; 160])).is_empty());
        }
        assert_eq!(bed.counted(Counter::DiscardRtpUnlatched), 3);
        let sent = bed.hear_from(moved(5_000), A, &packet(0, 900, 5, &[0; 160]));
        assert_eq!(sent.len(), 1);
        assert!(bed.core.flows.contains(&Flow::Lock { port, remote: moved(5_000) }));
        assert_eq!(bed.speak(B, 0, 0, 1)[0].to, moved(5_000));
    }

    #[test]
    fn hold_of_the_old_kind_sends_nothing_and_keeps_the_lock() {
        for held in ["0.0.0.0:4000", "192.0.2.1:0", "[::]:4000", "[::ffff:0.0.0.0]:4000"] {
            let mut bed = Bed::joined(&[(ULAW, 0)]);
            bed.speak(A, 0, 0, 3);
            bed.describe(A, plan_to(held.parse().unwrap(), &[(ULAW, 0)]), true);
            assert!(bed.speak(B, 0, 0, 5).is_empty());
            bed.with(|media, cx| media.play(cx, A, Play::Ringback));
            assert!(!bed.with(|media, cx| media.send_digit(cx, A, '1', 100)));
            assert!(bed.pass(SECOND).is_empty());
            bed.with(|media, cx| media.report(cx, A.index()));
            assert!(bed.pass(8 * SECOND).is_empty());
            bed.with(|media, cx| media.report(cx, A.index()));
            assert!(bed.sent().is_empty());
            // Its music is heard where it was heard before.
            assert_eq!(bed.speak(A, 0, 3, 3).len(), 3);
            bed.connect(A, B);
            bed.describe(A, plan_to(home(A), &[(ULAW, 0)]), true);
            assert_eq!(stream(&bed, A).latch, Latch::locked_to(home(A)));
            assert_eq!(bed.speak(B, 0, 5, 5).len(), 5);
        }
    }

    #[test]
    fn directions_gate_both_ways() {
        let mut bed = Bed::joined(&[(ULAW, 0)]);
        let with = |direction| changed(A, &[(ULAW, 0)], |plan| plan.direction = direction);
        bed.describe(A, with(Direction::SendOnly), true);
        assert!(bed.speak(A, 0, 0, 3).is_empty());
        assert_eq!(bed.speak(B, 0, 0, 3).len(), 3);
        bed.describe(A, with(Direction::RecvOnly), true);
        assert_eq!(bed.speak(A, 0, 3, 3).len(), 3);
        assert!(bed.speak(B, 0, 3, 3).is_empty());
        assert_eq!(bed.counted(Counter::DiscardRtpHold), 6);
        // What was not sent meanwhile is no loss.
        let before = stream(&bed, A).sender.next_index();
        bed.describe(A, with(Direction::SendRecv), false);
        let sent = bed.speak(B, 0, 6, 1);
        assert_eq!(u64::from(sent[0].header().seq), before & 0xffff);
        assert!(sent[0].header().marker);
    }

    #[test]
    fn reports_never_go_where_nobody_may_be_sent() {
        let mut bed = Bed::new();
        bed.open(A, &[(ULAW, 0)]);
        let remote_rtcp = MediaTarget::new("127.0.0.1:5061".parse().unwrap());
        bed.describe(A, changed(A, &[(ULAW, 0)], |plan| plan.remote_rtcp = remote_rtcp), true);
        let beside = SocketAddr::new(home(A).ip(), 4_001);
        assert_eq!(stream(&bed, A).target_rtcp, MediaTarget::new(beside));
    }
}

mod life {
    use super::*;

    fn report(bed: &Bed) -> Vec<u8> {
        let mut out = vec![0; 200];
        let ssrc = rtp::Ssrc(0xa000);
        let now = bed.now;
        let sender = Some(rtp::rtcp::SenderInfo {
            ntp: rtp::rtcp::ntp(now.wall),
            timestamp: 1,
            packets: 1,
            octets: 1,
        });
        let report = rtp::rtcp::Report { ssrc, sender, blocks: &[], cname: b"phone" };
        let len = rtp::rtcp::write_report(&report, &mut out).unwrap();
        out.truncate(len);
        out
    }

    fn above(port: MediaPort) -> MediaPort {
        MediaPort { port: port.port + 1, ..port }
    }

    #[test]
    fn sound_and_reports_are_signs_of_life_and_strangers_are_none() {
        let mut bed = Bed::joined(&[(ULAW, 0)]);
        bed.speak(A, 0, 0, 1);
        let port = stream(&bed, A).port;
        bed.pass(SECOND);
        let bytes = report(&bed);
        let rtcp = SocketAddr::new(home(A).ip(), 4_001);
        bed.hear_at("203.0.113.66:9".parse().unwrap(), above(port), &bytes);
        assert_eq!(bed.now.mono.since(stream(&bed, A).alive()), SECOND + PTIME);
        bed.hear_at(rtcp, above(port), &bytes);
        assert_eq!(stream(&bed, A).alive(), bed.now.mono);
        assert_eq!(stream(&bed, A).relayed, 1);
    }

    #[test]
    fn reports_use_the_port_that_the_description_says() {
        for mux in [false, true] {
            let mut bed = Bed::joined(&[(ULAW, 0)]);
            let with_mux = |plan: &mut sdp::Plan| {
                plan.rtcp_mux = mux;
                plan.remote_rtcp = if mux { plan.remote_rtp } else { plan.remote_rtcp };
            };
            bed.describe(A, changed(A, &[(ULAW, 0)], with_mux), true);
            bed.speak(A, 0, 0, 1);
            let port = stream(&bed, A).port;
            let (right, wrong) = if mux { (port, above(port)) } else { (above(port), port) };
            let bytes = report(&bed);
            bed.hear_at(home(A), wrong, &bytes);
            assert_eq!(bed.counted(Counter::DiscardRtcpPort), 1);
            assert_eq!(stream(&bed, A).rtcp.last_sr(bed.now.mono).0, 0);
            bed.hear_at(home(A), right, &bytes);
            assert_ne!(stream(&bed, A).rtcp.last_sr(bed.now.mono).0, 0);
            bed.pass(8 * SECOND);
            bed.with(|media, cx| media.report(cx, A.index()));
            let sent = bed.sent();
            assert_eq!((sent.len(), sent[0].from), (1, right));
            assert_eq!(sent[0].to.port(), if mux { 4_000 } else { 4_001 });
            // Not before the next is due.
            bed.with(|media, cx| media.report(cx, A.index()));
            assert!(bed.sent().is_empty());
        }
    }

    #[test]
    fn reports_to_a_phone_behind_a_nat_go_where_its_own_come_from() {
        let mut bed = Bed::new();
        bed.open_at(A, "10.0.0.9:4000".parse().unwrap(), &[(ULAW, 0)]);
        let phone = SocketAddr::new(home(A).ip(), 61_000);
        for seq in 0..30 {
            bed.hear_from(phone, A, &packet(0, seq, 1, &[0; 160]));
            bed.pass(PTIME);
        }
        assert_eq!(stream(&bed, A).latch, Latch::learned(phone));
        let (bytes, port) = (report(&bed), stream(&bed, A).port);
        let source = SocketAddr::new(home(A).ip(), 61_001);
        bed.hear_at(source, above(port), &bytes);
        assert_eq!(stream(&bed, A).target_rtcp, MediaTarget::new(source));
    }

    #[test]
    fn a_leg_that_had_no_description_has_no_summary() {
        let mut bed = Bed::new();
        bed.with(|media, cx| media.open(cx, A, 0, home(A).ip()));
        assert!(bed.media.summary(A).is_none());
        bed.describe(A, plan_to(home(A), &[(ULAW, 0)]), true);
        bed.speak(A, 0, 0, 5);
        let summary = bed.media.summary(A).unwrap();
        assert_eq!((summary.received, summary.lost, summary.sent), (5, 0, 0));
        assert!(summary.mos_centi > 400);
    }
}

mod own {
    use super::*;

    #[test]
    fn what_is_played_has_the_packet_time_of_the_plan() {
        for (asked, millis) in [(20, 20), (30, 30), (5, 10), (0, 10), (200, 60)] {
            let mut bed = Bed::new();
            bed.open(A, &[(ALAW, 8)]);
            bed.describe(A, changed(A, &[(ALAW, 8)], |plan| plan.ptime_ms = asked), true);
            bed.with(|media, cx| media.play(cx, A, Play::Silence));
            let sent = bed.pass(3 * SECOND);
            let expected = 3_000 / millis;
            assert!(sent.len().abs_diff(expected) <= 1, "{asked}: {}", sent.len());
            assert!(sent.iter().all(|sent| sent.payload() == vec![0xd5; millis * 8]));
            let step = sent[2].header().timestamp.wrapping_sub(sent[1].header().timestamp);
            assert_eq!(usize::try_from(step), Ok(millis * 8));
        }
    }

    #[test]
    fn tones_are_played_in_g711_or_not_at_all() {
        let mut bed = Bed::new();
        bed.open(A, &[(G722, 9)]);
        bed.with(|media, cx| media.play(cx, A, Play::Ringback));
        assert!(bed.pass(SECOND).is_empty());
    }

    #[test]
    fn a_player_replaces_the_source_and_a_join_the_player() {
        let mut bed = Bed::joined(&[(ULAW, 0)]);
        bed.with(|media, cx| media.play(cx, A, Play::Ringback));
        assert_eq!(stream(&bed, A).source(), Source::Player(Play::Ringback));
        let port = stream(&bed, A).port;
        let sent = bed.speak(B, 0, 0, 10);
        assert!(sent.len() >= 9 && sent.iter().all(|sent| sent.from == port));
        assert_eq!(bed.counted(Counter::RtpRelayed), 0);
        // Its own far end is heard meanwhile.
        assert!(bed.speak(A, 0, 0, 1).iter().any(|sent| sent.to == home(B)));
        bed.connect(A, B);
        assert_eq!(bed.speak(B, 0, 10, 10).len(), 10);
        assert!(bed.pass(SECOND).is_empty());
    }

    #[test]
    fn a_digit_is_one_event_with_one_timestamp_and_three_ends() {
        let mut bed = Bed::joined(&[(ULAW, 0), (EVENT, 101)]);
        let before = bed.speak(B, 0, 0, 5).pop().unwrap().header();
        assert!(bed.with(|media, cx| media.send_digit(cx, A, '5', 100)));
        let mut sent = bed.sent();
        sent.extend(bed.speak(B, 0, 5, 12));
        let digit: Vec<_> = sent.iter().filter(|sent| sent.header().pt == 101).collect();
        assert_eq!(digit.len(), 7);
        let start = digit[0].header();
        for (at, packet) in (0..).zip(&digit) {
            let header = packet.header();
            assert_eq!(header.seq, before.seq + 1 + at);
            assert_eq!(header.timestamp, start.timestamp);
            assert_eq!(header.marker, at == 0);
            let event = Event::parse(packet.payload()).unwrap();
            assert_eq!((Some(event.code), event.end), (code('5'), at >= 4));
            assert_eq!(event.duration, 160 * (at + 1).min(5));
        }
        // Sound is dropped meanwhile and goes on behind it, tied anew.
        let dropped = bed.counted(Counter::DiscardRtpDigit);
        assert!((6..=8).contains(&dropped), "{dropped}");
        let after: Vec<_> = sent.iter().filter(|sent| sent.header().pt == 0).collect();
        assert_eq!(after.len() as u64, 12 - dropped);
        let first = after[0].header();
        assert_eq!((first.seq, first.marker), (before.seq + 8, true));
        let passed = first.timestamp.wrapping_sub(start.timestamp);
        assert!((960..=1_280).contains(&passed), "{passed}");
        assert!(!after[1].header().marker);
    }

    #[test]
    fn digits_wait_for_each_other_and_eight_at_most() {
        let mut bed = Bed::joined(&[(ULAW, 0), (EVENT, 101)]);
        let taken =
            (0..12).filter(|_| bed.with(|media, cx| media.send_digit(cx, A, '#', 60))).count();
        assert_eq!(taken, 9);
        let mut sent = bed.sent();
        sent.extend(bed.pass(2 * SECOND));
        let digits = digits_of(&sent);
        assert_eq!(digits.len(), 9 * 5);
        assert!(digits.is_sorted_by(|a, b| a.0 + 1 == b.0));
        let mut starts: Vec<u32> = sent.iter().map(|sent| sent.header().timestamp).collect();
        starts.dedup();
        assert_eq!(starts.len(), 9);
        assert!(starts.is_sorted());
        assert_eq!(bed.speak(B, 0, 0, 2).len(), 2);
    }

    #[test]
    fn a_digit_is_not_sent_where_it_would_not_be_heard() {
        let mut bed = Bed::joined(&[(ULAW, 0)]);
        assert!(!bed.with(|media, cx| media.send_digit(cx, A, '1', 100)));
        bed.describe(A, plan_to(home(A), &[(ULAW, 0), (EVENT, 101)]), true);
        assert!(!bed.with(|media, cx| media.send_digit(cx, A, 'x', 100)));
        assert!(bed.with(|media, cx| media.send_digit(cx, A, '1', 100)));
        // The event that is gone from the plan is sent no further, and sound comes back.
        bed.sent();
        bed.describe(A, plan_to(home(A), &[(ULAW, 0)]), true);
        let sent = bed.speak(B, 0, 0, 5);
        assert_eq!(sent.len(), 5);
        assert!(sent[0].header().marker && digits_of(&sent).is_empty());
    }

    #[test]
    fn a_digit_survives_a_change_of_source_and_interrupts_a_tone() {
        let mut bed = Bed::joined(&[(ULAW, 0), (EVENT, 101)]);
        bed.with(|media, cx| media.play(cx, A, Play::Silence));
        bed.pass(SECOND);
        assert!(bed.with(|media, cx| media.send_digit(cx, A, '1', 100)));
        let mut sent = bed.pass(3 * PTIME);
        bed.with(|media, _| media.disconnect(A));
        sent.extend(bed.pass(SECOND));
        let digits = digits_of(&sent);
        assert_eq!((sent.len(), digits.len()), (7, 7));
        assert!(digits.is_sorted_by(|a, b| a.0 + 1 == b.0));
        let first = sent[0].header().timestamp;
        assert!(sent.iter().all(|sent| sent.header().timestamp == first));
        bed.with(|media, cx| media.play(cx, A, Play::Silence));
        assert!(bed.pass(SECOND).len() >= 49);
    }
}

mod digits_heard {
    use super::*;

    fn press(bed: &mut Bed, with_end: bool) -> (usize, Vec<Notice>) {
        let mut sent = 0;
        let mut told = Vec::new();
        for step in 1..=8_u16 {
            let end = step > 5;
            if end && !with_end {
                break;
            }
            sent += bed.hear(A, &event(3, end, 160 * step.min(5), step)).len();
            told.extend(bed.notices());
            bed.pass(PTIME);
        }
        (sent, told)
    }

    #[test]
    fn a_digit_that_crosses_is_told_once_at_its_start() {
        let mut bed = Bed::joined(&[(ULAW, 0), (EVENT, 101)]);
        let (sent, told) = press(&mut bed, true);
        assert_eq!(sent, 8);
        assert_eq!(told, [Notice { leg: A, digit: '3', duration_ms: 0, crosses: true }]);
        bed.pass(SECOND);
        assert!(bed.notices().is_empty());
    }

    #[test]
    fn a_digit_that_does_not_cross_is_told_once_when_it_has_ended() {
        let mut bed = Bed::new();
        bed.open(A, &[(ULAW, 0), (EVENT, 101)]);
        bed.open(B, &[(ULAW, 0)]);
        bed.join(A, B);
        let (sent, told) = press(&mut bed, true);
        assert_eq!(sent, 0);
        let notice = Notice { leg: A, digit: '3', duration_ms: 100, crosses: false };
        assert_eq!(told, [notice]);
        assert_eq!(stream(&bed, A).undeliverable, 0);
        bed.pass(SECOND);
        assert!(bed.notices().is_empty());
    }

    #[test]
    fn a_digit_whose_end_is_lost_is_told_by_its_silence() {
        let mut bed = Bed::new();
        bed.open(A, &[(ULAW, 0), (EVENT, 101)]);
        let (_, told) = press(&mut bed, false);
        assert!(told.is_empty());
        bed.pass(SECOND);
        let notice = Notice { leg: A, digit: '3', duration_ms: 100, crosses: false };
        assert_eq!(bed.notices(), [notice]);
    }

    #[test]
    fn a_digit_of_a_new_source_is_told_whatever_its_timestamp() {
        let mut bed = Bed::new();
        bed.open(A, &[(ULAW, 0), (EVENT, 101)]);
        press(&mut bed, true);
        bed.describe(A, plan_to(home(A), &[(ULAW, 0), (EVENT, 101)]), true);
        let payload = Event { code: 4, end: true, volume: 10, duration: 800 }.to_bytes();
        let mut bytes = packet(101, 9, 8, &payload);
        rtp::set_timestamp(&mut bytes, 8_000);
        bed.hear(A, &bytes);
        let notice = Notice { leg: A, digit: '4', duration_ms: 100, crosses: false };
        assert_eq!(bed.notices(), [notice]);
    }

    #[test]
    fn a_digit_is_as_long_as_the_clock_of_its_own_format_says() {
        let mut bed = Bed::new();
        bed.open(A, &[(OPUS, 111), (ULAW, 0), (EVENT_48, 110), (EVENT, 101)]);
        let (_, told) = press(&mut bed, true);
        assert_eq!(told.iter().map(|told| told.duration_ms).collect::<Vec<_>>(), [100]);
    }

    #[test]
    fn a_stream_that_is_closed_under_a_digit_says_nothing_more() {
        let mut bed = Bed::new();
        bed.open(A, &[(ULAW, 0), (EVENT, 101)]);
        press(&mut bed, false);
        bed.with(|media, cx| media.close(cx, A));
        bed.pass(SECOND);
        assert!(bed.notices().is_empty());
    }
}

mod doors {
    use super::*;

    #[test]
    fn what_is_no_media_is_counted_by_its_reason() {
        let mut bed = Bed::joined(&[(ULAW, 0)]);
        let port = stream(&bed, A).port;
        bed.hear(A, &[0, 1, 2, 3]);
        bed.hear(A, &[0x80, 0, 1]);
        bed.hear_at(home(A), MediaPort { port: port.port + 1, ..port }, &packet(0, 1, 1, &[0; 4]));
        bed.hear_from("203.0.113.99:4".parse().unwrap(), A, &packet(0, 1, 1, &[0; 4]));
        bed.hear(A, &packet(0, 1, 1, &[0; 4]));
        bed.hear(A, &packet(0, 1, 1, &[0; 4]));
        bed.hear(A, &packet(0, 2, 2, &[0; 4]));
        bed.hear_from("203.0.113.99:4".parse().unwrap(), A, &packet(0, 2, 1, &[0; 4]));
        for (counter, count) in [
            (Counter::DiscardStunDtls, 1),
            (Counter::DiscardRtpMalformed, 2),
            (Counter::DiscardRtpUnlatched, 1),
            (Counter::DiscardRtpSequence, 1),
            (Counter::DiscardRtpSsrc, 1),
            (Counter::DiscardRtpSource, 1),
            (Counter::RtpRelayed, 1),
        ] {
            assert_eq!(bed.counted(counter), count, "{counter:?}");
        }
        assert_eq!(bed.frames_out(), 0);
    }

    #[test]
    fn random_datagrams_and_calls_never_break_the_room() {
        let mut random = base::Prng::new(11);
        let mut bed = Bed::joined(&[(ULAW, 0), (EVENT, 101)]);
        for _ in 0..20_000 {
            let mut bytes = packet(0, u16::try_from(random.below(65_536)).unwrap(), 1, &[9; 40]);
            for _ in 0..random.below(4) {
                let at = usize::try_from(random.below(20)).unwrap();
                bytes[at] = random.u32().to_be_bytes()[0];
            }
            let leg = if random.chance(1, 2) { A } else { B };
            bed.hear(leg, &bytes);
            match random.below(200) {
                0 => bed.describe(leg, plan_to(home(leg), &[(ALAW, 8), (EVENT, 101)]), true),
                1 => bed.describe(leg, plan_to(home(leg), &[(OPUS, 0), (ULAW, 8)]), false),
                2 => bed.with(|media, _| media.disconnect(leg)),
                3 | 4 => bed.join(A, B),
                5 => bed.with(|media, cx| media.play(cx, leg, Play::Ringback)),
                6 => {
                    bed.with(|media, cx| media.send_digit(cx, leg, '0', 500));
                }
                7 => bed.describe(leg, sdp::Plan::default(), true),
                8 => {
                    bed.pass(PTIME * 10);
                }
                _ => {}
            }
        }
        bed.sent();
        assert_eq!(bed.frames_out(), 0);
    }
}
