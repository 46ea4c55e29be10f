//! What a trunk's configuration says of reliable ringing, session timers and early media.

use wire::table::{EarlyMedia, ReliableRinging, StaticRoute, Table};
use world::World;

use crate::by_hand::{self, A, B, Hand, Log, described, empty, header, world_by_hand};
use crate::common::{SECOND, publish, route_to};

struct Case {
    world: World,
    log: Log,
    a: Hand,
    b: Hand,
    invite: String,
}

/// A calls B on a trunk like this; `more` are header lines of its INVITE.
fn called(seed: u64, more: &str, change: impl Fn(&mut StaticRoute)) -> Case {
    let (mut world, log) = world_by_hand(seed);
    let mut route = route_to(&world, &[1]);
    change(&mut route);
    publish(&mut world, &Table { routes: vec![route], ..Table::default() });
    let a = Hand::caller("policy");
    let offer = described("10.1.0.1", 4_000, 1, "0");
    by_hand::send(&mut world, A, &a.request("INVITE", 1, more, &offer));
    let invite = log.last(B, "INVITE", "");
    let b = Hand::callee(&invite, "b");
    Case { world, log, a, b, invite }
}

impl Case {
    fn b_says(&mut self, status: &str, more: &str, is_described: bool) {
        let sdp = if is_described { described("10.1.0.2", 5_000, 1, "0") } else { empty() };
        by_hand::send(&mut self.world, B, &self.b.reply(&self.invite, status, more, &sdp));
    }

    fn a_hears(&self, status: &str) -> String {
        self.log.last(A, &format!("SIP/2.0 {status}"), "INVITE")
    }

    /// The call stands for so long, and A hangs up.
    fn stands(mut self, seconds: u32) -> Log {
        let ok = self.a_hears("200");
        header(&ok, "To").clone_into(&mut self.a.to);
        by_hand::send(&mut self.world, A, &self.a.request("ACK", 1, "", &empty()));
        self.world.run_for(SECOND * seconds);
        by_hand::send(&mut self.world, A, &self.a.request("BYE", 90, "", &empty()));
        let bye = self.log.last(B, "BYE", "");
        by_hand::send(&mut self.world, B, &self.b.reply(&bye, "200 OK", "", &empty()));
        by_hand::nothing_left(&mut self.world);
        self.log
    }
}

const TIMER: &str = "Supported: timer, 100rel\nSession-Expires: 90;refresher=uas\n\
    Allow: INVITE, ACK, BYE, CANCEL, UPDATE\n";

#[test]
fn reliable_ringing_is_off_offered_or_required() {
    for (seed, reliable, supported, required) in [
        (1, ReliableRinging::Off, false, ""),
        (2, ReliableRinging::Offer, true, ""),
        (3, ReliableRinging::Require, true, "100rel"),
    ] {
        let mut case = called(seed, "Supported: 100rel\n", |route| route.reliable = reliable);
        assert_eq!(header(&case.invite, "Supported").contains("100rel"), supported);
        assert_eq!(header(&case.invite, "Require"), required);
        case.b_says("183 Session Progress", "", true);
        let rings = case.a_hears("183");
        assert_eq!(rings.contains("RSeq"), supported, "{rings}");
        assert!(rings.contains("m=audio"), "the description goes on either way");
        if supported {
            header(&rings, "To").clone_into(&mut case.a.to);
            let rack = format!("RAck: {} 1 INVITE\n", header(&rings, "RSeq"));
            by_hand::send(&mut case.world, A, &case.a.request("PRACK", 2, &rack, &empty()));
        }
        case.b_says("200 OK", "", true);
        case.stands(3);
    }
    // A caller that requires it gets it.
    let mut case = called(4, "Require: 100rel\n", |it| it.reliable = ReliableRinging::Off);
    case.b_says("180 Ringing", "", false);
    let rings = case.a_hears("180");
    assert!(rings.contains("RSeq"), "{rings}");
    header(&rings, "To").clone_into(&mut case.a.to);
    let rack = format!("RAck: {} 1 INVITE\n", header(&rings, "RSeq"));
    by_hand::send(&mut case.world, A, &case.a.request("PRACK", 2, &rack, &empty()));
    case.b_says("200 OK", "", true);
    case.stands(3);
    // Bridged to a caller that lacks it, a target that must is acknowledged by us.
    let mut case = called(5, "", |it| it.reliable = ReliableRinging::Require);
    case.b_says("183 Session Progress", "Require: 100rel\nRSeq: 7\n", true);
    let prack = case.log.last(B, "PRACK", "7 1 INVITE");
    by_hand::send(&mut case.world, B, &case.b.reply(&prack, "200 OK", "", &empty()));
    assert!(!case.a_hears("183").contains("RSeq"));
    case.b_says("200 OK", "", true);
    case.stands(3);
}

