//! A caller that acknowledges provisional responses (RFC 3262 section 3): each in its turn, again
//! until its PRACK comes, and no 2xx before a description is acknowledged.

use wire::counter::Counter;
use wire::table::{StaticRoute, Table};
use world::World;

use crate::by_hand::{self, A, B, Hand, Log, described, empty, header, media_port, world_by_hand};
use crate::common::{SECOND, count, ends, ms, publish, route_to, told};

pub(crate) const REQUIRED: &str = "Require: 100rel\n";
pub(crate) const SUPPORTED: &str = "Supported: timer, 100rel\n";

/// A call of A to B, by hand.
pub(crate) struct Asked {
    pub(crate) world: World,
    pub(crate) log: Log,
    pub(crate) a: Hand,
    pub(crate) b: Hand,
    /// As B got it.
    pub(crate) invite: String,
}

impl Asked {
    /// A says `more` in its INVITE, and describes itself in these formats; empty for no offer.
    pub(crate) fn new(seed: u64, more: &str, formats: &str) -> Self {
        let (mut world, log) = world_by_hand(seed);
        let route = StaticRoute { ring_s: 120, ..route_to(&world, &[1]) };
        publish(&mut world, &Table { routes: vec![route], admission: None, ..Table::default() });
        let a = Hand::caller("reliable");
        let offer = match formats {
            "" => empty(),
            formats => described("10.1.0.1", 4_000, 1, formats),
        };
        by_hand::send(&mut world, A, &a.request("INVITE", 1, more, &offer));
        let invite = log.last(B, "INVITE", "");
        let b = Hand::callee(&invite, "b");
        Self { world, log, a, b, invite }
    }

    /// B says this of the INVITE, with its description or without.
    pub(crate) fn b_says(&mut self, status: &str, is_described: bool) {
        let sdp = match is_described {
            true => described("10.1.0.2", 5_000, 1, "0"),
            false => empty(),
        };
        by_hand::send(&mut self.world, B, &self.b.reply(&self.invite, status, "", &sdp));
    }

    pub(crate) fn a_sends(&mut self, method: &str, cseq: u32, more: &str, sdp: &str) {
        by_hand::send(&mut self.world, A, &self.a.request(method, cseq, more, sdp));
    }

    /// What A was told of its INVITE beyond 100, in order, repetitions included.
    fn heard(&self) -> Vec<String> {
        let all = self.log.all(A, "SIP/2.0 ", "CSeq: 1 INVITE");
        all.into_iter().filter(|text| !text.starts_with("SIP/2.0 100")).collect()
    }

    /// The newest of them, which must be reliable: its RSeq.
    pub(crate) fn rseq(&mut self, status: &str, is_described: bool) -> u32 {
        let text = self.heard().pop().expect("nothing was heard");
        assert!(text.starts_with(&format!("SIP/2.0 {status}")), "{text}");
        assert_eq!(header(&text, "Require"), "100rel", "{text}");
        assert_eq!(text.contains("m=audio"), is_described, "{text}");
        header(&text, "To").clone_into(&mut self.a.to);
        let rseq = header(&text, "RSeq").parse().expect("a number");
        assert!((1..1 << 31).contains(&rseq), "RFC 3262 section 3: {rseq}");
        rseq
    }

