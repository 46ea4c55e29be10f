//! Phones that acknowledge provisional responses, each pair of them, over networks that lose some.

use world::{Action, Dial, Manner, Reliability, Setup};

use crate::common::{SECOND, bridged, dial, ends, heard, lose, ms, nothing_left, routed, to};

const ALL: [Reliability; 3] = [Reliability::Unknown, Reliability::Supported, Reliability::Required];

fn caller(reliable: Reliability) -> Manner {
    Manner { reliable, ..Manner::default() }.with_audio()
}

/// Rings, has early media, rings again and answers, all at once as far as it may.
fn callee(reliable: Reliability) -> Manner {
    let on_ring = vec![
        (ms(100), Action::Ring),
        (ms(110), Action::EarlyMedia),
        (ms(120), Action::Ring),
        (ms(2_000), Action::Answer),
    ];
    Manner { on_ring, reliable, ..Manner::default() }.with_audio()
}

#[test]
fn every_pair_of_phones_hears_each_other() {
    for (one, other) in ALL.iter().flat_map(|one| ALL.iter().map(move |other| (*one, *other))) {
        for (apart, by_tcp) in [(false, false), (true, false), (false, true)] {
            let setup = Setup::new(1);
            let manners = (caller(one), Manner { by_tcp, ..callee(other) });
            let mut world = match apart {
                true => bridged(&setup, manners.0, manners.1),
                false => routed(&setup, Manner { by_tcp, ..manners.0 }, vec![manners.1]),
            };
            let call = dial(&mut world, 1);
            world.run_for(ms(1_800));
            let early = heard(&world, call, 3);
            assert!(early >= 60, "{one:?} {other:?} {apart}: {early}");
            world.run_for(4 * SECOND);
            let callee = world.callee_of(1).expect("rang");
            assert!(heard(&world, call, 3) >= 200 && heard(&world, callee, 2) >= 150);
            world.act(call, Action::HangUp);
            world.run_for(SECOND);
            for phone in [call, callee] {
                let complaints = &world.call(phone).seen.complaints;
                assert!(complaints.is_empty(), "{one:?} {other:?} {apart}: {complaints:?}");
            }
            nothing_left(&mut world);
        }
    }
}

/// Whatever is lost: the response, its PRACK, or the answer to that.
#[test]
fn what_is_lost_of_it_comes_again() {
    for (start, method) in [("SIP/2.0 18", "INVITE"), ("PRACK", "PRACK"), ("SIP/2.0 200", "PRACK")]
    {
        let manners = (caller(Reliability::Required), callee(Reliability::Required));
        let mut world = routed(&Setup::new(2), manners.0, vec![manners.1]);
        lose(&mut world, 3, start, method);
        let call = dial(&mut world, 1);
        world.run_for(12 * SECOND);
        let callee = world.callee_of(1).expect("rang");
        assert_eq!(world.call(call).seen.code, 200, "{start} {method}");
        assert!(heard(&world, call, 3) >= 100 && heard(&world, callee, 2) >= 100);
        world.act(call, Action::HangUp);
        world.run_for(SECOND);
        for phone in [call, callee] {
            let complaints = &world.call(phone).seen.complaints;
            assert!(complaints.is_empty(), "{start} {method}: {complaints:?}");
        }
        nothing_left(&mut world);
    }
}

/// Without an offer: the caller's answer comes with its first PRACK, and early media is heard.
#[test]
fn a_late_offer_is_heard_before_the_answer() {
    let manners = (caller(Reliability::Required), callee(Reliability::Supported));
    let mut world = bridged(&Setup::new(3), manners.0, manners.1);
    let call = world.dial(0, &Dial { late_offer: true, ..to(1) });
    world.run_for(ms(1_800));
    assert!(heard(&world, call, 3) >= 60, "{}", heard(&world, call, 3));
    world.run_for(4 * SECOND);
    let callee = world.callee_of(1).expect("rang");
    assert!(heard(&world, call, 3) >= 200 && heard(&world, callee, 2) >= 150);
    assert!(world.call(call).seen.complaints.is_empty(), "{:?}", world.call(call).seen);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    assert_eq!(ends(&mut world).len(), 2);
    nothing_left(&mut world);
}