/// No timer is spoken of, and no request of ours comes that could change the session.
#[test]
fn a_trunk_without_session_timers_is_never_asked_anything() {
    for (seed, has_timer) in [(6, true), (7, false)] {
        let mut case = called(seed, TIMER, |route| route.session_timer = has_timer);
        assert_eq!(header(&case.invite, "Supported").contains("timer"), has_timer);
        assert_eq!(case.invite.contains("Session-Expires"), has_timer);
        case.b_says("200 OK", "Supported: timer\nSession-Expires: 90;refresher=uac\n", true);
        let ok = case.a_hears("200");
        assert_eq!(ok.contains("Session-Expires"), has_timer, "{ok}");
        // A holds: that is told to B where it may be.
        header(&ok, "To").clone_into(&mut case.a.to);
        by_hand::send(&mut case.world, A, &case.a.request("ACK", 1, "", &empty()));
        let hold = described("10.1.0.1", 4_000, 2, "0");
        let hold = hold.replace("m=audio", "a=sendonly\nm=audio").replace(
            &format!("Content-Length: {}", length(&hold)),
            &format!("Content-Length: {}", length(&hold) + 12),
        );
        by_hand::send(&mut case.world, A, &case.a.request("INVITE", 2, "", &hold));
        let ok = case.log.last(A, "SIP/2.0 200", "2 INVITE");
        assert!(ok.contains("a=recvonly"), "{ok}");
        by_hand::send(&mut case.world, A, &case.a.request("ACK", 2, "", &empty()));
        case.world.run_for(SECOND);
        let asked = case.log.all(B, "INVITE", ";tag=b\n").len();
        assert_eq!(asked > 0, has_timer);
        if has_timer {
            continue;
        }
        let log = case.stands(200);
        let of_ours = |at| log.all(at, "INVITE", "").len() + log.all(at, "UPDATE", "").len();
        assert_eq!((of_ours(A), of_ours(B)), (0, 1), "only the INVITE itself");
    }
}

fn length(text: &str) -> usize {
    let line = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    line.and_then(|line| line.parse().ok()).unwrap()
}

/// RFC 5009: what a target sends before the answer is heard where it says that it may be.
#[test]
fn early_media_is_heard_where_the_target_allows_it() {
    let begin = |seed| called(seed, "", |route| route.early_media = EarlyMedia::Gated);
    for (seed, more, status) in [
        (20, "", "180"),
        (21, "P-Early-Media: inactive\n", "180"),
        (22, "P-Early-Media: recvonly, gated\n", "180"),
        (23, "P-Early-Media: supported\n", "180"),
        (24, "P-Early-Media: SendOnly\n", "183"),
        (25, "P-Early-Media: gated, sendrecv\n", "183"),
    ] {
        let mut case = begin(seed);
        assert_eq!(header(&case.invite, "P-Early-Media"), "supported");
        case.b_says("183 Session Progress", more, true);
        let all = case.log.all(A, "SIP/2.0 18", "INVITE");
        assert!(all[0].starts_with(&format!("SIP/2.0 {status}")), "{more}: {all:?}");
        assert_eq!(all[0].contains("m=audio"), status == "183");
        case.b_says("200 OK", "", true);
        assert!(case.a_hears("200").contains("m=audio"));
        case.stands(3);
    }
    // Allowed later, and taken back.
    let mut case = begin(26);
    let port = by_hand::media_port(&case.invite);
    let heard = |case: &mut Case, from: u16| {
        let before = case.log.media("10.1.0.1:4000");
        for seq in from..from + 20 {
            by_hand::packet(&mut case.world, "10.1.0.2:5000", port, (seq, 7));
            case.world.run_for(crate::common::ms(20));
        }
        case.log.media("10.1.0.1:4000") - before
    };
    case.b_says("183 Session Progress", "P-Early-Media: inactive\n", true);
    assert_eq!(heard(&mut case, 0), 0);
    case.b_says("183 Session Progress", "P-Early-Media: sendrecv\n", true);
    case.a_hears("183");
    assert!(heard(&mut case, 100) >= 15);
    case.b_says("180 Ringing", "", false);
    assert!(heard(&mut case, 150) >= 15, "nothing was said of it");
    case.b_says("183 Session Progress", "P-Early-Media: inactive\n", false);
    assert_eq!(heard(&mut case, 200), 0);
    case.b_says("200 OK", "", true);
    case.stands(3);
}

