//! A re-INVITE without a description gets one that is written now: what is possible now, and a
//! version of its o= line that only goes up.

use sdp::Direction;
use world::{Action, Manner, Setup};

use crate::by_hand::{self, A, B, Call, Hand, Log, empty, version, world_by_hand};
use crate::common::{SECOND, bridged, dial, heard, ms, nothing_left};

fn directed(host: &str, port: u16, number: u32, direction: &str) -> String {
    let text = by_hand::sdp(host, port, number, "0 8") + &format!("a={direction}\n");
    by_hand::body("application/sdp", &text)
}

/// What the switch answers to a re-INVITE, acknowledged with this body.
fn exchange(
    world: &mut world::World,
    log: &Log,
    (hand, cseq): (&Hand, u32),
    (offer, answer): (&str, &str),
) -> String {
    by_hand::send(world, A, &hand.request("INVITE", cseq, "", offer));
    let ok = log.last(A, "SIP/2.0 200", &format!("{cseq} INVITE"));
    by_hand::send(world, A, &hand.request("ACK", cseq, "", answer));
    ok
}

#[test]
fn the_description_is_written_now_and_its_version_goes_up() {
    let (mut world, log) = world_by_hand(1);
    let mut a = Hand::caller("asked");
    let invite = by_hand::ask(&mut world, &log, &a, "0 8");
    let b = Hand::callee(&invite, "b");
    let answer = by_hand::described("10.1.0.2", 5_000, 1, "0 8");
    by_hand::send(&mut world, B, &b.reply(&invite, "200 OK", "", &answer));
    let first = log.last(A, "SIP/2.0 200", "1 INVITE");
    a.to = by_hand::header(&first, "To").to_owned();
    by_hand::send(&mut world, A, &a.request("ACK", 1, "", &empty()));

    let held = directed("10.1.0.1", 4_000, 2, "sendonly");
    let held = exchange(&mut world, &log, (&a, 2), (&held, &empty()));
    assert!(held.contains("a=recvonly"), "{held}");
    assert!(version(&held) > version(&first));

    let back = directed("10.1.0.1", 4_000, 3, "sendrecv");
    let ours = exchange(&mut world, &log, (&a, 3), (&empty(), &back));
    assert!(!ours.contains("a=recvonly") && !ours.contains("a=inactive"), "{ours}");
    assert!(version(&ours) > version(&held), "{ours}");
    assert!(ours.contains("m=audio "), "{ours}");
    // The callee hears that the hold is over.
    let told = log.all(B, "INVITE", "");
    let (told, open) = (told.last().unwrap(), "a=sendonly");
    assert!(!told.contains(open) || log.all(B, "SIP", "").is_empty(), "{told}");

    let narrowed = by_hand::described("10.1.0.1", 4_000, 4, "8");
    let narrowed = exchange(&mut world, &log, (&a, 4), (&narrowed, &empty()));
    assert!(version(&narrowed) > version(&ours), "another text, another version");
    let answer = by_hand::described("10.1.0.1", 4_000, 4, "8");
    let again = exchange(&mut world, &log, (&a, 5), (&empty(), &answer));
    let body = |text: &str| text.split("\n\n").nth(1).unwrap_or_default().to_owned();
    let same = body(&again) == body(&narrowed);
    assert!(same || version(&again) > version(&narrowed), "{again}");
}

/// What a hold was before is over for whoever asks for an offer.
#[test]
fn a_call_on_hold_comes_back_by_an_offer_that_was_asked_for() {
    for hold in [Direction::SendOnly, Direction::Inactive] {
        let manner = Manner::default().with_audio();
        let mut world = bridged(&Setup::new(2), manner.clone(), manner);
        let call = dial(&mut world, 1);
        world.run_for(3 * SECOND);
        let callee = world.callee_of(1).unwrap();
        world.act(callee, Action::Reinvite(hold));
        world.run_for(SECOND);
        // The holder asks, and answers as it has said: it is offered all there is, and not asked.
        world.act(callee, Action::ReinviteEmpty);
        world.run_for(SECOND);
        assert!(world.call(callee).seen.asked.is_empty(), "{:?}", world.call(callee).seen.asked);
        assert_eq!(world.call(callee).seen.direction_told, Some(Direction::SendRecv), "{hold:?}");
        world.act(callee, Action::Reinvite(Direction::SendRecv));
        world.run_for(SECOND);
        let before = (heard(&world, call, 3), heard(&world, callee, 2));
        world.run_for(2 * SECOND);
        let after = (heard(&world, call, 3), heard(&world, callee, 2));
        assert!(after.0 >= before.0 + 90 && after.1 >= before.1 + 90, "{before:?} {after:?}");
        let complaints = [call, callee].map(|phone| world.call(phone).seen.complaints.clone());
        assert!(complaints.iter().all(Vec::is_empty), "{complaints:?}");
        world.act(call, Action::HangUp);
        world.run_for(ms(500));
        nothing_left(&mut world);
    }
}

#[test]
fn the_same_offer_is_asked_for_again_and_again() {
    let (mut world, log) = world_by_hand(3);
    let Call { a, .. } = by_hand::call(&mut world, &log, "again", ("0", "0"));
    let mut last = 0;
    for cseq in 2..12 {
        let answer = by_hand::described("10.1.0.1", 4_000, 1, "0");
        let ok = exchange(&mut world, &log, (&a, cseq), (&empty(), &answer));
        assert!(version(&ok) >= last, "{cseq}: {} after {last}", version(&ok));
        last = version(&ok);
    }
    assert!(log.all(A, "BYE", "").is_empty());
}

/// Whoever asks and then says nothing has changed nothing: a hold is still a hold.
#[test]
fn an_offer_that_was_asked_for_and_not_answered_changes_nothing() {
    let (mut world, log) = world_by_hand(4);
    let Call { a, b, .. } = by_hand::call(&mut world, &log, "silent", ("0 8", "0 8"));
    let held = directed("10.1.0.1", 4_000, 2, "sendonly");
    exchange(&mut world, &log, (&a, 2), (&held, &empty()));
    let told = log.last(B, "INVITE", "a=sendonly");
    let answer = directed("10.1.0.2", 5_000, 2, "recvonly");
    by_hand::send(&mut world, B, &b.reply(&told, "200 OK", "", &answer));
    exchange(&mut world, &log, (&a, 3), (&empty(), &empty()));
    assert!(log.all(A, "BYE", "").is_empty() && log.all(B, "BYE", "").is_empty());
    // Something that has the two legs compare notes: an offer of ours that the caller refuses.
    let stop = by_hand::described("10.1.0.2", 0, 3, "0 8");
    by_hand::send(&mut world, B, &b.request("INVITE", 8, "", &stop));
    by_hand::send(&mut world, B, &b.request("ACK", 8, "", &empty()));
    let offer = log.last(A, "INVITE", "a=inactive");
    by_hand::send(&mut world, A, &a.reply(&offer, "488 Not Acceptable Here", "", &empty()));
    let asks = directed("10.1.0.2", 5_000, 4, "sendrecv");
    by_hand::send(&mut world, B, &b.request("INVITE", 9, "", &asks));
    let ok = log.last(B, "SIP/2.0 200", "9 INVITE");
    assert!(ok.contains("a=sendonly"), "the caller still holds: {ok}");
}
