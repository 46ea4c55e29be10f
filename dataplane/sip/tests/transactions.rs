//! The transaction machines: their tables as a snapshot, their timers in virtual time.

use std::time::Duration;

use base::Mono;
use sip::txn::{
    Accepted2xx, AckRepeat, Actions, Client, InviteClient, InviteServer, Server, Timers,
};

const RFC: Timers = Timers::RFC;
const UDP: bool = false;
const TCP: bool = true;

const TABLES: &str = "\
== InviteClient
Calling + Provisional -> Proceeding: pass
Calling + Success -> Accepted: pass
Calling + Refusal -> Completed: ack pass
Calling + TimerA -> Calling: resend
Calling + TimerB -> Terminated: timeout end
Calling + TransportError -> Terminated: fail end
Proceeding + Provisional -> Proceeding: pass
Proceeding + Success -> Accepted: pass
Proceeding + Refusal -> Completed: ack pass
Proceeding + TimerB -> Terminated: timeout end
Accepted + Success -> Accepted: pass
Accepted + TimerM -> Terminated: end
Completed + Refusal -> Completed: ack
Completed + TimerD -> Terminated: end
Completed + TransportError -> Terminated: fail end
== InviteServer
Proceeding + Invite -> Proceeding: resend
Proceeding + SendProvisional -> Proceeding: send
Proceeding + SendSuccess -> Accepted: send
Proceeding + SendRefusal -> Completed: send
Proceeding + TransportError -> Proceeding: fail
Accepted + Ack -> Accepted: pass
Accepted + SendSuccess -> Accepted: send
Accepted + TimerL -> Terminated: end
Accepted + TransportError -> Accepted: fail
Completed + Invite -> Completed: resend
Completed + Ack -> Confirmed: -
Completed + TimerG -> Completed: resend
Completed + TimerH -> Terminated: timeout end
Completed + TransportError -> Completed: fail
Confirmed + TimerI -> Terminated: end
== Client
Trying + Provisional -> Proceeding: pass
Trying + Final -> Completed: pass
Trying + TimerE -> Trying: resend
Trying + TimerF -> Terminated: timeout end
Trying + TransportError -> Terminated: fail end
Proceeding + Provisional -> Proceeding: pass
Proceeding + Final -> Completed: pass
Proceeding + TimerE -> Proceeding: resend
Proceeding + TimerF -> Terminated: timeout end
Proceeding + TransportError -> Terminated: fail end
Completed + TimerK -> Terminated: end
== Server
Trying + SendProvisional -> Proceeding: send
Trying + SendFinal -> Completed: send
Proceeding + Request -> Proceeding: resend
Proceeding + SendProvisional -> Proceeding: send
Proceeding + SendFinal -> Completed: send
Proceeding + TransportError -> Terminated: fail end
Completed + Request -> Completed: resend
Completed + TimerJ -> Terminated: end
Completed + TransportError -> Terminated: fail end
== Accepted2xx
Waiting + Acknowledge -> Acknowledged: pass end
Waiting + Resend -> Waiting: resend
Waiting + GiveUp -> Terminated: timeout end
";

#[test]
fn the_tables_are_those_that_were_reviewed() {
    let mut text = String::new();
    type Dump = fn(&mut dyn std::fmt::Write) -> std::fmt::Result;
    let dumps: [(&str, Dump); 5] = [
        ("InviteClient", InviteClient::dump),
        ("InviteServer", InviteServer::dump),
        ("Client", Client::dump),
        ("Server", Server::dump),
        ("Accepted2xx", Accepted2xx::dump),
    ];
    for (name, dump) in dumps {
        text.push_str(&format!("== {name}\n"));
        dump(&mut text).unwrap();
    }
    assert_eq!(text, TABLES);
}

fn at(ms: u64) -> Mono {
    Mono(ms * 1_000_000)
}

/// Runs `timeout` at every deadline; when and what it asked for, until it sleeps for good.
fn run<M>(
    machine: &mut M,
    deadline: impl Fn(&M) -> Mono,
    timeout: impl Fn(&mut M, Mono) -> Actions,
) -> Vec<(u64, Actions)> {
    let mut story = Vec::new();
    while deadline(machine) != Mono::NEVER {
        let now = deadline(machine);
        assert_eq!(timeout(machine, now - Duration::from_nanos(1)), Actions::NONE);
        story.push((now.0 / 1_000_000, timeout(machine, now)));
        assert!(story.len() < 50);
    }
    story
}

