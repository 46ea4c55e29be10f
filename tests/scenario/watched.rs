//! SIP messages told to whoever asked for them: each once, in order, with what it says; of flooders
//! as many as there is room for, and how many were left out.

use base::{CallId, HashKey};
use wire::counter::Counter;
use wire::event::{Direction, SipMessage};
use wire::table::{HeaderFilter, MessageFilter, Table, ValueFilter, Watch};
use world::{Action, Manner, Setup, World};

use crate::by_hand::{self, A, B, Hand, ask, described, empty, header, send, world_by_hand};
use crate::common::{
    SECOND, answered, count, dial, lose, manual, ms, name, nothing_left, publish, route_to, routed,
    to,
};

const KEY: [u64; 2] = [11, 12];

/// Everything of an account.
fn all_of(account: u64) -> MessageFilter {
    MessageFilter {
        account,
        call: CallId::NONE,
        id: 1,
        slot: 0,
        methods: 0,
        responses: Vec::new(),
        ways: 3,
        legs: 3,
        trunk_only: false,
        once: false,
        header: None,
    }
}

/// With a route to the callees, where there are any.
fn watch(world: &mut World, callees: &[usize], filters: Vec<MessageFilter>) {
    let routes = if callees.is_empty() { Vec::new() } else { vec![route_to(world, callees)] };
    let table = Table { routes, admission: None, watch: Watch { key: KEY, filters } };
    publish(world, &table);
}

/// What was told, a line a message: number, who of the legs, which way, what.
fn lines(world: &mut World) -> Vec<String> {
    let mut lines = Vec::new();
    messages(world, |it| {
        let leg = if it.direction == Direction::Inbound { "A" } else { "B" };
        let way = if it.sent { ">" } else { "<" };
        let what = match it.code {
            0 => it.method.to_owned(),
            code => format!("{code} {}", it.method),
        };
        lines.push(format!("{leg}{} {way} {what}", it.number));
    });
    lines
}

