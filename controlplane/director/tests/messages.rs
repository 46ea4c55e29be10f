//! SIP messages told to whoever subscribed to them: in order, at least once, with what they say;
//! and calls that the dataplane routes alone, which an application takes over by its answer and
//! gives back at the end of its document.

mod world;

use base::CallId;
use model::port::{ApiRequest, HttpRequest, Instructions, OwnedCommand, UpdateCall};
use model::signaling::Scope;
use model::{Account, CallDirection, Hook, SignalingSubscription, SubscriptionSid};
use world::{ACCOUNT, Answer, World, is_callback, param, status, xml};

const TOLD: &str = "http://app.test/sip";

fn subscription(sid: u128) -> SignalingSubscription {
    SignalingSubscription {
        sid: SubscriptionSid(sid),
        account: ACCOUNT,
        hook: Hook::post(TOLD),
        ..SignalingSubscription::default()
    }
}

fn world(
    subscriptions: Vec<SignalingSubscription>,
    application: impl FnMut(&HttpRequest) -> Answer + 'static,
) -> World {
    World::new(application).with_book(|book| book.subscriptions = subscriptions)
}

fn takes_over(sid: u128) -> SignalingSubscription {
    SignalingSubscription { is_application: true, ..subscription(sid) }
}

fn numbers(world: &World, call: CallId) -> Vec<String> {
    let call = call.to_string();
    let asked = world.asked("/sip");
    let of_call = asked.iter().filter(|it| param(it, "CallSid") == call);
    of_call.map(|it| param(it, "SipMessageNumber").to_owned()).collect()
}

fn took(world: &World, call: CallId) -> usize {
    world.commands.iter().filter(|it| **it == OwnedCommand::Take { call }).count()
}

fn gave_back(world: &World, call: CallId) -> usize {
    world.commands.iter().filter(|it| **it == OwnedCommand::GiveBack { call }).count()
}

#[test]
fn a_relays_messages_are_told_with_what_they_say() {
    let mut world = world(vec![subscription(1), subscription(2)], |_| status(200));
    let [a, b] = world.relay_rings();
    world.say(a, 1, "INVITE", &[1, 2], |it| it.body = "v=0".to_owned());
    world.say(b, 1, "INVITE", &[1], |it| {
        it.sent = true;
        it.code = 486;
        it.left_out = 7;
    });
    world.run(1_000);
    let asked = world.asked("/sip");
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|it| is_callback(it)));
    let [(a, b), account] = [(a.to_string(), b.to_string()), (String::new(), ACCOUNT.to_string())];
    for (name, value) in [
        ("CallSid", a.as_str()),
        ("AccountSid", account.0.as_str()),
        ("From", "sip:alice@caller.test"),
        ("To", "sip:bob@callee.test"),
        ("Direction", "inbound"),
        ("CallStatus", "ringing"),
        ("ParentCallSid", ""),
        ("SubscriptionSid", "SU00000000000000000000000000000001"),
        ("SipMessageNumber", "1"),
        ("SipDirection", "received"),
        ("SipLeg", "inbound"),
        ("SipTrunk", "true"),
        ("SipMethod", "INVITE"),
        ("SipResponseCode", ""),
        ("SipRequestUri", "sip:bob@callee.test"),
        ("SipCSeq", "5"),
        ("SipCallId", "sip-call-id"),
        ("SipHeader_Via", "a, b"),
        ("SipHeader_X-Foo", "bar"),
        ("SipBody", "v=0"),
        ("SipMessagesLeftOut", ""),
    ] {
        let expected = if name == "AccountSid" { &account.1 } else { value };
        assert_eq!(param(asked[0], name), expected, "{name}");
    }
    let dialled = asked.iter().find(|it| param(it, "CallSid") == b).expect("told");
    for (name, value) in [
        ("ParentCallSid", a.as_str()),
        ("Direction", "outbound-dial"),
        ("SipDirection", "sent"),
        ("SipLeg", "outbound"),
        ("SipResponseCode", "486"),
        ("SipReasonPhrase", "Some Reason"),
        ("SipMessagesLeftOut", "7"),
    ] {
        assert_eq!(param(dialled, name), value, "{name}");
    }
    let tokens: std::collections::BTreeSet<_> =
        asked.iter().map(|it| it.idempotency_token.clone()).collect();
    assert_eq!(tokens.len(), 3);
    assert!(
        world.commands.is_empty(),
        "the dataplane is not told what to do: {:?}",
        world.commands
    );
}

