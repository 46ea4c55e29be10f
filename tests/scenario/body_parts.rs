//! Bodies of several parts (RFC 5621): the description is taken out and written anew, the rest goes
//! on where the trunks say so.

use wire::policy::RoutePolicy;
use wire::table::{StaticRoute, Table};
use world::{Manner, World};

use crate::by_hand::{self, A, B, Hand, Log, body, empty, header, one_shard, sdp, send};
use crate::common::{publish, route_to, routed};

fn world(seed: u64, body_parts: bool) -> (World, Log) {
    let mut world = routed(&one_shard(seed), Manner::silent(), vec![Manner::silent()]);
    let policy = RoutePolicy { body_parts, ..RoutePolicy::default() };
    let route = StaticRoute { policy, ..route_to(&world, &[1]) };
    publish(&mut world, &Table { routes: vec![route], ..Table::default() });
    let log = Log::new(&mut world, &[A, B]);
    (world, log)
}

/// A body with a description and one of the telephone network's.
fn mixed(host: &str, port: u16, handling: &str) -> String {
    let isup = format!(
        "Content-Type: application/isup;version=itu-t92+\n\
                        Content-Disposition: signal;handling={handling}\n\n\u{1}\u{2}--x"
    );
    let text = format!(
        "--x\nContent-Type: application/sdp\n\n{}\n--x\n{isup}\n--x--\n",
        sdp(host, port, 1, "0")
    );
    body("multipart/mixed;boundary=x", &text)
}

fn ask(world: &mut World, log: &Log, handling: &str) -> Vec<String> {
    let offer = mixed("10.1.0.1", 4_000, handling);
    send(world, A, &Hand::caller("parts").request("INVITE", 1, "", &offer));
    log.all(B, "INVITE", "")
}

#[test]
fn parts_go_on_where_the_trunk_says_so() {
    let (mut world, log) = world(1, true);
    let invite = ask(&mut world, &log, "required").pop().unwrap();
    let kind = header(&invite, "Content-Type");
    let boundary = kind.strip_prefix("multipart/mixed;boundary=").unwrap();
    let text = invite.split("\n\n").skip(1).collect::<Vec<_>>().join("\n\n");
    let parts: Vec<&str> = text.split(&format!("--{boundary}")).collect();
    assert_eq!(parts.len(), 4, "{text}");
    assert!(parts[1].starts_with("\nContent-Type: application/sdp\n\nv=0\n"), "{text}");
    assert!(!parts[1].contains("10.1.0.1"), "our own: {text}");
    let isup = "\nContent-Type: application/isup;version=itu-t92+\n\
                Content-Disposition: signal;handling=required\n\n\u{1}\u{2}--x\n";
    assert_eq!((parts[2], parts[3]), (isup, "--\n"));
    // The answer has one, too.
    let b = Hand::callee(&invite, "b");
    for status in ["183 Progress", "200 OK"] {
        send(&mut world, B, &b.reply(&invite, status, "", &mixed("10.1.0.2", 5_000, "optional")));
    }
    for status in ["SIP/2.0 183", "SIP/2.0 200"] {
        let told = log.last(A, status, "INVITE");
        assert_eq!(header(&told, "Content-Type"), "application/sdp");
    }
}

#[test]
fn parts_are_left_out_where_it_does_not() {
    let (mut world, log) = world(2, false);
    let invite = ask(&mut world, &log, "optional").pop().unwrap();
    assert_eq!(header(&invite, "Content-Type"), "application/sdp");
    assert!(!invite.contains("isup"), "{invite}");
}

#[test]
fn a_part_that_is_required_and_cannot_go_on_refuses_the_call() {
    let (mut world, log) = world(3, false);
    assert!(ask(&mut world, &log, "required").is_empty());
    let refused = log.last(A, "SIP/2.0 415", "INVITE");
    assert!(header(&refused, "Warning").contains("required"), "{refused}");
    by_hand::nothing_left(&mut world);
}

#[test]
fn parts_that_no_message_of_ours_holds_refuse_the_call() {
    let (mut world, log) = world(4, true);
    let long = "x".repeat(11_000);
    let text = format!(
        "--x\nContent-Type: application/sdp\n\n{}\n--x\n\n{long}\n--x--\n",
        sdp("10.1.0.1", 4_000, 1, "0")
    );
    let offer = body("multipart/mixed;boundary=x", &text);
    send(&mut world, A, &Hand::caller("long").request("INVITE", 1, "", &offer));
    log.last(A, "SIP/2.0 513", "INVITE");
    assert!(log.all(B, "INVITE", "").is_empty());
    by_hand::nothing_left(&mut world);
}

