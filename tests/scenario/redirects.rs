//! Redirections (3xx) of a static route's targets: refused, followed within bounds, or relayed.

use wire::counter::Counter;
use wire::policy::{Redirect, RoutePolicy};
use wire::table::{StaticRoute, Table};
use world::World;

use crate::by_hand::{self, A, B, Hand, Log, described, empty, header, headers, one_shard};
use crate::common::{SECOND, count, ms, publish, route_to, routed};

const C: &str = "10.1.0.3:5060";
const D: &str = "10.1.0.4:5060";

/// A route from A to B alone, with C and D beside it.
fn redirecting(seed: u64, redirect: Redirect, allow: &[&str]) -> (World, Log) {
    let manners = vec![world::Manner::silent(); 3];
    let mut world = routed(&one_shard(seed), world::Manner::silent(), manners);
    let redirect_allow = allow.iter().map(|text| text.parse().unwrap()).collect();
    let policy = RoutePolicy { redirect, redirect_allow, ..RoutePolicy::default() };
    let route = StaticRoute { policy, ..route_to(&world, &[1]) };
    publish(&mut world, &Table { routes: vec![route], ..Table::default() });
    let log = Log::new(&mut world, &[A, B, C, D]);
    (world, log)
}

fn moved(world: &mut World, from: &'static str, invite: &str, contacts: &str) {
    let hand = Hand { address: from, contact: contacts.to_owned(), ..Hand::callee(invite, "r") };
    by_hand::send(world, from, &hand.reply(invite, "302 Moved", "", &empty()));
}

fn ask(world: &mut World, log: &Log, call_id: &str) -> String {
    by_hand::ask(world, log, &Hand::caller(call_id), "0")
}

#[test]
fn a_redirection_is_refused_where_nothing_else_is_said() {
    let (mut world, log) = redirecting(1, Redirect::Refuse, &["10.1.0.0/16"]);
    let invite = ask(&mut world, &log, "no");
    moved(&mut world, B, &invite, "<sip:x@10.1.0.3>");
    let refused = log.last(A, "SIP/2.0 502", "");
    assert!(headers(&refused, "Contact").is_empty());
    assert!(log.all(C, "", "").is_empty());
    assert_eq!(count(&world, Counter::RedirectRefused), 1);
    by_hand::nothing_left(&mut world);
}

#[test]
fn the_caller_gets_a_redirection_that_is_relayed_with_its_contacts() {
    let (mut world, log) = redirecting(2, Redirect::Relay, &[]);
    let invite = ask(&mut world, &log, "relay");
    moved(&mut world, B, &invite, "\"X\" <sip:x@far.example;a=b>;q=0.5;odd=1, <tel:+1>;expires=60");
    let told = log.last(A, "SIP/2.0 302", "");
    let contacts = headers(&told, "Contact");
    assert_eq!(contacts, ["<sip:x@far.example;a=b>;q=0.5", "<tel:+1>;expires=60"]);
    let acked = log.last(B, "ACK", "");
    assert_eq!(header(&acked, "Call-ID"), header(&invite, "Call-ID"));
    by_hand::nothing_left(&mut world);
}

#[test]
fn contacts_are_called_by_their_q_where_the_route_allows() {
    let (mut world, log) = redirecting(3, Redirect::Follow, &["10.1.0.3", "10.1.0.4"]);
    let invite = ask(&mut world, &log, "follow");
    let contacts = "<sip:c@10.1.0.3?X=y>;q=0.2, <sip:d@10.1.0.4>;q=0.7, <sip:e@10.1.0.99>;q=0.9, \
                    <sip:n@name.example>, <sip:s@10.0.0.1>";
    moved(&mut world, B, &invite, contacts);
    let second = log.last(D, "INVITE sip:d@10.1.0.4 ", "");
    assert_eq!(header(&second, "To"), header(&invite, "To"), "RFC 3261 section 8.1.3.4");
    assert!(log.all(C, "INVITE", "").is_empty(), "one after the other");
    let busy = Hand { address: D, ..Hand::callee(&second, "d") };
    by_hand::send(&mut world, D, &busy.reply(&second, "503 Full", "", &empty()));
    let third = log.last(C, "INVITE sip:c@10.1.0.3 ", "");
    let c = Hand { address: C, contact: format!("<sip:c@{C}>"), ..Hand::callee(&third, "c") };
    let answer = described("10.1.0.3", 5_000, 1, "0");
    by_hand::send(&mut world, C, &c.reply(&third, "200 OK", "", &answer));
    log.last(A, "SIP/2.0 200", "INVITE");
    let all = [Counter::RedirectFollowed, Counter::RedirectRefused];
    assert_eq!(all.map(|counter| count(&world, counter)), [2, 3]);
}

