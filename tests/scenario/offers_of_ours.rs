//! Offers of the switch's own inside a dialog: what meets an offer of the far end comes to be
//! later, what is refused or ignored changes nothing, what is lost is sent again.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use sdp::Direction;
use wire::event::Cause;
use world::{Action, CallRef, Fate, Manner, Reinvite, Setup, World};

use crate::by_hand::{self, A, B, Call, described, empty, world_by_hand};
use crate::common::{SECOND, bridged, dial, ends, heard, ms, nothing_left};

fn hold(host: &str, port: u16) -> String {
    let text = by_hand::sdp(host, port, 2, "0") + "a=sendonly\n";
    by_hand::body("application/sdp", &text)
}

/// RFC 3261 section 14.1: whoever made the Call-ID waits 2.1 to 4 s, the other 0 to 2 s.
#[test]
fn an_offer_of_ours_that_meets_a_busy_far_end_is_made_again_in_its_time() {
    for (callee_holds, (least, most)) in [(false, (2_100, 4_100)), (true, (0, 2_100))] {
        for seed in 0..8 {
            let (mut world, log) = world_by_hand(seed);
            let Call { a, b, .. } = by_hand::call(&mut world, &log, "glare", ("0", "0"));
            let (holder, other, there) = if callee_holds { (b, a, A) } else { (a, b, B) };
            let host = holder.address.split(':').next().unwrap();
            let port = if callee_holds { 5_000 } else { 4_000 };
            let text = holder.request("INVITE", 2, "", &hold(host, port));
            by_hand::send(&mut world, holder.address, &text);
            let offer = log.last(there, "INVITE", "a=sendonly");
            by_hand::send(
                &mut world,
                there,
                &other.reply(&offer, "491 Request Pending", "", &empty()),
            );
            log.last(there, "ACK", "");
            let refused = world.now.mono;
            log.clear();
            world.run_for(5 * SECOND);
            let again = log.timed(there, "INVITE", "a=sendonly");
            let (at, again) =
                again.first().unwrap_or_else(|| panic!("{callee_holds} {seed}: {:?}", log.lines()));
            let waited = u64::try_from(at.since(refused).as_millis()).unwrap() + 40;
            assert!((least..=most).contains(&waited), "{callee_holds}: {waited} ms");
            let (host, port) = if callee_holds { ("10.1.0.1", 4_000) } else { ("10.1.0.2", 5_000) };
            let answer = by_hand::sdp(host, port, 2, "0") + "a=recvonly\n";
            let answer = by_hand::body("application/sdp", &answer);
            by_hand::send(&mut world, there, &other.reply(again, "200 OK", "", &answer));
            log.last(there, "ACK", "");
            log.clear();
            world.run_for(5 * SECOND);
            assert!(log.all(there, "INVITE", "").is_empty(), "it has come to be");
        }
    }
}

#[test]
fn an_offer_that_comes_while_ours_is_open_is_told_to_wait() {
    let (mut world, log) = world_by_hand(20);
    let Call { a, b, .. } = by_hand::call(&mut world, &log, "cross", ("0", "0"));
    by_hand::send(&mut world, A, &a.request("INVITE", 2, "", &hold("10.1.0.1", 4_000)));
    let ours = log.last(B, "INVITE", "");
    let own = described("10.1.0.2", 5_000, 2, "0");
    by_hand::send(&mut world, B, &b.request("INVITE", 7, "", &own));
    log.last(B, "SIP/2.0 491", "7 INVITE");
    by_hand::send(&mut world, B, &b.request("ACK", 7, "", &empty()));
    by_hand::send(&mut world, B, &b.request("UPDATE", 17, "", &own));
    log.last(B, "SIP/2.0 491", "17 UPDATE");
    let answer = by_hand::sdp("10.1.0.2", 5_000, 2, "0") + "a=recvonly\n";
    let answer = by_hand::body("application/sdp", &answer);
    by_hand::send(&mut world, B, &b.reply(&ours, "200 OK", "", &answer));
    by_hand::send(&mut world, B, &b.request("UPDATE", 18, "", &own));
    log.last(B, "SIP/2.0 200", "18 UPDATE");
}

fn standing(seed: u64, callee: Manner) -> (World, CallRef, CallRef) {
    let mut world = bridged(&Setup::new(seed), Manner::default().with_audio(), callee);
    let caller = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    (world, caller, callee)
}

