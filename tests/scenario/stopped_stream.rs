//! `m=audio 0`: the stream stops, the call stands, and the stream may begin again (RFC 3264 section
//! 8.2).

use sdp::Direction;
use world::{Action, Manner, Setup};

use crate::by_hand::{self, A, B, Call, described, empty, media_port, world_by_hand};
use crate::common::{SECOND, bridged, dial, ends, heard, nothing_left};

#[test]
fn a_stopped_stream_is_answered_so_and_the_other_side_is_held() {
    let (mut world, log) = world_by_hand(1);
    let Call { a, .. } = by_hand::call(&mut world, &log, "stop", ("0", "0"));
    let stop = described("10.1.0.1", 0, 2, "0");
    by_hand::send(&mut world, A, &a.request("INVITE", 2, "", &stop));
    let ok = log.last(A, "SIP/2.0 200", "2 INVITE");
    assert_eq!(media_port(&ok), 0, "{ok}");
    by_hand::send(&mut world, A, &a.request("ACK", 2, "", &empty()));
    let told = log.last(B, "INVITE", "");
    assert!(told.contains("a=inactive") && media_port(&told) != 0, "{told}");
}

#[test]
fn a_stream_that_was_stopped_begins_again() {
    for by_callee in [false, true] {
        let manner = Manner::default().with_audio();
        let mut world = bridged(&Setup::new(2), manner.clone(), manner);
        let caller = dial(&mut world, 1);
        world.run_for(3 * SECOND);
        let callee = world.callee_of(1).unwrap();
        let stopper = if by_callee { callee } else { caller };
        world.act(stopper, Action::StopStream);
        world.run_for(SECOND);
        assert_eq!(world.call(stopper).seen.answers, [("INVITE".to_owned(), 200)]);
        let before = (heard(&world, caller, 3), heard(&world, callee, 2));
        world.run_for(5 * SECOND);
        assert_eq!((heard(&world, caller, 3), heard(&world, callee, 2)), before, "silent");
        assert!(ends(&mut world).is_empty());
        world.act(stopper, Action::Reinvite(Direction::SendRecv));
        world.run_for(SECOND);
        let before = (heard(&world, caller, 3), heard(&world, callee, 2));
        world.run_for(2 * SECOND);
        let after = (heard(&world, caller, 3), heard(&world, callee, 2));
        assert!(after.0 >= before.0 + 90 && after.1 >= before.1 + 90, "{before:?} {after:?}");
        world.act(caller, Action::HangUp);
        nothing_left(&mut world);
    }
}
