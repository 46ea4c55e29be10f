//! Callbacks: in order per call, at least once, retried with the same token, never at another's
//! cost.

mod world;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use model::port::{HttpError, HttpKind};
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
    assert_eq!(world.store.calls[&call].duration, Some(3));
    world.assert_clean();
}
