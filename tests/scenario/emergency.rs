//! Emergency calls (RFC 5031, RFC 6442): they go on whole, whoever calls, and nothing sheds them
//! that sheds other calls.

use wire::counter::Counter;
use wire::policy::RoutePolicy;
use wire::table::{StaticRoute, Table};
use world::{Manner, Setup, World};

use crate::by_hand::{self, A, B, Hand, Log, body, empty, header, one_shard, sdp, send};
use crate::common::{SECOND, count, publish, route_to, routed};

const SOS: &str = "urn:service:sos.police";
/// Where the caller is.
const LOCATION: &str = "--outer\nContent-Type: application/sdp\n\n{sdp}\n--outer\n\
    Content-Type: application/pidf+xml\nContent-ID: <here@10.1.0.1>\n\n<presence>\n\n</presence>\n\
    --outer--\n";
const HEADERS: &str = "Priority: emergency\nGeolocation: <cid:here@10.1.0.1>\n\
    Geolocation-Routing: no\nPrivacy: id\n";

/// A world with a route for emergencies from A to B, with these limits.
fn world(setup: &Setup, change: impl Fn(StaticRoute) -> StaticRoute) -> (World, Log) {
    let mut world = routed(setup, Manner::silent(), vec![Manner::silent()]);
    let sos = StaticRoute { prefix: "urn:service:sos".to_owned(), ..route_to(&world, &[1]) };
    let routes = vec![change(sos), change(route_to(&world, &[1]))];
    publish(&mut world, &Table { routes, ..Table::default() });
    let log = Log::new(&mut world, &[A, B]);
    (world, log)
}

fn sos(call_id: &str) -> String {
    let text = LOCATION.replace("{sdp}", &sdp("10.1.0.1", 4_000, 1, "0"));
    let body = body("multipart/mixed;boundary=outer", &text);
    let hand = Hand { to: format!("<{SOS}>"), ..Hand::caller(call_id) };
    hand.request("INVITE", 1, HEADERS, &body).replace("sip:g1@10.0.0.1 SIP", &format!("{SOS} SIP"))
}

#[test]
fn an_emergency_call_goes_on_whole() {
    let (mut world, log) = world(&one_shard(1), |route| route);
    send(&mut world, A, &sos("sos"));
    let invite = log.last(B, "INVITE", "");
    assert!(invite.starts_with(&format!("INVITE {SOS} SIP/2.0\n")), "{invite}");
    assert_eq!(header(&invite, "To"), format!("<{SOS}>"));
    assert_eq!(header(&invite, "Priority"), "emergency");
    assert_eq!(header(&invite, "Geolocation"), "<cid:here@10.1.0.1>");
    assert_eq!(header(&invite, "Geolocation-Routing"), "no");
    assert!(header(&invite, "From").contains("sip:a@example.com"), "who calls is not hidden");
    assert!(header(&invite, "Content-Type").starts_with("multipart/mixed;boundary="), "{invite}");
    let part = "Content-Type: application/pidf+xml\nContent-ID: <here@10.1.0.1>\n\n\
                <presence>\n\n</presence>\n--";
    assert!(invite.contains(part), "{invite}");
    assert_eq!(invite.matches("Content-Type: application/sdp").count(), 1, "{invite}");
    assert!(invite.contains("c=IN IP4 10.0.0."), "our own description: {invite}");
    let b = Hand::callee(&invite, "b");
    let answer = by_hand::described("10.1.0.2", 5_000, 1, "0");
    send(&mut world, B, &b.reply(&invite, "200 OK", "", &answer));
    log.last(A, "SIP/2.0 200", "CSeq: 1 INVITE");
}

