//! Re-INVITE: hold and resume, a new offer while one is open, a re-INVITE without offer.

use std::cell::RefCell;
use std::rc::Rc;

use sdp::{Direction, Supported};
use world::{Action, Fate, Manner, Reinvite, Setup};

use crate::common::{
    SECOND, bridged, dial, dialled_after_answer, ends, first_line, heard, ms, nothing_left,
};
use crate::raw::{self, A, B};

#[test]
fn a_held_call_is_silent_and_comes_back() {
    let mut world =
        bridged(&Setup::new(1), Manner::default().with_audio(), Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    world.act(call, Action::Reinvite(Direction::Inactive));
    world.run_for(ms(100));
    assert_eq!(world.call(call).seen.answers, [("INVITE".to_owned(), 200)]);
    assert_eq!(world.call(call).seen.answered_direction, Some(Direction::Inactive));
    let (before_a, before_b) = (heard(&world, call, 3), heard(&world, callee, 2));
    world.run_for(5 * SECOND);
    assert_eq!(heard(&world, call, 3), before_a, "nothing to a held phone");
    assert!(heard(&world, callee, 2) <= before_b, "nothing from a held phone");
    world.act(call, Action::Reinvite(Direction::SendRecv));
    world.run_for(2 * SECOND);
    assert!(heard(&world, call, 3) >= before_a + 90, "sound is back");
    assert!(heard(&world, callee, 2) >= before_b + 90);
    let heard = &world.call(call).media.as_ref().unwrap().heard;
    assert_eq!((heard.ssrcs.len(), heard.timestamp_backwards, heard.sequence_jumps), (1, 0, 0));
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    let ends = ends(&mut world);
    assert_eq!(ends.len(), 2);
    // The five seconds of silence were agreed upon: nobody waited for them.
    for end in ends {
        let silent = end.billed_ms - u64::from(end.due_ms);
        assert!((4_900..5_300).contains(&silent), "{} of {}", end.due_ms, end.billed_ms);
    }
    nothing_left(&mut world);
}

#[test]
fn sendonly_lets_the_holder_be_heard() {
    let mut world =
        bridged(&Setup::new(2), Manner::default().with_audio(), Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    world.act(call, Action::Reinvite(Direction::SendOnly));
    world.run_for(ms(100));
    assert_eq!(world.call(call).seen.answered_direction, Some(Direction::RecvOnly));
    let (before_a, before_b) = (heard(&world, call, 3), heard(&world, callee, 2));
    world.run_for(2 * SECOND);
    assert_eq!(heard(&world, call, 3), before_a);
    assert!(heard(&world, callee, 2) >= before_b + 90);
    world.act(callee, Action::HangUp);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}

#[test]
fn a_reinvite_without_offer_gets_ours() {
    let mut world =
        bridged(&Setup::new(3), Manner::default().with_audio(), Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    world.act(call, Action::ReinviteEmpty);
    world.run_for(2 * SECOND);
    let callee = world.callee_of(1).unwrap();
    assert_eq!(world.call(call).seen.answers, [("INVITE".to_owned(), 200)]);
    let before = heard(&world, callee, 2);
    world.run_for(2 * SECOND);
    assert!(heard(&world, callee, 2) >= before + 90);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    assert_eq!(ends(&mut world).len(), 2);
    nothing_left(&mut world);
}

/// Music on hold by RFC 7088: the holder asks for an offer, which says sendrecv, and answers
/// sendonly in the ACK. Its answer is the word on it: no offer follows that repeats it.
#[test]
fn an_answer_that_holds_is_not_offered_again() {
    let mut world =
        bridged(&Setup::new(4), Manner::default().with_audio(), Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    world.act(call, Action::Reinvite(Direction::SendOnly));
    world.run_for(SECOND);
    world.act(call, Action::ReinviteEmpty);
    world.run_for(SECOND);
    assert_eq!(world.call(callee).seen.direction_told, Some(Direction::SendOnly));
    assert_eq!(world.call(call).seen.asked, [], "nothing is asked of the holder");
    let (before_a, before_b) = (heard(&world, call, 3), heard(&world, callee, 2));
    world.run_for(2 * SECOND);
    assert_eq!(heard(&world, call, 3), before_a);
    assert!(heard(&world, callee, 2) >= before_b + 90);
    world.act(call, Action::Reinvite(Direction::SendRecv));
    world.run_for(SECOND);
    assert_eq!(world.call(callee).seen.direction_told, Some(Direction::SendRecv));
    let before_a = heard(&world, call, 3);
    world.run_for(2 * SECOND);
    assert!(heard(&world, call, 3) >= before_a + 90);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}

/// The hold of one side is passed on by a re-INVITE, and the 2xx to it names another Contact: its
/// ACK goes there (RFC 3261 section 12.2.1.2), and so does what follows.
#[test]
fn the_ack_of_our_reinvite_goes_where_its_2xx_says() {
    let mut world =
        bridged(&Setup::new(5), Manner::default().with_audio(), Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    let lines = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&lines);
    world.network.set_filter(move |_, datagram| {
        let line = first_line(&datagram.bytes);
        if line.starts_with("ACK sip:moved@") || line.starts_with("BYE sip:moved@") {
            seen.borrow_mut().push(line[..3].to_owned());
        }
        Fate::Pass
    });
    let host = world.call(callee).uri.rsplit('@').next().unwrap_or_default().to_owned();
    world.act(callee, Action::Contact(format!("sip:moved@{host}")));
    world.act(call, Action::Reinvite(Direction::SendOnly));
    world.run_for(SECOND);
    assert_eq!(*lines.borrow(), ["ACK"]);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    assert_eq!(*lines.borrow(), ["ACK", "BYE"]);
    nothing_left(&mut world);
}

/// A hold, and its end, that the other phone cannot take just now are said again (RFC 3261 section
/// 14.1 for 491, Retry-After, RFC 4028 for 422): else it would wait for ever for sound that is
/// sent.
#[test]
fn a_hold_refused_for_the_moment_is_passed_on_again() {
    for (seed, code) in (6..).zip([491, 500, 503, 422]) {
        let mut world = bridged(
            &Setup::new(seed),
            Manner::default().with_audio(),
            Manner::default().with_audio(),
        );
        let call = dial(&mut world, 1);
        world.run_for(3 * SECOND);
        let callee = world.callee_of(1).unwrap();
        for direction in [Direction::SendOnly, Direction::SendRecv] {
            world.act(callee, Action::TakeOffers(Reinvite::Refuse(code)));
            world.act(call, Action::Reinvite(direction));
            world.run_for(ms(100));
            let refused = ("INVITE".to_owned(), code);
            assert_eq!(world.call(callee).seen.asked.last(), Some(&refused));
            world.act(callee, Action::TakeOffers(Reinvite::Answer));
            world.run_for(5 * SECOND);
            let taken = ("INVITE".to_owned(), 200);
            assert_eq!(world.call(callee).seen.asked.last(), Some(&taken), "{code} {direction:?}");
            assert_eq!(world.call(callee).seen.direction_told, Some(direction));
        }
        let (before_a, before_b) = (heard(&world, call, 3), heard(&world, callee, 2));
        world.run_for(2 * SECOND);
        assert!(heard(&world, call, 3) >= before_a + 90, "{code}: the callee is heard");
        assert!(heard(&world, callee, 2) >= before_b + 90, "{code}: the caller is heard");
        world.act(call, Action::HangUp);
        world.run_for(SECOND);
        nothing_left(&mut world);
    }
}

/// The caller had to be offered another codec when the callee answered; for that the callee's leg
/// waited. It is over with the other's answer.
#[test]
fn a_leg_that_had_to_wait_for_the_other_one_is_told_of_a_hold_at_once() {
    let codecs = |codecs: &[Supported<'static>]| Manner::default().with_codecs(codecs);
    let caller = codecs(&[Supported::G722, Supported::PCMU]);
    let mut world = dialled_after_answer(&Setup::new(5), caller, codecs(&[Supported::G722]));
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    for direction in [Direction::Inactive, Direction::SendRecv] {
        world.act(call, Action::Reinvite(direction));
        world.run_for(ms(100));
        assert_eq!(world.call(callee).direction(), Some(direction));
    }
    let before = (heard(&world, call, 3), heard(&world, callee, 2));
    world.run_for(10 * SECOND);
    let after = (heard(&world, call, 3), heard(&world, callee, 2));
    assert!(after.0 >= before.0 + 9 && after.1 >= before.1 + 9, "{before:?} {after:?}");
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}

/// A phone that takes no other codecs is still told what it may send: a hold that it took ends, and
/// one that it does not take is not said for ever.
#[test]
fn a_far_end_that_declines_is_asked_again_when_there_is_something_new() {
    let mut world =
        bridged(&Setup::new(9), Manner::default().with_audio(), Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    world.act(call, Action::Reinvite(Direction::SendOnly));
    world.run_for(SECOND);
    assert_eq!(world.call(callee).seen.direction_told, Some(Direction::SendOnly));
    world.act(callee, Action::TakeOffers(Reinvite::Refuse(488)));
    world.act(call, Action::Reinvite(Direction::SendRecv));
    world.run_for(20 * SECOND);
    let refused = world.call(callee).seen.asked.iter().filter(|(_, code)| *code == 488).count();
    assert_eq!(refused, 1, "it is not asked the same for ever");
    world.act(callee, Action::TakeOffers(Reinvite::Answer));
    world.act(call, Action::Reinvite(Direction::SendOnly));
    world.run_for(SECOND);
    world.act(call, Action::Reinvite(Direction::SendRecv));
    world.run_for(SECOND);
    assert_eq!(world.call(callee).seen.direction_told, Some(Direction::SendRecv));
    let before = heard(&world, call, 3);
    world.run_for(2 * SECOND);
    assert!(heard(&world, call, 3) >= before + 90, "the callee speaks again");
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}

/// What a refusal is about is what the refused offer was about: a caller that takes other codecs
/// and no refresh is offered other codecs afterwards, too.
#[test]
fn a_refused_refresh_says_nothing_of_codecs() {
    let more = "Supported: timer\nSession-Expires: 90;refresher=uas\nAllow: INVITE, ACK, BYE\n";
    let (mut world, log) = raw::route_world(1);
    raw::say(&mut world, A, &raw::invite(more, &raw::sdp("10.1.0.1", 1, "0 9", "")));
    let invite = raw::last(&log, B, "INVITE", "").unwrap();
    let answer = raw::sdp("10.1.0.2", 1, "0", "");
    raw::say(&mut world, B, &raw::reply(&invite, "200 OK", "b", "", &answer));
    let ok = raw::last(&log, A, "SIP/2.0 200", "INVITE").unwrap();
    let far = |at, call: &str, from: &str, to: &str, cseq| raw::Far {
        at,
        call: call.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        cseq,
    };
    let mut a = far(A, "call", "<sip:a@example.com>;tag=1", &raw::header(&ok, "To"), 1);
    raw::say(&mut world, A, &a.request("ACK", "", ""));
    let (call, tag) = (raw::header(&invite, "Call-ID"), raw::header(&invite, "To") + ";tag=b");
    let mut b = far(B, &call, &tag, &raw::header(&invite, "From"), 0);
    let mut change = |world: &mut world::World, version, formats| {
        let text = b.request("INVITE", "", &raw::sdp("10.1.0.2", version, formats, ""));
        raw::say(world, B, &text);
        let ack = b.request("ACK", "", "");
        raw::say(world, B, &ack);
        world.run_for(ms(500));
    };
    // The callee speaks only G.722 now, and so does the caller.
    change(&mut world, 2, "9");
    let offer = raw::last(&log, A, "INVITE", "RTP/AVP 9").expect("other codecs");
    let answer = raw::sdp("10.1.0.1", 2, "9", "");
    let timer =
        "Contact: <sip:x@10.1.0.1:5060>\nSession-Expires: 90;refresher=uac\nRequire: timer\n";
    raw::say(&mut world, A, &raw::reply(&offer, "200 OK", "1", timer, &answer));
    // Then it describes itself anew.
    let text = a.request("INVITE", more, &raw::sdp("10.1.0.1", 3, "9 0", ""));
    raw::say(&mut world, A, &text);
    raw::say(&mut world, A, &a.request("ACK", "", ""));
    log.borrow_mut().clear();
    world.run_for(46 * SECOND);
    let refresh = raw::last(&log, A, "INVITE", "").expect("a refresh");
    raw::say(&mut world, A, &raw::reply(&refresh, "488 Not Acceptable Here", "1", "", ""));
    log.borrow_mut().clear();
    change(&mut world, 3, "0");
    let offer = raw::last(&log, A, "INVITE", "");
    assert!(offer.is_some_and(|offer| offer.contains("RTP/AVP 0")), "other codecs once more");
    assert!(ends(&mut world).is_empty());
}