    /// A acknowledges this one: the status of the answer.
    pub(crate) fn prack(&mut self, cseq: u32, rack: &str, sdp: &str) -> String {
        self.a_sends("PRACK", cseq, &format!("RAck: {rack}\n"), sdp);
        let answer = self.log.last(A, "SIP/2.0", &format!("CSeq: {cseq} PRACK"));
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    pub(crate) fn acknowledges(&mut self, cseq: u32, rseq: u32) {
        assert_eq!(self.prack(cseq, &format!("{rseq} 1 INVITE"), &empty()), "200");
    }

    /// In the INVITE's transaction: a CANCEL, or the ACK of a refusal.
    pub(crate) fn a_ends(&mut self, method: &str) {
        let hand = match method {
            "ACK" => self.a.clone(),
            _ => Hand::caller("reliable"),
        };
        let text = hand.request(method, 1, "", &empty());
        let text = text.replace(&format!("reliable{method}1"), "reliableINVITE1");
        by_hand::send(&mut self.world, A, &text);
    }

    /// B's INVITE is cancelled.
    pub(crate) fn b_is_cancelled(&mut self) {
        let cancel = self.log.last(B, "CANCEL", "");
        by_hand::send(&mut self.world, B, &self.b.reply(&cancel, "200 OK", "", &empty()));
        self.b_says("487 Request Terminated", false);
    }

    /// A has its 200 and acknowledges it: the call stands, and ends.
    fn stands(mut self) {
        let ok = self.log.last(A, "SIP/2.0 200", "CSeq: 1 INVITE");
        assert!(!header(&ok, "Require").contains("100rel") && !ok.contains("RSeq"), "{ok}");
        header(&ok, "To").clone_into(&mut self.a.to);
        self.a_sends("ACK", 1, "", &empty());
        self.world.run_for(2 * SECOND);
        self.log.last(B, "ACK", "");
        assert!(ends(&mut self.world).is_empty(), "{:?}", self.log.lines());
        assert!(told(&mut self.world).contains(&"joined"));
        self.log.clear();
        self.world.run_for(40 * SECOND);
        assert!(self.log.all(A, "SIP/2.0 1", "").is_empty(), "{:?}", self.log.lines());
        self.a_sends("BYE", 90, "", &empty());
        let bye = self.log.last(B, "BYE", "");
        by_hand::send(&mut self.world, B, &self.b.reply(&bye, "200 OK", "", &empty()));
        self.over();
    }

    pub(crate) fn over(&mut self) {
        by_hand::nothing_left(&mut self.world);
        assert_eq!(count(&self.world, Counter::LegPanicked), 0);
        assert_eq!(ends(&mut self.world).len(), 2);
    }
}

#[test]
fn whoever_requires_it_acknowledges_every_ringing() {
    let mut call = Asked::new(1, REQUIRED, "0");
    assert!(call.heard().is_empty(), "100 is not acknowledged: {:?}", call.log.lines());
    call.b_says("180 Ringing", false);
    let first = call.rseq("180", false);
    call.acknowledges(2, first);
    call.b_says("183 Session Progress", true);
    let second = call.rseq("183", true);
    assert_eq!(second, first + 1);
    call.acknowledges(3, second);
    call.b_says("180 Ringing", false);
    let third = call.rseq("180", false);
    assert_eq!(third, first + 2);
    call.acknowledges(4, third);
    assert_eq!(call.heard().len(), 3);
    call.world.run_for(10 * SECOND);
    assert_eq!(call.heard().len(), 3, "what was acknowledged does not come again");
    call.b_says("200 OK", true);
    call.stands();
}

/// A plain ringing may be lost; early media that the caller does not hear of may not.
#[test]
fn whoever_only_supports_it_acknowledges_early_media() {
    let mut call = Asked::new(2, SUPPORTED, "0");
    call.b_says("180 Ringing", false);
    let rings = call.heard().pop().unwrap();
    assert_eq!((header(&rings, "RSeq"), header(&rings, "Require")), ("", ""), "{rings}");
    call.b_says("183 Session Progress", true);
    let early = call.rseq("183", true);
    call.acknowledges(2, early);
    call.b_says("183 Session Progress", true);
    let again = call.heard().pop().unwrap();
    assert!(!again.contains("RSeq") && !again.contains("m=audio"), "it has its answer: {again}");
    call.b_says("200 OK", true);
    call.stands();
}

/// The far ends know nothing of each other's ways.
#[test]
fn whoever_does_not_know_it_hears_nothing_of_it() {
    let mut call = Asked::new(3, "", "0");
    for (status, early) in [("180 Ringing", false), ("183 Session Progress", true)] {
        let sdp = if early { described("10.1.0.2", 5_000, 1, "0") } else { empty() };
        let more = format!("Require: 100rel\nRSeq: {}\n", if early { 8 } else { 7 });
        let text = call.b.reply(&call.invite, status, &more, &sdp);
        by_hand::send(&mut call.world, B, &text);
        let prack = call.log.last(B, "PRACK", "");
        by_hand::send(&mut call.world, B, &call.b.reply(&prack, "200 OK", "", &empty()));
    }
    assert_eq!(call.heard().len(), 2);
    assert!(call.heard().iter().all(|text| !text.contains("100rel") && !text.contains("RSeq")));
    call.b_says("200 OK", true);
    call.stands();
}

/// At 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s, and at 32 s the call is over.
#[test]
fn without_any_prack_the_call_is_refused() {
    let mut call = Asked::new(4, REQUIRED, "0");
    call.b_says("183 Session Progress", true);
    call.rseq("183", true);
    call.world.run_for(ms(31_900));
    let heard = call.log.timed(A, "SIP/2.0 183", "");
    let begun = heard[0].0;
    let after: Vec<u64> = heard.iter().map(|(at, _)| (at.0 - begun.0) / 1_000_000).collect();
    let due = [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500];
    assert!(after.len() == 7 && after.iter().zip(due).all(|(at, due)| at - due < 10), "{after:?}");
    assert!(heard.iter().all(|(_, text)| *text == heard[0].1));
    assert!(call.log.all(B, "CANCEL", "").is_empty());
    call.world.run_for(SECOND);
    call.log.last(A, "SIP/2.0 504", "1 INVITE");
    call.a_ends("ACK");
    call.b_is_cancelled();
    assert!(ends(&mut call.world).iter().all(|end| end.billed_ms == 0));
    call.over();
}

/// The first ones are lost, and so is an answer to PRACK: it is asked again by the same request.
#[test]
fn what_is_lost_comes_again() {
    let mut call = Asked::new(5, REQUIRED, "0");
    call.b_says("180 Ringing", false);
    let rseq = call.rseq("180", false);
    call.world.run_for(4 * SECOND);
    assert_eq!(call.heard().len(), 4);
    for _ in 0..3 {
        call.acknowledges(2, rseq);
    }
    assert_eq!(call.log.all(A, "SIP/2.0 200", "2 PRACK").len(), 3);
    call.world.run_for(30 * SECOND);
    assert_eq!(call.heard().len(), 4);
    call.b_says("200 OK", true);
    call.stands();
}

#[test]
fn a_prack_of_something_else_is_refused() {
    let mut call = Asked::new(6, REQUIRED, "0");
    call.b_says("180 Ringing", false);
    let rseq = call.rseq("180", false);
    let next = rseq + 1;
    for (cseq, rack) in (2..).zip([
        format!("{next} 1 INVITE"),
        format!("{rseq} 2 INVITE"),
        format!("{rseq} 1 BYE"),
        "0 1 INVITE".to_owned(),
    ]) {
        assert_eq!(call.prack(cseq, &rack, &empty()), "481", "{rack}");
    }
    for (cseq, more) in [(6, "RAck: nonsense\n"), (7, "")] {
        call.a_sends("PRACK", cseq, more, &empty());
        call.log.last(A, "SIP/2.0 400", &format!("{cseq} PRACK"));
    }
    call.world.run_for(ms(1_600));
    assert!(call.heard().len() >= 3, "it is not acknowledged: {:?}", call.log.lines());
    call.acknowledges(8, rseq);
    assert_eq!(call.prack(9, &format!("{rseq} 1 INVITE"), &empty()), "481", "nothing waits");
    call.b_says("200 OK", true);
    call.stands();
}

/// One at a time: the newest status, and the description whichever came last.
#[test]
fn what_comes_meanwhile_waits_for_the_prack() {
    for early_first in [true, false] {
        let mut call = Asked::new(7, REQUIRED, "0");
        call.b_says("180 Ringing", false);
        let first = call.rseq("180", false);
        let more = [("183 Session Progress", true), ("182 Queued", false)];
        for at in if early_first { [0, 1] } else { [1, 0] } {
            call.b_says(more[at].0, more[at].1);
        }
        assert_eq!(call.heard().len(), 1, "{:?}", call.log.lines());
        call.acknowledges(2, first);
        assert_eq!(call.heard().len(), 2, "both in one: {:?}", call.log.lines());
        let second = call.rseq(if early_first { "182" } else { "183" }, true);
        assert_eq!(second, first + 1);
        call.acknowledges(3, second);
        call.b_says("200 OK", true);
        call.stands();
    }
}

/// RFC 3262 section 3: no 2xx while a description is not acknowledged. Nothing is billed meanwhile.
#[test]
fn the_answer_waits_for_the_prack_of_a_description() {
    for more in [REQUIRED, SUPPORTED] {
        let mut call = Asked::new(8, more, "0");
        call.b_says("183 Session Progress", true);
        let rseq = call.rseq("183", true);
        call.b_says("200 OK", true);
        call.log.last(B, "ACK", "");
        call.world.run_for(5 * SECOND);
        assert!(call.heard().iter().all(|text| text.starts_with("SIP/2.0 183")));
        assert!(!told(&mut call.world).contains(&"joined"));
        call.acknowledges(2, rseq);
        call.log.last(A, "SIP/2.0 200", "CSeq: 1 INVITE");
        call.a_sends("ACK", 1, "", &empty());
        call.world.run_for(2 * SECOND);
        call.a_sends("BYE", 9, "", &empty());
        let bye = call.log.last(B, "BYE", "");
        by_hand::send(&mut call.world, B, &call.b.reply(&bye, "200 OK", "", &empty()));
        let ends = ends(&mut call.world);
        let caller = ends.iter().find(|end| end.inbound).unwrap();
        assert!(caller.billed_ms < 3_000, "since its 200: {}", caller.billed_ms);
        call.over();
    }
}

/// One without a description holds nothing back; its PRACK is heard all the same.
#[test]
fn the_answer_does_not_wait_for_the_prack_of_a_mere_ringing() {
    let mut call = Asked::new(9, REQUIRED, "0");
    call.b_says("180 Ringing", false);
    let rseq = call.rseq("180", false);
    call.b_says("200 OK", true);
    call.log.last(A, "SIP/2.0 200", "CSeq: 1 INVITE");
    let before = call.log.all(A, "SIP/2.0 180", "").len();
    call.acknowledges(2, rseq);
    assert_eq!(call.log.all(A, "SIP/2.0 180", "").len(), before);
    call.stands();
}

/// The answer is held, and whoever waits for it gives up first.
#[test]
fn an_answer_that_is_held_ends_with_either_side() {
    for by_caller in [true, false] {
        let mut call = Asked::new(10, REQUIRED, "0");
        call.b_says("183 Session Progress", true);
        call.rseq("183", true);
        call.b_says("200 OK", true);
        if by_caller {
            call.a_ends("CANCEL");
            call.log.last(A, "SIP/2.0 487", "1 INVITE");
            let bye = call.log.last(B, "BYE", "");
            by_hand::send(&mut call.world, B, &call.b.reply(&bye, "200 OK", "", &empty()));
        } else {
            let bye = call.b.request("BYE", 5, "", &empty());
            by_hand::send(&mut call.world, B, &bye);
            let last = call.heard().pop().unwrap();
            assert!(last.starts_with("SIP/2.0 4"), "{last}");
        }
        call.a_ends("ACK");
        call.log.clear();
        call.world.run_for(40 * SECOND);
        assert!(call.log.all(A, "", "").is_empty(), "{:?}", call.log.lines());
        call.over();
    }
}

/// The callee changes its codec while its answer is held: what it is sent is what it takes now.
#[test]
fn a_callee_may_change_while_its_answer_is_held() {
    let mut call = Asked::new(22, SUPPORTED, "0 8");
    call.b_says("183 Session Progress", true);
    let rseq = call.rseq("183", true);
    call.b_says("200 OK", true);
    let offer = described("10.1.0.2", 5_000, 2, "8");
    by_hand::send(&mut call.world, B, &call.b.request("INVITE", 5, "", &offer));
    call.log.last(B, "SIP/2.0 200", "5 INVITE");
    by_hand::send(&mut call.world, B, &call.b.request("ACK", 5, "", &empty()));
    call.acknowledges(2, rseq);
    let ok = call.log.last(A, "SIP/2.0 200", "CSeq: 1 INVITE");
    header(&ok, "To").clone_into(&mut call.a.to);
    call.log.clear();
    for seq in 0..20 {
        by_hand::packet(&mut call.world, "10.1.0.1:4000", media_port(&ok), (seq, 9));
        call.world.run_for(ms(20));
    }
    assert_eq!(call.log.payload_types("10.1.0.2:5000"), [8]);
}

/// Without any PRACK a held answer is none.
#[test]
fn an_answer_that_is_held_too_long_ends_the_callee() {
    let mut call = Asked::new(11, SUPPORTED, "0");
    call.b_says("183 Session Progress", true);
    call.rseq("183", true);
    call.b_says("200 OK", true);
    call.world.run_for(33 * SECOND);
    call.log.last(A, "SIP/2.0 504", "1 INVITE");
    let bye = call.log.last(B, "BYE", "");
    by_hand::send(&mut call.world, B, &call.b.reply(&bye, "200 OK", "", &empty()));
    let ends = ends(&mut call.world);
    assert!(ends.iter().any(|end| end.inbound && end.billed_ms == 0), "{ends:?}");
    call.over();
}

#[test]
fn a_cancel_that_crosses_ends_what_is_open() {
    let mut call = Asked::new(12, REQUIRED, "0");
    call.b_says("183 Session Progress", true);
    let rseq = call.rseq("183", true);
    call.b_says("180 Ringing", false);
    call.a_ends("CANCEL");
    call.log.last(A, "SIP/2.0 487", "1 INVITE");
    // Its PRACK was on its way: the dialog is over.
    assert_eq!(call.prack(2, &format!("{rseq} 1 INVITE"), &empty()), "481");
    assert_eq!(call.log.all(A, "SIP/2.0 18", "").len(), 1);
    call.b_is_cancelled();
    call.world.run_for(5 * SECOND);
    assert_eq!(call.log.all(A, "SIP/2.0 18", "").len(), 1);
    call.over();
}

/// Without an offer in the INVITE the first reliable response has one, and its PRACK the answer
/// (RFC 3261 section 13.2.1): then there is early media, and the ACK has nothing to say.
#[test]
fn a_late_offer_is_made_and_answered_while_it_rings() {
    let mut call = Asked::new(13, REQUIRED, "");
    call.b_says("183 Session Progress", true);
    let rseq = call.rseq("183", true);
    let answer = described("10.1.0.1", 4_000, 1, "0");
    assert_eq!(call.prack(2, &format!("{rseq} 1 INVITE"), &answer), "200");
    // B's early media is there for it now.
    let port = media_port(&call.invite);
    for seq in 0..20 {
        by_hand::packet(&mut call.world, "10.1.0.2:5000", port, (seq, 7));
        call.world.run_for(ms(20));
    }
    assert!(call.log.media("10.1.0.1:4000") >= 15, "{}", call.log.media("10.1.0.1:4000"));
    let next = call.rseq("183", false);
    call.acknowledges(3, next);
    call.b_says("200 OK", true);
    call.stands();
}

#[test]
fn a_late_offer_that_its_prack_does_not_answer_ends_the_call() {
    let mut call = Asked::new(14, REQUIRED, "");
    call.b_says("180 Ringing", false);
    let rseq = call.rseq("180", true);
    call.acknowledges(2, rseq);
    call.log.last(A, "SIP/2.0 488", "1 INVITE");
    call.a_ends("ACK");
    call.b_is_cancelled();
    call.over();
}

/// Whoever does not require it gets its late offer with the 200, as ever.
#[test]
fn a_late_offer_waits_for_the_answer_where_nothing_is_acknowledged() {
    let mut call = Asked::new(15, SUPPORTED, "");
    call.b_says("183 Session Progress", true);
    assert!(!call.heard()[0].contains("m=audio") && !call.heard()[0].contains("RSeq"));
    call.b_says("200 OK", true);
    let ok = call.log.last(A, "SIP/2.0 200", "1 INVITE");
    header(&ok, "To").clone_into(&mut call.a.to);
    assert!(ok.contains("m=audio"));
    call.a_sends("ACK", 1, "", &described("10.1.0.1", 4_000, 1, "0"));
    call.world.run_for(SECOND);
    assert!(ends(&mut call.world).is_empty());
}

/// An offer comes with the PRACK (RFC 3262 section 5), or in an UPDATE after it (RFC 3311 section
/// 5.1): it is answered, once the first one has its answer.
#[test]
fn the_next_offer_may_come_while_it_rings() {
    let mut call = Asked::new(16, SUPPORTED, "0");
    call.b_says("183 Session Progress", true);
    let rseq = call.rseq("183", true);
    let early = described("10.1.0.1", 4_400, 2, "0");
    call.a_sends("UPDATE", 2, "", &early);
    call.log.last(A, "SIP/2.0 500", "2 UPDATE");
    assert_eq!(call.prack(3, &format!("{rseq} 1 INVITE"), &early), "200");
    let answer = call.log.last(A, "SIP/2.0 200", "3 PRACK");
    assert!(answer.contains("m=audio"), "{answer}");
    let moved = described("10.1.0.1", 4_800, 3, "0");
    call.a.contact = "<sip:moved@10.1.0.1:5060>".to_owned();
    call.a_sends("UPDATE", 4, "", &moved);
    let answer = call.log.last(A, "SIP/2.0 200", "4 UPDATE");
    assert!(answer.contains("m=audio") && answer.contains("Contact:"), "{answer}");
    let port = media_port(&call.invite);
    for seq in 0..20 {
        by_hand::packet(&mut call.world, "10.1.0.2:5000", port, (seq, 7));
        call.world.run_for(ms(20));
    }
    assert!(call.log.media("10.1.0.1:4800") >= 15, "{}", call.log.media("10.1.0.1:4800"));
    call.b_says("200 OK", true);
    call.stands();
}

/// It acknowledges, whatever it brings.
#[test]
fn an_offer_that_cannot_be_answered_is_refused_and_its_prack_holds() {
    let mut call = Asked::new(17, REQUIRED, "0");
    call.b_says("180 Ringing", false);
    let rseq = call.rseq("180", false);
    // Its answer waits behind the ringing: the caller has not seen it.
    call.b_says("183 Session Progress", true);
    let early = described("10.1.0.1", 4_400, 2, "0");
    assert_eq!(call.prack(2, &format!("{rseq} 1 INVITE"), &early), "488");
    let next = call.rseq("183", true);
    assert_eq!(call.prack(3, &format!("{next} 1 INVITE"), &early), "200");
    call.world.run_for(5 * SECOND);
    assert_eq!(call.heard().len(), 2, "{:?}", call.log.lines());
    call.b_says("200 OK", true);
    call.stands();
}

/// The INVITE comes again: so does what it was last told, and no second call.
#[test]
fn an_invite_that_comes_again_is_told_the_same() {
    let mut call = Asked::new(18, REQUIRED, "0");
    call.b_says("180 Ringing", false);
    let rseq = call.rseq("180", false);
    let first = Hand::caller("reliable");
    let offer = described("10.1.0.1", 4_000, 1, "0");
    by_hand::send(&mut call.world, A, &first.request("INVITE", 1, REQUIRED, &offer));
    assert_eq!(call.heard().len(), 2);
    assert_eq!(call.rseq("180", false), rseq);
    assert_eq!(call.log.all(B, "INVITE", "").len(), 1);
    call.acknowledges(2, rseq);
    call.b_says("200 OK", true);
    call.stands();
}

#[test]
fn what_we_can_do_is_told() {
    let (mut world, log) = world_by_hand(19);
    let a = Hand::caller("options");
    by_hand::send(&mut world, A, &a.request("OPTIONS", 1, "Require: 100rel\n", &empty()));
    let answer = log.last(A, "SIP/2.0 200", "1 OPTIONS");
    assert!(header(&answer, "Allow").contains("PRACK"), "{answer}");
    assert!(header(&answer, "Supported").contains("100rel"), "{answer}");
    let mut call = Asked::new(20, "", "0");
    assert!(header(&call.invite, "Supported").contains("100rel"), "{}", call.invite);
    assert!(header(&call.invite, "Allow").contains("PRACK"));
    call.b_says("200 OK", true);
    assert!(header(&call.heard()[0], "Supported").contains("100rel"));
    // In no dialog, and in one that is nobody's.
    by_hand::send(&mut world, A, &a.request("PRACK", 2, "RAck: 1 1 INVITE\n", &empty()));
    log.last(A, "SIP/2.0 481", "2 PRACK");
}

/// The callee never sends a PRACK; one that it sends finds nothing.
#[test]
fn a_prack_of_the_callee_finds_nothing() {
    let mut call = Asked::new(21, REQUIRED, "0");
    call.b_says("180 Ringing", false);
    let rseq = call.rseq("180", false);
    let rack = format!("RAck: {rseq} 1 INVITE\n");
    by_hand::send(&mut call.world, B, &call.b.request("PRACK", 7, &rack, &empty()));
    call.log.last(B, "SIP/2.0 481", "7 PRACK");
    call.acknowledges(2, rseq);
    call.b_says("200 OK", true);
    call.stands();
}
