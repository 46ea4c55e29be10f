//! A callee whose provisional responses are to be acknowledged (RFC 3262 section 4): each once, in
//! its early dialog, in its order; and whatever becomes of a PRACK, the call goes on.

use wire::counter::Counter;
use world::Datagram;

use crate::by_hand::{self, A, B, Hand, described, empty, header};
use crate::common::{SECOND, count, ends, ms};
use crate::reliable_caller::Asked;

/// `183 Session Progress` of this branch with this number, described from this port (0: not).
fn early(call: &mut Asked, branch: &Hand, rseq: u32, port: u16) {
    let sdp = if port == 0 { empty() } else { described("10.1.0.2", port, 1, "0") };
    let more = format!("Require: 100rel\nRSeq: {rseq}\n");
    let text = branch.reply(&call.invite, "183 Session Progress", &more, &sdp);
    by_hand::send(&mut call.world, B, &text);
}

/// Every PRACK of this branch so far, each once.
fn pracks(call: &Asked, tag: &str) -> Vec<String> {
    let mut all = call.log.all(B, "PRACK", &format!(";tag={tag}\n"));
    all.dedup();
    all
}

fn says(call: &mut Asked, branch: &Hand, request: &str, status: &str) {
    let text = branch.reply(request, status, "", &empty());
    by_hand::send(&mut call.world, B, &text);
}

/// B answers, the call stands for a while, and A hangs up: the numbers of ACK and BYE.
fn stands(call: Asked, branch: &Hand, description: bool) -> (String, String) {
    let mut call = call;
    let sdp = if description { described("10.1.0.2", 5_000, 1, "0") } else { empty() };
    let text = branch.reply(&call.invite, "200 OK", "", &sdp);
    by_hand::send(&mut call.world, B, &text);
    let ok = call.log.last(A, "SIP/2.0 200", "CSeq: 1 INVITE");
    header(&ok, "To").clone_into(&mut call.a.to);
    call.a_sends("ACK", 1, "", &empty());
    call.world.run_for(5 * SECOND);
    assert!(ends(&mut call.world).is_empty(), "{:?}", call.log.lines());
    call.a_sends("BYE", 9, "", &empty());
    let bye = call.log.last(B, "BYE", "");
    says(&mut call, branch, &bye, "200 OK");
    let ack = call.log.last(B, "ACK", "");
    by_hand::nothing_left(&mut call.world);
    assert_eq!(count(&call.world, Counter::LegPanicked), 0);
    (header(&ack, "CSeq").to_owned(), header(&bye, "CSeq").to_owned())
}

#[test]
fn each_one_is_acknowledged_once() {
    let mut call = Asked::new(1, "", "0");
    let mut b = call.b.clone();
    early(&mut call, &b, 4_711, 0);
    let prack = call.log.last(B, "PRACK", "");
    assert_eq!(header(&prack, "RAck"), "4711 1 INVITE");
    assert_eq!(header(&prack, "CSeq"), "2 PRACK");
    assert!(prack.starts_with("PRACK sip:b@10.1.0.2:5060 "), "{prack}");
    assert_eq!(
        (header(&prack, "From"), header(&prack, "To")),
        (header(&call.invite, "From"), &*b.from)
    );
    let rings = call.log.last(A, "SIP/2.0 183", "");
    assert!(!rings.contains("100rel") && !rings.contains("RSeq"), "{rings}");
    // Its answer is lost: at 0, 0.5, 1.5 and 3.5 s; the response comes again meanwhile.
    for _ in 0..3 {
        early(&mut call, &b, 4_711, 0);
    }
    call.world.run_for(4 * SECOND);
    let sent = call.log.all(B, "PRACK", "");
    assert!(sent.len() == 4 && sent.iter().all(|text| *text == prack), "{sent:?}");
    says(&mut call, &b, &prack, "200 OK");
    early(&mut call, &b, 4_711, 0);
    call.world.run_for(10 * SECOND);
    assert_eq!(call.log.all(B, "PRACK", "").len(), 4);
    assert_eq!(call.log.all(A, "SIP/2.0 18", "").len(), 1, "its repetitions are nobody's");
    assert_eq!(count(&call.world, Counter::DiscardSipReliable), 0, "nor out of their turn");
    // The next one is one more, whatever its status; its Contact is where the dialog is now.
    b.contact = "<sip:moved@10.1.0.2:5060>".to_owned();
    let more = "Require: 100rel\nRSeq: 4712\n";
    let text = b.reply(&call.invite, "180 Ringing", more, &empty());
    by_hand::send(&mut call.world, B, &text);
    let next = call.log.last(B, "PRACK", "4712 1 INVITE");
    assert_eq!(header(&next, "CSeq"), "3 PRACK");
    assert!(next.starts_with("PRACK sip:moved@10.1.0.2:5060 "), "{next}");
    says(&mut call, &b, &next, "200 OK");
    assert_eq!(stands(call, &b, true), ("1 ACK".into(), "4 BYE".into()));
}

