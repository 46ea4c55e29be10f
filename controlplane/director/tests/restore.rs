//! `kill -9` at every step: a director that goes on from what was written comes to the same end.

mod world;

use std::collections::BTreeMap;

use base::CallId;
use model::port::{ApiRequest, CreateCall, HttpKind, Instructions, OwnedCommand, UpdateCall};
use model::{Events, Hook, Service, StatusHook, UsageRow};
use wire::event::Cause;
use world::{Answer, World, param, status, xml};

type Scenario = fn(&mut World) -> Vec<CallId>;

const DOCUMENT: &str = "<Response><Pause length=\"1\"/><Dial action=\"/done\" timeout=\"9\">\
    <Sip statusCallback=\"/child\" statusCallbackEvent=\"initiated ringing answered completed\">\
    sip:USER@127.0.0.1</Sip><Sip>sip:ring@callee.test</Sip></Dial></Response>";

fn application(request: &model::port::HttpRequest) -> Answer {
    match request.url.as_str() {
        "http://app.test/voice" => {
            if param(request, "To").contains("away") {
                return xml(
                    "<Response><Dial action=\"/done\"><Sip>sip:ok@127.0.0.1</Sip></Dial></Response>",
                );
            }
            let user = if param(request, "To").contains("busy") { "busy" } else { "drop" };
            xml(&DOCUMENT.replace("USER", user))
        }
        "http://app.test/done" if request.kind == HttpKind::Instructions => {
            xml("<Response><Pause length=\"1\"/><Hangup/></Response>")
        }
        _ => status(200),
    }
}

fn dial(world: &mut World) -> Vec<CallId> {
    vec![world.call_in("sip:bob@demo.test")]
}

fn dial_in_vain(world: &mut World) -> Vec<CallId> {
    vec![world.call_in("sip:busy@demo.test")]
}

fn caller_leaves(world: &mut World) -> Vec<CallId> {
    let call = world.call_in("sip:bob@demo.test");
    world.bye_in(call, 4_500);
    vec![call]
}

/// The dialled leg is sent elsewhere, where it dials by itself.
fn redirected(world: &mut World) -> Vec<CallId> {
    let call = world.call_in("sip:away@demo.test");
    world.run(5_000);
    let child = world.children_of(call)[0];
    let document = "<Response><Dial><Sip>sip:drop@127.0.0.1</Sip></Dial></Response>";
    let instructions = Some(Instructions::Twiml(document.to_owned()));
    let update = Box::new(UpdateCall { instructions, ..UpdateCall::default() });
    world.api(ApiRequest::UpdateCall { call: child, update });
    vec![call]
}

fn created(world: &mut World) -> Vec<CallId> {
    world.api(ApiRequest::CreateCall(Box::new(CreateCall {
        to: "sip:ok@callee.test".to_owned(),
        from: "+15550100".to_owned(),
        instructions: Instructions::Url {
            hook: Hook::post("http://app.test/voice"),
            fallback: None,
        },
        status: Some(StatusHook {
            hook: Hook::post("http://app.test/status"),
            events: Events::ALL,
        }),
        timeout: None,
        time_limit: None,
        caller_id: None,
        login: None,
    })));
    Vec::new()
}

fn played(scenario: Scenario, crash_at: Option<usize>) -> World {
    let mut world = World::new(application);
    world.names.insert("callee.test".to_owned(), vec!["192.0.2.20:5060".parse().unwrap()]);
    world.crash_at = crash_at;
    scenario(&mut world);
    world.run(200_000);
    world
}

/// What matters of the CDRs: who, which way, how it ended, whether it talked.
fn story(world: &World) -> Vec<(String, String, Cause, bool)> {
    let mut story: Vec<_> = (world.store.cdrs.values())
        .map(|cdr| {
            let answered = cdr.answered.is_some();
            (format!("{:?}", cdr.direction), cdr.to.clone(), cdr.cause, answered)
        })
        .collect();
    story.sort_by_key(|it| format!("{it:?}"));
    story
}