fn resends(times: &[u64], end: u64, last: Actions) -> Vec<(u64, Actions)> {
    let mut story: Vec<_> = times.iter().map(|t| (*t, Actions::RESEND)).collect();
    story.push((end, last));
    story
}

const GONE: Actions = Actions::TIMEOUT.and(Actions::END);

#[test]
fn an_unanswered_invite_is_repeated_with_doubled_intervals() {
    let mut machine = InviteClient::new(at(0), &RFC, UDP);
    let story = run(&mut machine, InviteClient::deadline, |m, now| m.handle_timeout(now, &RFC));
    assert_eq!(story, resends(&[500, 1_500, 3_500, 7_500, 15_500, 31_500], 32_000, GONE));
    let mut machine = InviteClient::new(at(0), &RFC, TCP);
    let story = run(&mut machine, InviteClient::deadline, |m, now| m.handle_timeout(now, &RFC));
    assert_eq!(story, resends(&[], 32_000, GONE));
}

#[test]
fn an_invite_that_is_answered() {
    let mut machine = InviteClient::new(at(0), &RFC, UDP);
    assert_eq!(machine.handle_response(180, at(100), &RFC), Actions::PASS);
    assert_eq!(machine.deadline(), Mono::NEVER);
    assert_eq!(machine.handle_response(486, at(200), &RFC), Actions::PASS.and(Actions::ACK));
    assert_eq!(machine.handle_response(486, at(300), &RFC), Actions::ACK);
    assert_eq!(machine.handle_response(180, at(300), &RFC), Actions::NONE);
    let story = run(&mut machine, InviteClient::deadline, |m, now| m.handle_timeout(now, &RFC));
    assert_eq!(story, [(32_200, Actions::END)]);

    let mut machine = InviteClient::new(at(0), &RFC, UDP);
    for now in [100, 600] {
        assert_eq!(machine.handle_response(200, at(now), &RFC), Actions::PASS);
    }
    let story = run(&mut machine, InviteClient::deadline, |m, now| m.handle_timeout(now, &RFC));
    assert_eq!(story, [(32_100, Actions::END)]);

    let mut machine = InviteClient::new(at(0), &RFC, TCP);
    let all = Actions::PASS.and(Actions::ACK).and(Actions::END);
    assert_eq!(machine.handle_response(603, at(1), &RFC), all);
}

#[test]
fn a_cancelled_invite_does_not_wait_for_ever() {
    let mut machine = InviteClient::new(at(0), &RFC, UDP);
    let _ = machine.handle_response(100, at(10), &RFC);
    machine.give_up_later(at(20), &RFC);
    let story = run(&mut machine, InviteClient::deadline, |m, now| m.handle_timeout(now, &RFC));
    assert_eq!(story, [(32_020, GONE)]);
}

#[test]
fn a_refused_invite_waits_for_its_ack() {
    let mut machine = InviteServer::new(UDP);
    assert_eq!(machine.send(100, at(0), &RFC), Actions::SEND);
    assert_eq!(machine.handle_request(at(400), &RFC), Actions::RESEND);
    assert_eq!(machine.send(404, at(1_000), &RFC), Actions::SEND);
    assert_eq!(machine.send(404, at(1_000), &RFC), Actions::NONE);
    let mut unheard = machine;
    let story = run(&mut unheard, InviteServer::deadline, |m, now| m.handle_timeout(now, &RFC));
    let times = [1_500, 2_500, 4_500, 8_500, 12_500, 16_500, 20_500, 24_500, 28_500, 32_500];
    assert_eq!(story, resends(&times, 33_000, GONE));
    assert_eq!(machine.handle_ack(at(1_100), &RFC), Actions::NONE);
    assert_eq!(machine.handle_request(at(1_200), &RFC), Actions::NONE);
    let story = run(&mut machine, InviteServer::deadline, |m, now| m.handle_timeout(now, &RFC));
    assert_eq!(story, [(6_100, Actions::END)]);

    let mut machine = InviteServer::new(TCP);
    let _ = machine.send(404, at(0), &RFC);
    assert_eq!(machine.deadline(), at(32_000));
    assert_eq!(machine.handle_ack(at(5), &RFC), Actions::END);
}