/// A call that the dataplane routes alone has one row and one CDR a leg, whoever is told of it.
#[test]
fn a_relay_is_booked_once_and_counts_for_nothing() {
    let mut world = world(vec![subscription(1)], |_| status(200)).with_settings(|settings| {
        settings.limits.account_calls = 1;
    });
    let [a, b] = world.relay();
    world.said(a, 1, "ACK", &[1]);
    world.said(b, 1, "ACK", &[1]);
    world.run(1_000);
    assert_eq!(world.status_of(a), "in-progress");
    // The account may still have the call that its limit allows.
    let other = world.call_in("sip:bob@demo.test");
    world.run(100);
    assert_eq!(world.director.stats().calls_refused, 0);
    world.bye_in(a, 5_000);
    world.bye_in(other, 5_000);
    world.run(60_000);
    let row = &world.store.calls[&b];
    assert_eq!((row.direction, row.parent), (CallDirection::OutboundDial, Some(a)));
    assert_eq!((world.status_of(a), world.status_of(b)), ("completed", "completed"));
    assert!(row.answer_time.is_some() && row.end_time.is_some());
    world.assert_clean();
}

#[test]
fn messages_are_told_in_order_at_least_once_whatever_dies() {
    for crash_at in 0..60 {
        let mut fails = 2;
        let mut world = world(vec![subscription(1)], move |request| {
            fails -= i32::from(request.url.contains("/sip") && fails > 0);
            if fails > 0 && request.url.contains("/sip") { status(500) } else { status(200) }
        });
        world.crash_at = (crash_at > 0).then_some(crash_at);
        let [a, b] = world.relay();
        for number in 1..=8 {
            world.said(a, number, "INFO", &[1]);
            world.said(b, number, "INFO", &[1]);
            world.run(50);
        }
        world.bye_in(a, 100);
        world.run(120_000);
        for call in [a, b] {
            // Each comes, and none before the one before it.
            let told = numbers(&world, call);
            let mut first: Vec<String> = Vec::new();
            for number in &told {
                if !first.contains(number) {
                    first.push(number.clone());
                }
            }
            let all: Vec<String> = (1..=8).map(|number| number.to_string()).collect();
            assert_eq!(first, all, "crash at {crash_at}: {told:?}");
        }
        let asked = world.asked("/sip");
        for request in &asked {
            let same = asked.iter().filter(|other| {
                let what = |it: &HttpRequest| {
                    (param(it, "CallSid").to_owned(), param(it, "SipMessageNumber").to_owned())
                };
                what(other) == what(request)
            });
            let tokens: Vec<_> = same.map(|it| it.idempotency_token.clone()).collect();
            assert!(tokens.iter().all(|token| *token == tokens[0]), "one message, one token");
        }
        world.assert_clean();
    }
}

#[test]
fn what_the_ring_tells_again_is_told_once() {
    let mut world = world(vec![subscription(1)], |_| status(200));
    let [a, _] = world.relay();
    for number in [1, 2, 2, 1, 3] {
        world.said(a, number, "INFO", &[1]);
        world.run(100);
    }
    assert_eq!(numbers(&world, a), ["1", "2", "3"]);
}

#[test]
fn nobody_else_is_told_and_nobody_who_is_gone() {
    let other = model::AccountSid(0xbb);
    let foreign = SignalingSubscription { account: other, ..subscription(2) };
    let mut world = world(vec![subscription(1), foreign], |_| status(200)).with_book(|book| {
        book.accounts.push(Account { sid: other, number: 8, parent: other, ..Account::default() });
    });
    let [a, _] = world.relay();
    world.said(a, 1, "INFO", &[2, 3]);
    world.say(a, 2, "INFO", &[1], |it| it.account = 99);
    world.run(1_000);
    assert!(world.asked("/sip").is_empty());
    // An application's call that is not known is over.
    world.say(a, 3, "INFO", &[1], |it| {
        it.call = CallId(5);
        it.trunk = false;
    });
    world.run(1_000);
    assert!(world.asked("/sip").is_empty());
}