/// The limits of a route (concurrency, rate), its wish for callers who show themselves, and the
/// rate of all new calls.
#[test]
fn what_sheds_other_calls_sheds_no_emergency() {
    let mut setup = one_shard(2);
    setup.plane.guard.call_rate = 2;
    let (mut world, log) = world(&setup, |route| {
        let policy = RoutePolicy { refuses_anonymous: true, ..RoutePolicy::default() };
        StaticRoute { rate_max: 1, calls_max: 1, policy, ..route }
    });
    for number in 0..4 {
        let call = sos(&format!("sos{number}"));
        send(
            &mut world,
            A,
            &call.replace("<sip:a@example.com>", "<sip:anonymous@anonymous.invalid>"),
        );
    }
    assert_eq!(log.all(B, "INVITE", SOS).len(), 4, "{:?}", log.lines());
    // Any other call is refused by the same limits.
    for number in 0..2 {
        let offer = by_hand::described("10.1.0.1", 4_000, 1, "0");
        let a = Hand::caller(&format!("any{number}"));
        send(&mut world, A, &a.request("INVITE", 1, "", &offer));
    }
    log.last(A, "SIP/2.0 503", "");
}

/// Calls take all other legs and leave some for emergencies.
#[test]
fn legs_stay_free_for_emergencies() {
    let mut setup = one_shard(3);
    setup.plane.legs = 8;
    let (mut world, log) = world(&setup, |route| route);
    for number in 0..6 {
        let offer = by_hand::described("10.1.0.1", 4_000, 1, "0");
        let a = Hand::caller(&format!("any{number}"));
        send(&mut world, A, &a.request("INVITE", 1, "", &offer));
    }
    log.last(A, "SIP/2.0 503", "");
    assert_eq!(log.all(B, "INVITE", "sip:g1@").len(), 3, "{:?}", log.lines());
    send(&mut world, A, &sos("sos"));
    assert_eq!(log.all(B, "INVITE", SOS).len(), 1, "{:?}", log.lines());
}

/// A source that is far over its rate is heard with an emergency all the same, as often as with
/// other calls.
#[test]
fn a_flood_from_its_own_network_keeps_no_emergency_away() {
    let mut setup = one_shard(4);
    (setup.plane.guard.source_rate, setup.plane.guard.source_burst) = (2, 2);
    let (mut world, log) = world(&setup, |route| route);
    for number in 0..10 {
        let offer = by_hand::described("10.1.0.1", 4_000, 1, "0");
        let a = Hand::caller(&format!("any{number}"));
        send(&mut world, A, &a.request("INVITE", 1, "", &offer));
    }
    assert!(count(&world, Counter::DiscardSipRate) >= 6);
    for number in 0..9 {
        send(&mut world, A, &sos(&format!("sos{number}")));
    }
    let heard = log.all(B, "INVITE", SOS).len();
    assert!((2..9).contains(&heard), "bounded by a rate of their own: {heard}");
    world.run_for(SECOND);
}

/// Whom no route leads to emergency services hears so.
#[test]
fn without_a_route_nobody_is_there() {
    let mut world = routed(&one_shard(5), Manner::silent(), vec![Manner::silent()]);
    let numbers = StaticRoute { prefix: "1".to_owned(), ..route_to(&world, &[1]) };
    let admission = Some(wire::table::Admission::default());
    publish(&mut world, &Table { routes: vec![numbers], admission, ..Table::default() });
    let log = Log::new(&mut world, &[A, B]);
    send(&mut world, A, &sos("sos"));
    log.last(A, "SIP/2.0 404", "");
    // No other scheme is taken, and no other method for this one.
    let other = Hand::caller("x").request("INVITE", 1, "", &empty());
    send(&mut world, A, &other.replace("sip:g1@10.0.0.1 SIP", "urn:service:counseling SIP"));
    log.last(A, "SIP/2.0 416", "INVITE");
    let asks = Hand::caller("y").request("MESSAGE", 1, "", &empty());
    send(&mut world, A, &asks.replace("sip:g1@10.0.0.1 SIP", &format!("{SOS} SIP")));
    log.last(A, "SIP/2.0 416", "MESSAGE");
}

