//! A far end that moves its media: it is heard from its new place at once, even where its numbers
//! begin anew under the old SSRC.

use world::{Action, Manner, Setup};

use crate::by_hand::{self, A, B, Call, described, empty, packet, world_by_hand};
use crate::common::{SECOND, bridged, dial, ends, heard, ms, nothing_left};

const TO_B: &str = "10.1.0.2:5000";

#[test]
fn the_numbers_may_begin_anew_under_the_same_ssrc() {
    for (first, then) in [(40_000, 0), (0, 40_000), (100, 90)] {
        let (mut world, log) = world_by_hand(1);
        let call = by_hand::call(&mut world, &log, "move", ("0", "0"));
        let Call { a, ports, .. } = call;
        for at in 0..50 {
            packet(&mut world, "10.1.0.1:4000", ports.0, (first + at, 77));
            world.run_for(ms(20));
        }
        assert!(log.media(TO_B) >= 49, "{}", log.media(TO_B));
        let moved = described("10.1.0.1", 6_000, 2, "0");
        by_hand::send(&mut world, A, &a.request("INVITE", 2, "", &moved));
        log.last(A, "SIP/2.0 200", "2 INVITE");
        by_hand::send(&mut world, A, &a.request("ACK", 2, "", &empty()));
        log.clear();
        for at in 0..50 {
            packet(&mut world, "10.1.0.1:6000", ports.0, (then + at, 77));
            world.run_for(ms(20));
        }
        world.run_for(ms(50));
        assert!(log.media(TO_B) >= 45, "{first} then {then}: {} of 50", log.media(TO_B));
        by_hand::send(&mut world, A, &a.request("BYE", 3, "", &empty()));
        log.last(B, "BYE", "");
        let ends = ends(&mut world);
        let media = ends.iter().find(|end| end.inbound).and_then(|end| end.media).unwrap();
        assert!(media.lost <= 5, "a move is no loss: {media:?}");
    }
}

#[test]
fn both_sides_hear_each_other_after_a_move() {
    for by_callee in [false, true] {
        let manner = Manner::default().with_audio();
        let mut world = bridged(&Setup::new(2), manner.clone(), manner);
        let caller = dial(&mut world, 1);
        world.run_for(3 * SECOND);
        let callee = world.callee_of(1).unwrap();
        world.act(if by_callee { callee } else { caller }, Action::MoveMedia);
        world.run_for(ms(100));
        let before = (heard(&world, caller, 3), heard(&world, callee, 2));
        world.run_for(2 * SECOND);
        let after = (heard(&world, caller, 3), heard(&world, callee, 2));
        assert!(after.0 >= before.0 + 95 && after.1 >= before.1 + 95, "{before:?} {after:?}");
        for (phone, ssrcs) in [(caller, 1), (callee, 1)] {
            let heard = &world.call(phone).media.as_ref().unwrap().heard;
            assert_eq!(heard.ssrcs.len(), ssrcs, "what we send stays one stream");
            assert_eq!((heard.sequence_jumps, heard.timestamp_backwards), (0, 0));
        }
        world.act(caller, Action::HangUp);
        nothing_left(&mut world);
    }
}
