//! A message that no buffer holds is answered from its beginning: 513, once, without state.

use wire::counter::Counter;

use crate::common::{count, manual};
use crate::raw::{A, all, header, invite, nothing_left, route_world, say, sdp};

/// Header lines of so many bytes, about.
fn padding(bytes: usize) -> String {
    (0..bytes / 100).map(|number| format!("X-Pad-{number:03}: {}\n", "p".repeat(87))).collect()
}

#[test]
fn a_request_longer_than_a_buffer_gets_513_whatever_part_of_it_is_missing() {
    for bytes in [17_000, 40_000, 64_000] {
        // The headers go on beyond the buffer; or they end in it, and the body does not.
        let long_body = format!("{}{}", sdp("10.1.0.1", 1, "0", ""), "a=x\n".repeat(bytes / 5));
        for text in [
            invite(&padding(bytes), &sdp("10.1.0.1", 1, "0", "")),
            invite("", &long_body),
            invite("", &long_body).replace("INVITE", "MESSAGE"),
        ] {
            let (mut world, log) = route_world(1);
            say(&mut world, A, &text);
            let answers = all(&log, A, "SIP/2.0", "");
            assert_eq!(answers.len(), 1, "{answers:?}");
            assert!(answers[0].starts_with("SIP/2.0 513 Message Too Large\r\n"), "{}", answers[0]);
            for name in ["From", "Call-ID", "CSeq"] {
                assert_eq!(header(&answers[0], name), header(&text, name), "{name}");
            }
            assert!(header(&answers[0], "Via").contains("branch=z9hG4bKfirst"));
            assert_eq!(count(&world, Counter::DiscardSipTruncated), 1);
            assert_eq!(count(&world, Counter::LegCreated), 0);
            assert!(manual(&mut world).told.is_empty(), "no row, no event");
            nothing_left(&mut world);
        }
    }
}

#[test]
fn what_has_no_answer_gets_none() {
    let long = invite(&padding(20_000), "");
    let (mut world, log) = route_world(1);
    say(&mut world, A, &long.replace("INVITE", "ACK"));
    say(&mut world, A, &long.replace("INVITE sip:g1@10.0.0.1 SIP/2.0", "SIP/2.0 200 OK"));
    say(&mut world, A, &"x".repeat(30_000));
    assert!(all(&log, A, "SIP/2.0", "").is_empty());
    assert_eq!(count(&world, Counter::DiscardSipTruncated), 3);
    nothing_left(&mut world);
}

/// As every answer to a stranger: within its source's rate.
#[test]
fn a_flood_of_them_is_answered_at_the_sources_rate() {
    let mut setup = world::Setup::new(1);
    setup.plane.shards = 1;
    setup.plane.guard = shard::plan::GuardPlan {
        source_rate: 10,
        source_burst: 20,
        call_rate: 0,
        stranger_rate: 0,
    };
    let mut world = crate::common::routed(&setup, world::Manner::silent(), Vec::new());
    let log = crate::raw::tap(&mut world);
    let text = invite(&padding(20_000), "").replace('\n', "\r\n").into_bytes();
    for _ in 0..100 {
        let to = world::plane::listener();
        world.inject(world::Datagram { from: A.parse().unwrap(), to, bytes: text.clone() });
    }
    world.run_for(crate::common::ms(50));
    let answers = all(&log, A, "SIP/2.0 513", "").len();
    assert!((1..=22).contains(&answers), "{answers}");
    let read = count(&world, Counter::DiscardSipTruncated);
    assert_eq!(read + count(&world, Counter::DiscardSipRate), 100);
    nothing_left(&mut world);
}