/// A dead application holds a bounded number of messages; how many were left out comes with the
/// next one, and its account knows.
#[test]
fn what_a_dead_application_cannot_take_is_counted() {
    let mut fails = 2;
    let mut world = world(vec![subscription(1)], move |request| {
        let is_first = param(request, "SipMessageNumber") == "1";
        fails -= i32::from(is_first);
        if is_first && fails >= 0 { (5_000, status(503).1) } else { status(200) }
    });
    let [a, _] = world.relay();
    for number in 1..=200 {
        world.said(a, number, "OPTIONS", &[1]);
    }
    world.said(a, 201, "BYE", &[1]);
    world.bye_in(a, 1_000);
    world.run(600_000);
    let told = numbers(&world, a);
    assert!(told.len() < 60, "{}", told.len());
    assert_eq!(told.last().map(String::as_str), Some("201"), "what ends the call has room");
    let asked = world.asked("/sip");
    let left_out: u32 =
        asked.iter().filter_map(|it| param(it, "SipMessagesLeftOut").parse::<u32>().ok()).sum();
    let first: std::collections::BTreeSet<_> = told.iter().collect();
    assert_eq!(left_out as usize + first.len(), 201);
    assert_eq!(world.director.stats().messages_left_out, u64::from(left_out));
    let alerts = world.store.alerts.iter();
    let said = alerts.filter(|it| it.reason == "sip-messages-left-out").count();
    assert_eq!(said, 1);
    world.assert_clean();
}

#[test]
fn another_url_is_told_when_the_first_is_given_up() {
    let fallback = Some(Hook::post("http://other.test/sip"));
    let mut world = world(vec![SignalingSubscription { fallback, ..subscription(1) }], |request| {
        if request.url.contains("app.test/sip") { status(404) } else { status(200) }
    });
    let [a, _] = world.relay();
    world.said(a, 1, "INFO", &[1]);
    world.bye_in(a, 1_000);
    world.run(10_000);
    let asked = world.asked("other.test/sip");
    assert_eq!(asked.len(), 1);
    assert_eq!(param(asked[0], "ErrorUrl"), TOLD);
    assert_eq!(param(asked[0], "ErrorCode"), "15003");
    assert_eq!(param(asked[0], "SipMessageNumber"), "1");
    assert!(world.store.dead.is_empty(), "it was told");
    world.assert_clean();
}

/// Taken over by the answer, in silence for its pause, then the relay's again.
#[test]
fn an_answer_takes_a_relay_over_and_its_end_gives_it_back() {
    for which in [0, 1] {
        let mut world = world(vec![takes_over(1)], |request| match request.url.as_str() {
            TOLD => xml("<Response><Pause length=\"3\"/></Response>"),
            _ => status(200),
        });
        let calls = world.relay();
        world.said(calls[which], 1, "INFO", &[1]);
        world.run(1_000);
        assert_eq!((took(&world, calls[which]), gave_back(&world, calls[which])), (1, 0));
        assert_eq!(world.director.stats().relays_taken, 1);
        world.run(4_000);
        assert_eq!((took(&world, calls[which]), gave_back(&world, calls[which])), (1, 1));
        let ended = |world: &World| calls.map(|call| world.legs[&call].ended);
        assert_eq!(ended(&world), [false, false], "both stand");
        // And once more.
        world.said(calls[which], 2, "INFO", &[1]);
        world.run(5_000);
        assert_eq!((took(&world, calls[which]), gave_back(&world, calls[which])), (2, 2));
        world.bye_in(calls[0], 1_000);
        world.run(10_000);
        assert_eq!(ended(&world), [true, true]);
        world.assert_clean();
    }
}

#[test]
fn who_was_taken_dials_somebody_else_and_comes_back() {
    let mut world = world(vec![takes_over(1)], |request| match request.url.as_str() {
        TOLD => {
            xml("<Response><Dial action=\"/after\"><Sip>sip:drop@127.0.0.1</Sip></Dial></Response>")
        }
        "http://app.test/after" => xml("<Response/>"),
        _ => status(200),
    });
    let [a, b] = world.relay();
    world.said(a, 1, "INFO", &[1]);
    world.run(3_000);
    let third = world.children_of(a).into_iter().find(|child| *child != b).expect("dialled");
    assert!(!world.legs[&third].ended && world.legs[&third].answered.0 > 0);
    world.run(5_000);
    assert!(world.legs[&third].ended);
    assert_eq!(world.asked("/after").len(), 1);
    assert_eq!((took(&world, a), gave_back(&world, a)), (1, 1));
    world.bye_in(b, 1_000);
    world.run(10_000);
    world.assert_clean();
}