/// Events by call as their followers saw them, repetitions of one token taken once.
fn told(world: &World, path: &str) -> BTreeMap<String, Vec<String>> {
    let mut seen: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for request in world.asked(path) {
        let line = seen.entry(param(request, "CallSid").to_owned()).or_default();
        let token = request.idempotency_token.clone();
        if !line.iter().any(|(known, _)| *known == token) {
            line.push((token, param(request, "CallStatus").to_owned()));
        }
    }
    let names = |line: Vec<(String, String)>| line.into_iter().map(|(_, name)| name).collect();
    seen.into_iter().map(|(call, line)| (call, names(line))).collect()
}

fn survives(scenario: Scenario) {
    let calm = played(scenario, None);
    calm.assert_clean();
    assert!(calm.outputs > 15);
    for crash_at in 1..=calm.outputs {
        let world = played(scenario, Some(crash_at));
        // A call whose creation was not written yet never was.
        if world.store.calls.is_empty() && world.legs.is_empty() {
            continue;
        }
        assert_eq!(story(&world), story(&calm), "killed after output {crash_at}");
        world.assert_clean();
        for path in ["/child", "/status"] {
            let values = |world: &World| {
                let mut lines: Vec<_> = told(world, path).into_values().collect();
                lines.sort();
                lines
            };
            assert_eq!(values(&world), values(&calm), "{path}, killed after output {crash_at}");
        }
        let rows = |world: &World| {
            let mut rows: Vec<_> =
                world.store.calls.values().map(|row| (row.to.clone(), row.status)).collect();
            rows.sort_by_key(|row| format!("{row:?}"));
            rows
        };
        assert_eq!(rows(&world), rows(&calm), "killed after output {crash_at}");
        let total =
            |world: &World| world.store.ledger.values().filter(|it| it.amount.0 >= 0).count();
        assert_eq!(total(&world), 0);
    }
}

#[test]
fn a_dialled_call_survives_every_step() {
    survives(dial);
}

#[test]
fn an_unanswered_dial_survives_every_step() {
    survives(dial_in_vain);
}

#[test]
fn a_caller_who_leaves_survives_every_step() {
    survives(caller_leaves);
}

#[test]
fn a_created_call_survives_every_step() {
    survives(created);
}

#[test]
fn a_redirected_dialled_leg_survives_every_step() {
    survives(redirected);
}

/// The log of a dialled leg cannot be read: for its Dial it has failed, and the call goes on.
#[test]
fn a_dial_whose_leg_cannot_be_read_back_ends() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => {
            xml("<Response><Dial action=\"/done\"><Sip>sip:ok@127.0.0.1</Sip></Dial></Response>")
        }
        "http://app.test/done" => xml("<Response><Pause length=\"1\"/></Response>"),
        _ => status(200),
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(5_000);
    let child = world.children_of(call)[0];
    let log = world.store.scripts.get_mut(&child).unwrap();
    log.state = Some(vec![0xff; 40]);
    world.crash();
    world.run(60_000);
    assert_eq!(param(world.asked("/done")[0], "DialCallStatus"), "failed");
    assert_eq!(world.status_of(call), "completed");
    assert!(world.legs.values().all(|leg| leg.ended), "the leg is hung up");
}

#[test]
fn dying_again_and_again_comes_to_the_same_end() {
    for scenario in [dial as Scenario, dial_in_vain, caller_leaves] {
        let calm = played(scenario, None);
        for every in 12..40 {
            let mut world = World::new(application);
            world.names.insert("callee.test".to_owned(), vec!["192.0.2.20:5060".parse().unwrap()]);
            world.crash_every = Some(every);
            scenario(&mut world);
            world.run(200_000);
            assert_eq!(story(&world), story(&calm), "killed every {every} outputs");
            world.assert_clean();
        }
    }
}