/// The bound is one of what goes out: nothing is judged good and left out then.
#[test]
fn at_the_bound_parts_go_on_or_the_call_is_refused() {
    let (mut passed, mut refused) = (0, 0);
    for length in 8_140..8_152 {
        let (mut world, log) = world(5, true);
        let long = "x".repeat(length);
        let text = format!(
            "--x\nContent-Type: application/sdp\n\n{}\n--x\n\n{long}\n--x--\n",
            sdp("10.1.0.1", 4_000, 1, "0")
        );
        let offer = body("multipart/mixed;boundary=x", &text);
        send(&mut world, A, &Hand::caller("bound").request("INVITE", 1, "", &offer));
        let (invites, refusals) = (log.all(B, "INVITE", ""), log.all(A, "SIP/2.0 513", ""));
        assert_eq!(invites.len() + refusals.len(), 1, "{length}: {:?}", log.lines());
        assert!(invites.iter().all(|invite| invite.contains(&long)), "{length}");
        (passed, refused) = (passed + invites.len(), refused + refusals.len());
    }
    assert!(passed > 0 && refused > 0, "{passed} {refused}");
}

/// The first trunk passes nothing on and refuses; the next one that fits passes it on.
#[test]
fn a_trunk_that_can_follows_one_that_cannot() {
    let mut world = routed(&one_shard(6), Manner::silent(), vec![Manner::silent()]);
    let route = |prefix: &str, body_parts| {
        let policy = RoutePolicy { body_parts, ..RoutePolicy::default() };
        StaticRoute { policy, prefix: prefix.to_owned(), ..route_to(&world, &[1]) }
    };
    let routes = vec![route("g", false), route("", true)];
    publish(&mut world, &Table { routes, ..Table::default() });
    let log = Log::new(&mut world, &[A, B]);
    let invite = ask(&mut world, &log, "required").pop();
    let invite = invite.unwrap_or_else(|| panic!("{:?}", log.lines()));
    assert!(invite.contains("application/isup"), "{invite}");
}

/// ISUP names the caller, too.
#[test]
fn parts_of_a_caller_who_hides_do_not_go_on() {
    let mut world = routed(&one_shard(7), Manner::silent(), vec![Manner::silent()]);
    let policy = RoutePolicy { body_parts: true, ..RoutePolicy::default() };
    let route = StaticRoute { policy, trusted: Vec::new(), ..route_to(&world, &[1]) };
    publish(&mut world, &Table { routes: vec![route], ..Table::default() });
    let log = Log::new(&mut world, &[A, B]);
    for (name, handling) in [("hidden", "optional"), ("hides", "required")] {
        let offer = mixed("10.1.0.1", 4_000, handling);
        let invite = Hand::caller(name).request("INVITE", 1, "Privacy: id\n", &offer);
        send(&mut world, A, &invite);
    }
    let invites = log.all(B, "INVITE", "");
    assert!(invites.len() == 1 && !invites[0].contains("isup"), "{invites:?}");
    log.last(A, "SIP/2.0 415", "INVITE");
}

/// Who knows what our stateless answers are tagged with knows no delimiter of ours.
#[test]
fn nobody_knows_the_delimiter_before_it_is_sent() {
    let (mut world, log) = world(8, true);
    let hand = Hand { to: "<sip:g1@10.0.0.1>;tag=made-up".to_owned(), ..Hand::caller("guess") };
    send(&mut world, A, &hand.request("BYE", 1, "", &empty()));
    send(&mut world, A, &Hand::caller("guess").request("BYE", 2, "", &empty()));
    let tags = log.all(A, "SIP/2.0 481", "");
    for (number, answer) in tags.iter().enumerate() {
        let to = header(answer, "To");
        let tag = to.rsplit("tag=").next().unwrap();
        let evil = format!("--{tag}\nContent-Type: application/sdp\n\nv=0\nc=IN IP4 6.6.6.6");
        let text = format!(
            "--x\nContent-Type: application/sdp\n\n{}\n--x\nContent-Type: a/b\n\nq\n{evil}\n--x--\n",
            sdp("10.1.0.1", 4_000, 1, "0")
        );
        let offer = body("multipart/mixed;boundary=x", &text);
        let a = Hand::caller("guess");
        let cseq = 10 + u32::try_from(number).unwrap();
        send(&mut world, A, &a.request("INVITE", cseq, "", &offer));
        let invite = log.last(B, "INVITE", "");
        let kind = header(&invite, "Content-Type");
        let boundary = kind.strip_prefix("multipart/mixed;boundary=").unwrap();
        assert_ne!(boundary, tag);
        assert_eq!(invite.matches(&format!("--{boundary}")).count(), 3, "{invite}");
    }
    assert!(!tags.is_empty());
}