#[test]
fn one_out_of_its_turn_is_not_acknowledged() {
    let mut call = Asked::new(2, "", "0");
    let b = call.b.clone();
    for (rseq, sent, dropped) in [(10, 1, 0), (12, 1, 1), (9, 1, 2), (11, 2, 2), (12, 3, 2)] {
        early(&mut call, &b, rseq, 0);
        let pracks = pracks(&call, "b");
        assert_eq!(pracks.len(), sent, "{rseq}");
        assert_eq!(count(&call.world, Counter::DiscardSipReliable), dropped, "{rseq}");
        says(&mut call, &b, &pracks[sent - 1], "200 OK");
    }
    assert_eq!(call.log.all(A, "SIP/2.0 18", "").len(), 3, "nor looked at further");
    stands(call, &b, true);
}

/// What only says that it is reliable cannot be acknowledged, and what only has a number need not.
#[test]
fn what_is_not_reliable_is_not_acknowledged() {
    let mut call = Asked::new(3, "", "0");
    let b = call.b.clone();
    for more in ["Require: 100rel\n", "RSeq: 5\n", "Require: 100rel\nRSeq: 0\n"] {
        let text = b.reply(&call.invite, "180 Ringing", more, &empty());
        by_hand::send(&mut call.world, B, &text);
    }
    let text = b.reply(&call.invite, "100 Trying", "Require: 100rel\nRSeq: 5\n", &empty());
    by_hand::send(&mut call.world, B, &text);
    assert!(call.log.all(B, "PRACK", "").is_empty());
    assert_eq!(call.log.all(A, "SIP/2.0 180", "").len(), 3, "it rings all the same");
    stands(call, &b, true);
}

/// The branches of a forking proxy have numbers of their own, and so have our requests in each.
#[test]
fn each_branch_has_its_own_numbers() {
    let mut call = Asked::new(4, "", "0");
    let branch = |tag: &str| {
        let contact = format!("<sip:{tag}@10.1.0.2:5060>");
        Hand { contact, ..Hand::callee(&call.invite, tag) }
    };
    let (one, two) = (branch("b1"), branch("b2"));
    for (hand, rseq, port) in
        [(&one, 100, 5_000), (&two, 7, 6_000), (&one, 101, 5_000), (&two, 8, 0), (&one, 102, 0)]
    {
        early(&mut call, hand, rseq, port);
        let prack = call.log.last(B, "PRACK", &format!("RAck: {rseq} 1 INVITE"));
        says(&mut call, hand, &prack, "200 OK");
    }
    let said = |tag: &str| -> Vec<(String, bool)> {
        let target = format!("PRACK sip:{tag}@10.1.0.2:5060 ");
        let of = |text: String| (header(&text, "CSeq").to_owned(), text.starts_with(&target));
        pracks(&call, tag).into_iter().map(of).collect()
    };
    let numbers = |from: u32, to: u32| -> Vec<(String, bool)> {
        (from..=to).map(|number| (format!("{number} PRACK"), true)).collect()
    };
    assert_eq!(said("b1"), numbers(2, 4));
    assert_eq!(said("b2"), numbers(2, 3));
    assert_eq!(count(&call.world, Counter::DiscardSipReliable), 0);
    assert_eq!(stands(call, &one, true), ("1 ACK".into(), "5 BYE".into()));
}

/// Of a branch that there is no room for nothing is acknowledged: it gives up by itself.
#[test]
fn a_branch_too_many_is_not_acknowledged() {
    let mut call = Asked::new(5, "", "0");
    let tags = ["b1", "b2", "b3", "b4", "b5"];
    let hands: Vec<Hand> = tags.iter().map(|tag| Hand::callee(&call.invite, tag)).collect();
    for hand in &hands {
        early(&mut call, hand, 1, 0);
    }
    let sent: Vec<usize> = tags.iter().map(|tag| pracks(&call, tag).len()).collect();
    assert_eq!(sent, [1, 1, 1, 1, 0]);
    assert_eq!(count(&call.world, Counter::DiscardSipReliable), 1);
    stands(call, &hands[1], true);
}

