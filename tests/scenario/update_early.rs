//! UPDATE with an offer before the answer (RFC 3311): by a callee that rings and whose early answer
//! was acknowledged, by a caller that has acknowledged ours, and across the 200.

use wire::counter::Counter;

use crate::by_hand::{self, A, B, described, empty, header, packet};
use crate::common::{SECOND, count, ends, ms};
use crate::reliable_caller::Asked;

/// B says 183 with its description, reliably or not; ours is acknowledged.
fn early(call: &mut Asked, is_reliable: bool) {
    let more = if is_reliable { "Require: 100rel\nRSeq: 1\n" } else { "" };
    let sdp = described("10.1.0.2", 5_000, 1, "0");
    let text = call.b.reply(&call.invite, "183 Session Progress", more, &sdp);
    by_hand::send(&mut call.world, B, &text);
    if is_reliable {
        let prack = call.log.last(B, "PRACK", "");
        by_hand::send(&mut call.world, B, &call.b.reply(&prack, "200 OK", "", &empty()));
    }
}

fn b_updates(call: &mut Asked, cseq: u32, port: u16, version: u32) -> String {
    let sdp = described("10.1.0.2", port, version, "8 0");
    by_hand::send(&mut call.world, B, &call.b.request("UPDATE", cseq, "", &sdp));
    call.log.last(B, "SIP/2.0", &format!("{cseq} UPDATE"))
}

/// B answers, with this description or without, and A hangs up after a while.
fn stands(mut call: Asked, sdp: &str) {
    by_hand::send(&mut call.world, B, &call.b.reply(&call.invite, "200 OK", "", sdp));
    let ok = call.log.last(A, "SIP/2.0 200", "CSeq: 1 INVITE");
    header(&ok, "To").clone_into(&mut call.a.to);
    call.a_sends("ACK", 1, "", &empty());
    call.world.run_for(5 * SECOND);
    assert!(ends(&mut call.world).is_empty(), "{:?}", call.log.lines());
    for _ in 0..3 {
        // Whatever is offered anew meanwhile is taken.
        for (at, own) in [(A, &call.a), (B, &call.b)] {
            for invite in call.log.all(at, "INVITE", "") {
                if invite.contains(";tag=a\n") == (at == A) && header(&invite, "To").contains("tag")
                {
                    let port = if at == A { 4_000 } else { 5_002 };
                    let host = if at == A { "10.1.0.1" } else { "10.1.0.2" };
                    let sdp = described(host, port, 9, "0");
                    by_hand::send(&mut call.world, at, &own.reply(&invite, "200 OK", "", &sdp));
                }
            }
        }
        call.world.run_for(SECOND);
    }
    call.a_sends("BYE", 9, "", &empty());
    let bye = call.log.last(B, "BYE", "");
    by_hand::send(&mut call.world, B, &call.b.reply(&bye, "200 OK", "", &empty()));
    by_hand::nothing_left(&mut call.world);
    assert_eq!(count(&call.world, Counter::LegPanicked), 0);
}

#[test]
fn a_callee_that_rings_may_change_its_session() {
    for (seed, sdp) in [(1, empty()), (2, described("10.1.0.2", 5_000, 1, "0"))] {
        let mut call = Asked::new(seed, "", "0 8");
        early(&mut call, true);
        for (cseq, port, version) in [(20, 5_002, 2), (21, 5_004, 3)] {
            let answer = b_updates(&mut call, cseq, port, version);
            assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
            assert!(answer.contains("m=audio ") && answer.contains("Contact: <sip:tandem@"));
        }
        // What A says goes where B is now.
        let ok = call.log.last(A, "SIP/2.0 183", "");
        header(&ok, "To").clone_into(&mut call.a.to);
        let port = by_hand::media_port(&ok);
        for seq in 0..5 {
            packet(&mut call.world, "10.1.0.1:4000", port, (seq, 7));
            call.world.run_for(ms(20));
        }
        let (now, before) = (call.log.media("10.1.0.2:5004"), call.log.media("10.1.0.2:5000"));
        assert!(now > 0 && before == 0, "{now} {before}");
        // The description of before, should the answer repeat it, is not taken for a new one.
        stands(call, &sdp);
    }
}

/// Without an acknowledged answer its offer must wait: ours is open.
#[test]
fn a_callee_without_an_acknowledged_answer_must_wait() {
    let mut call = Asked::new(3, "", "0 8");
    early(&mut call, false);
    let refused = b_updates(&mut call, 20, 5_002, 2);
    assert!(refused.starts_with("SIP/2.0 491"), "{refused}");
    stands(call, &described("10.1.0.2", 5_000, 1, "0"));
}

/// The offer and the 200 cross: the one that comes later is the later one.
#[test]
fn an_update_that_crosses_the_answer_is_answered() {
    for seed in 4..8 {
        let mut call = Asked::new(seed, "", "0 8");
        early(&mut call, true);
        let sdp = described("10.1.0.2", 5_002, 2, "0");
        let update = call.b.request("UPDATE", 20, "", &sdp);
        let ok = call.b.reply(&call.invite, "200 OK", "", &empty());
        let (first, then) = if seed % 2 == 0 { (&update, &ok) } else { (&ok, &update) };
        for text in [first, then] {
            let bytes = text.replace('\n', "\r\n").into_bytes();
            let (from, to) = (B.parse().unwrap(), world::plane::listener());
            call.world.inject(world::Datagram { from, to, bytes });
        }
        call.world.run_for(ms(100));
        let answer = call.log.last(B, "SIP/2.0", "20 UPDATE");
        assert!(answer.starts_with("SIP/2.0 200") || answer.starts_with("SIP/2.0 491"), "{answer}");
        stands(call, &empty());
    }
}

/// Another target is asked: what the one before had agreed to is void.
#[test]
fn a_refusal_after_an_update_ends_it() {
    let mut call = Asked::new(9, "", "0 8");
    early(&mut call, true);
    let answer = b_updates(&mut call, 20, 5_002, 2);
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    let busy = call.b.reply(&call.invite, "486 Busy Here", "", &empty());
    by_hand::send(&mut call.world, B, &busy);
    call.log.last(A, "SIP/2.0 486", "CSeq: 1 INVITE");
    call.a_ends("ACK");
    by_hand::nothing_left(&mut call.world);
    assert_eq!(count(&call.world, Counter::LegPanicked), 0);
}
