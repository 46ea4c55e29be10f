//! Trunks that register at their carriers (RFC 3261 section 10.2): credentials, refresh, failover,
//! back-off; over the dataplane's death, and taken back at its stop.

use std::collections::BTreeSet;
use std::time::Duration;

use shard::plan::Registration;
use wire::counter::Counter;
use world::{Manual, Setup, World};

use crate::common::{SECOND, count, ms};
use crate::raw::{Log, all, header, last, reply, tap};
use crate::strangers::send;

const FIRST: &str = "10.1.0.2:5060";
const SECOND_TARGET: &str = "10.1.0.3:5060";
const ASKS: &str =
    "WWW-Authenticate: Digest realm=\"carrier.example\", nonce=\"n1\", qop=\"auth\"\n";
const CONTACT: &str = "sip:+15551234567@10.0.0.1:5060";

fn world(shards: u8, change: impl FnOnce(&mut Registration)) -> (World, Log) {
    let mut setup = Setup::new(11);
    setup.plane.shards = shards;
    let target = |at: &str| base::Target::udp(at.parse().unwrap());
    let mut registration = Registration {
        trunk: "carrier".to_owned(),
        host: "carrier.example".to_owned(),
        user: "tandem".to_owned(),
        password: "s3cret".to_owned(),
        realm: String::new(),
        contact: "+15551234567".to_owned(),
        targets: vec![target(FIRST), target(SECOND_TARGET)],
        tls_name: String::new(),
        expires: 600,
        leaves: true,
        digest: None,
        listener: wire::Originate::ANY_LISTENER,
    };
    change(&mut registration);
    setup.plane.registrations = vec![registration];
    let mut world = World::new(&setup);
    world.control = Some(Box::new(Manual::new(&world.plane)));
    let log = tap(&mut world);
    (world, log)
}

fn asked(log: &Log, at: &str) -> Vec<String> {
    all(log, at, "REGISTER", "")
}

/// Different requests, not their repetitions.
fn requests(log: &Log, at: &str) -> usize {
    asked(log, at).iter().map(|text| header(text, "CSeq")).collect::<BTreeSet<_>>().len()
}

fn answer(world: &mut World, log: &Log, at: &str, status: &str, more: &str) -> String {
    let request = last(log, at, "REGISTER", "").unwrap();
    send(world, at, &reply(&request, status, "r", more, ""));
    world.run_for(ms(50));
    request
}

/// Runs until so many requests have come there, at most so many seconds; how many it took.
fn until(world: &mut World, log: &Log, at: &str, wanted: usize, most: u32) -> u32 {
    let passed = (0..most).find(|_| {
        let is_there = requests(log, at) >= wanted;
        if !is_there {
            world.run_for(SECOND);
        }
        is_there
    });
    assert_eq!(requests(log, at), wanted);
    passed.unwrap_or(most)
}

fn cseq(text: &str) -> u32 {
    header(text, "CSeq").split(' ').next().unwrap().parse().unwrap()
}

/// Challenged and granted.
fn register(world: &mut World, log: &Log, seconds: u32) -> String {
    world.run_for(ms(200));
    answer(world, log, FIRST, "401 Unauthorized", ASKS);
    let granted = format!("Contact: <{CONTACT}>;expires={seconds}\n");
    answer(world, log, FIRST, "200 OK", &granted)
}

fn up(world: &World) -> u64 {
    count(world, Counter::TrunkRegistered)
}

#[test]
fn a_trunk_registers_refreshes_in_time_and_outlives_the_dataplane() {
    for shards in [1, 3] {
        let (mut world, log) = world(shards, |_| ());
        let request = register(&mut world, &log, 120);
        assert!(request.starts_with("REGISTER sip:carrier.example SIP/2.0"), "{request}");
        assert_eq!(header(&request, "To"), "<sip:tandem@carrier.example>");
        assert_eq!(header(&request, "Contact"), format!("<{CONTACT}>;expires=600"));
        let login = header(&request, "Authorization");
        assert!(login.contains("username=\"tandem\"") && login.contains("nc=00000001"), "{login}");
        assert_eq!((requests(&log, FIRST), asked(&log, SECOND_TARGET).len()), (2, 0));
        world.run_for(2 * SECOND);
        assert_eq!(up(&world), 1);
        // Between half and three quarters of what was granted.
        let waited = until(&mut world, &log, FIRST, 3, 100);
        assert!((57..=90).contains(&waited), "{waited}");
        let first = last(&log, FIRST, "REGISTER", "").unwrap();
        assert_eq!(header(&first, "Call-ID"), header(&request, "Call-ID"));
        answer(&mut world, &log, FIRST, "200 OK", &format!("Contact: <{CONTACT}>;expires=120\n"));
        let before = log.borrow().len();
        world.restart_plane(SECOND);
        let again = register(&mut world, &log, 120);
        assert_eq!(header(&again, "Call-ID"), header(&first, "Call-ID"), "the same binding");
        assert!(cseq(&again) > cseq(&first));
        assert!(log.borrow().len() <= before + 4, "no storm");
        world.run_for(SECOND);
        assert_eq!(up(&world), 1);
        // Each is a request of its own to whoever keeps transactions (RFC 3261 section 17.2.3), and
        // From is the same with credentials as without.
        let all = asked(&log, FIRST);
        let branches: BTreeSet<_> = all.iter().map(|text| header(text, "Via")).collect();
        assert_eq!(branches.len(), requests(&log, FIRST));
        assert_eq!(all.iter().map(|text| header(text, "From")).collect::<BTreeSet<_>>().len(), 1);
    }
}

