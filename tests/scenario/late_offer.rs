//! An INVITE without description: ours goes out with the 200, theirs comes with the ACK.

use world::{Action, Dial, Manner, Setup};

use crate::common::{SECOND, answered, bridged, ends, heard, nothing_left, routed, to};

#[test]
fn a_late_offer_is_heard_both_ways() {
    for apart in [false, true] {
        let manners = (Manner::default().with_audio(), Manner::default().with_audio());
        let mut world = if apart {
            bridged(&Setup::new(1), manners.0, manners.1)
        } else {
            routed(&Setup::new(1), manners.0, vec![manners.1])
        };
        let call = world.dial(0, &Dial { late_offer: true, ..to(1) });
        world.run_for(5 * SECOND);
        let callee = world.callee_of(1).expect("rang");
        assert_eq!(world.call(call).seen.code, 200);
        assert!(heard(&world, call, 3) >= 150, "{apart} {}", heard(&world, call, 3));
        assert!(heard(&world, callee, 2) >= 150, "{apart} {}", heard(&world, callee, 2));
        world.act(call, Action::HangUp);
        world.run_for(SECOND);
        assert_eq!(ends(&mut world).len(), 2);
        nothing_left(&mut world);
    }
}

#[test]
fn a_late_offer_answered_alone_hears_silence() {
    let mut world = answered(&Setup::new(2), Manner::default().with_audio());
    let call = world.dial(0, &Dial { late_offer: true, ..to(1) });
    world.run_for(3 * SECOND);
    let heard = &world.call(call).media.as_ref().unwrap().heard;
    assert!(heard.silence >= 100, "{}", heard.silence);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}