#[test]
fn a_hangup_ends_what_was_taken_and_the_other_leg_with_it() {
    let mut world = world(vec![takes_over(1)], |request| match request.url.as_str() {
        TOLD => xml("<Response><Hangup/></Response>"),
        _ => status(200),
    });
    let [a, b] = world.relay();
    world.said(b, 1, "INFO", &[1]);
    world.run(2_000);
    assert!(world.legs[&a].ended && world.legs[&b].ended);
    assert_eq!(gave_back(&world, b), 0);
    world.assert_clean();
}

/// What comes before the answer begins with it; of a call that is never answered it is forgotten.
#[test]
fn a_relay_that_rings_is_taken_when_it_is_answered() {
    for answers in [true, false] {
        let mut world = world(vec![takes_over(1)], |request| match request.url.as_str() {
            TOLD => xml("<Response><Pause length=\"2\"/></Response>"),
            _ => status(200),
        });
        let [a, _] = world.relay_rings();
        world.said(a, 1, "INVITE", &[1]);
        world.run(5_000);
        assert_eq!(took(&world, a), 0);
        if answers {
            world.answer_relay(a);
            world.run(1_000);
            assert_eq!((took(&world, a), gave_back(&world, a)), (1, 0));
            world.run(3_000);
            assert_eq!(gave_back(&world, a), 1);
        }
        world.bye_in(a, 1_000);
        world.run(10_000);
        assert_eq!(took(&world, a), usize::from(answers));
        world.assert_clean();
    }
}

/// No answer, a wrong one, one without verbs: the relay goes on, and its account knows why.
#[test]
fn a_relay_goes_on_whatever_its_application_does() {
    let dead: Answer = (60_001, status(200).1);
    let answers: [(&str, Answer, usize); 7] = [
        ("", xml("<Response/>"), 0),
        ("", status(204), 0),
        ("callback-dead", status(500), 0),
        ("callback-dead", dead, 0),
        ("document", xml("<Response><Dial"), 0),
        ("verb-not-supported", xml("<Response><Say>x</Say></Response>"), 0),
        ("http-status", xml("<Response><Redirect>/gone</Redirect></Response>"), 1),
    ];
    for (reason, answer, taken) in answers {
        let mut world = world(vec![takes_over(1)], move |request| match request.url.as_str() {
            TOLD => answer.clone(),
            "http://app.test/gone" => status(404),
            _ => status(200),
        });
        let [a, b] = world.relay();
        world.said(a, 1, "INFO", &[1]);
        world.run(120_000);
        assert_eq!((took(&world, a), gave_back(&world, a)), (taken, taken), "{reason}");
        assert!(!world.legs[&a].ended && !world.legs[&b].ended, "{reason}");
        let found = world.store.alerts.iter().any(|it| it.reason == reason);
        assert_eq!(found, !reason.is_empty(), "{reason}: {:?}", world.store.alerts);
        let ended = world.commands.iter().any(|it| matches!(it, OwnedCommand::Hangup { .. }));
        assert!(!ended, "{reason}");
    }
}

/// Either process may die at any moment of it: taken once or told so again, given back in the end.
#[test]
fn a_taken_relay_survives_its_controlplane() {
    for crash_at in 1..50 {
        let mut world = world(vec![takes_over(1)], |request| match request.url.as_str() {
            TOLD => {
                xml("<Response><Pause length=\"1\"/><Dial><Sip>sip:drop@127.0.0.1</Sip></Dial>\
                <Pause length=\"1\"/></Response>")
            }
            _ => status(200),
        });
        let [a, b] = world.relay();
        world.crash_at = Some(crash_at);
        world.said(a, 1, "INFO", &[1]);
        world.run(60_000);
        assert!(took(&world, a) >= 1, "{crash_at}");
        assert!(gave_back(&world, a) >= 1, "{crash_at}");
        assert!(!world.legs[&a].ended && !world.legs[&b].ended && !world.legs[&a].is_held);
        let third: Vec<_> = world.children_of(a).into_iter().filter(|it| *it != b).collect();
        assert_eq!(third.len(), 1, "{crash_at}: dialled once");
        world.bye_in(b, 0);
        world.run(60_000);
        world.assert_clean();
    }
}