#[test]
fn a_webhook_in_flight_is_sent_again_with_its_token() {
    let mut world = World::new(|request| match request.kind {
        HttpKind::Instructions => (5_000, xml("<Response><Reject/></Response>").1),
        HttpKind::Callback => status(200),
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(1_000);
    world.crash();
    world.run(20_000);
    let asked = world.asked("/voice");
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].idempotency_token, asked[1].idempotency_token);
    assert_eq!(world.status_of(call), "no-answer");
    assert!(world.commands.iter().any(|it| matches!(it, OwnedCommand::Reject { code: 603, .. })));
    world.assert_clean();
}

#[test]
fn ends_told_twice_give_the_same_rows() {
    let mut world = World::new(application);
    world.names.insert("callee.test".to_owned(), vec!["192.0.2.20:5060".parse().unwrap()]);
    let call = world.call_in("sip:bob@demo.test");
    world.run(100_000);
    let (cdrs, usage) = (world.store.cdrs.len(), world.store.usage.len());
    let row = world.store.calls[&call].clone();
    let told = world.asked("/status").len();
    world.released.clear();
    world.crash();
    world.run(10_000);
    assert_eq!((world.store.cdrs.len(), world.store.usage.len()), (cdrs, usage));
    assert_eq!(world.store.calls[&call], row, "a poorer row does not take its place");
    assert_eq!(world.asked("/status").len(), told);
    world.assert_clean();
}

#[test]
fn a_call_whose_leg_is_lost_is_ended() {
    let mut world =
        World::new(|_| xml("<Response><Pause length=\"0\"/><Pause length=\"600\"/></Response>"));
    let call = world.call_in("sip:bob@demo.test");
    world.run(5_000);
    world.legs.clear();
    world.crash();
    world.run(100_000);
    assert!(world.store.calls[&call].status.is_final());
    assert_eq!(world.calls_known(), 0);
}

#[test]
fn a_leg_that_came_and_went_while_nobody_listened_is_not_dialled_again() {
    let mut world = World::new(application);
    world.names.insert("callee.test".to_owned(), vec!["192.0.2.20:5060".parse().unwrap()]);
    let _ = created(&mut world);
    let originates = |world: &World| {
        let parent = CallId::NONE;
        let own =
            |it: &&OwnedCommand| matches!(it, OwnedCommand::Originate(it) if it.parent == parent);
        world.commands.iter().filter(own).count()
    };
    // The command has left, nothing of the leg was told yet.
    while originates(&world) == 0 {
        world.run(1);
        assert!(world.outputs < 100);
    }
    world.director = world.successor();
    assert_eq!(originates(&world), 1);
    world.drain();
    assert_eq!(originates(&world), 1, "not before the rings had time to tell of it");
    world.run(100_000);
    assert_eq!(originates(&world), 1);
    world.assert_clean();
}

#[test]
fn what_nobody_waits_for_any_more_is_not_dialled() {
    let mut world = World::new(application);
    let _ = created(&mut world);
    // The look-up is under way; the node comes back two hours later.
    world.now = world.now.later(std::time::Duration::from_secs(7_200));
    world.crash();
    world.run(30_000);
    assert!(world.legs.is_empty());
    assert!(world.store.calls.values().all(|row| row.status.name() == "failed"));
    assert_eq!(world.store.calls.len(), 1);
    world.assert_clean();
}