/// Both offer at one moment: each hears of the other's wish in the end.
#[test]
fn two_holds_at_one_moment_both_come_to_be() {
    for offset in [0, 1, 3, 5, 7, 10] {
        let (mut world, caller, callee) = standing(30 + offset, Manner::default().with_audio());
        world.act(caller, Action::Reinvite(Direction::SendOnly));
        world.run_for(ms(offset));
        world.act(callee, Action::Reinvite(Direction::SendOnly));
        world.run_for(10 * SECOND);
        for phone in [caller, callee] {
            let told = world.call(phone).seen.direction_told;
            let receives = told.is_some_and(Direction::receives);
            assert!(!receives, "{offset}: {phone:?} is held, and was told {told:?}");
        }
        world.act(caller, Action::Reinvite(Direction::SendRecv));
        world.act(callee, Action::Reinvite(Direction::SendRecv));
        world.run_for(10 * SECOND);
        let before = (heard(&world, caller, 3), heard(&world, callee, 2));
        world.run_for(2 * SECOND);
        let after = (heard(&world, caller, 3), heard(&world, callee, 2));
        assert!(after.0 >= before.0 + 90 && after.1 >= before.1 + 90, "{offset}");
        world.act(caller, Action::HangUp);
        nothing_left(&mut world);
    }
}

#[test]
fn a_refused_offer_leaves_what_was_in_force() {
    for code in [488, 606, 405, 403] {
        let callee = Manner { reinvite: Reinvite::Refuse(code), ..Manner::default() };
        let (mut world, caller, callee) = standing(40, callee.with_audio());
        let in_force = world.call(callee).in_force();
        world.act(caller, Action::Reinvite(Direction::SendOnly));
        world.run_for(5 * SECOND);
        assert_eq!(world.call(callee).seen.asked, [("INVITE".to_owned(), code)], "asked once");
        assert_eq!(world.call(callee).in_force(), in_force);
        assert_eq!(world.call(callee).direction(), Some(Direction::SendRecv));
        let before = heard(&world, callee, 2);
        world.run_for(2 * SECOND);
        assert!(heard(&world, callee, 2) >= before + 90, "{code}: the holder is heard on");
        world.act(caller, Action::Reinvite(Direction::SendRecv));
        world.run_for(SECOND);
        let before = (heard(&world, caller, 3), heard(&world, callee, 2));
        world.run_for(2 * SECOND);
        let after = (heard(&world, caller, 3), heard(&world, callee, 2));
        assert!(after.0 >= before.0 + 90 && after.1 >= before.1 + 90, "{code}: as before");
        world.act(caller, Action::HangUp);
        nothing_left(&mut world);
    }
}

#[test]
fn an_ignored_offer_changes_nothing_while_media_flows_and_ends_a_call_that_is_dead() {
    for dies in [false, true] {
        let callee = Manner { reinvite: Reinvite::Ignore, ..Manner::default() };
        let (mut world, caller, callee) = standing(50, callee.with_audio());
        world.act(caller, Action::Reinvite(Direction::SendOnly));
        if dies {
            world.act(callee, Action::Die);
        }
        world.run_for(Duration::from_secs(45));
        let ends = ends(&mut world);
        if dies {
            let dead = ends.iter().find(|end| !end.inbound).expect("found");
            assert_eq!(dead.cause, Cause::SessionExpired);
            continue;
        }
        assert!(ends.is_empty(), "{ends:?}");
        assert_eq!(world.call(callee).seen.byes, 0);
        let before = heard(&world, callee, 2);
        world.run_for(2 * SECOND);
        assert!(heard(&world, callee, 2) >= before + 90);
        world.act(caller, Action::HangUp);
        nothing_left(&mut world);
    }
}

#[test]
fn a_lost_offer_is_sent_again() {
    let (mut world, caller, callee) = standing(60, Manner::default().with_audio());
    let (left, to) = (Rc::new(Cell::new(3)), world.address(callee.agent));
    let lost = Rc::clone(&left);
    world.network.set_filter(move |_, datagram| {
        let is = datagram.to == to && datagram.bytes.starts_with(b"INVITE");
        if !is || lost.get() == 0 {
            return Fate::Pass;
        }
        lost.set(lost.get() - 1);
        Fate::Drop
    });
    world.act(caller, Action::Reinvite(Direction::Inactive));
    world.run_for(5 * SECOND);
    assert_eq!(left.get(), 0);
    assert_eq!(world.call(callee).seen.direction_told, Some(Direction::Inactive));
    assert_eq!(world.call(callee).seen.asked, [("INVITE".to_owned(), 200)]);
    world.act(caller, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}
