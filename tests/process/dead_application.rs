//! An application that is dead for a while (GOALS.md R7): its events wait, the other tenant's calls
//! go on, memory is bounded, nothing is lost silently, and when it returns it is told everything in
//! order. What was given up is listed and sent again; a call's cookie survives its controlplane.
//!
//! `TANDEM_DEAD_S` says for how many seconds (600 is the goal's own form).

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tests::bed::{Asked, Bed, Rest, Setup, Web, eventually, pass, program};

use crate::load::{Load, by_webhook};

/// Calls a second of the tenant whose application is dead; each makes two events.
const CALLS_PER_SECOND: u32 = 25;
const STANDING: Duration = Duration::from_secs(20);

/// A figure of `/metrics`.
fn figure(bed: &Bed, name: &str) -> u64 {
    let mut stream = TcpStream::connect(bed.rest.address).expect("the API");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("tandem_{name} ")));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name}"))
}

/// What was to be told is delivered, given up or waiting.
fn assert_nothing_is_lost(bed: &Bed) -> u64 {
    // The figures are of one turn, and asked for one by one: what moved meanwhile is asked again.
    eventually("made = delivered + given up + waiting", STANDING, || {
        let made = figure(bed, "callbacks_made_total");
        let (done, dead) = ["callbacks_delivered_total", "callbacks_abandoned_total"]
            .map(|name| figure(bed, name))
            .into();
        let waiting = figure(bed, "callbacks_waiting");
        let again = figure(bed, "callbacks_made_total");
        (made == again && made == done + dead + waiting).then_some(waiting)
    })
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    kib.expect("a number") * 1_024
}

/// A tenant of the operator's making.
fn tenant(bed: &Bed) -> Rest {
    let token = std::fs::read_to_string(bed.data().join("tandem-operator")).expect("a credential");
    let (account, token) = ("operator".to_owned(), token.trim_end().to_owned());
    let desk = Rest { address: bed.rest.address, account, token };
    let made = desk.make("/v1/Operator/Accounts", &[("FriendlyName", "Other")]);
    let text = |name: &str| made[name].as_str().expect("text").to_owned();
    Rest { address: bed.rest.address, account: text("sid"), token: text("auth_token") }
}

/// A call to where nobody answers, told at `url`: `initiated`, `completed`.
fn call(rest: &Rest, nowhere: SocketAddr, url: &str) -> String {
    let to = format!("sip:x@{nowhere}");
    let form = [
        ("To", to.as_str()),
        ("From", "+15551234567"),
        ("Twiml", "<Response><Hangup/></Response>"),
        ("StatusCallback", url),
        ("StatusCallbackEvent", "initiated"),
        ("StatusCallbackEvent", "completed"),
    ];
    rest.make("/Calls.json", &form)["sid"].as_str().expect("a sid").to_owned()
}

/// An application that takes every connection and never says a word.
struct Hung {
    over: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Hung {
    fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("the address is free");
        listener.set_nonblocking(true).expect("it can be asked");
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            while !is_over.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => held.push(stream),
                    Err(_) => pass(Duration::from_millis(10)),
                }
            }
            held.len()
        });
        Self { over, thread }
    }

    /// It dies, and its connections with it. How many it held.
    fn end(self) -> usize {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().expect("it held what came")
    }
}

#[test]
fn a_dead_application_costs_nobody_else_anything_and_loses_nothing() {
    costs_nobody_else_anything(false);
}

#[test]
fn an_application_that_hangs_costs_nobody_else_anything_and_loses_nothing() {
    costs_nobody_else_anything(true);
}

/// Of an application that is not there, or that takes connections and never answers.
fn costs_nobody_else_anything(hangs: bool) {
    let seconds = std::env::var("TANDEM_DEAD_S").ok().and_then(|text| text.parse().ok());
    let seconds: u32 = seconds.unwrap_or(15);
    let mut bed = Setup::default().start();
    let (route, healthy) = by_webhook(&mut bed);
    Load::start(&bed, &route, 20, 5, 1).finish().expect_whole(20);
    let (other, dead, nowhere) = (tenant(&bed), bed.ports.address(), bed.ports.address());
    let (url, pid) = (format!("http://{dead}/told"), bed.pid("controlplane"));
    let hung = hangs.then(|| Hung::start_at(dead));
    let before = resident_bytes(pid);
    // The other tenant's calls, by webhook, while nobody listens at `dead`.
    let load = Load::start(&bed, &route, 5 * seconds, 5, 1);
    let (begun, mut calls) = (Instant::now(), Vec::new());
    for number in 0..seconds * CALLS_PER_SECOND {
        calls.push(call(&other, nowhere, &url));
        let due = Duration::from_millis(1_000 / u64::from(CALLS_PER_SECOND)) * (number + 1);
        pass(due.saturating_sub(begun.elapsed()));
    }
    load.finish().expect_whole(u64::from(5 * seconds));
    let told = healthy.statuses("/status").iter().filter(|it| *it == "completed").count();
    assert_eq!(told, 20 + 5 * seconds as usize, "the other tenant's callbacks go on");
    let waiting = assert_nothing_is_lost(&bed);
    let grown = resident_bytes(pid).saturating_sub(before);
    println!("{waiting} callbacks wait; the controlplane grew by {} KiB", grown / 1_024);
    assert_eq!(waiting, 2 * calls.len() as u64, "all of them wait, none is given up");
    assert!(grown < (48 << 20) + waiting * 8_192, "{grown} bytes for {waiting} callbacks");
    if let Some(hung) = hung {
        let held = hung.end();
        println!("{held} connections were held");
        assert!(held > 0, "it was asked");
    }
    // It returns.
    let web = Web::start_at(dead, "", |_| String::new());
    eventually("everything is told", Duration::from_secs(120), || {
        (figure(&bed, "callbacks_waiting") == 0).then_some(())
    });
    assert_eq!(assert_nothing_is_lost(&bed), 0);
    assert_eq!(figure(&bed, "callbacks_abandoned_total"), 0);
    assert_eq!(bed.pid("controlplane"), pid, "it is the same process");
    let mut heard: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for asked in web.asked() {
        let told = (asked.field("CallStatus").to_owned(), asked.token.clone());
        let of_call = heard.entry(asked.field("CallSid").to_owned()).or_default();
        // A duplicate has the token of what it repeats.
        if !of_call.contains(&told) {
            of_call.push(told);
        }
    }
    for sid in &calls {
        let statuses: Vec<&str> = heard[sid].iter().map(|(status, _)| status.as_str()).collect();
        assert_eq!(statuses, ["initiated", "failed"], "{sid}");
    }
    bed.stop();
}

