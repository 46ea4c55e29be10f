//! The script log of released versions is read, and what is written is what the last of them wrote.
//!
//! `golden/scripts-*.jsonl` have one state a line, as the journal and the store keep them: what an
//! upgrade finds. Change what is written only together with a new file, the last of [`FILES`], and
//! keep the old ones as they are.

mod world;

use std::path::PathBuf;

use model::port::{ApiRequest, CreateCall, HttpKind, HttpRequest, Instructions, ScriptLog};
use model::{CallEvent, CallRow, Events, Hook, StatusHook};
use serde::Deserialize;
use serde_json::Value;
use world::{Answer, World, param, status, xml};

/// The oldest first. In the first a leading Pause answers its call.
const FILES: [&str; 2] = ["scripts-1.jsonl", "scripts-2.jsonl"];

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
            xml("<Response><Pause length=\"1\"/><Redirect>/end</Redirect></Response>")
        }
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
    })));
    world.run(30_000);
    world.assert_clean();
    world
}

/// One state for each thing that a script waits for and each way a call stands in.
fn kinds(states: &[Vec<u8>]) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    for state in states {
        let text = String::from_utf8(state.clone()).expect("JSON is text");
        let json: Value = serde_json::from_slice(state).expect("JSON");
        let wait = &json["script"]["wait"];
        let kind = match wait.as_object().and_then(|wait| wait.iter().next()) {
            Some((kind, state)) => {
                let settled = ["until", "winner", "done"].map(|field| !state[field].is_null());
                format!("{kind} {settled:?}")
            }
            None => wait.to_string(),
        };
        let tellings = json["tellings"].as_array().map_or(0, Vec::len);
        let kind = format!("{kind} {} {} {tellings}", json["row"]["status"], json["outgoing"]);
        if !lines.iter().any(|(known, _)| *known == kind) {
            lines.push((kind, text));
        }
    }
    lines.into_iter().map(|(_, line)| line + "\n").collect()
}

#[test]
fn states_are_written_as_they_were() {
    let written = kinds(&played().store.states);
    let last = file(FILES[FILES.len() - 1]);
    if std::env::var_os("TANDEM_BLESS").is_some() {
        std::fs::write(&last, &written).unwrap();
    }
    let golden = std::fs::read_to_string(last).unwrap();
    for (ours, theirs) in written.lines().zip(golden.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(written.lines().count(), golden.lines().count());
    let waits = ["\"Fetch\"", "\"Pause\"", "\"Dial\"", "\"Hangup\"", "\"Over\""];
    for kind in waits.into_iter().chain(["\"Run\"", "\"tellings\":[{"]) {
        assert!(golden.contains(kind), "no state has {kind}");
    }
}

#[derive(Deserialize)]
struct State {
    row: CallRow,
}

/// A successor goes on from each of them: it knows the call, and ends it when nobody knows its leg.
#[test]
fn states_of_released_versions_are_read() {
    let read = |name| std::fs::read_to_string(file(name)).unwrap();
    for line in FILES.map(read).iter().flat_map(|file| file.lines()) {
        let State { row } = serde_json::from_str(line).unwrap();
        let log = ScriptLog { call: row.sid, state: Some(line.as_bytes().to_vec()) };
        let mut world = World::new(application).with_book(|book| book.scripts.push(log));
        assert_eq!(world.calls_known(), 1, "{line}");
        world.deaf = true;
        world.run(200_000);
        let ended = world.store.calls.get(&row.sid).map(|row| row.status.is_final());
        assert!(ended.unwrap_or_else(|| row.status.is_final()), "{line}");
    }
}
