//! A second 2xx of another branch is acknowledged and ended; the first one stands (RFC 3261 section
//! 13.2.2.4).

use world::{Action, Manner, Setup};

use crate::by_hand::{self, A, B, Hand, world_by_hand};
use crate::common::{SECOND, bridged, dial, ends, heard, ms, nothing_left};

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

/// Whoever answers second is told to end until it says that it has heard.
#[test]
fn the_end_of_a_second_branch_is_repeated_until_it_is_answered() {
    let (mut world, log) = world_by_hand(2);
    let mut a = Hand::caller("forked");
    let invite = by_hand::ask(&mut world, &log, &a, "0");
    let (first, second) = (Hand::callee(&invite, "b1"), Hand::callee(&invite, "b2"));
    let answer = by_hand::described("10.1.0.2", 5_000, 1, "0");
    by_hand::send(&mut world, B, &first.reply(&invite, "200 OK", "", &answer));
    by_hand::header(&log.last(A, "SIP/2.0 200", ""), "To").clone_into(&mut a.to);
    by_hand::send(&mut world, A, &a.request("ACK", 1, "", &by_hand::empty()));
    by_hand::send(&mut world, B, &second.reply(&invite, "200 OK", "", &answer));
    world.run_for(ms(3_400));
    // At 0, 0.5, 1.5 and 3.5 s.
    assert_eq!(log.all(B, "BYE", ";tag=b2").len(), 3);
    world.run_for(5 * SECOND);
    let byes = log.all(B, "BYE", ";tag=b2");
    assert!(byes.len() >= 5 && byes.iter().all(|bye| *bye == byes[0]), "{byes:?}");
    // Its 200 comes again, as long as it has no ACK: acknowledged, and not ended once more.
    by_hand::send(&mut world, B, &second.reply(&invite, "200 OK", "", &answer));
    assert_eq!(log.all(B, "ACK", ";tag=b2").len(), 2);
    by_hand::send(&mut world, B, &second.reply(&byes[0], "200 OK", "", &by_hand::empty()));
    log.clear();
    world.run_for(20 * SECOND);
    assert!(log.all(B, "BYE", "").is_empty() && log.all(A, "BYE", "").is_empty());
    assert!(ends(&mut world).is_empty(), "the first one stands");
}
