use model::CallStatus;
use model::cookie::{Cookie, Jar};

use super::*;
use crate::forwards::Forwards;
use crate::live::{Callback, Outgoing};
use crate::rng::Rng;
use crate::script::Script;

fn live() -> Live {
    let log = include_str!("../../tests/golden/scripts-1.jsonl");
    read(log.lines().next().unwrap().as_bytes()).unwrap().0
}

fn debug(live: &Live) -> String {
    let mut live = live.clone();
    live.volatile = crate::live::Volatile::default();
    if let Some(script) = &mut live.script {
        script.program = crate::script::Program::default();
    }
    format!("{live:?}")
}

fn cookie(name: &str, value: String) -> Cookie {
    Cookie {
        name: name.to_owned(),
        value: model::Secret(value),
        domain: "app.test".to_owned(),
        host_only: true,
        path: "/".to_owned(),
        secure: true,
        expires: base::Wall(1_000),
        made: base::Wall(1),
    }
}

/// Something else about the call, as steps change it.
fn step(live: &mut Live, rng: &mut Rng) {
    let text = |rng: &mut Rng| "x".repeat(usize::try_from(rng.next() % 40).unwrap());
    match rng.next() % 14 {
        0 => live.row.status = CallStatus::InProgress,
        1 => live.row.date_updated.0 = rng.next(),
        2 => live.reason = Some(text(rng)),
        3 => live.sequence += 1,
        4 => {
            let names = ["CallSid", "To", "Own", "Timestamp"];
            // Of any year that the text has room for.
            let at = model::stamp::rfc2822(base::Wall(rng.next() >> (6 + rng.next() % 7)));
            let values = [live.row.sid.to_string(), live.row.to.clone(), text(rng), at];
            live.callbacks.push_back(Callback {
                url: live.status.as_ref().map_or("http://x", |hook| &hook.hook.url).to_owned(),
                method: model::Method::Get,
                params: names.map(str::to_owned).into_iter().zip(values).collect(),
                token: rng.token(),
                attempts: 1,
                due: base::Wall(rng.next()),
                then: None,
            });
        }
        5 => drop(live.callbacks.pop_front()),
        11 => live.once.placed.0 = rng.next(),
        12 => live.facts.forwards = Forwards::default().and(&text(rng)),
        13 => {
            let outgoing = live.outgoing.get_or_insert_with(|| Outgoing::sent("sip:a@x", "b"));
            outgoing.forwards = Forwards::default().and(&text(rng));
            outgoing.referrer = rng.next().is_multiple_of(2).then_some(live.row.sid);
        }
        8 => {
            let mut jar = Jar::clone(&live.cookies);
            let cookie = cookie(&(rng.next() % 5).to_string(), text(rng));
            let _ = jar.keep(cookie, base::Wall(1));
            live.cookies = std::sync::Arc::new(jar);
        }
        6 => live.facts.domain = Some(text(rng)),
        10 => live.login = model::SipLogin::new("user", &text(rng)),
        7 => {
            let script = live.script.get_or_insert_with(Script::default);
            (script.document, script.documents) = (text(rng), script.documents + 1);
        }
        _ => {
            let script = live.script.get_or_insert_with(Script::default);
            (script.base, script.at) = (text(rng), script.at + 1);
        }
    }
}

