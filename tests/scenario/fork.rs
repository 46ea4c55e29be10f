//! A second 2xx of another branch is acknowledged and ended; the first one stands (RFC 3261 section
//! 13.2.2.4).

use world::{Action, Manner, Setup};

use crate::common::{SECOND, bridged, dial, ends, heard, nothing_left};

#[test]
fn one_dialog_is_enough() {
    let callee = Manner::default().after_answer(SECOND, Action::AnswerAgain);
    let mut world = bridged(&Setup::new(1), Manner::default(), callee);
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let sink = seen.clone();
    world.network.set_filter(move |_, datagram| {
        let text = String::from_utf8_lossy(&datagram.bytes).into_owned();
        if text.contains("To:") && text.contains(";tag=otherfork") && !text.starts_with("SIP") {
            sink.borrow_mut().push(text.split(' ').next().unwrap_or("").to_owned());
        }
        world::Fate::Pass
    });
    let call = dial(&mut world, 1);
    world.run_for(6 * SECOND);
    assert_eq!(*seen.borrow(), ["ACK", "BYE"]);
    let callee = world.callee_of(1).unwrap();
    assert!(!world.call(callee).is_over() && !world.call(call).is_over());
    assert!(heard(&world, call, 3) >= 4);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    assert_eq!(ends(&mut world).len(), 2);
    nothing_left(&mut world);
}