#[test]
fn another_target_is_asked_and_then_later_and_later() {
    let (mut world, log) = world(1, |_| ());
    world.run_for(ms(200));
    answer(&mut world, &log, FIRST, "503 Service Unavailable", "");
    assert_eq!(requests(&log, SECOND_TARGET), 1, "at once");
    // The second one says nothing at all.
    world.run_for(9 * SECOND);
    assert_eq!((requests(&log, FIRST), requests(&log, SECOND_TARGET)), (1, 1));
    let waited = until(&mut world, &log, FIRST, 2, 40);
    assert!((13..=31).contains(&waited), "{waited}");
    // Both again: twice as long.
    answer(&mut world, &log, FIRST, "500 Broken", "");
    answer(&mut world, &log, SECOND_TARGET, "503 Full", "Retry-After: 300\n");
    world.run_for(298 * SECOND);
    assert_eq!(requests(&log, FIRST), 2, "as it asked for");
    world.run_for(3 * SECOND);
    assert_eq!(requests(&log, FIRST), 3);
    answer(&mut world, &log, FIRST, "200 OK", &format!("Contact: <{CONTACT}>;expires=600\n"));
    assert_eq!(count(&world, Counter::RegisterGranted), 1);
    assert!(count(&world, Counter::RegisterRefused) >= 4);
}

#[test]
fn what_a_carrier_answers_is_taken_as_it_may_be_meant() {
    // Longer, once; whoever wants ever longer times is asked later.
    let (mut world, log) = world(1, |it| it.expires = 60);
    world.run_for(ms(200));
    answer(&mut world, &log, FIRST, "423 Interval Too Brief", "Min-Expires: 1800\n");
    let longer = last(&log, FIRST, "REGISTER", "").unwrap();
    assert!(header(&longer, "Contact").ends_with(";expires=1800"), "{longer}");
    for least in [3_600, 7_200, 14_400] {
        answer(
            &mut world,
            &log,
            FIRST,
            "423 Interval Too Brief",
            &format!("Min-Expires: {least}\n"),
        );
    }
    assert_eq!(requests(&log, FIRST), 2, "no loop");
    // A 200 without a Contact, and one that grants nothing sensible.
    let _ = until(&mut world, &log, FIRST, 3, 40);
    let request = last(&log, FIRST, "REGISTER", "").unwrap();
    let bare = reply(&request, "200 OK", "r", "X: y\n", "");
    let bare: String = bare
        .lines()
        .filter(|line| !line.starts_with("Contact:"))
        .fold(String::new(), |text, line| text + line + "\n");
    send(&mut world, FIRST, &bare);
    world.run_for(SECOND);
    let known = requests(&log, FIRST);
    world.run_for(800 * SECOND);
    assert_eq!(requests(&log, FIRST), known, "for as long as was asked: 1,800 s");
    assert_eq!(up(&world), 1);
    let _ = until(&mut world, &log, FIRST, known + 1, 600);
    answer(&mut world, &log, FIRST, "200 OK", &format!("Contact: <{CONTACT}>;expires=0\n"));
    let known = requests(&log, FIRST);
    world.run_for(14 * SECOND);
    assert_eq!(requests(&log, FIRST), known, "who grants nothing is asked later");
}

#[test]
fn a_wrong_password_is_not_tried_again_and_again() {
    let (mut world, log) = world(1, |_| ());
    world.run_for(ms(200));
    answer(&mut world, &log, FIRST, "401 Unauthorized", ASKS);
    answer(&mut world, &log, FIRST, "401 Unauthorized", &ASKS.replace("n1", "n2"));
    assert_eq!((requests(&log, FIRST), requests(&log, SECOND_TARGET)), (2, 0));
    world.run_for(7 * SECOND);
    assert_eq!(requests(&log, FIRST), 2);
    // An old nonce is no wrong password.
    let _ = until(&mut world, &log, FIRST, 3, 40);
    answer(&mut world, &log, FIRST, "401 Unauthorized", ASKS);
    let stale = ASKS.replace("n1", "n3").replace("qop", "stale=true, qop");
    answer(&mut world, &log, FIRST, "401 Unauthorized", &stale);
    assert_eq!(requests(&log, FIRST), 5);
    // From elsewhere nobody is believed.
    let request = last(&log, FIRST, "REGISTER", "").unwrap();
    send(&mut world, "9.9.9.9:5060", &reply(&request, "200 OK", "r", "", ""));
    world.run_for(2 * SECOND);
    assert_eq!((up(&world), count(&world, Counter::RegisterGranted)), (0, 0));
}

#[test]
fn at_its_stop_a_switch_takes_its_contact_back_where_it_is_told_to() {
    for leaves in [true, false] {
        let (mut world, log) = world(1, |it| it.leaves = leaves);
        register(&mut world, &log, 600);
        let known = requests(&log, FIRST);
        let now = world.now;
        for lane in &mut world.plane.lanes {
            lane.shard.handle_stop(now, &mut lane.heap);
        }
        world.settle();
        world.run_for(ms(100));
        assert_eq!(requests(&log, FIRST), known + usize::from(leaves));
        let gone = last(&log, FIRST, "REGISTER", "").unwrap();
        assert_eq!(header(&gone, "Contact").ends_with(";expires=0"), leaves);
        if leaves {
            answer(&mut world, &log, FIRST, "200 OK", "");
        }
        world.run_for(Duration::from_secs(700));
        assert_eq!(requests(&log, FIRST), known + usize::from(leaves), "it asks no more");
    }
}
