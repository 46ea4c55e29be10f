//! Callbacks: in order per call and endpoint, at least once, retried with the same token, never at
//! another's cost.

mod world;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use base::{CallId, LegId, Wall};
use model::port::{ApiDone, ApiRequest, CreateCall, HttpError, HttpKind, Instructions};
use model::{Events, Hook, StatusHook};
use wire::Event;
use wire::event::{Cause, Direction, Party, Summary};
use world::{World, param, status, xml};

const DIAL: &str = "<Response><Pause length=\"2\"/></Response>";

#[test]
fn a_failing_follower_is_told_again_in_order_with_the_same_token() {
    let up = Rc::new(Cell::new(false));
    let seen = up.clone();
    let mut world = World::new(move |request| match (request.kind, seen.get()) {
        (HttpKind::Instructions, _) => xml(DIAL),
        (HttpKind::Callback, false) => status(503),
        (HttpKind::Callback, true) => status(200),
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(60_000);
    assert_eq!(world.status_of(call), "completed");
    let tokens: BTreeSet<_> =
        world.asked("/status").iter().map(|it| it.idempotency_token.clone()).collect();
    assert!(world.asked("/status").len() > 3);
    assert_eq!(tokens.len(), 1, "the second event waits for the first");
    assert_eq!(world.director.stats().callbacks_waiting, 2);
    up.set(true);
    world.run(400_000);
    let delivered: Vec<_> = world.asked("/status");
    let last: Vec<_> =
        delivered.iter().rev().take(2).map(|it| param(it, "CallStatus").to_owned()).collect();
    assert_eq!(last, ["completed", "in-progress"]);
    assert_eq!(world.director.stats().callbacks_waiting, 0);
    world.assert_clean();
}

#[test]
fn retries_are_spread_and_end_in_a_dead_letter() {
    let mut world = World::new(|request| match request.kind {
        HttpKind::Instructions => xml(DIAL),
        HttpKind::Callback => (10, Err(HttpError::Connect)),
    })
    .with_settings(|settings| settings.limits.callback_attempts = 4);
    world.call_in("sip:bob@demo.test");
    world.run(600_000);
    assert_eq!(world.store.dead.len(), 2);
    let letter = &world.store.dead[0];
    assert_eq!((letter.attempts, letter.error.as_str()), (4, "connect"));
    assert!(letter.params.iter().any(|(name, _)| name == "CallSid"));
    let times: Vec<u64> = world
        .requests
        .iter()
        .filter(|(_, it)| it.idempotency_token == letter.idempotency_token)
        .map(|(at, _)| at.0 / 1_000_000)
        .collect();
    assert_eq!(times.len(), 4);
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] >= 500 && gaps[2] > gaps[0], "{gaps:?}");
    assert!(world.store.alerts.iter().any(|alert| alert.reason == "callback-dead"));
    world.assert_clean();
}

/// A pause is no longer than any may be, whatever the clock was set to in it.
#[test]
fn a_clock_that_is_set_back_makes_no_callback_wait() {
    for set in [3_600, -3_600, -86_400] {
        let up = Rc::new(Cell::new(false));
        let seen = up.clone();
        let mut world = World::new(move |request| match (request.kind, seen.get()) {
            (HttpKind::Instructions, _) => xml(DIAL),
            (HttpKind::Callback, false) => status(503),
            (HttpKind::Callback, true) => status(200),
        });
        world.call_in("sip:bob@demo.test");
        world.run(60_000);
        world.set_clock(set);
        up.set(true);
        world.run(600_000);
        assert_eq!(world.director.stats().callbacks_waiting, 0, "set by {set}");
        world.assert_clean();
    }
}

#[test]
fn a_refusal_is_not_repeated() {
    let mut world = World::new(|request| match request.kind {
        HttpKind::Instructions => xml(DIAL),
        HttpKind::Callback => status(404),
    });
    world.call_in("sip:bob@demo.test");
    world.run(60_000);
    assert_eq!(world.asked("/status").len(), 2);
    assert_eq!(world.store.dead.len(), 2);
    world.assert_clean();
}