/// A switch that is about to stop takes no calls but these, and haggles about no session timer.
#[test]
fn a_drain_and_a_short_session_refuse_no_emergency() {
    let (mut world, log) = world(&one_shard(6), |route| route);
    crate::common::send(&mut world, 0, &wire::Command::Drain { on: true });
    let short = "Priority: emergency\nSession-Expires: 30\nSupported: timer\n";
    send(&mut world, A, &sos("sos").replace("Priority: emergency\n", short));
    assert_eq!(log.all(B, "INVITE", SOS).len(), 1, "{:?}", log.lines());
    let offer = by_hand::described("10.1.0.1", 4_000, 1, "0");
    send(&mut world, A, &Hand::caller("any").request("INVITE", 1, "", &offer));
    log.last(A, "SIP/2.0 503", "");
}

/// Only a route that was made for emergencies sets its limits aside for them.
#[test]
fn by_any_other_route_an_emergency_is_a_call_like_others() {
    let mut world = routed(&one_shard(7), Manner::silent(), vec![Manner::silent()]);
    let any = StaticRoute { prefix: String::new(), calls_max: 1, ..route_to(&world, &[1]) };
    publish(&mut world, &Table { routes: vec![any], ..Table::default() });
    let log = Log::new(&mut world, &[A, B]);
    for number in 0..3 {
        send(&mut world, A, &sos(&format!("sos{number}")));
    }
    let invites = log.all(B, "INVITE", SOS);
    assert_eq!(invites.len(), 1, "{:?}", log.lines());
    assert!(invites[0].contains("application/pidf+xml"), "it goes on whole: {}", invites[0]);
    log.last(A, "SIP/2.0 503", "");
    // What is no service is none.
    let strange = sos("strange").replace(SOS, "urn:service:sos.@example.com");
    send(&mut world, A, &strange);
    log.last(A, "SIP/2.0 4", "strange");
}

/// Nobody takes all legs by calling emergencies.
#[test]
fn no_more_than_a_share_of_the_legs_is_urgent() {
    let mut setup = one_shard(8);
    setup.plane.legs = 64;
    let (mut world, log) = world(&setup, |route| StaticRoute { calls_max: 1, ..route });
    for number in 0..12 {
        send(&mut world, A, &sos(&format!("sos{number}")));
    }
    // An eighth of 64, and one by the route behind; then limits hold.
    assert_eq!(calls(&log), 9, "{:?}", log.lines());
    // Whoever is over makes room.
    let invites = log.all(B, "INVITE", SOS);
    let no = Hand::callee(&invites[0], "b").reply(&invites[0], "486 Busy", "", &empty());
    send(&mut world, B, &no);
    send(&mut world, A, &sos("again"));
    assert_eq!(calls(&log), 10);
}

/// Where several may call so, one of them takes no more than half of that share: the emergencies of
/// the others go on, past their own limits.
#[test]
fn nobodys_flood_of_emergencies_keeps_those_of_others_away() {
    const C: &str = "10.1.0.3:5060";
    let mut setup = one_shard(12);
    setup.plane.legs = 64;
    let mut world = routed(&setup, Manner::silent(), vec![Manner::silent()]);
    let from = |prefix: &str, source: &str| StaticRoute {
        prefix: prefix.to_owned(),
        sources: vec![source.parse().unwrap()],
        calls_max: 1,
        ..route_to(&world, &[1])
    };
    let routes = vec![
        from("urn:service:sos.police", "10.1.0.1"),
        from("urn:service:sos", "10.1.0.1"),
        from("urn:service:sos", "10.1.0.3"),
    ];
    publish(&mut world, &Table { routes, ..Table::default() });
    let log = Log::new(&mut world, &[A, B, C]);
    for number in 0..12 {
        send(&mut world, A, &sos(&format!("flood{number}")));
    }
    // Half of an eighth of 64, and one by the other route.
    assert_eq!(calls(&log), 5, "{:?}", log.lines());
    for number in 0..6 {
        send(&mut world, C, &sos(&format!("other{number}")).replace(A, C));
    }
    assert_eq!(calls(&log), 9, "{:?}", log.lines());
    // Whoever is over makes room for his own.
    let invites = log.all(B, "INVITE", SOS);
    let no = Hand::callee(&invites[0], "b").reply(&invites[0], "486 Busy", "", &empty());
    send(&mut world, B, &no);
    send(&mut world, A, &sos("again"));
    assert_eq!(calls(&log), 10, "{:?}", log.lines());
}

