//! The script log of released versions is read, and what is written is what the last of them wrote.
//!
//! `golden/scripts-1.jsonl` has one state a line, as version 1 kept them; `golden/scripts-2.txt`
//! and later ones the whole log of a call a line, call and bytes. They are what an
//! upgrade finds: change what is written only together with a new version and a new file, and keep
//! the old ones readable.

mod world;

use std::path::PathBuf;

use base::{CallId, LegId, Wall};
use model::port::{
    ApiRequest, CreateCall, HttpKind, HttpRequest, Instructions, OwnedCommand, ScriptLog, Standing,
};
use model::{CallEvent, CallRow, Events, Hook, SignalingSubscription, StatusHook, SubscriptionSid};
use serde::Deserialize;
use world::{Answer, World, param, status, xml};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn application(request: &HttpRequest) -> Answer {
    match request.url.as_str() {
        "http://app.test/voice" if param(request, "To").contains("nobody") => xml("<Response/>"),
        "http://app.test/voice" => xml("<Response><Pause length=\"1\"/>\
             <Dial action=\"/done\" timeout=\"9\"><Sip statusCallback=\"/child\">\
             sip:drop@127.0.0.1</Sip><Sip>sip:ring@callee.test</Sip></Dial></Response>"),
        "http://app.test/done" if request.kind == HttpKind::Instructions => {
            let mut answer =
                xml("<Response><Pause length=\"1\"/><Redirect>/end</Redirect></Response>");
            if let Ok(answer) = &mut answer.1 {
                answer.cookies.push(Ok(world::cookie("session", "abc")));
            }
            answer
        }
        "http://app.test/sip" => xml("<Response><Pause length=\"1\"/></Response>"),
        "http://app.test/end" => (2_000, xml("<Response><Hangup/></Response>").1),
        "http://app.test/event" => (500, status(200).1),
        _ => status(200),
    }
}

/// A call in with everything that is waited for, and one that the API makes.
fn played() -> World {
    let mut world = World::new(application).with_book(|book| {
        let hook = Hook::post("http://app.test/event");
        let events = Events::NONE.with(CallEvent::Answered);
        book.domains[0].config.event_application = Some(StatusHook { hook, events });
        book.subscriptions.push(SignalingSubscription {
            sid: SubscriptionSid(1),
            account: world::ACCOUNT,
            hook: Hook::post("http://app.test/sip"),
            fallback: Some(Hook::post("http://other.test/sip")),
            is_application: true,
            ..SignalingSubscription::default()
        });
    });
    world.names.insert("callee.test".to_owned(), vec!["192.0.2.20:5060".parse().unwrap()]);
    world.call_in("sip:bob@demo.test");
    world.run(30_000);
    world.call_in("sip:nobody@demo.test");
    world.run(5_000);
    world.api(ApiRequest::CreateCall(Box::new(CreateCall {
        to: "sip:busy@callee.test".to_owned(),
        from: "+15550100".to_owned(),
        instructions: Instructions::Twiml("<Response><Hangup/></Response>".to_owned()),
        status: None,
        timeout: None,
        time_limit: None,
        caller_id: None,
        login: None,
    })));
    world.run(30_000);
    // One that the dataplane routes alone, and that is taken over.
    let [came_in, dialled] = world.relay();
    world.said(came_in, 1, "INFO", &[1]);
    world.run(5_000);
    world.said(dialled, 1, "INFO", &[1]);
    world.bye_in(came_in, 5_000);
    world.run(30_000);
    world.assert_clean();
    world
}

/// The logs of all calls as they were before their ends.
fn logs(world: &World) -> Vec<(CallId, Vec<u8>)> {
    let mut logs: Vec<(CallId, Vec<u8>)> = Vec::new();
    for (call, state) in &world.store.states {
        match logs.iter_mut().find(|(known, _)| known == call) {
            Some((_, log)) => log.clone_from(state),
            None => logs.push((*call, state.clone())),
        }
    }
    logs
}

