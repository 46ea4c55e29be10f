//! Far ends and applications that do anything at any time.

use base::{CallId, Prng};
use wire::counter::Counter;
use wire::event::Cause;
use wire::{Command, Originate};
use world::{Manner, Manual, Setup, World};

use crate::common::{SECOND, count, manual, ms, originate, send};
use crate::raw::{A, B, Call, Said, call, header, reply, say, sdp};

/// Some description of a far end at this host.
fn some_sdp(random: &mut Prng, host: &str) -> String {
    let format = pick(random, &["0", "8", "0 8", "9", "0 9 101", "8 96"]);
    let mores = ["", "", "a=sendonly\n", "a=recvonly\n", "a=inactive\n", "stopped"];
    let version = u32::try_from(random.below(9)).unwrap() + 1;
    sdp(host, version, format, pick(random, &mores))
}

fn index(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or(0)
}

fn pick<'a>(random: &mut Prng, of: &[&'a str]) -> &'a str {
    let at = random.below(of.len() as u64);
    of[usize::try_from(at).unwrap()]
}

/// What the far end of this host says to a message of ours; None for nothing.
fn some_answer(call: &mut Call, random: &mut Prng, text: &str, caller: bool) -> Option<String> {
    let (at, host, tag) = if caller { (A, "10.1.0.1", "1") } else { (B, "10.1.0.2", "b") };
    let contact = format!("Contact: <sip:x@{at}>\nAllow: INVITE, UPDATE, INFO\n");
    match text.split(' ').next().unwrap_or_default() {
        method @ ("INVITE" | "UPDATE" | "OPTIONS" | "INFO") => {
            let ok = "200 OK";
            let refusals = ["488 No", "491 Pending", "500 Bad", "422 Small"];
            let statuses = [&["100 Trying", "180 Ringing", "", ok, ok, ok, ok][..], &refusals];
            let status = pick(random, &statuses.concat());
            let more = match random.below(3) {
                0 => format!("{contact}Supported: timer\nSession-Expires: 90;refresher=uac\n"),
                _ => format!("{contact}Min-SE: 120\nRetry-After: 3\n"),
            };
            let described = method == "INVITE" && random.below(8) > 0;
            let body = if described { some_sdp(random, host) } else { String::new() };
            (!status.is_empty()).then(|| reply(text, status, tag, &more, &body))
        }
        "BYE" => Some(reply(text, "200 OK", tag, &contact, "")),
        "SIP/2.0" if text.contains(" INVITE\r\n") && !text.starts_with("SIP/2.0 1") => {
            let far = if caller { &mut call.a } else { &mut call.b };
            let cseq = header(text, "CSeq").split(' ').next().unwrap().parse().unwrap_or(1);
            let now = core::mem::replace(&mut far.cseq, cseq);
            let described = random.below(3) == 0;
            let body = if described { some_sdp(random, host) } else { String::new() };
            let ack = far.request("ACK", "", &body);
            far.cseq = now;
            (random.below(6) > 0).then_some(ack)
        }
        _ => None,
    }
}

/// What the far ends say at a time of their own, whatever the other one does.
fn babble(call: &mut Call, random: &mut Prng, seen: &mut usize) {
    let fresh: Vec<_> = call.log.borrow()[*seen..].to_vec();
    *seen += fresh.len();
    for (_, datagram) in fresh.iter().filter(|(_, d)| d.to.port() == 5_060) {
        let text = String::from_utf8_lossy(&datagram.bytes).into_owned();
        let caller = datagram.to == A.parse().unwrap();
        let Some(said) = some_answer(call, random, &text, caller) else { continue };
        for _ in 0..1 + u32::from(random.below(5) == 0) {
            say(&mut call.world, if caller { A } else { B }, &said);
        }
    }
    let caller = random.below(2) == 0;
    let (at, host) = if caller { (A, "10.1.0.1") } else { (B, "10.1.0.2") };
    let far = if caller { &mut call.a } else { &mut call.b };
    let text = match random.below(9) {
        0..=2 => far.request("INVITE", "Supported: timer\n", &some_sdp(random, host)),
        3 => far.request("INVITE", "", ""),
        4 => far.request("UPDATE", "Allow: UPDATE, INFO\n", &some_sdp(random, host)),
        5 => far.request("UPDATE", "Supported: timer\nSession-Expires: 90\n", ""),
        6 => far.request("OPTIONS", "Allow: INVITE\n", ""),
        7 => far.request("ACK", "", &some_sdp(random, host)),
        _ => String::new(),
    };
    if !text.is_empty() {
        say(&mut call.world, at, &text);
    }
    let pause = pick(random, &["0", "10", "300", "2000", "5000", "20000"]);
    call.world.run_for(ms(pause.parse().unwrap()));
}

