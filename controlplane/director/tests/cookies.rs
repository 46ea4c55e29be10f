//! Cookies: what an application sets for the two parties of a call comes back with every request of
//! theirs, and with nobody else's; a death of the process costs a standing call none of them.

mod world;

use model::cookie::{NotKept, Refusal};
use model::port::{HttpKind, HttpRequest};
use world::{Answer, Caller, World, cookie, param, status, xml};

/// The first document of a call sets a cookie that says whose call it was.
fn application(request: &HttpRequest) -> Answer {
    match request.url.as_str() {
        "http://app.test/voice" => {
            let mut answer = xml("<Response><Redirect>/next</Redirect></Response>");
            if request.cookies.is_empty()
                && let Ok(answer) = &mut answer.1
            {
                answer.cookies.push(Ok(cookie("session", param(request, "CallSid"))));
            }
            answer
        }
        "http://app.test/next" if request.kind == HttpKind::Instructions => {
            xml("<Response><Pause length=\"60\"/><Redirect>/last</Redirect></Response>")
        }
        "http://app.test/last" => xml("<Response><Hangup/></Response>"),
        _ => status(200),
    }
}

fn sent(request: &HttpRequest) -> Vec<String> {
    let pair = |it: &model::cookie::Cookie| format!("{}={}", it.name, it.value.0);
    request.cookies.cookies().iter().map(pair).collect()
}

/// What went to a path with the last request there.
fn last(world: &World, path: &str) -> Vec<String> {
    sent(world.asked(path).last().unwrap())
}

#[test]
fn a_cookie_comes_back_with_what_the_call_asks_and_tells() {
    let mut world = World::new(application);
    let call = world.call_in("sip:bob@demo.test");
    world.run(90_000);
    let session = vec![format!("session={call}")];
    for path in ["/next", "/last", "/status"] {
        assert_eq!(last(&world, path), session, "{path}");
    }
    assert!(sent(world.asked("/voice")[0]).is_empty());
    world.assert_clean();
}

#[test]
fn a_pair_keeps_its_cookies_for_four_hours_and_shares_them_with_nobody() {
    let mut world = World::new(application);
    let call = world.call_in("sip:bob@demo.test");
    world.run(90_000);
    let session = vec![format!("session={call}")];
    world.call_in("sip:bob@demo.test");
    world.run(1_000);
    assert_eq!(last(&world, "/voice"), session, "the next call of the pair");
    world.call_in("sip:other@demo.test");
    world.run(1_000);
    assert!(last(&world, "/voice").is_empty(), "another To");
    world.caller = Caller { from: "sip:carol@caller.test", ..Caller::default() };
    world.call_in("sip:bob@demo.test");
    world.run(1_000);
    assert!(last(&world, "/voice").is_empty(), "another From");
    world.caller = Caller::default();
    world.run(4 * 3_600_000);
    world.call_in("sip:bob@demo.test");
    world.run(1_000);
    // What is over is not sent by the client.
    let request = *world.asked("/voice").last().unwrap();
    let origin = model::cookie::Origin { secure: false, host: "app.test", path: "/voice" };
    assert_eq!(request.cookies.header(origin, request.at), None);
}

/// Callers who do not say who they are are not one.
#[test]
fn nobodys_cookies_are_his_calls_alone() {
    for from in ["sip:anonymous@anonymous.invalid", "sip:Anonymous@caller.test"] {
        let mut world = World::new(application);
        world.caller = Caller { from, ..Caller::default() };
        let call = world.call_in("sip:bob@demo.test");
        world.run(1_000);
        world.crash();
        world.run(89_000);
        assert_eq!(last(&world, "/last"), [format!("session={call}")], "{from}");
        world.call_in("sip:bob@demo.test");
        world.run(1_000);
        assert!(last(&world, "/voice").is_empty(), "{from}");
    }
}

/// Whenever the process dies, what a standing call was given is known to its successor.
#[test]
fn a_death_takes_no_cookie_of_a_standing_call() {
    let mut world = World::new(application);
    let call = world.call_in("sip:bob@demo.test");
    for _ in 0..300 {
        world.run(10);
        world.crash();
    }
    world.run(47_000);
    // Another call of the pair learns by asking, and knows it when the first one is over.
    let session = vec![format!("session={call}")];
    world.call_in("sip:bob@demo.test");
    world.run(2_000);
    assert_eq!(last(&world, "/next"), session);
    world.run(30_000);
    world.crash();
    world.run(60_000);
    assert_eq!(world.asked("/last").len(), 2);
    assert_eq!(last(&world, "/last"), session);
    world.assert_clean();
}

/// A call that still stands does not bring back what another one of its pair was told to forget.
#[test]
fn a_cookie_that_was_deleted_stays_deleted() {
    let mut calls = 0;
    let mut world = World::new(move |request| {
        let mut answer =
            xml("<Response><Pause length=\"20\"/><Redirect>/last</Redirect></Response>");
        if request.url.ends_with("/voice")
            && let Ok(answer) = &mut answer.1
        {
            let mut session = cookie("session", "1");
            if calls > 0 {
                session.expires = base::Wall(1);
            }
            calls += 1;
            answer.cookies.push(Ok(session));
        }
        answer
    });
    world.call_in("sip:bob@demo.test");
    world.run(5_000);
    world.call_in("sip:bob@demo.test");
    world.run(10_000);
    assert_eq!(last(&world, "/voice"), ["session=1"]);
    world.run(10_000);
    assert!(last(&world, "/last").is_empty(), "of the first call");
    world.call_in("sip:bob@demo.test");
    world.run(1_000);
    assert!(last(&world, "/voice").is_empty());
}

#[test]
fn a_cookie_that_is_not_kept_is_told() {
    let mut world = World::new(|request| {
        let mut answer = xml("<Response><Hangup/></Response>");
        if let (HttpKind::Instructions, Ok(answer)) = (request.kind, &mut answer.1) {
            let name = "big".to_owned();
            answer.cookies.push(Err(NotKept { name, why: Refusal::TooLarge }));
            answer.cookies.extend((0..22).map(|at| Ok(cookie(&format!("c{at}"), "x"))));
        }
        answer
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(5_000);
    let told: Vec<_> =
        world.store.alerts.iter().filter(|it| it.reason == "cookie-not-kept").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].call, Some(call));
    let message = &told[0].message;
    assert!(message.contains("big") && message.contains("4096") && message.contains("2 more"));
    assert_eq!(sent(world.asked("/status").last().unwrap()).len(), 20);
}
