//! A description that names no place (`c=0.0.0.0`, `c=::`, in whatever spelling) is hold, wherever
//! it stands: offer, answer, late offer, re-INVITE (RFC 3264 section 8.4). Nothing is sent for it
//! and nothing is sent there; the next description that names a place ends it.

use world::World;

use crate::by_hand::{self, A, B, Call, Hand, Log, body, empty, header, media_port, packet, sdp};

const SPELLINGS: [&str; 4] = ["IP4 0.0.0.0", "IP6 ::", "IP6 0:0:0:0:0:0:0:0", "IP6 ::ffff:0.0.0.0"];

/// Where the description that names no place stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Offer,
    Answer,
    LateOffer,
    Reinvite,
}

const PLACES: [Place; 4] = [Place::Offer, Place::Answer, Place::LateOffer, Place::Reinvite];

fn there(host: &str, port: u16, version: u32) -> String {
    body("application/sdp", &sdp(host, port, version, "0"))
}

fn nowhere(host: &str, port: u16, version: u32, spelling: &str) -> String {
    let text = sdp(host, port, version, "0");
    let held = text.replace(&format!("c=IN IP4 {host}"), &format!("c=IN {spelling}"));
    assert_ne!(text, held);
    body("application/sdp", &held)
}

/// A call in which one description named no place; whose: A's, but for an answer.
fn held(world: &mut World, log: &Log, place: Place, spelling: &str) -> Call {
    if place == Place::Reinvite {
        let call = by_hand::call(world, log, "nowhere", ("0", "0"));
        let offer = nowhere("10.1.0.1", 4_000, 2, spelling);
        by_hand::send(world, A, &call.a.request("INVITE", 2, "", &offer));
        assert_eq!(log.all(A, "SIP/2.0 200", "2 INVITE").len(), 1, "{:?}", log.lines());
        by_hand::send(world, A, &call.a.request("ACK", 2, "", &empty()));
        agree_to_reinvite(world, log, &call.b, 5_000);
        return call;
    }
    let mut a = Hand::caller("nowhere");
    let offer = match place {
        Place::Offer => nowhere("10.1.0.1", 4_000, 1, spelling),
        Place::LateOffer => empty(),
        _ => there("10.1.0.1", 4_000, 1),
    };
    by_hand::send(world, A, &a.request("INVITE", 1, "", &offer));
    let invite = log.last(B, "INVITE", "");
    let b = Hand::callee(&invite, "b");
    let answer = match place {
        Place::Answer => nowhere("10.1.0.2", 5_000, 1, spelling),
        _ => there("10.1.0.2", 5_000, 1),
    };
    by_hand::send(world, B, &b.reply(&invite, "200 OK", "", &answer));
    let ok = log.last(A, "SIP/2.0 200", "INVITE");
    header(&ok, "To").clone_into(&mut a.to);
    let late = match place {
        Place::LateOffer => nowhere("10.1.0.1", 4_000, 1, spelling),
        _ => empty(),
    };
    by_hand::send(world, A, &a.request("ACK", 1, "", &late));
    let ports = (media_port(&ok), media_port(&invite));
    if place == Place::LateOffer {
        // B was described a place before A said that it is at none.
        agree_to_reinvite(world, log, &b, 5_000);
        world.run_for(crate::common::ms(200));
        let told = log.last(B, "INVITE", "");
        assert!(told.contains("a=sendonly") && told != invite, "{told}");
        agree_to_reinvite(world, log, &b, 5_000);
    }
    Call { a, b, ports }
}

/// The other far end agrees to whatever it is offered.
fn agree_to_reinvite(world: &mut World, log: &Log, hand: &Hand, port: u16) {
    let host = hand.address.split(':').next().unwrap();
    let Some(invite) = log.all(hand.address, "INVITE", "").pop() else { return };
    let answer = there(host, port, 9);
    by_hand::send(world, hand.address, &hand.reply(&invite, "200 OK", "", &answer));
}

/// What each side hears of twenty packets of the other: (A, B).
fn heard(world: &mut World, log: &Log, call: &Call, first: u16) -> (usize, usize) {
    let before = (log.media("10.1.0.1:4000"), log.media("10.1.0.2:5000"));
    for seq in first..first + 20 {
        packet(world, "10.1.0.1:4000", call.ports.0, (seq, 0xa));
        packet(world, "10.1.0.2:5000", call.ports.1, (seq, 0xb));
        world.run_for(crate::common::ms(20));
    }
    let after = (log.media("10.1.0.1:4000"), log.media("10.1.0.2:5000"));
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn no_place_is_hold_in_every_description_and_ends_with_the_next() {
    for place in PLACES {
        for spelling in SPELLINGS {
            let (mut world, log) = by_hand::world_by_hand(1);
            let call = held(&mut world, &log, place, spelling);
            let case = format!("{place:?} {spelling}");
            world.run_for(crate::common::SECOND);
            let (a, b) = heard(&mut world, &log, &call, 100);
            let (holder, other) = if place == Place::Answer { (b, a) } else { (a, b) };
            assert_eq!(holder, 0, "{case}: the holder is sent nothing");
            assert!(other >= 15, "{case}: the holder is heard: {other}");
            let stray = log.lines().iter().filter(|line| line.contains("0.0.0.0")).count();
            assert_eq!(stray, 0, "{case}");

            let (resumer, waiter, host, port, peer_port) = match place {
                Place::Answer => (&call.b, &call.a, "10.1.0.2", 5_000, 4_000),
                _ => (&call.a, &call.b, "10.1.0.1", 4_000, 5_000),
            };
            log.clear();
            let request = resumer.request("INVITE", 7, "", &there(host, port, 3));
            by_hand::send(&mut world, resumer.address, &request);
            by_hand::send(&mut world, resumer.address, &resumer.request("ACK", 7, "", &empty()));
            agree_to_reinvite(&mut world, &log, waiter, peer_port);
            let (a, b) = heard(&mut world, &log, &call, 200);
            assert!(a >= 15 && b >= 15, "{case}: resumed: {a} {b}; {:?}", log.lines());
        }
    }
}