#[test]
fn an_accepted_invite_absorbs_repetitions() {
    let mut machine = InviteServer::new(UDP);
    assert_eq!(machine.send(200, at(0), &RFC), Actions::SEND);
    assert_eq!(machine.handle_request(at(10), &RFC), Actions::NONE);
    assert_eq!(machine.send(200, at(500), &RFC), Actions::SEND);
    assert_eq!(machine.handle_ack(at(600), &RFC), Actions::PASS);
    let story = run(&mut machine, InviteServer::deadline, |m, now| m.handle_timeout(now, &RFC));
    assert_eq!(story, [(32_000, Actions::END)]);
}

#[test]
fn a_request_is_repeated_up_to_t2() {
    let mut machine = Client::new(at(0), &RFC, UDP);
    let story = run(&mut machine, Client::deadline, |m, now| m.handle_timeout(now, &RFC));
    let times = [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(story, resends(&times, 32_000, GONE));

    let mut machine = Client::new(at(0), &RFC, UDP);
    let _ = machine.handle_timeout(at(500), &RFC);
    assert_eq!(machine.handle_response(100, at(600), &RFC), Actions::PASS);
    assert_eq!(machine.handle_timeout(at(1_500), &RFC), Actions::RESEND);
    assert_eq!(machine.deadline(), at(5_500));
    assert_eq!(machine.handle_response(200, at(1_600), &RFC), Actions::PASS);
    assert_eq!(machine.handle_response(200, at(1_700), &RFC), Actions::NONE);
    let story = run(&mut machine, Client::deadline, |m, now| m.handle_timeout(now, &RFC));
    assert_eq!(story, [(6_600, Actions::END)]);

    let mut machine = Client::new(at(0), &RFC, TCP);
    assert_eq!(machine.handle_response(200, at(1), &RFC), Actions::PASS.and(Actions::END));
    let mut machine = Client::new(at(0), &RFC, TCP);
    assert_eq!(machine.handle_transport_error(at(1), &RFC), Actions::FAIL.and(Actions::END));
}

#[test]
fn a_served_request_answers_its_repetitions() {
    let mut machine = Server::new(UDP);
    assert_eq!(machine.handle_request(at(1), &RFC), Actions::NONE);
    assert_eq!(machine.send(200, at(2), &RFC), Actions::SEND);
    assert_eq!(machine.send(500, at(3), &RFC), Actions::NONE);
    assert_eq!(machine.handle_request(at(4), &RFC), Actions::RESEND);
    let story = run(&mut machine, Server::deadline, |m, now| m.handle_timeout(now, &RFC));
    assert_eq!(story, [(32_002, Actions::END)]);
    assert_eq!(Server::new(TCP).send(200, at(0), &RFC), Actions::SEND.and(Actions::END));
}

#[test]
fn a_2xx_is_repeated_until_its_ack() {
    let mut machine = Accepted2xx::new(at(0), &RFC);
    let mut heard = machine;
    let story = run(&mut machine, Accepted2xx::deadline, |m, now| m.handle_timeout(now, &RFC));
    let times = [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(story, resends(&times, 32_000, GONE));
    assert_eq!(heard.handle_ack(), Actions::PASS.and(Actions::END));
    assert_eq!(heard.handle_ack(), Actions::NONE);
    assert_eq!(heard.deadline(), Mono::NEVER);
    let mut machine = Accepted2xx::provisional(at(0), &RFC);
    let story = run(&mut machine, Accepted2xx::deadline, |m, now| m.handle_timeout(now, &RFC));
    assert_eq!(story, resends(&[500, 1_500, 3_500, 7_500, 15_500, 31_500], 32_000, GONE));
    let ack = AckRepeat::new(at(0), &RFC);
    assert_eq!(ack.handle_2xx(at(31_999)), Actions::RESEND);
    assert_eq!(ack.handle_2xx(at(32_000)), Actions::NONE);
    assert_eq!(ack.handle_timeout(ack.deadline()), Actions::END);
}