/// Each PRACK is a transaction of ours: a far end has its share of them, and goes on later.
#[test]
fn a_flood_of_them_is_not_acknowledged() {
    let mut call = Asked::new(14, "", "0");
    let b = call.b.clone();
    for rseq in 1..=100 {
        let more = format!("Require: 100rel\nRSeq: {rseq}\n");
        let text = b.reply(&call.invite, "180 Ringing", &more, &empty());
        let bytes = text.replace('\n', "\r\n").into_bytes();
        let (from, to) = (B.parse().unwrap(), world::plane::listener());
        call.world.inject(Datagram { from, to, bytes });
    }
    call.world.run_for(ms(100));
    let sent = pracks(&call, "b").len();
    assert!((30..=35).contains(&sent), "{sent}");
    call.world.run_for(2 * SECOND);
    early(&mut call, &b, u32::try_from(sent).unwrap() + 1, 5_000);
    assert!(!call.log.all(B, "PRACK", &format!("RAck: {} 1", sent + 1)).is_empty());
    stands(call, &b, true);
}

/// The second answer's dialog has seen a PRACK: its BYE has the number behind that.
#[test]
fn a_second_answer_is_ended_behind_its_prack() {
    let mut call = Asked::new(6, "", "0");
    let (one, two) = (Hand::callee(&call.invite, "b1"), Hand::callee(&call.invite, "b2"));
    for (hand, rseq) in [(&one, 1), (&two, 1), (&two, 2), (&two, 3)] {
        early(&mut call, hand, rseq, 0);
        let prack = call.log.last(B, "PRACK", "");
        says(&mut call, hand, &prack, "200 OK");
    }
    let answer = described("10.1.0.2", 5_000, 1, "0");
    for hand in [&one, &two] {
        let text = hand.reply(&call.invite, "200 OK", "", &answer);
        by_hand::send(&mut call.world, B, &text);
    }
    let ack = call.log.last(B, "ACK", ";tag=b2");
    let bye = call.log.last(B, "BYE", ";tag=b2");
    assert_eq!((header(&ack, "CSeq"), header(&bye, "CSeq")), ("1 ACK", "5 BYE"));
}

/// A's CANCEL meets B's answer: B's dialog is ended behind its PRACK, which is not repeated.
#[test]
fn a_cancel_ends_what_is_open() {
    for answers in [true, false] {
        let mut call = Asked::new(7, "", "0");
        let b = call.b.clone();
        early(&mut call, &b, 1, 5_000);
        call.log.last(B, "PRACK", "");
        call.a_ends("CANCEL");
        call.log.last(A, "SIP/2.0 487", "1 INVITE");
        call.a_ends("ACK");
        let cancel = call.log.last(B, "CANCEL", "");
        early(&mut call, &b, 2, 0);
        call.world.run_for(3 * SECOND);
        assert_eq!(call.log.all(B, "PRACK", "").len(), 1, "{:?}", call.log.lines());
        if answers {
            says(&mut call, &b, &cancel, "481 Call/Transaction Does Not Exist");
            call.b_says("200 OK", true);
            let (ack, bye) = (call.log.last(B, "ACK", ""), call.log.last(B, "BYE", ""));
            assert_eq!((header(&ack, "CSeq"), header(&bye, "CSeq")), ("1 ACK", "3 BYE"));
            says(&mut call, &b, &bye, "200 OK");
        } else {
            call.b_is_cancelled();
        }
        by_hand::nothing_left(&mut call.world);
        assert_eq!(ends(&mut call.world).len(), 2);
    }
}

/// B answers before its 200 to the PRACK, or never says it, or says that it knows no such thing.
#[test]
fn whatever_becomes_of_a_prack_the_call_goes_on() {
    for status in ["", "481 Call/Transaction Does Not Exist", "405 Method Not Allowed"] {
        let mut call = Asked::new(8, "", "0");
        let b = call.b.clone();
        early(&mut call, &b, 1, 5_000);
        let prack = call.log.last(B, "PRACK", "");
        if status.is_empty() {
            call.world.run_for(20 * SECOND);
            assert!(call.log.all(B, "PRACK", "").len() >= 6);
        } else {
            says(&mut call, &b, &prack, status);
        }
        assert_eq!(stands(call, &b, true), ("1 ACK".into(), "3 BYE".into()));
    }
}