#[test]
fn whatever_two_far_ends_say_no_leg_panics_and_nothing_is_left() {
    for seed in 0..400 {
        let mut random = Prng::new(seed);
        let of_a = ["", "Supported: timer\nSession-Expires: 90;refresher=uas\n"];
        let said = Said { of_a: pick(&mut random, &of_a), ..Said::default() };
        let mut call = call(&said);
        let mut seen = call.log.borrow().len();
        for _ in 0..random.below(30) + 5 {
            babble(&mut call, &mut random, &mut seen);
        }
        assert_eq!(count(&call.world, Counter::LegPanicked), 0, "seed {seed}");
        let bye = call.a.request("BYE", "", "");
        say(&mut call.world, A, &bye);
        let bye = call.b.request("BYE", "", "");
        say(&mut call.world, B, &bye);
        call.world.run_for(120 * SECOND);
        let left = call.world.plane.leftovers();
        assert!(left.is_empty(), "seed {seed}: {left:?}");
        assert_eq!(count(&call.world, Counter::JoinStanding), 0, "seed {seed}");
    }
}

#[test]
fn whatever_an_application_joins_and_parts_every_join_has_two_sides() {
    for seed in 0..200 {
        let mut random = Prng::new(seed);
        let mut setup = Setup::new(seed);
        setup.plane.shards = 3;
        let mut world = World::new(&setup);
        for _ in 0..6 {
            world.agent(Manner::default());
        }
        world.control = Some(Box::new(Manual::new(&world.plane)));
        let of = |call: u64| CallId(u128::from(call + 1) << 64 | u128::from(call + 1));
        for call in 0..4 {
            let target = world.address(index(call));
            let uri = format!("sip:g{}@x.example", call + 1);
            let shard = u8::try_from(call % 3).unwrap();
            send(&mut world, shard, &Command::Originate(originate(of(call), target, &uri)));
        }
        world.run_for(2 * SECOND);
        let mut legs = [base::LegId::NONE; 6];
        for told in &manual(&mut world).told {
            if let wire::Event::Answered { call, leg, .. } = told.event() {
                legs[index(call.0 & 0xff) - 1] = leg;
            }
        }
        // Two more are dialled for the first and the second, and bridged.
        for call in 4..6_u64 {
            let target = world.address(index(call));
            let uri = format!("sip:g{}@x.example", call + 1);
            let wish = originate(of(call), target, &uri);
            let wish = Originate { peer: legs[index(call) - 4], ..wish };
            manual(&mut world).send(u8::try_from(call % 3).unwrap(), &Command::Originate(wish));
        }
        for _ in 0..10 {
            for _ in 0..random.below(5) {
                let (one, other) = (random.below(6), random.below(4));
                let shard = u8::try_from(one % 3).unwrap();
                let (call, b) = (of(one), legs[index(other)]);
                let command = match random.below(12) {
                    0..=6 if one != other => Command::Join { call, b },
                    7..=8 => Command::Part { call },
                    9 => Command::Ringback { call, on: random.below(2) == 0 },
                    10 if random.below(6) == 0 => Command::Hangup { call, cause: Cause::Normal },
                    _ => continue,
                };
                manual(&mut world).send(shard, &command);
            }
            world.run_for(ms([0, 1, 20, 500][index(random.below(4))]));
        }
        world.run_for(3 * SECOND);
        assert_eq!(count(&world, Counter::LegPanicked), 0, "seed {seed}");
        let joined = count(&world, Counter::JoinStanding);
        assert_eq!(joined % 2, 0, "seed {seed}: {joined} legs are joined");
        for call in 0..6 {
            let hangup = Command::Hangup { call: of(call), cause: Cause::Normal };
            send(&mut world, u8::try_from(call % 3).unwrap(), &hangup);
        }
        world.run_for(80 * SECOND);
        assert_eq!(count(&world, Counter::JoinStanding), 0, "seed {seed}");
        let left = world.plane.leftovers();
        assert!(left.is_empty(), "seed {seed}: {left:?}");
    }
}