#[test]
fn a_dead_host_delays_nobody_else_and_is_left_alone() {
    let mut world = World::new(|request| match request.kind {
        HttpKind::Instructions => {
            let host = if param(request, "To").contains("bad") { "dead" } else { "live" };
            let document = format!(
                "<Response><Dial><Sip statusCallback=\"http://{host}.test/child\" \
                 statusCallbackEvent=\"initiated ringing answered completed\">sip:drop@127.0.0.1\
                 </Sip></Dial></Response>"
            );
            xml(&document)
        }
        HttpKind::Callback if request.url.contains("dead.test") => {
            (10_000, Err(HttpError::Timeout))
        }
        HttpKind::Callback => status(200),
    })
    .with_settings(|settings| settings.limits.callbacks_per_host = 4);
    for _ in 0..20 {
        world.call_in("sip:bad@demo.test");
    }
    for _ in 0..20 {
        world.call_in("sip:good@demo.test");
    }
    world.run(6_000);
    assert_eq!(world.asked("live.test").len(), 80, "all four events of twenty calls");
    world.run(54_000);
    let tries = world.asked("dead.test").len();
    assert!((5..=16).contains(&tries), "{tries}");
}

#[test]
fn a_path_that_fails_delays_no_other_path_of_its_host() {
    let mut world = World::new(|request| match request.kind {
        HttpKind::Instructions => {
            let path = if param(request, "To").contains("bad") { "bad" } else { "good" };
            xml(&format!(
                "<Response><Dial><Sip statusCallback=\"http://app.test/{path}\" \
                 statusCallbackEvent=\"initiated ringing answered completed\">sip:drop@127.0.0.1\
                 </Sip></Dial></Response>"
            ))
        }
        HttpKind::Callback if request.url.contains("/bad") => status(503),
        HttpKind::Callback => status(200),
    });
    for _ in 0..12 {
        world.call_in("sip:bad@demo.test");
    }
    world.run(10_000);
    // It is left alone but for a probe, and so are they.
    assert!((6..=48).contains(&world.asked("/bad").len()), "{}", world.asked("/bad").len());
    world.call_in("sip:good@demo.test");
    world.run(6_000);
    assert_eq!(world.asked("/good").len(), 4, "all four events at once");
}

/// The follower is dead; the action of a caller who left, and a leg's own follower, are not.
#[test]
fn what_goes_elsewhere_does_not_wait_behind_a_dead_follower() {
    for (follower, dead) in [
        ("http://dead.test/status", Err(HttpError::Connect)),
        ("http://app.test/status", Err(HttpError::Timeout)),
        ("http://app.test/status", status(500).1),
    ] {
        let silent = dead.clone();
        let mut world = World::new(move |request| match request.url.as_str() {
            "http://app.test/voice" => xml("<Response><Dial action=\"/done\">\
                <Sip>sip:ok@127.0.0.1</Sip></Dial></Response>"),
            url if url.contains("/status") => (3_000, silent.clone()),
            _ => status(200),
        })
        .with_book(|book| {
            let config = &mut book.domains[0].config;
            config.status_callback.as_mut().unwrap().hook.url = follower.to_owned();
        });
        let call = world.call_in("sip:bob@demo.test");
        world.bye_in(call, 5_000);
        world.run(6_000);
        assert_eq!(world.asked("/done").len(), 1, "{follower} {dead:?}");
        assert_eq!(param(world.asked("/done")[0], "CallStatus"), "completed");
        assert_eq!(world.director.stats().callbacks_waiting, 2, "{follower} {dead:?}");
    }
}

/// What differs in the query alone is one endpoint.
#[test]
fn one_endpoint_is_told_in_order_whatever_its_query() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => xml("<Response><Dial action=\"/cb?step=done\"><Sip \
            statusCallback=\"/cb?step=child\">sip:ok@127.0.0.1</Sip></Dial></Response>"),
        _ => (4_000, status(200).1),
    })
    .with_book(|book| {
        let config = &mut book.domains[0].config;
        config.status_callback.as_mut().unwrap().hook.url = "http://app.test/cb?n=1".to_owned();
    });
    let call = world.call_in("sip:bob@demo.test");
    world.bye_in(call, 2_000);
    world.run(60_000);
    let of_call = |request: &&model::port::HttpRequest| request.call == call;
    let told: Vec<_> = world.requests.iter().filter(|(_, it)| of_call(&it)).collect();
    let times: Vec<u64> =
        told.iter().filter(|(_, it)| it.url.contains("/cb")).map(|(at, _)| at.0).collect();
    assert_eq!(times.len(), 3, "answered, completed, the action");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 4_000_000_000), "{times:?}");
    world.assert_clean();
}