/// Who only ever says to go elsewhere is asked five times and no more.
#[test]
fn a_storm_of_redirections_ends() {
    let (mut world, log) = redirecting(4, Redirect::Follow, &["10.1.0.0/16"]);
    let mut invite = ask(&mut world, &log, "storm");
    for round in 0..5 {
        let to = if round % 2 == 0 { (C, "10.1.0.3") } else { (D, "10.1.0.4") };
        let from = if round == 0 { B } else { [D, C][round % 2] };
        let many: Vec<String> = (0..1).map(|n| format!("<sip:r{round}x{n}@{}>", to.1)).collect();
        moved(&mut world, from, &invite, &many.join(", "));
        invite = log.last(to.0, "INVITE", &format!("sip:r{round}x0@"));
    }
    moved(&mut world, C, &invite, "<sip:last@10.1.0.4>");
    log.last(A, "SIP/2.0 502", "");
    assert!(log.all(D, "INVITE", "sip:last@").is_empty());
    assert_eq!(count(&world, Counter::RedirectFollowed), 5);
    by_hand::nothing_left(&mut world);
}

#[test]
fn a_redirection_in_a_circle_is_cut() {
    let (mut world, log) = redirecting(5, Redirect::Follow, &["10.1.0.3"]);
    let invite = ask(&mut world, &log, "circle");
    moved(&mut world, B, &invite, "<sip:c@10.1.0.3>");
    let second = log.last(C, "INVITE", "");
    let first = invite.lines().next().unwrap().split(' ').nth(1).unwrap().to_owned();
    moved(&mut world, C, &second, &format!("<{first}>, <sip:c@10.1.0.3>, <sip:x@10.0.0.1:5060>"));
    log.last(A, "SIP/2.0 502", "");
    assert_eq!(log.all(C, "INVITE", "").len() + log.all(B, "INVITE", "").len(), 2);
    by_hand::nothing_left(&mut world);
}

/// The caller gives up between the redirection and its contact.
#[test]
fn a_caller_that_gives_up_ends_the_contact_too() {
    let (mut world, log) = redirecting(6, Redirect::Follow, &["10.1.0.3"]);
    let a = Hand::caller("up");
    let invite = by_hand::ask(&mut world, &log, &a, "0");
    moved(&mut world, B, &invite, "<sip:c@10.1.0.3>");
    let second = log.last(C, "INVITE", "");
    let c = Hand { address: C, ..Hand::callee(&second, "c") };
    by_hand::send(&mut world, C, &c.reply(&second, "180 Ringing", "", &empty()));
    let asked = a.request("INVITE", 1, "", &described("10.1.0.1", 4_000, 1, "0"));
    let cancel = asked.split("Content-Type").next().unwrap().replace("INVITE", "CANCEL");
    let cancel = cancel.replace("aupCANCEL1", "aupINVITE1") + &empty();
    by_hand::send(&mut world, A, &cancel);
    log.last(A, "SIP/2.0 487", "");
    let cancel = log.last(C, "CANCEL", "");
    by_hand::send(&mut world, C, &c.reply(&cancel, "200 OK", "", &empty()));
    by_hand::send(&mut world, C, &c.reply(&second, "487 Terminated", "", &empty()));
    world.run_for(SECOND + ms(1));
    by_hand::nothing_left(&mut world);
}
