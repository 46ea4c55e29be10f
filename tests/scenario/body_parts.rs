//! Bodies of several parts (RFC 5621): the description is taken out and written anew, the rest goes
//! on where the trunks say so.

use wire::policy::RoutePolicy;
use wire::table::{StaticRoute, Table};
use world::{Manner, World};

use crate::by_hand::{self, A, B, Hand, Log, body, header, one_shard, sdp, send};
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