/// Dead for ten minutes, whether it cannot be connected to, says 503 or nothing at all: what
/// waits is delivered when it returns, at once, in order, with the tokens it had.
#[test]
fn what_waits_for_a_dead_application_is_told_when_it_returns() {
    for (after, dead) in
        [(1, Err(HttpError::Connect)), (5, status(503).1), (10_000, Err(HttpError::Timeout))]
    {
        let up = Rc::new(Cell::new(false));
        let (seen, answer) = (up.clone(), dead.clone());
        let mut world = World::new(move |request| match (request.kind, seen.get()) {
            (HttpKind::Instructions, _) => xml("<Response><Pause length=\"1\"/></Response>"),
            (HttpKind::Callback, false) => (after, answer.clone()),
            (HttpKind::Callback, true) => status(200),
        });
        let calls: Vec<_> = (0..300)
            .map(|_| {
                world.run(2_000);
                world.call_in("sip:bob@demo.test")
            })
            .collect();
        world.run(10_000);
        assert_eq!(world.director.stats().callbacks_waiting, 600, "{dead:?}");
        let probes = world.requests.len();
        assert!(probes < 1_000, "{probes} requests to a dead application");
        up.set(true);
        let returned = world.now.mono;
        world.run(45_000);
        assert_eq!(world.director.stats().callbacks_waiting, 0, "{dead:?}");
        assert!(world.store.dead.is_empty(), "{dead:?}");
        let stats = world.director.stats();
        assert_eq!((stats.callbacks_made, stats.callbacks_delivered), (600, 600));
        for call in calls {
            let told = world.requests.iter().filter(|(at, it)| *at > returned && it.call == call);
            let told: Vec<_> = told.map(|(_, it)| param(it, "CallStatus")).collect();
            assert_eq!(told, ["in-progress", "completed"], "{dead:?}");
        }
        world.assert_clean();
    }
}

/// Some callbacks that their application cannot take keep nobody's: the probe is another one.
#[test]
fn a_probe_is_one_that_was_not_tried() {
    let mut world = World::new(|request| match request.kind {
        HttpKind::Instructions => xml("<Response><Pause length=\"1\"/></Response>"),
        HttpKind::Callback if param(request, "To").contains("poison") => status(500),
        HttpKind::Callback => status(200),
    });
    for _ in 0..12 {
        world.call_in("sip:poison@demo.test");
    }
    world.run(30_000);
    let good = world.call_in("sip:bob@demo.test");
    world.run(35_000);
    let told = world.requests.iter().filter(|(_, it)| it.call == good);
    assert_eq!(told.filter(|(_, it)| it.kind == HttpKind::Callback).count(), 2);
}

#[test]
fn what_is_given_up_is_told_by_what_was_wrong_with_it() {
    let bad = |answer: fn() -> world::Answer| {
        let mut world = World::new(move |request| match request.kind {
            HttpKind::Instructions => xml(DIAL),
            HttpKind::Callback => answer(),
        })
        .with_settings(|settings| settings.limits.callback_attempts = 2);
        world.call_in("sip:bob@demo.test");
        world.run(60_000);
        let alert = world.store.alerts.first().unwrap().clone();
        assert_eq!(alert.reason, "callback-dead");
        (alert.code, alert.level == model::AlertLevel::Warning)
    };
    assert_eq!(bad(|| status(404)), (15_003, true));
    assert_eq!(bad(|| status(503)), (15_003, true));
    assert_eq!(bad(|| (1, Err(HttpError::Connect))), (11_205, false));
    assert_eq!(bad(|| (1, Err(HttpError::Timeout))), (11_200, false));
}

#[test]
fn too_many_waiting_become_dead_letters_at_once() {
    let mut world = World::new(|request| match request.kind {
        HttpKind::Instructions => xml(DIAL),
        HttpKind::Callback => (10, Err(HttpError::Connect)),
    })
    .with_settings(|settings| settings.limits.callbacks = 1);
    world.call_in("sip:bob@demo.test");
    world.run(5_000);
    assert_eq!(world.store.dead.len(), 1);
    assert_eq!(world.store.dead[0].attempts, 0);
}

