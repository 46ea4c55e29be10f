//! SIP over WebSocket (RFC 7118): phones that nobody can connect to, whose messages are frames.

use sdp::Direction;
use wire::counter::Counter;
use world::{Action, Manner, Setup};

use crate::common::{SECOND, count, dial, ends, heard, nothing_left, routed};

fn web() -> Manner {
    Manner { by_web: true, ..Manner::default().with_audio() }
}

/// A call of a browser's, changed by it and ended by either side: everything that is said to it
/// goes by the connection that it has made.
#[test]
fn a_browser_calls_by_its_own_connection() {
    for seed in 1..24 {
        let mut world = routed(&Setup::new(seed), web(), vec![Manner::default().with_audio()]);
        let call = dial(&mut world, 1);
        world.run_for(3 * SECOND);
        let callee = world.callee_of(1).unwrap();
        assert!(heard(&world, call, 3) > 40 && heard(&world, callee, 2) > 40);
        let answer = &world.call(call).seen.text;
        assert!(answer.contains("Via: SIP/2.0/WSS "), "{answer}");
        assert!(answer.contains("Contact: <sip:tandem@10.0.0.1:5061;transport=ws>"), "{answer}");
        world.act(call, Action::Reinvite(Direction::SendOnly));
        world.run_for(SECOND);
        assert_eq!(world.call(call).seen.answered_direction, Some(Direction::RecvOnly));
        world.act(if seed % 2 == 0 { call } else { callee }, Action::HangUp);
        world.run_for(SECOND);
        assert_eq!(ends(&mut world).len(), 2);
        assert_eq!(world.call(call).seen.byes, u32::from(seed % 2 == 1));
        assert_eq!(count(&world, Counter::ConnectionAccepted), 1);
        assert_eq!(count(&world, Counter::ConnectionOpened), 0);
        nothing_left(&mut world);
    }
}

/// Its connection is lost under the call: nothing is connected to, the other side can still end the
/// call, and what the browser says by a new connection is of the same dialog.
#[test]
fn a_browser_that_comes_back_is_in_its_call() {
    for comes_back in [true, false] {
        let mut world = routed(&Setup::new(7), web(), vec![Manner::default().with_audio()]);
        let call = dial(&mut world, 1);
        world.run_for(3 * SECOND);
        world.cut_all();
        world.run_for(SECOND);
        let callee = world.callee_of(1).unwrap();
        world.act(if comes_back { call } else { callee }, Action::HangUp);
        world.run_for(40 * SECOND);
        assert_eq!(ends(&mut world).len(), 2);
        assert_eq!(count(&world, Counter::ConnectionOpened), 0);
        assert_eq!(world.call(callee).seen.byes, u32::from(comes_back));
        world.run_for(70 * SECOND);
        nothing_left(&mut world);
    }
}
