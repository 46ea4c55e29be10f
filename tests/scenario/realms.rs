//! A trunk that is reached from a listener of its own: what its far end sees of us is that one's
//! address, of signalling and of media, as it is advertised; the other side sees the other one's.

use std::net::SocketAddr;

use shard::plan::Registration;
use wire::Originate;
use wire::policy::RoutePolicy;
use wire::table::{StaticRoute, Table};
use world::plane::{ADDRESSES, ADVERTISED_INSIDE, HOSTS, INSIDE};
use world::{Manner, World};

use crate::by_hand::{
    A, B, Hand, Log, described, empty, header, media_port, nothing_left, one_shard, send, send_to,
};
use crate::common::{SECOND, ms, publish, route_to, routed};

/// Where B reaches us.
fn inside() -> SocketAddr {
    SocketAddr::new(ADDRESSES[2], 5_060)
}

/// A world with an address inside, from which the trunk's targets are reached.
fn world(seed: u64, health_s: u16, registers: bool) -> (World, Log) {
    let mut setup = one_shard(seed);
    setup.plane.inside = true;
    if registers {
        setup.plane.registrations = vec![Registration {
            trunk: "inner".to_owned(),
            host: String::new(),
            user: "us".to_owned(),
            password: "p".to_owned(),
            realm: String::new(),
            contact: "us".to_owned(),
            targets: vec![B.parse().unwrap()],
            tls_name: String::new(),
            expires: 600,
            leaves: false,
            digest: None,
            listener: INSIDE,
        }];
    }
    let mut world = routed(&setup, Manner::silent(), vec![Manner::silent()]);
    let log = Log::new(&mut world, &[A, B]);
    let (name, listener) = ("inner".to_owned(), Some(INSIDE));
    let policy = RoutePolicy { name, listener, health_s, ..RoutePolicy::default() };
    let route = StaticRoute { policy, ..route_to(&world, &[1]) };
    publish(&mut world, &Table { routes: vec![route], ..Table::default() });
    (world, log)
}

/// What a message of ours to B names as us.
fn is_inside(text: &str, log: &Log) {
    let via = format!("SIP/2.0/UDP {ADVERTISED_INSIDE}:5060;");
    assert!(header(text, "Via").starts_with(&via), "{text}");
    assert!(header(text, "Contact").contains(&format!("@{ADVERTISED_INSIDE}:5060")), "{text}");
    assert_eq!(log.came_from(B, text.split(' ').next().unwrap()), inside());
}

#[test]
fn each_leg_has_the_addresses_of_its_side() {
    let (mut world, log) = world(1, 0, false);
    let mut a = Hand::caller("realms");
    send(&mut world, A, &a.request("INVITE", 1, "", &described("10.1.0.1", 4_000, 1, "0")));
    let invite = log.last(B, "INVITE", "");
    is_inside(&invite, &log);
    assert!(invite.contains(&format!("c=IN IP4 {ADVERTISED_INSIDE}\n")), "{invite}");
    assert!(!invite.contains(&HOSTS[0].to_string()), "nothing of the other side: {invite}");
    let b = Hand::callee(&invite, "b");
    let answer = b.reply(&invite, "200 OK", "", &described("10.1.0.2", 5_000, 1, "0"));
    send_to(&mut world, (B, inside()), &answer);
    is_inside(&invite, &log);
    let ok = log.last(A, "SIP/2.0 200", "INVITE");
    assert!(ok.contains(&format!("c=IN IP4 {}\n", HOSTS[0])), "{ok}");
    assert!(!ok.contains(&ADVERTISED_INSIDE.to_string()), "{ok}");
    header(&ok, "To").clone_into(&mut a.to);
    send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    // Media goes across.
    for (from, host, port) in [
        ("10.1.0.1:4000", HOSTS[0], media_port(&ok)),
        ("10.1.0.2:5000", ADDRESSES[2], media_port(&invite)),
    ] {
        for seq in 0..10_u16 {
            let mut bytes = vec![0x80, 0];
            bytes.extend(seq.to_be_bytes());
            bytes.extend((u32::from(seq) * 160).to_be_bytes());
            bytes.extend([0, 0, 0, 9]);
            bytes.extend([0xd5; 160]);
            let to = SocketAddr::new(host, port);
            world.inject(world::Datagram { from: from.parse().unwrap(), to, bytes });
            world.run_for(ms(20));
        }
    }
    assert!(log.media("10.1.0.1:4000") >= 8 && log.media("10.1.0.2:5000") >= 8);
    send(&mut world, A, &a.request("BYE", 2, "", &empty()));
    let bye = log.last(B, "BYE", "");
    assert_eq!(log.came_from(B, "BYE"), inside());
    send_to(&mut world, (B, inside()), &b.reply(&bye, "200 OK", "", &empty()));
    nothing_left(&mut world);
}

/// A call that an application dials by the trunk's name, too.
#[test]
fn an_application_dials_from_there() {
    let (mut world, log) = world(2, 0, false);
    let wish = crate::common::originate(base::CallId(7), B.parse().unwrap(), "sip:b@10.1.0.2");
    let wish = Originate { trunk: "inner", ..wish };
    crate::common::send(&mut world, 0, &wire::Command::Originate(wish));
    world.run_for(ms(100));
    let invite = log.last(B, "INVITE", "");
    is_inside(&invite, &log);
    assert!(invite.contains(&format!("c=IN IP4 {ADVERTISED_INSIDE}\n")), "{invite}");
    let b = Hand::callee(&invite, "b");
    send_to(&mut world, (B, inside()), &b.reply(&invite, "486 Busy Here", "", &empty()));
    nothing_left(&mut world);
}

#[test]
fn it_is_asked_and_registered_at_from_there() {
    let (mut world, log) = world(3, 5, true);
    // It was asked before the test listened: it is asked again.
    world.run_for(40 * SECOND);
    for method in ["OPTIONS", "REGISTER"] {
        is_inside(&log.last(B, method, ""), &log);
    }
}