/// What a target of it sends before the answer is only that it rings.
#[test]
fn early_media_is_passed_or_only_said_to_ring() {
    for (seed, early_media, status) in [(8, EarlyMedia::Pass, "183"), (9, EarlyMedia::Ring, "180")]
    {
        let mut case = called(seed, "", |route| route.early_media = early_media);
        case.b_says("183 Session Progress", "", true);
        let all = case.log.all(A, "SIP/2.0 18", "INVITE");
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].starts_with(&format!("SIP/2.0 {status}")), "{all:?}");
        assert_eq!(all[0].contains("m=audio"), status == "183");
        case.b_says("200 OK", "", true);
        assert!(case.a_hears("200").contains("m=audio"));
        case.stands(3);
    }
}

/// RFC 3262 section 5, RFC 6337: the answer stood in a reliable response, and is not repeated,
/// whether it was to be heard then or not.
#[test]
fn what_was_not_heard_is_the_answer_all_the_same() {
    let reliable = "Require: 100rel\nRSeq: 7\n";
    for (seed, early_media, more) in [
        (30, EarlyMedia::Gated, "P-Early-Media: inactive\n"),
        (31, EarlyMedia::Gated, ""),
        (32, EarlyMedia::Ring, ""),
    ] {
        let mut case = called(seed, "", |route| route.early_media = early_media);
        let port = by_hand::media_port(&case.invite);
        case.b_says("183 Session Progress", &format!("{reliable}{more}"), true);
        let prack = case.log.last(B, "PRACK", "7 1 INVITE");
        by_hand::send(&mut case.world, B, &case.b.reply(&prack, "200 OK", "", &empty()));
        assert!(!case.a_hears("18").contains("m=audio"));
        assert_eq!(heard(&mut case, port, 0), 0, "{early_media:?}");
        case.b_says("200 OK", "", false);
        assert!(case.log.all(B, "BYE", "").is_empty(), "{early_media:?} {more}");
        assert!(case.a_hears("200").contains("m=audio"));
        assert!(heard(&mut case, port, 100) >= 15, "{early_media:?} {more}");
        case.stands(3);
    }
}

/// Taken back and allowed again without a new description, and the answer has none either.
#[test]
fn early_media_that_was_taken_back_is_heard_when_it_may_be() {
    let reliable = "Require: 100rel\nRSeq: 7\nP-Early-Media: sendrecv\n";
    for (seed, is_allowed_again) in [(40, false), (41, true)] {
        let mut case = called(seed, "", |route| route.early_media = EarlyMedia::Gated);
        let port = by_hand::media_port(&case.invite);
        case.b_says("183 Session Progress", reliable, true);
        let prack = case.log.last(B, "PRACK", "7 1 INVITE");
        by_hand::send(&mut case.world, B, &case.b.reply(&prack, "200 OK", "", &empty()));
        assert!(heard(&mut case, port, 0) >= 15);
        case.b_says("180 Ringing", "P-Early-Media: inactive\n", false);
        assert_eq!(heard(&mut case, port, 100), 0);
        if is_allowed_again {
            case.b_says("180 Ringing", "P-Early-Media: sendrecv\n", false);
            assert!(heard(&mut case, port, 200) >= 15);
        }
        case.b_says("200 OK", "", false);
        assert!(heard(&mut case, port, 300) >= 15, "{is_allowed_again}");
        case.stands(3);
    }
}

/// Packets of B that A hears, of twenty.
fn heard(case: &mut Case, port: u16, from: u16) -> usize {
    let before = case.log.media("10.1.0.1:4000");
    for seq in from..from + 20 {
        by_hand::packet(&mut case.world, "10.1.0.2:5000", port, (seq, 7));
        case.world.run_for(crate::common::ms(20));
    }
    case.log.media("10.1.0.1:4000") - before
}