/// A call that is known by its messages can be sent elsewhere and ended by the API.
#[test]
fn the_api_takes_a_relay_over_and_ends_it() {
    let mut world = world(vec![subscription(1)], |_| status(200));
    let [a, b] = world.relay();
    world.said(a, 1, "INFO", &[1]);
    world.run(1_000);
    let text = "<Response><Pause length=\"2\"/></Response>".to_owned();
    let instructions = Some(Instructions::Twiml(text));
    let update = UpdateCall { instructions, ..UpdateCall::default() };
    let id = world.api(ApiRequest::UpdateCall { call: a, update: Box::new(update) });
    world.run(1_000);
    assert!(world.reply(id).is_some_and(Result::is_ok));
    assert_eq!(took(&world, a), 1);
    world.run(2_000);
    assert_eq!(gave_back(&world, a), 1);
    let update = UpdateCall { complete: true, ..UpdateCall::default() };
    world.api(ApiRequest::UpdateCall { call: a, update: Box::new(update) });
    world.run(5_000);
    assert!(world.legs[&a].ended && world.legs[&b].ended);
    world.assert_clean();
}

#[test]
fn who_subscribed_to_a_call_alone_is_forgotten_behind_its_end() {
    let of_call = |call| SignalingSubscription { scope: Scope::Call(call), ..subscription(1) };
    let mut world = world(Vec::new(), |_| status(200));
    let [a, _] = world.relay();
    let put = ApiRequest::Put { entity: Box::new(of_call(a).into()), create: true };
    world.api(put);
    world.run(100);
    world.said(a, 1, "INFO", &[1]);
    world.bye_in(a, 1_000);
    world.run(5_000);
    let is_there = |world: &World| {
        world.director.directory().get::<SignalingSubscription>(SubscriptionSid(1)).is_some()
    };
    assert!(is_there(&world), "the dialled leg's last messages may come yet");
    assert_eq!(numbers(&world, a), ["1"]);
    world.run(60_000);
    assert!(!is_there(&world));
    world.assert_clean();
}

/// In an application's own call the answer replaces what the call runs.
#[test]
fn an_applications_call_goes_on_with_the_answer() {
    let mut world = world(vec![takes_over(1)], |request| match request.url.as_str() {
        "http://app.test/voice" => xml(
            "<Response><Dial answerOnBridge=\"false\"><Sip>sip:ok@127.0.0.1</Sip></Dial></Response>",
        ),
        TOLD => xml("<Response><Hangup/></Response>"),
        _ => status(200),
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(5_000);
    world.legs.get_mut(&call).unwrap().account = world::ACCOUNT_NUMBER;
    world.said(call, 1, "INFO", &[1]);
    world.run(5_000);
    assert!(world.legs[&call].ended);
    assert_eq!(took(&world, call), 0);
    world.assert_clean();
}

/// Each hears of what it was not told itself: those that the dataplane left out, and those that
/// there was no room for in its own lane.
#[test]
fn who_was_told_everything_hears_of_nothing_left_out() {
    let dead =
        SignalingSubscription { hook: Hook::post("http://dead.test/sip"), ..subscription(2) };
    let mut world = world(vec![subscription(1), dead], |request| {
        if request.url.contains("dead.test") { (30_000, status(503).1) } else { status(200) }
    });
    let [a, _] = world.relay();
    for number in 1..=60 {
        world.say(a, number, "OPTIONS", &[1, 2], |it| {
            it.left_out = if number == 30 { 5 } else { 0 };
        });
        world.run(100);
    }
    let asked = world.asked("app.test/sip");
    let left_out: Vec<_> = asked.iter().map(|it| param(it, "SipMessagesLeftOut")).collect();
    assert_eq!(asked.len(), 60);
    assert_eq!(left_out.iter().filter(|it| !it.is_empty()).collect::<Vec<_>>(), [&"5"]);
    assert_eq!(left_out[29], "5");
    assert_eq!(world.director.stats().messages_left_out, 60 - 32);
}