#[test]
fn a_wall_clock_that_is_set_back_prolongs_no_pause() {
    let mut world = World::new(|_| {
        xml("<Response><Pause length=\"0\"/><Pause length=\"5\"/><Hangup/></Response>")
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(1_000);
    world.now.wall = base::Wall(world.now.wall.0 - 3_600_000_000);
    world.run(6_000);
    assert_eq!(world.status_of(call), "completed");
    world.assert_clean();
}

#[test]
fn many_calls_in_one_mutation_are_written_in_pieces() {
    // 400 calls that all wait: for nobody, once their legs are lost.
    let document = format!(
        "<Response><!--{}--><Pause length=\"0\"/><Pause length=\"600\"/></Response>",
        "x".repeat(9_000)
    );
    let mut world = World::new(move |_| xml(&document));
    for _ in 0..400 {
        world.call_in("sip:bob@demo.test");
        world.run(100);
    }
    world.legs.clear();
    world.crash();
    world.run(100_000);
    assert_eq!(world.calls_known(), 0);
    assert!(world.store.calls.values().all(|row| row.status.is_final()));
    assert!(world.store.largest < 512 * 1024, "{} bytes", world.store.largest);
    assert!(world.store.scripts.values().all(|log| log.state.is_none()));
}

#[test]
fn a_caller_who_gave_up_while_nobody_was_there_is_booked_and_nothing_is_asked() {
    let mut world = World::new(application);
    let call = world.call_in("sip:bob@demo.test");
    world.end_unheard(call);
    world.now = world.now.later(std::time::Duration::from_secs(3));
    world.crash();
    world.run(10_000);
    assert!(world.requests.is_empty());
    assert_eq!(world.store.cdrs.len(), 1);
    assert!(world.store.cdrs.values().all(|cdr| cdr.account == Some(world::ACCOUNT)));
    assert!(world.store.calls[&call].status.is_final());
    world.assert_clean();
}

#[test]
fn a_command_that_tunes_a_leg_and_finds_none_ends_no_call() {
    let mut world =
        World::new(|_| xml("<Response><Pause length=\"0\"/><Pause length=\"300\"/></Response>"));
    let call = world.call_in("sip:bob@demo.test");
    world.run(5_000);
    world.director.handle_event(world.now, 0, &wire::Event::Unknown { call });
    world.run(200_000);
    assert_eq!(world.status_of(call), "in-progress");
    world.run(200_000);
    world.assert_clean();
}

#[test]
fn an_originate_that_dies_with_its_shard_is_given_up() {
    let mut world = World::new(application);
    world.names.insert("callee.test".to_owned(), vec!["192.0.2.20:5060".parse().unwrap()]);
    let _ = created(&mut world);
    world.deaf = true;
    world.run(120_000);
    assert_eq!(world.calls_known(), 0);
    assert!(world.store.calls.values().all(|row| row.status.name() == "failed"));
}

#[test]
fn an_event_application_in_flight_is_told_again_with_its_token() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/event" => (5_000, xml("<Response><Hangup/></Response>").1),
        "http://app.test/voice" => {
            xml("<Response><Pause length=\"0\"/><Pause length=\"60\"/></Response>")
        }
        _ => status(200),
    })
    .with_book(|book| {
        let hook = Hook::post("http://app.test/event");
        let events = Events::NONE.with(model::CallEvent::Answered);
        book.domains[0].config.event_application = Some(StatusHook { hook, events });
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(2_000);
    world.crash();
    world.run(20_000);
    let told = world.asked("/event");
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].idempotency_token, told[1].idempotency_token);
    assert_eq!(told[0].params, told[1].params);
    assert_eq!(world.status_of(call), "completed");
    assert_eq!(world.store.calls[&call].duration, Some(7), "its answer was executed");
    world.assert_clean();
}

/// What was delivered some seconds before a death is not told again, while its call stands.
#[test]
fn what_was_told_long_ago_is_not_told_again() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => xml("<Response><Dial><Sip statusCallback=\"/child\" \
             statusCallbackEvent=\"initiated ringing answered completed\">\
             sip:ok@127.0.0.1</Sip></Dial></Response>"),
        _ => status(200),
    });
    let call = world.call_in("sip:bob@demo.test");
    let told = |world: &World| world.asked("/child").len();
    world.run(4_000);
    assert_eq!((world.status_of(call), told(&world)), ("in-progress", 3));
    for _ in 0..3 {
        world.director = world.successor();
        world.drain();
        world.run(3_000);
        assert_eq!((world.status_of(call), told(&world)), ("in-progress", 3));
    }
}