/// The log of a call that goes so many steps, and what the call is then.
fn walked(seed: u64, steps: usize) -> (Vec<u8>, Vec<usize>, Live) {
    let (mut live, mut rng) = (live(), Rng::new([seed, 1, 2, 3]));
    let (mut logged, mut scratch) = (Logged::default(), Parts::default());
    let (mut log, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..steps {
        step(&mut live, &mut rng);
        match logged.next(&live, &mut scratch) {
            Some(Entry::Whole(bytes)) => (log, ends) = (bytes, Vec::new()),
            Some(Entry::Change(bytes)) => log.extend(bytes),
            None => {}
        }
        ends.push(log.len());
        let (found, again) = read(&log).unwrap();
        assert_eq!(debug(&found), debug(&live));
        assert_eq!((again.sequence, again.documents), (logged.sequence, logged.documents));
    }
    (log, ends, live)
}

#[test]
fn whatever_changes_is_read_back() {
    for seed in 0..20 {
        walked(seed, 200);
    }
}

#[test]
fn a_log_has_an_end() {
    let (log, ..) = walked(7, 3_000);
    assert!(log.len() < CHANGES_MAX + 16 * 1_024, "{}", log.len());
}

#[test]
fn a_successor_goes_on_with_the_log_that_it_read() {
    let (mut log, _, mut live) = walked(3, 20);
    let (_, mut logged) = read(&log).unwrap();
    live.sequence += 7;
    match logged.next(&live, &mut Parts::default()) {
        Some(Entry::Change(bytes)) => log.extend(bytes),
        other => panic!("{other:?}"),
    }
    assert_eq!(debug(&read(&log).unwrap().0), debug(&live));
}

/// An upgrade: a log that version 2 began goes on with entries of this one.
#[test]
fn entries_of_this_version_follow_those_of_the_one_before() {
    for line in include_str!("../../tests/golden/scripts-2.txt").lines() {
        let hex = line.split_once(' ').unwrap().1;
        let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let mut log: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
        let (mut live, mut logged) = read(&log).unwrap();
        let mut jar = Jar::default();
        jar.keep(cookie("a", "b".to_owned()), base::Wall(1)).unwrap();
        live.cookies = std::sync::Arc::new(jar);
        match logged.next(&live, &mut Parts::default()) {
            Some(Entry::Change(bytes)) => log.extend(bytes),
            other => panic!("{other:?}"),
        }
        assert_eq!(debug(&read(&log).unwrap().0), debug(&live));
    }
}

#[test]
fn what_is_gone_or_damaged_is_noticed() {
    let (log, ends, live) = walked(5, 12);
    assert!(logged_again(&live));
    let (first, second) = (ends[2], ends[4]);
    let hole = [&log[..first], &log[second..]].concat();
    assert!(read(&hole).is_err());
    assert!(read(&log[first..]).is_err());
    assert!(read(&[]).is_err());
    for cut in 1..log.len() {
        // An entry is there or not; half of one is neither.
        assert_eq!(read(&log[..cut]).is_ok(), ends.contains(&cut), "cut at {cut}");
    }
    for at in 0..log.len() {
        let mut damaged = log.clone();
        damaged[at] ^= 0x55;
        // Another call, or none: never a panic.
        let _ = read(&damaged);
    }
}

/// What did not change is not written; what nobody knows of is written whole.
fn logged_again(live: &Live) -> bool {
    let (mut logged, mut scratch) = (Logged::default(), Parts::default());
    let whole = matches!(logged.next(live, &mut scratch), Some(Entry::Whole(_)));
    let nothing = logged.next(live, &mut scratch).is_none();
    logged.begin_again();
    whole && nothing && matches!(logged.next(live, &mut scratch), Some(Entry::Whole(_)))
}

/// Documents of any length, each followed by a few small steps: what is written is not much more
/// than the documents once.
#[test]
fn a_document_is_written_once() {
    for bytes in [100, CHANGES_MAX / 4, CHANGES_MAX, CHANGES_MAX + 1, 60_000] {
        let (mut live, mut rng) = (live(), Rng::new([7, 1, 2, 3]));
        let (mut logged, mut scratch) = (Logged::default(), Parts::default());
        let mut written = 0;
        for document in 1..=20 {
            let script = live.script.get_or_insert_with(Script::default);
            (script.document, script.documents) = ("x".repeat(bytes), document);
            for _ in 0..4 {
                if let Some(Entry::Whole(entry) | Entry::Change(entry)) =
                    logged.next(&live, &mut scratch)
                {
                    written += entry.len();
                }
                live.row.date_updated.0 = rng.next();
            }
        }
        // A change of more than a quarter of the bound makes the fifth or so a whole.
        assert!(written < 20 * (bytes + bytes / 2 + 4_096), "{bytes}: {written}");
    }
}