fn messages(world: &mut World, mut look: impl FnMut(&SipMessage<'_>)) {
    for told in &manual(world).told {
        if let wire::Event::Message(message) = told.event() {
            look(&message);
        }
    }
}

const LADDER: [&str; 17] = [
    "A1 < INVITE",
    "A2 > 100 INVITE",
    "B1 > INVITE",
    "B2 < 100 INVITE",
    "B3 < 180 INVITE",
    "A3 > 180 INVITE",
    "B4 < 200 INVITE",
    "B5 > ACK",
    "A4 > 200 INVITE",
    "A5 < ACK",
    "A6 < OPTIONS",
    "A7 > 200 OPTIONS",
    "A8 < BYE",
    "A9 > 200 BYE",
    "B6 > BYE",
    "end",
    "end",
];

/// The ladder of a call of a static route, with its ends.
fn ladder(world: &mut World) -> Vec<String> {
    let lines = lines(world);
    let mut at = 0;
    let told = &manual(world).told;
    let line = |told: &world::Told| match name(&told.event()) {
        "message" => {
            at += 1;
            Some(lines[at - 1].clone())
        }
        "ended" => Some("end".to_owned()),
        _ => None,
    };
    told.iter().filter_map(line).collect()
}

fn caller() -> Manner {
    Manner::default().after_answer(SECOND, Action::Options).after_answer(2 * SECOND, Action::HangUp)
}

#[test]
fn a_trunks_call_is_told_message_by_message_before_its_end() {
    let mut world = routed(&Setup::new(1), caller(), vec![Manner::default()]);
    watch(&mut world, &[1], vec![all_of(7)]);
    dial(&mut world, 1);
    world.run_for(10 * SECOND);
    let mut told = ladder(&mut world);
    // The two ends, and what is said between them, come in either order.
    told.sort_by_key(|line| line == "end");
    assert_eq!(told, LADDER);
    let ends = crate::common::ends(&mut world);
    messages(&mut world, |it| {
        let end = ends.iter().find(|end| end.call == it.call).expect("a leg of the call");
        assert_eq!((it.parent, it.account, it.trunk), (end.parent, 7, true));
        assert_eq!((it.wanted.as_slice(), it.left_out, it.is_cut), (&[1][..], 0, false));
        let came_in = it.direction == Direction::Inbound;
        let called = if came_in { "sip:g1@example.com" } else { "sip:g1@10.1.0.2:5060" };
        assert_eq!((it.to, it.from), (called, "sip:c1@phones.example"));
        assert!(it.headers.contains("Call-ID: ") && it.headers.ends_with("\r\n"), "{it:?}");
        let described = it.headers.contains("Content-Type: application/sdp");
        assert_eq!(it.body.starts_with("v=0\r\n"), described, "{it:?}");
        let is_up = it.method == "BYE" || it.method == "OPTIONS";
        assert_eq!(it.answered.0 > 0, is_up || it.method == "ACK" && !it.sent, "{it:?}");
    });
    assert_eq!(count(&world, Counter::MessageTold), 15);
    nothing_left(&mut world);
}

#[test]
fn nobody_else_is_told_and_nothing_that_was_not_asked_for() {
    for (filters, told) in [
        (Vec::new(), vec![]),
        (vec![all_of(8)], vec![]),
        // An account whose bit is the same.
        (vec![all_of(7 + 4_096)], vec![]),
        (vec![MessageFilter { methods: 1 << 2, ..all_of(7) }], vec!["A1 < BYE", "B1 > BYE"]),
        (
            vec![MessageFilter { responses: vec![180], ways: 1, ..all_of(7) }],
            vec!["B1 < 180 INVITE"],
        ),
        (
            vec![MessageFilter { responses: vec![2], methods: 1, legs: 1, ..all_of(7) }],
            vec!["A1 > 200 INVITE"],
        ),
        (vec![MessageFilter { once: true, ..all_of(7) }], vec!["A1 < INVITE", "B1 > INVITE"]),
        (vec![MessageFilter { call: CallId(5), ..all_of(7) }], vec![]),
        (
            vec![MessageFilter { trunk_only: true, once: true, legs: 2, ..all_of(7) }],
            vec!["B1 > INVITE"],
        ),
    ] {
        let mut world = routed(&Setup::new(2), caller(), vec![Manner::default()]);
        watch(&mut world, &[1], filters.clone());
        dial(&mut world, 1);
        world.run_for(10 * SECOND);
        assert_eq!(lines(&mut world), told, "{filters:?}");
    }
}

#[test]
fn a_header_and_its_value_choose() {
    let key = HashKey(KEY);
    let header = |value: Option<(&str, bool)>| {
        let value = value.map(|(text, is_whole)| ValueFilter {
            len: u16::try_from(text.len()).unwrap(),
            hash: Watch::value_hash(key, text.as_bytes()),
            is_whole,
        });
        Some(HeaderFilter { name: Watch::name_hash(key, b"X-Campaign"), value })
    };
    for (value, told) in
        [(None, 2), (Some(("spring", true)), 1), (Some(("sp", false)), 1), (Some(("sp", true)), 0)]
    {
        let mut world = routed(&Setup::new(3), caller(), vec![Manner::default()]);
        let filter = MessageFilter { header: header(value), ways: 1, methods: 1, ..all_of(7) };
        watch(&mut world, &[1], vec![filter]);
        for (group, header) in
            [(1, "X-Campaign: Spring"), (2, "x-campaign:autumn"), (3, "X-B: spring")]
        {
            let headers = vec![header.to_owned()];
            world.dial(0, &world::Dial { headers, ..to(group) });
            world.run_for(5 * SECOND);
        }
        assert_eq!(lines(&mut world).len(), told, "{value:?}");
    }
}

/// A lost ACK has the 2xx come again, a lost 200 the BYE, a lost 100 the INVITE: told once.
#[test]
fn what_is_said_again_is_told_once() {
    for (start, method, times) in [
        ("ACK", "ACK", 3),
        ("SIP/2.0 200", "BYE", 2),
        ("SIP/2.0 100", "INVITE", 2),
        ("SIP/2.0 200", "INVITE", 2),
    ] {
        let mut world = routed(&Setup::new(4), caller(), vec![Manner::default()]);
        watch(&mut world, &[1], vec![all_of(7)]);
        lose(&mut world, times, start, method);
        dial(&mut world, 1);
        world.run_for(20 * SECOND);
        let mut told = lines(&mut world);
        let count = told.len();
        told.sort();
        told.dedup_by_key(|line| {
            line.split_once(' ').map(|(_, what)| what.to_owned() + &line[..1])
        });
        assert_eq!(told.len(), count, "{start} {method}: {told:?}");
        assert!(count >= 13, "{told:?}");
    }
}

#[test]
fn cancelled_and_refused_calls_are_told_too() {
    let impatient = Manner::default().after_dial(SECOND / 2, Action::Cancel);
    let mut world = routed(&Setup::new(5), impatient, vec![Manner::default()]);
    watch(&mut world, &[1], vec![all_of(7)]);
    dial(&mut world, 1);
    world.run_for(5 * SECOND);
    let told = lines(&mut world);
    let expected = ["A4 < CANCEL", "A5 > 200 CANCEL", "A6 > 487 INVITE", "B4 > CANCEL"];
    assert_eq!(told[6..], expected, "{told:?}");
    nothing_left(&mut world);
    let busy = Manner { on_ring: vec![(SECOND, Action::Refuse(486))], ..Manner::default() };
    let mut world = routed(&Setup::new(6), Manner::default(), vec![busy]);
    watch(&mut world, &[1], vec![all_of(7)]);
    dial(&mut world, 1);
    world.run_for(5 * SECOND);
    let told = lines(&mut world);
    let expected = ["B3 < 486 INVITE", "B4 > ACK", "A3 > 486 INVITE"];
    assert_eq!(told[told.len() - 3..], expected, "{told:?}");
    nothing_left(&mut world);
}

/// Whose it is nobody knows before: what was received and sent by then is told all the same.
#[test]
fn an_applications_call_is_told_from_its_invite_on() {
    let mut world = answered(&Setup::new(7), caller());
    watch(&mut world, &[], vec![all_of(9)]);
    dial(&mut world, 1);
    world.run_for(10 * SECOND);
    let told = lines(&mut world);
    let expected = [
        "A1 < INVITE",
        "A2 > 100 INVITE",
        "A3 > 200 INVITE",
        "A4 < ACK",
        "A5 < OPTIONS",
        "A6 > 200 OPTIONS",
        "A7 < BYE",
        "A8 > 200 BYE",
    ];
    assert_eq!(told, expected);
    messages(&mut world, |it| assert!(!it.trunk && it.account == 9));
    let incoming = manual(&mut world).told.iter().position(|it| name(&it.event()) == "incoming");
    let first = manual(&mut world).told.iter().position(|it| name(&it.event()) == "message");
    assert!(incoming < first, "a call is known before its messages");
    nothing_left(&mut world);
}

/// A phone that asks a hundred times a second: a share of it is told, the rest is counted, and what
/// ends the call is told all the same.
#[test]
fn a_flood_is_told_in_part_and_says_how_much_was_left_out() {
    let mut flooder = Manner::default().after_answer(12 * SECOND, Action::HangUp);
    for at in 0..1_000 {
        flooder = flooder.after_answer(SECOND + ms(at * 10), Action::Options);
    }
    let mut world = routed(&Setup::new(8), flooder, vec![Manner::default()]);
    watch(&mut world, &[1], vec![MessageFilter { legs: 1, ..all_of(7) }]);
    dial(&mut world, 1);
    world.run_for(20 * SECOND);
    let (mut told, mut left_out, mut last) = (0_u64, 0_u64, String::new());
    let mut numbers = Vec::new();
    messages(&mut world, |it| {
        told += 1;
        left_out += u64::from(it.left_out);
        numbers.push(it.number);
        last = format!("{} {}", it.code, it.method);
    });
    let counted = count(&world, Counter::MessageLeftOut);
    assert!((64..400).contains(&told), "{told}");
    assert!(left_out > 1_000 && counted == left_out, "{left_out} {counted}");
    assert_eq!(last, "200 BYE");
    assert!(numbers.iter().copied().eq(1..=u32::try_from(told).unwrap()), "none is missing");
    assert_eq!(count(&world, Counter::MessageTold), told);
}

/// Slots are used again: each leg counts from one.
#[test]
fn a_new_call_in_an_old_slot_begins_anew() {
    let quick = Manner::default().after_answer(SECOND, Action::HangUp);
    let mut world = routed(&Setup::new(9), quick, vec![Manner::default()]);
    let once = MessageFilter { once: true, legs: 1, methods: 1, ..all_of(7) };
    watch(&mut world, &[1], vec![once]);
    for group in 0..5 {
        dial(&mut world, group);
        world.run_for(10 * SECOND);
    }
    assert_eq!(lines(&mut world), vec!["A1 < INVITE"; 5]);
}

/// What users of other systems ask for and do not get: requests of any method, of a dialog that
/// rings too, with their answers, custom headers and bodies; the Reason of a provisional response,
/// of a CANCEL and of a BYE; responses to what changes a session; requests of ours.
#[test]
fn whatever_a_far_end_says_in_its_dialog_is_told() {
    let (mut world, log) = world_by_hand(10);
    watch(&mut world, &[1], vec![all_of(7)]);
    let mut a = Hand::caller("strange");
    let invite = ask(&mut world, &log, &a, "0");
    let b = Hand::callee(&invite, "b");
    send(&mut world, B, &b.reply(&invite, "183 Progress", "Reason: Q.850;cause=31\n", &empty()));
    let progress = log.last(A, "SIP/2.0 18", "INVITE");
    header(&progress, "To").clone_into(&mut a.to);
    // In the early dialog.
    let note = by_hand::body("text/plain", "one\ntwo");
    let more = "X-Foo: 1\nx-foo: 2\nEvent: refer\n";
    send(&mut world, A, &a.request("NOTIFY", 2, more, &note));
    let answer = described("10.1.0.2", 5_000, 1, "0");
    send(&mut world, B, &b.reply(&invite, "200 OK", "", &answer));
    send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    for (cseq, method) in (3..).zip(["MESSAGE", "FOO", "INFO"]) {
        send(&mut world, A, &a.request(method, cseq, "X-Bar: baz\n", &note));
    }
    let hold = by_hand::sdp("10.1.0.1", 4_000, 2, "0") + "a=sendonly\n";
    let hold = by_hand::body("application/sdp", &hold);
    send(&mut world, A, &a.request("INVITE", 6, "", &hold));
    send(&mut world, A, &a.request("ACK", 6, "", &empty()));
    send(&mut world, A, &a.request("BYE", 7, "Reason: Q.850;cause=16\n", &empty()));
    let of = |leg: &str, told: &[String]| {
        let own = told.iter().filter_map(|line| line.strip_prefix(leg)?.split_once(' '));
        own.map(|(_, what)| what.to_owned()).collect::<Vec<_>>()
    };
    let told = lines(&mut world);
    let mut expected = vec!["< INVITE", "> 100 INVITE", "> 183 INVITE", "< NOTIFY", "> 481 NOTIFY"];
    expected.extend(["> 200 INVITE", "< ACK", "< MESSAGE", "> 405 MESSAGE", "< FOO", "> 501 FOO"]);
    expected.extend([
        "< INFO",
        "> 415 INFO",
        "< INVITE",
        "> 200 INVITE",
        "< ACK",
        "< BYE",
        "> 200 BYE",
    ]);
    assert_eq!(of("A", &told), expected, "{told:?}");
    // The hold goes on to the other side, whose answer never comes.
    let mut expected = vec!["> INVITE", "< 183 INVITE", "< 200 INVITE", "> ACK"];
    expected.extend(["> INVITE", "> BYE"]);
    assert_eq!(of("B", &told), expected, "{told:?}");
    let mut seen = Vec::new();
    messages(&mut world, |it| {
        let reason = it.headers.lines().find(|line| line.starts_with("Reason: "));
        seen.extend(reason.map(|reason| format!("{} {reason}", it.method)));
        if it.method == "NOTIFY" && it.code == 0 {
            assert!(it.headers.contains("X-Foo: 1\r\nx-foo: 2\r\n"), "{}", it.headers);
            assert_eq!(it.body, "one\r\ntwo");
        }
    });
    let by = ["INVITE", "BYE", "BYE"];
    let causes = [31, 16, 16];
    let expected =
        by.iter().zip(causes).map(|(it, cause)| format!("{it} Reason: Q.850;cause={cause}"));
    assert_eq!(seen, expected.collect::<Vec<_>>());
}

/// The Reason of a CANCEL, and the CANCEL itself, before the 487 that it brings about.
#[test]
fn a_cancel_is_told_with_its_reason_before_what_it_brings_about() {
    let caller = Manner { reason: Some("SIP;cause=200".to_owned()), ..Manner::default() };
    let caller = caller.after_dial(SECOND / 2, Action::Cancel);
    let mut world = routed(&Setup::new(11), caller, vec![Manner::ringing()]);
    watch(&mut world, &[1], vec![MessageFilter { methods: 1 << 3, ..all_of(7) }]);
    dial(&mut world, 1);
    world.run_for(5 * SECOND);
    assert_eq!(lines(&mut world), ["A1 < CANCEL", "B1 > CANCEL"]);
    messages(&mut world, |it| assert!(it.headers.contains("Reason: SIP;cause=200\r\n"), "{it:?}"));
}

/// A controlplane that comes back accepts its calls once more: what was told stays told.
#[test]
fn a_call_that_is_accepted_again_is_told_once() {
    let mut world = World::new(&Setup::new(12));
    world.agent(Manner::default());
    let accepts = world::Manual::new(&world.plane).with_reflex(|told, commands| {
        let wire::Event::Incoming(incoming) = told.event() else { return };
        let accept = wire::Command::Accept { call: incoming.call, account: 9, setup_ms: 5_000 };
        commands.extend([(); 3].map(|()| (told.shard, world::control::encode(&accept))));
    });
    world.control = Some(Box::new(accepts));
    watch(&mut world, &[], vec![all_of(9)]);
    dial(&mut world, 1);
    world.run_for(2 * SECOND);
    assert_eq!(lines(&mut world), ["A1 < INVITE", "A2 > 100 INVITE", "A3 > 180 INVITE"]);
}