#[test]
fn an_event_application_takes_over() {
    use model::{CallEvent, Events, Hook, StatusHook};
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => {
            xml("<Response><Pause length=\"0\"/><Pause length=\"600\"/></Response>")
        }
        "http://app.test/events" => xml("<Response><Pause length=\"3\"/></Response>"),
        _ => status(200),
    })
    .with_book(|book| {
        book.domains[0].config.event_application = Some(StatusHook {
            hook: Hook::post("http://app.test/events"),
            events: Events::NONE.with(CallEvent::Answered),
        });
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(20_000);
    assert_eq!(param(world.asked("/events")[0], "CallStatus"), "in-progress");
    assert_eq!(world.store.calls[&call].duration, Some(4), "a second that has begun counts");
    world.assert_clean();
}

/// A call by the API to this URI, whose status is told.
fn call_out(world: &mut World, to: &str) -> CallId {
    let hook = Hook::post("http://app.test/status");
    let id = world.api(ApiRequest::CreateCall(Box::new(CreateCall {
        to: to.to_owned(),
        from: "+15550100".to_owned(),
        instructions: Instructions::Twiml("<Response><Pause length=\"60\"/></Response>".to_owned()),
        status: Some(StatusHook { hook, events: Events::ALL }),
        timeout: None,
        time_limit: None,
        caller_id: None,
        login: None,
    })));
    world.run(10);
    match world.reply(id) {
        Some(Ok(ApiDone::Call(row))) => row.sid,
        other => panic!("no call: {other:?}"),
    }
}

/// What a call lasted is one number: the API's, its callbacks', its CDR's, its usage's.
#[test]
fn a_duration_is_one_number_wherever_it_is_told() {
    for (lasted_ms, seconds) in [(3_000, 3), (3_001, 4), (3_400, 4), (3_999, 4), (20, 1)] {
        let mut world = World::new(|_| status(200));
        let call = call_out(&mut world, "sip:ok@127.0.0.1");
        while world.legs[&call].answered.0 == 0 {
            world.run(1);
        }
        let since_ms = world.now.wall.micros_since(world.legs[&call].answered) / 1_000;
        world.bye_in(call, lasted_ms - since_ms);
        world.run(10_000);
        let last = world.asked("/status").last().map(|it| param(it, "CallDuration").to_owned());
        let row = &world.store.calls[&call];
        let (used, cdr) = (world.store.usage.values().next(), world.store.cdrs.values().next());
        let told = [
            row.duration.map(u64::from),
            last.and_then(|text| text.parse().ok()),
            cdr.map(|cdr| model::whole_seconds(cdr.micros())),
            used.map(|used| used.seconds),
        ];
        assert_eq!(told, [Some(seconds); 4], "{lasted_ms} ms");
    }
}

/// A dataplane that died had no time to say what happened to its legs but for their ends.
#[test]
fn what_nobody_told_of_a_leg_is_told_before_its_end() {
    for (answered, told) in [
        (false, ["initiated", "failed"].as_slice()),
        (true, &["initiated", "in-progress", "completed"]),
    ] {
        let mut world = World::new(|_| status(200));
        world.deaf = true;
        let call = call_out(&mut world, "sip:ok@127.0.0.1");
        let at = world.now.wall;
        let summary = Summary {
            epoch: 1,
            leg: LegId::new(0, 1, 77),
            call,
            parent: CallId::NONE,
            account: world::ACCOUNT_NUMBER,
            direction: Direction::Outbound,
            from: "",
            to: "",
            remote: "127.0.0.1:5070".parse().unwrap(),
            call_id: "sip-call-id",
            created: at,
            answered: if answered { at } else { Wall(0) },
            ended: Wall(at.0 + 2_000_000),
            code: 0,
            cause: Cause::Restart,
            by: Party::Switch,
            media: None,
            due_ms: 0,
            usage: <_>::default(),
        };
        for _ in 0..2 {
            world.director.handle_event(world.now, 0, &Event::Ended(summary.clone()));
            world.drain();
        }
        world.run(10_000);
        let requests = world.asked("/status");
        let said: Vec<_> = requests.iter().map(|it| param(it, "CallStatus")).collect();
        assert_eq!(said, told);
        let numbers = requests.iter().map(|it| param(it, "SequenceNumber").parse::<usize>());
        assert!(numbers.eq((0..told.len()).map(Ok)), "one after the other");
        assert_eq!(world.store.calls[&call].start_time, Some(at));
        assert_eq!(world.calls_known(), 0);
    }
}