/// Everything died at once: each leg is ended, told and billed once, to when it was seen last; and
/// a second death on the way changes nothing.
#[test]
fn legs_whose_memory_is_gone_are_billed_to_when_they_were_seen() {
    for again in [false, true] {
        let mut world = World::new(|request| match request.url.as_str() {
            "http://app.test/voice" => xml("<Response><Dial action=\"/done\">\
                 <Sip>sip:ok@127.0.0.1</Sip></Dial></Response>"),
            _ => xml("<Response><Hangup/></Response>"),
        });
        let call = world.call_in("sip:bob@demo.test");
        world.run(4_000);
        assert_eq!(world.status_of(call), "in-progress");
        let seen = world.now.wall;
        world.run(30_000);
        world.director = world.heir(seen);
        world.drain();
        if again {
            world.run(1_000);
            world.director = world.heir(seen);
            world.drain();
        }
        world.run(20_000);
        let rows: Vec<_> = world.store.calls.values().collect();
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| row.status.name() == "completed"), "{rows:?}");
        assert!(rows.iter().all(|row| row.end_time == Some(seen)), "{rows:?}");
        let (cdrs, usage) = (&world.store.cdrs, &world.store.usage);
        assert_eq!((cdrs.len(), usage.len()), (2, 4));
        assert!(cdrs.values().all(|cdr| (cdr.cause, cdr.ended) == (Cause::Restart, seen)));
        let of = |relay: bool| {
            let is_relay = |row: &&UsageRow| (row.key.service == Service::MediaRelay) == relay;
            usage.values().filter(is_relay).map(|row| row.micros).collect::<Vec<_>>()
        };
        // Both were connected from the callee's answer on.
        let callee = rows.iter().find(|row| row.parent.is_some()).expect("a callee");
        let connected = seen.micros_since(callee.answer_time.expect("an answer"));
        assert_eq!(of(true), [connected, connected]);
        let billed: u64 = of(false).iter().sum();
        let talked = rows.iter().filter_map(|row| Some(seen.micros_since(row.answer_time?)));
        assert_eq!(billed, talked.sum::<u64>());
        assert!(billed > 5_000_000, "{billed}");
    }
}

/// A clock that was set ahead before everything died: nobody is billed longer than a call may last.
#[test]
fn a_lost_leg_is_not_billed_longer_than_it_could_stand() {
    let mut world = World::new(|_| xml("<Response><Pause length=\"0\"/><Pause/></Response>"));
    world.call_in("sip:bob@demo.test");
    world.run(500);
    let year = std::time::Duration::from_secs(365 * 86_400);
    let seen = world.now.later(year).wall;
    world.director = world.heir(seen);
    world.drain();
    world.run(20_000);
    let longest = u64::from(world.settings.limits.inbound_ms) * 1_000;
    let billed: Vec<u64> = world.store.usage.values().map(|row| row.micros).collect();
    assert_eq!(billed, [longest]);
}

/// What the ring tells again of a call that is over is of a moment that is yet to come, where
/// somebody has set the clock back since.
#[test]
fn a_call_that_is_over_is_not_taken_anew_when_the_clock_was_set_back() {
    for by in [0, -86_400] {
        let mut world = World::new(|request| match request.url.as_str() {
            "http://app.test/voice" => xml("<Response><Reject/></Response>"),
            _ => status(200),
        });
        world.call_in("sip:bob@demo.test");
        world.run(5_000);
        let asked = world.requests.len();
        world.set_clock(by);
        world.crash();
        world.run(5_000);
        assert_eq!(world.requests.len(), asked, "clock set by {by}");
        world.assert_clean();
    }
}