/// The description was in the reliable response: the 200 need not repeat it (RFC 6337 section 3.1).
#[test]
fn a_final_answer_may_rely_on_the_acknowledged_one() {
    let mut call = Asked::new(9, "", "0");
    let b = call.b.clone();
    early(&mut call, &b, 1, 5_000);
    let prack = call.log.last(B, "PRACK", "");
    assert!(!prack.contains("m=audio"));
    says(&mut call, &b, &prack, "200 OK");
    stands(call, &b, false);
}

/// A provisional response behind the final one is late: nothing waits for its PRACK.
#[test]
fn one_behind_the_answer_is_nobodys() {
    let mut call = Asked::new(10, "", "0");
    let b = call.b.clone();
    call.b_says("200 OK", true);
    early(&mut call, &b, 1, 5_000);
    assert!(call.log.all(B, "PRACK", "").is_empty());
}

/// The INVITE is sent once more (RFC 4028 section 7.3): numbers begin anew.
#[test]
fn a_second_invite_begins_anew() {
    let mut call = Asked::new(11, "", "0");
    let b = call.b.clone();
    early(&mut call, &b, 500, 0);
    let prack = call.log.last(B, "PRACK", "500 1 INVITE");
    says(&mut call, &b, &prack, "200 OK");
    let text = b.reply(&call.invite, "422 Session Interval Too Small", "Min-SE: 3600\n", &empty());
    by_hand::send(&mut call.world, B, &text);
    call.invite = call.log.last(B, "INVITE", "CSeq: 2 INVITE");
    early(&mut call, &b, 3, 5_000);
    let prack = call.log.last(B, "PRACK", "RAck: 3 2 INVITE");
    assert_eq!(header(&prack, "CSeq"), "3 PRACK");
    says(&mut call, &b, &prack, "200 OK");
    assert_eq!(stands(call, &b, true), ("2 ACK".into(), "4 BYE".into()));
}

/// Record-Route of the response is the PRACK's route (RFC 3261 section 12.1.2). A CANCEL goes where
/// the INVITE went, and so does a successor's.
#[test]
fn a_prack_goes_along_the_route() {
    for dies in [false, true] {
        let mut call = Asked::new(12, "", "0");
        let more = "Require: 100rel\nRSeq: 1\nRecord-Route: <sip:10.1.0.2:5070;lr>, \
                    <sip:10.1.0.2:5080;lr>\n";
        let text = call.b.reply(&call.invite, "183 Session Progress", more, &empty());
        by_hand::send(&mut call.world, B, &text);
        let prack = call.log.last("10.1.0.2:5080", "PRACK sip:b@10.1.0.2:5060 ", "");
        let route = "<sip:10.1.0.2:5080;lr>, <sip:10.1.0.2:5070;lr>";
        assert_eq!(header(&prack, "Route"), route);
        if dies {
            call.world.restart_plane(SECOND);
            call.world.run_for(5 * SECOND);
        } else {
            call.a_ends("CANCEL");
        }
        call.log.last(B, "CANCEL", "");
    }
}

/// The dataplane dies while a PRACK is open and one of ours waits: its successor ends both sides,
/// and an answer that crosses gets a BYE behind the PRACK.
#[test]
fn a_successor_ends_what_was_acknowledged_early() {
    let mut call = Asked::new(13, "Require: 100rel\n", "0");
    let b = call.b.clone();
    early(&mut call, &b, 1, 5_000);
    let prack = call.log.last(B, "PRACK", "");
    says(&mut call, &b, &prack, "200 OK");
    call.log.last(A, "SIP/2.0 183", "RSeq");
    call.log.clear();
    call.world.restart_plane(SECOND);
    call.world.run_for(5 * SECOND);
    call.log.last(A, "SIP/2.0 500", "1 INVITE");
    assert!(call.log.all(A, "SIP/2.0 183", "").is_empty());
    call.log.last(B, "CANCEL", "");
    call.b_says("200 OK", true);
    let bye = call.log.last(B, "BYE", "");
    let number: u32 = header(&bye, "CSeq").split(' ').next().unwrap().parse().unwrap();
    assert!(number > 2, "behind the PRACK: {bye}");
}