/// One that is urgent stays so when its route fails, however many others are.
#[test]
fn the_next_route_for_emergencies_takes_an_urgent_call_whatever_its_limits_are() {
    let mut setup = one_shard(11);
    setup.plane.legs = 16;
    let mut world = routed(&setup, Manner::silent(), vec![Manner::silent()]);
    let policy = |code| RoutePolicy {
        failover: wire::policy::Failover::default().with(code).unwrap_or_default(),
        ..RoutePolicy::default()
    };
    let sos_to = |prefix: &str, calls_max| StaticRoute {
        prefix: prefix.to_owned(),
        calls_max,
        policy: policy(503),
        ..route_to(&world, &[1])
    };
    let routes = vec![sos_to(SOS, 0), sos_to("urn:service:sos", 1)];
    publish(&mut world, &Table { routes, ..Table::default() });
    let log = Log::new(&mut world, &[A, B]);
    // As many as may be urgent: an eighth of 16.
    for number in 0..2 {
        send(&mut world, A, &sos(&format!("sos{number}")));
    }
    let invites = log.all(B, "INVITE", SOS);
    assert_eq!(invites.len(), 2);
    for invite in &invites {
        let no = Hand::callee(invite, "b").reply(invite, "503 Full", "", &empty());
        send(&mut world, B, &no);
    }
    assert_eq!(calls(&log), 4, "both go on: {:?}", log.lines());
}

/// Calls that have come to B, however often each was said.
fn calls(log: &Log) -> usize {
    let invites = log.all(B, "INVITE", SOS);
    let named = invites.iter().map(|invite| header(invite, "Call-ID").to_owned());
    named.collect::<std::collections::BTreeSet<_>>().len()
}

/// Without any route for them they are heard no more often than others.
#[test]
fn where_no_route_leads_to_emergency_services_nothing_hurries() {
    let mut setup = one_shard(9);
    (setup.plane.guard.source_rate, setup.plane.guard.source_burst) = (2, 2);
    let mut world = routed(&setup, Manner::silent(), vec![Manner::silent()]);
    let log = Log::new(&mut world, &[A, B]);
    for number in 0..10 {
        send(&mut world, A, &sos(&format!("sos{number}")));
    }
    assert_eq!(count(&world, Counter::DiscardSipRate), 8);
    assert!(log.all(B, "INVITE", "").len() <= 2);
}

/// Where the caller is goes on in every spelling, and without any description.
#[test]
fn locations_go_on_however_they_are_written() {
    let (mut world, log) = world(&one_shard(10), |route| route);
    let folded = "Geolocation: <cid:here@10.1.0.1>,\n <https://where.example/1>\n";
    let call = sos("folded").replace("Geolocation: <cid:here@10.1.0.1>\n", folded);
    send(&mut world, A, &call);
    let invite = log.last(B, "INVITE", "");
    let told = header(&invite, "Geolocation");
    assert_eq!(told, "<cid:here@10.1.0.1>, <https://where.example/1>");
    // A late offer: the location is all there is.
    let hand = Hand { to: format!("<{SOS}>"), ..Hand::caller("late") };
    let alone = body("application/pidf+xml", "<presence>here</presence>");
    let call = hand.request("INVITE", 1, HEADERS, &alone);
    send(&mut world, A, &call.replace("sip:g1@10.0.0.1 SIP", &format!("{SOS} SIP")));
    let invite = log.last(B, "INVITE", "");
    assert!(header(&invite, "Content-Type").starts_with("multipart/mixed"), "{:?}", log.lines());
    assert!(invite.contains("Content-Type: application/pidf+xml\n\n<presence>here</presence>\n--"));
}