/// What the same callback was signed with when it was told first.
fn first_signature(web: &Web, asked: &Asked) -> String {
    let first = web.asked().into_iter().find(|it| it.token == asked.token);
    first.map(|first| first.signature).unwrap_or_default()
}

#[test]
fn what_was_given_up_is_listed_and_sent_again_from_outside() {
    let mut bed = Setup::default().start();
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let web = Web::start(move |_| {
        let is_mended = is_mended.load(Ordering::SeqCst);
        if is_mended { String::new() } else { "HTTP 404 Not Found".to_owned() }
    });
    let nowhere = bed.ports.address();
    let rest = tenant(&bed);
    for _ in 0..3 {
        let _ = call(&rest, nowhere, &web.url("/told"));
    }
    let ctl = |arguments: &[&str]| -> Value {
        let mut command = Command::new(program("tandem"));
        command.arg("ctl").arg("--data-dir").arg(bed.data()).arg("--json").args(arguments);
        let output = command.output().expect("tandem ctl");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    let listed = || ctl(&["dead-letters", "list"]).as_array().map_or(0, Vec::len);
    eventually("six letters", STANDING, || (listed() == 6).then_some(()));
    let letters = rest.list("/DeadLetters.json", "dead_letters", "PageSize=4");
    assert_eq!(letters.len(), 6, "in two pages");
    assert_eq!(letters[0]["error"], "HTTP status 404");
    assert!(bed.rest.list("/DeadLetters.json", "dead_letters", "").is_empty(), "another's");
    let sid = letters[5]["sid"].as_str().expect("a sid");
    // It is refused as before: the letter says so, and stays.
    assert_eq!(ctl(&["dead-letters", "replay", sid])["replaying"], 1);
    let path = format!("/DeadLetters/{sid}.json");
    eventually("another attempt", STANDING, || {
        (rest.get(&path).body["attempts"] == 2).then_some(())
    });
    // A death meanwhile loses none of them.
    let before = bed.pid("controlplane");
    bed.signal("controlplane", Signal::KILL);
    bed.wait_for_successor("controlplane", before);
    eventually("six letters again", STANDING, || (listed() == 6).then_some(()));
    // Mended, it takes them: in the order in which they died, with the tokens that they have.
    let tokens: Vec<String> = letters.iter().rev().map(|it| it["sid"].to_string()).collect();
    let asked = web.asked().len();
    mended.store(true, Ordering::SeqCst);
    let again = eventually("the director is back", STANDING, || {
        Some(ctl(&["dead-letters", "replay", "--account", &rest.account]))
            .filter(|again| again["replaying"].as_u64().is_some())
    });
    assert_eq!((&again["replaying"], &again["refused"]), (&6.into(), &0.into()));
    eventually("all are delivered", STANDING, || (listed() == 0).then_some(()));
    let told: Vec<String> =
        web.asked()[asked..].iter().map(|it| Value::from(it.token.clone()).to_string()).collect();
    assert_eq!(told, tokens);
    let signed = web.asked()[asked..].iter().all(|it| it.signature == first_signature(&web, it));
    assert!(signed, "they are signed as they were");
    bed.stop();
}

#[test]
fn a_standing_calls_cookie_survives_its_controlplane() {
    let mut bed = Setup::default().start();
    let callee = bed.ports.address();
    let document = "<Response><Pause length=\"6\"/><Redirect>/next</Redirect></Response>";
    let address = bed.ports.address();
    let web = Web::start_at(address, "session=abc; Path=/; HttpOnly", |asked| {
        let first = asked.target.starts_with("/voice");
        if first { document.to_owned() } else { "<Response><Hangup/></Response>".to_owned() }
    });
    let _ = bed.number(crate::load::NUMBER, &web.url("/voice"), &web.url("/status"));
    let to = format!("sip:{}@{}", crate::load::NUMBER, bed.sip);
    let route = crate::load::Route { callee, to };
    let load = Load::ended_by("callee", &bed, &route, 1, 1, 20);
    eventually("the first document", STANDING, || (!web.asked().is_empty()).then_some(()));
    pass(Duration::from_secs(1));
    let before = bed.pid("controlplane");
    bed.signal("controlplane", Signal::KILL);
    bed.wait_for_successor("controlplane", before);
    let next = web.expect("/next", "Direction", "inbound");
    assert_eq!(next.cookie, "session=abc");
    drop(load);
    bed.stop();
}