#[test]
fn logs_are_written_as_they_were() {
    let line = |(call, log): &(CallId, Vec<u8>)| {
        let hex: String = log.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{call} {hex}\n")
    };
    let written: String = logs(&played()).iter().map(line).collect();
    if std::env::var_os("TANDEM_BLESS").is_some() {
        std::fs::write(file("scripts-6.txt"), &written).unwrap();
    }
    let golden = std::fs::read_to_string(file("scripts-6.txt")).unwrap();
    for (ours, theirs) in written.lines().zip(golden.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(written.lines().count(), golden.lines().count());
    assert!(written.lines().count() > 3);
}

#[derive(Deserialize)]
struct State {
    row: CallRow,
}

/// A successor goes on: it knows the call, and ends it when nobody knows its leg.
fn goes_on(call: CallId, log: &[u8]) {
    let state = Some(log.to_vec());
    let mut world =
        World::new(application).with_book(|book| book.scripts.push(ScriptLog { call, state }));
    assert_eq!(world.calls_known(), 1, "{call} {log:?}");
    world.deaf = true;
    world.run(200_000);
    let ended = world.store.calls.get(&call).map(|row| row.status.is_final());
    assert!(ended.unwrap_or(true), "{call} {log:?}");
}

#[test]
fn states_of_version_1_are_read() {
    for line in std::fs::read_to_string(file("scripts-1.jsonl")).unwrap().lines() {
        let State { row } = serde_json::from_str(line).unwrap();
        goes_on(row.sid, line.as_bytes());
    }
}

/// Whatever step its predecessor died at.
#[test]
fn logs_of_versions_2_to_6_are_read_at_every_step() {
    read_at_every_step("scripts-2.txt");
    read_at_every_step("scripts-3.txt");
    read_at_every_step("scripts-4.txt");
    read_at_every_step("scripts-5.txt");
    read_at_every_step("scripts-6.txt");
}

fn read_at_every_step(golden: &str) {
    let mut steps = 0;
    for line in std::fs::read_to_string(file(golden)).unwrap().lines() {
        let (call, hex) = line.split_once(' ').unwrap();
        let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let log: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
        let mut at = 0;
        while at < log.len() {
            at += entry_len(&log[at..]);
            goes_on(call.parse().unwrap(), &log[..at]);
            steps += 1;
        }
    }
    assert!(steps > 20, "{steps}");
}

/// A log that lost an entry is not guessed at: its leg is ended, the operator is told.
#[test]
fn a_call_whose_log_cannot_be_read_ends() {
    let (call, log) = logs(&played()).remove(0);
    let first = entry_len(&log);
    let second = entry_len(&log[first..]);
    let state = Some([&log[..first], &log[first + second..]].concat());
    let leg = LegId::new(0, 5, 1);
    let mut world = World::new(application).with_book(|book| {
        book.scripts.push(ScriptLog { call, state });
        book.standing.push(Standing { call, leg, epoch: 1, answered: Wall(0) });
    });
    assert_eq!(world.calls_known(), 0);
    world.run(1_000);
    let ends =
        |it: &OwnedCommand| matches!(it, OwnedCommand::Hangup { call: it, .. } if *it == call);
    assert!(world.commands.iter().any(ends), "{:?}", world.commands);
}

/// Version, kind, sequence, length before it was packed (where it was), length, payload.
fn entry_len(log: &[u8]) -> usize {
    let number = |at: usize| {
        let mut bytes = 0;
        let mut value = 0_usize;
        loop {
            let byte = log[at + bytes];
            value |= usize::from(byte & 0x7f) << (7 * bytes);
            bytes += 1;
            if byte & 0x80 == 0 {
                return (value, bytes);
            }
        }
    };
    let (_, sequence) = number(2);
    let mut at = 2 + sequence;
    if log[1] & 2 != 0 {
        at += number(at).1;
    }
    let (payload, length) = number(at);
    at + length + payload
}
